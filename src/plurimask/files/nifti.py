"""NIfTI files (.nii, .nii.gz) to arrays and back, through nibabel, in nibabel's own order of axes (see
`plurimask.geometry`)."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from plurimask.files.stored import Stored, one_channel, refuse_giant, unreadable
from plurimask.geometry import Grid

_KINDS = (nib.Nifti1Image, nib.Nifti2Image)
_DAMAGE = (
    *(OSError, ValueError, KeyError, EOFError, OverflowError, MemoryError),
    *(zlib.error, ImageFileError, HeaderDataError, WrapStructError),
)
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
    refuse_giant(path, image.shape)
    with _damage_refused(path):
        values = np.asanyarray(image.dataobj)
    return Stored(one_channel(path, values), affine)


def read_nifti_stack(path: Path) -> tuple[tuple[int, ...], Iterator[np.ndarray], np.ndarray]:
    """The shape of a file with any number of axes, what lies along the last of them one by one, and its affine in mm.

    Raises:
        InputError: a file that is missing, damaged, or of more than 2**30 voxels in one of these; damage further on is
            refused where it is met.
    """
    image, affine = _open(path)
    refuse_giant(path, image.shape[:-1])
    return image.shape, _along_last(path, image.dataobj), affine


def _open(path: Path) -> tuple[Any, np.ndarray]:
    with _damage_refused(path):
        kind = next((kind for kind in _KINDS if kind.path_maybe_image(path)[0]), nib.Nifti1Image)
        # Kept open, a compressed file is read once, however many parts it is read in.
        image = kind.from_filename(path, keep_file_open=True)
        mm_per_unit = _MM_PER_UNIT[image.header.get_xyzt_units()[0]]
        return image, np.diag([mm_per_unit] * 3 + [1.0]) @ image.affine


def _along_last(path: Path, values: Any) -> Iterator[np.ndarray]:
    for index in range(values.shape[-1]):
        with _damage_refused(path):
            one = np.asanyarray(values[..., index])
        yield one


@contextmanager
def _damage_refused(path: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise unreadable(path, "NIfTI file", error) from error


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
