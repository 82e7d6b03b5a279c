"""The dataset at a path, of whichever layout, and a choice of its cases.

A case folder: one folder a case, as `plurimask.files.case_folder` reads it, and tables beside them.

    ROOT/CASE/image.png                 or image0.png, image1.png, ...: channels, in this order; image/: a DICOM series
    ROOT/CASE/label0.png, label1.png    one file a reader; all zero: read, drew nothing; no file: did not read
    ROOT/patients.csv                   optional, header `case,patient`
    ROOT/readers.csv                    optional, header `case,label,reader`: who drew each label
    ROOT/intensity.json                 optional: how the images were clipped (datasets.intensity)
    ROOT/split.csv                      optional, header `patient,side`; else sides follow from the patients' hashes

Other files and hidden folders are ignored.
"""

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from plurimask.datasets.changed import split_as
from plurimask.datasets.dataset import BY_HASH, CasesByName, Dataset, Split
from plurimask.datasets.intensity import INTENSITY, Intensity
from plurimask.datasets.lidc_slices import LidcSlices
from plurimask.datasets.splits import SplitOrAll, read_patients, read_readers, read_sides, split_indices, spread
from plurimask.errors import DatasetError
from plurimask.files.case_folder import CASE_LAYOUT, holds_case, list_case, read_files
from plurimask.files.itk_images import data_beside
from plurimask.files.locate import locate
from plurimask.files.remote import Remote
from plurimask.files.stored import difference, digest_files, list_visible, one_form, other_spelling, readable
from plurimask.records import Case
from plurimask.settings import parse


def open_dataset(path: str | Path, split_file: str | Path | None = None) -> Dataset:
    """The dataset at a path: a `lidc-slices` release (a folder with `index.csv` and `masks.npz`), or a folder of cases.

    A CSV file (`patient,side`) in a folder of cases stands for that folder with that split: data/fold-1.csv.
    `split_file`, of the same form and anywhere, says the sides in place of whatever else would. Cases of a folder at an
    address (see `files.remote`) are brought when they are read.

    Raises:
        DatasetError: no folder there, one that neither layout fits, or a `split_file` that does not fit it.
    """
    path = Path(path)
    if split_file is not None:
        return split_as(open_dataset(path), Path(split_file))
    if (remote := Remote.at(path)) is not None:
        return Fetched(remote)
    layout = locate(path).layout
    if layout == "sides":
        return CaseFolder(path.parent, path)
    if not path.is_dir():
        raise DatasetError(
            path, expected="a dataset folder", got="no folder", hint="give the folder that holds the cases"
        )
    return LidcSlices(path) if layout == "lidc-slices" else CaseFolder(path)


def choose_cases(
    dataset: Dataset,
    split: SplitOrAll,
    limit: int | None,
    names: Sequence[str] | None = None,
    *,
    asked: bool = False,
) -> CasesByName:
    """Cases of one side of the split, or `limit` of them spread over its patients; read when they are asked for.

    With `names`, such as a case list's: exactly these in their order, or the first `limit` of them. `asked` as
    `split_indices` has it.

    Raises:
        DatasetError: as `split_indices`, and for names that the dataset does not have or has on another side.
    """
    indices = split_indices(dataset, split, asked=asked)
    if names is None:
        return CasesByName(dataset, indices if limit is None else spread(dataset, indices, limit))
    positions = {name: position for position, name in enumerate(dataset.names)}
    for chosen, where, hint in (
        (range(len(dataset)), "in the dataset", "give the dataset that the list was made for"),
        (indices, f"on the {split} side", "name the side of the list, or use --split all" if asked else "list others"),
    ):
        there = {dataset.names[index] for index in chosen}
        absent = [name for name in names if name not in there]
        if absent:
            raise DatasetError(
                dataset.root,
                expected=f"all {len(names)} listed cases {where}",
                got=f"{len(absent)} that are not, first {absent[0]}{other_spelling(absent[0], there)}",
                hint=hint,
            )
    return CasesByName(dataset, [positions[name] for name in names[:limit]])


def _read_intensity(path: Path) -> Intensity:
    with readable(path, "a window or percentiles as prepare folder writes them", error=DatasetError):
        tree = json.loads(path.read_bytes())
    return parse(Intensity, tree, path, DatasetError)


