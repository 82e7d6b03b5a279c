"""The pictures: what a case, its readers and a panel look like. The report, the benchmark and notebooks share them.

One frame for everything on screen: x runs along columns and y down the rows, in voxels from the outer corner of voxel
(0, 0). Voxel (r, c) covers [c, c + 1] x [r, r + 1], its centre lies at (c + 0.5, r + 0.5), and outlines run along voxel
edges, so they hold exactly the voxels of their mask.
"""

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PathCollection
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.path import Path as Curve
from matplotlib.ticker import MaxNLocator

from plurimask.errors import InputError
from plurimask.geometry import Grid
from plurimask.records import Case, MaskSet

# Okabe and Ito's palette for colour-blind readers, without black and the darker blue, which vanish on CT.
READER_COLOURS = ("#56b4e9", "#e69f00", "#cc79a7", "#00b98a", "#f0e442", "#ee6a2c")
SAMPLE_COLOUR = "#ffc400"
# The four edges of a voxel, clockwise from the top: the (row, column) of the neighbour behind it, the corner where it
# starts, and the step to the next corner.
_BEHIND = ((-1, 0), (0, 1), (1, 0), (0, -1))
_CORNER = np.array(((0, 0), (0, 1), (1, 1), (1, 0)))
_STEP = np.array(((0, 1), (1, 0), (0, -1), (-1, 0)))


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
    def of(cls, case: Case, panel: MaskSet) -> Self:
        """The plane of `case` to show: of a volume, the slice that readers and samples marked most.

        Raises:
            InputError: the panel is another case's, or lies on another grid.
        """
        _check_pair(case, panel)
        spacing = case.grid.spacing_mm or (1.0, 1.0)
        aspect = spacing[0] / spacing[1]
        image, raters, samples, index = case.image[0], case.raters, panel.masks, None
        if len(case.grid.shape) == 3:
            index = int(np.argmax(raters.sum(axis=(0, 1, 2)) + samples.sum(axis=(0, 1, 2))))
            image, raters, samples = image[..., index], raters[..., index], samples[..., index]
        window = close_up(np.logical_or(raters.any(axis=0), samples.any(axis=0)), aspect)
        return cls(_grey(image), raters, samples, aspect, window, index)

    @property
    def counts(self) -> np.ndarray:
        """(H, W) int: how many samples hold each voxel."""
        return np.asarray(self.samples.sum(axis=0))


def outlines(mask: np.ndarray) -> list[np.ndarray]:
    """The closed polygons that run along the voxel edges of a mask (H, W).

    Each is (n, 2) int, the (x, y) of its corners, clockwise round voxels and anticlockwise round holes. Voxels that
    touch at a corner only are apart. Filled by the even-odd rule, the polygons give the mask back exactly.
    """
    edges = _edges(mask)
    following = _following(edges, mask.shape)
    side = edges[:, 2]
    corner = np.empty(len(edges), dtype=bool)
    corner[following] = side[following] != side
    loops = _loops(following.tolist(), corner.tolist())
    points = edges[:, 1::-1]
    return [points[loop] for loop in loops]


def svg_path(mask: np.ndarray) -> str:
    """The outlines of a mask (H, W) as the `d` of an SVG path, in whole voxels; empty for an empty mask."""
    return "".join(_relative(polygon.tolist()) for polygon in outlines(mask))


def close_up(marked: np.ndarray, aspect: float) -> tuple[slice, slice]:
    """Rows and columns of a square (in mm) around all that is marked in a mask (H, W), at least a third of the plane.

    `aspect` is the height of a voxel over its width. The whole plane where nothing is marked.
    """
    height, width = marked.shape
    if not marked.any():
        return slice(0, height), slice(0, width)
    rows, columns = (np.flatnonzero(marked.any(axis=axis)) for axis in (1, 0))
    side = 1.5 * max(np.ptp(rows) * aspect + aspect, np.ptp(columns) + 1.0)
    side = max(side, max(height * aspect, width) / 3)
    return _span(rows, side / aspect, height), _span(columns, side, width)


def sizes(masks: np.ndarray, grid: Grid) -> tuple[np.ndarray, str]:
    """Area or volume of each mask (S, H, W[, D]) and its unit: mm² or mm³, or a voxel count without spacing."""
    counts = masks.sum(axis=tuple(range(1, masks.ndim)))
    plane = len(grid.shape) == 2
    if grid.spacing_mm is None:
        return counts.astype(float), "pixels" if plane else "voxels"
    return counts * math.prod(grid.spacing_mm), "mm²" if plane else "mm³"


