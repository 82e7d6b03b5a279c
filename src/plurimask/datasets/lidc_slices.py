"""The `lidc-slices` layout: square slices of LIDC-IDRI with four reader slots, as strips, packed masks and an index.

`images/<patient>.png` holds a patient's slices as grey tiles one below the other; `masks.npz` holds `masks_packed`
(rows, 4, N, N / 8, rounded up) uint8 for slices of NxN pixels; `index.csv` names row, patient, tile and pixel spacing.
Slices without any mask are dropped. An empty slot is a reader who drew nothing. Slots are not readers.
"""

import csv
import math
import zipfile
from collections.abc import Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from plurimask.datasets.dataset import BY_HASH, Split
from plurimask.errors import DatasetError
from plurimask.files.images import read_image, read_npy_header
from plurimask.files.stored import digest_files, readable, refuse_giant
from plurimask.geometry import Grid
from plurimask.records import Case

COLUMNS = {"row", "patient_id", "nodule", "slice", "tile", "non_empty_masks", "pixel_spacing_mm"}


class LidcSlices:
    """Dataset of slices; case names are `<patient>-n<nodule>-s<slice>`.

    Raises:
        DatasetError: a file of the layout that is missing or damaged, or that disagrees with the index.
    """

    split_by = BY_HASH

    def __init__(self, root: Path) -> None:
        self.root = root
        self._masks = _read_masks(root / "masks.npz")
        self._size = self._masks.shape[2]
        slices = _read_index(root / "index.csv")
        _check_same_release(root, slices, self._masks)
        self._slices = [one for one in slices if one.drawn > 0]
        self.names = tuple(one.name for one in self._slices)
        self.patients = tuple(one.patient for one in self._slices)
        self.sides: Mapping[str, Split] = {}
        self._strip = lru_cache(maxsize=4)(self._read_strip)

    @cached_property
    def digest(self) -> str:
        """sha256 over index, masks and strips."""
        strips = [self.root / "images" / f"{patient}.png" for patient in sorted(set(self.patients))]
        return digest_files(self.root, [self.root / "index.csv", self.root / "masks.npz", *strips])

    def __reduce__(self) -> tuple[type[Self], tuple[Path]]:
        """How it is sent to another process: as its path."""
        return type(self), (self.root,)

    def files(self, index: int) -> tuple[Path, ...]:
        """All that is read of a case, beside index and masks."""
        return (self.root / "images" / f"{self._slices[index].patient}.png",)

    def __len__(self) -> int:
        return len(self._slices)

    def __getitem__(self, index: int) -> Case:
        one = self._slices[index]
        strip, size = self._strip(one.patient), self._size
        tiles = strip.shape[1] // size
        if one.tile >= tiles:
            raise DatasetError(
                one.name, expected=f"a tile below {tiles}, the strip's length", got=str(one.tile), hint=_ONE_RELEASE
            )
        image = strip[:, one.tile * size : (one.tile + 1) * size]
        masks = np.unpackbits(self._masks[one.row], axis=-1, count=size).astype(bool)
        grid = Grid((size, size)) if one.spacing_mm is None else Grid.plane((size, size), one.spacing_mm)
        return Case(one.name, image.copy(), masks, grid, one.patient)

    def _read_strip(self, patient: str) -> np.ndarray:
        path, size = self.root / "images" / f"{patient}.png", self._size
        strip, _ = read_image(path)
        if strip.shape[0] != 1 or strip.shape[2] != size or strip.shape[1] % size:
            raise DatasetError(path, expected=f"a grey strip of {size}x{size} tiles", got=str(strip.shape), hint=_AGAIN)
        return strip


class _Slice(NamedTuple):
    """A row of the index; `drawn` is the number of slots that are not empty."""

    row: int
    patient: str
    name: str
    tile: int
    drawn: int
    spacing_mm: float | None


def _read_index(path: Path) -> list[_Slice]:
    with (
        readable(path, "an index of slices", _AGAIN, DatasetError),
        path.open(newline="", encoding="utf-8") as file,
    ):
        reader = csv.DictReader(file)
        rows = list(reader)
    missing = COLUMNS - set(reader.fieldnames or ())
    if missing:
        absent = ", ".join(sorted(missing))
        raise DatasetError(path, expected="an index of slices", got=f"no column {absent}", hint=_AGAIN)
    return [_parse(path, line, row) for line, row in enumerate(rows, start=2)]


def _parse(path: Path, line: int, row: dict[str, str]) -> _Slice:
    try:
        numbers = [int(row[column]) for column in ("row", "nodule", "slice", "tile", "non_empty_masks")]
        if min(numbers) < 0:
            raise ValueError(f"the negative number {min(numbers)}")
        spacing = float(row["pixel_spacing_mm"]) if row["pixel_spacing_mm"] else None
        patient = row["patient_id"]
        # It names a file here, and through the case's name a folder of masks.
        if not patient or Path(patient).name != patient:
            raise ValueError("a patient that cannot name a file")
        if spacing is not None and not 0 < spacing < math.inf:
            raise ValueError(f"spacing {spacing}")
    except (ValueError, TypeError) as error:
        raise DatasetError(
            f"{path}, line {line}", expected="a slice of one patient", got=str(error), hint=_AGAIN
        ) from error
    position, nodule, plane, tile, drawn = numbers
    return _Slice(position, patient, f"{patient}-n{nodule}-s{plane}", tile, drawn, spacing)


def _check_same_release(root: Path, slices: list[_Slice], masks: np.ndarray) -> None:
    """The index has each row of the masks once, counts the same slots as drawn, and names slices once, with strips."""
    if [one.row for one in slices] != list(range(len(masks))):
        expected, got = f"rows 0 to {len(masks) - 1} in order, as in masks.npz", f"{len(slices)} others"
    elif [one.drawn for one in slices] != masks.any(axis=(2, 3)).sum(axis=1).tolist():
        expected, got = "non_empty_masks as in masks.npz", "other numbers"
    elif len({one.name for one in slices}) < len(slices):
        expected, got = "every slice of a nodule once", "one of them twice"
    elif not any(one.drawn for one in slices):
        expected, got = "at least one slice with a mask", "none"
    elif absent := [one for one in slices if one.drawn and not (root / "images" / f"{one.patient}.png").exists()]:
        expected, got = f"the strip images/{absent[0].patient}.png of a patient that it names", "none"
    else:
        return
    raise DatasetError(root / "index.csv", expected=expected, got=got, hint=_ONE_RELEASE)


def _read_masks(path: Path) -> np.ndarray:
    # np.load would hand back bytes for a member with an unknown header.
    with (
        readable(path, "an archive with masks_packed", _AGAIN, DatasetError),
        zipfile.ZipFile(path) as archive,
        archive.open("masks_packed.npy") as file,
    ):
        shape, _, dtype = read_npy_header(file)
        refuse_giant(path, shape, dtype.itemsize)
        file.seek(0)
        packed = np.lib.format.read_array(file, allow_pickle=False)
    size = packed.shape[2] if packed.ndim > 2 else 0
    right = 4, size, -(-size // 8)
    if packed.dtype != np.uint8 or packed.shape[1:] != right or not size:
        raise DatasetError(
            path,
            expected=f"uint8 (rows, {', '.join(map(str, right))})",
            got=f"{packed.dtype} {packed.shape}",
            hint=_AGAIN,
        )
    return packed


_AGAIN = "take the file again"
_ONE_RELEASE = "take all files from one release"
