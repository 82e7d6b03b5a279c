"""How far the surface of the closest sample lies from each reader's, by the 95% Hausdorff distance.

The surface of a mask is the set of its voxels with a face neighbour outside the mask or outside the image. With
h(A, B) the 95th percentile over A's surface of the distance to the nearest voxel of B's surface, between the centres
of voxels, the distance of two masks is max(h(A, B), h(B, A)).
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy.ndimage import binary_erosion, distance_transform_edt
from torch import Tensor

from plurimask.errors import InputError
from plurimask.metrics.overlap import pairwise_dice, reader_slots


def closest_surface(
    samples: Tensor, readers: Tensor, valid: Tensor | None = None, spacing_mm: Sequence[float] | None = None
) -> Tensor:
    """Mean over readers of the 95% Hausdorff distance to the sample of highest Dice; of several, the nearest.

    Two empty masks have distance 0. A reader is left out where of him and every such sample exactly one is empty.

    Args:
        samples: (B, S, H, W[, D]) bool.
        readers: (B, R, H, W[, D]) bool.
        valid: (B, R) bool, which slots were read; None: all.
        spacing_mm: size of a voxel along each axis of the masks in mm, one for all cases; None: 1.

    Returns:
        (B,) float64, not negative, in mm, or in voxels without spacing. NaN where no reader is left.

    Raises:
        InputError: masks that are not bool, or of two sizes; a spacing of another number of axes, or not positive.
    """
    axes = readers.ndim - 2
    if spacing_mm is not None and (len(spacing_mm) != axes or min(spacing_mm) <= 0):
        expected = f"{axes} sizes above 0"
        raise InputError("spacing_mm", expected=expected, got=str(tuple(spacing_mm)), hint="give one for each axis")
    dice = pairwise_dice(samples, readers)
    best = dice == dice.amax(1, keepdim=True)
    distances = readers.new_full(readers.shape[:2], math.nan, dtype=torch.float64)
    for case, reader in reader_slots(readers, valid).nonzero().tolist():
        candidates = torch.unique(samples[case, best[case, :, reader]], dim=0).numpy(force=True)
        drawn = readers[case, reader].numpy(force=True)
        found = [hausdorff_95(sample, drawn, spacing_mm) for sample in candidates]
        distances[case, reader] = min((one for one in found if not math.isnan(one)), default=math.nan)
    return distances.nanmean(1)


def hausdorff_95(a: np.ndarray, b: np.ndarray, spacing_mm: Sequence[float] | None = None) -> float:
    """The distance of two masks (H, W[, D]) bool; both empty: 0, one of them empty: NaN."""
    if np.array_equal(a, b):
        return 0.0
    if not (a.any() and b.any()):
        return math.nan
    box = _bounding_box(a | b)
    surfaces = [mask[box] & ~binary_erosion(mask[box]) for mask in (a, b)]
    distances = (
        distance_transform_edt(~there, sampling=spacing_mm)[here] for here, there in (surfaces, reversed(surfaces))
    )
    return float(max(np.percentile(distance, 95) for distance in distances))


def _bounding_box(mask: np.ndarray) -> tuple[slice, ...]:
    """Smallest box around `mask` and one voxel more on each side, so that what touches the box stays inside it."""
    axes = range(mask.ndim)
    marked = (np.flatnonzero(mask.any(axis=tuple(other for other in axes if other != axis))) for axis in axes)
    return tuple(slice(max(places[0] - 1, 0), places[-1] + 2) for places in marked)
