"""NCC by probabilities, calibration against torchmetrics and slow loops, by hand, at the edges of bins; soft Dice."""

import math
from fractions import Fraction
from math import log, nan
from statistics import correlation, fmean

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.metrics import compute_dice
from slow_pairs import by_case, panels, read_by_case, row, voxels
from torchmetrics.functional.classification import binary_calibration_error

from plurimask.errors import InputError, SettingsError
from plurimask.metrics.calibration import (
    brier_score,
    empty_share,
    expected_calibration_error,
    ncc,
    reliability_curve,
    soft_dice,
)

MEASURES = (ncc, brier_score, expected_calibration_error)
SEEDS = st.integers(0, 99)


def columns(masks):
    """Voxel by voxel, the values of all masks."""
    return masks.flatten(1).double().T.tolist()


def reader_nccs(samples, readers, clip):
    """NCC with each reader from cross-entropies of probabilities clipped to [clip, 1 - clip]; NaN where undefined."""

    def uncertainty(labels):
        return [
            fmean(-label * log(max(s, clip)) - (1 - label) * log(max(1 - s, clip)) for s in drawn)
            for label, drawn in zip(labels, columns(samples.double().clamp(clip, 1 - clip)), strict=True)
        ]

    def ncc_of(a, b):
        return nan if min(max(a) - min(a), max(b) - min(b)) < 1e-9 else correlation(a, b)

    of_samples = uncertainty([fmean(drawn) for drawn in columns(samples)])
    return [ncc_of(of_samples, uncertainty(reader)) for reader in readers.flatten(1).double().tolist()]


def labels(samples, readers):
    """p and y of each pair of a voxel and a reader."""
    pairs = [(fmean(s), y) for s, ys in zip(columns(samples), columns(readers), strict=True) for y in ys]
    return torch.tensor(pairs, dtype=torch.float64).T.contiguous()


def library_error(samples, readers, bins):
    p, y = labels(samples, readers)
    below_1 = torch.tensor(1.0, dtype=torch.float64).nextafter(torch.tensor(0.0, dtype=torch.float64))
    return binary_calibration_error(p.minimum(below_1), y.long(), n_bins=bins, norm="l1").item()


@given(panels(), st.sampled_from([1e-8, 1e-3]))
def test_ncc_is_that_of_cross_entropies_of_clipped_probabilities(panel, clip):
    expected = by_case(lambda s, r: fmean(reader_nccs(s, r, clip)), *panel)
    torch.testing.assert_close(ncc(*panel), expected, equal_nan=True)


@given(panels())
def test_ncc_is_undefined_for_all_readers_of_a_case_or_for_none(panel):
    samples, readers, valid = panel
    for drawn, read in zip(samples, read_by_case(readers, valid), strict=True):
        assert len({value != value for value in reader_nccs(drawn, read, 1e-6)}) == 1


def test_ncc_by_hand():
    # 2p(1-p) = 0, 0, 1/2, 1/2 and |y - p| = 0, 1, 1/2, 1/2: covariance 0. With y = 0110 it is 0, 0, 1/2, 1/2.
    samples = row("0110", "0101")
    assert ncc(samples, row("0010")).item() == pytest.approx(0, abs=1e-15)
    assert ncc(samples, row("0110")).item() == pytest.approx(1)
    assert ncc(samples, row("0010", "0110")).item() == pytest.approx(1 / 2)


def test_ncc_of_samples_that_all_agree_is_undefined():
    assert ncc(row("011", "011"), row("001")).isnan().item()


@pytest.mark.parametrize("size", [2, 7, 9, 13])
def test_ncc_is_undefined_where_p_and_its_complement_share_one_uncertainty(size):
    # p = 1/3 and 2/3 in turn; over some of these sizes the mean of 2p(1-p) is rounded away from its only value.
    once = ("01" * size)[:size]
    samples = row(once, once, ("10" * size)[:size])
    assert ncc(samples, row(("100" * size)[:size])).isnan().item()


@given(panels())
def test_brier_score_equals_the_slow_one(panel):
    expected = by_case(lambda s, r: fmean((p - y) ** 2 for p, y in labels(s, r).T.tolist()), *panel)
    torch.testing.assert_close(brier_score(*panel), expected)


@given(panels())
def test_calibration_error_equals_that_of_torchmetrics(panel):
    samples, readers, valid = panel
    pairs = zip(samples, read_by_case(readers, valid), strict=True)
    by_library = [binary_calibration_error(*labels(s, r), n_bins=10, norm="l1").item() for s, r in pairs]
    assert expected_calibration_error(*panel).tolist() == pytest.approx(by_library)


