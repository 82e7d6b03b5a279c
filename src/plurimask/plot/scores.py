"""Scores of many cases: reliability of the frequency map, empty samples, and GED against the number of samples."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from plurimask.errors import InputError
from plurimask.plot.style import BLUE, VERMILLION, counted, plain_axes

_GREY = "#555555"
_DIAGONAL: dict[str, Any] = {"color": _GREY, "linewidth": 0.9, "linestyle": (0, (4, 3)), "zorder": 2}


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
    figure = Figure(figsize=(4.6, 5.4), layout="constrained")
    curve, strip = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    _draw_diagonal(curve)
    curve.vlines(x, np.minimum(x, y), np.maximum(x, y), color=VERMILLION, linewidth=1.4, alpha=0.6, zorder=2.5)
    curve.plot(x, y, color=BLUE, linewidth=1.2, marker="o", markersize=5, zorder=3)
    error = np.average(np.abs(x - y), weights=weight)
    curve.set_title(f"expected calibration error {error:.4f}, all cases pooled", fontsize=10)
    curve.set_ylabel("share of readers who drew the voxel", fontsize=9)
    curve.text(0.03, 0.97, "predicted too seldom", fontsize=8, color=_GREY, va="top")
    curve.text(0.97, 0.03, "predicted too often", fontsize=8, color=_GREY, ha="right")
    strip.vlines(x, 0.5, weight, color=BLUE, linewidth=3)
    strip.set_yscale("log")
    strip.set_ylim(0.5, 3 * weight.max())
    strip.yaxis.set_minor_locator(NullLocator())
    strip.set_xlabel("share of samples that hold the voxel", fontsize=9)
    strip.set_ylabel("voxels\ntimes readers", fontsize=9)
    plain_axes(strip)
    return figure


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
    figure = Figure(figsize=(4.6, 4.8), layout="constrained")
    axes = figure.subplots()
    _draw_diagonal(axes)
    spots, cases = np.unique(np.column_stack((nothing, share)), axis=0, return_counts=True)
    area = cases * min(18.0, 400 / cases.max())
    style: dict[str, Any] = {"color": BLUE, "alpha": 0.3, "linewidths": 0, "zorder": 2.5}
    axes.scatter(spots[:, 0], spots[:, 1], s=area, label="cases, area by their number", **style)
    groups = np.unique(nothing)
    means = [share[nothing == group].mean() for group in groups]
    axes.plot(groups, means, color=VERMILLION, linewidth=1.4, marker="D", markersize=6, zorder=4, label="mean of cases")
    axes.set_title(counted(len(share), len(predicted)), fontsize=10)
    axes.set_xlabel("readers who drew nothing", fontsize=9)
    axes.set_ylabel("share of samples that are empty", fontsize=9)
    most = readers.max()
    words = [f"{round(g * most)} of {most}" if (readers == most).all() else f"{g:.0%}" for g in groups]
    axes.set_xticks(groups, [f"{word}\nn = {(nothing == g).sum()}" for word, g in zip(words, groups, strict=True)])
    figure.legend(fontsize=8, frameon=False, loc="outside lower center", ncols=2)
    return figure


def ged_by_count_figure(counts: np.ndarray, ged_v: np.ndarray, ged_u: np.ndarray, calibrated: np.ndarray) -> Figure:
    """Mean GED of one model against the number of samples N, beside the V-GED of a calibrated panel.

    Args:
        counts: (k,) int, ascending values of N.
        ged_v: (k,) mean V-GED.
        ged_u: (k,) mean U-GED; NaN where undefined, as at N = 1.
        calibrated: (k,) V-GED to expect of samples drawn from the readers' own distribution.

    Raises:
        InputError: arrays of unequal length.
    """
    _check_lengths("GED by N", counts, ged_v, ged_u, calibrated)
    figure = Figure(figsize=(5.6, 3.9), layout="constrained")
    axes = figure.subplots()
    style: dict[str, Any] = {"linewidth": 1.5, "markersize": 5}
    axes.plot(counts, ged_v, color=VERMILLION, marker="o", label="V-GED", **style)
    axes.plot(counts, calibrated, color=_GREY, marker="s", linestyle="--", label="V-GED of a calibrated panel", **style)
    axes.plot(counts, ged_u, color=BLUE, marker="^", label="U-GED", **style)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(_apart(counts)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda count, _: f"{count:.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("N, samples a case", fontsize=9)
    axes.set_ylabel("mean GED (lower is better)", fontsize=9)
    axes.set_ylim(bottom=min(0.0, 1.05 * np.nanmin(ged_u, initial=0.0)))
    axes.legend(fontsize=8, frameon=False)
    plain_axes(axes)
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
    axes.plot((0, 1), (0, 1), **_DIAGONAL)
    axes.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04))
    plain_axes(axes)


def _apart(counts: np.ndarray) -> list[int]:
    """Those of ascending counts whose labels do not run into each other on a log axis."""
    kept = [int(counts[0])]
    for count in counts[1:].tolist():
        if count >= 1.2 * kept[-1]:
            kept.append(count)
    return kept
