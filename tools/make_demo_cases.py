"""Makes src/plurimask/demo_cases/cases.npz, the slices of LIDC-IDRI that the package ships.

python tools/make_demo_cases.py DATA        the folder of the lidc-slices dataset

They are the first twelve of the list lidc-eval-200, whose rank is a hash of names: no score and no eye chose them. The
file holds `names`, `patients`, `pixel_spacing_mm`, `images` uint8 (12, 128, 128) and `readers` uint8 (12, 4, 128, 16),
eight pixels a byte.
"""

import sys
from pathlib import Path

import numpy as np

from plurimask.datasets.dataset import Dataset
from plurimask.datasets.open import open_dataset
from plurimask.datasets.splits import read_case_list
from plurimask.files.atomic import atomic_path

OUT = Path(__file__).parent.parent / "src" / "plurimask" / "demo_cases" / "cases.npz"
COUNT = 12


def make_arrays(dataset: Dataset) -> dict[str, np.ndarray]:
    """The arrays of the file, in the order of the list."""
    cases = [dataset[dataset.names.index(name)] for name in read_case_list("lidc-eval-200")[:COUNT]]
    return {
        "names": np.array([case.name for case in cases]),
        "patients": np.array([case.patient for case in cases]),
        "pixel_spacing_mm": np.array([case.grid.spacing_mm[0] for case in cases if case.grid.spacing_mm]),
        "images": np.stack([case.image[0].astype(np.uint8) for case in cases]),
        "readers": np.packbits([case.readers for case in cases], axis=-1),
    }


if __name__ == "__main__":
    arrays = make_arrays(open_dataset(Path(sys.argv[1])))
    with atomic_path(OUT) as temporary:
        np.savez_compressed(temporary, **arrays)
