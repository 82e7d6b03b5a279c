"""One image or volume as found on disk, in whichever format."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from plurimask.errors import InputError
from plurimask.files.case_files import check_name, holds_case, list_case, read_files, read_image_case
from plurimask.files.dicom import read_series
from plurimask.files.dicom_headers import is_dicom
from plurimask.files.images import split_name
from plurimask.geometry import Grid
from plurimask.records import Case

Format = Literal["dicom", "nifti", "picture", "npy"]

_FORMATS: dict[str, Format] = {
    ".nii": "nifti",
    ".nii.gz": "nifti",
    ".npy": "npy",
    ".png": "picture",
    ".jpg": "picture",
    ".jpeg": "picture",
}
_DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")


@dataclass(frozen=True, eq=False)
class Study:
    """A case and where it came from.

    Args:
        case: image and grid; raters (0, ...) unless a case folder has labels. Its name comes from the path, and it
            knows no patient. A single slice is a plane, (H, W), with its place in space.
        format: of the file, or of the first image file of a case folder.
        sources: the files that it was read from, in the order of the slices for DICOM.
    """

    case: Case
    format: Format
    sources: tuple[Path, ...]


def open_study(path: Path) -> Study:
    """The study at a path: a DICOM file or the folder of a series, NIfTI, PNG, JPEG, NPY, or the folder of one case.

    DICOM is known by its content, the other formats by suffix. Arrays are as the format has them: (row, column, slice)
    in DICOM, a NIfTI file's own axes in their order.

    Raises:
        InputError: nothing there, or what `read_series`, `read_image_case` or `list_case` refuse.
        MissingPackageError: DICOM without `pydicom`, or without a decoder that the file needs.
    """
    if not path.exists():
        raise InputError(
            path, expected="an image, a DICOM series or a case", got="nothing there", hint="check the path"
        )
    if path.is_dir():
        return _case_study(path) if holds_case(path) else _dicom_study(path)
    suffix = split_name(path)[1]
    if is_dicom(path) or path.suffix.lower() in _DICOM_SUFFIXES:
        return _dicom_study(path)
    if not suffix:
        raise InputError(
            path,
            expected=f"DICOM, or one of {', '.join(_FORMATS)}",
            got=f"'{path.suffix}' without DICOM's mark",
            hint="convert the file",
        )
    return Study(read_image_case(path), _FORMATS[suffix], (path,))


def study_name(path: Path) -> str:
    """The name that the study at a path bears: the folder's, or the file's without its suffix.

    A DICOM file without the usual suffix keeps its dots, since it may be named by a UID.

    Raises:
        InputError: a name that not every file system can hold.
    """
    if path.is_dir():
        return check_name(path, path.absolute().name)
    stem, suffix = split_name(path)
    if suffix:
        return check_name(path, stem)
    return check_name(path, path.stem if path.suffix.lower() in _DICOM_SUFFIXES else path.name)


def _case_study(folder: Path) -> Study:
    files = list_case(folder)
    case = read_files(files.name, files.images, files.labels, None)
    return Study(case, _FORMATS[split_name(files.images[0])[1]], files.images + files.labels)


def _dicom_study(path: Path) -> Study:
    series = read_series(path)
    image, grid = series.image, series.grid
    if grid.shape[2] == 1:
        image, grid = image[..., 0], Grid(grid.shape[:2], grid.affine)
    nobody = np.zeros((0, *grid.shape), dtype=np.bool_)
    return Study(Case(study_name(path), image, nobody, grid), "dicom", series.files)
