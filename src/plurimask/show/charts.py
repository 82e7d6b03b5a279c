"""Figures of numbers: scores of many cases, and the course of a training; and figures as files and inside of pages."""

import io
import json
import math
import re
from collections import defaultdict
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from plurimask.errors import InputError
from plurimask.files.atomic import atomic_path

# Of Okabe and Ito's palette for colour-blind readers, for charts on white.
BLUE, VERMILLION, GREY = "#0072b2", "#d55e00", "#555555"
# What they are in a page, light or dark: the names of style/tokens.css.
_TOKENS = {BLUE: "accent", VERMILLION: "warn", GREY: "quiet", "#000000": "quiet", "#b0b0b0": "line", "#ffffff": "sheet"}


STYLE: dict[str, Any] = {
    "figure.constrained_layout.use": True,
    "axes.grid": True,
    "grid.alpha": 0.2,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "legend.fontsize": 8,
    "legend.frameon": False,
}
"""Of all charts: a faint grid, no frame at the top and on the right, small type."""
in_style = rc_context(STYLE)
"""Decorates a function that makes a chart."""
DASHED: dict[str, Any] = {"color": GREY, "linewidth": 0.9, "linestyle": (0, (4, 3)), "zorder": 2}
"""A line to compare with: a diagonal, a median, a level."""


def counted(cases: int, of: int) -> str:
    """A chart's title: how many cases it shows, and how many of all were left out."""
    return f"{cases} cases" + (f", {of - cases} more left out as undefined" if cases < of else "")


_DPI = 200
# Without a date and the version of matplotlib, and with names of SVG elements that do not change from run to run.
_METADATA: dict[str, dict[str, None]] = {".png": {"Software": None}, ".svg": {"Date": None, "Creator": None}}
_SETTINGS = {"svg.hashsalt": "plurimask"}


def save_figure(figure: Figure, path: Path) -> tuple[Path, Path]:
    """Write `figure` as PNG (200 dpi) and as SVG; `path` is the name of both without their suffix.

    Each file is whole or not there, and holds the same bytes for the same figure. Returns both paths. Raises OSError as
    the file system does.
    """
    png, svg = (path.with_name(path.name + suffix) for suffix in _METADATA)
    for target in (png, svg):
        save_picture(figure, target)
    return png, svg


def save_picture(figure: Figure, path: Path) -> None:
    """Write `figure` as the suffix of `path` says, .png or .svg, as `save_figure` does."""
    with rc_context(_SETTINGS), atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=_DPI, metadata=_METADATA[path.suffix])


def svg_of(figure: Figure, label: str) -> Markup:
    """The figure as an SVG element of a page, in the page's colours and type.

    An artist whose gid is "#name" leads to the element of that name.

    Args:
        figure: its background is left out.
        label: what it shows, for who does not see it; no two figures of a page have the same.
    """
    figure.patch.set_visible(False)
    for axes in figure.axes:
        axes.patch.set_visible(False)
    file = io.StringIO()
    with rc_context({"svg.hashsalt": label, "svg.fonttype": "none"}):
        figure.savefig(file, format="svg", metadata=_METADATA[".svg"])
    root = ElementTree.fromstring(file.getvalue())  # noqa: S314 (drawn just now)
    linked = False
    for element in root.iter():
        for child in list(element):
            if child.tag.endswith(("}metadata", "}clipPath", "}style")):
                element.remove(child)
        element.tag = element.tag.rpartition("}")[2]
        name = element.attrib.pop("id", "") if element.tag == "g" else ""
        style = element.get("style", "")
        element.attrib = {key.rpartition("}")[2]: value for key, value in element.items() if key != "clip-path"}
        if style:
            element.set("style", _of_page(style))
        if name.startswith("#"):
            element.tag, linked = "a", True
            element.set("href", name)
    role = "group" if linked else "img"
    # A point of the figure is a tenth of the page's type, so that all charts are written in one size.
    shape = {"viewBox": root.attrib["viewBox"], "style": f"max-width:{7.2 * figure.get_figwidth():.1f}rem"}
    root.attrib = {"class": "chart", **shape, "role": role, "aria-label": label}
    return Markup(ElementTree.tostring(root, encoding="unicode"))  # noqa: S704 (its texts are escaped)