def reader_colour(index: int) -> str:
    """The colour of reader `index`, as #rrggbb; from the seventh reader on they repeat."""
    return READER_COLOURS[index % len(READER_COLOURS)]


def frequency_colours(samples: int) -> np.ndarray:
    """(S + 1, 4) RGBA in 0..1 for "k of S samples", k = 0..S: clear for 0, then viridis without its darkest fifth."""
    colours = colormaps["viridis"](np.linspace(0.2, 1.0, samples + 1))
    colours[0] = 0.0
    return colours


def panel_figure(case: Case, panel: MaskSet, *, strip: bool = False) -> Figure:
    """Image, readers, samples and frequency of one case, side by side; `strip` adds a row with each sample alone.

    The image is shown whole, with a frame round the close-up that the other pictures show.

    Raises:
        InputError: the panel is another case's, or lies on another grid.
    """
    view = View.of(case, panel)
    figure = Figure(figsize=(13, 4.7 if strip else 3.7), layout="constrained")
    grid = figure.add_gridspec(2 if strip else 1, 4, height_ratios=(3, 1) if strip else None)
    image, readers, samples, frequency = (figure.add_subplot(grid[0, column]) for column in range(4))
    where = "" if view.slice_index is None else f", slice {view.slice_index}"
    _draw_image(image, view, f"{case.name}{where}", whole=True)
    _draw_readers(readers, view, f"readers, {_nothing(case.raters)}")
    _draw_samples(samples, view, f"samples, {_nothing(panel.masks)}")
    _draw_frequency(frequency, view)
    if strip:
        _draw_tiles(figure.add_subplot(grid[1, :]), [view.samples[:, *view.window]], view.aspect)
    return figure


def samples_figure(cases: Sequence[Case], panels: Sequence[MaskSet]) -> Figure:
    """A row a case: its image, its readers and its samples as white on black, in the manner of the paper's Fig. 3.

    All tiles of a row show the same close-up. `panels[i]` belongs to `cases[i]`.

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
    readers = max(len(view.raters) for view in views)
    columns = 1 + readers + max(len(view.samples) for view in views)
    figure = Figure(figsize=(0.75 * columns, 0.75 * len(views) + 0.2))
    figure.subplots_adjust(left=0, right=1, bottom=0, top=1 - 0.2 / figure.get_figheight(), hspace=0)
    for axes, view in zip(figure.subplots(len(views), squeeze=False)[:, 0], views, strict=True):
        groups = [view.image[None, *view.window], view.raters[:, *view.window], view.samples[:, *view.window]]
        _draw_tiles(axes, groups, view.aspect, starts=(0, 1, 1 + readers), columns=columns)
    for x, label in ((0, "image"), (1, "readers"), (1 + readers, "samples")):
        figure.axes[0].text(x + 0.04, -0.03, label, fontsize=9)
    return figure


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


def _edges(mask: np.ndarray) -> np.ndarray:
    """Edges between a voxel of the mask and one outside it, (n, 3) int: row and column of the start, and the side."""
    padded = np.pad(mask, 1)
    found = []
    for side, (down, right) in enumerate(_BEHIND):
        behind = np.roll(padded, (-down, -right), (0, 1))[1:-1, 1:-1]
        voxels = np.argwhere(mask & ~behind)
        found.append(np.column_stack((voxels + _CORNER[side], np.full(len(voxels), side))))
    return np.concatenate(found)


def _following(edges: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(n,) the index of the edge that each edge leads to."""
    row, column, side = edges.T
    index = np.full((shape[0] + 1, shape[1] + 1, 4), -1)
    index[row, column, side] = np.arange(len(edges))
    row, column = row + _STEP[side, 0], column + _STEP[side, 1]
    right, ahead, left = (index[row, column, (side + turn) % 4] for turn in (1, 0, 3))
    # Turning right before going straight stays with the same voxel where two voxels touch at a corner.
    return np.where(right >= 0, right, np.where(ahead >= 0, ahead, left))


def _loops(following: list[int], corner: list[bool]) -> list[list[int]]:
    """The closed loops of edges, each the indices of those edges that start at a corner."""
    loops = []
    walked = [False] * len(following)
    for edge in range(len(following)):
        loop = []
        while not walked[edge]:
            walked[edge] = True
            if corner[edge]:
                loop.append(edge)
            edge = following[edge]
        if loop:
            loops.append(loop)
    return loops


