"""What the degenerate predictors draw and score; and each reader against the others, beside a slow one and by hand."""

import math
from statistics import fmean

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from slow_pairs import by_case, panels, row, slow_dice, slow_iou

from plurimask.errors import InputError, SettingsError
from plurimask.metrics.ci_score import ci_score, combined_sensitivity, dice_max, diversity_agreement
from plurimask.metrics.degenerate import DEGENERATE, leave_one_out, thresholds
from plurimask.metrics.ged import ged, reader_diversity

READERS = row("1110", "1100", "0100", "0000", "1111")
READ = torch.tensor([[True, True, True, True, False]])
RESAMPLED = DEGENERATE["raters resampled"]


def nodules():
    """Four readers of one nodule in 128 x 128, discs of radius 4 to 10: (1, 4, 128, 128)."""
    rows, columns = torch.meshgrid(torch.arange(128), torch.arange(128), indexing="ij")
    squared = (rows - 60) ** 2 + (columns - 66) ** 2
    return torch.stack([squared <= radius**2 for radius in (4, 6, 8, 10)])[None]


@pytest.mark.parametrize(
    ("label", "mask"),
    [
        ("all empty", "0000"),
        ("all full", "1111"),
        ("majority x N", "0100"),
        ("union x N", "1110"),
    ],
)
def test_each_predictor_copies_its_mask_made_from_the_readers_who_read(label, mask):
    # Two of four readers drew the first voxel, which is no majority.
    assert torch.equal(DEGENERATE[label](READERS, READ, 3), row(mask, mask, mask))


@pytest.mark.parametrize(
    ("label", "distance"),
    [
        ("all empty", 3 / 4),
        ("all full", 5 / 8),
        ("majority x N", 13 / 24),
        ("union x N", 1 / 2),
    ],
)
def test_v_ged_by_hand(label, distance):
    # Pairs of readers: 1/3, 2/3, 1, 1/2, 1, 1, so their mean distance with self pairs is 9/16.
    masks = DEGENERATE[label](READERS, READ, 5)
    assert ged(masks, READERS, READ).item() == pytest.approx(2 * distance - 9 / 16)


def test_thresholds_take_the_smaller_side_of_evenly_spaced_levels():
    image = torch.tensor([[[0.0, 9.0, 9.0, 12.0]], [[5.0, 5.0, 5.0, 5.0]]])
    assert torch.equal(thresholds(image, 3), torch.cat([row("1000", "1000", "0001"), row("0000", "0000", "0000")]))


def test_all_empty_scores_the_share_of_empty_readers_in_dice_max_and_no_sensitivity():
    masks = DEGENERATE["all empty"](READERS, READ, 2)
    assert dice_max(masks, READERS, READ).item() == 1 / 4
    assert combined_sensitivity(masks, READERS, READ).item() == 0


@pytest.mark.parametrize("label", ["all full", "union x N"])
def test_all_full_and_union_have_full_sensitivity(label):
    assert combined_sensitivity(DEGENERATE[label](READERS, READ, 2), READERS, READ).item() == 1


@pytest.mark.parametrize("label", DEGENERATE)
def test_pixel_agreement_is_above_99_percent_for_every_one_of_them(label):
    readers = nodules()
    assert diversity_agreement(DEGENERATE[label](readers, None, 16), readers).item() > 0.99


def test_the_union_copied_n_times_scores_a_high_ci():
    readers = nodules()
    masks = DEGENERATE["union x N"](readers, None, 16)
    parts = [part(masks, readers) for part in (combined_sensitivity, dice_max, diversity_agreement)]
    assert ci_score(*parts).item() > 0.7


@pytest.mark.parametrize("label", DEGENERATE)
def test_a_case_that_nobody_read_has_predictors_all_the_same(label):
    assert DEGENERATE[label](READERS[:, :0], None, 2).shape == (1, 2, 1, 4)


@given(panels(least_readers=1))
def test_the_one_reader_is_the_first_that_is_resampled(panel):
    _, readers, valid = panel
    copies = DEGENERATE["one rater x N"](readers, valid, 3)
    assert torch.equal(copies, RESAMPLED(readers, valid, 1).expand_as(copies))


def test_every_resampled_mask_is_a_readers_who_read_and_each_of_them_comes_equally_often():
    drawn = RESAMPLED(READERS, READ, 4000)[0]
    shares = [(drawn == reader).flatten(1).all(1).double().mean().item() for reader in READERS[0]]
    # Four standard errors of a share of 4,000 draws.
    assert shares == pytest.approx([1 / 4] * 4 + [0], abs=4 * (3 / 16 / 4000) ** 0.5)
    assert shares[4] == 0


@given(panels(), st.integers(1, 20), st.integers(1, 20))
def test_fewer_resampled_masks_are_the_first_of_more(panel, count, more):
    _, readers, valid = panel
    assert torch.equal(RESAMPLED(readers, valid, count + more)[:, :count], RESAMPLED(readers, valid, count))


