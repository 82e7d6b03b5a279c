"""Collective insight (CI) and its three parts: combined sensitivity, best Dice, diversity agreement (Eq. 17-23).

All are computed for each image; a table's figure is their mean over images. An image that nobody read has NaN.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from plurimask.metrics.overlap import (
    any_mask,
    check_pair,
    chosen,
    count_overlap,
    count_voxels,
    pairwise_dice,
    pairwise_distance,
    reader_slots,
)

Variance = Literal["pixel", "iou"]


def combined_sensitivity(samples: Tensor, readers: Tensor, valid: Tensor | None = None, strict: bool = False) -> Tensor:
    """S_c, the share of the readers' union that the samples' union covers. Masks and errors as `ged`.

    Args:
        strict: where no reader drew anything S_c is 1, as the paper's text says; strict: 0 if a sample did draw.

    Returns:
        (B,) float64 in [0, 1].
    """
    check_pair(samples, readers)
    read = reader_slots(readers, valid)
    unread = None if read.all() else ~read.reshape(*read.shape, *[1] * (readers.ndim - 2))
    predicted = any_mask(samples)  # Eq. 18
    drawn = any_mask(readers if unread is None else readers.masked_fill(unread, False))  # Eq. 18
    covered, total = count_voxels(predicted & drawn), count_voxels(drawn)
    nothing_to_find = 1 - (strict * count_voxels(predicted)).clamp(max=1)
    return _where_read(read, torch.where(total == 0, nothing_to_find, covered / total))  # Eq. 19


def dice_max(samples: Tensor, readers: Tensor, valid: Tensor | None = None) -> Tensor:
    """D_max, the mean over readers of the best sample's Dice: (B,) float64 in [0, 1]. Arguments as `ged`."""
    return mean_of_best(pairwise_dice(samples, readers), reader_slots(readers, valid))


def mean_of_best(dice: Tensor, read: Tensor) -> Tensor:
    """D_max from the Dice of each pair (B, S, R) and the slots that were read (B, R): (B,); no reader: NaN."""
    best = dice.amax(1)  # Eq. 21
    return (best * read).sum(1) / read.sum(1)  # Eq. 22


def diversity_agreement(
    samples: Tensor, readers: Tensor, valid: Tensor | None = None, variance: Variance = "pixel"
) -> Tensor:
    """D_a, how well the samples' smallest and largest variance between two masks match the readers'. As `ged` else.

    Args:
        variance: of a pair of distinct masks. "pixel": of the two values of a voxel, averaged over voxels, that is
            a quarter of the share of voxels on which the two differ; "iou": 1 - IoU.

    Returns:
        (B,) float64, in [0.75, 1] for "pixel" and [0, 1] for "iou". A single sample or reader has variance 0.
    """
    between = chosen("variance", variance, {"pixel": _pixel_variance, "iou": pairwise_distance})
    return range_agreement(between(samples, samples), between(readers, readers), reader_slots(readers, valid))


def range_agreement(within_samples: Tensor, within_readers: Tensor, read: Tensor) -> Tensor:
    """D_a from the variance of each pair (B, S, S), (B, R, R) and the slots that were read (B, R): (B,)."""
    low_s, high_s = _range(within_samples, read.new_ones(within_samples.shape[:2]))
    low_y, high_y = _range(within_readers, read)
    return _where_read(read, 1 - ((high_y - high_s).abs() + (low_y - low_s).abs()) / 2)  # Eq. 23


def collective_insight(
    samples: Tensor,
    readers: Tensor,
    valid: Tensor | None = None,
    mean: Literal["printed", "harmonic"] = "printed",
    variance: Variance = "pixel",
    strict: bool = False,
) -> Tensor:
    """CI of each case, (B,): `ci_score` or `ci_harmonic` of its three parts; other settings are those of the parts."""
    score = chosen("mean", mean, {"printed": ci_score, "harmonic": ci_harmonic})
    return score(
        combined_sensitivity(samples, readers, valid, strict),
        dice_max(samples, readers, valid),
        diversity_agreement(samples, readers, valid, variance),
    )


def ci_score(sensitivity: Tensor, best_dice: Tensor, agreement: Tensor) -> Tensor:
    """CI as printed, three times the product of S_c, D_max and D_a over their sum; 0/0 is 0. No harmonic mean."""
    product = sensitivity * best_dice * agreement
    return _zero_over_zero(3 * product, sensitivity + best_dice + agreement)  # Eq. 17


def ci_harmonic(sensitivity: Tensor, best_dice: Tensor, agreement: Tensor) -> Tensor:
    """The harmonic mean of S_c, D_max and D_a, which the paper's text names; 0 where one of them is 0."""
    pairs = sensitivity * best_dice + best_dice * agreement + agreement * sensitivity
    return _zero_over_zero(3 * sensitivity * best_dice * agreement, pairs)


def _range(variance: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """Smallest and largest value (B, n, n) over distinct pairs that are present (B, n), (B,) each; 0 without a pair."""
    pairs = (present[:, :, None] & present[:, None, :]).triu(diagonal=1).flatten(1)
    low = torch.where(pairs, variance.flatten(1), torch.inf)
    high = torch.where(pairs, variance.flatten(1), 0.0)
    # One more entry each, so that n = 0 has a smallest and a largest value too.
    smallest, largest = pad(low, (0, 1), value=torch.inf).amin(1), pad(high, (0, 1)).amax(1)
    return smallest.masked_fill(~pairs.any(1), 0.0), largest


def _pixel_variance(a: Tensor, b: Tensor) -> Tensor:
    return count_overlap(a, b).variance


def _where_read(read: Tensor, values: Tensor) -> Tensor:
    return values.masked_fill(~read.any(1), torch.nan)


def _zero_over_zero(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole == 0, 0.0, part / whole)
