"""The masks of a card one by one: outline, size and colour, and where they lie on an axis of sizes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from plurimask.pixels.outline import svg_path
from plurimask.report.chart import linear

# More samples than this make a strip nobody reads; it then shows some, evenly spaced in order of size.
STRIP_LENGTH = 24
# Along the axis of sizes; dots that fall on one place are piled up.
_PLACES = 60


@dataclass(frozen=True)
class Mark:
    """One mask in a card: whose it is (numbered from 1), its SVG path, its size and its colour."""

    number: int
    path: str
    size: float
    colour: str


@dataclass(frozen=True)
class Group:
    """The marks of all readers or of all samples: how many drew nothing, and how large the others are."""

    marks: tuple[Mark, ...]

    @property
    def drawn(self) -> list[Mark]:
        """The marks that are not empty."""
        return [mark for mark in self.marks if mark.size > 0]

    @property
    def empty(self) -> int:
        """How many drew nothing."""
        return len(self.marks) - len(self.drawn)

    @property
    def extent(self) -> tuple[float, float, float] | None:
        """Smallest, median and largest of the marks that are not empty."""
        drawn = [mark.size for mark in self.drawn]
        return (min(drawn), float(np.median(drawn)), max(drawn)) if drawn else None

    @property
    def strip(self) -> list[Mark]:
        """At most STRIP_LENGTH marks from the largest to the smallest."""
        ranked = sorted(self.marks, key=lambda mark: (-mark.size, mark.number))
        chosen = np.linspace(0, len(ranked) - 1, min(len(ranked), STRIP_LENGTH)).round().astype(int)
        return [ranked[index] for index in chosen]


@dataclass(frozen=True)
class Dot:
    """A mark on the axis of sizes: its place along it in percent, and its place in the pile there, from 0."""

    x: float
    level: int
    mark: Mark


@dataclass(frozen=True)
class Axis:
    """The axis of sizes of a card: ticks (percent, label), and a dot for every sample and reader."""

    ticks: tuple[tuple[float, str], ...]
    samples: tuple[Dot, ...]
    readers: tuple[Dot, ...]
    height: int


def group_of(masks: np.ndarray, sizes: np.ndarray, colours: Sequence[str]) -> Group:
    """The marks of masks (n, H, W) on the plane that is shown; `sizes` (n,) are of the whole masks."""
    entries = zip(masks, sizes.tolist(), colours, strict=True)
    return Group(tuple(Mark(k, svg_path(mask), size, colour) for k, (mask, size, colour) in enumerate(entries, 1)))


def axis_of(samples: Group, readers: Group) -> Axis:
    """Where samples and readers lie by size."""
    scale = linear(0.0, max(mark.size for mark in samples.marks + readers.marks) or 1.0)
    ticks = tuple((_percent(scale.place(value)), label) for value, label in scale.ticks)
    above, below = (_piles(group, scale.high) for group in (samples, readers))
    return Axis(ticks, above, below, max(dot.level for dot in above) + 1)


def _piles(group: Group, top: float) -> tuple[Dot, ...]:
    """Dots by size; empty masks have place 0 alone."""
    piles: dict[int, int] = {}
    dots = []
    for mark in sorted(group.marks, key=lambda mark: mark.size):
        place = math.ceil(_PLACES * mark.size / top)
        level = piles[place] = piles.get(place, -1) + 1
        dots.append(Dot(_percent(place / _PLACES), level, mark))
    return tuple(dots)


def _percent(place: float) -> float:
    """Of the width of the picture, so that a dot at either end is whole."""
    return 3 + 94 * place
