"""What readers score against each other: each one against the best, and the mean, of the others who read the case."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from plurimask.metrics.overlap import chosen, pairwise_dice, pairwise_iou, rater_slots

Measure = Literal["dice", "iou"]


class LeaveOneOut(NamedTuple):
    """(B,) float64 in [0, 1] each: agreement with the best of the other readers, and the mean over the others."""

    best: Tensor
    mean: Tensor


def leave_one_out(raters: Tensor, valid: Tensor | None = None, measure: Measure = "dice") -> LeaveOneOut:
    """Agreement of each reader with the others, averaged over readers.

    `best` is the D_max (Eq. 21, 22) of a panel that is made of the other readers, with R - 1 samples.

    Args:
        raters: (B, R, H, W[, D]) bool.
        valid: (B, R) bool, which slots were read; None: all.
        measure: Dice or IoU of two readers.

    Returns:
        NaN for cases with fewer than two readers.

    Raises:
        InputError: masks that are not bool.
        SettingsError: an unknown measure.
    """
    agreement = chosen("measure", measure, {"dice": pairwise_dice, "iou": pairwise_iou})(raters, raters)
    read = rater_slots(raters, valid)
    itself = torch.eye(raters.shape[1], dtype=torch.bool, device=raters.device)
    pairs = read[:, :, None] & read[:, None, :] & ~itself
    of_others = torch.where(pairs, agreement, 0.0)
    # One more entry, so that no slot has a best too.
    best = pad(of_others, (0, 1)).amax(2).sum(1) / read.sum(1)
    return LeaveOneOut(best.masked_fill(read.sum(1) < 2, torch.nan), of_others.sum((1, 2)) / pairs.sum((1, 2)))
