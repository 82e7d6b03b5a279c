"""Which planes and which part of a study are drawn: a region is given in voxels or in mm and found on the grid.

    240,260,31                    a field around row 240, column 260, on slice 31
    200:328,210:338,20:40         rows 200 to 327, columns 210 to 337, slices 20 to 39
    240,260,20:40                 a field around row 240, column 260, on slices 20 to 39
    mm:-35.5,12,-210              a field around a point in RAS+ mm, on its slice
    mm:-80:-10,-40:30,-240:-190   the voxels of a box in RAS+ mm

Voxels are indices of the image's axes in their order (row, column, slice; see `plurimask.geometry`), counted from 0; a
range holds its first and not its last. A box in mm holds the voxels whose centres it holds; on an oblique grid, those
of the smallest box along the grid's axes around it. A plane image has two axes in voxels, and three in mm.
"""

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from plurimask.errors import SettingsError
from plurimask.files.locate import Study
from plurimask.geometry import Grid

Axis = float | tuple[float, float]
Box = tuple[slice, ...]
"""First and one past the last voxel of each axis."""

_EXAMPLES = "write 240,260,31 or 200:328,210:338,20:40 in voxels, mm:-35.5,12,-210 or mm:-80:-10,-40:30,-240:-190 in mm"
_NUMBERS = {"voxels": r"\d{1,9}", "mm": r"[+-]?(?:\d{1,9}\.?\d*|\.\d+)"}
_EDGE = 1e-3
"""Voxels by which a centre may miss an edge in mm, since affines are rounded."""


@dataclass(frozen=True)
class Region:
    """A part of an image as it was given.

    Args:
        axes: of each axis a position, or a first and a last. Voxels are whole numbers; their last is not in the region.
        unit: voxels along the image's axes, or mm along those of the world, RAS+.
    """

    axes: tuple[Axis, ...]
    unit: Literal["voxels", "mm"]


def reaching_edges(masks: np.ndarray, box: Sequence[tuple[int, int]]) -> int:
    """How many masks (S, H, W[, D]) hold a voxel on a face of the box that is not one of the image's.

    There the region may cut a lesion. An axis of one plane has no faces.
    """
    cut = np.zeros(len(masks), dtype=np.bool_)
    for axis, (first, past) in enumerate(box, start=1):
        for face in {first, past - 1} - {0, masks.shape[axis] - 1 if axis < masks.ndim else 0}:
            if past - first > 1:
                cut |= masks[(slice(None),) * axis + (face,)].reshape(len(masks), -1).any(1)
    return int(cut.sum())


def parse_region(text: str) -> Region:
    """A region from its text, as the module's docstring has it.

    Raises:
        SettingsError: text of another form, a range without extent, or in mm a mixture of places and ranges.
    """
    unit: Literal["voxels", "mm"] = "mm" if text.startswith("mm:") else "voxels"
    parts = text.removeprefix("mm:").split(",")
    one = _NUMBERS[unit]
    if len(parts) not in ((3,) if unit == "mm" else (2, 3)) or not all(
        re.fullmatch(rf"{one}(:{one})?", part.strip()) for part in parts
    ):
        raise _wrong("a point or a box, in voxels or in mm", text, _EXAMPLES)
    axes = tuple(_axis(part, text) for part in parts)
    if unit == "mm" and len({isinstance(axis, tuple) for axis in axes}) > 1:
        raise _wrong("three places or three ranges in mm", text, _EXAMPLES)
    return Region(axes, unit)


def slicing_axis(study: Study) -> int:
    """The axis across which planes lie: 0, 1 or 2.

    DICOM, pictures and arrays have their slices along the third axis. A NIfTI file may store them along any: its planes
    are those of `Grid.slicing_axis`. A plane image is one slice of the third axis.
    """
    return study.case.grid.slicing_axis if study.format == "nifti" else 2


