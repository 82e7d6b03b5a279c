"""Files of masks -> (S, H, W[, D]) bool with their grid. What counts as drawn is the rule for labels."""

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from tokenize import TokenError

import numpy as np

from plurimask.errors import InputError
from plurimask.files.label import binarise
from plurimask.files.nifti import read_nifti_values
from plurimask.files.read import read_label
from plurimask.geometry import Grid

# What reading the archive raises on damaged or encrypted content, and what numpy raises on an array that is pickled,
# too large for memory, or has a header that its parser of Python text stumbles over.
_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError),
    *(ValueError, TypeError, IndexError, OverflowError, SyntaxError, TokenError, MemoryError),
)


def read_stack(path: Path) -> tuple[np.ndarray, Grid]:
    """All samples of a case from one file: (S, H, W[, D]) in NPZ and NPY, (H, W, D, S) in NIfTI, D = 1 for a plane.

    An NPZ holds them as `masks`, or holds no other array. Only NIfTI brings an affine.

    Raises:
        InputError: a file that is missing, damaged, pickled or of another shape, or breaks the rule for labels.
    """
    values, affine = _read_values(path)
    if values.ndim not in (3, 4) or values.size == 0:
        raise InputError(
            path, expected="masks of shape (S, H, W[, D])", got=str(values.shape), hint="stack one mask a sample"
        )
    masks = np.ascontiguousarray(binarise(path, values))
    return masks, usable_grid(path, masks.shape[1:], affine)


def read_samples(paths: Sequence[Path]) -> tuple[np.ndarray, Grid]:
    """All samples of a case from one file each, every one as `read_label` reads it.

    Raises:
        InputError: a file that cannot be read, breaks the rule for labels, or lies on another grid than the others.
    """
    labels = [read_label(path) for path in paths]
    first, grid = next(
        ((path, grid) for path, (_, grid) in zip(paths, labels, strict=True) if grid.affine is not None),
        (paths[0], labels[0][1]),
    )
    for path, (_, other) in zip(paths, labels, strict=True):
        if not other.same_as(grid):
            raise InputError(
                path,
                expected=f"size {grid.shape} and the affine of {first.name}",
                got=f"size {other.shape}" if other.shape != grid.shape else "another affine",
                hint="bring all samples of a case to one grid",
            )
    return np.stack([mask for mask, _ in labels]), grid


def usable_grid(subject: Path, shape: tuple[int, ...], affine: np.ndarray | None) -> Grid:
    """The grid, or an error that names the file. Raises InputError where the affine is not finite and invertible."""
    try:
        return Grid(shape, affine)
    except InputError as error:
        raise InputError(
            subject, expected="a usable affine", got=f"one refused ({error})", hint="correct or remove it"
        ) from None


def _read_values(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    if path.name.lower().endswith((".nii", ".nii.gz")):
        return _read_nifti(path)
    try:
        return (_read_npz(path) if path.name.lower().endswith(".npz") else _read_npy(path)), None
    except _DAMAGE as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise InputError(
            path, expected=f"a whole {path.name} without pickled objects", got=reason, hint="write it again"
        ) from error


def _read_npz(path: Path) -> np.ndarray:
    # np.load would also take a bare array or a pickle under this name, and hand back bytes for an unknown header.
    with zipfile.ZipFile(path) as archive:
        arrays = [name for name in archive.namelist() if name.endswith(".npy")]
        if "masks.npy" in arrays:
            arrays = ["masks.npy"]
        if len(arrays) != 1:
            raise InputError(
                path,
                expected="an array `masks`, or one array alone",
                got=", ".join(name.removesuffix(".npy") for name in arrays) or "none",
                hint="rename the one that holds the masks",
            )
        with archive.open(arrays[0]) as file:
            return np.lib.format.read_array(file, allow_pickle=False)


def _read_npy(path: Path) -> np.ndarray:
    # Mapping compares the header's size with the file's before any memory is taken, and refuses Python objects.
    return np.lib.format.open_memmap(path, mode="r")


def _read_nifti(path: Path) -> tuple[np.ndarray, np.ndarray]:
    values, affine = read_nifti_values(path)
    if values.ndim != 4:
        # Three axes may be the slices of one sample or the samples of one slice.
        raise InputError(
            path,
            expected="four axes (H, W, D, S), samples last",
            got=f"size {values.shape}",
            hint="write (H, W, 1, S) for a plane, (H, W, D, 1) for one sample, or a folder with one file a sample",
        )
    masks = np.moveaxis(values, -1, 0)
    return masks[..., 0] if masks.shape[-1] == 1 else masks, affine
