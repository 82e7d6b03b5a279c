"""Sizes of the samples' lesions against the readers', by the continuous ranked probability score (CRPS).

With F the distribution function of the samples' sizes a_1 ... a_S and y the size that a reader drew,

    CRPS(F, y) = integral of (F(a) - 1{a >= y})^2 da = E|a - y| - E|a - a'| / 2

(Gneiting and Raftery, JASA 2007). F is the empirical distribution of the S samples itself, so E|a - a'| runs over all
S^2 ordered pairs, self pairs included; it is not the "fair" variant, which divides by S(S - 1).
"""

import torch
from torch import Tensor

from plurimask.metrics.overlap import check_pair, reader_slots


def crps(sizes: Tensor, reader_sizes: Tensor, read: Tensor) -> Tensor:
    """Mean over the readers who read of the CRPS of the samples' sizes.

    Args:
        sizes: (B, S) float64.
        reader_sizes: (B, R) float64.
        read: (B, R) bool, which slots were read.

    Returns:
        (B,) float64, not negative, in the unit of the sizes; 0 where all samples and readers have one size. NaN where
        nobody read.
    """
    offsets = (sizes[:, :, None] - reader_sizes[:, None, :]).abs().mean(1)
    to_readers = torch.where(read, offsets, 0.0).sum(1) / read.sum(1)
    return to_readers - _mean_gap(sizes) / 2


def size_crps(
    samples: Tensor, readers: Tensor, valid: Tensor | None = None, voxel_size: float | Tensor = 1.0
) -> Tensor:
    """CRPS of the areas or volumes of the samples' masks against the readers'; an empty mask has size 0.

    Args:
        samples: (B, S, H, W[, D]) bool.
        readers: (B, R, H, W[, D]) bool.
        valid: (B, R) bool, which slots were read; None: all.
        voxel_size: area or volume of a voxel, or (B,) one of each case.

    Returns:
        (B,) float64, not negative, in the unit of `voxel_size`; nobody read: NaN.

    Raises:
        InputError: masks that are not bool, or of two sizes.
    """
    check_pair(samples, readers)
    voxel = torch.as_tensor(voxel_size, dtype=torch.float64, device=samples.device).reshape(-1, 1)
    return crps(_count(samples) * voxel, _count(readers) * voxel, reader_slots(readers, valid))


def _count(masks: Tensor) -> Tensor:
    return masks.flatten(2).sum(2).double()


def _mean_gap(sizes: Tensor) -> Tensor:
    """E|a - a'| over all ordered pairs of (B, S), self pairs included: (B,)."""
    count = sizes.shape[1]
    # In ascending order the i-th of S sizes is the larger one in i of its pairs and the smaller one in S - 1 - i.
    surplus = 2 * torch.arange(count, device=sizes.device) - (count - 1)
    return 2 * (sizes.sort(1).values * surplus).sum(1) / count**2
