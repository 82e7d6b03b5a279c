"""NIfTI files (.nii, .nii.gz) to arrays and back, through nibabel, in nibabel's own order of axes (see
`plurimask.geometry`)."""

import zlib
from pathlib import Path

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
        InputError: as `read_nifti_values`, or more than three axes.
    """
    values, affine = read_nifti_values(path)
    return Stored(one_channel(path, values), affine)


def read_nifti_values(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """All values of a file with any number of axes, and its affine in mm.

    Raises:
        InputError: a file that is missing, damaged or over 2**30 voxels.
    """
    try:
        kind = next((kind for kind in _KINDS if kind.path_maybe_image(path)[0]), nib.Nifti1Image)
        volume = kind.from_filename(path)
        refuse_giant(path, volume.shape)
        values = np.asanyarray(volume.dataobj)
        mm_per_unit = _MM_PER_UNIT[volume.header.get_xyzt_units()[0]]
    except _DAMAGE as error:
        raise unreadable(path, "NIfTI file", error) from error
    return values, np.diag([mm_per_unit] * 3 + [1.0]) @ volume.affine


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
