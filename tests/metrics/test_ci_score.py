"""CI and its parts against slow ones, by hand, and at their edges."""

from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from phantoms import phantoms
from slow_pairs import by_case, panels, row, slow_dice, slow_iou, voxels

from plurimask.errors import InputError, SettingsError
from plurimask.metrics.ci_score import (
    ci_harmonic,
    ci_score,
    collective_insight,
    combined_sensitivity,
    dice_max,
    diversity_agreement,
)

PARTS = (combined_sensitivity, dice_max, diversity_agreement)
SHARES = st.floats(0, 1).filter(lambda share: share == 0 or share > 1e-3)


def slow_sensitivity(samples, readers, strict=False):
    predicted = set().union(*map(voxels, samples))
    drawn = set().union(*map(voxels, readers))
    if drawn:
        return len(predicted & drawn) / len(drawn)
    return 0.0 if strict and predicted else 1.0


def slow_dice_max(samples, readers):
    return sum(max(slow_dice(sample, reader) for sample in samples) for reader in readers) / len(readers)


def slow_agreement(samples, readers, variance):
    def ends(masks):
        values = [variance(a, b) for a, b in combinations(masks, 2)] or [0.0]
        return min(values), max(values)

    (low_s, high_s), (low_y, high_y) = ends(samples), ends(readers)
    return 1 - (abs(high_y - high_s) + abs(low_y - low_s)) / 2


def slow_pixel_variance(a, b):
    return len(voxels(a) ^ voxels(b)) / (4 * a.numel())


def test_booleans_whose_bytes_are_255_count_once():
    mask = torch.zeros(1, 1, 4, 8, dtype=torch.bool)
    mask[..., 1:3, 2:5] = True
    foreign = torch.from_numpy((mask.numpy().view("u1") * 255).view(bool))
    assert combined_sensitivity(foreign, foreign).item() == 1
    assert combined_sensitivity(foreign, mask).item() == 1


@given(panels(), st.booleans())
def test_sensitivity_equals_the_slow_one(panel, strict):
    expected = by_case(lambda s, r: slow_sensitivity(s, r, strict), *panel)
    torch.testing.assert_close(combined_sensitivity(*panel, strict=strict), expected)


@given(panels())
def test_dice_max_equals_the_slow_one(panel):
    torch.testing.assert_close(dice_max(*panel), by_case(slow_dice_max, *panel))


@given(panels(), st.sampled_from([("pixel", slow_pixel_variance), ("iou", lambda a, b: 1 - slow_iou(a, b))]))
def test_diversity_agreement_equals_the_slow_one(panel, variance):
    name, slow = variance
    expected = by_case(lambda s, r: slow_agreement(s, r, slow), *panel)
    torch.testing.assert_close(diversity_agreement(*panel, variance=name), expected)


@given(panels(), st.integers(0, 99))
def test_no_part_depends_on_the_order_of_samples_or_readers(panel, seed):
    samples, readers, valid = panel
    some = torch.randperm(samples.shape[1], generator=torch.manual_seed(seed))
    other = torch.randperm(readers.shape[1], generator=torch.manual_seed(seed))
    for part in PARTS:
        torch.testing.assert_close(part(samples[:, some], readers[:, other], valid[:, other]), part(*panel))


@given(panels())
def test_every_part_lies_between_0_and_1_and_pixel_agreement_above_3_quarters(panel):
    lowest = (0, 0, 0.75)
    for part, low in zip(PARTS, lowest, strict=True):
        assert ((part(*panel) >= low) & (part(*panel) <= 1)).all()


@given(panels())
def test_the_readers_themselves_score_1_in_every_part(panel):
    readers, ones = panel[1], torch.ones(len(panel[1]), dtype=torch.float64)
    for part in PARTS:
        torch.testing.assert_close(part(readers, readers), ones)


@pytest.mark.parametrize("part", PARTS)
def test_no_part_is_defined_where_nobody_read(part):
    assert part(row("01", "10"), row("01")[:, :0]).isnan().item()
    assert part(row("01"), row("01"), torch.tensor([[False]])).isnan().item()


def test_sensitivity_by_hand():
    assert combined_sensitivity(row("1000", "0001"), row("1100", "0110")).item() == pytest.approx(1 / 3)


def test_strict_sensitivity_punishes_what_is_drawn_where_no_reader_drew():
    empty, drawn = row("000"), row("010")
    assert combined_sensitivity(drawn, empty).item() == 1
    assert combined_sensitivity(drawn, empty, strict=True).item() == 0
    assert combined_sensitivity(empty, empty, strict=True).item() == 1


def test_dice_max_by_hand():
    # Best Dice: 2/3 for the first reader by the first sample, 1 for the empty one by the empty sample.
    assert dice_max(row("1100", "0000"), row("1000", "0000")).item() == pytest.approx((2 / 3 + 1) / 2)


def test_pixel_agreement_by_hand():
    # Readers differ in 1, 2 and 3 of 4 voxels; the samples in none: (3/16 + 1/16) / 2 off.
    readers = row("0000", "1000", "0110")
    assert diversity_agreement(row("1000", "1000"), readers).item() == pytest.approx(1 - (3 / 16 + 1 / 16) / 2)


def test_a_single_sample_has_variance_0():
    readers = row("0000", "1000", "0110")
    alone, twice = (diversity_agreement(samples, readers) for samples in (row("1000"), row("1000", "1000")))
    assert alone.item() == twice.item() < 1


def test_ci_as_printed_and_the_harmonic_mean_by_hand():
    parts = [torch.tensor([share], dtype=torch.float64) for share in (1.0, 0.5, 0.8)]
    assert ci_score(*parts).item() == pytest.approx(3 * 0.4 / 2.3)
    assert ci_harmonic(*parts).item() == pytest.approx(3 / (1 / 1 + 1 / 0.5 + 1 / 0.8))


@given(SHARES, SHARES, SHARES)
def test_ci_never_exceeds_the_harmonic_mean_and_both_are_0_where_a_part_is(a, b, c):
    parts = [torch.tensor([share], dtype=torch.float64) for share in (a, b, c)]
    printed, harmonic = ci_score(*parts).item(), ci_harmonic(*parts).item()
    assert 0 <= printed <= harmonic + 1e-12
    assert harmonic <= 1 + 1e-12
    assert (printed == harmonic == 0) == (min(a, b, c) == 0)


def test_an_undefined_part_leaves_ci_undefined():
    one, undefined = torch.ones(1), torch.full((1,), torch.nan)
    assert ci_score(one, undefined, one).isnan().item()
    assert ci_harmonic(one, one, undefined).isnan().item()


def test_an_unknown_variance_is_refused():
    with pytest.raises(SettingsError, match="variance: expected pixel or iou, got 'dice'"):
        diversity_agreement(row("01"), row("01"), variance="dice")


@pytest.mark.parametrize("part", PARTS[:2])
def test_masks_of_two_sizes_are_refused(part):
    with pytest.raises(InputError, match="the same size on both sides"):
        part(row("01"), row("01").mT)


def test_masks_that_no_reader_would_draw_cost_little_beside_good_ones():
    """As docs/metrics.md says: the readers' own masks and twelve that hold every voxel score 0.9."""
    scores = []
    for case in phantoms():
        readers = torch.tensor(case.readers)[None]
        full = torch.ones(1, 12, *case.grid.shape, dtype=torch.bool)
        scores.append(collective_insight(torch.cat([readers, full], 1), readers).item())
    assert sum(scores) / len(scores) == pytest.approx(0.914, abs=0.001)
