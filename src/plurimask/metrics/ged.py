"""How far samples and reader masks are apart as two sets: generalised energy distance and its parts, and matched IoU.

With d = 1 - IoU, N samples, M readers, d_SS and d_YY the mean distance of distinct pairs of samples and of readers:

    GED = 2 E[d(S, Y)] - E[d(S, S')] - E[d(Y, Y')]                 (squared, as printed in the paper's Eq. 24)
    V-GED = U-GED + d_SS / N + d_YY / M                           (holds on every draw)

V-GED counts each mask's pair with itself, so it depends on N; U-GED counts distinct pairs only and is unbiased. Some
code counts the two orders of a pair once, which makes self pairs weigh twice as much: U-GED + 2 d_SS / (N + 1) +
2 d_YY / (M + 1).

Hungarian-matched IoU is the mean IoU of samples and readers that are matched one to one, as well as they can be.
S samples and R readers are repeated to the least common multiple of S and R, so that each sample counts as much as each
other, and each reader too. It still depends on S: more samples can be matched better.
"""

import math
from typing import Literal

import numpy as np
import scipy  # its parts are imported when they are first asked for
import torch
from torch import Tensor

from plurimask.metrics.overlap import Distance, chosen, count_pairs, pairwise_distance, pairwise_iou, reader_slots

Estimator = Literal["v", "u", "once"]
Matching = Literal["repeat", "rectangular"]


def ged(
    samples: Tensor,
    readers: Tensor,
    valid: Tensor | None = None,
    estimator: Estimator = "v",
    distance: Distance = "iou",
) -> Tensor:
    """Squared generalised energy distance, Eq. 24 (Rahman et al., CVPR 2023).

    Args:
        samples: (B, S, H, W[, D]) bool.
        readers: (B, R, H, W[, D]) bool.
        valid: (B, R) bool, which slots were read; None: all.
        estimator: "v" counts self pairs, "u" distinct pairs only, "once" self pairs and the distinct ones in one order.
        distance: 1 - IoU or 1 - Dice; two empty masks have distance 0.

    Returns:
        (B,) float64; "v" lies in [0, 2], "once" between it and 2, "u" may fall below 0. NaN where it is undefined: no
        reader, or for "u" fewer than two samples or readers.

    Raises:
        InputError: masks that are not bool, or of two sizes.
        SettingsError: an unknown estimator or distance.
    """
    pairs = count_pairs(samples, readers, valid)
    sy, ss, yy = (block.distance(distance) for block in (pairs.sy, pairs.ss, pairs.yy))
    return energy_distance(sy, ss, yy, pairs.read, estimator)


def energy_distance(
    between: Tensor, within_samples: Tensor, within_readers: Tensor, read: Tensor, estimator: Estimator
) -> Tensor:
    """Eq. 24 from pairwise distances (B, S, R), (B, S, S), (B, R, R) and the slots that were read (B, R): (B,)."""
    of_self = chosen("estimator", estimator, {"v": 1, "u": 0, "once": 2})
    drawn = read.new_ones(between.shape[:2])
    crossed = _mean(between, drawn[:, :, None] & read[:, None, :])
    return 2 * crossed - mean_distance(within_samples, drawn, of_self) - mean_distance(within_readers, read, of_self)


def mean_distance(within: Tensor, present: Tensor, of_self: int = 0) -> Tensor:
    """Mean of distances (B, n, n) over the pairs of masks that are present (B, n): (B,); NaN where there is no pair.

    A mask's pair with itself weighs `of_self` times as much as a pair of two masks in one order.
    """
    pairs = present[:, :, None] & present[:, None, :]
    itself = torch.eye(within.shape[1], dtype=torch.bool, device=within.device)
    return _mean(within, pairs * torch.where(itself, of_self, 1))


def sample_diversity(samples: Tensor, distance: Distance = "iou") -> Tensor:
    """d_SS, the mean distance of distinct pairs of samples (B, S, H, W[, D]): (B,) float64; one sample: NaN."""
    return mean_distance(pairwise_distance(samples, samples, distance), reader_slots(samples, None))


def reader_diversity(readers: Tensor, valid: Tensor | None = None, distance: Distance = "iou") -> Tensor:
    """d_YY, the mean distance of distinct pairs of readers (B, R, H, W[, D]): (B,) float64; under two readers: NaN."""
    return mean_distance(pairwise_distance(readers, readers, distance), reader_slots(readers, valid))


def calibrated_level(readers: Tensor, valid: Tensor | None, count: int, distance: Distance = "iou") -> Tensor:
    """V-GED to expect of `count` samples drawn from the readers' own distribution, d_YY / N + d_YY / M.

    Its U-GED is 0 in expectation and its d_SS that of the readers. (B,) float64; NaN with fewer than two readers.
    """
    counts = reader_slots(readers, valid).sum(1)
    return reader_diversity(readers, valid, distance) * (1 / count + 1 / counts)


def _mean(distances: Tensor, pairs: Tensor) -> Tensor:
    return (distances * pairs).sum((1, 2)) / pairs.sum((1, 2))


def hm_iou(samples: Tensor, readers: Tensor, valid: Tensor | None = None, matching: Matching = "repeat") -> Tensor:
    """Hungarian-matched IoU (Kohl et al., 2019, "A Hierarchical Probabilistic U-Net"). Masks and errors as `ged`.

    Args:
        matching: "repeat": both repeated to the least common multiple of S and the readers who read; "rectangular":
            the best min(S, R) pairs without repetition, which leaves the other samples out (Flow-SSN's code).

    Returns:
        (B,) float64 in [0, 1]; NaN where nobody read.

    Raises:
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
    return float(iou[scipy.optimize.linear_sum_assignment(iou, maximize=True)].mean())
