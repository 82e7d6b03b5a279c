"""Where voxels lie. THE place that fixes the order of axes.

Arrays are indexed (row, column[, slice]). The columns of a grid's affine follow the same order: column 0 is the step
in mm from one row to the next, column 1 from one column to the next, column 2 from one slice to the next, column 3
the position of voxel (0, 0, 0). World coordinates are RAS+ in mm. A NIfTI file's own axes (i, j, k) are taken as
(row, column, slice), so that an array is what nibabel gives. A plane image without known spacing has no affine.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from plurimask.errors import InputError

_MOST_MM = 1e9
_ISOTROPIC = 1.01
"""Ratio of the largest to the smallest spacing up to which a volume has no planes of its own."""
HALF = 0.5 - 1e-6
"""A share of a pixel's area above this is at least half of it, whatever the order in which its parts are added."""


def _is_usable(affine: np.ndarray) -> bool:
    if not np.abs(affine).max() < _MOST_MM:  # NaN is not below either
        return False
    steps = affine[:3, :3]
    return bool(np.linalg.norm(steps, axis=0).min() > 1 / _MOST_MM and np.linalg.det(steps) != 0)


def lps_to_ras(affine: np.ndarray) -> np.ndarray:
    """An affine (4, 4) to LPS+ mm, as DICOM and ITK have it, as one to RAS+ mm; also the way back."""
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def area_shares(old: int, new: int) -> np.ndarray:
    """(new, old) float64: the share of each of `new` pixels that each of `old` covers, both over one extent."""
    edges, first = np.arange(new + 1) * (old / new), np.arange(old)
    covered = np.minimum(edges[1:, None], first + 1) - np.maximum(edges[:-1, None], first)
    return covered.clip(min=0) * (new / old)


@dataclass(frozen=True, eq=False)
class Grid:
    """Shape and position of an image.

    Args:
        shape: (H, W) or (H, W, D).
        affine: (4, 4) float64, index (row, column, slice, 1) to RAS+ mm; None if spacing is unknown.
        placed: whether the affine says where the image lies, and not its spacing alone.

    Raises:
        InputError: not two or three positive sizes, or an affine that is not finite and invertible, or whose steps no
            image has: what is computed of them would be no number.
    """

    shape: tuple[int, ...]
    affine: np.ndarray | None = None
    placed: bool = True

    def __post_init__(self) -> None:
        if len(self.shape) not in (2, 3) or min(self.shape) < 1:
            raise InputError(
                "grid", expected="two or three positive sizes", got=str(self.shape), hint="pass an image or a volume"
            )
        if self.affine is None:
            return
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not _is_usable(affine):
            expected = f"a finite, invertible 4x4 affine of steps between {1 / _MOST_MM:g} and {_MOST_MM:g} mm"
            got, hint = f"{affine.tolist()}", "repair the header of the file"
            raise InputError("grid", expected=expected, got=got, hint=hint)
        affine.flags.writeable = False
        object.__setattr__(self, "affine", affine)

    @classmethod
    def plane(cls, shape: tuple[int, ...], spacing_mm: float, between_mm: float = 1.0) -> "Grid":
        """A plane of square pixels, or several, `between_mm` apart upwards.

        The first pixel is at the origin, and rows run to the back (RAS+).
        """
        affine = np.zeros((4, 4))
        affine[1, 0], affine[0, 1], affine[2, 2], affine[3, 3] = -spacing_mm, -spacing_mm, between_mm, 1.0
        return cls(shape, affine)

    @property
    def size(self) -> str:
        """The shape as people write it: 128x128x40."""
        return "x".join(map(str, self.shape))

    @property
    def spacing_mm(self) -> tuple[float, ...] | None:
        """Distance between neighbours along each array axis, one value per axis; None if unknown."""
        if self.affine is None:
            return None
        return tuple(float(v) for v in np.linalg.norm(self.affine[:3, : len(self.shape)], axis=0))

    @property
    def voxel_size(self) -> float | None:
        """Area of a pixel in mm2, volume of a voxel in mm3; true for sheared grids as well; None if unknown."""
        if self.affine is None:
            return None
        steps = self.affine[:3, : len(self.shape)]
        return float(np.sqrt(np.linalg.det(steps.T @ steps)))

    @property
    def aspect(self) -> float:
        """Height of a voxel over its width, as the planes of the first two axes are drawn; 1 where unknown."""
        rows, columns = (self.spacing_mm or (1.0, 1.0))[:2]
        return rows / columns

    @property
    def axial_axis(self) -> int:
        """The axis of a volume that runs most along the body; the third if the affine is unknown."""
        if self.affine is None:
            return 2
        return int(np.abs(self.affine[2, :3] / np.linalg.norm(self.affine[:3, :3], axis=0)).argmax())

    @property
    def slicing_axis(self) -> int:
        """The axis of a volume across which its planes lie: 0, 1 or 2.

        Planes are those of the two axes whose spacings differ least, as acquired; where all three are equal, the axial
        ones. Of a plane, and where the affine is unknown, it is the third.
        """
        if self.affine is None or len(self.shape) == 2:
            return 2
        spacing = np.linalg.norm(self.affine[:3, :3], axis=0)
        if spacing.max() <= _ISOTROPIC * spacing.min():
            return self.axial_axis
        planes = [np.delete(spacing, axis) for axis in range(3)]
        return int(np.argmin([plane.max() / plane.min() for plane in planes]))

    def across(self, axis: int) -> "Grid":
        """The grid of a volume whose axis 0, 1 or 2 is made its third; the other two keep their order."""
        order = [*(other for other in range(3) if other != axis), axis]
        affine = None if self.affine is None else self.affine[:, [*order, 3]]
        return Grid(tuple(self.shape[one] for one in order), affine)

    def part(self, shape: tuple[int, ...], moved: np.ndarray) -> "Grid":
        """The grid of `shape` whose index i lies at index `moved` (4, 4) @ i of this one: a crop, or other pixels."""
        return Grid(shape, None if self.affine is None else self.affine @ moved)

    def measured(self, voxels: np.ndarray) -> tuple[np.ndarray, str]:
        """Numbers of voxels as areas or volumes, float64, and their unit: mm² or mm³, without spacing voxels."""
        plane = len(self.shape) == 2
        if self.voxel_size is None:
            return voxels.astype(np.float64), "pixels" if plane else "voxels"
        return voxels * self.voxel_size, "mm²" if plane else "mm³"

    def same_as(self, other: "Grid", tolerance_mm: float = 0.0) -> bool:
        """Equal shape, and known affines equal to 1e-3, or with corners no further than `tolerance_mm` apart."""
        if self.shape != other.shape:
            return False
        if self.affine is None or other.affine is None:
            return True
        close = np.allclose(self.affine, other.affine, rtol=0, atol=1e-3)
        return close or (tolerance_mm > 0 and self.apart_mm(other) <= tolerance_mm)

    def apart_mm(self, other: "Grid") -> float:
        """How far the corners of two grids of one shape lie apart at most; 0 where one has no affine."""
        if self.affine is None or other.affine is None:
            return 0.0
        corners = np.array([(*(*corner, 0)[:3], 1) for corner in product(*((0, side - 1) for side in self.shape))])
        return float(np.linalg.norm((self.affine - other.affine)[:3] @ corners.T, axis=0).max())


