"""Lesions in units that people know: their sizes, and how far apart their surfaces lie.

Sizes are scored by the continuous ranked probability score (CRPS). With F the distribution function of the samples'
sizes a_1 ... a_S and y the size that a reader drew,

    CRPS(F, y) = integral of (F(a) - 1{a >= y})^2 da = E|a - y| - E|a - a'| / 2

(Gneiting and Raftery, JASA 2007). F is the empirical distribution of the S samples itself, so E|a - a'| runs over all
S^2 ordered pairs, self pairs included; it is not the "fair" variant, which divides by S(S - 1).

The challenge CURVAS goes the other way: F is the normal distribution of the readers' sizes and y one predicted size.

The surface of a mask is the set of its voxels with a face neighbour outside the mask or outside the image. With
h(A, B) the 95th percentile over A's surface of the distance to the nearest voxel of B's surface, between the centres
of voxels, the distance of two masks is max(h(A, B), h(B, A)), the 95% Hausdorff distance.

A lesion is one body: a mask whose voxels are all connected, by a face, an edge or a corner.
"""

import math
from collections.abc import Sequence

import numpy as np
import scipy  # its parts are imported when they are first asked for
import torch
from torch import Tensor

from plurimask.errors import InputError
from plurimask.metrics.overlap import check_pair, pairwise_dice, reader_slots


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
    count = sizes.shape[1]
    # In ascending order the i-th of S sizes is the larger one in i of its pairs and the smaller one in S - 1 - i.
    surplus = 2 * torch.arange(count, device=sizes.device) - (count - 1)
    mean_gap = 2 * (sizes.sort(1).values * surplus).sum(1) / count**2
    return to_readers - mean_gap / 2


def size_ranks(sizes: Tensor, reader_sizes: Tensor, read: Tensor) -> Tensor:
    """How many readers' sizes stand at each rank among the samples': (B, S + 1) float64, of samples below.

    A reader whose size equals that of k samples counts as 1 / (k + 1) at each of their k + 1 ranks. Where readers and
    samples come from one distribution all ranks are equally likely, equal sizes or not. Arguments as `crps`.
    """
    below = (sizes[:, None] < reader_sizes[:, :, None]).sum(2, keepdim=True)
    equal = (sizes[:, None] == reader_sizes[:, :, None]).sum(2, keepdim=True)
    rank = torch.arange(sizes.shape[1] + 1, device=sizes.device)
    shares = ((rank >= below) & (rank <= below + equal)) / (equal + 1).double()
    return (shares * read[:, :, None]).sum(1)


def size_crps(
    samples: Tensor, readers: Tensor, valid: Tensor | None = None, voxel_size: float | Tensor = 1.0
) -> Tensor:
    """CRPS of the areas or volumes of the samples' masks against the readers'; an empty mask has size 0. As `ged` else.

    Args:
        voxel_size: area or volume of a voxel, or (B,) one of each case.

    Returns:
        (B,) float64, not negative, in the unit of `voxel_size`; nobody read: NaN.
    """
    return crps(*_sizes(samples, readers, voxel_size), reader_slots(readers, valid))


def curvas_crps(
    samples: Tensor, readers: Tensor, valid: Tensor | None = None, voxel_size: float | Tensor = 1.0
) -> Tensor:
    """`point_crps` of the areas or volumes of masks. Arguments as `size_crps`."""
    return point_crps(*_sizes(samples, readers, voxel_size), reader_slots(readers, valid))


def _sizes(samples: Tensor, readers: Tensor, voxel_size: float | Tensor) -> tuple[Tensor, Tensor]:
    check_pair(samples, readers)
    voxel = torch.as_tensor(voxel_size, dtype=torch.float64, device=samples.device).reshape(-1, 1)
    own, drawn = (masks.flatten(2).sum(2).double() * voxel for masks in (samples, readers))
    return own, drawn


