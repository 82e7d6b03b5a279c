"""GED and matched IoU against loops over pairs, closed forms and bounds."""

import math
from functools import cache
from itertools import permutations, product
from statistics import fmean

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog
from slow_pairs import PAIRS, by_case, panels, row, slow_dice, slow_iou

from plurimask.errors import InputError, SettingsError
from plurimask.metrics.ged import (
    calibrated_level,
    ged,
    hm_iou,
    matched_mean,
    reader_diversity,
    sample_diversity,
)

SLOW = {"iou": slow_iou, "dice": slow_dice}
ESTIMATORS = st.sampled_from(list(PAIRS))
DISTANCES = st.sampled_from(["iou", "dice"])


def slow_within(masks, distance, estimator):
    distances = [1 - SLOW[distance](a, b) for a, b in PAIRS[estimator](list(masks))]
    return fmean(distances) if distances else math.nan


def slow_ged(samples, readers, estimator, distance):
    between = [1 - SLOW[distance](a, b) for a, b in product(samples, readers)]
    within = [slow_within(masks, distance, estimator) for masks in (samples, readers)]
    return 2 * fmean(between) - sum(within)


def permuted(masks, seed):
    order = torch.randperm(masks.shape[1], generator=torch.manual_seed(seed))
    return masks[:, order]


def six_masks(generator):
    """Masks that differ much: (6, 5, 5), a fifth of the voxels to all of them."""
    return torch.rand(6, 5, 5, generator=generator) > torch.linspace(0.2, 1, 6)[:, None, None]


@given(panels(), ESTIMATORS, DISTANCES)
def test_ged_equals_the_slow_one_over_the_readers_who_read(panel, estimator, distance):
    samples, readers, valid = panel
    expected = by_case(lambda s, r: slow_ged(s, r, estimator, distance), samples, readers, valid)
    torch.testing.assert_close(ged(samples, readers, valid, estimator, distance), expected, equal_nan=True)


@given(panels(), DISTANCES)
def test_diversities_equal_the_slow_ones(panel, distance):
    samples, readers, valid = panel
    within_samples = by_case(lambda s, _: slow_within(s, distance, "u"), *panel)
    within_readers = by_case(lambda _, r: slow_within(r, distance, "u"), *panel)
    torch.testing.assert_close(sample_diversity(samples, distance), within_samples, equal_nan=True)
    torch.testing.assert_close(reader_diversity(readers, valid, distance), within_readers, equal_nan=True)


@given(panels(least_samples=2, least_readers=2), DISTANCES)
def test_v_ged_is_u_ged_and_each_diversity_over_its_number_of_masks(panel, distance):
    samples, readers, valid = panel
    parts = sample_diversity(samples, distance) / samples.shape[1] + reader_diversity(
        readers, valid, distance
    ) / valid.sum(1)
    expected = ged(samples, readers, valid, "u", distance) + parts
    torch.testing.assert_close(ged(samples, readers, valid, "v", distance), expected, rtol=0, atol=1e-12)


@given(panels(least_samples=2, least_readers=2), DISTANCES)
def test_one_order_of_each_pair_adds_twice_each_diversity_over_its_number_and_one(panel, distance):
    samples, readers, valid = panel
    parts = sample_diversity(samples, distance) / (samples.shape[1] + 1) + reader_diversity(
        readers, valid, distance
    ) / (valid.sum(1) + 1)
    expected = ged(samples, readers, valid, "u", distance) + 2 * parts
    torch.testing.assert_close(ged(samples, readers, valid, "once", distance), expected, rtol=0, atol=1e-12)


@given(panels(), DISTANCES)
def test_one_order_of_each_pair_scores_between_v_ged_and_2(panel, distance):
    once, both = ged(*panel, "once", distance), ged(*panel, "v", distance)
    assert (once[once.isfinite()] >= both[once.isfinite()] - 1e-12).all()
    assert (once[once.isfinite()] <= 2).all()
    assert torch.equal(once.isnan(), both.isnan())


@given(panels(), DISTANCES)
def test_v_ged_lies_between_0_and_2(panel, distance):
    values = ged(*panel, "v", distance)
    assert (values >= -1e-12).all()
    assert (values <= 2).all()


@given(panels(), ESTIMATORS, st.integers(0, 99))
def test_the_order_of_samples_and_readers_does_not_matter(panel, estimator, seed):
    samples, readers, valid = panel
    shuffled = ged(permuted(samples, seed), permuted(readers, seed), permuted(valid, seed), estimator)
    torch.testing.assert_close(shuffled, ged(samples, readers, valid, estimator), equal_nan=True)


@given(panels(), ESTIMATORS)
def test_ged_is_symmetric_in_samples_and_readers(panel, estimator):
    samples, readers, _ = panel
    there, back = ged(samples, readers, None, estimator), ged(readers, samples, None, estimator)
    torch.testing.assert_close(there, back, equal_nan=True)


