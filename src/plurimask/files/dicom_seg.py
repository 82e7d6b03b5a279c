"""A panel as DICOM images, through highdicom. docs/dicom.md says what is in them, and why.

Each object is a series of its own in the study of the source: the samples (SEG, BINARY, a segment a sample), the
agreement (SEG, BINARY, a segment a level, "at least k of S"), the frequency (SEG, FRACTIONAL, PROBABILITY, one
segment), the votes (SEG, LABELMAP, a segment a count), and the frequency once more as a Parametric Map.
UIDs are derived from what the objects say, so that the same panel of the same images has the same ones, by which an
archive knows it again. Identity goes from the source's header straight into the objects: highdicom, which prints what
it finds odd, never sees it.
"""

import copy
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from plurimask import __version__
from plurimask.errors import InputError, need
from plurimask.files.dicom_headers import quiet
from plurimask.geometry import lps_to_ras
from plurimask.records import MaskSet

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
        drawn: what was drawn for which images, as a digest; all UIDs are derived from it.
        images: headers of all files without identity, for libraries that print what they find odd.
        slices: (D,) the image of each slice, the only one where it holds all.
        positions: (D, 3) LPS+ mm of the first pixel of each slice; None where the source has no place in space.
    """

    header: Any
    drawn: str
    images: list[Any]
    slices: np.ndarray
    positions: np.ndarray | None

    def of(self, planes: np.ndarray) -> list[Any]:
        """The images of some slices, behind the first, whose header is whole."""
        return [self.images[number] for number in sorted({0, *self.slices[planes].tolist()})]

    @cached_property
    def references(self) -> list[Any]:
        """One to each image, for objects that refer to all of them."""
        return [
            item(ReferencedSOPClassUID=image.SOPClassUID, ReferencedSOPInstanceUID=image.SOPInstanceUID)
            for image in self.images
        ]


def item(**attributes: Any) -> Any:
    """A data set of these attributes, by their keywords."""
    made = need("pydicom", "dicom").Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def read_dicom_source(files: Sequence[Path], panel: MaskSet) -> DicomSource:
    """The headers of `files`, one a slice or one multi-frame file, which the grid of `panel` was read from.

    Raises:
        InputError: another number of slices than the grid's.
        OSError: a file that is gone.
    """
    dcmread = need("pydicom", "dicom").dcmread
    header = dcmread(files[0], stop_before_pixels=True, force=True)
    others = [dcmread(path, stop_before_pixels=True, force=True, specific_tags=_REFERENCE) for path in files[1:]]
    drawn, grid = _digest(panel, [header, *others]), panel.grid
    blank = copy.deepcopy(header)
    for keyword in _IDENTITY:
        setattr(blank, keyword, "")
    blank.pop("SpecificCharacterSet", None)
    images = [blank, *others]
    positions = _positions(images)
    slices = 1 if len(grid.shape) == 2 else grid.shape[2]
    found = len(files) if positions is None else len(positions)
    if found != slices:
        raise InputError(
            files[0].parent, expected=f"{slices} slices, as the panel has", got=str(found), hint="give its own study"
        )
    if positions is None or grid.affine is None:
        return DicomSource(header, drawn, images, np.arange(slices), None)
    down, along, step = lps_to_ras(grid.affine)[:3, :3].T
    normal = np.cross(down, along) / np.linalg.norm(np.cross(down, along))
    _complete_geometry(images[0], slices, abs(float(step @ normal)))
    order = np.argsort(positions @ step)
    return DicomSource(header, drawn, images, order if len(files) > 1 else np.zeros_like(order), positions[order])


def _digest(panel: MaskSet, images: list[Any]) -> str:
    """sha256 (hex) of a panel but for its name, and of the UIDs of its images."""
    described = [panel.method, panel.checkpoint, panel.seeds, panel.weights, panel.masks.shape]
    text = json.dumps([__version__, described, panel.settings], sort_keys=True)
    whole = sha256(text.encode())
    whole.update(_packed(panel.masks).tobytes())
    for image in images:
        whole.update(str(image.SOPInstanceUID).encode())
    return whole.hexdigest()


def _packed(masks: np.ndarray) -> np.ndarray:
    """As `np.packbits` gives it of masks (S, H, W[, D]), without a look at what no sample holds."""
    volumes = masks.reshape(*masks.shape[:3], -1)
    planes = np.flatnonzero(volumes.any(axis=(0, 1, 2)))
    *places, number = np.nonzero(volumes[..., planes])
    bits = np.ravel_multi_index((*places, planes[number]), volumes.shape)
    packed = np.zeros(-(-volumes.size // 8), dtype=np.uint8)
    np.bitwise_or.at(packed, bits >> 3, np.uint8(128) >> (bits & 7).astype(np.uint8))
    return packed


def derive_uid(source: DicomSource, *words: str) -> str:
    """A UID that is the same for the same panel, images and words."""
    return str(need("pydicom.uid", "dicom").generate_uid(entropy_srcs=["plurimask", source.drawn, *words]))


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


_TYPES = {"b": "BINARY", "f": "FRACTIONAL", "u": "LABELMAP"}
"""Of a segmentation, by the kind of its values."""
NUMBERS = {
    **{"samples": 1, "agreement": 2, "frequency": 3, "chosen": 4},
    **{"votes": 5, "frequency-map": 6, "consensus": 7, "report": 8},
}
"""What follows the source's number in that of each object's series."""
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID")


@dataclass(frozen=True, eq=False)
class WrittenImages:
    """The images of a panel, as reports refer to them.

    Args:
        source: of all.
        tracking: the UID of the finding that they are all about.
        objects: by name, the UIDs of study, series, class and instance, by keyword.
    """

    source: DicomSource
    tracking: str
    objects: dict[str, dict[str, str]]


# What highdicom raises on a source whose header lacks what a segmentation refers to.
_UNUSABLE = (AttributeError, IndexError, KeyError, TypeError, ValueError)
_SHARES = (0.25, 0.5, 0.75)
_NOTHING = ", which outlines nothing."
_CAUTION = "For research only, not for diagnosis."
_LONGEST_STRING, _LONGEST_TEXT = 64, 10240  # characters in the value representations LO and LT
_LONGEST_DESCRIPTION = 900  # of the 1024 of ST, beside the caution
_NO_NAME_PARTS = str.maketrans("^=", "  ")  # which divide names


@dataclass(frozen=True)
class _Segment:
    label: str
    text: str
    parameters: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class _Content:
    """What makes one object.

    Args:
        name: of the file, and in capitals the content label.
        description: of series and content, up to 64 characters.
        segments: one a value of the last axis of the pixels.
        pixels: (planes, H, W, segments), bool for BINARY, float32 in [0, 1] for FRACTIONAL; (planes, H, W), unsigned
            for LABELMAP, float32 for a map, which has no segments.
        maximum: the stored value that stands for 1 in FRACTIONAL.
        creator: as DICOM writes names.
        algorithm: AUTOMATIC, or SEMIAUTOMATIC where a person had a hand in it.
    """

    name: str
    description: str
    segments: Sequence[_Segment]
    pixels: np.ndarray
    maximum: int = 1
    creator: str = "plurimask^"
    algorithm: str = "AUTOMATIC"


def write_dicom_seg(folder: Path, panel: MaskSet, sources: Sequence[Path]) -> "WrittenImages":
    """Write samples.dcm, agreement.dcm, frequency.dcm, votes.dcm and frequency-map.dcm to `folder`.

    Args:
        folder: where to; must be there.
        panel: on the grid of the source.
        sources: the DICOM files that the grid was read from: one a slice, or one multi-frame file.

    Returns:
        What other objects may refer to.

    Raises:
        MissingPackageError: highdicom is not installed.
        InputError: a source that a segmentation cannot refer to.
        OSError: as the file system does.
    """
    planes, stack = _marked_planes(panel.masks)
    return _write(folder, panel, sources, planes, _contents(panel, stack))


def write_chosen_seg(folder: Path, chosen: MaskSet, sources: Sequence[Path], creator: str, text: str) -> None:
    """Write chosen.dcm to `folder`: the one mask that a person chose or corrected.

    Args:
        folder, sources: as of `write_dicom_seg`.
        chosen: one mask, and what drew the samples that it was made from.
        creator: who.
        text: what they say of it.

    Raises:
        As `write_dicom_seg`.
    """
    planes, stack = _marked_planes(chosen.masks)
    described = f"Chosen or corrected by {creator}. {text}".strip()
    content = _Content(
        "chosen",
        "Outline chosen by a person",
        [_Segment("chosen", _plain(described, _LONGEST_DESCRIPTION))],
        stack,
        creator=f"{_plain(creator, _LONGEST_STRING - 1).translate(_NO_NAME_PARTS)}^",
        algorithm="SEMIAUTOMATIC",
    )
    _write(folder, chosen, sources, planes, [content])


def _write(
    folder: Path,
    panel: MaskSet,
    sources: Sequence[Path],
    planes: np.ndarray,
    contents: Iterable[_Content],
) -> "WrittenImages":
    with referring(sources):
        source = read_dicom_source(sources, panel)
        written = WrittenImages(source, derive_uid(source, "tracking"), {})
        for content in contents:
            if content.pixels.ndim == 3 and source.positions is None:
                continue  # label maps and parametric maps must have a place in space
            built = _build(source, planes, content, _descriptions(panel, content, written.tracking))
            built.save_as(folder / f"{content.name}.dcm")
            written.objects[content.name] = {keyword: built[keyword].value for keyword in _UIDS}
        return written


@contextmanager
def referring(sources: Sequence[Path]) -> Iterator[None]:
    """A block that builds objects from the headers of `sources`. Raises InputError where these do not serve."""
    with quiet():
        try:
            yield
        except _UNUSABLE as error:
            raise InputError(
                sources[0],
                expected="a header that a DICOM SEG can refer to",
                got=f"one that it cannot ({error})",
                hint="choose --format nifti",
            ) from error


def _marked_planes(masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The slices that are written and their masks (planes, H, W, S), one sample after the other in memory.

    These are the slices with a mark; of a panel without any, the first, since an object must have a frame.
    """
    volumes = masks.reshape(*masks.shape[:3], -1)
    marked = np.flatnonzero(volumes.any(axis=(0, 1, 2)))
    planes = marked if len(marked) else np.array([0])
    stack = np.ascontiguousarray(np.moveaxis(volumes[..., planes], -1, 1))
    return planes, np.moveaxis(stack, 0, -1)


