"""Sizes and longest diameters against what is known of simple shapes, and against all pairs of points."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays

from plurimask.geometry import Grid
from plurimask.metrics.measurements import agreement_curve, longest_diameter, measure, sizes, summarise

SKEWED = np.array([[0.0, -0.7, 0.2, 5.0], [-0.6, 0.1, 0.3, 1.0], [0.1, 0.0, 2.5, 9.0], [0.0, 0.0, 0.0, 1.0]])


def mask_of(*pixels: tuple[int, ...]) -> np.ndarray:
    mask = np.zeros((9, 9), dtype=bool)
    mask[tuple(np.transpose(pixels))] = True
    return mask


@pytest.mark.parametrize(
    ("affine", "shape", "expected"),
    [
        (None, (4, 4), (3.0, "pixels")),
        (np.diag([0.5, 2.0, 9.0, 1.0]), (4, 4), (3.0, "mm²")),
        (np.diag([0.5, 2.0, 3.0, 1.0]), (4, 4, 2), (9.0, "mm³")),
        (None, (4, 4, 2), (3.0, "voxels")),
    ],
)
def test_sizes(affine, shape, expected):
    mask = np.zeros((1, *shape), dtype=bool)
    mask.reshape(-1)[:3] = True
    values, unit = sizes(mask, Grid(shape, affine))
    assert (values.tolist(), unit) == (pytest.approx([expected[0]]), expected[1])


def test_agreement_curve_by_hand():
    """Three masks on voxels of 2 mm²: two voxels held by all, one by two, three by one."""
    masks = np.array([[[1, 1, 1, 1, 0, 0, 0]], [[1, 1, 1, 0, 1, 0, 0]], [[1, 1, 0, 0, 0, 1, 0]]], dtype=bool)
    curve, unit = agreement_curve(masks, Grid((1, 7), np.diag([1.0, 2.0, 1.0, 1.0])))
    assert (curve.tolist(), unit) == ([12.0, 6.0, 4.0], "mm²")


def test_agreement_curve_of_empty_masks_is_zero_for_every_k():
    curve, unit = agreement_curve(np.zeros((3, 4, 4, 2), dtype=bool), Grid((4, 4, 2)))
    assert (curve.tolist(), unit) == ([0.0, 0.0, 0.0], "voxels")


def test_agreement_curve_of_no_masks_has_no_point():
    assert agreement_curve(np.zeros((0, 4, 4), dtype=bool), Grid((4, 4)))[0].shape == (0,)


@given(arrays(bool, array_shapes(min_dims=3, max_dims=4, max_side=6)))
def test_agreement_curve_counts_what_at_least_k_masks_hold(masks):
    votes = masks.astype(int).sum(axis=0)
    by_hand = [(votes >= k).sum() for k in range(1, len(masks) + 1)]
    assert agreement_curve(masks, Grid(masks.shape[1:]))[0].tolist() == by_hand


@given(arrays(bool, array_shapes(min_dims=3, max_dims=4, max_side=6)))
def test_agreement_curve_never_grows_and_its_mean_is_the_mean_size(masks):
    grid = Grid(masks.shape[1:])
    curve = agreement_curve(masks, grid)[0]
    assert (np.diff(curve) <= 0).all()
    assert curve.mean() == pytest.approx(sizes(masks, grid)[0].mean())


@pytest.mark.parametrize(
    ("pixels", "length"),
    [
        ([(4, 4)], 1.0),
        ([(4, column) for column in range(7)], 7.0),
        ([(1, 1), (2, 2)], math.hypot(1, 2)),  # connected at a corner
        ([(0, 0), (0, 1), (8, 8)], 2.0),  # two parts: the longer one, not the way between them
    ],
)
def test_diameter_of_a_few_pixels(pixels, length):
    assert longest_diameter(mask_of(*pixels), Grid((9, 9))) == pytest.approx(length)


def test_pixels_count_in_mm_along_each_axis():
    affine = np.diag([3.0, 0.5, 1.0, 1.0])
    row = mask_of(*((4, column) for column in range(7)))
    assert longest_diameter(row, Grid((9, 9), affine)) == pytest.approx(math.hypot(6 * 0.5, 3.0))


def test_a_volume_is_measured_within_its_slices():
    volume = np.zeros((9, 9, 5), dtype=bool)
    volume[4, 4, :] = True
    volume[4, 3:6, 2] = True
    assert longest_diameter(volume, Grid((9, 9, 5), np.diag([1.0, 1.0, 10.0, 1.0]))) == pytest.approx(3.0)


@pytest.mark.parametrize("pixel_mm", [0.25, 0.5, 1.0])
def test_a_disc_is_at_most_a_pixel_too_long(pixel_mm):
    row, column = np.indices((80, 80)) * pixel_mm
    disc = np.hypot(row - 10.03, column - 9.91) <= 8.0
    excess = longest_diameter(disc, Grid.plane((80, 80), pixel_mm)) - 16.0
    assert 0 <= excess <= pixel_mm


@given(arrays(bool, (5, 6)))
def test_diameter_is_that_of_all_pairs_of_edges_of_a_part(plane):
    assert longest_diameter(plane, Grid((5, 6), SKEWED)) == pytest.approx(longest_by_pairs(plane, SKEWED), nan_ok=True)


def longest_by_pairs(plane: np.ndarray, affine: np.ndarray) -> float:
    """Parts by walking from pixel to pixel; then every pair of their edges."""
    left, longest = set(map(tuple, np.argwhere(plane).tolist())), math.nan
    while left:
        part, walk = set(), [left.pop()]
        while walk:
            row, column = walk.pop()
            part.add((row, column))
            near = {(row + down, column + right) for down in (-1, 0, 1) for right in (-1, 0, 1)} & left
            left -= near
            walk += near
        edges = [
            affine[:3, :2] @ (row + down / 2, column + right / 2)
            for row, column in part
            for down, right in ((-1, 0), (1, 0), (0, -1), (0, 1))
            if (row + down, column + right) not in part
        ]
        longest = np.fmax(longest, max(np.linalg.norm(a - b) for a in edges for b in edges))
    return longest


def test_names_carry_the_units():
    masks = np.ones((2, 3, 3), dtype=bool)
    assert list(measure(masks, Grid((3, 3)))) == ["area_pixels", "longest_diameter_pixels"]
    assert list(measure(masks, Grid.plane((3, 3), 0.5))) == ["area_mm2", "longest_diameter_mm"]
    assert list(measure(masks[..., None], Grid((3, 3, 1), np.eye(4)))) == ["volume_mm3", "longest_diameter_mm"]


def test_an_empty_mask_has_size_0_and_no_diameter():
    found = measure(np.zeros((1, 3, 3), dtype=bool), Grid((3, 3)))
    assert found["area_pixels"].tolist() == [0.0]
    assert np.isnan(found["longest_diameter_pixels"]).all()


def test_summary_interpolates_between_samples():
    found = summarise(np.arange(21.0))
    assert (found.samples, found.mean, found.median, found.low, found.high) == pytest.approx((21, 10, 10, 1, 19))


def test_summary_leaves_out_what_is_undefined():
    found = summarise(np.array([math.nan, 4.0, 6.0]))
    assert (found.samples, found.mean) == (2, 5.0)


def test_summary_of_nothing_is_undefined():
    found = summarise(np.full(3, math.nan))
    assert found.samples == 0
    assert math.isnan(found.mean)
