"""Sizes and longest diameters of masks, in the units of their grid.

The longest diameter is the largest distance in mm between two points of the outline of one connected part of a mask in
any one slice, as a radiologist measures a lesion. The points are the midpoints of the voxel edges between the mask and
what lies outside, where marching squares at level one half has its vertices: a single pixel is one pixel long, a row of
n pixels n long, and a disc drawn in pixels up to one pixel longer than the disc. Voxels that touch at a corner are
connected. Slices are those of the grid's third axis.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import find_objects, label
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist

from plurimask.geometry import Grid
from plurimask.records import count_votes

_CORNERS_CONNECT = np.ones((3, 3), dtype=bool)


@dataclass(frozen=True)
class Summary:
    """One quantity over the samples that have it.

    Args:
        samples: how many have it.
        mean, median: of these; NaN where no sample has it.
        low, high: the 5th and the 95th percentile, linearly interpolated between samples.
    """

    samples: int
    mean: float
    median: float
    low: float
    high: float


def measure(masks: np.ndarray, grid: Grid) -> dict[str, np.ndarray]:
    """What can be measured of each mask, by name with unit.

    The names are area_mm2 or volume_mm3, and longest_diameter_mm; without spacing area_pixels or volume_voxels, and
    longest_diameter_pixels.

    Args:
        masks: (S, H, W[, D]) bool.
        grid: of the masks.

    Returns:
        (S,) float64 each. An empty mask has size 0 and no diameter: NaN.
    """
    found = find_objects(masks.any(0).astype(np.uint8))
    masks = masks[(slice(None), *(found[0] if found else (slice(1),)))]
    values, unit = sizes(masks, grid)
    size = "area" if len(grid.shape) == 2 else "volume"
    length = "pixels" if grid.affine is None else "mm"
    diameters = np.array([longest_diameter(mask, grid) for mask in masks])
    ascii_unit = unit.replace("²", "2").replace("³", "3")
    return {f"{size}_{ascii_unit}": values, f"longest_diameter_{length}": diameters}


def sizes(masks: np.ndarray, grid: Grid) -> tuple[np.ndarray, str]:
    """Area or volume of each mask (S, H, W[, D]) and its unit: mm² or mm³, or a voxel count without spacing."""
    return grid.measured(np.array([np.count_nonzero(mask) for mask in masks]))


def agreement_curve(masks: np.ndarray, grid: Grid) -> tuple[np.ndarray, str]:
    """Area or volume of what at least k of S masks hold, for k = 1..S, and its unit as of `sizes`.

    It never grows with k: the first value is the size of the union, the last that of the intersection, and their mean
    is the mean size of the masks.

    Args:
        masks: (S, H, W[, D]) bool.
        grid: of the masks.

    Returns:
        (S,) float64 and the unit.
    """
    votes = count_votes(masks)
    by_count = np.bincount(votes[votes > 0], minlength=len(masks) + 1)
    return grid.measured(by_count[:0:-1].cumsum()[::-1])


def longest_diameter(mask: np.ndarray, grid: Grid) -> float:
    """The longest diameter of a mask (H, W[, D]) in mm, or in pixels without spacing; NaN for an empty mask."""
    steps = np.eye(2) if grid.affine is None else grid.affine[:3, :2]
    longest = math.nan
    volume = mask.reshape(*mask.shape[:2], -1)
    for index in np.flatnonzero(volume.any(axis=(0, 1))):
        plane = volume[..., index]
        (box,) = find_objects(plane.astype(np.uint8))
        labels, _ = label(plane[box], _CORNERS_CONNECT)
        boxes = find_objects(labels)
        bounds = _diagonals(boxes, steps)
        for place in np.argsort(bounds)[::-1]:
            if bounds[place] <= longest:
                break
            part = labels[boxes[place]] == place + 1
            longest = np.fmax(longest, _diameter(part, steps))
    return float(longest)


def summarise(values: np.ndarray) -> Summary:
    """The summary of (S,) values; NaN is left out."""
    known = values[~np.isnan(values)]
    if not len(known):
        return Summary(0, *[math.nan] * 4)
    low, median, high = np.quantile(known, (0.05, 0.5, 0.95)).tolist()
    return Summary(len(known), float(known.mean()), median, low, high)


def _diagonals(boxes: list[tuple[slice, slice]], steps: np.ndarray) -> np.ndarray:
    """The longer diagonal of each box of pixels: no diameter of what lies in it is longer."""
    extents = np.array([[span.stop - span.start for span in box] for box in boxes])
    down, along = (extents[:, axis, None] * steps[:, axis] for axis in (0, 1))
    return np.maximum(np.linalg.norm(down + along, axis=1), np.linalg.norm(down - along, axis=1))


def _diameter(part: np.ndarray, steps: np.ndarray) -> float:
    """Of one part (h, w) that is not empty; `steps` (2 or 3, 2) are one row and one column in space."""
    padded = np.pad(part, 1)
    below = np.argwhere(padded[1:] != padded[:-1]) + np.array((0.5, 0.0))
    beside = np.argwhere(padded[:, 1:] != padded[:, :-1]) + np.array((0.0, 0.5))
    points = np.concatenate((below, beside))
    outermost = points[ConvexHull(points).vertices]
    return float(pdist(outermost @ steps.T).max())
