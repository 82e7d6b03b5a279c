"""Figures of a case, its readers and a panel; of a panel alone, for people who have no readers; and how they agree."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PathCollection
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.path import Path as Curve

from plurimask.errors import InputError
from plurimask.metrics.measurements import agreement_curve
from plurimask.records import Case, MaskSet, public_name
from plurimask.show.charts import BLUE, VERMILLION, in_style
from plurimask.show.outline import outlines
from plurimask.show.raster import (
    SAMPLE_COLOUR,
    View,
    check_pair,
    close_up,
    frequency_colours,
    outline_opacity,
    reader_colour,
)


def panel_figure(case: Case, panel: MaskSet) -> Figure:
    """Image, readers, samples and frequency of one case, side by side; a name that gives the patient away is not told.

    The image is shown whole, with a frame round the close-up that the other pictures show.

    Raises:
        InputError: the panel is another case's, or lies on another grid.
    """
    view = View.of(case, panel)
    figure = Figure(figsize=(13, 3.7), layout="constrained")
    image, readers, samples, frequency = figure.subplots(1, 4)
    where = "" if view.slice_index is None else f", slice {view.slice_index}"
    draw_image(image, view, f"{public_name(case.name, case.patient, 'image')}{where}", whole=True)
    _draw_readers(readers, view, f"readers, {_nothing(case.readers)}")
    draw_image(samples, view, f"samples, {_nothing(panel.masks)}")
    outline_samples(samples, view)
    draw_frequency(frequency, view)
    return figure


def samples_figure(cases: Sequence[Case], panels: Sequence[MaskSet]) -> Figure:
    """A row a case: its image, its readers and its samples as white on black, in the manner of the paper's Fig. 3.

    All tiles of all rows of one case show the same close-up. `panels[i]` belongs to `cases[i]`. Samples of a
    representative panel bear the share of readers that they stand for.

    Raises:
        InputError: a panel is another case's, or lies on another grid; not one panel a case.
    """
    if not cases or len(cases) != len(panels):
        raise InputError(
            "samples figure",
            expected="one panel a case",
            got=f"{len(cases)} cases, {len(panels)} panels",
            hint="pair them",
        )
    views = [View.of(case, panel) for case, panel in zip(cases, panels, strict=True)]
    marked: dict[str, np.ndarray] = {}
    for view, case in zip(views, cases, strict=True):
        marked[case.name] = marked.get(case.name, False) | view.marked
    views = [replace(v, window=close_up(marked[c.name], v.aspect)) for v, c in zip(views, cases, strict=True)]
    readers = max(len(view.readers) for view in views)
    columns = 1 + readers + max(len(view.samples) for view in views)
    figure = Figure(figsize=(0.75 * columns, 0.75 * len(views) + 0.2))
    figure.subplots_adjust(left=0, right=1, bottom=0, top=1 - 0.2 / figure.get_figheight(), hspace=0)
    for axes, view, panel in zip(figure.subplots(len(views), squeeze=False)[:, 0], views, panels, strict=True):
        groups = [view.image[None, *view.window], view.readers[:, *view.window], view.samples[:, *view.window]]
        _draw_tiles(axes, groups, view.aspect, (0, 1, 1 + readers), columns)
        for column, share in enumerate([] if panel.shares is None else panel.shares, start=1 + readers):
            axes.text(column + 0.06, 0.94, f"{share:.0%}", fontsize=7, color=VERMILLION)
    for x, label in ((0, "image"), (1, "readers"), (1 + readers, "samples")):
        figure.axes[0].text(x + 0.04, -0.03, label, fontsize=9)
    return figure


def draw_image(axes: Axes, view: View, title: str, *, whole: bool = False) -> None:
    """The image in the close-up of the view, or `whole` with a frame round the close-up."""
    height, width = view.image.shape
    axes.imshow(view.image, cmap="gray", vmin=0, vmax=255, extent=(0, width, height, 0), aspect=view.aspect)
    axes.set_title(title, fontsize=10, parse_math=False)
    axes.set_axis_off()
    rows, columns = view.window
    if whole:
        frame = (columns.start, rows.start), columns.stop - columns.start, rows.stop - rows.start
        axes.add_patch(Rectangle(*frame, fill=False, edgecolor="white", linewidth=0.8))
    else:
        axes.set(xlim=(columns.start, columns.stop), ylim=(rows.stop, rows.start))


def _draw_outlines(axes: Axes, masks: np.ndarray, **style: Any) -> None:
    polygons = ((Curve(np.vstack((p, p[:1])), closed=True) for p in outlines(mask)) for mask in masks if mask.any())
    curves = [Curve.make_compound_path(*of_mask) for of_mask in polygons]
    axes.add_collection(PathCollection(curves, facecolors="none", **style), autolim=False)


def outline_readers(axes: Axes, view: View, scale: float = 1.0) -> None:
    """Each reader in a colour of their own; `scale` makes all lines thinner or wider."""
    for index, mask in enumerate(view.readers):
        # Outlines that share an edge lie on top of each other: the earlier the wider, so that each can be seen.
        width = scale * (1.2 + 0.7 * (len(view.readers) - 1 - index))
        _draw_outlines(axes, mask[None], edgecolors=reader_colour(index), linewidths=width)


def outline_samples(axes: Axes, view: View) -> None:
    """All samples in one colour, the more of them the fainter each."""
    opacity = outline_opacity(len(view.samples))
    _draw_outlines(axes, view.samples, edgecolors=SAMPLE_COLOUR, linewidths=1.0, alpha=opacity)


def _draw_readers(axes: Axes, view: View, title: str) -> None:
    draw_image(axes, view, title)
    outline_readers(axes, view)
    drawn = [index for index, mask in enumerate(view.readers) if mask.any()]
    lines = [Line2D([], [], color=reader_colour(index), linewidth=2) for index in drawn]
    if drawn:
        labels = [f"reader {index + 1}" for index in drawn]
        axes.legend(lines, labels, loc="upper left", fontsize=8, framealpha=0.75)


def _nothing(masks: np.ndarray) -> str:
    return f"{sum(not mask.any() for mask in masks)} of {len(masks)} drew nothing"


def draw_frequency(axes: Axes, view: View) -> None:
    """The image in the close-up of the view, coloured by how many samples hold each voxel, with the scale beside it."""
    draw_image(axes, view, "frequency")
    count = len(view.samples)
    height, width = view.image.shape
    colours = frequency_colours(count)
    axes.imshow(colours[view.counts], extent=(0, width, height, 0), aspect=view.aspect, interpolation="nearest")
    rows, columns = view.window
    axes.set(xlim=(columns.start, columns.stop), ylim=(rows.stop, rows.start))
    # One block of colour for each k of 1..N, its tick in the middle.
    scale = ScalarMappable(BoundaryNorm(np.arange(count + 1) + 0.5, count), ListedColormap(colours[1:]))
    ticks = np.unique(np.linspace(1, count, 5).round())
    bar = axes.figure.colorbar(scale, ax=axes, ticks=ticks, shrink=0.8)
    bar.ax.tick_params(length=0)
    bar.ax.minorticks_off()
    bar.set_label(f"k of {count} samples", fontsize=9)


def _draw_tiles(axes: Axes, groups: Sequence[np.ndarray], aspect: float, starts: Sequence[int], columns: int) -> None:
    """Stacks (n, h, w) as rows of tiles one unit wide, stack g from x = starts[g] on; masks white on black."""
    height, width = groups[0].shape[1:]
    size = np.array([width, height * aspect]) / max(width, height * aspect)
    gap = 0.04
    for start, stack in zip(starts, groups, strict=True):
        top = 255 if stack.dtype == np.uint8 else 1
        for index, tile in enumerate(stack):
            x, y = start + index + gap, gap
            extent = (x, x + (1 - 2 * gap) * size[0], y + (1 - 2 * gap) * size[1], y)
            axes.imshow(tile, cmap="gray", vmin=0, vmax=top, extent=extent, interpolation="nearest")
    axes.set(xlim=(0, columns), ylim=(1, 0), aspect="equal")
    axes.set_axis_off()


_MOST_TILES, _COLUMNS = 24, 6


def outlines_picture(case: Case, panel: MaskSet) -> Figure:
    """The image with the outlines of all samples; of a volume, the slice on which they disagree most.

    Raises:
        InputError: the panel is another case's, or lies on another grid.
    """
    figure, axes, view, where = _one_picture(case, panel)
    draw_image(axes, view, f"{len(view.samples)} samples{where}")
    outline_samples(axes, view)
    return figure


def frequency_picture(case: Case, panel: MaskSet) -> Figure:
    """The image coloured by how many samples hold each voxel, on the slice of `outlines_picture`.

    Raises:
        InputError: the panel is another case's, or lies on another grid.
    """
    figure, axes, view, where = _one_picture(case, panel)
    draw_frequency(axes, view)
    axes.set_title(f"frequency{where}", fontsize=10)
    return figure


def contact_sheet(case: Case, panel: MaskSet) -> Figure:
    """Up to 24 slices of a volume that hold a mark, evenly spread, with the outlines of all samples on one close-up.

    Raises:
        InputError: the panel is another case's, or lies on another grid.
    """
    marked = np.flatnonzero(panel.masks.any(axis=(0, 1, 2)))
    chosen = np.unique(np.linspace(0, max(len(marked) - 1, 0), _MOST_TILES).round().astype(int))
    slices = marked[chosen].tolist() if len(marked) else [most_disputed_slice(panel)]
    views = [View.of(case, panel, index) for index in slices]
    window = close_up(np.asarray(panel.masks.any(axis=(0, 3))), views[0].aspect)
    columns = min(_COLUMNS, len(views))
    rows = -(-len(views) // columns)
    figure = Figure(figsize=(2.2 * columns, 2.4 * rows), layout="constrained")
    tiles = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, view in zip(tiles, views, strict=False):
        draw_image(axes, replace(view, window=window), f"slice {view.slice_index}")
        outline_samples(axes, view)
    for axes in tiles[len(views) :]:
        axes.set_axis_off()
    return figure


def most_disputed_slice(panel: MaskSet) -> int:
    """The slice of a volume with the largest sum of p (1 - p), p being the share of samples that hold a voxel."""
    share = panel.frequency
    return int(np.argmax((share * (1 - share)).sum(axis=(0, 1))))


def _one_picture(case: Case, panel: MaskSet) -> tuple[Figure, Axes, View, str]:
    """A figure of one image's proportions, its axes, the view of the whole image, and its slice in words."""
    view = View.of(case, panel, most_disputed_slice(panel) if len(panel.grid.shape) == 3 else None)
    height, width = view.image.shape
    view = replace(view, window=(slice(0, height), slice(0, width)))
    longer = max(height * view.aspect, width)
    figure = Figure(figsize=(6 * width / longer + 1, 6 * height * view.aspect / longer + 0.4), layout="constrained")
    return figure, figure.subplots(), view, "" if view.slice_index is None else f", slice {view.slice_index}"


