"""Equivalence over seeds against an independent computation, and the orders of systems by hand."""

import math

import numpy as np
import pytest
from scipy.stats import ttest_1samp
from small_benchmark import small_results

from plurimask.benchmark.claims import equivalence, frequency_table, order_table


@pytest.mark.parametrize("differences", [[0.001, -0.002, 0.003, 0.0], [-0.024, -0.007], [0.02, 0.021, 0.019]])
def test_p_is_that_of_two_one_sided_t_tests(differences):
    found = equivalence(differences, 0.01)
    above = ttest_1samp(differences, -0.01, alternative="greater").pvalue
    below = ttest_1samp(differences, 0.01, alternative="less").pvalue
    assert found.p == pytest.approx(max(above, below))
    assert found.interval == pytest.approx(ttest_1samp(differences, 0).confidence_interval(0.9))


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ([0.001, -0.002, 0.003, 0.0], "equivalent"),
        ([0.02, 0.021, 0.019], "different"),
        ([-0.024, 0.007, 0.001, -0.01], "undecided"),
        ([0.0], "undecided"),
        ([], "undecided"),
    ],
)
def test_verdict(differences, verdict):
    assert equivalence(differences, 0.01).verdict == verdict


def test_so_many_seeds_show_equivalence_in_four_of_five_experiments():
    needed = equivalence([0.006, -0.006, 0.008, -0.008], 0.01).needed
    spread = np.std([0.006, -0.006, 0.008, -0.008], ddof=1)
    drawn = np.random.default_rng(0).normal(0, spread, (4000, needed))
    above = ttest_1samp(drawn, -0.01, axis=1, alternative="greater").pvalue
    below = ttest_1samp(drawn, 0.01, axis=1, alternative="less").pvalue
    shown = (np.maximum(above, below) < 0.05).mean()
    assert 0.75 < shown < 0.9


def test_without_a_second_seed_nothing_is_told_of_seeds():
    found = equivalence([0.003], 0.01)
    assert (found.difference, found.needed) == (0.003, None)
    assert math.isnan(found.p)


def test_orders_of_three_systems(tmp_path):
    """U-GED tells all three apart, HM-IoU is 0 for two of them: 2 of 3 pairs agree, one is tied in one order."""
    rows = {row.head.text: row.cells[0].value for row in order_table(small_results(tmp_path)).rows}
    assert len(rows) == 6
    assert rows["U-GED, N = 4 and HM-IoU, N = 4"] == pytest.approx(2 / math.sqrt(3 * 2))


def test_a_system_that_draws_nothing_stands_at_no_right_rank(tmp_path):
    near, _, nothing = frequency_table(small_results(tmp_path)).rows
    heads = ("empty samples", "empty readers", "r", "ECE", "below", "above", "amiss")
    found = dict(zip(heads, (cell.value for cell in nothing.cells), strict=False))
    assert (found["empty samples"], found["above"]) == (1, pytest.approx(1 - 0.8 * found["empty readers"]))
    assert near.cells[6].value < found["amiss"]
