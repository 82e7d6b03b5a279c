"""DICOM images to arrays in RAS+ mm: a folder that holds one series, or a single file."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from plurimask.geometry import Grid


@dataclass(frozen=True, eq=False)
class Series:
    """One series as a volume.

    Args:
        image: (C, H, W, D) float32, modality values (slope and intercept applied; HU for CT); C is 1 but for colour.
        grid: (H, W, D), RAS+ mm.
        files: one a slice, in the order of the slices; or the one multi-frame file.
        patient: PatientID, or None; identity, never to be printed.
    """

    image: np.ndarray
    grid: Grid
    files: tuple[Path, ...]
    patient: str | None
