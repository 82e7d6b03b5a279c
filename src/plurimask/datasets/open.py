"""A path to the dataset that lies there, whichever layout it has."""

from pathlib import Path

from plurimask.datasets.case_folder import CaseFolder
from plurimask.datasets.dataset import Dataset
from plurimask.datasets.lidc_slices import LidcSlices
from plurimask.errors import DatasetError


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
