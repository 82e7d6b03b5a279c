"""Parts of scans -> a dataset in the `lidc-slices` layout: strips, packed masks, an index."""

import zipfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from plurimask.datasets.lidc_contours import READERS, Scan
from plurimask.files.atomic import atomic_path, write_text
from plurimask.files.table import csv_text
from plurimask.prepare.lidc_protocol import LidcSettings
from plurimask.prepare.lidc_scan import read_part

INDEX, MASKS = "index.csv", "masks.npz"
_COLUMNS = (
    *("row", "patient_id", "nodule", "slice", "tile", "non_empty_masks", "area_0", "area_1", "area_2", "area_3"),
    *("pixel_spacing_mm", "series_instance_uid", "z_mm", "window_row", "window_column"),
)


@dataclass(frozen=True)
class Written:
    """Slices, those with a mask, those that a second scan of the patient replaced, and the patients, sorted."""

    slices: int
    drawn: int
    replaced: int
    patients: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Slice:
    scan: Scan
    image: np.ndarray
    masks: np.ndarray
    place: tuple[float, float, float]


def write_slices(out: Path, parts: Sequence[tuple[Scan, Path]], settings: LidcSettings) -> Written:
    """Write strips, masks and, last, the index; one patient is in memory at a time.

    Args:
        out: the folder.
        parts: scans in the order of their ids, and their parts.
        settings: as the parts were made with.
    """
    by_patient: dict[str, list[tuple[Scan, Path]]] = defaultdict(list)
    for scan, path in parts:
        by_patient[scan.patient].append((scan, path))
    index = [list(_COLUMNS)]
    cut, patients = 0, []
    with atomic_path(out / MASKS) as temporary:
        spool = temporary.with_suffix(".bits")
        try:
            with spool.open("wb") as bits:
                for patient, own in sorted(by_patient.items()):
                    found, slices = _slices_of(own)
                    cut += found
                    if slices:
                        patients.append(patient)
                        _write_strip(out / "images" / f"{patient}.png", [one.image for one in slices.values()])
                        bits.writelines(one.masks.tobytes() for one in slices.values())
                        index += _rows(len(index) - 1, patient, slices, settings)
            _pack(temporary, spool, (len(index) - 1, READERS, settings.size, -(-settings.size // 8)))
        finally:
            spool.unlink(missing_ok=True)
    write_text(out / INDEX, csv_text(index))
    count, drawn = len(index) - 1, sum(row[5] != "0" for row in index[1:])
    return Written(count, drawn, cut - count, tuple(patients))


def _slices_of(parts: Sequence[tuple[Scan, Path]]) -> tuple[int, dict[tuple[int, int], _Slice]]:
    """How many slices the scans of one patient have, and those slices by nodule and number, a later scan's for good."""
    slices: dict[tuple[int, int], _Slice] = {}
    found = 0
    for scan, path in parts:
        part = read_part(path)
        found += len(part.table)
        for image, masks, (nodule, number, *place) in zip(*part[:2], part.table.tolist(), strict=True):
            slices[int(nodule), int(number)] = _Slice(scan, image, masks, tuple(place))
    return found, dict(sorted(slices.items()))


def _write_strip(path: Path, images: Sequence[np.ndarray]) -> None:
    with atomic_path(path) as temporary:
        Image.fromarray(np.concatenate(images)).save(temporary)


def _rows(
    first: int, patient: str, slices: dict[tuple[int, int], _Slice], settings: LidcSettings
) -> Iterator[list[str]]:
    for tile, ((nodule, number), one) in enumerate(slices.items()):
        areas = np.bitwise_count(one.masks).sum(axis=(1, 2)).tolist()
        spacing = one.scan.pixel_spacing_mm if settings.spacing_mm is None else settings.spacing_mm
        drawn = sum(area > 0 for area in areas)
        row = (first + tile, patient, nodule, number, tile, drawn, *areas, spacing, one.scan.series, *one.place)
        yield [str(value) for value in row]


def _pack(path: Path, spool: Path, shape: tuple[int, ...]) -> None:
    """Write bits as the array `masks_packed` of an NPZ file without holding them all."""
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("masks_packed.npy", "w", force_zip64=True) as file,
        spool.open("rb") as bits,
    ):
        np.lib.format.write_array_header_1_0(file, header)
        while block := bits.read(2**20):
            file.write(block)
