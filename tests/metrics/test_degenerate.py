"""What the degenerate predictors draw and what they score."""

import pytest
import torch
from slow_pairs import row

from plurimask.metrics import DEGENERATE, ci_score, combined_sensitivity, dice_max, diversity_agreement, ged

RATERS = row("1110", "1100", "0100", "0000", "1111")
READ = torch.tensor([[True, True, True, True, False]])


def nodules():
    """Four readers of one nodule in 128 x 128, discs of radius 4 to 10: (1, 4, 128, 128)."""
    rows, columns = torch.meshgrid(torch.arange(128), torch.arange(128), indexing="ij")
    squared = (rows - 60) ** 2 + (columns - 66) ** 2
    return torch.stack([squared <= radius**2 for radius in (4, 6, 8, 10)])[None]


@pytest.mark.parametrize(
    ("label", "mask"),
    [("all empty", "0000"), ("all full", "1111"), ("majority x N", "0100"), ("union x N", "1110")],
)
def test_each_predictor_copies_its_mask_made_from_the_raters_who_read(label, mask):
    # Two of four raters drew the first voxel, which is no majority.
    assert torch.equal(DEGENERATE[label](RATERS, READ, 3), row(mask, mask, mask))


@pytest.mark.parametrize(
    ("label", "distance"),
    [("all empty", 3 / 4), ("all full", 5 / 8), ("majority x N", 13 / 24), ("union x N", 1 / 2)],
)
def test_v_ged_by_hand(label, distance):
    # Pairs of raters: 1/3, 2/3, 1, 1/2, 1, 1, so their mean distance with self pairs is 9/16.
    masks = DEGENERATE[label](RATERS, READ, 5)
    assert ged(masks, RATERS, READ).item() == pytest.approx(2 * distance - 9 / 16)


def test_all_empty_scores_the_share_of_empty_raters_in_dice_max_and_no_sensitivity():
    masks = DEGENERATE["all empty"](RATERS, READ, 2)
    assert dice_max(masks, RATERS, READ).item() == 1 / 4
    assert combined_sensitivity(masks, RATERS, READ).item() == 0


@pytest.mark.parametrize("label", ["all full", "union x N"])
def test_all_full_and_union_have_full_sensitivity(label):
    assert combined_sensitivity(DEGENERATE[label](RATERS, READ, 2), RATERS, READ).item() == 1


@pytest.mark.parametrize("label", DEGENERATE)
def test_pixel_agreement_is_above_99_percent_for_every_one_of_them(label):
    raters = nodules()
    assert diversity_agreement(DEGENERATE[label](raters, None, 16), raters).item() > 0.99


def test_the_union_copied_n_times_scores_a_high_ci():
    raters = nodules()
    masks = DEGENERATE["union x N"](raters, None, 16)
    parts = [part(masks, raters) for part in (combined_sensitivity, dice_max, diversity_agreement)]
    assert ci_score(*parts).item() > 0.7


@pytest.mark.parametrize("label", DEGENERATE)
def test_a_case_that_nobody_read_has_predictors_all_the_same(label):
    assert DEGENERATE[label](RATERS[:, :0], None, 2).shape == (1, 2, 1, 4)