def point_crps(sizes: Tensor, reader_sizes: Tensor, read: Tensor) -> Tensor:
    """CRPS of the readers' sizes, as a normal distribution F, at the samples' mean size y, as CURVAS counts it.

    F has the readers' mean m and standard deviation s (divided by R), is interpolated between 100 places from its 1st
    to its 99th percentile, and is 0 below and 1 above; the integral goes from m - 3 s to m + 3 s. So it says nothing of
    how the samples differ, and what a mean size misses beyond 3 s costs nothing more. Arguments as `crps`.

    Source: SYCAI-Technologies/curvas-challenge, evaluation_metrics/metrics.py, with the sum of the frequency map as the
    predicted volume.

    Returns:
        (B,) float64, not negative, in the unit of the sizes. NaN where nobody read, or all readers have one size.
    """
    count = read.sum(1)
    mean = torch.where(read, reader_sizes, 0.0).sum(1) / count
    spread = (torch.where(read, reader_sizes - mean[:, None], 0.0).square().sum(1) / count).sqrt()
    offset = ((sizes.mean(1) - mean) / spread).clamp(-3, 3).numpy(force=True)
    t = np.linspace(-3, 3, 6001)
    least, most = scipy.special.ndtri([0.01, 0.99])
    percentiles = np.linspace(least, most, 100)
    normal = np.interp(t, percentiles, scipy.special.ndtr(percentiles), left=0, right=1)
    below, above = (scipy.integrate.cumulative_trapezoid(part**2, t, initial=0) for part in (normal, 1 - normal))
    unit = np.interp(offset, t, below) + above[-1] - np.interp(offset, t, above)
    return torch.where(spread > 0, torch.from_numpy(unit).to(spread) * spread, torch.nan)


def one_body(samples: Tensor, readers: Tensor, valid: Tensor | None = None) -> Tensor:
    """Share of the samples that hold something which are one connected body; voxels touch by a corner too.

    Returns:
        (B,) float64. NaN where no sample holds anything, or not each reader who drew drew one body. Masks as in `ged`.
    """
    check_pair(samples, readers)
    shares = readers.new_full((len(readers),), math.nan, dtype=torch.float64)
    for case, read in enumerate(reader_slots(readers, valid)):
        drawn, own = (
            np.array([bodies(mask) for mask in masks.numpy(force=True)])
            for masks in (readers[case, read], samples[case])
        )
        if (drawn == 1).any() and (drawn <= 1).all() and own.any():
            shares[case] = float((own == 1).sum() / (own > 0).sum())
    return shares


def bodies(drawn: np.ndarray) -> int:
    """Connected bodies of a mask (H, W[, D]) bool, whose voxels touch if by a corner."""
    if not drawn.any():
        return 0
    (box,) = scipy.ndimage.find_objects(drawn.view(np.uint8))
    return int(scipy.ndimage.label(drawn[box], np.ones((3,) * drawn.ndim))[1])


def closest_surface(
    samples: Tensor, readers: Tensor, valid: Tensor | None = None, spacing_mm: Sequence[float] | None = None
) -> Tensor:
    """Mean over readers of the 95% Hausdorff distance to the sample of highest Dice; of several, the nearest.

    Two empty masks have distance 0. A reader is left out where of him and every such sample exactly one is empty.
    Masks as in `ged`.

    Args:
        spacing_mm: size of a voxel along each axis of the masks in mm, one for all cases; None: 1.

    Returns:
        (B,) float64, not negative, in mm, or in voxels without spacing. NaN where no reader is left.

    Raises:
        InputError: a spacing of another number of axes, or not positive.
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
    # The smallest box around both and one voxel more on each side, so that what touches the box stays inside it.
    (spans,) = scipy.ndimage.find_objects((a | b).astype(np.uint8))
    box = tuple(slice(max(span.start - 1, 0), span.stop + 1) for span in spans)
    surfaces = [mask[box] & ~scipy.ndimage.binary_erosion(mask[box]) for mask in (a, b)]
    distances = (
        scipy.ndimage.distance_transform_edt(~there, sampling=spacing_mm)[here]
        for here, there in (surfaces, reversed(surfaces))
    )
    return float(max(np.percentile(distance, 95) for distance in distances))
