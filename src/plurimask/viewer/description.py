"""All that a page shows of a case but its pixels, as JSON has it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from plurimask.geometry import Grid
from plurimask.metrics.measurements import agreement_curve, sizes
from plurimask.viewer.library import Opened
from plurimask.viewer.marks import Marks, Panel
from plurimask.viewer.views import ALIKE, Group, group, start_slice


def describe(opened: Opened, panel: Panel | None) -> dict[str, Any]:
    """A case and the samples that were drawn for it, if any.

    Lists of three have one entry an axis; `windows` and `ranges` have one a channel.
    """
    samples, readers, grid = panel.marks if panel else None, opened.readers, opened.grid
    own = [] if samples is None else sizes(samples.masks, grid)[0].tolist()
    reader_sizes, unit = sizes(readers.masks, grid)
    drawn = [marks for marks in (samples, readers) if marks is not None]
    curve = [] if samples is None else agreement_curve(samples.masks, grid)[0].tolist()
    return {
        "name": opened.study.case.name,
        "shape": list(readers.shape),
        **_geometry(grid),
        "channels": len(opened.study.case.image),
        "has_image": opened.has_image,
        "slices_marked": [_marked(drawn, axis) for axis in range(3)],
        "start_slice": [start_slice(samples, readers, axis) for axis in range(3)],
        "windows": [_span(ends) for ends in opened.windows],
        "ranges": [_span(ends) for ends in opened.ranges],
        "readers": len(readers.masks),
        "samples": len(own),
        **_drawn(panel),
        "sizes": own,
        "reader_sizes": reader_sizes.tolist(),
        "unit": unit,
        "alike": ALIKE,
        "groups": [] if samples is None else [_group(one) for one in group(samples, grid)],
        "agreement": [{"level": level, "size": size} for level, size in enumerate(curve, start=1)],
    }


def _marked(drawn: Sequence[Marks], axis: int) -> list[int]:
    """The slices on which any of the stacks marks anything."""
    return sorted({index for marks in drawn for index in marks.marked(axis)})


def _geometry(grid: Grid) -> dict[str, Any]:
    """Spacing, and the directions of rows, columns and slices in RAS+, so that a page can say which side is left."""
    if grid.affine is None:
        return {"spacing_mm": None, "axes": None}
    steps = grid.affine[:3, :3]
    spacing = np.linalg.norm(steps, axis=0)
    return {"spacing_mm": spacing.tolist(), "axes": (steps / spacing).T.tolist()}


def _drawn(panel: Panel | None) -> dict[str, Any]:
    return {
        "method": panel and panel.method,
        "checkpoint": panel and panel.checkpoint,
        # As text, since JavaScript's numbers do not hold them.
        "seeds": None if panel is None or panel.seeds is None else [str(seed) for seed in panel.seeds],
        "settings": panel.settings if panel else {},
    }


def _group(one: Group) -> dict[str, Any]:
    return {
        "members": list(one.members),
        "representative": one.representative,
        "share": one.share,
        "text": one.text,
    }


def _span(ends: tuple[float, float]) -> dict[str, float]:
    return {"low": ends[0], "high": ends[1]}
