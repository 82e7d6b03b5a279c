"""DICOM images to arrays in RAS+ mm: a folder that holds one series, or a single file."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from plurimask.errors import InputError
from plurimask.files.dicom_file import is_dicom, quiet
from plurimask.files.dicom_geometry import stack
from plurimask.files.dicom_headers import Header, read_header
from plurimask.files.dicom_pixels import read_frames
from plurimask.files.listing import list_visible
from plurimask.files.mask_arrays import usable_grid
from plurimask.files.stored import refuse_giant
from plurimask.geometry import Grid

_INDEX = "DICOMDIR"
_BESIDE = frozenset(
    (".xml", ".txt", ".csv", ".json", ".pdf", ".htm", ".html", ".md", ".png", ".jpg", ".jpeg", ".nii", ".gz", ".ini")
)  # what lies beside slices and says so in its name
_BESIDE_NAMES = frozenset(("license", "readme", "thumbs.db", "autorun.inf"))


@dataclass(frozen=True, eq=False)
class Series:
    """One series as a volume.

    Args:
        image: (C, H, W, D) float32, modality values (slope and intercept applied; HU for CT); C is 1 but for colour.
        grid: (H, W, D), RAS+ mm; sheared where the gantry was tilted (see `files.dicom_geometry`).
        files: one a slice, in the order of the slices; or the one multi-frame file.
        patient: PatientID, or None; identity, never to be printed.
    """

    image: np.ndarray
    grid: Grid
    files: tuple[Path, ...]
    patient: str | None


def read_series(path: Path) -> Series:
    """The series in a folder, one file a slice, or the image in a single file; a single slice has D = 1.

    Hidden files, folders, DICOMDIR, and files whose names say that they are of another kind (.xml, .txt, LICENSE, ...)
    are passed over. Padding is left as it is stored. Slices are read one after the other: besides the volume, one file
    is in memory.

    Raises:
        InputError: no DICOM file, or one that is damaged or no image; several series or sizes, localizers; slices as
            `files.dicom_geometry.stack` refuses them.
        MissingPackageError: `pydicom`, or a decoder that the file needs, is not installed.
    """
    with quiet():
        headers = [read_header(file) for file in (list_files(path) if path.is_dir() else [path])]
        _check_series(path, headers)
        slices = [(header, frame) for header in headers for frame in header.frames]
        order, affine = stack(path, [frame for _, frame in slices])
        image = _read_image(path, headers, np.argsort(order))
    files = (headers[0].path,) if len(headers) == 1 else tuple(slices[index][0].path for index in order)
    return Series(image, usable_grid(path, image.shape[1:], affine), files, headers[0].patient)


def list_files(folder: Path) -> list[Path]:
    """What may be a slice in a folder, sorted by name. Raises InputError where nothing is."""
    found = [path for path in list_visible(folder) if not path.is_dir()]
    files = [path for path in found if path.name.upper() != _INDEX and (not _is_beside(path) or is_dicom(path))]
    if not files:
        raise InputError(
            folder, expected="the DICOM files of one series", got="none", hint="pass the folder that holds the slices"
        )
    return files


def _is_beside(path: Path) -> bool:
    return path.suffix.lower() in _BESIDE or path.name.lower() in _BESIDE_NAMES


def _check_series(path: Path, headers: Sequence[Header]) -> None:
    sizes = Counter(header.series for header in headers)
    if len(sizes) > 1:
        raise InputError(
            path,
            expected="one series",
            got=f"{len(sizes)}, of {', '.join(map(str, sizes.values()))} files",
            hint="put each into a folder of its own, and pass one",
        )
    for header in headers[1:]:
        for what in ("localizer", "reference", "shape"):
            if getattr(header, what) != getattr(headers[0], what):
                raise _mixed(path, what, headers[0], header)
    if len(headers) > 1 and any(len(header.frames) > 1 for header in headers):
        raise InputError(
            path, expected="one multi-frame file, or one slice a file", got="both", hint="pass one file of them"
        )


def _mixed(path: Path, what: str, first: Header, other: Header) -> InputError:
    if what == "localizer":
        localizer = first if first.localizer else other
        return InputError(
            path,
            expected="the slices of one series",
            got=f"a localizer among them, {localizer.path.name}",
            hint="move localizers out of the folder",
        )
    noun = {"reference": "frame of reference", "shape": "size"}[what]
    return InputError(
        path,
        expected=f"slices of one {noun}",
        got=f"another in {other.path.name} than in {first.path.name}",
        hint="put each stack into a folder of its own, and pass one",
    )


def _read_image(path: Path, headers: Sequence[Header], ranks: np.ndarray) -> np.ndarray:
    """(C, H, W, D) float32, each slice in one piece of memory; `ranks` are the places of the frames as they come."""
    shape = len(ranks), *headers[0].shape
    refuse_giant(path, shape)
    places, volume = iter(ranks), np.empty((0, *shape), dtype=np.float32)
    for header in headers:
        for frame, stored in zip(header.frames, read_frames(header.path), strict=True):
            if not volume.size:
                volume = np.empty((len(stored), *shape), dtype=np.float32)
            if stored.shape != volume[:, 0].shape:
                raise _mixed(path, "shape", headers[0], header)
            volume[:, next(places)] = stored * frame.slope + frame.intercept
    grey = len(volume) == 3 and (volume == volume[0]).all()
    return np.moveaxis(volume[:1].copy() if grey else volume, 1, -1)
