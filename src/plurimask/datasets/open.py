"""A path to what lies there: a dataset of whichever layout, one case, or a lone image."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from plurimask.datasets.case_folder import CaseFolder
from plurimask.datasets.dataset import CasesByName, Dataset
from plurimask.datasets.lidc_slices import LidcSlices
from plurimask.datasets.splits import SplitOrAll, split_indices, spread
from plurimask.errors import DatasetError, InputError
from plurimask.files.case_files import holds_case, read_case, read_image_case
from plurimask.files.images import split_name
from plurimask.records import Case


def open_dataset(path: Path) -> Dataset:
    """A `lidc-slices` release where the folder holds `index.csv` and `masks.npz`, else a case folder.

    A CSV file of sides (`patient,side`) in a case folder stands for that folder with that split: data/fold-1.csv.

    Raises:
        DatasetError: no folder there, or one that neither layout fits.
    """
    if is_split(path):
        return CaseFolder(path.parent, path)
    if not path.is_dir():
        raise DatasetError(
            path, expected="a dataset folder", got="no folder", hint="give the folder that holds the cases"
        )
    if (path / "index.csv").exists() and (path / "masks.npz").exists():
        return LidcSlices(path)
    return CaseFolder(path)


def is_split(path: Path) -> bool:
    """Whether the path is a table of sides, and so a dataset with a split of its own."""
    return path.suffix.lower() == ".csv" and path.is_file()


def is_study(path: Path) -> bool:
    """Whether one study lies there: a file, a folder of one case, or a folder of nothing but files, as DICOM has it."""
    if not path.is_dir():
        return path.exists() and not is_split(path)
    inside = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
    only_files = bool(inside) and not any(entry.is_dir() or entry.name == "index.csv" for entry in inside)
    return only_files or holds_case(path)


def choose_cases(
    dataset: Dataset, split: SplitOrAll, limit: int | None, names: Sequence[str] | None = None
) -> CasesByName:
    """Cases of one side of the split, or `limit` of them spread over its patients; read when they are asked for.

    With `names`, such as a case list's: exactly these in their order, or the first `limit` of them.

    Raises:
        DatasetError: as `split_indices`, and for names that the dataset does not have or has on another side.
    """
    indices = split_indices(dataset, split)
    if names is not None:
        return CasesByName(dataset, _named(dataset, split, indices, names)[:limit])
    return CasesByName(dataset, indices if limit is None else spread(dataset, indices, limit))


def cases_at(
    paths: Sequence[Path], split: SplitOrAll = "all", limit: int | None = None, names: Sequence[str] | None = None
) -> dict[str, Callable[[], Case]]:
    """Every case at some paths by name, each to be read by a call: image files, folders of one case, datasets.

    `split`, `limit` and `names` choose from each dataset as `choose_cases` does.

    Raises:
        InputError: a path where nothing lies, or two cases of one name.
        DatasetError: as `open_dataset` and `choose_cases`.
    """
    readers: dict[str, Callable[[], Case]] = {}
    for name, read in (entry for path in paths for entry in _readers(path, split, limit, names)):
        if name in readers:
            raise InputError(name, expected="one case of this name", got="a second one", hint="rename a file")
        readers[name] = read
    return readers


def _named(dataset: Dataset, split: SplitOrAll, indices: Sequence[int], names: Sequence[str]) -> list[int]:
    positions = {name: position for position, name in enumerate(dataset.names)}
    side = frozenset(indices)
    missing = [name for name in names if name not in positions]
    elsewhere = [name for name in names if name in positions and positions[name] not in side]
    for absent, where, hint in (
        (missing, "in the dataset", "give the dataset that the list was made for"),
        (elsewhere, f"on the {split} side", "name the side that the list is from, or use --split all"),
    ):
        if absent:
            raise DatasetError(
                dataset.kind,
                expected=f"all {len(names)} listed cases {where}",
                got=f"{len(absent)} that are not, first {absent[0]}",
                hint=hint,
            )
    return [positions[name] for name in names]


def _readers(
    path: Path, split: SplitOrAll, limit: int | None, names: Sequence[str] | None
) -> list[tuple[str, Callable[[], Case]]]:
    if not path.exists():
        raise InputError(
            path, expected="an image, a case's folder or a dataset", got="nothing there", hint="check the path"
        )
    if not path.is_dir() and not is_split(path):
        return [(split_name(path)[0], partial(read_image_case, path))]
    if path.is_dir() and holds_case(path):
        return [(path.resolve().name, partial(read_case, path))]
    chosen = choose_cases(open_dataset(path), split, limit, names)
    return [(name, partial(chosen.__getitem__, name)) for name in chosen]