def find_box(region: Region, grid: Grid, slicing: int, field: int, planes: int = 1) -> Box:
    """The voxels of a region on a grid; a plane image counts as one slice.

    Args:
        region: as given.
        grid: (H, W, D), or (H, W).
        slicing: the axis across which planes lie; along the other two a position stands for a field around it.
        field: pixels a side; where the image has fewer, all of them.
        planes: that a position along `slicing` stands for.

    Raises:
        SettingsError: a region that is not inside the image, or one in mm where spacing is unknown.
    """
    axes = _nearest(region, grid) if region.unit == "mm" else _own(region, grid)
    spans = []
    for number, (axis, side) in enumerate(zip(axes, _shape(grid), strict=True)):
        inside = 0 <= axis < side if isinstance(axis, int) else 0 <= axis.start < axis.stop <= side
        if not inside:
            raise _wrong(f"a region inside the image, {_extent(region, grid)}", _text(region), "move or shrink it")
        spans.append(axis if isinstance(axis, slice) else _around(axis, side, planes if number == slicing else field))
    return tuple(spans)


def _axis(part: str, text: str) -> Axis:
    first, *last = (float(number) for number in part.split(":"))
    if last and not first < last[0]:
        raise _wrong("ranges that begin below their end", text, "write the smaller number first")
    return (first, last[0]) if last else first


def _own(region: Region, grid: Grid) -> list[int | slice]:
    if len(region.axes) != len(grid.shape):
        raise _wrong(
            f"{len(grid.shape)} axes, as the image has", _text(region), "give rows, columns and, in a volume, slices"
        )
    axes = [slice(int(axis[0]), int(axis[1])) if isinstance(axis, tuple) else int(axis) for axis in region.axes]
    return [*axes, 0][:3]


def _nearest(region: Region, grid: Grid) -> list[int | slice]:
    """Voxels for mm: the one nearest to a point, or those with their centre in a box."""
    if grid.affine is None:
        raise _wrong(
            "voxels, since this image has no spacing", _text(region), "leave out mm: and count rows and columns"
        )
    if not grid.placed:
        expected = "voxels, since this file does not say where it lies (its qform and sform codes are both 0)"
        raise _wrong(expected, _text(region), "leave out mm: and count rows and columns")
    to_voxel = np.linalg.inv(grid.affine)
    ends = [axis if isinstance(axis, tuple) else (axis, axis) for axis in region.axes]
    corners = np.array([to_voxel[:3] @ (*corner, 1.0) for corner in itertools.product(*ends)])
    if not isinstance(region.axes[0], tuple):
        return [math.floor(position + 0.5) for position in corners[0]]
    low, high = corners.min(axis=0) - _EDGE, corners.max(axis=0) + _EDGE
    spans = [slice(math.ceil(a), math.floor(b) + 1) for a, b in zip(low, high, strict=True)]
    if any(span.start >= span.stop for span in spans):
        raise _wrong("a box that holds the centre of a voxel", _text(region), "make it larger, or give a point")
    return list(spans)


def _around(position: int, side: int, length: int) -> slice:
    first = min(max(position - length // 2, 0), max(side - length, 0))
    return slice(first, min(first + length, side))


def _shape(grid: Grid) -> tuple[int, ...]:
    return (*grid.shape, 1)[:3]


def _extent(region: Region, grid: Grid) -> str:
    """The image's own box, as a region is written."""
    if region.unit == "voxels" or grid.affine is None:
        return ",".join(f"0:{side}" for side in grid.shape)
    ends = [(-0.5, side - 0.5) for side in _shape(grid)]
    corners = np.array([grid.affine[:3] @ (*corner, 1.0) for corner in itertools.product(*ends)])
    spans = zip(corners.min(axis=0), corners.max(axis=0), strict=True)
    return "mm:" + ",".join(f"{low:.1f}:{high:.1f}" for low, high in spans)


def _text(region: Region) -> str:
    axes = (":".join(f"{end:g}" for end in axis) if isinstance(axis, tuple) else f"{axis:g}" for axis in region.axes)
    return ("mm:" if region.unit == "mm" else "") + ",".join(axes)


def _wrong(expected: str, got: str, hint: str) -> SettingsError:
    return SettingsError("--roi", expected=expected, got=got, hint=hint)
