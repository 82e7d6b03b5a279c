"""Hungarian-matched IoU: the mean IoU of samples and readers that are matched one to one, as well as they can be.

S samples and R readers are repeated to the least common multiple of S and R, so that each sample counts as much as each
other, and each reader too. It still depends on S: more samples can be matched better.
"""

import math
from typing import Literal

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from plurimask.metrics.overlap import chosen, pairwise_iou, reader_slots

Matching = Literal["repeat", "rectangular"]


def hm_iou(samples: Tensor, readers: Tensor, valid: Tensor | None = None, matching: Matching = "repeat") -> Tensor:
    """Hungarian-matched IoU (Kohl et al., 2019, "A Hierarchical Probabilistic U-Net").

    Args:
        samples: (B, S, H, W[, D]) bool.
        readers: (B, R, H, W[, D]) bool.
        valid: (B, R) bool, which slots were read; None: all.
        matching: "repeat": both repeated to the least common multiple of S and the readers who read; "rectangular":
            the best min(S, R) pairs without repetition, which leaves the other samples out (Flow-SSN's code).

    Returns:
        (B,) float64 in [0, 1]; NaN where nobody read.

    Raises:
        InputError: masks that are not bool, or of two sizes.
        SettingsError: an unknown matching.
    """
    return matched_mean(pairwise_iou(samples, readers), reader_slots(readers, valid), matching)


def matched_mean(iou: Tensor, read: Tensor, matching: Matching = "repeat") -> Tensor:
    """`hm_iou` from the IoU of each pair (B, S, R) and the slots that were read (B, R): (B,) float64."""
    repeat = chosen("matching", matching, {"repeat": True, "rectangular": False})
    cases = zip(iou.numpy(force=True), read.numpy(force=True), strict=True)
    return torch.tensor([_matched(pairs[:, slots], repeat) for pairs, slots in cases], dtype=torch.float64).to(
        iou.device
    )


def _matched(iou: np.ndarray, repeat: bool) -> float:
    if iou.size == 0:
        return math.nan
    if repeat:
        common = math.lcm(*iou.shape)
        iou = iou.repeat(common // iou.shape[0], 0).repeat(common // iou.shape[1], 1)
    return float(iou[linear_sum_assignment(iou, maximize=True)].mean())
