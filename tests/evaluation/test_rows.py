"""Rows of means with intervals, and the strata."""

import math
from itertools import pairwise

import numpy as np
import pytest

from plurimask.evaluation import COLUMNS, CaseScores
from plurimask.evaluation.scores import DRAWS, LEVEL, SEED, stratify, summarise
from plurimask.metrics import patient_bootstrap

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
