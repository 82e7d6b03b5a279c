"""What a page shows of a case and its masks, as plain values. Pure functions; no files, no HTTP.

A plane counts as a volume of one slice: arrays are (row, column, slice) throughout, and a view is cut across one of
these axes, its rows and columns being the other two in their order.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from plurimask.geometry import Grid
from plurimask.metrics.ged import energy_distance, mean_distance
from plurimask.metrics.measurements import sizes
from plurimask.metrics.overlap import Pairs, count_overlap, count_pairs
from plurimask.viewer.marks import Marks, common_box

ALIKE = 0.5
"""Samples are of one group while groups are joined at a mean 1 - IoU of at most this."""
_WINDOW, _PIXELS_LOOKED_AT = (0.5, 99.5), 2**18
_INT16 = np.iinfo(np.int16)


@dataclass(frozen=True)
class Group:
    """Samples that are alike.

    Args:
        members: their numbers from 0, those nearest to the others first.
        share: of all samples.
        text: how often it occurs and how large it is, in words.
    """

    members: tuple[int, ...]
    share: float
    text: str

    @property
    def representative(self) -> int:
        """The member that is nearest to the others."""
        return self.members[0]


@dataclass(frozen=True)
class Summary:
    """What a list says of a case; NaN where it is undefined.

    Args:
        shape, spacing_mm: of the image; spacing is None where it is unknown.
        samples, readers: how many.
        disagreement: mean 1 - IoU of distinct pairs of samples; where nothing was drawn, of readers.
        size_mean: of the samples, those that drew nothing included; where nothing was drawn, of the readers.
        unit: of sizes.
        score: U-GED of samples against readers.
    """

    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...] | None
    samples: int
    readers: int
    disagreement: float
    size_mean: float
    unit: str
    score: float


def summarise(samples: Marks | None, readers: Marks, grid: Grid) -> Summary:
    """What a list says of a case. `samples` is None where nothing has been drawn."""
    own = samples or readers
    values, unit = sizes(own.masks, grid)
    disagreement, score = math.nan, math.nan
    if samples is None or not len(readers.masks):
        disagreement = _mean_distance(own.masks)
    else:
        pairs = _pairs(samples, readers)
        between, within, readers_within = (1 - block.iou for block in (pairs.sy, pairs.ss, pairs.yy))
        present = torch.ones((1, len(samples.masks)), dtype=torch.bool)
        disagreement = float(mean_distance(within, present))
        score = float(energy_distance(between, within, readers_within, pairs.read, "u"))
    return Summary(
        shape=grid.shape,
        spacing_mm=grid.spacing_mm,
        samples=len(samples.masks) if samples else 0,
        readers=len(readers.masks),
        disagreement=disagreement,
        size_mean=float(values.mean()) if len(values) else math.nan,
        unit=unit,
        score=score,
    )


def group(samples: Marks, grid: Grid) -> list[Group]:
    """Samples by similarity: average linkage on 1 - IoU, cut at `ALIKE`; empty ones are a group of their own.

    The largest group comes first.
    """
    count = len(samples.masks)
    values, unit = sizes(samples.masks, grid)
    drawn, empty = np.flatnonzero(values > 0), np.flatnonzero(values == 0)
    distance = _distances(samples.masks[drawn])
    labels = np.ones(len(drawn), dtype=int)
    if len(drawn) > 1:
        labels = fcluster(linkage(squareform(distance, checks=False), "average"), ALIKE, "distance")
    groups = []
    for label in np.unique(labels):
        inside = np.flatnonzero(labels == label)
        nearest = inside[np.argsort(distance[np.ix_(inside, inside)].mean(axis=1), kind="stable")]
        groups.append(_group(drawn[nearest], count, _size_text(values[drawn[nearest]], unit)))
    if len(empty):
        groups.append(_group(empty, count, "nothing drawn"))
    return sorted(groups, key=lambda one: (-len(one.members), one.representative))


def start_slice(samples: Marks | None, readers: Marks, axis: int) -> int:
    """The slice to show first: where samples disagree most, else where most is marked, else the middle one."""
    for marks in (samples, readers):
        if marks is not None and marks.masks.size:
            count, others = np.uint32(len(marks.masks)), tuple({0, 1, 2} - {axis})
            disputed = (marks.held * (count - marks.held)).sum(axis=others)
            most = disputed if disputed.any() else marks.held.sum(axis=others)
            return int(most.argmax()) + marks.box[axis].start
    return readers.shape[axis] // 2


def window(image: np.ndarray) -> tuple[float, float]:
    """Values between which an image is shown at first: percentiles 0.5 and 99.5 of evenly spread voxels."""
    values = image.ravel(order="K")[:: max(1, image.size // _PIXELS_LOOKED_AT)]
    low, high = np.percentile(values, _WINDOW).tolist()
    return (low, high) if high > low else (low, low + 1.0)


def encode(plane: np.ndarray) -> tuple[np.ndarray, float, float]:
    """A slice (h, w) float32 as int16 with scale and offset: value = raw * scale + offset.

    Whole numbers of 16 bits stay as they are (scale 1, offset 0); others are off by half of 1/65535 of the slice's
    range at most.
    """
    low, high = float(plane.min()), float(plane.max())
    if low >= _INT16.min and high <= _INT16.max and (plane == np.rint(plane)).all():
        return plane.astype("<i2"), 1.0, 0.0
    scale = (high - low) / (2**16 - 1) or 1.0
    offset = low - _INT16.min * scale
    raw = np.rint((plane.astype(np.float64) - offset) / scale)
    return raw.clip(_INT16.min, _INT16.max).astype("<i2"), scale, offset


def _pairs(samples: Marks, readers: Marks) -> Pairs:
    box = common_box((samples, readers))
    first, second = (torch.from_numpy(one.within(box))[None] for one in (samples, readers))
    return count_pairs(first, second)


def _distances(masks: np.ndarray) -> np.ndarray:
    """1 - IoU of each pair of masks (S, ...): (S, S), symmetric, 0 on the diagonal."""
    stack = torch.from_numpy(masks)[None]
    distance = (1 - count_overlap(stack, stack).iou)[0].numpy()
    np.fill_diagonal(distance, 0.0)
    return distance


def _mean_distance(masks: np.ndarray) -> float:
    if len(masks) < 2:
        return math.nan
    return float(squareform(_distances(masks), checks=False).mean())


def _group(members: np.ndarray, count: int, words: str) -> Group:
    return Group(tuple(members.tolist()), len(members) / count, f"{len(members)} of {count}: {words}")


def _size_text(values: np.ndarray, unit: str) -> str:
    middle, low, high = (f"{value:.3g}" if value < 1000 else f"{value:.0f}" for value in _middle_and_ends(values))
    return f"{middle} {unit}" if low == high else f"{middle} {unit} ({low} to {high})"


def _middle_and_ends(values: np.ndarray) -> tuple[float, float, float]:
    return float(np.median(values)), float(values.min()), float(values.max())
