"""A small dataset for each module of tests, with a cache of its own."""

import pytest
from tiny import write_cases

from plurimask.datasets.open import open_dataset


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("benchmark")


@pytest.fixture(scope="module")
def data(home):
    return open_dataset(write_cases(home / "cases"))


@pytest.fixture(autouse=True)
def cache(home, monkeypatch):
    monkeypatch.setenv("PLURIMASK_CACHE", str(home / "cache"))
