"""The course of a training run."""

import json
import math
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from plurimask.errors import InputError
from plurimask.plot.style import BLUE, VERMILLION, plain_axes

Curves = dict[str, dict[str, list[tuple[int, float]]]]


def training_figure(metrics: Path) -> Figure:
    """Loss terms and validation scores against the step, one small chart a name, from a run's metrics.jsonl.

    Each line of the file is an object {"step": int, "split": "train" | "val", name: number, ...}.

    Raises:
        InputError: a line that is not such an object, or a file without any number to draw.
    """
    curves = _read_curves(metrics)
    columns = min(3, len(curves))
    rows = math.ceil(len(curves) / columns)
    figure = Figure(figsize=(4.2 * columns, 2.7 * rows), layout="constrained")
    for position, (name, splits) in enumerate(curves.items()):
        _draw_curve(figure.add_subplot(rows, columns, position + 1), name, splits)
    return figure


def _read_curves(metrics: Path) -> Curves:
    """Name -> split -> (step, value) in the file's order."""
    curves: Curves = defaultdict(lambda: defaultdict(list))
    for split, step, values in _metric_lines(metrics):
        for name, value in values.items():
            curves[name][split].append((step, value))
    if not curves:
        raise InputError(metrics, expected="at least one logged value", got="none", hint="train for a while first")
    return curves


def _metric_lines(metrics: Path) -> Iterator[tuple[str, int, dict[str, float]]]:
    for number, line in enumerate(metrics.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            entry = json.loads(line)
            step, split = int(entry.pop("step")), str(entry.pop("split"))
            yield split, step, {name: float(value) for name, value in entry.items() if value is not None}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                metrics,
                expected='lines such as {"step": 100, "split": "train", "loss": 0.1}',
                got=f"{line[:40]!r} on line {number}",
                hint="remove that line",
            ) from error


def _draw_curve(axes: Axes, name: str, splits: dict[str, list[tuple[int, float]]]) -> None:
    for split, points in splits.items():
        steps, values = np.array(points, dtype=float).T
        if split == "train":
            axes.plot(steps, values, color=BLUE, alpha=0.25, linewidth=0.8)
            axes.plot(steps, _running_median(values), color=BLUE, linewidth=1.4, label="train, running median")
        else:
            axes.plot(steps, values, color=VERMILLION, linewidth=1.2, marker="o", markersize=3, label=split)
    values = np.array([value for points in splits.values() for _, value in points])
    if (values > 0).all() and values.max() > 50 * values.min():
        axes.set_yscale("log")
    axes.set_title(name, fontsize=10)
    axes.set_xlabel("step", fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    plain_axes(axes)
    axes.legend(fontsize=8, frameon=False)


def _running_median(values: np.ndarray) -> np.ndarray:
    """Median of each value and its neighbours, a twentieth of the curve in all; shorter at both ends."""
    half = len(values) // 40
    return np.array([np.median(values[max(0, i - half) : i + half + 1]) for i in range(len(values))])
