"""The headers of a DICOM image, as objects that are derived from it refer to them."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from plurimask.errors import InputError
from plurimask.geometry import Grid, lps_to_ras
from plurimask.optional import need

# Type 2 attributes of patient and study: derived objects have them, empty where the source has not.
_IDENTITY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"),
)
_REFERENCE = (
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID"),
    *("Rows", "Columns", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"),
)


@dataclass(frozen=True, eq=False)
class DicomSource:
    """What a derived object refers to.

    Args:
        header: of the first file, whole.
        images: headers of all files without identity, for libraries that print what they find odd.
        positions: (D, 3) LPS+ mm of the first pixel of each slice; None where the source has no place in space.
        step_mm: from slice to slice along the normal; None where the source has no place in space.
    """

    header: Any
    images: list[Any]
    positions: np.ndarray | None
    step_mm: float | None


def read_dicom_source(files: Sequence[Path], grid: Grid) -> DicomSource:
    """The headers of `files`, one a slice or one multi-frame file, which `grid` was read from.

    Raises:
        InputError: another number of slices than the grid's.
        OSError: a file that is gone.
    """
    dcmread = need("pydicom", "dicom").dcmread
    header = dcmread(files[0], stop_before_pixels=True, force=True)
    others = [dcmread(path, stop_before_pixels=True, force=True, specific_tags=_REFERENCE) for path in files[1:]]
    images = [_without_identity(header), *others]
    positions = _positions(images)
    slices = 1 if len(grid.shape) == 2 else grid.shape[2]
    found = len(files) if positions is None else len(positions)
    if found != slices:
        raise InputError(
            files[0].parent, expected=f"{slices} slices, as the panel has", got=str(found), hint="give its own study"
        )
    if positions is None or grid.affine is None:
        return DicomSource(header, images, None, None)
    down, along, step = lps_to_ras(grid.affine)[:3, :3].T
    normal = np.cross(down, along) / np.linalg.norm(np.cross(down, along))
    step_mm = abs(float(step @ normal))
    _complete_geometry(images[0], slices, step_mm)
    return DicomSource(header, images, positions[np.argsort(positions @ step)], step_mm)


def _without_identity(header: Any) -> Any:
    blank = copy.deepcopy(header)
    for keyword in _IDENTITY:
        setattr(blank, keyword, "")
    blank.pop("SpecificCharacterSet", None)
    return blank


def _positions(images: list[Any]) -> np.ndarray | None:
    frames = images[0].get("PerFrameFunctionalGroupsSequence")
    places = [frame.PlanePositionSequence[0] for frame in frames] if frames else images
    if "ImagePositionPatient" not in places[0] or "FrameOfReferenceUID" not in images[0]:
        return None
    return np.array([place.ImagePositionPatient for place in places], dtype=float)


def _complete_geometry(first: Any, slices: int, step_mm: float) -> None:
    """What a derived object takes from its source, where the source is allowed to be silent or to repeat itself."""
    if "PerFrameFunctionalGroupsSequence" in first:
        shared, frame = first.SharedFunctionalGroupsSequence[0], first.PerFrameFunctionalGroupsSequence[0]
        for keyword in ("PlaneOrientationSequence", "PixelMeasuresSequence"):
            if keyword not in shared:
                shared[keyword] = frame[keyword]
        measures = shared.PixelMeasuresSequence[0]
    else:
        measures = first
    measures.SliceThickness = measures.get("SliceThickness") or f"{step_mm:.10g}"
    if slices > 1:
        measures.SpacingBetweenSlices = f"{step_mm:.10g}"