def _contents(panel: MaskSet, stack: np.ndarray) -> Iterator[_Content]:
    count = stack.shape[-1]
    counts = stack.sum(axis=-1)
    drawn = np.any(stack, axis=(0, 1, 2))
    samples = []
    for index in range(count):
        label, text = (f"sample {index + 1}", ".") if drawn[index] else (f"sample {index + 1} (empty)", _NOTHING)
        seed = {} if panel.seeds is None else {"seed": panel.seeds[index]}
        if panel.shares is not None:
            text += f" About {panel.shares[index]:.0%} of readers would draw this."
        samples.append(_Segment(label, f"Sample {index + 1} of {count}{text}", seed))
    yield _Content("samples", f"{count} plausible outlines, {count - np.count_nonzero(drawn)} empty", samples, stack)

    levels = sorted({1, *(math.ceil(share * count) for share in _SHARES), count})
    agreed = [_Segment(f"at least {level} of {count}", f"What {level} or more samples hold.") for level in levels]
    pixels = np.stack([counts >= level for level in levels], axis=-1)
    yield _Content("agreement", f"Agreement of {count} plausible outlines", agreed, pixels)

    share = (counts[..., None] / count).astype(np.float32)
    shared = [_Segment(f"share of {count} samples", "Share of the samples that hold a pixel.")]
    # Where a byte suffices, the stored value is the number of samples itself.
    yield _Content("frequency", f"Frequency map of {count} plausible outlines", shared, share, min(count, 255))

    exact = [_Segment(f"{votes} of {count}", f"What {votes} samples hold, no more.") for votes in range(1, count + 1)]
    votes = counts.astype(np.uint8 if count < 256 else np.uint16)
    yield _Content("votes", f"Votes of {count} plausible outlines", exact, votes)
    yield _Content("frequency-map", f"Share of {count} plausible outlines", [], share[..., 0])


