"""A study at the spacing that its model was trained at, and masks back on the study's own grid.

Images are interpolated linearly, over wider pixels where they become fewer. A voxel of a mask is drawn where at least
half of its area was, which is what ever finer pixels would vote. Slices stay where they are. The grid that masks come
back on is the study's own, to the bit.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch.nn.functional import interpolate

from plurimask.files.locate import Study
from plurimask.geometry import HALF, Grid, area_shares
from plurimask.records import Case, MaskSet
from plurimask.sampling.region import Axis, Region, slicing_axis

FAR = 1.25
"""How far the ratio of two spacings may be off 1, either way, before a study is resampled."""


def apart(study: Study, trained_mm: float | None) -> tuple[float, float] | None:
    """mm between rows and columns of a study's planes, where they are far off a model's; None where all is well.

    None too where the spacing of either is unknown.
    """
    spacing = study.case.grid.spacing_mm
    if spacing is None or trained_mm is None:
        return None
    across = slicing_axis(study)
    rows, columns = (step for axis, step in enumerate(spacing) if axis != across)
    far = max(max(step / trained_mm, trained_mm / step) for step in (rows, columns)) > FAR
    return (rows, columns) if far else None


def resampled(study: Study, trained_mm: float) -> Study:
    """A study whose planes have the spacing nearest to a model's that keeps their extent; slices are its last axis."""
    case, across, placed = study.case, slicing_axis(study), resampled_grid(study, trained_mm)
    image, padding, size = case.image, case.padding, placed.shape[:2]
    if image.ndim == 4:
        image = np.moveaxis(image, across + 1, 3)
    if padding is not None:
        padding = np.moveaxis(padding, across, 2) if padding.ndim == 3 else padding
        padding = _scaled(padding[None].astype(np.float32), size)[0] > 0.5
    fresh = Case(case.name, _scaled(image, size), np.zeros((0, *placed.shape), dtype=np.bool_), placed, padding=padding)
    return Study(fresh, "npy", study.sources)


def resampled_grid(study: Study, trained_mm: float) -> Grid:
    """The grid that `resampled` brings a study to; slices are its last axis."""
    grid, across = study.case.grid, slicing_axis(study)
    whole = grid.across(across) if len(grid.shape) == 3 else grid
    size = [
        max(1, round(side * step / trained_mm)) for side, step in zip(whole.shape, whole.spacing_mm or (), strict=False)
    ][:2]
    factors = [side / new for side, new in zip(whole.shape[:2], size, strict=True)]
    moved = np.diag([*factors, 1.0, 1.0])
    moved[:2, 3] = (np.array(factors) - 1) / 2  # the middle of the first new pixel
    return replace(whole.part((*size, *whole.shape[2:]), moved), placed=grid.placed)


def _scaled(image: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """(C, H, W[, D]) float32 -> (C, *size[, D])."""
    slices = torch.from_numpy(np.moveaxis(image, -1, 0) if image.ndim == 4 else image[None])
    parts = [interpolate(one[None], list(size), mode="bilinear", antialias=True)[0].numpy() for one in slices]
    return np.ascontiguousarray(np.stack(parts, axis=-1) if image.ndim == 4 else parts[0])


def moved_region(region: Region, study: Study, grid: Grid) -> Region:
    """A region of a study in voxels as one of its resampled planes on `grid`; in mm it stays what it is."""
    if region.unit == "mm" or len(region.axes) != len(study.case.grid.shape):
        return region
    across = slicing_axis(study)
    order = [axis for axis in range(len(region.axes)) if axis != across] + [across] * (len(region.axes) == 3)
    axes: list[Axis] = []
    for place, axis in enumerate(order):
        given, factor = region.axes[axis], grid.shape[place] / study.case.grid.shape[axis]
        if isinstance(given, tuple):
            first = int(given[0] * factor)
            axes.append((first, max(first + 1, round(given[1] * factor))))
        else:
            axes.append(
                min(int((given + 0.5) * factor), grid.shape[place] - 1)
                if given < study.case.grid.shape[axis]
                else given
            )
    return Region(tuple(axes), "voxels")


def back(panel: MaskSet, study: Study) -> MaskSet:
    """Masks of a resampled study on the grid of the study itself."""
    grid, across = study.case.grid, slicing_axis(study)
    whole = grid.across(across) if len(grid.shape) == 3 else grid
    down, right = (area_shares(*sides) for sides in zip(panel.masks.shape[1:3], whole.shape[:2], strict=True))
    masks = np.zeros((len(panel.masks), *whole.shape[:2], (*whole.shape, 1)[2]), dtype=np.bool_)
    drawn = panel.masks.reshape(*panel.masks.shape[:3], -1)
    for sample, number in zip(*np.nonzero(drawn.any(axis=(1, 2))), strict=True):
        votes = down @ drawn[sample, ..., number].astype(np.float64) @ right.T
        masks[sample, ..., number] = votes > HALF
    masks = np.moveaxis(masks, 3, across + 1) if len(grid.shape) == 3 else masks[..., 0]
    steps = [round(step, 6) for step in panel.grid.spacing_mm or ()][:2]
    settings = {key: value for key, value in panel.settings.items() if key != "region"} | {"resampled_mm": steps}
    return replace(panel, masks=np.ascontiguousarray(masks), grid=grid, settings=settings)
