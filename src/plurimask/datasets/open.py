"""A path to what lies there: a dataset of whichever layout, one case, or a lone image."""

from collections.abc import Iterator
from pathlib import Path

from plurimask.datasets.by_name import CasesByName
from plurimask.datasets.case_folder import CaseFolder, holds_case, read_case, read_image_case
from plurimask.datasets.dataset import Dataset
from plurimask.datasets.lidc_slices import LidcSlices
from plurimask.datasets.splits import SplitOrAll, split_indices, spread
from plurimask.errors import DatasetError
from plurimask.records import Case


def open_dataset(path: Path) -> Dataset:
    """A `lidc-slices` release where the folder holds `index.csv` and `masks.npz`, else a case folder.

    Raises:
        DatasetError: no folder there, or one that neither layout fits.
    """
    if not path.is_dir():
        raise DatasetError(
            path, expected="a dataset folder", got="no folder", hint="give the folder that holds the cases"
        )
    if (path / "index.csv").exists() and (path / "masks.npz").exists():
        return LidcSlices(path)
    return CaseFolder(path)


def choose_cases(dataset: Dataset, split: SplitOrAll, limit: int | None) -> CasesByName:
    """Cases of one side of the split, or `limit` of them spread over its patients; read when they are asked for."""
    indices = split_indices(dataset, split)
    return CasesByName(dataset, indices if limit is None else spread(dataset, indices, limit))


def cases_at(path: Path, split: SplitOrAll = "all", limit: int | None = None) -> tuple[int, Iterator[Case]]:
    """How many cases a path holds, and the cases one by one: an image file, a case's folder, or a dataset.

    `split` and `limit` choose from a dataset as `choose_cases` does. Raises InputError and DatasetError as the readers.
    """
    if not path.is_dir():
        return 1, iter([read_image_case(path)])
    if holds_case(path):
        return 1, iter([read_case(path)])
    chosen = choose_cases(open_dataset(path), split, limit)
    return len(chosen), iter(chosen.values())
