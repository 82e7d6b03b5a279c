"""A file of any format that is read -> an image or a reader's mask, with its grid. The suffix decides on the format.

NIfTI goes through nibabel, in nibabel's own order of axes (see `plurimask.geometry`); nothing in an NPY file is ever
unpickled. `binarise` is THE rule that turns what a label file holds into a mask.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, Protocol

import numpy as np

from plurimask.errors import InputError
from plurimask.files.itk_images import read_metaimage, read_nrrd
from plurimask.files.pictures import read_picture, read_tiff
from plurimask.files.stored import (
    DEFLATED,
    OtherAxesError,
    Stored,
    one_channel,
    readable,
    refuse_giant,
    refuse_unheld,
)
from plurimask.geometry import Grid, grid_of


def read_npy(path: Path) -> Stored:
    """The array of an NPY file: one channel, (H, W) or (H, W, D), never (C, H, W); without spacing.

    (1, H, W) is a plane.

    Raises:
        InputError: a file that is missing, damaged, shorter than its header says, or holds Python objects; an array
            that is not one channel, or whose planes would be one or two pixels high or wide.
    """
    values = one_channel(path, read_array(path))
    if values.ndim == 4 and values.shape[1] == 1:
        return Stored(values[:, 0])
    if values.ndim == 4:
        refuse_thin(path, values.shape[1:])
    return Stored(values)


def refuse_thin(path: Path, shape: Sequence[int]) -> None:
    """Raises InputError for an array (H, W, D) whose planes would be one or two pixels high or wide."""
    if min(shape[:2]) <= 2:
        raise InputError(
            path,
            expected="rows, columns and then slices, (H, W, D)",
            got=f"size {tuple(shape)}, whose slices would be {shape[0]}x{shape[1]} pixels",
            hint="move the axis of the slices last, or write one file a channel: image0, image1, ...",
        )


def read_array(path: Path) -> np.ndarray:
    """The array of an NPY file, of any shape.

    Raises:
        InputError: a file that is missing, damaged, shorter than its header says, holds Python objects, or too much.
    """
    with readable(path, "a readable NPY file"), path.open("rb") as file:
        shape, by_columns, dtype = read_npy_header(file)
        refuse_giant(path, shape, max(4, dtype.itemsize))
        refuse_unheld(path, math.prod(shape) * dtype.itemsize + file.tell())
        return np.fromfile(file, dtype, math.prod(shape)).reshape(shape, order="F" if by_columns else "C")


def read_npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether columns come first, and type of an NPY file's array, which follows in `file`.

    Raises:
        ValueError: another header, or one of Python objects.
    """
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, by_columns, dtype = read(file)
    if dtype.hasobject or min(shape, default=1) < 0:
        raise ValueError("Python objects (allow_pickle=False), or a negative size")
    return shape, by_columns, dtype


