"""Makes src/plurimask/demo_cases/cases.npz, the phantom cases that the package ships.

    pip install "plurimask[phantom]"
    python tools/make_demo_cases.py

The cases were chosen by eye among the first 400 of seed 1 whose patients are on the test side of the split. The file
holds `images` uint8 (12, 128, 128), `raters` (12, 4, 128, 16) with eight pixels a byte, `patients`, `pixel_spacing_mm`.
"""

from pathlib import Path

import numpy as np

from plurimask.files.stored import atomic_path
from plurimask.prepare.phantom import phantom_cases

OUT = Path(__file__).parent.parent / "src" / "plurimask" / "demo_cases" / "cases.npz"
SEED = 1
CHOSEN = (337, 33, 30, 264, 396, 277, 201, 69, 195, 127, 2, 62)


def make_arrays() -> dict[str, np.ndarray]:
    """The arrays of the file, in the order of `CHOSEN`."""
    chosen = {i: case for i, case in enumerate(phantom_cases(max(CHOSEN) + 1, SEED)) if i in CHOSEN}
    cases = [chosen[i] for i in CHOSEN]
    return {
        "images": np.stack([case.image[0].astype(np.uint8) for case in cases]),
        "raters": np.packbits([case.raters for case in cases], axis=-1),
        "patients": np.array([case.patient for case in cases]),
        "pixel_spacing_mm": np.array([case.grid.spacing_mm[0] for case in cases if case.grid.spacing_mm]),
    }


if __name__ == "__main__":
    with atomic_path(OUT) as temporary:
        np.savez_compressed(temporary, **make_arrays())
