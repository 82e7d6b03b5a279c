"""Each reader against the others: against a slow one, against other metrics, by hand, at its edges."""

import math
from statistics import fmean

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from slow_pairs import by_case, panels, row, slow_dice, slow_iou

from plurimask.errors import InputError, SettingsError
from plurimask.metrics.ci_score import dice_max
from plurimask.metrics.ged import rater_diversity
from plurimask.metrics.leave_one_out import leave_one_out

SLOW = {"dice": slow_dice, "iou": slow_iou}
MEASURES = st.sampled_from(["dice", "iou"])


def slow_leave_one_out(raters, measure, of_others):
    if len(raters) < 2:
        return math.nan
    others = [
        [SLOW[measure](rater, other) for j, other in enumerate(raters) if j != i] for i, rater in enumerate(raters)
    ]
    return fmean(map(of_others, others))


@given(panels(), MEASURES)
def test_best_and_mean_equal_the_slow_ones(panel, measure):
    _, raters, valid = panel
    for values, of_others in zip(leave_one_out(raters, valid, measure), (max, fmean), strict=True):
        expected = by_case(lambda _, r, of=of_others: slow_leave_one_out(r, measure, of), *panel)
        torch.testing.assert_close(values, expected, equal_nan=True)


@given(panels(least_raters=2), MEASURES)
def test_the_mean_is_1_less_the_diversity_of_the_raters(panel, measure):
    _, raters, valid = panel
    torch.testing.assert_close(leave_one_out(raters, valid, measure).mean, 1 - rater_diversity(raters, valid, measure))


@given(panels(least_raters=2))
def test_the_best_is_the_mean_d_max_of_panels_made_of_the_others(panel):
    raters = panel[1]
    slots = range(raters.shape[1])
    left_out = [dice_max(raters[:, [j for j in slots if j != i]], raters[:, [i]]) for i in slots]
    torch.testing.assert_close(leave_one_out(raters).best, torch.stack(left_out).mean(0))


@given(panels(), MEASURES, st.integers(0, 99))
def test_the_order_of_raters_does_not_matter(panel, measure, seed):
    _, raters, valid = panel
    order = torch.randperm(raters.shape[1], generator=torch.manual_seed(seed))
    shuffled = leave_one_out(raters[:, order], valid[:, order], measure)
    torch.testing.assert_close(shuffled, leave_one_out(raters, valid, measure), equal_nan=True)


@given(panels(least_raters=2), MEASURES)
def test_the_best_lies_between_the_mean_and_1(panel, measure):
    best, mean = leave_one_out(*panel[1:], measure)
    assert ((mean >= 0) & (mean <= best + 1e-12) & (best <= 1)).all()


def test_by_hand():
    # Dice of the pairs: 2/3, 0 and 2/5, so the best are 2/3, 2/3 and 2/5.
    best, mean = leave_one_out(row("1000", "1100", "0111"))
    assert best.item() == pytest.approx((2 / 3 + 2 / 3 + 2 / 5) / 3)
    assert mean.item() == pytest.approx((2 / 3 + 0 + 2 / 5) / 3)


@pytest.mark.parametrize("raters", [row("01")[:, :0], row("01")])
def test_fewer_than_two_readers_are_undefined(raters):
    assert all(values.isnan().item() for values in leave_one_out(raters))


def test_an_unknown_measure_is_refused():
    with pytest.raises(SettingsError, match="measure: expected dice or iou, got 'hausdorff'"):
        leave_one_out(row("01", "11"), measure="hausdorff")


def test_masks_that_are_not_bool_are_refused():
    with pytest.raises(InputError, match="expected bool, got"):
        leave_one_out(row("01").float())