_NIFTI = "a readable NIfTI file"
_MM_PER_UNIT = {"mm": 1.0, "unknown": 1.0, "meter": 1e3, "micron": 1e-3}
_GEOMETRY = (
    *("qform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("sform_code", "srow_x", "srow_y", "srow_z"),
)
_LARGEST_SIZE = 32767  # along an axis of NIfTI-1, whose sizes are signed 16-bit integers


def read_nifti(path: Path) -> Stored:
    """One channel with its affine in mm; without scale factors in the header, values keep the file's own type.

    Raises:
        InputError: a file that is missing, damaged or over 2**30 voxels, or more than three axes.
    """
    image, affine = _open(path)
    _check_size(path, image, image.shape)
    with readable(path, _NIFTI):
        values = np.asanyarray(image.dataobj)
    placed = bool(image.header["qform_code"] > 0 or image.header["sform_code"] > 0)
    return Stored(one_channel(path, values), affine, placed=placed)


def read_nifti_stack(path: Path) -> tuple[tuple[int, ...], Iterator[np.ndarray], np.ndarray]:
    """The shape of a file with any number of axes, what lies along the last of them one by one, and its affine in mm.

    Raises:
        InputError: a file that is missing, damaged, or of more than 2**30 voxels in one of these; damage further on is
            refused where it is met.
    """
    image, affine = _open(path)
    _check_size(path, image, image.shape[:-1])

    def parts() -> Iterator[np.ndarray]:
        for index in range(image.shape[-1]):
            with readable(path, _NIFTI):
                one = np.asanyarray(image.dataobj[..., index])
            yield one

    return image.shape, parts(), affine


def read_time_point(path: Path, number: str) -> Stored:
    """Of a file of four axes what lies at one place of the last, counted from 0. InputError where there is none."""
    shape, parts, affine = read_nifti_stack(path)
    points = shape[-1] if len(shape) == 4 else 0
    if not number.isdecimal() or int(number) >= points:
        expected = f"a time point from 0 to {points - 1}" if points else "four axes, the last of them time"
        raise InputError(
            path, expected=expected, got=number if points else f"size {shape}", hint="correct what follows #"
        )
    return Stored(one_channel(path, next(islice(parts, int(number), None))), affine)


def _open(path: Path) -> tuple[Any, np.ndarray]:
    with readable(path, _NIFTI):
        nib = import_module("nibabel")  # when it is needed: it imports pydicom, and a picture needs neither
        kind = nib.Nifti2Image if nib.Nifti2Image.path_maybe_image(path)[0] else nib.Nifti1Image
        # Kept open, a compressed file is read once, however many parts it is read in.
        image = kind.from_filename(path, keep_file_open=True)
        mm_per_unit = _MM_PER_UNIT[image.header.get_xyzt_units()[0]]
        header, affine = image.header, image.affine
        if not affine[:3, :3].any() and header["qform_code"] > 0:  # an sform that says it is one and is all zero
            affine = header.get_qform()
        with np.errstate(invalid="ignore"):  # an affine that is not finite is refused where the grid is built
            return image, np.diag([mm_per_unit] * 3 + [1.0]) @ affine


def _check_size(path: Path, image: Any, part: Sequence[int]) -> None:
    """What is read at once is no giant, and the whole is in the file."""
    itemsize = image.get_data_dtype().itemsize
    refuse_giant(path, part, max(4, itemsize))
    refuse_unheld(path, math.prod(image.shape) * itemsize, DEFLATED if path.name.lower().endswith(".gz") else 1)


def write_nifti(path: Path, values: np.ndarray, grid: Grid, like: Path | None = None) -> None:
    """Write one volume, or a stack of them along the last axis; a plane becomes a volume of one slice.

    Args:
        path: .nii or .nii.gz; the same values give the same bytes.
        values: (H, W[, D]) or (H, W[, D], S), of a type that NIfTI knows.
        grid: of one volume. Without an affine, voxels are 1 in an unknown unit, and the file says so.
        like: a NIfTI file on this grid, whose unit, qform and sform are kept to the bit. None: mm, and sform alone.

    Raises:
        OSError: as the file system does.
    """
    volume = values if len(grid.shape) == 3 else values[:, :, None]
    nib = import_module("nibabel")
    source = None if like is None else nib.load(like)
    wide = max(volume.shape) > _LARGEST_SIZE or isinstance(source, nib.Nifti2Image)
    image = (nib.Nifti2Image if wide else nib.Nifti1Image)(volume, grid.affine if source is None else source.affine)
    if source is not None:
        for field in _GEOMETRY:
            image.header[field] = source.header[field]
        image.header["pixdim"][:4] = source.header["pixdim"][:4]
        image.header.set_xyzt_units(source.header.get_xyzt_units()[0])
    elif grid.affine is not None:
        image.header.set_xyzt_units("mm")
        image.set_sform(grid.affine, "scanner")
    image.to_filename(path)


_ROUNDING = 1e-5  # what a scale factor in a NIfTI header may add to 0 and 1


class LabelRule(Protocol):
    """From what a label file holds to a mask of the same shape, bool; see `binarise`, the usual one."""

    def __call__(self, subject: str | Path, values: np.ndarray, *, lossy: bool = False) -> np.ndarray:
        """(...) any values -> (...) bool."""


def binarise(subject: str | Path, values: np.ndarray, *, lossy: bool = False) -> np.ndarray:
    """A label as a mask of the same shape, bool.

    Booleans and arrays that hold only 0 and 1 are taken as they are. Other integers are cut at half their type's
    maximum, so uint8 counts from 128 on. Floats must lie in [0, 1] and count above 0.5.

    A lossy label is always cut: an empty one may decode to 1 everywhere, and ringing around an outline reaches far
    above 1. For the same reason only a lossy label may hold values above 1 and none above the cut.

    Args:
        subject: the file or record that an error names.
        values: any shape.
        lossy: the values went through JPEG.

    Raises:
        InputError: another type, NaN, a value outside the range, or integers above 1 that all lie below the cut
            (such as classes 0, 1, 2, or 255 in 16 bits).
    """
    kind = values.dtype.kind
    low, high = (values.min(), values.max()) if values.size and kind in "iuf" else (0, 0)
    if kind == "b":
        return values.view(np.uint8) != 0  # of a one-bit PNG, whose booleans come as the bytes 0 and 255, 0 and 1
    if kind == "f":
        if low >= -_ROUNDING and high <= 1 + _ROUNDING:
            return values > 0.5
        got = f"floats from {low:g} to {high:g}" if np.isfinite([low, high]).all() else "NaN or infinite values"
    elif kind not in "iu":
        got = f"values of type {values.dtype}"
    elif low < 0:
        got = f"negative values, down to {low}"
    else:
        half = np.iinfo(values.dtype).max // 2
        if lossy or high > half:
            return values > half
        if high <= 1:
            return values.astype(np.bool_)
        got = f"values up to {high} in {values.dtype}"
    raise InputError(
        subject,
        expected="a label of 0 and 1, of 0 and its type's maximum (255 in 8 bits), or of floats in [0, 1]",
        got=got,
        hint="write one mask a file, 1 or 255 where the reader drew",
    )


class NoClasses:
    """A rule for the labels of one case that takes no probabilities of classes, which add up to 1, for masks.

    Args:
        rule: for each label.
    """

    def __init__(self, rule: LabelRule = binarise) -> None:
        self._rule, self._count, self._mixed = rule, 0, True
        self._total: np.ndarray = np.zeros((), dtype=np.float32)

    def __call__(self, subject: str | Path, values: np.ndarray, *, lossy: bool = False) -> np.ndarray:
        """As the rule; the label counts for `check`."""
        mask = self._rule(subject, values, lossy=lossy)
        most = 1 if values.dtype.kind == "f" else values.max(initial=1)
        # Of classes, every plane holds values between its ends, so that labels of two values cost no sum.
        self._mixed &= not lossy and values.dtype.kind in "fiu" and bool(((values != 0) & (values != most)).any())
        if self._mixed and (not self._count or self._total.shape == values.shape):
            full = 1 if most == 1 else np.iinfo(values.dtype).max
            self._total, self._count = self._total + values.astype(np.float32) / np.float32(full), self._count + 1
        return mask

    def check(self, subject: str | Path) -> None:
        """Raises InputError where the labels so far add up to 1 everywhere."""
        if self._mixed and self._count > 1 and np.abs(self._total - 1).max() < 0.01 + self._count / 255:
            raise InputError(
                subject,
                expected="masks, one a sample or reader",
                got=f"{self._count} planes that add up to 1 everywhere, as probabilities of classes do",
                hint="give the foreground alone, as masks drawn from it or as one plane",
            )


Format = Literal["dicom", "nifti", "picture", "itk", "npy"]


class ImageFormat(NamedTuple):
    """How files of one suffix are called and read."""

    name: Format
    read: Callable[[Path], Stored]


FORMATS = {
    ".png": ImageFormat("picture", read_picture),
    ".jpg": ImageFormat("picture", read_picture),
    ".jpeg": ImageFormat("picture", read_picture),
    ".tif": ImageFormat("picture", read_tiff),
    ".tiff": ImageFormat("picture", read_tiff),
    ".nrrd": ImageFormat("itk", read_nrrd),
    ".mha": ImageFormat("itk", read_metaimage),
    ".mhd": ImageFormat("itk", read_metaimage),
    ".npy": ImageFormat("npy", read_npy),
    ".nii": ImageFormat("nifti", read_nifti),
    ".nii.gz": ImageFormat("nifti", read_nifti),
}
"""THE table of image formats, by lower-case suffix; DICOM alone is known by its content."""


def split_name(path: Path) -> tuple[str, str]:
    """Stem and lower-case suffix (".png", ..., ".nii.gz" as one); the suffix is "" where the format is not read."""
    for suffix in sorted(FORMATS, key=len, reverse=True):
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)], suffix
    return path.name.partition(".")[0], ""


