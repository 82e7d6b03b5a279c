"""Numbers as places in a picture: scales with round ticks, and charts that a template draws as SVG."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.ticker import LogLocator, MaxNLocator

LEFT, RIGHT, TOP, BOTTOM = 64, 14, 14, 46
"""Margins of a chart in units of its picture, in which text is 13 high."""


@dataclass(frozen=True)
class Scale:
    """What lies where along one side.

    Args:
        low, high: the values at its ends.
        ticks: values with their labels.
        logarithmic: equal ratios are equally long, instead of differences.
    """

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """0 at the low end, 1 at the high one."""
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class Point:
    """One point of a chart.

    Args:
        x, y: its values.
        text: written in it or beside it.
        title: all about it, for who points at it.
        span: of an interval in y through it.
        kind: a class of style.
        link: what it leads to in the page.
    """

    x: float
    y: float
    text: str = ""
    title: str = ""
    span: tuple[float, float] | None = None
    kind: str = ""
    link: str = ""


@dataclass(frozen=True)
class Line:
    """A line through values, and its name."""

    values: tuple[tuple[float, float], ...]
    kind: str = ""


@dataclass(frozen=True)
class Chart:
    """Points and lines on two scales.

    Args:
        label: what it shows, for who does not see it.
        x, y: the scales.
        names: of the scales, the horizontal one first.
        points, lines: what lies on them; lines are drawn below.
        width, height: of the picture.
    """

    label: str
    x: Scale
    y: Scale
    names: tuple[str, str]
    points: tuple[Point, ...] = ()
    lines: tuple[Line, ...] = ()
    width: int = 640
    height: int = 400

    def across(self, value: float) -> float:
        """Where a value lies from the left."""
        return round(LEFT + (self.width - LEFT - RIGHT) * self.x.place(value), 1)

    def down(self, value: float) -> float:
        """Where a value lies from the top."""
        return round(self.height - BOTTOM - (self.height - BOTTOM - TOP) * self.y.place(value), 1)

    def path(self, line: Line) -> str:
        """The line as the `d` of an SVG path."""
        return "M" + "L".join(f"{self.across(x)} {self.down(y)}" for x, y in line.values)


def linear(low: float, high: float, ticks: int = 5) -> Scale:
    """A scale that holds both values, from tick to tick."""
    values = MaxNLocator(ticks).tick_values(low, high if high > low else low + 1)
    return Scale(float(values[0]), float(values[-1]), tuple((float(value), _written(value)) for value in values))


def logarithmic(values: Sequence[float]) -> Scale:
    """A scale of positive values with ticks at powers of ten, a little longer than they reach."""
    low, high = min(values) / 1.6, max(values) * 1.6
    ticks = [float(tick) for tick in LogLocator().tick_values(low, high) if low <= tick <= high]
    return Scale(low, high, tuple((tick, _written(tick)) for tick in ticks), logarithmic=True)


def _written(value: float) -> str:
    return f"{value:.6g}".replace("-", "\N{MINUS SIGN}")
