"""Files of masks -> (S, H, W[, D]) bool with their grid. What counts as drawn is the rule for labels."""

import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from tokenize import TokenError

import numpy as np

from plurimask.errors import InputError
from plurimask.files.label import binarise
from plurimask.files.nifti import read_nifti_stack
from plurimask.files.read import read_label
from plurimask.files.stored import reason
from plurimask.geometry import Grid

# What reading the archive raises on damaged or encrypted content, and what numpy raises on an array that is pickled,
# too large for memory, or has a header that its parser of Python text stumbles over.
_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError),
    *(ValueError, TypeError, IndexError, OverflowError, SyntaxError, TokenError, MemoryError),
)


def read_stack(path: Path) -> tuple[np.ndarray, Grid]:
    """All samples of a case from one file: (S, H, W[, D]) in NPZ and NPY, (H, W, D, S) in NIfTI, D = 1 for a plane.

    An NPZ holds them as `masks`, or holds no other array. Only NIfTI brings an affine; of it, one sample at a time is
    in memory beside the masks.

    Raises:
        InputError: a file that is missing, damaged, pickled or of another shape, holds more than fits into memory, or
            breaks the rule for labels in a sample.
    """
    shape, samples, affine = _open_stack(path)
    if len(shape) not in (3, 4) or min(shape) < 1:
        raise InputError(path, expected="masks of shape (S, H, W[, D])", got=str(shape), hint="stack one mask a sample")
    grid = usable_grid(path, shape[1:], affine)
    try:
        masks = np.empty(shape, dtype=np.bool_)
    except MemoryError as error:
        raise InputError(
            path, expected="masks that fit into memory", got=f"size {shape}", hint="keep fewer samples, or a region"
        ) from error
    for mask, values in zip(masks, samples, strict=True):
        mask[...] = binarise(path, values)
    return masks, grid


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


def _open_stack(path: Path) -> tuple[tuple[int, ...], Iterable[np.ndarray], np.ndarray | None]:
    """Shape (S, H, W[, D]), the samples as the file has them, and the affine."""
    if path.name.lower().endswith((".nii", ".nii.gz")):
        return _open_nifti(path)
    try:
        values = _read_npz(path) if path.name.lower().endswith(".npz") else _read_npy(path)
        return values.shape, values, None
    except _DAMAGE as error:
        expected = f"a whole {path.name} without pickled objects"
        raise InputError(path, expected=expected, got=reason(error), hint="write it again") from error


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


def _open_nifti(path: Path) -> tuple[tuple[int, ...], Iterable[np.ndarray], np.ndarray]:
    shape, samples, affine = read_nifti_stack(path)
    if len(shape) != 4:
        # Three axes may be the slices of one sample or the samples of one slice.
        raise InputError(
            path,
            expected="four axes (H, W, D, S), samples last",
            got=f"size {shape}",
            hint="write (H, W, 1, S) for a plane, (H, W, D, 1) for one sample, or a folder with one file a sample",
        )
    *space, count = shape
    sample = tuple(space[:2] if space[2] == 1 else space)
    return (count, *sample), (one.reshape(sample) for one in samples), affine
