"""NIfTI files (.nii, .nii.gz) to arrays, through nibabel, in nibabel's own order of axes (see `plurimask.geometry`)."""

import math
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from plurimask.errors import InputError
from plurimask.files.stored import Stored, one_channel, unreadable

_KINDS = (nib.Nifti1Image, nib.Nifti2Image)
_DAMAGE = (
    *(OSError, ValueError, KeyError, EOFError, OverflowError, MemoryError),
    *(zlib.error, ImageFileError, HeaderDataError, WrapStructError),
)
_MM_PER_UNIT = {"mm": 1.0, "unknown": 1.0, "meter": 1e3, "micron": 1e-3}
_MOST_VOXELS = 2**30  # 1024 cubed; a compressed file of a few MB can claim, and hold, far more


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
        _refuse_giant(path, volume.shape)
        values = np.asanyarray(volume.dataobj)
        mm_per_unit = _MM_PER_UNIT[volume.header.get_xyzt_units()[0]]
    except _DAMAGE as error:
        raise unreadable(path, "NIfTI file", error) from error
    return values, np.diag([mm_per_unit] * 3 + [1.0]) @ volume.affine


def _refuse_giant(path: Path, shape: tuple[int, ...]) -> None:
    if math.prod(shape) > _MOST_VOXELS:
        raise InputError(
            path, expected=f"at most {_MOST_VOXELS} voxels", got=f"size {shape}", hint="crop or resample the volume"
        )
