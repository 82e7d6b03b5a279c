"""The mean over seeds, by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
from small_panels import case, panel

from plurimask.benchmark.results import mean_over_seeds
from plurimask.evaluation import COLUMNS, evaluate

PATIENTS = {name: case(name, patient=f"p{name}") for name in "abc"}


def scores(cases=PATIENTS, first=0):
    """Of four samples a case, from sample number `first` on."""
    panels = [panel(name, first + 4) for name in cases]
    return evaluate([replace(one, masks=one.masks[first:]) for one in panels], cases)


def test_mean_over_seeds_is_by_case():
    one, two = scores(), scores(first=3)
    mean = mean_over_seeds([one, two], "both")
    for row, a, b in zip(mean.rows, one.rows, two.rows, strict=True):
        assert row.values["hm_iou"] == pytest.approx((a.values["hm_iou"] + b.values["hm_iou"]) / 2)


def test_mean_over_one_seed_is_that_seed():
    one = scores()
    mean = mean_over_seeds([one], "alone")
    assert mean.table[0].label == "alone"
    assert all(mean.table[0].values[key] == pytest.approx(one.mean[key], nan_ok=True) for key in COLUMNS)
    np.testing.assert_equal(mean.table[0].intervals, one.table[0].intervals)  # some are undefined
    assert mean.table[1:] == one.table[1:]


def test_a_case_undefined_for_one_seed_is_undefined_in_the_mean():
    one = scores()
    first = replace(one.rows[0], values=dict(one.rows[0].values) | {"ncc": math.nan})
    other = replace(one, rows=(first, *one.rows[1:]))
    mean = mean_over_seeds([one, other], "both")
    assert math.isnan(mean.rows[0].values["ncc"])
    assert np.isfinite(mean.rows[1].values["ncc"])
