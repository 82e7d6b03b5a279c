"""The twelve slices of LIDC-IDRI that are shipped with the package, each of another patient of the test side."""

from importlib.resources import files

import numpy as np

from plurimask.geometry import Grid
from plurimask.records import Case


def demo_cases() -> list[Case]:
    """The first twelve cases of the list lidc-eval-200, as the lidc-slices dataset gives them.

    Each has an image (1, 128, 128) of whole numbers 0..255, masks (4, 128, 128) of four readers, and square pixels of
    known size. `tools/make_demo_cases.py` made the file. LIDC-IDRI, CC BY 3.0; NOTICE has the attribution.
    """
    with (
        (files("plurimask") / "demo_cases" / "cases.npz").open("rb") as file,
        np.load(file, allow_pickle=False) as data,
    ):
        names, patients, spacings = (data[key].tolist() for key in ("names", "patients", "pixel_spacing_mm"))
        images = data["images"].astype(np.float32)
        readers = np.unpackbits(data["readers"], axis=-1).astype(np.bool_)
    return [
        Case(name, image[None], masks, Grid.plane(image.shape, spacing), patient)
        for name, patient, spacing, image, masks in zip(names, patients, spacings, images, readers, strict=True)
    ]