class Fetched:
    """A dataset in a remote folder, of which tables are brought at once, and cases when they are read.

    Raises:
        DatasetError, InputError: as `open_dataset`, or as the remote folder.
    """

    def __init__(self, remote: Remote) -> None:
        self.remote, self.root = remote, remote.url
        here = remote.listed()
        remote.bring(path for path in here.iterdir() if path.is_file())
        whole = open_dataset(here)
        assert isinstance(whole, CaseFolder | LidcSlices)
        self.whole, self.names, self.patients = whole, whole.names, whole.patients
        self.sides, self.split_by = whole.sides, whole.split_by
        self.intensity: Intensity | None = getattr(whole, "intensity", None)

    def __reduce__(self) -> tuple[type["Fetched"], tuple[Remote]]:
        """How it is sent to another process: as its address."""
        return type(self), (self.remote,)

    @cached_property
    def digest(self) -> str:
        """That of the same files on a disk. All are brought."""
        self.remote.bring(path for path in self.remote.root.iterdir() if path.is_dir())
        return self.whole.digest

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Case:
        files = self.whole.files(index)
        if isinstance(self.whole, LidcSlices):  # of which several cases share a file
            self.remote.bring(files)
            return self.whole[index]
        with self.remote.brought(*files):
            return self.whole[index]


class CaseFolder:
    """The cases of a folder, sorted by name, as a `Dataset`; the module's docstring has the layout.

    Building it lists the folders and reads the tables; images and labels are read one case at a time. `folders` are
    those of the cases as the file system spells them, `names` their names in one Unicode form.

    Args:
        root: the folder that holds one folder a case.
        split: a file like split.csv, to be taken in its place.

    Raises:
        DatasetError: no case in `root`, a patients.csv that does not fit the cases, or a split that does not fit those.
        InputError: a case whose files are missing, doubled, or not numbered from 0 without a gap.
    """

    def __init__(self, root: Path, split: Path | None = None) -> None:
        self.root = root
        if holds_case(root):
            got, hint = "the files of a single case", "pass the folder above it"
            raise DatasetError(root, expected="one folder a case", got=got, hint=hint)
        self._cases = tuple(list_case(path) for path in list_visible(root) if path.is_dir())
        if not self._cases:
            hint = f"put into each case's folder {CASE_LAYOUT}"
            raise DatasetError(root, expected="one folder a case", got="no folder", hint=hint)
        self.names = tuple(case.name for case in self._cases)
        self.folders = tuple(case.images[0].parent for case in self._cases)
        name, times = Counter(self.names).most_common(1)[0]
        if times > 1:
            one, other, *_ = (folder.name for folder in self.folders if one_form(folder.name) == name)
            got, hint = f"two folders {name} ({difference(one, other)})", "rename one, or remove it"
            raise DatasetError(root, expected="names that differ in more than their Unicode form", got=got, hint=hint)
        patients = read_patients(root / "patients.csv", frozenset(self.names))
        self.patients = tuple(patients.get(name) for name in self.names)
        counts = {case.name: len(case.labels) for case in self._cases}
        self._drawn_by = read_readers(root / "readers.csv", counts)
        told = root / INTENSITY
        self.intensity = _read_intensity(told) if os.path.lexists(told) else None
        own = root / "split.csv"
        self._split = split or (own if os.path.lexists(own) else None)
        self.sides: Mapping[str, Split] = read_sides(self._split, self.patients) if self._split else {}
        self.split_by = self._split.name if self._split else BY_HASH

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Case:
        one = self._cases[index]
        who = self._drawn_by.get(one.name)
        return read_files(one.name, one.images, one.labels, self.patients[index], drawn_by=who)

    def files(self, index: int) -> tuple[Path, ...]:
        """All that is read of a case."""
        files = self._cases[index].files
        return files + tuple(beside for path in files for beside in data_beside(path) if beside.is_file())

    @cached_property
    def digest(self) -> str:
        """sha256 (hex) over the relative name and the content of every file in use."""
        tables = [self.root / "patients.csv"] if any(self.patients) else []
        tables += [self.root / "readers.csv"] if self._drawn_by else []
        tables += [self.root / INTENSITY] if self.intensity else []
        if self._split:
            tables.append(self._split)
        files = [path for case in self._cases for path in case.files]
        files += [beside for path in files for beside in data_beside(path) if beside.is_file()]
        return digest_files(self.root, files + tables)
