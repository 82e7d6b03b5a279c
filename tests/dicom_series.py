"""Small CT series as a scanner writes them, for tests: whole headers, true geometry, and one place to spoil them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import dcmread
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

_GEOMETRY = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness")
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
OBLIQUE = (0.96, 0.28, 0.0, -0.168, 0.576, 0.8)
PATIENT_NAME, PATIENT_ID = "Doe^Jane", "SECRET-4711"


def noise(shape: tuple[int, int, int] = (5, 6, 4), seed: int = 0) -> np.ndarray:
    """Stored values of a CT, (H, W, D) int16, all different along every axis with near certainty."""
    return np.random.default_rng(seed).integers(0, 4000, shape, dtype=np.int16)


def write_series(
    folder: Path,
    stored: np.ndarray,
    *,
    spacing: tuple[float, float] = (0.7, 0.6),
    step: float | Sequence[float] = 2.5,
    origin: Sequence[float] = (-100.0, -80.0, -300.0),
    orientation: Sequence[float] = AXIAL,
    slope: float = 1.0,
    intercept: float = -1024.0,
    series: str = "series",
    change: Callable[[Dataset, int], None] | None = None,
) -> list[Path]:
    """Write one file a slice, named so that their order is not that of the slices; give the paths in slice order.

    Args:
        folder: made where it is missing.
        stored: (H, W, D), int16 or uint16, as they stand in the files.
        spacing: mm between rows, mm between columns.
        step: mm from slice to slice along the normal, or the step itself (x, y, z) in LPS+ mm (a tilted gantry).
        origin: LPS+ mm, of the first voxel.
        orientation: ImageOrientationPatient: the way along a row, then down a column.
        slope, intercept: stored values to HU.
        series: what the UIDs of series and instances are derived from; the study's is the same for all.
        change: is given each dataset and its slice's number before it is saved, to spoil it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    normal = np.cross(orientation[:3], orientation[3:])
    along = normal * step if np.isscalar(step) else np.asarray(step)
    paths = []
    for number in range(stored.shape[2]):
        dataset = ct_slice(stored[..., number], np.asarray(origin) + number * along, series, number)
        dataset.ImageOrientationPatient = [f"{value:.10g}" for value in orientation]
        dataset.PixelSpacing = [f"{value:.10g}" for value in spacing]
        dataset.RescaleSlope, dataset.RescaleIntercept = f"{slope:.10g}", f"{intercept:.10g}"
        dataset.SliceThickness = f"{np.linalg.norm(along):.10g}"
        if change:
            change(dataset, number)
        paths.append(folder / f"IM{(number * 7919 + 5) % 10007:05d}.dcm")
        dataset.save_as(paths[-1], enforce_file_format=True)
    return paths


def ct_slice(stored: np.ndarray, position: np.ndarray, series: str, number: int) -> Dataset:
    """One CT Image Storage instance, complete but for orientation, spacing, thickness, slope and intercept.

    `stored` is (H, W), int16 or uint16; `position` the first pixel's, LPS+ mm.
    """
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = uid(series, str(number))
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uid("study"), uid(series)
    dataset.FrameOfReferenceUID = uid("frame of reference")
    dataset.PatientName, dataset.PatientID = PATIENT_NAME, PATIENT_ID
    dataset.PatientBirthDate, dataset.PatientSex = "19700101", "F"
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20000102", "030405", "1"
    dataset.AccessionNumber = dataset.ReferringPhysicianName = dataset.PositionReferenceIndicator = ""
    dataset.Modality, dataset.Manufacturer = "CT", "plurimask tests"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.SeriesNumber, dataset.AcquisitionNumber, dataset.InstanceNumber = 3, 1, number + 1
    dataset.BodyPartExamined = "CHEST"
    dataset.KVP, dataset.RescaleType, dataset.PatientPosition = "120", "HU", "HFS"
    dataset.ImagePositionPatient = [f"{value:.10g}" for value in position]
    set_pixels(dataset, stored)
    return dataset


def radiograph(dataset: Dataset, _: int) -> None:
    """Make a slice a computed radiograph, which has no place in space; a `change` of `write_series`."""
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    dataset.Modality = "CR"
    for keyword in ("FrameOfReferenceUID", "ImagePositionPatient", "ImageOrientationPatient", "SliceThickness"):
        delattr(dataset, keyword)


def set_pixels(dataset: Dataset, stored: np.ndarray) -> None:
    """Give a dataset grey pixels, (H, W) or frames (F, H, W), of 8, 16 or 32 bits, little-endian."""
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape[-2:]
    bits = stored.dtype.itemsize * 8
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    dataset.PixelData = np.ascontiguousarray(stored).astype(stored.dtype.newbyteorder("<")).tobytes()
    dataset["PixelData"].VR = "OB" if bits == 8 else "OW"


def uid(*parts: str) -> str:
    """The same UID for the same words, always."""
    return generate_uid(entropy_srcs=["plurimask", *parts])


def write_multiframe(
    path: Path, folder: Path, order: Sequence[int], change: Callable[[Dataset], None] | None = None
) -> Path:
    """The slices of a folder as one Enhanced CT image: geometry and slope shared by all frames, positions one a frame.

    Args:
        path: the file to write.
        folder: of `write_series`; its slices share orientation, spacing, slope and intercept.
        order: frame i is slice order[i] along the normal.
        change: is given the dataset before it is saved, to spoil it.
    """
    slices = sorted((dcmread(file) for file in folder.iterdir()), key=lambda one: one.InstanceNumber)
    first, shared, frames = slices[0], Dataset(), []
    shared.PixelMeasuresSequence = [_copied(first, "PixelSpacing", "SliceThickness")]
    shared.PlaneOrientationSequence = [_copied(first, "ImageOrientationPatient")]
    shared.PixelValueTransformationSequence = [_copied(first, "RescaleSlope", "RescaleIntercept", "RescaleType")]
    for number in order:
        frames.append(Dataset())
        frames[-1].PlanePositionSequence = [_copied(slices[number], "ImagePositionPatient")]
    set_pixels(first, np.stack([slices[number].pixel_array for number in order]))
    first.SOPClassUID, first.SOPInstanceUID, first.NumberOfFrames = EnhancedCTImageStorage, uid(path.name), len(order)
    first.SharedFunctionalGroupsSequence, first.PerFrameFunctionalGroupsSequence = [shared], frames
    for keyword in (*_GEOMETRY, "RescaleSlope", "RescaleIntercept", "RescaleType"):
        delattr(first, keyword)
    if change:
        change(first)
    first.save_as(path, enforce_file_format=True)
    return path


def _copied(dataset: Dataset, *keywords: str) -> Dataset:
    item = Dataset()
    for keyword in keywords:
        item[keyword] = dataset[keyword]
    return item
