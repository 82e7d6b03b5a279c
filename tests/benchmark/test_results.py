"""Scores read back as they were written, and the mean over seeds, by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_panels import CASES, case, panel

from plurimask.benchmark.results import mean_over_seeds, read_scores
from plurimask.evaluation import COLUMNS, compare, evaluate, write_scores

PATIENTS = {name: case(name, patient=f"p{name}") for name in "abc"}


def scores(cases=PATIENTS, first=0):
    """Of four samples a case, from sample number `first` on."""
    panels = [panel(name, first + 4) for name in cases]
    return evaluate([replace(one, masks=one.masks[first:]) for one in panels], cases)


def alike(one, two):
    """Equal, where NaN is NaN."""
    return one == two or (isinstance(one, float) and math.isnan(one) and math.isnan(two))


@pytest.fixture(params=[PATIENTS, CASES], ids=["all read", "one unread"])
def stored(request, tmp_path):
    whole = scores(request.param)
    write_scores(whole, tmp_path)
    return whole, read_scores(tmp_path)


def test_rows_come_back_to_the_last_bit(stored):
    whole, read = stored
    for one, two in zip(whole.rows, read.rows, strict=True):
        assert (one.name, one.patient, one.readers, one.drawn, one.samples) == (
            two.name,
            two.patient,
            two.readers,
            two.drawn,
            two.samples,
        )
        assert alike(one.size, two.size)
        assert all(alike(one.values[key], two.values[key]) for key in COLUMNS)


def test_the_table_comes_back(stored):
    whole, read = stored
    for one, two in zip(whole.table, read.table, strict=True):
        assert (one.label, one.samples, one.cases) == (two.label, two.samples, two.cases)
        assert all(alike(one.values[key], two.values[key]) for key in [*one.values, *two.values])
        assert all(
            alike(a, b) for key in one.values for a, b in zip(one.intervals[key], two.intervals[key], strict=True)
        )


def test_the_reliability_curve_comes_back(stored):
    whole, read = stored
    for name in ("weight", "predicted", "drawn"):
        torch.testing.assert_close(getattr(read.reliability, name), getattr(whole.reliability, name))


def test_the_rest_comes_back(stored):
    whole, read = stored
    assert (read.missing, dict(read.units), read.drawn) == (whole.missing, dict(whole.units), whole.drawn)


def test_a_comparison_of_what_was_read_is_that_of_what_was_written(stored):
    whole, read = stored
    assert repr(compare(read, read).difference) == repr(compare(whole, whole).difference)


def test_mean_over_seeds_is_by_case():
    one, two = scores(), scores(first=3)
    mean = mean_over_seeds([one, two], "both")
    for row, a, b in zip(mean.rows, one.rows, two.rows, strict=True):
        assert row.values["hm_iou"] == pytest.approx((a.values["hm_iou"] + b.values["hm_iou"]) / 2)


def test_mean_over_one_seed_is_that_seed():
    one = scores()
    mean = mean_over_seeds([one], "alone")
    assert mean.table[0].label == "alone"
    assert all(alike(mean.table[0].values[key], pytest.approx(one.mean[key], nan_ok=True)) for key in COLUMNS)
    assert mean.table[0].intervals == one.table[0].intervals
    assert mean.table[1:] == one.table[1:]


def test_a_case_undefined_for_one_seed_is_undefined_in_the_mean():
    one = scores()
    first = replace(one.rows[0], values=dict(one.rows[0].values) | {"ncc": math.nan})
    other = replace(one, rows=(first, *one.rows[1:]))
    mean = mean_over_seeds([one, other], "both")
    assert math.isnan(mean.rows[0].values["ncc"])
    assert np.isfinite(mean.rows[1].values["ncc"])
