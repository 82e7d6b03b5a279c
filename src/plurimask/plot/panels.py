"""What a case, its readers and a panel look like; all in the frame that `plurimask.plot` describes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PathCollection
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.path import Path as Curve

from plurimask.errors import InputError
from plurimask.pixels.colours import SAMPLE_COLOUR, frequency_colours, outline_opacity, reader_colour
from plurimask.pixels.frame import close_up, fullest_slice, grey
from plurimask.pixels.held import count_held
from plurimask.pixels.outline import outlines
from plurimask.records import Case, MaskSet, public_name


@dataclass(frozen=True, eq=False)
class View:
    """One plane of a case with its panel, as it is drawn.

    Args:
        image: (H, W) uint8 grey, the first channel between its 0.5th and 99.5th percentile.
        raters: (R, H, W) bool.
        samples: (S, H, W) bool.
        aspect: height of a voxel over its width.
        window: rows and columns of a close-up that holds every mark; the whole plane where nobody drew anything.
        slice_index: which slice of a volume this is, or None for a plane image.
    """

    image: np.ndarray
    raters: np.ndarray
    samples: np.ndarray
    aspect: float
    window: tuple[slice, slice]
    slice_index: int | None

    @classmethod
    def of(cls, case: Case, panel: MaskSet, slice_index: int | None = None) -> Self:
        """The plane of `case` to show: of a volume, that slice, or the one that readers and samples marked most.

        Raises:
            InputError: the panel is another case's, or lies on another grid.
        """
        check_pair(case, panel)
        aspect = case.grid.aspect
        image, raters, samples, index = case.image[0], case.raters, panel.masks, slice_index
        if len(case.grid.shape) == 3:
            if index is None:
                index = fullest_slice(raters, samples)
            # Planes of their own: views into a volume would keep all of it.
            image, raters, samples = (stack[..., index].copy() for stack in (image, raters, samples))
        whole = slice(0, image.shape[0]), slice(0, image.shape[1])
        view = cls(grey(image), raters, samples, aspect, whole, index)
        return replace(view, window=close_up(view.marked, aspect))

    @property
    def marked(self) -> np.ndarray:
        """(H, W) bool: where any reader or sample has something."""
        return np.logical_or(self.raters.any(axis=0), self.samples.any(axis=0))

    @property
    def counts(self) -> np.ndarray:
        """(H, W) unsigned int: how many samples hold each voxel."""
        return count_held(self.samples)


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
    _draw_readers(readers, view, f"readers, {_nothing(case.raters)}")
    _draw_samples(samples, view, f"samples, {_nothing(panel.masks)}")
    draw_frequency(frequency, view)
    return figure


def samples_figure(cases: Sequence[Case], panels: Sequence[MaskSet]) -> Figure:
    """A row a case: its image, its readers and its samples as white on black, in the manner of the paper's Fig. 3.

    All tiles of all rows of one case show the same close-up. `panels[i]` belongs to `cases[i]`.

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
    views = _same_window([View.of(case, panel) for case, panel in zip(cases, panels, strict=True)], cases)
    readers = max(len(view.raters) for view in views)
    columns = 1 + readers + max(len(view.samples) for view in views)
    figure = Figure(figsize=(0.75 * columns, 0.75 * len(views) + 0.2))
    figure.subplots_adjust(left=0, right=1, bottom=0, top=1 - 0.2 / figure.get_figheight(), hspace=0)
    for axes, view in zip(figure.subplots(len(views), squeeze=False)[:, 0], views, strict=True):
        groups = [view.image[None, *view.window], view.raters[:, *view.window], view.samples[:, *view.window]]
        _draw_tiles(axes, groups, view.aspect, (0, 1, 1 + readers), columns)
    for x, label in ((0, "image"), (1, "readers"), (1 + readers, "samples")):
        figure.axes[0].text(x + 0.04, -0.03, label, fontsize=9)
    return figure


def _same_window(views: Sequence[View], cases: Sequence[Case]) -> list[View]:
    """The views with one close-up a case, round the marks of all of its rows."""
    marked: dict[str, np.ndarray] = {}
    for view, case in zip(views, cases, strict=True):
        marked[case.name] = marked.get(case.name, False) | view.marked
    return [replace(v, window=close_up(marked[c.name], v.aspect)) for v, c in zip(views, cases, strict=True)]


def check_pair(case: Case, panel: MaskSet) -> None:
    """Raises InputError where the panel is another case's, or lies on another grid."""
    if panel.name != case.name or not panel.grid.same_as(case.grid):
        raise InputError(
            panel.name,
            expected=f"the panel of case {case.name} on its grid {case.grid.shape}",
            got=f"a panel of {panel.name} on {panel.grid.shape}",
            hint="pair each case with its own mask set",
        )


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
    curves = [_curve(mask) for mask in masks if mask.any()]
    axes.add_collection(PathCollection(curves, facecolors="none", **style), autolim=False)


def _curve(mask: np.ndarray) -> Curve:
    """The outlines of a mask (H, W) that is not empty."""
    return Curve.make_compound_path(*(Curve(np.vstack((p, p[:1])), closed=True) for p in outlines(mask)))


def outline_readers(axes: Axes, view: View, scale: float = 1.0) -> None:
    """Each reader in a colour of their own; `scale` makes all lines thinner or wider."""
    for index, mask in enumerate(view.raters):
        # Outlines that share an edge lie on top of each other: the earlier the wider, so that each can be seen.
        width = scale * (1.2 + 0.7 * (len(view.raters) - 1 - index))
        _draw_outlines(axes, mask[None], edgecolors=reader_colour(index), linewidths=width)


def outline_samples(axes: Axes, view: View) -> None:
    """All samples in one colour, the more of them the fainter each."""
    opacity = outline_opacity(len(view.samples))
    _draw_outlines(axes, view.samples, edgecolors=SAMPLE_COLOUR, linewidths=1.0, alpha=opacity)


def _draw_readers(axes: Axes, view: View, title: str) -> None:
    draw_image(axes, view, title)
    outline_readers(axes, view)
    drawn = [index for index, mask in enumerate(view.raters) if mask.any()]
    lines = [Line2D([], [], color=reader_colour(index), linewidth=2) for index in drawn]
    if drawn:
        labels = [f"reader {index + 1}" for index in drawn]
        axes.legend(lines, labels, loc="upper left", fontsize=8, framealpha=0.75)


def _draw_samples(axes: Axes, view: View, title: str) -> None:
    draw_image(axes, view, title)
    outline_samples(axes, view)


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
