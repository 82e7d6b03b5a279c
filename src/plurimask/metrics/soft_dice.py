"""Soft Dice: Dice of the frequency maps of samples and of raters, both cut at one level, averaged over levels."""

import torch
from torch import Tensor

from plurimask.metrics.overlap import check_pair, count_overlap, rater_slots

# In tenths, so that a share that equals a level is compared exactly.
LEVELS = (1, 3, 5, 7, 9)


def soft_dice(samples: Tensor, raters: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean over the levels 0.1, 0.3, 0.5, 0.7, 0.9 of the Dice of the voxels that more than that share drew.

    Source: the QUBIQ challenge (2020); as D-Persona (Wu et al., CVPR 2024) computes it, whose code cuts both maps by >.

    Args:
        samples: (B, S, H, W[, D]) bool.
        raters: (B, R, H, W[, D]) bool.
        valid: (B, R) bool, which slots were read; None: all.

    Returns:
        (B,) float64 in [0, 1]; two maps that are both empty at a level have Dice 1 there. NaN where nobody read.

    Raises:
        InputError: masks that are not bool, or of two sizes.
    """
    check_pair(samples, raters)
    read = rater_slots(raters, valid)
    cut = count_overlap(_cut(samples, rater_slots(samples, None)), _cut(raters, read))
    return cut.dice.diagonal(dim1=1, dim2=2).mean(1).masked_fill(~read.any(1), torch.nan)


def _cut(masks: Tensor, present: Tensor) -> Tensor:
    """(B, n, H, W[, D]) and the masks that are present (B, n) -> (B, levels, 1, H * W[ * D])."""
    # float32 is exact here, and far quicker to add than bool.
    votes = torch.einsum("bnv,bn->bv", masks.flatten(2).float(), present.float())
    return torch.stack([10 * votes > level * present.sum(1, keepdim=True) for level in LEVELS], 1)[:, :, None]
