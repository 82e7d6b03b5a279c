"""What a page shows of a case and its masks, as plain values and small pictures. Pure functions; no files, no HTTP.

A plane counts as a volume of one slice: arrays are (row, column, slice) throughout, and a view is cut across one of
these axes, its rows and columns being the other two in their order.
"""

import io
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageColor
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from plurimask.geometry import Grid
from plurimask.metrics.ged import energy_distance, mean_distance, sample_diversity
from plurimask.metrics.measurements import agreement_curve, sizes
from plurimask.metrics.overlap import count_pairs, pairwise_distance
from plurimask.show.raster import SAMPLE_COLOUR, close_up, outline_opacity, outline_pixels, reader_colour
from plurimask.viewer.marks import Loaded, Marks, Panel, common_box

ALIKE = 0.5
"""Samples are of one group while groups are joined at a mean 1 - IoU of at most this."""
_WINDOW, _PIXELS_LOOKED_AT = (0.5, 99.5), 2**18
_INT16 = np.iinfo(np.int16)
_SIDE, _AXIS, _CHANNEL = 96, 2, 0  # of thumbnails: pixels, and what they show
_RIGHT = np.array([[0, -1, 0], [-1, 0, 0], [-1, 0, 0]])
_BOTTOM = np.array([[0, 0, -1], [0, 0, -1], [0, -1, 0]])
"""What is at the right and at the bottom, in RAS+, by the direction that a plane is cut across."""


class Group(NamedTuple):
    """Samples that are alike: their numbers, the nearest to the others first, and how many and how large in words."""

    members: list[int]
    text: str


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


def describe(loaded: Loaded, panel: Panel) -> dict[str, Any]:
    """A case and its samples as JSON has it.

    Lists of three have one entry an axis; `windows` and `ranges` have one a channel.
    """
    samples, readers, grid = panel.marks, loaded.readers, loaded.grid
    reader_sizes, unit = sizes(readers.masks, grid)
    curve = agreement_curve(samples.masks, grid)[0].tolist()
    steps = None if grid.affine is None else grid.affine[:3, :3]
    spacing = None if steps is None else np.linalg.norm(steps, axis=0)
    return {
        "name": loaded.study.case.name,
        "shape": list(readers.shape),
        "spacing_mm": None if spacing is None else spacing.tolist(),
        # The directions of rows, columns and slices in RAS+, so that a page can say which side is left.
        "axes": None if steps is None else (steps / spacing).T.tolist(),
        "channels": len(loaded.study.case.image),
        "has_image": loaded.has_image,
        "slices_marked": [sorted({*samples.marked(axis), *readers.marked(axis)}) for axis in range(3)],
        "start_slice": [start_slice(samples, readers, axis) for axis in range(3)],
        "windows": [{"low": low, "high": high} for low, high in loaded.windows],
        "ranges": [{"low": low, "high": high} for low, high in loaded.ranges],
        "readers": len(readers),
        "samples": len(samples),
        "method": panel.method,
        "checkpoint": panel.checkpoint,
        # As text, since JavaScript's numbers do not hold them.
        "seeds": None if panel.seeds is None else [str(seed) for seed in panel.seeds],
        "settings": panel.settings,
        "shares": None if panel.weights is None else [weight / sum(panel.weights) for weight in panel.weights],
        "sizes": sizes(samples.masks, grid)[0].tolist(),
        "reader_sizes": reader_sizes.tolist(),
        "unit": unit,
        "alike": ALIKE,
        "groups": [one._asdict() for one in group(samples, grid)],
        "agreement": [{"level": level, "size": size} for level, size in enumerate(curve, start=1)],
    }


def summarise(samples: Marks, readers: Marks, grid: Grid) -> Summary:
    """What a list says of a case."""
    own = samples or readers
    values, unit = sizes(own.masks, grid)
    disagreement, score = math.nan, math.nan
    if samples and readers:
        box = common_box((samples, readers))
        pairs = count_pairs(*(torch.from_numpy(one.within(box))[None] for one in (samples, readers)))
        between, within, readers_within = (1 - block.iou for block in (pairs.sy, pairs.ss, pairs.yy))
        present = torch.ones((1, len(samples)), dtype=torch.bool)
        disagreement = float(mean_distance(within, present))
        score = float(energy_distance(between, within, readers_within, pairs.read, "u"))
    elif len(own) > 1:
        disagreement = float(sample_diversity(torch.from_numpy(own.masks)[None]))
    return Summary(
        shape=grid.shape,
        spacing_mm=grid.spacing_mm,
        samples=len(samples),
        readers=len(readers),
        disagreement=disagreement,
        size_mean=float(values.mean()) if len(values) else math.nan,
        unit=unit,
        score=score,
    )


