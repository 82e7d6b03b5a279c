"""What the header of a DICOM file says of its image, and the order and affine of the slices of a series.

pydicom reads without its own warnings here, which quote patients; no error names one either. One `Header` a file, one
`Frame` a slice.
"""

import io
import math
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from plurimask.errors import InputError, need
from plurimask.files.stored import HeldFile, readable, refuse_giant
from plurimask.geometry import Grid, grid_of, lps_to_ras


@contextmanager
def quiet() -> Iterator[None]:
    """pydicom without its own checks and warnings, both of which quote what a file says, a patient's name included."""
    with need("pydicom.config", "dicom").disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def is_dicom(path: Path) -> bool:
    """Whether a file starts as DICOM does, with or without the preamble that it should have.

    Raises:
        InputError: a file that cannot be read.
    """
    with readable(path, "a readable file"), path.open("rb") as file:
        start = file.read(132)
    # Without preamble: the first element is of group 2 or 8 and names its type, or a length below 64 KiB.
    little = start[:2] in (b"\x02\x00", b"\x08\x00") and (start[4:6].isalpha() or start[6:8] == b"\x00\x00")
    big = start[:2] in (b"\x00\x02", b"\x00\x08") and start[4:6].isalpha()
    return start[128:] == b"DICM" or (len(start) >= 8 and (little or big))


def is_segmentation(path: Path) -> bool:
    """Whether a file is named as DICOM's are and starts as a segmentation does. Raises as `is_dicom`."""
    if path.suffix.lower() not in SUFFIXES or not path.is_file() or not is_dicom(path):
        return False
    with path.open("rb") as file:
        return _SEGMENTATION.encode() in file.read(1024)