def read_image(path: Path, time_point: str | None = None) -> tuple[np.ndarray, Grid]:
    """An image as (C, H, W[, D]) float32 with the values of the file, and its grid.

    Of a NIfTI file of four axes, `time_point` names one of the last. C is 3 for a colour picture and 1 for
    everything else. Intensities are not scaled: that belongs to the model.

    Raises:
        InputError: a file that cannot be read, or whose values are not finite real numbers.
    """
    stored = _read(path) if time_point is None else read_time_point(path, time_point)
    if stored.values.dtype.kind not in "biuf":
        got = f"values of type {stored.values.dtype}"
        raise InputError(path, expected="real numbers", got=got, hint="convert to float32")
    with np.errstate(over="ignore"):
        image = np.ascontiguousarray(stored.values, dtype=np.float32)
    broken = int(image.size - np.isfinite(image).sum())
    if broken:
        got = f"{broken} NaN or infinite values"
        raise InputError(path, expected="finite float32 values", got=got, hint="replace them before use")
    return image, replace(grid_of(path, image.shape[1:], stored.affine), placed=stored.placed)


def read_label(path: Path, rule: LabelRule = binarise) -> tuple[np.ndarray, Grid]:
    """A reader mask as (H, W[, D]) bool by the rule of `files.images.binarise`, or by another one, and its grid.

    Raises:
        InputError: a file that cannot be read, is coloured, or breaks the rule.
    """
    try:
        stored = _read(path)
    except OtherAxesError as error:
        expected, got = "one reader's mask of size (H, W) or (H, W, D)", f"size {error.shape}"
        hint = "write one file a reader, label0, label1, ..., as from each part along its last axis"
        raise InputError(path, expected=expected, got=got, hint=hint) from error
    if len(stored.values) != 1:
        hint = "write one grey file a reader: label0, label1, ..."
        raise InputError(path, expected="a grey label", got="a coloured one", hint=hint)
    mask = np.ascontiguousarray(rule(path, stored.values[0], lossy=stored.lossy))
    return mask, grid_of(path, mask.shape, stored.affine)


def _read(path: Path) -> Stored:
    _, suffix = split_name(path)
    if suffix not in FORMATS:
        raise InputError(path, expected=f"one of {', '.join(FORMATS)}", got=f"'{path.suffix}'", hint="convert the file")
    return FORMATS[suffix].read(path)
