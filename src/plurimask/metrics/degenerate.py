"""Predictors that know nothing of the image or nothing of ambiguity. A score means little unless it beats theirs.

The last two of DEGENERATE copy the readers, and so have seen the answer: one of them alone, and draws from all of them.
`thresholds` knows the image alone. What readers score against each other stands beside them: each one against the best,
and the mean, of the others who read the case.
"""

import hashlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from plurimask.metrics.overlap import chosen, pairwise_dice, pairwise_iou, reader_slots

# (readers (B, R, H, W[, D]) bool, valid (B, R) bool or None, count) -> (B, count, H, W[, D]) bool
Predictor = Callable[[Tensor, Tensor | None, int], Tensor]


def all_empty(readers: Tensor, valid: Tensor | None, count: int) -> Tensor:
    """`count` masks without a voxel."""
    return _copies(torch.zeros_like(_votes(readers, valid), dtype=torch.bool), count)


def all_full(readers: Tensor, valid: Tensor | None, count: int) -> Tensor:
    """`count` masks that hold every voxel."""
    return _copies(torch.ones_like(_votes(readers, valid), dtype=torch.bool), count)


def majority(readers: Tensor, valid: Tensor | None, count: int) -> Tensor:
    """`count` copies of the voxels that more than half of the readers drew."""
    counts = reader_slots(readers, valid).sum(1).reshape(-1, *[1] * (readers.ndim - 2))
    return _copies(2 * _votes(readers, valid) > counts, count)


def union(readers: Tensor, valid: Tensor | None, count: int) -> Tensor:
    """`count` copies of the voxels that any reader drew."""
    return _copies(_votes(readers, valid) > 0, count)


def one_reader(readers: Tensor, valid: Tensor | None, count: int) -> Tensor:
    """`count` copies of one reader who read, the first that `readers_resampled` draws; empty masks where nobody did.

    Which reader depends on the masks of the case alone. A release may hold the masks in the order of their emptiness,
    so a fixed slot would be no reader at all.
    """
    return _copies(readers_resampled(readers, valid, 1)[:, 0], count)


def readers_resampled(readers: Tensor, valid: Tensor | None, count: int) -> Tensor:
    """`count` draws with replacement from the readers who read; empty masks where nobody did.

    A case's draws depend on the masks of its readers alone, not on the batch, and fewer draws are the first of more.
    """
    cases = zip(readers, reader_slots(readers, valid), strict=True)
    return torch.stack([_resampled(masks[read], count) for masks, read in cases])


DEGENERATE: Mapping[str, Predictor] = MappingProxyType(
    {
        "all empty": all_empty,
        "all full": all_full,
        "majority x N": majority,
        "union x N": union,
        "one rater x N": one_reader,
        "raters resampled": readers_resampled,
    }
)


def thresholds(image: Tensor, count: int = 5) -> Tensor:
    """`count` masks (B, count, H, W[, D]) bool: what lies above a level of an image (B, H, W[, D]), or else below it.

    Levels are evenly spaced between the image's least and greatest value. Of the two sides that with fewer pixels is
    the mask, so that bright and dark objects are found alike.
    """
    flat = image.flatten(1)[:, None]
    low, high = flat.amin(2, keepdim=True), flat.amax(2, keepdim=True)
    above = flat > low + (high - low) * (torch.arange(1, count + 1)[:, None] / (count + 1))
    smaller = above ^ (above.sum(2, keepdim=True) > above.shape[2] / 2)
    return smaller.reshape(-1, count, *image.shape[1:])


def _resampled(masks: Tensor, count: int) -> Tensor:
    """(R, H, W[, D]) -> (count, H, W[, D])."""
    if len(masks) == 0:
        return masks.new_zeros(count, *masks.shape[1:])
    digest = hashlib.sha256(np.packbits(masks.numpy(force=True)).tobytes()).digest()
    picked = np.random.default_rng(list(digest)).integers(len(masks), size=count)
    return masks[torch.from_numpy(picked).to(masks.device)]


def _votes(readers: Tensor, valid: Tensor | None) -> Tensor:
    read = reader_slots(readers, valid)
    return (readers & read.reshape(*read.shape, *[1] * (readers.ndim - 2))).sum(1)


def _copies(mask: Tensor, count: int) -> Tensor:
    """(B, H, W[, D]) -> (B, count, H, W[, D]): one mask seen `count` times, not to be written into."""
    return mask[:, None].expand(-1, count, *mask.shape[1:])


Measure = Literal["dice", "iou"]


class LeaveOneOut(NamedTuple):
    """(B,) float64 in [0, 1] each: agreement with the best of the other readers, and the mean over the others."""

    best: Tensor
    mean: Tensor


def leave_one_out(readers: Tensor, valid: Tensor | None = None, measure: Measure = "dice") -> LeaveOneOut:
    """Agreement of each reader with the others, averaged over readers.

    `best` is the D_max (Eq. 21, 22) of a panel that is made of the other readers, with R - 1 samples.

    Args:
        readers: (B, R, H, W[, D]) bool.
        valid: (B, R) bool, which slots were read; None: all.
        measure: Dice or IoU of two readers.

    Returns:
        NaN for cases with fewer than two readers.

    Raises:
        InputError: masks that are not bool.
        SettingsError: an unknown measure.
    """
    agreement = chosen("measure", measure, {"dice": pairwise_dice, "iou": pairwise_iou})(readers, readers)
    read = reader_slots(readers, valid)
    itself = torch.eye(readers.shape[1], dtype=torch.bool, device=readers.device)
    pairs = read[:, :, None] & read[:, None, :] & ~itself
    of_others = torch.where(pairs, agreement, 0.0)
    # One more entry, so that no slot has a best too.
    best = pad(of_others, (0, 1)).amax(2).sum(1) / read.sum(1)
    return LeaveOneOut(best.masked_fill(read.sum(1) < 2, torch.nan), of_others.sum((1, 2)) / pairs.sum((1, 2)))
