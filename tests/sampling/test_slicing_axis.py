"""Across which axis a volume is sliced."""

import numpy as np
import pytest

from plurimask.files.locate import Study
from plurimask.geometry import Grid
from plurimask.records import Case
from plurimask.sampling.planes import slicing_axis


def study(spacing, format="nifti", order=(0, 1, 2), shape=(4, 5, 6)):
    """A volume whose array axes run along the world's axes `order`."""
    affine = np.zeros((4, 4))
    for axis, (along, step) in enumerate(zip(order, spacing, strict=True)):
        affine[along, axis] = step
    affine[3, 3] = 1
    grid = Grid(shape, affine)
    return Study(Case("one", np.zeros((1, *shape), np.float32), np.zeros((0, *shape), bool), grid), format, ())


@pytest.mark.parametrize(
    ("spacing", "axis"),
    [
        ((0.7, 0.7, 2.5), 2),
        ((5.0, 0.9, 0.9), 0),
        ((0.9, 6.0, 0.9), 1),
        ((0.9, 0.9, 1.0), 2),
        ((0.8, 0.7, 3.0), 2),
        ((1.0, 0.5, 0.5), 0),
    ],
)
def test_nifti_planes_have_the_spacings_that_differ_least(spacing, axis):
    assert slicing_axis(study(spacing)) == axis


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_of_equal_spacings_the_planes_are_axial(order):
    assert slicing_axis(study((1.0, 1.0, 1.005), order=order)) == order.index(2)


@pytest.mark.parametrize("format", ["dicom", "npy", "picture"])
def test_other_formats_have_slices_along_the_third_axis(format):
    assert slicing_axis(study((5.0, 0.9, 0.9), format)) == 2


def test_without_spacing_slices_lie_along_the_third_axis():
    case = Case("one", np.zeros((1, 4, 5, 6), np.float32), np.zeros((0, 4, 5, 6), bool), Grid((4, 5, 6)))
    assert slicing_axis(Study(case, "nifti", ())) == 2


def test_a_plane_is_one_slice_of_the_third_axis():
    assert slicing_axis(study((3.0, 0.5, 0.5), shape=(4, 5))) == 2