SUFFIXES = (".dcm", ".dicom", ".ima")
_GROUPS = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "SliceThickness": "PixelMeasuresSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
    "ReferencedSegmentNumber": "SegmentIdentificationSequence",
}
_SHARED, _PER_FRAME = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
_STORAGE = "1.2.840.10008.5.1.4.1.1"
_SEGMENTATION = f"{_STORAGE}.66.4"
_DERIVED = (_SEGMENTATION, *(f"{_STORAGE}.{kind}" for kind in ("66.7", "481.2", "30")))
"""Besides: label map, dose, parametric map."""
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
        segment: the number of the one that it belongs to, in a segmentation; else None.
    """

    name: str
    position: np.ndarray | None
    orientation: np.ndarray | None
    spacing: np.ndarray | None
    thickness: float | None
    slope: float
    intercept: float
    segment: int | None = None


@dataclass(frozen=True, eq=False)
class Header:
    """One file.

    Args:
        path: where it is.
        series, reference: UIDs of series and frame of reference; "" where not given.
        number: of the series, as text; "" where not given.
        shape: H, W.
        localizer: it was made to plan others.
        modality: CT, MR, ...; "" where not given.
        patient: PatientID, or None; never to be printed.
        frames: in the order of the file.
    """

    path: Path
    series: str
    reference: str
    number: str
    shape: tuple[int, int]
    localizer: bool
    modality: str
    patient: str | None
    frames: tuple[Frame, ...]


def read_header(path: Path, segments: bool = False) -> Header:
    """The header of a file that holds an image, or else `segments` of one, without its pixels.

    Raises:
        InputError: a file that is not DICOM, damaged, or holds no image (a structure set, a report, a segmentation).
        MissingPackageError: `pydicom` is not installed.
    """
    if not is_dicom(path):
        raise InputError(
            path,
            expected="a DICOM file",
            got="one without DICOM's mark" if path.stat().st_size else "an empty file",
            hint="fetch it again, or unpack or decrypt it first; if it is of another kind, move it out of the folder",
        )
    pydicom = need("pydicom", "dicom")
    with readable(path, "a readable DICOM file"), HeldFile(path) as file:
        _refuse_inflated(path)
        dataset = pydicom.dcmread(file, stop_before_pixels=True, force=True)
        _refuse_other_objects(path, dataset, pydicom.uid, segments)
        return _header(path, dataset)


def _refuse_inflated(path: Path) -> None:
    """A deflated file, which pydicom inflates whole for its header alone, may hold no more than its header claims."""
    reader, uids = need("pydicom.filereader", "dicom"), need("pydicom.uid", "dicom")
    with HeldFile(path) as file:
        if file.read(132)[128:] != b"DICM":
            return
        meta = reader.read_dataset(file, False, True, stop_when=lambda tag, *_: tag.group != 2)
        if meta.get("TransferSyntaxUID") != uids.DeflatedExplicitVRLittleEndian:
            return
        file.seek(144 + meta.FileMetaInformationGroupLength)
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        start = inflater.decompress(file.read(), _HEADER_BYTES)
    found = reader.read_dataset(io.BytesIO(start), False, True, stop_when=lambda tag, *_: tag >= _PIXELS)
    shape = [int(found.get(name) or 1) for name in ("NumberOfFrames", "Rows", "Columns", "SamplesPerPixel")]
    depth = -(-int(found.get("BitsAllocated") or 8) // 8)
    refuse_giant(path, shape, max(4, depth))
    allowed, size = math.prod(shape) * depth + _HEADER_BYTES, len(start)
    while size <= allowed and inflater.unconsumed_tail:
        size += len(inflater.decompress(inflater.unconsumed_tail, _HEADER_BYTES))
    if size > allowed:
        expected = f"at most {allowed:,} bytes, as its header says"
        raise InputError(path, expected=expected, got=f"{size:,} or more when it is inflated", hint=_AGAIN)


_HEADER_BYTES = 2**24  # beside the pixels
_PIXELS = 0x7FE00008  # the first of the elements that may hold them


def _refuse_other_objects(path: Path, dataset: Any, uids: Any, segments: bool) -> None:
    kind = uids.UID(dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID") or "")
    if "Rows" in dataset and (kind == _SEGMENTATION if segments else kind not in _DERIVED):
        return
    named = f" of kind '{kind.name}'" if kind.keyword else ""
    raise InputError(
        path,
        expected="a segmentation (SEG)" if segments else "an image",
        got=f"a DICOM object{named}{'' if 'Rows' in dataset else ' without pixels'}",
        hint=f"pass the {'samples' if segments else 'images'} alone, and move this file out of their folder",
    )


def _header(path: Path, dataset: Any) -> Header:
    shape = int(dataset.Rows), int(dataset.Columns)
    count = int(dataset.get("NumberOfFrames") or 1)
    _check_pixels(path, dataset, shape, count)
    return Header(
        path,
        str(dataset.get("SeriesInstanceUID") or ""),
        str(dataset.get("FrameOfReferenceUID") or ""),
        str(dataset.get("SeriesNumber") or ""),
        shape,
        "LOCALIZER" in (dataset.get("ImageType") or ()),
        str(dataset.get("Modality") or ""),
        str(dataset.get("PatientID") or "") or None,
        tuple(_frame(path, dataset, number, count) for number in range(count)),
    )


def _check_pixels(path: Path, dataset: Any, shape: tuple[int, int], count: int) -> None:
    is_bits = dataset.get("BitsAllocated") == 1
    refuse_giant(path, (*shape, count, int(dataset.get("SamplesPerPixel") or 1)), 1 if is_bits else 4)
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
    # Enhanced files may carry the word, and their frames are slices all the same.
    if "MOSAIC" in (dataset.get("ImageType") or ()) and _SHARED not in dataset:
        raise InputError(
            path,
            expected="one slice a file",
            got="a mosaic, whose tiles are slices",
            hint="take it apart first, for instance with dcm2niix, and pass the NIfTI",
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

    ways, thickness = read("ImageOrientationPatient", 6), read("SliceThickness")
    slope, intercept, segment = read("RescaleSlope"), read("RescaleIntercept"), read("ReferencedSegmentNumber")
    return Frame(
        path.name if count == 1 else f"{path.name}, frame {number + 1}",
        read("ImagePositionPatient", 3),
        None if ways is None else ways.reshape(2, 3) / np.linalg.norm(ways.reshape(2, 3), axis=-1, keepdims=True),
        read("PixelSpacing", 2),
        None if thickness is None or thickness[0] <= 0 else float(thickness[0]),
        1.0 if slope is None else float(slope[0]),
        0.0 if intercept is None else float(intercept[0]),
        None if segment is None else int(segment[0]),
    )


def _find(dataset: Any, number: int, keyword: str) -> Any:
    """A value of one frame: its own, or the one that all frames share, or the file's."""
    per_frame, shared = dataset.get(_PER_FRAME), dataset.get(_SHARED)
    for groups in (per_frame[number] if per_frame else {}, shared[0] if shared else {}):
        items = groups.get(_GROUPS[keyword])
        if items and keyword in items[0]:
            return items[0].get(keyword)
    return dataset.get(keyword)


