"""A file of any format that is read -> an image or a rater mask, with its grid. The suffix decides on the format."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from plurimask.errors import InputError
from plurimask.files.label import LabelRule, binarise
from plurimask.files.nifti import read_nifti
from plurimask.files.npy import read_npy
from plurimask.files.raster import read_jpeg, read_png
from plurimask.files.stored import Stored
from plurimask.geometry import Grid

_READERS: dict[str, Callable[[Path], Stored]] = {
    ".png": read_png,
    ".jpg": read_jpeg,
    ".jpeg": read_jpeg,
    ".npy": read_npy,
    ".nii": read_nifti,
    ".nii.gz": read_nifti,
}


def split_name(path: Path) -> tuple[str, str]:
    """Stem and lower-case suffix (".png", ..., ".nii.gz" as one); the suffix is "" where the format is not read."""
    for suffix in sorted(_READERS, key=len, reverse=True):
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)], suffix
    return path.name.partition(".")[0], ""


def read_image(path: Path) -> tuple[np.ndarray, Grid]:
    """An image as (C, H, W[, D]) float32 with the values of the file, and its grid.

    C is 3 for a colour PNG or JPEG and 1 for everything else. Intensities are not scaled: that belongs to the model.

    Raises:
        InputError: a file that cannot be read, or whose values are not finite real numbers.
    """
    stored = _read(path)
    if stored.values.dtype.kind not in "biuf":
        raise InputError(
            path, expected="real numbers", got=f"values of type {stored.values.dtype}", hint="convert to float32"
        )
    with np.errstate(over="ignore"):
        image = np.ascontiguousarray(stored.values, dtype=np.float32)
    broken = int(image.size - np.isfinite(image).sum())
    if broken:
        raise InputError(
            path,
            expected="finite float32 values",
            got=f"{broken} NaN or infinite values",
            hint="replace them before use",
        )
    return image, _grid(path, stored)


def read_label(path: Path, rule: LabelRule = binarise) -> tuple[np.ndarray, Grid]:
    """A rater mask as (H, W[, D]) bool by the rule of `files.label.binarise`, or by another one, and its grid.

    Raises:
        InputError: a file that cannot be read, is coloured, or breaks the rule.
    """
    stored = _read(path)
    if len(stored.values) != 1:
        raise InputError(
            path,
            expected="a grey label",
            got="a coloured one",
            hint="write one grey file a reader: label0, label1, ...",
        )
    return np.ascontiguousarray(rule(path, stored.values[0], lossy=stored.lossy)), _grid(path, stored)


def _read(path: Path) -> Stored:
    _, suffix = split_name(path)
    if suffix not in _READERS:
        raise InputError(
            path, expected=f"one of {', '.join(_READERS)}", got=f"'{path.suffix}'", hint="convert the file"
        )
    return _READERS[suffix](path)


def _grid(path: Path, stored: Stored) -> Grid:
    try:
        return Grid(stored.values.shape[1:], stored.affine)
    except InputError as error:
        raise InputError(
            path, expected="a usable grid", got=f"a header where {error}", hint="repair the file's header"
        ) from error
