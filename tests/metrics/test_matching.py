"""Matched IoU against a search over all matchings, by hand, and at its edges."""

import math
from functools import cache
from itertools import permutations
from statistics import fmean

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog
from slow_pairs import by_case, panels, row, slow_iou

from plurimask.errors import InputError, SettingsError
from plurimask.metrics.matching import hm_iou, matched_mean

MATCHINGS = st.sampled_from(["repeat", "rectangular"])


def slow_repeat(samples, readers):
    """The best of all ways to give each repeated sample a repeated reader."""
    if not len(readers):
        return math.nan
    common = math.lcm(len(samples), len(readers))
    iou = [[slow_iou(sample, reader) for reader in readers] for sample in samples]

    @cache
    def best(given, left):
        if given == common:
            return 0.0
        gains = iou[given % len(samples)]
        rest = [(*left[:r], left[r] - 1, *left[r + 1 :]) for r in range(len(left))]
        return max(gains[r] + best(given + 1, rest[r]) for r in range(len(left)) if left[r])

    return best(0, (common // len(readers),) * len(readers)) / common


def slow_rectangular(samples, readers):
    if not len(readers):
        return math.nan
    few, many = sorted((samples, readers), key=len)
    return max(
        fmean(slow_iou(a, many[i]) for a, i in zip(few, order, strict=True))
        for order in permutations(range(len(many)), len(few))
    )


@given(panels(), st.sampled_from([("repeat", slow_repeat), ("rectangular", slow_rectangular)]))
def test_matched_iou_is_that_of_the_best_of_all_matchings(panel, matching):
    name, slow = matching
    torch.testing.assert_close(hm_iou(*panel, name), by_case(slow, *panel), equal_nan=True)


@pytest.mark.parametrize(("samples", "readers"), [(7, 4), (100, 4), (10, 4), (6, 3)])
def test_matching_repeated_masks_is_optimal_transport_between_equal_weights(samples, readers):
    iou = torch.rand(1, samples, readers, dtype=torch.float64, generator=torch.manual_seed(samples))
    rows = torch.eye(samples).repeat_interleave(readers, 1)
    columns = torch.eye(readers).repeat(1, samples)
    weights = torch.cat([torch.full((samples,), 1 / samples), torch.full((readers,), 1 / readers)])
    # The last weight follows from the others.
    sums, weights = torch.cat([rows, columns])[:-1].numpy(), weights.numpy()[:-1]
    plan = linprog(-iou.flatten().numpy(), A_eq=sums, b_eq=weights)
    read = torch.ones(1, readers, dtype=torch.bool)
    assert matched_mean(iou, read).item() == pytest.approx(-plan.fun, abs=1e-6)


@given(panels(), MATCHINGS, st.integers(0, 99))
def test_the_order_of_samples_and_readers_does_not_matter(panel, matching, seed):
    samples, readers, valid = panel
    some = torch.randperm(samples.shape[1], generator=torch.manual_seed(seed))
    other = torch.randperm(readers.shape[1], generator=torch.manual_seed(seed))
    shuffled = hm_iou(samples[:, some], readers[:, other], valid[:, other], matching)
    torch.testing.assert_close(shuffled, hm_iou(*panel, matching), equal_nan=True)


@given(panels(), MATCHINGS)
def test_matched_iou_lies_between_0_and_1(panel, matching):
    values = hm_iou(*panel, matching)
    assert ((values >= 0) & (values <= 1 + 1e-12)).all()


@given(panels(), st.integers(2, 3))
def test_samples_that_all_come_equally_often_are_matched_as_each_once(panel, times):
    samples, readers, valid = panel
    torch.testing.assert_close(hm_iou(samples.repeat_interleave(times, 1), readers, valid), hm_iou(*panel))


@given(panels(), MATCHINGS)
def test_the_readers_themselves_are_matched_fully(panel, matching):
    readers = panel[1]
    ones = torch.ones(len(readers), dtype=torch.float64)
    torch.testing.assert_close(hm_iou(readers, readers, None, matching), ones)


def test_rectangular_matching_leaves_samples_out_and_repetition_does_not():
    samples, readers = row("10", "01", "00", "00"), row("10", "01")
    assert hm_iou(samples, readers, matching="rectangular").item() == 1
    assert hm_iou(samples, readers).item() == 0.5


def test_matching_by_hand_where_neither_number_divides_the_other():
    # Six pairs: each sample twice, each reader three times. Two full matches each, one empty sample for each reader.
    assert hm_iou(row("10", "01", "00"), row("10", "01")).item() == pytest.approx(4 / 6)


@pytest.mark.parametrize("matching", ["repeat", "rectangular"])
def test_nobody_read_is_undefined(matching):
    assert hm_iou(row("01"), row("01")[:, :0], None, matching).isnan().item()
    assert hm_iou(row("01"), row("01"), torch.tensor([[False]]), matching).isnan().item()


def test_an_unknown_matching_is_refused():
    with pytest.raises(SettingsError, match="matching: expected repeat or rectangular, got 'greedy'"):
        hm_iou(row("01"), row("01"), matching="greedy")


def test_masks_of_two_sizes_are_refused():
    with pytest.raises(InputError, match="the same size on both sides"):
        hm_iou(row("01"), row("011"))
