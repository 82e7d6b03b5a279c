"""Paired comparison: what cases have in common falls out, and only pairs are compared."""

import math
from dataclasses import replace

import numpy as np
import pytest

from plurimask.errors import InputError
from plurimask.evaluation import COLUMNS, compare, evaluate
from plurimask.geometry import Grid
from plurimask.records import Case, MaskSet

GRID = Grid((12, 12))


def square(size: int) -> np.ndarray:
    mask = np.zeros(GRID.shape, dtype=bool)
    mask[: max(0, size), : max(0, size)] = True
    return mask


CASES = {
    f"case-{k:02d}": Case(
        f"case-{k:02d}",
        np.zeros((1, *GRID.shape), np.float32),
        np.stack([square(2 + k % 8), square(3 + k % 8)]),
        GRID,
        f"p{k // 2}",
    )
    for k in range(30)
}


def scored(larger: int, names=tuple(CASES), count: int = 3, method: str = "toy"):
    """Panels of squares a little larger than the readers'."""
    panels = [
        MaskSet(name, np.stack([square(3 + int(name[-2:]) % 8 + larger)] * count), GRID, method) for name in names
    ]
    return evaluate(panels, CASES)


def test_the_difference_is_a_less_b():
    a, b = scored(0), scored(1)
    comparison = compare(a, b)
    assert comparison.difference.values["dice_max"] == pytest.approx(a.mean["dice_max"] - b.mean["dice_max"])


def test_a_clear_difference_leaves_zero_out_and_its_sign_is_kept():
    comparison = compare(scored(0), scored(1))
    assert comparison.outside_zero("ged_v")
    assert comparison.difference.intervals["ged_v"][1] < 0


def test_a_method_does_not_differ_from_itself():
    comparison = compare(scored(0), scored(0))
    assert comparison.difference.intervals["ged_v"] == (0, 0)
    assert not any(comparison.outside_zero(key) for key in COLUMNS)


def test_pairing_narrows_the_interval():
    a, b = scored(0), scored(1)
    low, high = compare(a, b).difference.intervals["size_crps"]
    apart = sum(end[1] - end[0] for end in (a.intervals["size_crps"], b.intervals["size_crps"]))
    assert high - low < apart / 2


def test_only_cases_of_both_are_compared_and_the_others_are_named():
    names = tuple(CASES)
    comparison = compare(scored(0, names[:20]), scored(0, names[5:]))
    assert comparison.cases == 15
    assert comparison.left_out == (*names[:5], *names[20:])


def test_a_value_that_one_side_lacks_is_left_out_of_the_difference():
    a, b = scored(0), scored(-20)
    assert math.isnan(b.mean["surface"])
    assert math.isnan(compare(a, b).difference.values["surface"])


def test_other_numbers_of_samples_are_refused():
    with pytest.raises(InputError, match="expected 3 samples on both sides, got 3 and 4"):
        compare(scored(0), scored(0, count=4))


def test_sizes_in_other_units_are_refused():
    placed = {name: replace(case, grid=Grid.plane(GRID.shape, 0.5)) for name, case in CASES.items()}
    panels = [MaskSet(name, np.stack([square(4)] * 3), GRID, "toy") for name in CASES]
    with pytest.raises(InputError, match="expected sizes in voxels on both sides, got mm, mm²"):
        compare(scored(0), evaluate(panels, placed))


def test_no_case_in_common_is_refused():
    names = tuple(CASES)
    with pytest.raises(InputError, match="expected cases that both have, got none"):
        compare(scored(0, names[:3]), scored(0, names[3:6]))
