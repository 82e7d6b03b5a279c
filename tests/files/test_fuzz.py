"""Damage at random: a spoiled file gives what its bytes say by another reader, or one of our errors that names it.

The mutants are the same at every run. What opens is compared with a plain reading by the library of its format.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from dicom_series import OBLIQUE, PATIENT_ID, PATIENT_NAME, noise, write_multiframe, write_series
from PIL import Image
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSNearLossless

from plurimask.errors import PlurimaskError
from plurimask.files.locate import open_study
from plurimask.files.mask_sets import read_mask_set, write_mask_set
from plurimask.geometry import Grid
from plurimask.records import MaskSet

SHIPPED = Path(pydicom.__file__).parent / "data" / "test_files"
DICOM = ("MR_small_RLE", "MR_small_jp2klossless", "JPEGLSNearLossless_16", "MR_small_bigendian", "SC_rgb_small_odd")
PLUGINS = {JPEG2000Lossless: "pillow", JPEGLSNearLossless: "pyjpegls"}  # GDCM may end the process
GREY = np.random.default_rng(0).integers(0, 256, (24, 20), dtype=np.uint8)
MUTANTS_EACH, AT_LEAST, OPEN_SHARE = 105, 2000, 0.3


@dataclass(frozen=True)
class Subject:
    """What is opened, the file of it that is spoiled, and what says whether the result is right."""

    place: Path
    file: Path
    is_right: Callable[[Path], bool]


def mutate(rng, whole):
    """The bytes with one kind of damage, half of it in the first eighth, where headers are."""
    data = bytearray(whole)
    at = int(rng.integers(len(data) // 8 if rng.random() < 0.5 else len(data)))
    few = int(rng.integers(1, 9))
    kind = rng.choice(["bit", "byte", "run", "cut", "lose", "gain", "swap"], p=[0.3, 0.3, 0.14, 0.08, 0.06, 0.06, 0.06])
    if kind == "bit":
        data[at] ^= 1 << int(rng.integers(8))
    elif kind == "byte":
        data[at] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.integers(256)]))
    elif kind == "run":
        data[at : at + few] = rng.bytes(len(data[at : at + few]))
    elif kind == "cut":
        del data[at:]
    elif kind == "lose":
        del data[at : at + few]
    elif kind == "gain":
        data[at:at] = rng.bytes(few)
    else:
        other = int(rng.integers(len(data)))
        data[at], data[other] = data[other], data[at]
    return bytes(data)


def dicom_is_right(path):
    study = open_study(path)
    image, grid = study.case.image, study.case.grid
    found = image if len(image) == 3 else np.moveaxis(image[0].reshape(*image.shape[1:3], -1), -1, 0)
    expected = np.concatenate([plain_dicom(source) for source in study.sources])
    position = pydicom.dcmread(study.sources[0], force=True).get("ImagePositionPatient")
    placed = not position or grid.affine is None or np.allclose(grid.affine[:3, 3], np.array(position) * [-1, -1, 1])
    return placed and np.array_equal(found, expected.astype(np.float32))


def plain_dicom(path):
    """(D, H, W) or (3, H, W) modality values by pydicom alone."""
    dataset = pydicom.dcmread(path, force=True)
    dataset.file_meta.TransferSyntaxUID = dataset.file_meta.get("TransferSyntaxUID") or ExplicitVRLittleEndian
    dataset.pixel_array_options(decoding_plugin=PLUGINS.get(dataset.file_meta.TransferSyntaxUID, ""))
    if dataset.SamplesPerPixel == 3:
        return np.moveaxis(dataset.pixel_array, -1, 0)
    rescale = dataset
    if "SharedFunctionalGroupsSequence" in dataset:
        rescale = dataset.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence[0]
    slope, intercept = float(rescale.get("RescaleSlope") or 1), float(rescale.get("RescaleIntercept") or 0)
    return dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns) * slope + intercept


def nifti_is_right(path):
    case, volume = open_study(path).case, nib.Nifti1Image.from_filename(path)
    mm = {"meter": 1e3, "micron": 1e-3}.get(volume.header.get_xyzt_units()[0], 1.0)
    values = np.asanyarray(volume.dataobj).astype(np.float32).reshape(case.image.shape[1:])
    return np.array_equal(case.image[0], values) and np.allclose(case.grid.affine[:3], mm * volume.affine[:3])


def picture_is_right(path):
    image, picture = open_study(path).case.image, Image.open(path)
    if picture.mode == "I;16":
        return np.array_equal(image[0], np.asarray(picture))
    colour = np.moveaxis(np.asarray(picture.convert("RGB")), -1, 0)
    return np.array_equal(np.broadcast_to(image, colour.shape), colour)


def array_is_right(path):
    image = open_study(path).case.image
    return np.array_equal(image[0], np.load(path).astype(np.float32).reshape(image.shape[1:]))


def masks_are_right(folder):
    return np.array_equal(read_mask_set(folder).masks, np.load(folder / "masks.npz")["masks"])


def deflate(dataset, number):
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian


def subjects(root):
    """One a format, each in a folder of its own."""
    (one,) = write_series(root / "one", noise((24, 20, 1)))
    (deflated,) = write_series(root / "deflated", noise((24, 20, 1)), change=deflate)
    series = write_series(root / "series", noise((8, 6, 3)), orientation=OBLIQUE)
    frames = write_multiframe(root / "frames.dcm", root / "series", (0, 1, 2))
    yield from (Subject(path, path, dicom_is_right) for path in (one, deflated, frames))
    yield Subject(root / "series", series[1], dicom_is_right)
    for path in [
        *(SHIPPED / f"{name}.dcm" for name in DICOM),
        SHIPPED / "dicomdirtests" / "77654033" / "CT2" / "17106",
    ]:
        copy = root / path.name
        copy.write_bytes(path.read_bytes())
        yield Subject(copy, copy, dicom_is_right)
    for name in ("volume.nii", "packed.nii.gz"):
        nib.save(nib.Nifti1Image(noise(), np.diag([0.7, 0.6, 2.5, 1])), root / name)
        yield Subject(root / name, root / name, nifti_is_right)
    deep = GREY.astype(np.uint16) * 200
    for name, pixels in {
        "a.png": GREY,
        "b.png": deep,
        "c.png": np.dstack([GREY] * 2 + [255 - GREY]),
        "d.jpg": GREY,
    }.items():
        Image.fromarray(pixels).save(root / name)
        yield Subject(root / name, root / name, picture_is_right)
    for name, pixels in {"a.npy": GREY, "b.npy": noise().astype(np.float32)}.items():
        np.save(root / name, pixels)
        yield Subject(root / name, root / name, array_is_right)
    write_mask_set(root / "case", MaskSet("case", np.stack([GREY > 99, GREY > 50]), Grid(GREY.shape), "any", (1, 2)))
    for name in ("masks.npz", "set.json"):
        yield Subject(root / "case", root / "case" / name, masks_are_right)


def refusal(subject):
    """What our error says, or None where the subject opened."""
    try:
        right = subject.is_right(subject.place)
    except PlurimaskError as error:
        return str(error)
    assert right, f"{subject.file} opened, and its values are not what the file says"
    return None


@pytest.mark.filterwarnings("ignore")  # by the plain readers
def test_spoiled_files_are_read_rightly_or_refused_by_name(tmp_path):
    rng, counts = np.random.default_rng(20261122), Counter()
    for subject in subjects(tmp_path):
        whole = subject.file.read_bytes()
        for _ in range(MUTANTS_EACH):
            subject.file.write_bytes(mutate(rng, whole))
            said = refusal(subject)
            counts[subject.file.name, "opened" if said is None else "refused"] += 1
            if said is not None:
                assert subject.file.name in said or subject.place.name in said
                assert PATIENT_NAME not in said
                assert PATIENT_ID not in said
        subject.file.write_bytes(whole)
        assert refusal(subject) is None
    opened = sum(count for (_, outcome), count in counts.items() if outcome == "opened")
    assert counts.total() >= AT_LEAST, counts
    assert opened >= OPEN_SHARE * counts.total(), counts