def _relative(polygon: list[list[int]]) -> str:
    x, y = polygon[0]
    steps = (f"h{x1 - x0}" if y0 == y1 else f"v{y1 - y0}" for (x0, y0), (x1, y1) in pairwise(polygon))
    return f"M{x} {y}{''.join(steps)}z"


def _span(marked: np.ndarray, length: float, size: int) -> slice:
    count = min(size, math.ceil(length))
    start = round((marked[0] + marked[-1] + 1 - count) / 2)
    start = min(max(start, 0), size - count)
    return slice(start, start + count)


def _grey(image: np.ndarray) -> np.ndarray:
    low, high = np.percentile(image, (0.5, 99.5))
    if low == high:
        low, high = image.min() - 0.5, image.max() + 0.5
    return (np.clip((image - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def _check_pair(case: Case, panel: MaskSet) -> None:
    if panel.name != case.name or not panel.grid.same_as(case.grid):
        raise InputError(
            panel.name,
            expected=f"the panel of case {case.name} on its grid {case.grid.shape}",
            got=f"a panel of {panel.name} on {panel.grid.shape}",
            hint="pair each case with its own mask set",
        )


def _draw_image(axes: Axes, view: View, title: str, *, whole: bool = False) -> None:
    height, width = view.image.shape
    axes.imshow(view.image, cmap="gray", vmin=0, vmax=255, extent=(0, width, height, 0), aspect=view.aspect)
    axes.set_title(title, fontsize=10)
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
    return Curve.make_compound_path(*(Curve(np.vstack((p, p[:1])), closed=True) for p in outlines(mask)))


def _draw_readers(axes: Axes, view: View, title: str) -> None:
    _draw_image(axes, view, title)
    for index, mask in enumerate(view.raters):
        # Outlines that share an edge lie on top of each other: the earlier the wider, so that each can be seen.
        width = 1.2 + 0.7 * (len(view.raters) - 1 - index)
        _draw_outlines(axes, mask[None], edgecolors=reader_colour(index), linewidths=width)
    drawn = [index for index, mask in enumerate(view.raters) if mask.any()]
    lines = [Line2D([], [], color=reader_colour(index), linewidth=2) for index in drawn]
    if drawn:
        labels = [f"reader {index + 1}" for index in drawn]
        axes.legend(lines, labels, loc="upper left", fontsize=8, framealpha=0.75)


def _draw_samples(axes: Axes, view: View, title: str) -> None:
    _draw_image(axes, view, title)
    _draw_outlines(
        axes, view.samples, edgecolors=SAMPLE_COLOUR, linewidths=1.0, alpha=outline_opacity(len(view.samples))
    )


def outline_opacity(samples: int) -> float:
    """How opaque one of `samples` outlines is drawn, so that many stay legible and a single one is seen."""
    return min(0.9, max(0.15, 8 / (samples + 4)))


def _nothing(masks: np.ndarray) -> str:
    return f"{sum(not mask.any() for mask in masks)} of {len(masks)} drew nothing"


def _draw_frequency(axes: Axes, view: View) -> None:
    _draw_image(axes, view, "frequency")
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


def _draw_tiles(
    axes: Axes,
    groups: Sequence[np.ndarray],
    aspect: float,
    *,
    starts: Sequence[int] = (0,),
    columns: int | None = None,
) -> None:
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
    axes.set(xlim=(0, columns or len(groups[0])), ylim=(1, 0), aspect="equal")
    axes.set_axis_off()


Curves = dict[str, dict[str, list[tuple[int, float]]]]


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
            axes.plot(steps, values, color="#0072b2", alpha=0.25, linewidth=0.8)
            axes.plot(steps, _running_median(values), color="#0072b2", linewidth=1.4, label="train, running median")
        else:
            axes.plot(steps, values, color="#d55e00", linewidth=1.2, marker="o", markersize=3, label=split)
    values = np.array([value for points in splits.values() for _, value in points])
    if (values > 0).all() and values.max() > 50 * values.min():
        axes.set_yscale("log")
    axes.set_title(name, fontsize=10)
    axes.set_xlabel("step", fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.grid(alpha=0.2)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False)


def _running_median(values: np.ndarray) -> np.ndarray:
    """Median of each value and its neighbours, a twentieth of the curve in all; shorter at both ends."""
    half = len(values) // 40
    return np.array([np.median(values[max(0, i - half) : i + half + 1]) for i in range(len(values))])