def grid_of(subject: str | Path, shape: tuple[int, ...], affine: np.ndarray | None) -> Grid:
    """The grid that a file states. Raises InputError, which names `subject`, where `Grid` refuses it."""
    try:
        return Grid(shape, affine)
    except InputError as error:
        got, hint = f"one refused ({error})", "correct the header or description that says so"
        raise InputError(subject, expected="a usable grid", got=got, hint=hint) from None


def same_grid(subject: str | Path, came: Grid, wanted: Grid, of: str, hint: str, tolerance_mm: float = 0.0) -> None:
    """THE refusal of what does not lie where it should. Raises InputError for another size or another affine.

    Args:
        subject: what lies on `came`, for the error.
        came, wanted: compared by `Grid.same_as`.
        of: what lies on `wanted`, for the error.
        hint: what to do.
        tolerance_mm: as of `Grid.same_as`.
    """
    if came.shape != wanted.shape:
        raise InputError(subject, expected=f"size {wanted.size}, as {of} has", got=came.size, hint=hint)
    if not came.same_as(wanted, tolerance_mm):
        apart = came.apart_mm(wanted)
        voxels = apart / min(wanted.spacing_mm or (1.0,))
        got = f"another one, {apart:.2g} mm or {voxels:.2g} voxels off at a corner"
        raise InputError(subject, expected=f"the affine of {of}", got=got, hint=hint)


def common_grid(grids: Mapping[Path, Grid], hint: str, tolerance_mm: float = 0.0) -> Grid:
    """The grid of the first file that knows its affine, or of the first. Raises InputError where one has another."""
    first, grid = next((pair for pair in grids.items() if pair[1].affine is not None), next(iter(grids.items())))
    for path, other in grids.items():
        same_grid(path, other, grid, first.name, hint, tolerance_mm)
    return grid
