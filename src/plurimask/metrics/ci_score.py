"""Collective insight (CI) and its three parts: combined sensitivity, best Dice, diversity agreement (Eq. 17-23).

All are computed for each image; a table's figure is their mean over images. An image that nobody read has NaN.
"""

from typing import Literal

import torch
from torch import Tensor

from plurimask.metrics.overlap import (
    chosen,
    pairwise_dice,
    pairwise_disagreement,
    pairwise_distance,
    rater_slots,
)

Variance = Literal["pixel", "iou"]


def combined_sensitivity(samples: Tensor, raters: Tensor, valid: Tensor | None = None, strict: bool = False) -> Tensor:
    """S_c, the share of the raters' union that the samples' union covers.

    Args:
        samples: (B, S, H, W[, D]) bool.
        raters: (B, R, H, W[, D]) bool.
        valid: (B, R) bool, which slots were read; None: all.
        strict: where no rater drew anything S_c is 1, as the paper's text says; strict: 0 if a sample did draw.

    Returns:
        (B,) float64 in [0, 1].
    """
    read = rater_slots(raters, valid)
    predicted = samples.any(1).flatten(1)  # Eq. 18
    drawn = (raters.flatten(2) & read[:, :, None]).any(1)  # Eq. 18
    covered, total = (predicted & drawn).sum(1).double(), drawn.sum(1)
    nothing_to_find = 1 - (predicted.any(1) & strict).double()
    return _where_read(read, torch.where(total == 0, nothing_to_find, covered / total))  # Eq. 19


def dice_max(samples: Tensor, raters: Tensor, valid: Tensor | None = None) -> Tensor:
    """D_max, the mean over raters of the best sample's Dice: (B,) float64 in [0, 1]. Arguments as `ged`."""
    read = rater_slots(raters, valid)
    best = pairwise_dice(samples, raters).amax(1)  # Eq. 21
    return (best * read).sum(1) / read.sum(1)  # Eq. 22


def diversity_agreement(
    samples: Tensor, raters: Tensor, valid: Tensor | None = None, variance: Variance = "pixel"
) -> Tensor:
    """D_a, how well the samples' smallest and largest variance between two masks match the raters'.

    Args:
        samples: (B, S, H, W[, D]) bool.
        raters: (B, R, H, W[, D]) bool.
        valid: (B, R) bool, which slots were read; None: all.
        variance: of a pair of distinct masks. "pixel": of the two values of a voxel, averaged over voxels, that is
            a quarter of the share of voxels on which the two differ; "iou": 1 - IoU.

    Returns:
        (B,) float64, in [0.75, 1] for "pixel" and [0, 1] for "iou". A single sample or rater has variance 0.
    """
    read = rater_slots(raters, valid)
    low_y, high_y = _variance_range(raters, read, variance)
    low_s, high_s = _variance_range(samples, rater_slots(samples, None), variance)
    return _where_read(read, 1 - ((high_y - high_s).abs() + (low_y - low_s).abs()) / 2)  # Eq. 23


def ci_score(sensitivity: Tensor, best_dice: Tensor, agreement: Tensor) -> Tensor:
    """CI as printed, three times the product of S_c, D_max and D_a over their sum; 0/0 is 0. No harmonic mean."""
    product = sensitivity * best_dice * agreement
    return _zero_over_zero(3 * product, sensitivity + best_dice + agreement)  # Eq. 17


def ci_harmonic(sensitivity: Tensor, best_dice: Tensor, agreement: Tensor) -> Tensor:
    """The harmonic mean of S_c, D_max and D_a, which the paper's text names; 0 where one of them is 0."""
    pairs = sensitivity * best_dice + best_dice * agreement + agreement * sensitivity
    return _zero_over_zero(3 * sensitivity * best_dice * agreement, pairs)


def _variance_range(masks: Tensor, present: Tensor, variance: Variance) -> tuple[Tensor, Tensor]:
    """Smallest and largest variance of distinct pairs, (B,) each; 0 where there is no pair."""
    between = chosen("variance", variance, {"pixel": _pixel_variance, "iou": pairwise_distance})(masks, masks)
    pairs = (present[:, :, None] & present[:, None, :]).triu(diagonal=1)
    low = between.masked_fill(~pairs, torch.inf).flatten(1)
    high = between.masked_fill(~pairs, 0).flatten(1)
    smallest = torch.nn.functional.pad(low, (0, 1), value=torch.inf).amin(1)
    largest = torch.nn.functional.pad(high, (0, 1)).amax(1)
    return smallest.masked_fill(smallest.isinf(), 0), largest


def _pixel_variance(a: Tensor, b: Tensor) -> Tensor:
    return pairwise_disagreement(a, b) / 4


def _where_read(read: Tensor, values: Tensor) -> Tensor:
    return values.masked_fill(~read.any(1), torch.nan)


def _zero_over_zero(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole == 0, 0.0, part / whole)
