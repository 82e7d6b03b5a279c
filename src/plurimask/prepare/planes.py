"""Volumes cut into planes, and planes brought to squares of one size."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from plurimask.geometry import Grid
from plurimask.records import Case

_ROUNDING = 1e-9  # half a pixel stays half a pixel, whatever the order in which its parts are added


def to_planes(case: Case, axis: int, size: int | None, *, every: bool = False) -> tuple[list[Case], list[str]]:
    """The planes of a volume along `axis`, where they lie; a plane stays one plane.

    The other two axes keep their order. The planes of a volume get their number, counted from 0: `<name>-s087`.

    Args:
        case: (H, W) or (H, W, D).
        axis: 0, 1 or 2, along which a volume is cut.
        size: pixels a side, as `fit_square` brings them there; None: as they are.
        every: also planes of a volume on which no reader drew.

    Returns:
        The planes, and the names of those left out since no mark was left at `size`.
    """
    if len(case.grid.shape) == 2:
        return [case if size is None else fit_square(case, size)], []
    kept: list[Case] = []
    lost: list[str] = []
    for plane in _cut(case, axis, every):
        fitted = plane if size is None else fit_square(plane, size)
        if every or fitted.raters.any():
            kept.append(fitted)
        else:
            lost.append(plane.name)
    return kept, lost


def _cut(case: Case, axis: int, every: bool) -> Iterator[Case]:
    image, raters = (np.moveaxis(array, axis + 1, 1) for array in (case.image, case.raters))
    for number in range(case.grid.shape[axis]):
        if every or raters[:, number].any():
            yield Case(
                f"{case.name}-s{number:03d}",
                np.ascontiguousarray(image[:, number]),
                np.ascontiguousarray(raters[:, number]),
                _plane_grid(case.grid, axis, number),
                case.patient,
            )


def fit_square(case: Case, size: int) -> Case:
    """A plane case as `size` x `size` pixels, where it lies.

    It is padded on both sides with each channel's least value, to a square as long as its longer side, or to `size`
    where that is more. A square that is too large is averaged over area; a pixel of a mask is drawn where at least half
    its area was. Nothing is ever enlarged.
    """
    side = max(*case.grid.shape, size)
    before = [(side - length) // 2 for length in case.grid.shape]
    pads = [(low, side - length - low) for low, length in zip(before, case.grid.shape, strict=True)]
    weights = _area_weights(side, size)
    image = np.stack([weights @ np.pad(plane, pads, constant_values=plane.min()) @ weights.T for plane in case.image])
    drawn = weights @ np.pad(case.raters, [(0, 0), *pads]).astype(np.float64) @ weights.T
    return replace(
        case,
        image=image.astype(np.float32),
        raters=drawn > 0.5 - _ROUNDING,
        grid=_fitted_grid(case.grid, before, side / size, size),
    )


def _area_weights(side: int, size: int) -> np.ndarray:
    """(size, side) float64: the share of each new pixel that each old one covers."""
    ends = np.arange(1, size + 1)[:, None] * (side / size)
    old = np.arange(side)
    covered = np.minimum(ends, old + 1) - np.maximum(ends - side / size, old)
    return covered.clip(min=0) / (side / size)


def _plane_grid(grid: Grid, axis: int, number: int) -> Grid:
    across = grid.across(axis)
    moved = np.eye(4)
    moved[2, 3] = number
    return Grid(across.shape[:2], None if across.affine is None else across.affine @ moved)


def _fitted_grid(grid: Grid, before: list[int], factor: float, size: int) -> Grid:
    if grid.affine is None:
        return Grid((size, size))
    # The middle of new pixel i lies at (i + 1/2) * factor - 1/2 - before on the old axis.
    moved = np.diag([factor, factor, 1.0, 1.0])
    moved[:2, 3] = factor / 2 - 0.5 - np.array(before)
    return Grid((size, size), grid.affine @ moved)
