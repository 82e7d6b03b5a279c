"""How large a part of a case at least k of its samples hold, over k, beside that of its readers."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure

from plurimask.metrics.measurements import agreement_curve
from plurimask.plot.panels import check_pair
from plurimask.plot.style import BLUE, VERMILLION, plain_axes
from plurimask.records import Case, MaskSet

# Markers of more levels than this run into each other.
_MOST_MARKERS = 40


def agreement_figure(case: Case, panel: MaskSet) -> Figure:
    """Area or volume of what at least k of the N samples hold, over k, and where the case was read that of M readers.

    Both are steps over one axis from 0 to all, on which k of N and k of M lie at their shares k/N and k/M. So the area
    under a curve is the mean size of its masks, and masks that are all the same make a level line.

    Raises:
        InputError: the panel is another case's, or lies on another grid.
    """
    check_pair(case, panel)
    samples, unit = agreement_curve(panel.masks, panel.grid)
    readers, _ = agreement_curve(case.raters, case.grid)
    figure = Figure(figsize=(6.6, 3.9), layout="constrained")
    axes = figure.subplots()
    _draw_steps(axes, samples, BLUE, "o")
    _name_levels(axes.xaxis, len(samples), "samples", BLUE)
    if len(readers):
        _draw_steps(axes, readers, VERMILLION, "D")
        _name_levels(axes.secondary_xaxis("top").xaxis, len(readers), "readers", VERMILLION)
    axes.set_ylabel(f"{'area' if len(case.grid.shape) == 2 else 'volume'} in {unit}", fontsize=9)
    axes.set(xlim=(0, 1.02), ylim=(0, 1.06 * max((*samples, *readers)) or 1.0))
    plain_axes(axes)
    return figure


def _draw_steps(axes: Axes, curve: np.ndarray, colour: str, marker: str) -> None:
    """A curve (n,): its k-th value from a share of (k - 1)/n to one of k/n, where its marker stands."""
    edges = np.linspace(0, 1, len(curve) + 1)
    shown = marker if len(curve) <= _MOST_MARKERS else None
    axes.plot(
        edges,
        np.append(curve[:1], curve),
        drawstyle="steps-pre",
        color=colour,
        linewidth=1.6,
        marker=shown,
        markersize=4.5,
        markevery=slice(1, None),
        clip_on=False,
        zorder=3,
    )


def _name_levels(axis: Axis, count: int, who: str, colour: str) -> None:
    """Ticks at k of `count`, at most five of them, the first and the last among them."""
    levels = np.unique(np.linspace(1, count, 5).round().astype(int))
    axis.set_ticks(levels / count, [str(level) for level in levels])
    axis.set_label_text(f"held by at least k of {count} {who}", fontsize=9, color=colour)
