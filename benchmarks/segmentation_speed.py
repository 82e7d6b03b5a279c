"""Seconds to write a panel of a whole CT scan as DICOM SEG, with its measurements."""

import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from common import Row, print_table, seconds
from pydicom import dcmread

from plurimask.files.dicom import read_series
from plurimask.files.locate import Study
from plurimask.panel_files import write_panel
from plurimask.records import Case, MaskSet

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from dicom_series import write_series

SHAPE, SAMPLES, FILLED = (512, 512, 300), 16, 20


def table() -> list[Row]:
    """One row: every sample outlines a lesion of its own size on 20 slices of 300."""
    with tempfile.TemporaryDirectory() as folder:
        write_series(Path(folder, "scan"), np.zeros(SHAPE, dtype=np.int16))
        series = read_series(Path(folder, "scan"))
        nobody = np.zeros((0, *SHAPE), dtype=bool)
        study = Study(Case("scan", series.image, nobody, series.grid), "dicom", series.files)
        panel = MaskSet("scan", _lesions(), series.grid, "benchmark", tuple(range(SAMPLES)))
        out = Path(folder, "panels", "scan")
        taken = seconds(partial(write_panel, out, panel, study))
        frames = sum(int(dcmread(path).NumberOfFrames) for path in out.glob("*.dcm"))
        size = sum(path.stat().st_size for path in out.iterdir()) / 2**20
    what = f"{SAMPLES} samples of {FILLED} filled slices, {'x'.join(map(str, SHAPE))}, as DICOM SEG"
    how = f"3 objects, {frames} frames, {size:.0f} MiB, measurements; median of 3; target: under 5 s"
    return [(what, f"{taken:.2f} s", how)]


def _lesions() -> np.ndarray:
    """(S, H, W, D) bool: a disc a slice, the samples' slices shifted against each other by up to 3."""
    masks = np.zeros((SAMPLES, *SHAPE), dtype=bool)
    distance = np.hypot(*(np.indices(SHAPE[:2]) - 250))
    for sample, mask in enumerate(masks):
        first = 140 + sample % 4
        mask[..., first : first + FILLED] = (distance < 20 + sample)[..., None]
    return masks


if __name__ == "__main__":
    print_table("DICOM SEG", table())
