"""Soft Dice against shares of voxels in fractions, by hand, and at its edges."""

import math
from fractions import Fraction
from statistics import fmean

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.metrics import compute_dice
from slow_pairs import by_case, panels, row, voxels

from plurimask.errors import InputError
from plurimask.metrics.soft_dice import soft_dice


def drawn_by_more_than(masks, level):
    drawn = [voxels(mask) for mask in masks]
    return {voxel for voxel in set().union(*drawn) if Fraction(sum(voxel in one for one in drawn), len(drawn)) > level}


def slow_soft_dice(samples, raters):
    if not len(raters):
        return math.nan
    cuts = [
        [drawn_by_more_than(masks, Fraction(level, 10)) for masks in (samples, raters)] for level in (1, 3, 5, 7, 9)
    ]
    return fmean(2 * len(p & q) / (len(p) + len(q)) if p or q else 1.0 for p, q in cuts)


@given(panels())
def test_soft_dice_equals_the_slow_one(panel):
    torch.testing.assert_close(soft_dice(*panel), by_case(slow_soft_dice, *panel), equal_nan=True)


def test_monai_agrees_on_the_dice_at_each_level():
    samples, raters = (torch.rand(3, n, 8, 8, generator=torch.manual_seed(n)) > 0.5 for n in (16, 4))
    shares = [masks.double().mean(1, keepdim=True) for masks in (samples, raters)]
    levels = [compute_dice(*(share > level for share in shares))[:, 0] for level in (0.1, 0.3, 0.5, 0.7, 0.9)]
    torch.testing.assert_close(soft_dice(samples, raters).float(), torch.stack(levels).nanmean(0).float())


@given(panels(), st.integers(0, 99))
def test_the_order_of_samples_and_raters_does_not_matter(panel, seed):
    samples, raters, valid = panel
    some = torch.randperm(samples.shape[1], generator=torch.manual_seed(seed))
    other = torch.randperm(raters.shape[1], generator=torch.manual_seed(seed))
    shuffled = soft_dice(samples[:, some], raters[:, other], valid[:, other])
    torch.testing.assert_close(shuffled, soft_dice(*panel), equal_nan=True)


@given(panels())
def test_samples_that_all_come_twice_change_nothing(panel):
    samples, raters, valid = panel
    doubled = soft_dice(samples.repeat_interleave(2, 1), raters, valid)
    torch.testing.assert_close(doubled, soft_dice(*panel), equal_nan=True)


@given(panels())
def test_the_raters_themselves_score_1(panel):
    raters = panel[1]
    assert soft_dice(raters, raters).tolist() == [1] * len(raters)


def test_soft_dice_by_hand():
    # One of two raters drew the second voxel: a share of 0.5, in the cuts at 0.1 and 0.3 and not in that at 0.5.
    assert soft_dice(row("10"), row("10", "11")).item() == pytest.approx((2 / 3 + 2 / 3 + 1 + 1 + 1) / 5)


def test_a_share_that_equals_a_level_is_not_above_it():
    # In floating point 3 of 10 may come out above 0.3.
    samples = row(*["1"] * 3, *["0"] * 7)
    assert soft_dice(samples, row(*["1"] * 2, *["0"] * 8)).item() == 1


def test_nobody_read_is_undefined():
    assert soft_dice(row("01"), row("01")[:, :0]).isnan().item()
    assert soft_dice(row("01"), row("01"), torch.tensor([[False]])).isnan().item()


def test_masks_that_are_not_bool_are_refused():
    with pytest.raises(InputError, match="expected bool, got"):
        soft_dice(row("01").float(), row("01"))
