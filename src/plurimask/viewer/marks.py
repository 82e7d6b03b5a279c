"""A case and its masks as they are in memory: of masks, the box in which anything is marked.

A plane counts as a volume of one slice.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import numpy as np

from plurimask.files.locate import Study
from plurimask.geometry import Grid
from plurimask.records import MaskSet, count_votes

Box = tuple[slice, ...]


@dataclass(frozen=True, eq=False)
class Marks:
    """Masks of one image, kept where anything is marked; its length is their number.

    Args:
        masks: (S, h, w, d) bool, what lies in the box.
        box: the smallest that holds all marks; of no size where there are none.
        shape: (H, W, D) of the image.
    """

    masks: np.ndarray
    box: Box
    shape: tuple[int, ...]

    @classmethod
    def of(cls, masks: np.ndarray) -> Self:
        """Masks (S, H, W[, D]) bool, of which a copy is kept."""
        volumes = masks[..., None] if masks.ndim == 3 else masks
        box = _box(volumes)
        return cls(volumes[:, *box].copy(), box, volumes.shape[1:])

    def __len__(self) -> int:
        return len(self.masks)

    @cached_property
    def votes(self) -> np.ndarray:
        """How many of the masks mark each voxel of the box: (h, w, d)."""
        return count_votes(self.masks)

    def within(self, box: Box) -> np.ndarray:
        """The same masks in a box that holds their own: (S, ...) bool."""
        spread = np.zeros((len(self.masks), *(span.stop - span.start for span in box)), dtype=np.bool_)
        if self.masks.size:
            spread[:, *(slice(a.start - b.start, a.stop - b.start) for a, b in zip(self.box, box, strict=True))] = (
                self.masks
            )
        return spread

    def plane(self, axis: int, index: int) -> np.ndarray:
        """Masks (S, h, w) bool of one slice, in the box; (S, 0, 0) where nothing is marked on it."""
        span = self.box[axis]
        if not span.start <= index < span.stop:
            return np.zeros((len(self.masks), 0, 0), dtype=np.bool_)
        plane = self.masks.take(index - span.start, axis + 1)
        return plane if plane.any() else plane[:, :0, :0]

    def whole(self) -> np.ndarray:
        """The masks as they were: (S, H, W, D) bool."""
        return self.within(tuple(slice(0, side) for side in self.shape))

    def marked(self, axis: int) -> list[int]:
        """The slices on which anything is marked."""
        drawn = self.votes.any(axis=tuple({0, 1, 2} - {axis}))
        return (np.flatnonzero(drawn) + self.box[axis].start).tolist()


@dataclass(frozen=True, eq=False)
class Panel:
    """A mask set as it is kept in memory, or no masks where nothing has been drawn. `MaskSet` has the same fields."""

    marks: Marks
    method: str | None = None
    seeds: tuple[int, ...] | None = None
    checkpoint: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    weights: tuple[int, ...] | None = None

    @classmethod
    def of(cls, panel: MaskSet) -> Self:
        """What is kept of a mask set."""
        marks, settings = Marks.of(panel.masks), dict(panel.settings)
        return cls(marks, panel.method, panel.seeds, panel.checkpoint, settings, panel.weights)

    @property
    def nbytes(self) -> int:
        """In memory."""
        return self.marks.masks.nbytes

    def followed_by(self, more: "Panel") -> "Panel":
        """This panel and further samples of the same origin; seeds are known where both know theirs."""
        if not len(self.marks):
            return more
        seeds = None if self.seeds is None or more.seeds is None else self.seeds + more.seeds
        return replace(self, marks=joined((self.marks, more.marks)), seeds=seeds)


@dataclass(frozen=True, eq=False)
class Loaded:
    """A case as it is in memory.

    Args:
        study: image, readers and grid.
        readers: what they marked.
        windows, ranges: of each channel, the values between which it is shown at first, and its least and greatest one.
        has_image: False where nobody gave an image, and zeros stand for it.
    """

    study: Study
    readers: Marks
    windows: tuple[tuple[float, float], ...]
    ranges: tuple[tuple[float, float], ...]
    has_image: bool

    @property
    def grid(self) -> Grid:
        """Of image and masks."""
        return self.study.case.grid

    @property
    def nbytes(self) -> int:
        """In memory."""
        case = self.study.case
        return case.image.nbytes + case.readers.nbytes + self.readers.masks.nbytes


def joined(parts: Sequence[Marks]) -> Marks:
    """The masks of several stacks of one image, in their order."""
    box = common_box(parts)
    return Marks(np.concatenate([part.within(box) for part in parts]), box, parts[0].shape)


def common_box(parts: Sequence[Marks]) -> Box:
    """The smallest box that holds the marks of all; of no size where there are none."""
    boxes = [part.box for part in parts if part.masks.size]
    if not boxes:
        return (slice(0, 0),) * 3
    return tuple(
        slice(min(one.start for one in spans), max(one.stop for one in spans)) for spans in zip(*boxes, strict=True)
    )


def _box(masks: np.ndarray) -> Box:
    """Where any of the masks (S, H, W, D) bool marks anything."""
    if not len(masks):
        return (slice(0, 0),) * 3
    # As words of eight bits, which numpy combines many times faster than it does bool.
    drawn = np.bitwise_or.reduce(masks.view(np.uint8), axis=0)
    found = [np.flatnonzero(np.bitwise_or.reduce(drawn, axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    return tuple(slice(int(one[0]), int(one[-1]) + 1) if len(one) else slice(0, 0) for one in found)