# Markers of more levels than this run into each other.
_MOST_MARKERS = 40


@in_style
def agreement_figure(case: Case, panel: MaskSet) -> Figure:
    """Area or volume of what at least k of the N samples hold, over k, and where the case was read that of M readers.

    Both are steps over one axis from 0 to all, on which k of N and k of M lie at their shares k/N and k/M. So the area
    under a curve is the mean size of its masks, and masks that are all the same make a level line.

    Raises:
        InputError: the panel is another case's, or lies on another grid.
    """
    check_pair(case, panel)
    samples, unit = agreement_curve(panel.masks, panel.grid)
    readers, _ = agreement_curve(case.readers, case.grid)
    figure = Figure(figsize=(6.6, 3.9))
    axes = figure.subplots()
    _draw_steps(axes, samples, BLUE, "o")
    _name_levels(axes.xaxis, len(samples), "samples", BLUE)
    if len(readers):
        _draw_steps(axes, readers, VERMILLION, "D")
        _name_levels(axes.secondary_xaxis("top").xaxis, len(readers), "readers", VERMILLION)
    axes.set_ylabel(f"{'area' if len(case.grid.shape) == 2 else 'volume'} in {unit}")
    axes.set(xlim=(0, 1.02), ylim=(0, 1.06 * max((*samples, *readers)) or 1.0))
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