@given(panels())
def test_v_ged_is_the_same_when_every_sample_comes_twice(panel):
    samples, readers, valid = panel
    torch.testing.assert_close(ged(samples.repeat_interleave(2, 1), readers, valid), ged(*panel))


@given(panels(least_readers=2), DISTANCES)
def test_v_ged_of_one_sample_is_twice_its_mean_distance_less_that_of_the_readers(panel, distance):
    # With one sample there is no d_SS, and the identity above has no value; this is what remains of it.
    samples, readers, valid = panel
    between = by_case(lambda s, r: fmean(1 - SLOW[distance](s[0], reader) for reader in r), samples, readers, valid)
    number = valid.sum(1)
    expected = 2 * between - reader_diversity(readers, valid, distance) * (number - 1) / number
    torch.testing.assert_close(ged(samples[:, :1], readers, valid, "v", distance), expected, rtol=0, atol=1e-12)


@given(panels(least_readers=2), DISTANCES)
def test_u_ged_of_the_readers_themselves_is_minus_twice_d_yy_over_m_and_so_never_above_0(panel, distance):
    _, readers, _ = panel
    expected = -2 * reader_diversity(readers, None, distance) / readers.shape[1]
    torch.testing.assert_close(ged(readers, readers, None, "u", distance), expected, rtol=0, atol=1e-12)


@given(panels())
def test_v_ged_of_the_readers_themselves_is_0(panel):
    _, readers, _ = panel
    torch.testing.assert_close(ged(readers, readers), torch.zeros(len(readers), dtype=torch.float64))


def test_ged_by_hand():
    # d(S, Y): 1/2, 1, 1, 0; d(S, S') = d(Y, Y') = 1 for the distinct pair.
    samples, readers = row("1100", "0000"), row("1000", "0000")
    assert ged(samples, readers, estimator="v").item() == pytest.approx(2 * 2.5 / 4 - 0.5 - 0.5)
    assert ged(samples, readers, estimator="u").item() == pytest.approx(2 * 2.5 / 4 - 1 - 1)


def test_dice_is_the_distance_where_asked_for():
    assert ged(row("110"), row("100"), distance="dice").item() == pytest.approx(2 / 3)


def test_empty_samples_for_empty_readers_score_0():
    empty = row("000", "000")
    assert ged(empty, empty, estimator="v").item() == ged(empty, empty, estimator="u").item() == 0


@pytest.mark.parametrize(("samples", "readers"), [(row("01"), row("01", "11")), (row("01", "11"), row("01"))])
def test_u_ged_of_one_sample_or_one_reader_is_undefined_and_v_ged_is_not(samples, readers):
    assert ged(samples, readers, estimator="u").isnan().item()
    assert ged(samples, readers, estimator="v").isfinite().item()


def test_without_a_reader_every_value_but_d_ss_is_undefined():
    samples, readers = row("01", "11"), row("01")[:, :0]
    values = [ged(samples, readers), ged(samples, readers, estimator="u"), calibrated_level(readers, None, 4)]
    assert all(value.isnan().item() for value in values)
    assert sample_diversity(samples).item() == 0.5


def test_the_calibrated_level_by_hand():
    # Pairs of the three readers who read: 1/2, 1, 1, so d_YY = 5/6; the fourth did not read.
    readers, valid = row("110", "100", "001", "111"), torch.tensor([[True, True, True, False]])
    assert calibrated_level(readers, valid, 10).item() == pytest.approx(5 / 6 / 10 + 5 / 6 / 3)


@pytest.mark.parametrize("count", [2, 4, 16])
def test_samples_from_the_readers_distribution_score_0_by_u_and_the_calibrated_level_by_v(count):
    """Means over 3,000 panels, held to 3 standard errors; each is below 0.01."""
    generator = torch.manual_seed(count)
    weights = torch.tensor([0.3, 0.25, 0.2, 0.1, 0.1, 0.05])
    picked = weights.expand(3000, -1).multinomial(count + 4, replacement=True, generator=generator)
    samples, readers = six_masks(generator)[picked].split([count, 4], dim=1)
    unbiased = ged(samples, readers, estimator="u")
    excess = ged(samples, readers, estimator="v") - calibrated_level(readers, None, count)
    for values in (unbiased, excess):
        error = values.std() / math.sqrt(len(values))
        assert abs(values.mean()) < 3 * error
        assert error < 0.01
    assert unbiased.min() < 0


def test_an_unknown_estimator_is_refused():
    with pytest.raises(SettingsError, match="estimator: expected v or u or once, got 'V'"):
        ged(row("01"), row("01"), estimator="V")


def test_masks_of_two_sizes_are_refused():
    with pytest.raises(InputError, match="the same size on both sides"):
        ged(row("01"), row("011"))
    with pytest.raises(InputError, match="the same size on both sides"):
        hm_iou(row("01"), row("011"))


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
def test_the_order_of_samples_and_readers_does_not_matter_to_matching(panel, matching, seed):
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