@pytest.mark.parametrize(("count", "bins"), [(16, 10), (16, 16), (32, 8), (100, 10)])
def test_calibration_error_equals_that_of_torchmetrics_with_p_1_in_the_last_bin(count, bins):
    generator = torch.manual_seed(count)
    chance = torch.rand(20, 20, generator=generator) ** 0.3
    samples = torch.rand(1, count, 20, 20, generator=generator) < chance
    readers = torch.rand(1, 3, 20, 20, generator=generator) < chance**2
    assert samples.all(1).any()
    value = expected_calibration_error(samples, readers, bins=bins).item()
    assert value == pytest.approx(library_error(samples[0], readers[0], bins), abs=1e-12)


@given(panels(), st.integers(1, 7))
def test_the_curve_sums_over_voxels_and_readers_whose_p_is_in_the_bin(panel, bins):
    samples, readers, valid = panel
    curve = reliability_curve(*panel, bins)
    for case, (drawn, read) in enumerate(zip(samples, read_by_case(readers, valid), strict=True)):
        expected = torch.zeros(bins, 3, dtype=torch.float64)
        for votes, ys in zip(columns(drawn), columns(read), strict=True):
            share = Fraction(int(sum(votes)), len(votes))
            expected[min(int(share * bins), bins - 1)] += torch.tensor([len(ys), float(share) * len(ys), sum(ys)])
        found = torch.stack([curve.weight[case], curve.predicted[case], curve.drawn[case]], 1)
        torch.testing.assert_close(found, expected)


def test_a_p_on_the_edge_of_two_bins_falls_into_the_upper_one():
    # In float64 3 * 0.1 lies above 3 / 10, so edges computed by steps would put p = 3/10 one bin lower.
    samples = row(*["1"] * 3, *["0"] * 7)
    assert reliability_curve(samples, row("1")).weight[0].tolist() == [0, 0, 0, 1, 0, 0, 0, 0, 0, 0]


def test_p_1_falls_into_the_last_bin():
    assert reliability_curve(row("1"), row("1"), bins=4).weight[0].tolist() == [0, 0, 0, 1]


def test_the_means_of_a_bin_by_hand():
    # p = 0, 1/2, 1/2, 1 and two readers who drew the voxels 0, 1, 0, 2 times.
    curve = reliability_curve(row("0011", "0101"), row("0101", "0001"), bins=3)
    torch.testing.assert_close(curve.mean_predicted, torch.tensor([[0, 0.5, 1]], dtype=torch.float64))
    torch.testing.assert_close(curve.mean_drawn, torch.tensor([[0, 0.25, 1]], dtype=torch.float64))
    assert curve.error.item() == pytest.approx(4 / 8 * 0.25)


def test_the_mean_of_an_empty_bin_is_undefined_and_costs_no_error():
    curve = reliability_curve(row("01"), row("01"), bins=3)
    assert curve.mean_predicted.isnan().tolist() == [[False, True, False]]
    assert curve.error.item() == 0


def test_curves_of_batches_add_up_to_that_of_all_cases():
    samples, readers = (torch.rand(5, n, 4, 4, generator=torch.manual_seed(n)) > 0.5 for n in (6, 3))
    whole = reliability_curve(samples, readers).pooled()
    split = reliability_curve(samples[:2], readers[:2]) + reliability_curve(samples[2:], readers[2:])
    for name in ("weight", "predicted", "drawn"):
        torch.testing.assert_close(getattr(split, name), getattr(whole, name))


def test_a_pooled_curve_is_that_of_one_image_with_all_voxels():
    samples, readers = (torch.rand(3, n, 4, 4, generator=torch.manual_seed(n)) > 0.5 for n in (6, 3))
    side_by_side = [torch.cat(list(masks), 2)[None] for masks in (samples, readers)]
    torch.testing.assert_close(
        reliability_curve(samples, readers).pooled().error, expected_calibration_error(*side_by_side)
    )


def test_curves_of_two_numbers_of_bins_do_not_add_up():
    with pytest.raises(InputError, match="reliability: expected 1 bins, got 2"):
        reliability_curve(row("1"), row("1"), bins=1) + reliability_curve(row("1"), row("1"), bins=2)


@given(panels(), SEEDS)
def test_no_measure_depends_on_the_order_of_samples_or_readers(panel, seed):
    samples, readers, valid = panel
    some = torch.randperm(samples.shape[1], generator=torch.manual_seed(seed))
    other = torch.randperm(readers.shape[1], generator=torch.manual_seed(seed))
    for measure in MEASURES:
        shuffled = measure(samples[:, some], readers[:, other], valid[:, other])
        torch.testing.assert_close(shuffled, measure(*panel), equal_nan=True)


