"""Makes src/plurimask/lists/lidc-eval-200.txt, the list of slices that every comparison on LIDC uses.

python tools/make_eval_list.py DATA        the folder of the lidc-slices dataset
"""

import sys
from pathlib import Path

from plurimask.datasets.dataset import Dataset
from plurimask.datasets.open import open_dataset
from plurimask.datasets.splits import ranked, split_indices
from plurimask.files.atomic import write_text

OUT = Path(__file__).parent.parent / "src" / "plurimask" / "lists" / "lidc-eval-200.txt"
COUNT = 200
HEADER = """\
# lidc-eval-200: slices of LIDC-IDRI to compare methods on, from the test side of the split by patient.
# In rank order: every test patient before any patient's second slice, otherwise by a hash of the name; so the first
# 50 are an evenly spread list of their own. Made by tools/make_eval_list.py.
# Names are PATIENT-nNODULE-sSLICE. sha256 of the lidc-slices dataset:
# {digest}
# LIDC-IDRI: Armato et al., The Cancer Imaging Archive (2015), https://doi.org/10.7937/K9/TCIA.2015.LO9QL9SX,
# CC BY 3.0, https://creativecommons.org/licenses/by/3.0/
"""


def make_list(dataset: Dataset) -> str:
    """The file's text."""
    chosen = ranked(dataset, split_indices(dataset, "test"))[:COUNT]
    return HEADER.format(digest=dataset.digest) + "".join(f"{dataset.names[index]}\n" for index in chosen)


if __name__ == "__main__":
    write_text(OUT, make_list(open_dataset(Path(sys.argv[1]))))
