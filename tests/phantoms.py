"""Twelve phantoms for tests: agreed, disputed, one reader of four, ground glass, tiny, large.

They were chosen by eye from `phantom_cases(SEED)`; tests/prepare/test_phantom.py makes them again.
"""

from pathlib import Path

import numpy as np

from plurimask.geometry import Grid
from plurimask.records import Case

FILE = Path(__file__).parent / "golden/phantoms.npz"
SEED = 1
CHOSEN = (337, 33, 30, 264, 396, 277, 201, 69, 195, 127, 2, 62)
"""Their numbers among the phantoms of the seed."""


def phantoms() -> list[Case]:
    """demo-01 to demo-12, each with an image (1, 128, 128) of whole numbers 0..255 and four readers."""
    with np.load(FILE, allow_pickle=False) as data:
        images = data["images"].astype(np.float32)
        masks = np.unpackbits(data["raters"], axis=-1).astype(np.bool_)
        patients, spacings = data["patients"].tolist(), data["pixel_spacing_mm"].tolist()
    return [
        Case(f"demo-{i:02d}", image[None], drawn, Grid.plane(image.shape, spacing), patient)
        for i, (image, drawn, patient, spacing) in enumerate(zip(images, masks, patients, spacings, strict=True), 1)
    ]