def _build(source: DicomSource, planes: np.ndarray, content: _Content, descriptions: list[Any]) -> Any:
    highdicom, places = need("highdicom", "dicom"), None
    if source.positions is not None:
        places = [highdicom.PlanePositionSequence("PATIENT", place) for place in source.positions[planes]]
    said = (content.creator, *(segment.text for segment in content.segments))
    given = describe_object(source, content.name, content.description, *said) | {
        "source_images": source.of(planes),
        "pixel_array": content.pixels,
        "plane_positions": places,
        "device_serial_number": "none",
        "content_label": content.name.upper().replace("-", "_"),
        "content_description": content.description,
        "content_creator_name": content.creator,
    }
    if content.segments:
        built = highdicom.seg.Segmentation(
            **given,
            segmentation_type=_TYPES[content.pixels.dtype.kind],
            fractional_type="PROBABILITY",
            max_fractional_value=content.maximum,
            segment_descriptions=descriptions,
            omit_empty_frames=True,
        )
    else:
        codes = need("pydicom.sr.codedict", "dicom").codes
        share = highdicom.pm.RealWorldValueMapping("share", content.description, codes.UCUM.NoUnits, (0.0, 1.0), 1, 0)
        built = highdicom.pm.ParametricMap(
            **given,
            contains_recognizable_visual_features=False,
            real_world_value_mappings=[share],
            window_center=0.5,
            window_width=1.0,
        )
        built.Laterality = source.header.get("Laterality", "")
    # highdicom looks several times at every image that it is given, so it got those of its frames.
    built.ReferencedSeriesSequence[0].ReferencedInstanceSequence = source.references
    if places is None:
        built.PatientOrientation = source.header.get("PatientOrientation", "")
    identify(built, source)
    return built


