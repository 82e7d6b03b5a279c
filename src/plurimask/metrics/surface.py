"""How far the surface of the closest sample lies from each rater's, by MONAI's 95% Hausdorff distance.

The surface of a mask is the set of its voxels with a face neighbour outside the mask or outside the image. With
h(A, B) the 95th percentile over A's surface of the distance to the nearest voxel of B's surface, between the centres
of voxels, the distance of two masks is max(h(A, B), h(B, A)).
"""

import math
import warnings
from collections.abc import Sequence

import torch
from monai.metrics import compute_hausdorff_distance
from torch import Tensor

from plurimask.errors import InputError
from plurimask.metrics.overlap import pairwise_dice, rater_slots


def closest_surface(
    samples: Tensor, raters: Tensor, valid: Tensor | None = None, spacing_mm: Sequence[float] | None = None
) -> Tensor:
    """Mean over raters of the 95% Hausdorff distance to the sample of highest Dice; of several, the nearest.

    Two empty masks have distance 0. A rater is left out where of him and every such sample exactly one is empty.

    Args:
        samples: (B, S, H, W[, D]) bool.
        raters: (B, R, H, W[, D]) bool.
        valid: (B, R) bool, which slots were read; None: all.
        spacing_mm: size of a voxel along each axis of the masks in mm, one for all cases; None: 1.

    Returns:
        (B,) float64, not negative, in mm, or in voxels without spacing. NaN where no rater is left.

    Raises:
        InputError: masks that are not bool, or of two sizes; a spacing of another number of axes, or not positive.
    """
    axes = raters.ndim - 2
    if spacing_mm is not None and (len(spacing_mm) != axes or min(spacing_mm) <= 0):
        expected = f"{axes} sizes above 0"
        raise InputError("spacing_mm", expected=expected, got=str(tuple(spacing_mm)), hint="give one for each axis")
    dice = pairwise_dice(samples, raters)
    best = dice == dice.amax(1, keepdim=True)
    distances = raters.new_full(raters.shape[:2], math.nan, dtype=torch.float64)
    with warnings.catch_warnings():
        # MONAI 1.5 and 1.6 warn of an argument that MONAI itself passes on.
        warnings.filterwarnings("ignore", ".*always_return_as_numpy", FutureWarning)
        for case, rater in rater_slots(raters, valid).nonzero().tolist():
            candidates = torch.unique(samples[case, best[case, :, rater]], dim=0)
            found = [_hausdorff_95(sample, raters[case, rater], spacing_mm) for sample in candidates]
            distances[case, rater] = min((one for one in found if not math.isnan(one)), default=math.nan)
    return distances.nanmean(1)


def _hausdorff_95(a: Tensor, b: Tensor, spacing_mm: Sequence[float] | None) -> float:
    if torch.equal(a, b):
        return 0.0
    if not (a.any() and b.any()):
        return math.nan
    box = _bounding_box(a | b)
    distance = compute_hausdorff_distance(
        a[box][None, None],
        b[box][None, None],
        include_background=True,
        percentile=95,
        spacing=None if spacing_mm is None else [float(size) for size in spacing_mm],
    )
    return distance.item()


def _bounding_box(mask: Tensor) -> tuple[slice, ...]:
    """Smallest box around `mask` and one voxel more on each side, so that what touches the box stays inside it."""
    places = mask.nonzero()
    low, high = places.amin(0).tolist(), places.amax(0).tolist()
    return tuple(slice(max(first - 1, 0), last + 2) for first, last in zip(low, high, strict=True))
