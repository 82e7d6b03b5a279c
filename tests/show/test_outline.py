"""Outlines hold exactly the voxels of their mask."""

import numpy as np
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays
from matplotlib.path import Path as Curve

from plurimask.show import outline

masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=9))
SQUARE = np.zeros((8, 10), dtype=bool)
SQUARE[2:5, 3:7] = True


def fill(polygons: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Voxels whose centre lies inside an odd number of the polygons."""
    rows, columns = np.indices(shape)
    centres = np.stack((columns.ravel() + 0.5, rows.ravel() + 0.5), axis=1)
    inside = np.zeros(len(centres), dtype=bool)
    for polygon in polygons:
        inside ^= Curve(np.vstack((polygon, polygon[:1])), closed=True).contains_points(centres)
    return inside.reshape(shape)


def test_outline_of_a_square_is_its_four_corners_on_voxel_edges() -> None:
    (polygon,) = outline.outlines(SQUARE)
    assert polygon.tolist() == [[3, 2], [7, 2], [7, 5], [3, 5]]


@given(masks)
def test_outlines_hold_exactly_the_voxels_of_their_mask(mask: np.ndarray) -> None:
    assert np.array_equal(fill(outline.outlines(mask), mask.shape), mask)


@given(masks)
def test_outlines_are_as_long_as_the_border_of_their_mask(mask: np.ndarray) -> None:
    padded = np.pad(mask, 1).astype(int)
    border = np.abs(np.diff(padded, axis=0)).sum() + np.abs(np.diff(padded, axis=1)).sum()
    assert sum(np.abs(np.diff(p, axis=0, append=p[:1])).sum() for p in outline.outlines(mask)) == border


@given(masks)
def test_outlines_turn_at_every_corner(mask: np.ndarray) -> None:
    for polygon in outline.outlines(mask):
        steps = np.diff(polygon, axis=0, append=polygon[:1])
        assert (np.sum(steps * np.roll(steps, 1, axis=0), axis=1) == 0).all()


def test_voxels_that_touch_at_a_corner_have_outlines_of_their_own() -> None:
    assert len(outline.outlines(np.eye(2, dtype=bool))) == 2


def test_a_hole_is_walked_the_other_way_round() -> None:
    ring = np.pad(np.zeros((1, 1), dtype=bool), 1, constant_values=True)
    areas = [
        np.sum(p[:, 0] * np.roll(p[:, 1], -1) - p[:, 1] * np.roll(p[:, 0], -1)) / 2 for p in outline.outlines(ring)
    ]
    assert areas == [9, -1]


def test_an_empty_mask_has_no_outline_and_no_path() -> None:
    empty = np.zeros((3, 4), dtype=bool)
    assert (outline.outlines(empty), outline.svg_path(empty)) == ([], "")


def test_svg_path_of_two_shapes() -> None:
    mask = np.zeros((4, 6), dtype=bool)
    mask[1, 1:3] = mask[3, 5] = True
    assert outline.svg_path(mask) == "M1 1h2v1h-2zM5 3h1v1h-1z"