def _of_page(style: str) -> str:
    """A style with the page's type and colours in place of the figure's own."""
    style = re.sub("'DejaVu Sans'[^;]*", "var(--sans)", style)
    return re.sub(
        "#[0-9a-f]{6}", lambda found: f"var(--{_TOKENS[found[0]]})" if found[0] in _TOKENS else found[0], style
    )


@in_style
def reliability_figure(predicted: np.ndarray, drawn: np.ndarray, weight: np.ndarray) -> Figure:
    """What readers drew against what the frequency map predicted, a point a bin, over the weight of the bins.

    The expected calibration error is written into it: the mean distance of the points from the diagonal, by weight.

    Args:
        predicted: (k,) in [0, 1], mean predicted frequency of each bin.
        drawn: (k,) in [0, 1], mean share of readers in each bin.
        weight: (k,) voxels times readers in each bin; bins without any are left out.

    Raises:
        InputError: arrays of unequal length, or no weight at all.
    """
    _check_lengths("reliability", predicted, drawn, weight)
    filled = weight > 0
    if not filled.any():
        raise InputError("reliability", expected="voxels in some bin", got="none", hint="score at least one case")
    x, y, weight = predicted[filled], drawn[filled], weight[filled]
    figure = Figure(figsize=(4.6, 5.4))
    curve, strip = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    _draw_diagonal(curve)
    curve.vlines(x, np.minimum(x, y), np.maximum(x, y), color=VERMILLION, linewidth=1.4, alpha=0.6, zorder=2.5)
    curve.plot(x, y, color=BLUE, linewidth=1.2, marker="o", markersize=5, zorder=3)
    error = np.average(np.abs(x - y), weights=weight)
    curve.set_title(f"expected calibration error {error:.4f}, all cases pooled")
    curve.set_ylabel("share of readers who drew the voxel")
    curve.text(0.03, 0.97, "predicted too seldom", fontsize=8, color=GREY, va="top")
    curve.text(0.97, 0.03, "predicted too often", fontsize=8, color=GREY, ha="right")
    strip.vlines(x, 0.5, weight, color=BLUE, linewidth=3)
    strip.set_yscale("log")
    strip.set_ylim(0.5, 3 * weight.max())
    strip.yaxis.set_minor_locator(NullLocator())
    strip.set_xlabel("share of samples that hold the voxel")
    strip.set_ylabel("voxels\ntimes readers")
    return figure


@in_style
def ranks_figure(ranks: np.ndarray) -> Figure:
    """Rank histogram of the readers' sizes among the samples', beside what samples like further readers would have.

    Args:
        ranks: (N + 1,) how many readers have 0 to N samples below them.
    """
    figure = Figure(figsize=(4.6, 3.4))
    axes = figure.subplots()
    shares = ranks / ranks.sum()
    axes.bar(np.arange(len(shares)), shares, width=0.85, color=BLUE)
    axes.axhline(1 / len(shares), **DASHED)
    axes.set_title(f"{np.abs(shares - 1 / len(shares)).sum() / 2:.0%} of the readers stand where they should not")
    axes.set_xlabel("samples smaller than the reader's mask")
    axes.set_ylabel("share of readers")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


