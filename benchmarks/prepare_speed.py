"""Scans a minute of `prepare lidc --dicom`, and its memory."""

import sys
import tempfile
from pathlib import Path

import numpy as np
from common import Row, child, print_table

from plurimask.prepare.lidc_contours import Scan, find_database
from plurimask.prepare.lidc_protocol import PRESETS, plan

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from dicom_series import ct_slice

SCANS, SLICES, WORKERS = 8, 130, 2


def table() -> list[Row]:
    """Two rows, measured in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        slices = _write_download(Path(folder, "download"))
        seconds, cpu, mib = child("prepare_once.py", folder, str(WORKERS))
    how = f"{SCANS} scans, {slices} files of 512x512, uncompressed, {WORKERS} processes, {cpu / SCANS:.1f} s CPU each"
    return [
        ("prepare lidc --dicom", f"{60 * SCANS / seconds:.0f} scans/min", f"{how}; target: at least 20"),
        (
            "its memory",
            f"{mib:,.0f} MiB",
            f"peaks of {WORKERS} processes and their parent, added; target: at most 2 GB",
        ),
    ]


def _write_download(root: Path) -> int:
    """Series of the scans whose number of slices is nearest to `SLICES`, one picture for all slices; how many files."""
    scans = [one.scan for one in plan(find_database(), PRESETS["v1"])]
    chosen = sorted(scans, key=lambda scan: abs(len(scan.slice_z_mm) - SLICES))[:SCANS]
    stored = np.random.default_rng(0).integers(0, 2000, (512, 512), dtype=np.int16)
    return sum(_write_series(root / scan.patient / scan.series, scan, stored) for scan in chosen)


def _write_series(folder: Path, scan: Scan, stored: np.ndarray) -> int:
    folder.mkdir(parents=True)
    for number, z_mm in enumerate(scan.slice_z_mm):
        dataset = ct_slice(stored, np.array([-180.0, -180.0, z_mm]), scan.series, number)
        dataset.SeriesInstanceUID = scan.series
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.PixelSpacing = [scan.pixel_spacing_mm] * 2
        dataset.SliceThickness = scan.slice_thickness_mm
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
        dataset.save_as(folder / f"{number:06d}.dcm", enforce_file_format=True)
    return len(scan.slice_z_mm)


if __name__ == "__main__":
    print_table("Preparing LIDC-IDRI", table())
