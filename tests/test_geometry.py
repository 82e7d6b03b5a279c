"""The grid: order of axes, spacing, and what it refuses."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from plurimask.errors import InputError
from plurimask.geometry import HALF, Grid, area_shares, common_grid, lps_to_ras, same_grid


def oblique():
    """Steps of 0.7, 0.7 and 2.5 mm, turned by 30 degrees about the third axis."""
    turn = np.eye(3)
    turn[:2, :2] = [[np.cos(np.pi / 6), -np.sin(np.pi / 6)], [np.sin(np.pi / 6), np.cos(np.pi / 6)]]
    affine = np.eye(4)
    affine[:3, :3] = turn * [0.7, 0.7, 2.5]
    affine[:3, 3] = [-10, 20, 30]
    return affine


def test_two_pixels_share_the_middle_of_three_and_back():
    np.testing.assert_allclose(area_shares(3, 2), [[2 / 3, 1 / 3, 0], [0, 1 / 3, 2 / 3]])
    np.testing.assert_allclose(area_shares(2, 3), [[1, 0], [0.5, 0.5], [0, 1]])


@pytest.mark.parametrize("side", [6, 10, 98, 510])
def test_half_an_area_is_at_least_half_and_a_column_less_is_not(side):
    shares = area_shares(side, 1)
    half, less = (shares @ np.tile(np.arange(side) < side // 2 - off, (side, 1)) @ shares.T for off in (0, 1))
    assert half > HALF
    assert less < HALF


@pytest.mark.parametrize(
    ("grid", "spacing"),
    [
        (Grid((4, 5, 6), oblique()), (0.7, 0.7, 2.5)),
        (Grid((4, 5), oblique()), (0.7, 0.7)),
        (Grid((4, 5, 6), np.diag([1.0, 2.0, 3.0, 1.0])), (1, 2, 3)),
        (Grid((4, 5)), None),
    ],
)
def test_spacing_has_one_value_an_axis_in_their_order(grid, spacing):
    assert grid.spacing_mm == (spacing and pytest.approx(spacing))


def test_spacing_is_that_of_nibabel():
    image = nib.Nifti1Image(np.zeros((4, 5, 6), np.float32), oblique())
    assert Grid(image.shape, image.affine).spacing_mm == pytest.approx(image.header.get_zooms())


def test_the_next_row_of_a_plane_lies_further_back_and_the_next_column_to_the_left():
    """RAS+: the first coordinate falls to the left of the patient, the second to the back."""
    grid = Grid.plane((4, 5), 0.6)
    np.testing.assert_allclose(grid.affine @ [1, 0, 0, 1], [0, -0.6, 0, 1])
    np.testing.assert_allclose(grid.affine @ [0, 1, 0, 1], [-0.6, 0, 0, 1])
    assert grid.spacing_mm == pytest.approx((0.6, 0.6))


@pytest.mark.parametrize("shape", [(), (4,), (4, 5, 6, 7), (0, 5), (4, -1)])
def test_shape_that_is_no_image_is_refused(shape):
    with pytest.raises(InputError, match="expected two or three positive sizes, got"):
        Grid(shape)


@pytest.mark.parametrize(
    "affine",
    [
        *(np.eye(3), np.full((4, 4), np.nan), np.diag([1.0, 0.0, 1.0, 1.0]), np.diag([np.inf, 1.0, 1.0, 1.0])),
        *(np.diag([1e200, 1.0, 1.0, 1.0]), np.diag([1e-200, 1.0, 1.0, 1.0])),
    ],
    ids=["3x3", "nan", "flat", "infinite", "huge", "tiny"],
)
def test_affine_that_maps_nothing_is_refused(affine):
    with pytest.raises(InputError, match="expected a finite, invertible 4x4 affine"):
        Grid((4, 5), affine)


def test_affine_is_a_copy_in_double_precision_that_cannot_be_written():
    given = np.eye(4, dtype=np.float32)
    grid = Grid((4, 5), given)
    given[0, 0] = 9
    assert (grid.affine[0, 0], grid.affine.dtype) == (1, np.float64)
    with pytest.raises(ValueError, match="read-only"):
        grid.affine[0, 0] = 9


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (Grid((4, 5)), Grid((4, 5)), True),
        (Grid((4, 5)), Grid((5, 4)), False),
        (Grid((4, 5)), Grid((4, 5), np.eye(4)), True),
        (Grid((4, 5), np.eye(4)), Grid((4, 5), np.eye(4) + 5e-4), True),
        (Grid((4, 5), np.eye(4)), Grid((4, 5), np.diag([1.01, 1.0, 1.0, 1.0])), False),
        (Grid((4, 5), 500 * np.eye(4)), Grid((4, 5), np.diag([500.004, 500.0, 500.0, 500.0])), False),
    ],
    ids=["equal", "transposed", "one unknown", "within tolerance", "beyond tolerance", "beyond, large values"],
)
def test_same_as(first, second, same):
    assert first.same_as(second) is same


def test_same_as_with_a_wider_tolerance():
    moved = np.eye(4)
    moved[0, 3] = 0.4
    assert Grid((4, 5), np.eye(4)).same_as(Grid((4, 5), moved), tolerance_mm=0.5)


def test_a_voxel_has_an_area_or_a_volume_also_where_it_is_sheared():
    sheared = np.diag([0.7, 0.7, 2.5, 1.0])
    sheared[1, 2] = 0.9
    assert Grid((4, 5), oblique()).voxel_size == pytest.approx(0.49)
    assert Grid((4, 5, 6), sheared).voxel_size == pytest.approx(0.7 * 0.7 * 2.5)
    assert Grid((4, 5)).voxel_size is None


def test_lps_to_ras_turns_the_first_two_coordinates_and_is_its_own_way_back():
    np.testing.assert_array_equal((lps_to_ras(oblique()) @ [1, 2, 3, 1]), oblique() @ [1, 2, 3, 1] * [-1, -1, 1, 1])
    np.testing.assert_array_equal(lps_to_ras(lps_to_ras(oblique())), oblique())


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_the_axial_axis_is_the_one_along_the_body(order):
    affine = np.eye(4)
    affine[:3, :3] = np.diag([1, -1, -3])[:, list(order)]
    assert Grid((2, 2, 2), affine).axial_axis == order.index(2)
    assert Grid((2, 2, 2)).axial_axis == 2


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_across_an_axis_every_voxel_stays_where_it_is(axis):
    grid, voxel = Grid((4, 5, 6), oblique()), np.array([1, 2, 3])
    across = grid.across(axis)
    order = [*np.delete([0, 1, 2], axis), axis]
    assert across.shape == tuple(np.array(grid.shape)[order])
    assert across.affine @ [*voxel[order], 1] == pytest.approx(grid.affine @ [*voxel, 1])


@pytest.mark.parametrize(
    ("came", "got"),
    [
        (Grid((4, 6)), "size 4x5, as b has, got 4x6"),
        (Grid.plane((4, 5), 2.0), "the affine of b, got another one, 5 mm or 5 voxels off at a corner"),
    ],
)
def test_another_grid_is_refused(came, got):
    with pytest.raises(InputError, match=f"a: expected {got}; mend it"):
        same_grid("a", came, Grid.plane((4, 5), 1.0), "b", "mend it")


def test_the_first_known_affine_is_that_of_all_files():
    grids = {Path("a"): Grid((4, 5)), Path("b"): Grid.plane((4, 5), 1.0), Path("c"): Grid((4, 5))}
    assert common_grid(grids, "mend it") is grids[Path("b")]
    with pytest.raises(InputError, match=r"^d: expected the affine of b, got another one, .* at a corner; mend it"):
        common_grid(grids | {Path("d"): Grid.plane((4, 5), 2.0)}, "mend it")