def _at_right_angles(numbers: np.ndarray) -> bool:
    ways = numbers.reshape(2, 3)
    return bool(np.abs(ways @ ways.T - np.eye(2)).max() <= _SLANT)


_RULES: Mapping[str, tuple[str, Callable[[np.ndarray], bool]]] = {
    "ImageOrientationPatient": ("two unit vectors at right angles", _at_right_angles),
    "PixelSpacing": ("numbers above 0", lambda numbers: bool((numbers > 0).all())),
    "RescaleSlope": ("a number other than 0", lambda numbers: bool(numbers.all())),
}


def _numbers(path: Path, keyword: str, value: Any, size: int) -> np.ndarray | None:
    if value is None or value == "":
        return None
    numbers = np.array(value, dtype=np.float64).reshape(-1)
    if len(numbers) != size or not (np.abs(numbers) < _LARGEST).all():
        raise InputError(path, expected=f"{size} finite number(s) as {keyword}", got="others", hint=_AGAIN)
    rule, holds = _RULES.get(keyword, ("", lambda numbers: True))
    if not holds(numbers):
        raise InputError(path, expected=f"{rule} as {keyword}", got=f"{numbers.tolist()}", hint=_AGAIN)
    return numbers


_AXIAL = np.eye(3)[:2]
_FETCH_SERIES = "fetch the series again"
_SAME_PLACE_MM = 1e-3


def stack(subject: Path, frames: Sequence[Frame]) -> tuple[np.ndarray, np.ndarray | None]:
    """The order of the slices, as indices into `frames`, and the affine from (row, column, slice) to RAS+ mm.

    Slices are sorted by position along the normal of their plane. The step from slice to slice is the true one between
    their first pixels, (last - first) / (n - 1). With a tilted gantry it is not parallel to the normal: the affine is
    then sheared, which is exactly right, and the slices need no resampling.

    A slice may lie off its even place by 0.1 mm or a fifth of the step, whichever is less; positions in files are
    rounded. A single slice steps by its thickness, or 1 mm. A single slice of unknown position or orientation is taken
    as axial at the origin; without pixel spacing it has no affine.

    Raises:
        InputError: several slices of which one lacks position, orientation or spacing, or that differ in the last two;
            two slices in one place, missing slices, or uneven steps.
    """
    if len(frames) > 1:
        _check_planes(subject, frames)
    first = frames[0]
    if first.spacing is None:
        return np.arange(1), None
    orientation = _AXIAL if first.orientation is None else first.orientation
    normal = np.cross(*orientation)
    places = np.array([np.zeros(3) if frame.position is None else frame.position for frame in frames])
    order = np.argsort(places @ normal, kind="stable")
    if len(frames) > 1:
        _check_steps(subject, [frames[index].name for index in order], places[order], places[order] @ normal)
        step = (places[order[-1]] - places[order[0]]) / (len(frames) - 1)
    else:
        step = normal * (first.thickness or 1.0)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = orientation[1] * first.spacing[0], orientation[0] * first.spacing[1]
    affine[:3, 2], affine[:3, 3] = step, places[order[0]]
    return order, lps_to_ras(affine)


def _check_planes(subject: Path, frames: Sequence[Frame]) -> None:
    for what, tolerance in (("position", np.inf), ("orientation", 1e-3), ("spacing", 1e-4)):
        first = getattr(frames[0], what)
        for frame in frames:
            value = getattr(frame, what)
            if value is None:
                raise InputError(
                    subject, expected=f"{what} of every slice", got=f"none in {frame.name}", hint=_FETCH_SERIES
                )
            if np.abs(value - (value if first is None else first)).max() > tolerance:
                raise InputError(
                    subject,
                    expected=f"slices of one {what}",
                    got=f"another in {frame.name} than in {frames[0].name}",
                    hint="pass a folder that holds one stack of parallel slices",
                )


