"""Cases written as files by name, for tests of who reads them."""

import nibabel as nib
import numpy as np
from PIL import Image

IMAGE = np.random.default_rng(0).integers(0, 256, (6, 8), dtype=np.uint8)
MASK = IMAGE > 120


def fill(folder, **files):
    """Write arrays by name, `image__nii` as image.nii and `image` as image.png; bool as 0/255."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in files.items():
        stem, _, suffix = name.partition("__")
        write(
            folder / f"{stem}.{suffix or 'png'}", np.where(array, 255, 0).astype("u1") if array.dtype == bool else array
        )
    return folder


def write(path, array, affine=None):
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix in (".nii", ".gz"):
        nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    else:
        Image.fromarray(array).save(path)