@given(panels())
def test_a_case_is_resampled_the_same_alone_at_the_end_of_a_batch_and_with_other_rubbish_in_unread_slots(panel):
    _, readers, valid = panel
    together = RESAMPLED(
        torch.cat([readers, readers ^ ~valid.reshape(*valid.shape, *[1] * (readers.ndim - 2))]),
        torch.cat([valid, valid]),
        9,
    )
    alone = [RESAMPLED(readers[[case]], valid[[case]], 9)[0] for case in range(len(readers))]
    assert torch.equal(together, torch.stack(alone + alone))


def test_two_cases_are_resampled_in_two_ways():
    case = torch.rand(2, 4, 8, 8, generator=torch.manual_seed(0)) > 0.5
    picked = [
        [int((masks == one).flatten(1).all(1).nonzero()) for one in drawn]
        for masks, drawn in zip(case, RESAMPLED(case, None, 16), strict=True)
    ]
    assert picked[0] != picked[1]


@pytest.mark.parametrize("label", ["one rater x N", "raters resampled"])
def test_where_nobody_read_a_copy_of_a_reader_is_empty(label):
    assert torch.equal(DEGENERATE[label](READERS, torch.zeros_like(READ), 2), row("0000", "0000"))


def test_the_mean_ged_of_readers_resampled_is_known():
    """Two draws, or a draw and a reader, lie d_YY 3/4 apart. Means over 600 cases, held to 3 standard errors."""
    readers = torch.rand(600, 4, 6, 6, generator=torch.manual_seed(1)) > 0.6
    known = {"v": reader_diversity(readers) * 3 / 4 / 8, "u": -reader_diversity(readers) / 4}
    for estimator, expected in known.items():
        excess = ged(RESAMPLED(readers, None, 8), readers, None, estimator) - expected
        assert abs(excess.mean()) < 3 * excess.std() / 600**0.5


SLOW = {"dice": slow_dice, "iou": slow_iou}
MEASURES = st.sampled_from(["dice", "iou"])


def slow_leave_one_out(readers, measure, of_others):
    if len(readers) < 2:
        return math.nan
    others = [
        [SLOW[measure](reader, other) for j, other in enumerate(readers) if j != i] for i, reader in enumerate(readers)
    ]
    return fmean(map(of_others, others))


@given(panels(), MEASURES)
def test_best_and_mean_equal_the_slow_ones(panel, measure):
    _, readers, valid = panel
    for values, of_others in zip(leave_one_out(readers, valid, measure), (max, fmean), strict=True):
        expected = by_case(lambda _, r, of=of_others: slow_leave_one_out(r, measure, of), *panel)
        torch.testing.assert_close(values, expected, equal_nan=True)


@given(panels(least_readers=2), MEASURES)
def test_the_mean_is_1_less_the_diversity_of_the_readers(panel, measure):
    _, readers, valid = panel
    torch.testing.assert_close(
        leave_one_out(readers, valid, measure).mean, 1 - reader_diversity(readers, valid, measure)
    )


@given(panels(least_readers=2))
def test_the_best_is_the_mean_d_max_of_panels_made_of_the_others(panel):
    readers = panel[1]
    slots = range(readers.shape[1])
    left_out = [dice_max(readers[:, [j for j in slots if j != i]], readers[:, [i]]) for i in slots]
    torch.testing.assert_close(leave_one_out(readers).best, torch.stack(left_out).mean(0))


@given(panels(), MEASURES, st.integers(0, 99))
def test_the_order_of_readers_does_not_matter(panel, measure, seed):
    _, readers, valid = panel
    order = torch.randperm(readers.shape[1], generator=torch.manual_seed(seed))
    shuffled = leave_one_out(readers[:, order], valid[:, order], measure)
    torch.testing.assert_close(shuffled, leave_one_out(readers, valid, measure), equal_nan=True)


@given(panels(least_readers=2), MEASURES)
def test_the_best_lies_between_the_mean_and_1(panel, measure):
    best, mean = leave_one_out(*panel[1:], measure)
    assert ((mean >= 0) & (mean <= best + 1e-12) & (best <= 1)).all()


def test_by_hand():
    # Dice of the pairs: 2/3, 0 and 2/5, so the best are 2/3, 2/3 and 2/5.
    best, mean = leave_one_out(row("1000", "1100", "0111"))
    assert best.item() == pytest.approx((2 / 3 + 2 / 3 + 2 / 5) / 3)
    assert mean.item() == pytest.approx((2 / 3 + 0 + 2 / 5) / 3)


@pytest.mark.parametrize("readers", [row("01")[:, :0], row("01")])
def test_fewer_than_two_readers_are_undefined(readers):
    assert all(values.isnan().item() for values in leave_one_out(readers))


def test_an_unknown_measure_is_refused():
    with pytest.raises(SettingsError, match="measure: expected dice or iou, got 'hausdorff'"):
        leave_one_out(row("01", "11"), measure="hausdorff")


def test_masks_that_are_not_bool_are_refused():
    with pytest.raises(InputError, match="expected bool, got"):
        leave_one_out(row("01").float())
