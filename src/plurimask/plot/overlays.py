"""A panel on its own image, for people who have no readers to compare it with."""

from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from plurimask.pixels.frame import close_up
from plurimask.plot.panels import View, draw_frequency, draw_image, outline_samples
from plurimask.records import Case, MaskSet

_MOST_TILES, _COLUMNS = 24, 6


def outlines_picture(case: Case, panel: MaskSet) -> Figure:
    """The image with the outlines of all samples; of a volume, the slice on which they disagree most.

    Raises:
        InputError: the panel is another case's, or lies on another grid.
    """
    view = _whole(case, panel)
    figure, axes = _one_picture(view)
    draw_image(axes, view, _title(view, f"{len(view.samples)} samples"))
    outline_samples(axes, view)
    return figure


def frequency_picture(case: Case, panel: MaskSet) -> Figure:
    """The image coloured by how many samples hold each voxel, on the slice of `outlines_picture`.

    Raises:
        InputError: the panel is another case's, or lies on another grid.
    """
    view = _whole(case, panel)
    figure, axes = _one_picture(view)
    draw_frequency(axes, view)
    axes.set_title(_title(view, "frequency"), fontsize=10)
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


def _whole(case: Case, panel: MaskSet) -> View:
    view = View.of(case, panel, most_disputed_slice(panel) if len(panel.grid.shape) == 3 else None)
    height, width = view.image.shape
    return replace(view, window=(slice(0, height), slice(0, width)))


def _one_picture(view: View) -> tuple[Figure, Axes]:
    height, width = view.image.shape
    longer = max(height * view.aspect, width)
    figure = Figure(figsize=(6 * width / longer + 1, 6 * height * view.aspect / longer + 0.4), layout="constrained")
    return figure, figure.subplots()


def _title(view: View, what: str) -> str:
    return what if view.slice_index is None else f"{what}, slice {view.slice_index}"