@in_style
def empty_figure(drawn: np.ndarray, predicted: np.ndarray, readers: np.ndarray) -> Figure:
    """Empty samples of each case against readers who drew nothing; circles by number of cases, and the mean.

    Args:
        drawn: (n,) int, how many readers drew something.
        predicted: (n,) in [0, 1], share of the samples that are empty; NaN cases are left out.
        readers: (n,) int, M of each case; shares in percent where it is not the same for all.

    Raises:
        InputError: arrays of unequal length, or no case that is defined.
    """
    _check_lengths("empty samples", drawn, predicted, readers)
    defined = ~np.isnan(predicted)
    if not defined.any():
        raise InputError("empty samples", expected="a case with samples", got="none", hint="score at least one case")
    nothing, share = ((readers - drawn) / readers)[defined], predicted[defined]
    figure = Figure(figsize=(4.6, 4.8))
    axes = figure.subplots()
    _draw_diagonal(axes)
    spots, cases = np.unique(np.column_stack((nothing, share)), axis=0, return_counts=True)
    area = cases * min(18.0, 400 / cases.max())
    style: dict[str, Any] = {"color": BLUE, "alpha": 0.3, "linewidths": 0, "zorder": 2.5}
    axes.scatter(spots[:, 0], spots[:, 1], s=area, label="cases, area by their number", **style)
    groups = np.unique(nothing)
    means = [share[nothing == group].mean() for group in groups]
    axes.plot(groups, means, color=VERMILLION, linewidth=1.4, marker="D", markersize=6, zorder=4, label="mean of cases")
    axes.set_title(counted(len(share), len(predicted)))
    axes.set_xlabel("readers who drew nothing")
    axes.set_ylabel("share of samples that are empty")
    most = readers.max()
    words = [f"{round(g * most)} of {most}" if (readers == most).all() else f"{g:.0%}" for g in groups]
    axes.set_xticks(groups, [f"{word}\nn = {(nothing == g).sum()}" for word, g in zip(words, groups, strict=True)])
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def _check_lengths(what: str, *arrays: np.ndarray) -> None:
    if len({array.shape for array in arrays}) > 1 or arrays[0].ndim != 1:
        raise InputError(
            what,
            expected="arrays of one length",
            got=", ".join(str(array.shape) for array in arrays),
            hint="pass one value each",
        )


def _draw_diagonal(axes: Axes) -> None:
    axes.plot((0, 1), (0, 1), **DASHED)
    axes.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04))


@in_style
def training_figure(metrics: Path) -> Figure:
    """Loss terms and validation scores against the step, one small chart a name, from a run's metrics.jsonl.

    Each line of the file is an object {"step": int, "split": "train" | "val", name: number, ...}.

    Raises:
        InputError: a line that is not such an object, or a file without any number to draw.
    """
    curves = _read_curves(metrics)
    columns = min(3, len(curves))
    rows = math.ceil(len(curves) / columns)
    figure = Figure(figsize=(4.2 * columns, 2.7 * rows))
    for position, (name, splits) in enumerate(curves.items()):
        _draw_curve(figure.add_subplot(rows, columns, position + 1), name, splits)
    return figure


def _read_curves(metrics: Path) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """Name -> split -> (step, value) in the file's order."""
    curves: dict[str, dict[str, list[tuple[int, float]]]] = defaultdict(lambda: defaultdict(list))
    for number, line in enumerate(metrics.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            entry = json.loads(line)
            step, split = int(entry.pop("step")), str(entry.pop("split"))
            values = {name: float(value) for name, value in entry.items() if value is not None}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(
                metrics,
                expected='lines such as {"step": 100, "split": "train", "loss": 0.1}',
                got=f"{line[:40]!r} on line {number}",
                hint="remove that line",
            ) from error
        for name, value in values.items():
            curves[name][split].append((step, value))
    if not curves:
        raise InputError(metrics, expected="at least one logged value", got="none", hint="train for a while first")
    return curves


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
    axes.set_title(name)
    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.legend()


def _running_median(values: np.ndarray) -> np.ndarray:
    """Median of each value and its neighbours, a twentieth of the curve in all; shorter at both ends."""
    half = len(values) // 40
    return np.array([np.median(values[max(0, i - half) : i + half + 1]) for i in range(len(values))])