def describe_object(source: DicomSource, name: str, description: str, *said: str) -> dict[str, Any]:
    """What highdicom wants to know of any object: its series, itself, and what made it.

    `said` is what else tells it from others of the same panel and name.
    """
    words = (name, description, *said)
    stated = int(source.header.get("SeriesNumber") or 0)  # behind it in a list of series: 301, 302 ... for series 3
    return {
        "series_instance_uid": derive_uid(source, "series", *words),
        "series_number": 100 * (stated if 0 <= stated < 10**7 else 0) + NUMBERS[name],
        "series_description": description,
        "sop_instance_uid": derive_uid(source, *words),
        "instance_number": 1,
        "manufacturer": "plurimask",
        "manufacturer_model_name": "plurimask",
        "software_versions": __version__,
    }


def identify(built: Any, source: DicomSource) -> None:
    """Give an object the patient and study of its source, in the source's characters."""
    built.copy_patient_and_study_information(source.header)
    if "SpecificCharacterSet" in source.header:
        built.SpecificCharacterSet = source.header.SpecificCharacterSet


def _descriptions(panel: MaskSet, content: _Content, tracking: str) -> list[Any]:
    highdicom, codes = need("highdicom", "dicom"), need("pydicom.sr.codedict", "dicom").codes
    name = _plain(panel.method or "unknown method", _LONGEST_STRING)
    described = []
    for number, segment in enumerate(content.segments, start=1):
        algorithm = highdicom.AlgorithmIdentificationSequence(
            name=name,
            family=codes.cid7162.ArtificialIntelligence,
            version=_plain(panel.checkpoint or "unknown weights", _LONGEST_STRING),
            source="plurimask",
        )
        parameters = ", ".join(f"{key}={value}" for key, value in {**segment.parameters, **panel.settings}.items())
        if parameters:
            algorithm[0].AlgorithmParameters = _plain(parameters, _LONGEST_TEXT)
        description = highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=segment.label,
            segmented_property_category=codes.cid7150.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.cid7159.Lesion,
            algorithm_type=content.algorithm,
            algorithm_identification=algorithm,
            tracking_uid=tracking,
            tracking_id="panel",
        )
        description.SegmentDescription = f"{segment.text} {_CAUTION}"
        described.append(description)
    return described


def _plain(text: str, longest: int) -> str:
    """Text that every character set and value representation holds."""
    printable = "".join(one if one.isascii() and one.isprintable() and one != "\\" else "?" for one in text)
    return printable[:longest]