@given(panels())
def test_no_measure_changes_when_every_sample_comes_twice(panel):
    samples, readers, valid = panel
    for measure in MEASURES:
        torch.testing.assert_close(
            measure(samples.repeat(1, 2, *[1] * (samples.ndim - 2)), readers, valid), measure(*panel), equal_nan=True
        )


@given(panels())
def test_ncc_lies_between_minus_1_and_1_and_the_errors_between_0_and_1(panel):
    assert (ncc(*panel).nan_to_num().abs() <= 1 + 1e-9).all()
    for measure in (brier_score, expected_calibration_error):
        assert ((measure(*panel) >= 0) & (measure(*panel) <= 1)).all()


def test_samples_that_are_the_readers_have_no_calibration_error_and_the_readers_variance_as_brier_score():
    readers = torch.rand(2, 4, 6, 6, generator=torch.manual_seed(0)) > 0.5
    assert expected_calibration_error(readers, readers, bins=4).abs().max() < 1e-15
    torch.testing.assert_close(brier_score(readers, readers), readers.double().var(1, correction=0).mean((1, 2)))


@pytest.mark.parametrize("measure", MEASURES)
def test_no_measure_is_defined_where_nobody_read(measure):
    assert measure(row("01", "00"), row("01")[:, :0]).isnan().item()
    assert measure(row("01", "00"), row("01"), torch.tensor([[False]])).isnan().item()


@given(panels())
def test_empty_share_counts_the_empty_masks_among_those_read(panel):
    expected = by_case(lambda _, r: fmean(not mask.any() for mask in r), *panel)
    torch.testing.assert_close(empty_share(panel[1], panel[2]), expected)


def test_empty_share_of_no_mask_is_undefined():
    assert empty_share(row("00"), torch.tensor([[False]])).isnan().item()


def test_no_bin_is_refused():
    with pytest.raises(SettingsError, match="bins: expected 1 or more, got 0"):
        reliability_curve(row("01"), row("01"), bins=0)


@pytest.mark.parametrize("measure", MEASURES)
def test_masks_of_two_sizes_are_refused(measure):
    with pytest.raises(InputError, match="the same size on both sides"):
        measure(row("01"), row("011"))


def drawn_by_more_than(masks, level):
    drawn = [voxels(mask) for mask in masks]
    return {voxel for voxel in set().union(*drawn) if Fraction(sum(voxel in one for one in drawn), len(drawn)) > level}


def slow_soft_dice(samples, readers):
    if not len(readers):
        return math.nan
    cuts = [
        [drawn_by_more_than(masks, Fraction(level, 10)) for masks in (samples, readers)] for level in (1, 3, 5, 7, 9)
    ]
    return fmean(2 * len(p & q) / (len(p) + len(q)) if p or q else 1.0 for p, q in cuts)


@given(panels())
def test_soft_dice_equals_the_slow_one(panel):
    torch.testing.assert_close(soft_dice(*panel), by_case(slow_soft_dice, *panel), equal_nan=True)


def test_monai_agrees_on_the_dice_at_each_level():
    samples, readers = (torch.rand(3, n, 8, 8, generator=torch.manual_seed(n)) > 0.5 for n in (16, 4))
    shares = [masks.double().mean(1, keepdim=True) for masks in (samples, readers)]
    levels = [compute_dice(*(share > level for share in shares))[:, 0] for level in (0.1, 0.3, 0.5, 0.7, 0.9)]
    torch.testing.assert_close(soft_dice(samples, readers).float(), torch.stack(levels).nanmean(0).float())


@given(panels(), st.integers(0, 99))
def test_the_order_of_samples_and_readers_does_not_matter(panel, seed):
    samples, readers, valid = panel
    some = torch.randperm(samples.shape[1], generator=torch.manual_seed(seed))
    other = torch.randperm(readers.shape[1], generator=torch.manual_seed(seed))
    shuffled = soft_dice(samples[:, some], readers[:, other], valid[:, other])
    torch.testing.assert_close(shuffled, soft_dice(*panel), equal_nan=True)


@given(panels())
def test_samples_that_all_come_twice_change_nothing(panel):
    samples, readers, valid = panel
    doubled = soft_dice(samples.repeat_interleave(2, 1), readers, valid)
    torch.testing.assert_close(doubled, soft_dice(*panel), equal_nan=True)


@given(panels())
def test_the_readers_themselves_score_1(panel):
    readers = panel[1]
    assert soft_dice(readers, readers).tolist() == [1] * len(readers)


def test_soft_dice_by_hand():
    # One of two readers drew the second voxel: a share of 0.5, in the cuts at 0.1 and 0.3 and not in that at 0.5.
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
