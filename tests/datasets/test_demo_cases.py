"""The cases shipped with the package."""

import os
import runpy
from pathlib import Path

import numpy as np
import pytest

import plurimask
from plurimask.datasets.demo_cases import demo_cases
from plurimask.datasets.open import open_dataset
from plurimask.datasets.splits import read_case_list, split_of

FILE = Path(plurimask.__path__[0]) / "demo_cases" / "cases.npz"
ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("PLURIMASK_DATA", ROOT.parent / "shared/data")) / "lidc-slices-128"


@pytest.fixture(scope="module")
def cases():
    return demo_cases()


def test_the_first_twelve_of_the_list_each_of_another_patient(cases):
    assert tuple(case.name for case in cases) == read_case_list("lidc-eval-200")[:12]
    assert len({case.patient for case in cases}) == 12


def test_every_patient_is_on_the_test_side(cases):
    assert {split_of(case.patient) for case in cases} == {"test"}


def test_the_grid_knows_its_spacing(cases):
    assert all(0.4 < case.grid.spacing_mm[0] < 1.0 for case in cases)


def test_the_file_is_small():
    assert FILE.stat().st_size < 400_000


@pytest.mark.skipif(not DATA.exists(), reason=f"needs the LIDC slices at {DATA}; PLURIMASK_DATA names another folder")
def test_the_tool_makes_the_same_cases_again():
    made = runpy.run_path(str(ROOT / "tools/make_demo_cases.py"))["make_arrays"](open_dataset(DATA))
    with np.load(FILE, allow_pickle=False) as shipped:
        assert set(shipped) == set(made)
        assert all(np.array_equal(shipped[key], made[key]) for key in made)
