"""Predictors that know nothing of the image or nothing of ambiguity. A score means little unless it beats theirs."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from plurimask.metrics.overlap import rater_slots

# (raters (B, R, H, W[, D]) bool, valid (B, R) bool or None, count) -> (B, count, H, W[, D]) bool
Predictor = Callable[[Tensor, Tensor | None, int], Tensor]


def all_empty(raters: Tensor, valid: Tensor | None, count: int) -> Tensor:
    """`count` masks without a voxel."""
    return _copies(torch.zeros_like(_votes(raters, valid), dtype=torch.bool), count)


def all_full(raters: Tensor, valid: Tensor | None, count: int) -> Tensor:
    """`count` masks that hold every voxel."""
    return _copies(torch.ones_like(_votes(raters, valid), dtype=torch.bool), count)


def majority(raters: Tensor, valid: Tensor | None, count: int) -> Tensor:
    """`count` copies of the voxels that more than half of the raters drew."""
    readers = rater_slots(raters, valid).sum(1).reshape(-1, *[1] * (raters.ndim - 2))
    return _copies(2 * _votes(raters, valid) > readers, count)


def union(raters: Tensor, valid: Tensor | None, count: int) -> Tensor:
    """`count` copies of the voxels that any rater drew."""
    return _copies(_votes(raters, valid) > 0, count)


DEGENERATE: Mapping[str, Predictor] = MappingProxyType(
    {"all empty": all_empty, "all full": all_full, "majority x N": majority, "union x N": union}
)


def _votes(raters: Tensor, valid: Tensor | None) -> Tensor:
    read = rater_slots(raters, valid)
    return (raters & read.reshape(*read.shape, *[1] * (raters.ndim - 2))).sum(1)


def _copies(mask: Tensor, count: int) -> Tensor:
    """(B, H, W[, D]) -> (B, count, H, W[, D]): one mask seen `count` times, not to be written into."""
    return mask[:, None].expand(-1, count, *mask.shape[1:])