def _check_steps(subject: Path, names: Sequence[str], places: np.ndarray, heights: np.ndarray) -> None:
    """Sorted slices: all apart, none missing, all in their even places."""
    gaps = np.diff(heights)
    usual = np.sort(gaps)[(len(gaps) - 1) // 2]
    least, most = int(gaps.argmin()), int(gaps.argmax())
    if gaps[least] < _SAME_PLACE_MM:
        raise InputError(
            subject,
            expected="one slice at each position",
            got=f"{names[least]} and {names[least + 1]} at the same",
            hint="keep one of the two; put each time point or echo into a folder of its own",
        )
    if gaps[most] > 1.5 * usual:
        raise InputError(
            subject,
            expected=f"a slice every {usual:.4g} mm",
            got=f"{gaps[most]:.4g} mm between {names[most]} and {names[most + 1]}",
            hint=f"slices are missing: {_FETCH_SERIES}, or split it there",
        )
    even = places[0] + np.linspace(0, 1, len(places))[:, None] * (places[-1] - places[0])
    off = np.linalg.norm(places - even, axis=1)
    tolerance = _slack_mm(usual)
    if off.max() > tolerance:
        raise InputError(
            subject,
            expected=f"evenly spaced slices, to {tolerance:.2g} mm",
            got=f"{names[int(off.argmax())]} off by {off.max():.2g} mm",
            hint="resample the series to even steps with another program first",
        )


def _slack_mm(step: float | np.ndarray) -> float:
    """How far a slice may lie off its even place, where the next one is a step (mm, or a vector) away."""
    return min(0.1, float(np.linalg.norm(step)) / 5)


def find_slices(
    subject: Path, frames: Sequence[Frame], shape: tuple[int, int], image: Grid | None
) -> tuple[np.ndarray, Grid]:
    """On which slice of an image each frame (H, W) lies, and the grid of the image.

    Several frames may lie on one slice, and none on another. Where nobody knows the image, it reaches from the first
    frame to the last.

    Raises:
        InputError: frames of another size than the image, or in other planes than its slices.
    """
    places = np.array([frame.position for frame in frames if frame.position is not None])
    if len(places):
        _check_planes(subject, frames)
    grid = image or _spanned(subject, frames[0], places, shape)
    own, affine = stack(subject, frames[:1])[1], grid.affine
    depth, hint = math.prod(grid.shape[2:]), "give the image that they were drawn for"
    if shape != grid.shape[:2]:
        expected, got = f"frames of size {grid.shape[0]}x{grid.shape[1]}, as the image has", f"{shape[0]}x{shape[1]}"
        raise InputError(subject, expected=expected, got=got, hint=hint)
    slices, off, slack = np.zeros(len(frames), dtype=int), 0.0 if depth == 1 else np.inf, 0.0
    if len(places) and affine is not None:
        away = places - lps_to_ras(affine)[:3, 3]
        steps = lps_to_ras(affine)[:3, :3]
        slices = np.clip(np.rint((away @ np.linalg.inv(steps).T)[:, 2]), 0, depth - 1).astype(int)
        off, slack = float(np.linalg.norm(away - np.outer(slices, steps[:, 2]), axis=1).max()), _slack_mm(steps[:, 2])
    is_turned = own is not None and affine is not None and np.abs((own - affine)[:3, :2]).max() > _SLANT
    if is_turned or off > slack:
        got = "others" if is_turned or off == np.inf else f"one {off:.2g} mm beside them"
        raise InputError(subject, expected="frames in the planes of the image's slices", got=got, hint=hint)
    return slices, grid


def _spanned(subject: Path, first: Frame, places: np.ndarray, shape: tuple[int, int]) -> Grid:
    """The grid of frames like the first, from the first of their places (N, 3) to the last, at their least step."""
    slices = [first]
    if len(places) and first.orientation is not None:
        heights = places @ np.cross(*first.orientation)
        order = np.argsort(heights, kind="stable")
        gaps = np.diff(heights[order])
        steps = np.rint(gaps / min(gaps[gaps > _SAME_PLACE_MM], default=1.0)).astype(int)
        if steps.sum() > _MOST_SLICES:
            got, hint = f"{steps.sum()} at the least step of two frames", "give the image that they were drawn for"
            raise InputError(subject, expected=f"at most {_MOST_SLICES} slices", got=got, hint=hint)
        for index, count in enumerate(steps):
            step = (places[order[index + 1]] - places[order[index]]) / max(count, 1)
            slices += [replace(first, position=places[order[index]] + part * step) for part in range(1, count + 1)]
        slices[0] = replace(first, position=places[order[0]])
    affine = stack(subject, slices)[1]
    return grid_of(subject, shape if len(slices) == 1 else (*shape, len(slices)), affine)


_MOST_SLICES = 2**16
