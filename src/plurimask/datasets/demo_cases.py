"""The twelve phantom cases that are shipped with the package, from patients on the test side of the split."""

from importlib.resources import files

import numpy as np

from plurimask.geometry import Grid
from plurimask.records import Case


def demo_cases() -> list[Case]:
    """Twelve phantom cases of twelve patients: agreed, disputed, one reader of four, ground glass, tiny, large.

    Each is as `phantom_cases` gives it: image (1, 128, 128) of whole numbers 0..255, raters (4, 128, 128), square
    pixels of known size. `tools/make_demo_cases.py` chose and made them.
    """
    with (
        (files("plurimask") / "demo_cases" / "cases.npz").open("rb") as file,
        np.load(file, allow_pickle=False) as data,
    ):
        images = data["images"].astype(np.float32)
        raters = np.unpackbits(data["raters"], axis=-1).astype(np.bool_)
        patients, spacings = data["patients"].tolist(), data["pixel_spacing_mm"].tolist()
    return [
        Case(f"demo-{i:02d}", image[None], masks, Grid.plane(image.shape, spacing), patient)
        for i, (image, masks, patient, spacing) in enumerate(zip(images, raters, patients, spacings, strict=True), 1)
    ]
