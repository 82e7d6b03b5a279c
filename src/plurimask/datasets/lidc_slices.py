"""The `lidc-slices` layout: 128x128 slices of LIDC-IDRI with four reader slots, as strips, packed masks and an index.

`images/<patient>.png` holds a patient's slices as tiles one below the other, each min-max scaled to 0..255 on its own;
`masks.npz` holds `masks_packed` (rows, 4, 128, 16) uint8; `index.csv` names row, patient, tile and pixel spacing.
Slices without any mask are dropped. An empty slot is a reader who drew nothing. Slots are not readers.
"""

import csv
import zipfile
from functools import lru_cache
from pathlib import Path

import numpy as np

from plurimask.errors import DatasetError
from plurimask.files.digest import digest_files
from plurimask.files.read import read_image
from plurimask.geometry import Grid
from plurimask.records import Case

SIZE = 128
COLUMNS = {"row", "patient_id", "nodule", "slice", "tile", "non_empty_masks", "pixel_spacing_mm"}


class LidcSlices:
    """Dataset of slices; case names are `<patient>-n<nodule>-s<slice>`.

    Raises:
        DatasetError: a file of the layout that is missing, or that disagrees with the index.
    """

    kind = "lidc-slices"

    def __init__(self, root: Path) -> None:
        self.root = root
        self._masks = _read_masks(root / "masks.npz")
        self._rows = [row for row in _read_index(root / "index.csv") if int(row["non_empty_masks"]) > 0]
        if self._rows and int(self._rows[-1]["row"]) >= len(self._masks):
            raise DatasetError(
                root / "index.csv",
                expected=f"rows below {len(self._masks)}, the length of masks.npz",
                got=self._rows[-1]["row"],
                hint="take index.csv and masks.npz from one release",
            )
        self.names = tuple(f"{row['patient_id']}-n{row['nodule']}-s{row['slice']}" for row in self._rows)
        self.patients = tuple(row["patient_id"] for row in self._rows)
        self._strip = lru_cache(maxsize=4)(self._read_strip)

    @property
    def digest(self) -> str:
        """sha256 over index, masks and strips."""
        strips = [self.root / "images" / f"{patient}.png" for patient in sorted(set(self.patients))]
        return digest_files(self.root, [self.root / "index.csv", self.root / "masks.npz", *strips])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Case:
        row = self._rows[index]
        top = int(row["tile"]) * SIZE
        image = self._strip(row["patient_id"])[:, top : top + SIZE]
        masks = np.unpackbits(self._masks[int(row["row"])], axis=-1).astype(bool)
        spacing = row["pixel_spacing_mm"]
        grid = Grid.plane((SIZE, SIZE), float(spacing)) if spacing else Grid((SIZE, SIZE))
        return Case(self.names[index], image.copy(), masks, grid, row["patient_id"])

    def _read_strip(self, patient: str) -> np.ndarray:
        path = self.root / "images" / f"{patient}.png"
        strip, _ = read_image(path)
        if strip.shape[0] != 1 or strip.shape[2] != SIZE or strip.shape[1] % SIZE:
            raise DatasetError(
                path, expected=f"a grey strip of {SIZE}x{SIZE} tiles", got=str(strip.shape), hint="take the file again"
            )
        return strip


def _read_index(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    missing = COLUMNS - set(rows[0] if rows else ())
    if missing:
        absent = ", ".join(sorted(missing))
        raise DatasetError(path, expected="an index of slices", got=f"no column {absent}", hint="take the file again")
    return rows


def _read_masks(path: Path) -> np.ndarray:
    try:
        with np.load(path, allow_pickle=False) as archive:
            packed = archive["masks_packed"]
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError) as error:
        raise DatasetError(
            path, expected="an archive with masks_packed", got=f"{error}", hint="take the file again"
        ) from error
    if packed.dtype != np.uint8 or packed.shape[1:] != (4, SIZE, SIZE // 8):
        raise DatasetError(
            path,
            expected=f"uint8 (rows, 4, {SIZE}, {SIZE // 8})",
            got=f"{packed.dtype} {packed.shape}",
            hint="take the file again",
        )
    return packed