def group(samples: Marks, grid: Grid) -> list[Group]:
    """Samples by similarity: average linkage on 1 - IoU, cut at `ALIKE`; empty ones are a group of their own.

    The largest group comes first.
    """
    count = len(samples)
    values, unit = sizes(samples.masks, grid)
    drawn, empty = np.flatnonzero(values > 0), np.flatnonzero(values == 0)
    stack = torch.from_numpy(samples.masks[drawn])[None]
    distance = pairwise_distance(stack, stack)[0].numpy()
    labels = np.ones(len(drawn), dtype=int)
    if len(drawn) > 1:
        labels = fcluster(linkage(squareform(distance, checks=False), "average"), ALIKE, "distance")
    groups = []
    for label in np.unique(labels):
        inside = np.flatnonzero(labels == label)
        members = drawn[inside[np.argsort(distance[np.ix_(inside, inside)].mean(axis=1), kind="stable")]]
        own = values[members]
        middle, low, high = (
            f"{size:.3g}" if size < 1000 else f"{size:.0f}" for size in (np.median(own), own.min(), own.max())
        )
        words = f"{middle} {unit}" if low == high else f"{middle} {unit} ({low} to {high})"
        groups.append(Group(members.tolist(), f"{len(members)} of {count}: {words}"))
    if len(empty):
        groups.append(Group(empty.tolist(), f"{len(empty)} of {count}: nothing drawn"))
    return sorted(groups, key=lambda one: (-len(one.members), one.members[0]))


def start_slice(samples: Marks, readers: Marks, axis: int) -> int:
    """The slice to show first: where samples disagree most, else where most is marked, else the middle one."""
    for marks in (samples, readers):
        if marks.masks.size:
            count, others = np.uint32(len(marks)), tuple({0, 1, 2} - {axis})
            disputed = (marks.votes * (count - marks.votes)).sum(axis=others)
            most = disputed if disputed.any() else marks.votes.sum(axis=others)
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


def draw_thumbnail(loaded: Loaded, samples: Marks) -> bytes:
    """A PNG of `_SIDE` pixels a side at most: the slice to show first, around what is marked on it."""
    marks = samples if samples.masks.size else loaded.readers
    index = start_slice(samples, loaded.readers, _AXIS)
    plane = loaded.study.case.image[_CHANNEL].reshape(*loaded.readers.shape).take(index, _AXIS)
    masks, aspect = marks.plane(_AXIS, index), loaded.grid.aspect
    marked = np.zeros(plane.shape, dtype=np.bool_)
    if masks.size:
        marked[marks.box[0], marks.box[1]] = masks.any(axis=0)
    rows, columns = close_up(marked, aspect)
    height, width = (rows.stop - rows.start) * aspect, columns.stop - columns.start
    size = [max(1, round(_SIDE * side / max(height, width))) for side in (height, width)]
    low, high = loaded.windows[_CHANNEL]
    grey = ((plane[rows, columns] - low) / (high - low)).clip(0, 1) * 255
    shown = Image.fromarray(grey.astype(np.uint8)).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    picture = np.repeat(np.asarray(shown)[..., None], 3, axis=2).astype(np.float32)
    if masks.size:
        part = [
            slice(span.start - box.start, span.stop - box.start)
            for span, box in zip((rows, columns), marks.box, strict=False)
        ]
        lines = outline_pixels(masks, part, size).sum(axis=0)
        opacity = 1 - (1 - outline_opacity(len(masks))) ** lines[..., None]
        colour = reader_colour(0) if marks is loaded.readers else SAMPLE_COLOUR
        picture += (ImageColor.getrgb(colour) - picture) * opacity
    if loaded.grid.affine is not None:
        picture = as_radiologists_look(picture, loaded.grid.affine[:3, 0], loaded.grid.affine[:3, 1])
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture, np.uint8)).save(file, "PNG", compress_level=1)
    return file.getvalue()


def as_radiologists_look(plane: np.ndarray, down: np.ndarray, along: np.ndarray) -> np.ndarray:
    """A plane (h, w, ...) turned so that the patient's left, or back, is at the right and the feet, or back, are below.

    `down` and `along` are one row and one column in RAS+ mm. static/view.js turns what the stage shows the same way.
    """
    across = int(np.abs(np.cross(down, along)).argmax())
    right, bottom = _RIGHT[across], _BOTTOM[across]
    down, along = (step / np.linalg.norm(step) for step in (down, along))
    if (down @ right) ** 2 + (along @ bottom) ** 2 > (down @ bottom) ** 2 + (along @ right) ** 2:
        plane, down, along = plane.swapaxes(0, 1), along, down
    return plane[:: -1 if down @ bottom < 0 else 1, :: -1 if along @ right < 0 else 1]
