"""Rows of means with intervals, strata, and paired comparison: what cases have in common falls out."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from plurimask.errors import InputError
from plurimask.evaluation import COLUMNS, CaseScores, compare, evaluate
from plurimask.evaluation.scores import DRAWS, LEVEL, SEED, stratify, summarise
from plurimask.geometry import Grid
from plurimask.metrics.bootstrap import patient_bootstrap
from plurimask.records import Case, MaskSet

PATIENTS = ["a", "a", "b", "c", None, None]
VALUES = np.array([0.1, 0.3, 0.8, math.nan, 0.5, 0.2])


def row(drawn: int, size: float, value: float, readers: int = 4) -> CaseScores:
    return CaseScores("x", None, readers, drawn, size, 4, dict.fromkeys(COLUMNS, value))


def test_a_row_is_the_mean_over_the_defined_cases_with_the_patient_bootstrap():
    (made,) = summarise(["toy"], [{"ged_v": VALUES}], 4, PATIENTS)
    interval = patient_bootstrap(VALUES[:, None], PATIENTS, DRAWS, SEED, LEVEL)
    assert made.values["ged_v"] == pytest.approx(np.nanmean(VALUES))
    assert made.intervals["ged_v"] == (interval.low[0], interval.high[0])


def test_rows_of_other_values_stand_beside_each_other():
    rows = summarise(["a", "b"], [{"ged_v": VALUES, "ci": VALUES + 1}, {"ged": VALUES}], 4, PATIENTS)
    assert [set(made.values) for made in rows] == [{"ged_v", "ci"}, {"ged"}]
    assert rows[0].values["ci"] == pytest.approx(np.nanmean(VALUES) + 1)


def test_a_value_that_is_nowhere_defined_has_neither_mean_nor_interval():
    (made,) = summarise(["toy"], [{"ged_v": np.full(6, math.nan)}], 4, PATIENTS)
    assert all(math.isnan(value) for value in (made.values["ged_v"], *made.intervals["ged_v"]))


def test_cases_divide_by_readers_who_drew_and_by_thirds_of_size():
    rows = [row(1 + k % 2, 10.0 * (k + 1), float(k)) for k in range(9)]
    strata = stratify(rows, "toy", "mm²")
    assert [(s.by, s.part, s.cases) for s in strata] == [
        ("readers who drew", "1 of 4 readers drew", 5),
        ("readers who drew", "2 of 4 readers drew", 4),
        ("size of what they drew", "10 to 30 mm²", 3),
        ("size of what they drew", "40 to 60 mm²", 3),
        ("size of what they drew", "70 to 90 mm²", 3),
    ]
    assert [s.row.values["ci"] for s in strata] == [4, 4, 1, 4, 7]


@pytest.mark.parametrize("sizes", [[5.0] * 6, [0.30 + 0.01 * k for k in range(9)], [10, 10, 10, 10, 20, 30], [1, 2]])
def test_every_sized_case_is_in_one_third_and_equal_sizes_stay_together(sizes):
    strata = [s for s in stratify([row(1, size, size) for size in sizes], "toy", "mm²") if s.by.startswith("size")]
    assert sum(s.cases for s in strata) == len(sizes)
    assert len({s.part for s in strata}) == len(strata) <= 3
    ends = [tuple(map(float, s.part.split()[:3:2])) for s in strata]
    assert all(last < first for (_, last), (first, _) in pairwise(ends))


def test_a_case_that_nobody_drew_in_has_no_size_and_stands_with_its_readers_alone():
    strata = stratify([row(0, math.nan, 1.0)], "toy", "mm²")
    assert [(s.by, s.part) for s in strata] == [("readers who drew", "0 of 4 readers drew")]


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
