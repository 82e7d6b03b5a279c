"""What the header of a DICOM file says of its image: one `Header` a file, one `Frame` a slice.

No error names the patient.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from plurimask.errors import InputError
from plurimask.files.dicom_file import damage, is_dicom, not_dicom
from plurimask.files.stored import refuse_giant, unreadable
from plurimask.optional import need

_GROUPS = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "SliceThickness": "PixelMeasuresSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
}
_SHARED, _PER_FRAME = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
_STORAGE = "1.2.840.10008.5.1.4.1.1"
_DERIVED = tuple(
    f"{_STORAGE}.{kind}" for kind in ("66.4", "66.7", "481.2", "30")
)  # SEG, label map, dose, parametric map
_AGAIN = "fetch it again, or repair its header"
_SLANT = 1e-3  # of two unit vectors against a right angle
_LARGEST = 1e15  # no position, spacing or slope is beyond it, and no product of two leaves float32


@dataclass(frozen=True, eq=False)
class Frame:
    """One slice.

    Args:
        name: the file's, with the frame's number where the file holds several; for errors.
        position: (3,) of its first pixel, LPS+ mm, or None.
        orientation: (2, 3) unit vectors in LPS+, the way along a row, then down a column; or None.
        spacing: (2,) mm between rows, mm between columns; or None.
        thickness: mm, or None.
        slope, intercept: stored values to modality values.
    """

    name: str
    position: np.ndarray | None
    orientation: np.ndarray | None
    spacing: np.ndarray | None
    thickness: float | None
    slope: float
    intercept: float


@dataclass(frozen=True, eq=False)
class Header:
    """One file.

    Args:
        path: where it is.
        series, reference: UIDs of series and frame of reference; "" where not given.
        shape: H, W.
        localizer: it was made to plan others.
        patient: PatientID, or None; never to be printed.
        frames: in the order of the file.
    """

    path: Path
    series: str
    reference: str
    shape: tuple[int, int]
    localizer: bool
    patient: str | None
    frames: tuple[Frame, ...]


def read_header(path: Path) -> Header:
    """The header of a file that holds an image, without its pixels.

    Raises:
        InputError: a file that is not DICOM, damaged, or holds no image (a structure set, a report, a segmentation).
        MissingPackageError: `pydicom` is not installed.
    """
    if not is_dicom(path):
        raise not_dicom(path)
    pydicom = need("pydicom", "dicom")
    try:
        dataset = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        _refuse_other_objects(path, dataset, pydicom.uid)
        return _header(path, dataset)
    except damage() as error:
        raise unreadable(path, "DICOM file", error) from error


def _refuse_other_objects(path: Path, dataset: Any, uids: Any) -> None:
    kind = uids.UID(dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID") or "")
    if "Rows" in dataset and kind not in _DERIVED:
        return
    named = f" of kind '{kind.name}'" if kind.keyword else ""
    raise InputError(
        path,
        expected="an image",
        got=f"a DICOM object{named}{'' if 'Rows' in dataset else ' without pixels'}",
        hint="pass the images alone, and move this file out of their folder",
    )


def _header(path: Path, dataset: Any) -> Header:
    shape = int(dataset.Rows), int(dataset.Columns)
    count = int(dataset.get("NumberOfFrames") or 1)
    _check_pixels(path, dataset, shape, count)
    return Header(
        path,
        str(dataset.get("SeriesInstanceUID") or ""),
        str(dataset.get("FrameOfReferenceUID") or ""),
        shape,
        "LOCALIZER" in (dataset.get("ImageType") or ()),
        str(dataset.get("PatientID") or "") or None,
        tuple(_frame(path, dataset, number, count) for number in range(count)),
    )


def _check_pixels(path: Path, dataset: Any, shape: tuple[int, int], count: int) -> None:
    refuse_giant(path, (*shape, count))
    if min(*shape, count) < 1:
        got = f"{count} frame(s) of {shape[0]}x{shape[1]}"
        raise InputError(path, expected="at least one row, column and frame", got=got, hint="fetch it again")
    if count > 1 and len(dataset.get(_PER_FRAME) or ()) != count:
        raise InputError(
            path,
            expected=f"a position for each of {count} frames (enhanced multi-frame)",
            got="frames without",
            hint="write each frame to a file of its own; frames in time are no volume",
        )
    if "HighBit" in dataset and dataset.HighBit != dataset.BitsStored - 1:
        raise InputError(
            path,
            expected=f"the {dataset.BitsStored} stored bits to be the lowest",
            got=f"high bit {dataset.HighBit}",
            hint="rewrite the file with another program first",
        )


def _frame(path: Path, dataset: Any, number: int, count: int) -> Frame:
    def read(keyword: str, size: int = 1) -> np.ndarray | None:
        return _numbers(path, keyword, _find(dataset, number, keyword), size)

    orientation, spacing = read("ImageOrientationPatient", 6), read("PixelSpacing", 2)
    thickness, slope, intercept = read("SliceThickness"), read("RescaleSlope"), read("RescaleIntercept")
    _check_frame(path, orientation, spacing, slope)
    return Frame(
        path.name if count == 1 else f"{path.name}, frame {number + 1}",
        read("ImagePositionPatient", 3),
        None if orientation is None else _unit(orientation.reshape(2, 3)),
        spacing,
        None if thickness is None or thickness[0] <= 0 else float(thickness[0]),
        1.0 if slope is None else float(slope[0]),
        0.0 if intercept is None else float(intercept[0]),
    )


def _find(dataset: Any, number: int, keyword: str) -> Any:
    """A value of one frame: its own, or the one that all frames share, or the file's."""
    per_frame, shared = dataset.get(_PER_FRAME), dataset.get(_SHARED)
    for groups in (per_frame[number] if per_frame else {}, shared[0] if shared else {}):
        items = groups.get(_GROUPS[keyword])
        if items and keyword in items[0]:
            return items[0].get(keyword)
    return dataset.get(keyword)


def _numbers(path: Path, keyword: str, value: Any, size: int) -> np.ndarray | None:
    if value is None or value == "":
        return None
    numbers = np.array(value, dtype=np.float64).reshape(-1)
    if len(numbers) != size or not (np.abs(numbers) < _LARGEST).all():
        raise InputError(path, expected=f"{size} finite number(s) as {keyword}", got="others", hint=_AGAIN)
    return numbers


def _check_frame(
    path: Path, orientation: np.ndarray | None, spacing: np.ndarray | None, slope: np.ndarray | None
) -> None:
    for keyword, rule, numbers, holds in (
        ("ImageOrientationPatient", "two unit vectors at right angles", orientation, _at_right_angles),
        ("PixelSpacing", "numbers above 0", spacing, _positive),
        ("RescaleSlope", "a number other than 0", slope, np.all),
    ):
        if numbers is not None and not holds(numbers):
            raise InputError(path, expected=f"{rule} as {keyword}", got=f"{numbers.tolist()}", hint=_AGAIN)


def _at_right_angles(orientation: np.ndarray) -> bool:
    ways = orientation.reshape(2, 3)
    return bool(np.abs(ways @ ways.T - np.eye(2)).max() <= _SLANT)


def _positive(numbers: np.ndarray) -> bool:
    return bool((numbers > 0).all())


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
