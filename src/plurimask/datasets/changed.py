"""Datasets whose cases are changed as they are read: one reader an image, few cases, their middle, or other sides."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from hashlib import blake2b, sha256
from pathlib import Path
from types import EllipsisType
from typing import NamedTuple

import numpy as np
import scipy  # its parts are imported when they are first asked for

from plurimask.datasets.dataset import Dataset, Split
from plurimask.datasets.intensity import Intensity
from plurimask.datasets.splits import SplitRule, check_patients, ranked, read_sides, side_of, split_indices
from plurimask.errors import DatasetError, SettingsError
from plurimask.records import Case


class Changed:
    """A dataset of the same cases, patients and sides as another.

    Args:
        dataset: the other one.
        rule: what is changed, in words that enter the hash of the data.
        change: position and case -> the changed case.
    """

    def __init__(self, dataset: Dataset, rule: str, change: Callable[[int, Case], Case]) -> None:
        self.whole, self._rule, self._change = dataset, rule, change
        self.root = dataset.root
        self.names: Sequence[str] = dataset.names
        self.patients: Sequence[str | None] = dataset.patients
        self.sides: Mapping[str, Split] = dataset.sides
        self.split_by = dataset.split_by
        self.intensity: Intensity | None = getattr(dataset, "intensity", None)  # which not every layout has

    @cached_property
    def digest(self) -> str:
        """sha256 (hex) of the whole data's digest and the rule."""
        return sha256(f"{self.whole.digest} {self._rule}".encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.whole)

    def __getitem__(self, index: int) -> Case:
        return self._change(index, self.whole[index])


def one_reader(dataset: Dataset) -> Changed:
    """A dataset whose training cases keep one reader each; validation and test cases keep all of theirs.

    Which one is kept follows from the case's name alone, each with the same chance, and one who drew nothing is a
    reader like any other.

    Raises:
        DatasetError: a case without a patient, or no training case.
    """
    train = frozenset(split_indices(dataset, "train"))

    def change(index: int, case: Case) -> Case:
        if index not in train or not len(case.readers):
            return case
        hashed = blake2b(case.name.encode(), digest_size=8, person=b"one-reader").digest()
        kept = int.from_bytes(hashed, "big") % len(case.readers)
        who = case.drawn_by and case.drawn_by[kept : kept + 1]
        return replace(case, readers=case.readers[kept : kept + 1], drawn_by=who)

    return Changed(dataset, "one reader a training case", change)


def grown(dataset: Dataset) -> Changed:
    """A dataset whose training masks are larger by two pixels along rows and columns.

    On LIDC-IDRI that makes the foreground 1.57 times as large, as the released code of CIMD has it 1.65 times, which
    takes any value above 0 of a compressed picture. Raises as `one_reader`.
    """
    train = frozenset(split_indices(dataset, "train"))
    cross = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], dtype=bool)[None]

    def change(index: int, case: Case) -> Case:
        if index not in train:
            return case
        return replace(case, readers=scipy.ndimage.binary_dilation(case.readers, cross, iterations=2))

    return Changed(dataset, "masks grown by two pixels", change)


def few(dataset: Dataset, count: int) -> Changed:
    """A dataset with `count` training cases, or all: the others on that side are replaced by these, each as often.

    The kept ones are spread over the patients, and fewer of them are the first of more. Raises as `one_reader`.
    """
    train = ranked(dataset, split_indices(dataset, "train"))
    stand_ins = {index: train[place % count] for place, index in enumerate(train)}

    def change(index: int, case: Case) -> Case:
        kept = stand_ins.get(index, index)
        return case if kept == index else replace(dataset[kept], name=case.name, patient=case.patient)

    return Changed(dataset, f"{count} training cases", change)


def centre_crop(dataset: Dataset, size: int) -> Changed:
    """A dataset whose cases are cut to their middle by `crop_case`, which refuses some as they are read.

    Raises:
        SettingsError: a size below 1.
    """
    if size < 1:
        raise SettingsError("image_size", expected="at least one pixel", got=str(size), hint="correct it")
    return Changed(dataset, f"centre {size}", lambda index, case: crop_case(case, size))


class Resided(Changed):
    """A dataset with other sides.

    Its digest is another one, so that what was trained and drawn under other sides is told apart. What is decoded once
    for training is that of the whole.

    Args:
        dataset: the other one.
        sides: of its patients; they may list other patients too. Who is not listed is on the side that the hash gives.
        by: what says so, for records.
    """

    def __init__(self, dataset: Dataset, sides: Mapping[str, Split], by: str) -> None:
        super().__init__(dataset, "", lambda index, case: case)
        self.sides, self.split_by = sides, by
        self._rule = f"sides {json.dumps(_sides_of(self))}"


def _sides_of(dataset: Dataset) -> dict[str, Split]:
    """The side of each known patient, sorted."""
    return {one: side_of(dataset, one) for one in sorted(set(filter(None, dataset.patients)))}


class Leaked(Resided):
    """A dataset divided by case, as some published ones are: other cases of the scored patients are trained on.

    All test cases but those that are scored are trained on, in place of as many training cases, so that both sides are
    as large as before. Each case stands for a patient of its own.

    Args:
        dataset: the other one, divided by patient.
        scored: names of the test cases that stay unseen.
    """

    def __init__(self, dataset: Dataset, scored: Collection[str]) -> None:
        names, train = dataset.names, split_indices(dataset, "train")
        unseen = [place for place in split_indices(dataset, "test") if names[place] not in scored][: len(train)]
        by_hash = sorted(train, key=lambda place: blake2b(names[place].encode(), person=b"leaked").digest())
        sides: dict[str, Split] = {
            names[place]: side for side in ("train", "val", "test") for place in split_indices(dataset, side)
        }
        sides.update((names[place], "train") for place in unseen)
        sides.update((names[place], "test") for place in by_hash[: len(unseen)])
        super().__init__(dataset, sides, "case")
        self.patients = names
        self._rule = f"sides {json.dumps(_sides_of(self))}"


def split_as(dataset: Dataset, path: Path) -> Resided:
    """A dataset whose sides are those of a file with the header `patient,side`, or of a run (see `read_sides`).

    Raises:
        DatasetError: a file that gives one of the dataset's patients no side or two, or is not of this form.
        InputError: a file that cannot be read.
    """
    return Resided(dataset, read_sides(path, dataset.patients, str(dataset.root)), path.name)


def split_as_trained(dataset: Dataset, run: Path) -> Dataset:
    """A dataset with the sides that a run was trained on, as far as it has its patients.

    It is left as it is where these sides are its own, and where `run` is no run folder.

    Raises:
        DatasetError: a split.json that says something else.
        InputError: one that cannot be read.
    """
    file = run / "split.json"
    trained = read_sides(file, ()) if file.is_file() else {}
    if all(trained.get(one, side) == side for one, side in _sides_of(dataset).items()):
        return dataset
    return Resided(dataset, {**dataset.sides, **trained}, f"the run {run.name}")


def split_by_rule(dataset: Dataset, rule: SplitRule, fold: int | None = None) -> Dataset:
    """A dataset whose patients are divided by a rule; of folds one of them, counted from 1.

    Raises:
        DatasetError: a case without a patient, or fewer patients than the rule needs.
    """
    if rule.usual:
        return dataset
    check_patients(dataset)
    return Resided(dataset, rule.sides(set(map(str, dataset.patients)), fold), rule.describe(fold))


class CropLoss(NamedTuple):
    """What a centre crop takes away of the masks that are not empty; shares are NaN where there are none.

    Args:
        masks: how many there are.
        pixels: share of their pixels that lie outside.
        cut: share of the masks that lose a pixel.
        gone: share of the masks that lose all of them.
    """

    masks: int
    pixels: float
    cut: float
    gone: float


def crop_case(case: Case, size: int) -> Case:
    """The middle `size` x `size` pixels of a plane case, where they lie; of an odd surplus, the last row and column go.

    Raises:
        DatasetError: a volume, or a smaller image.
    """
    return cut_case(case, _window(case, size))


def cut_case(case: Case, window: tuple[slice, ...]) -> Case:
    """Some rows and columns, and of a volume slices, where they lie; both ends of a slice are within the image."""
    where: tuple[EllipsisType | slice, ...] = (..., *window)
    image, readers = (np.ascontiguousarray(array[where]) for array in (case.image, case.readers))
    moved = np.eye(4)
    moved[: len(window), 3] = [side.start for side in window]
    return replace(case, image=image, readers=readers, grid=case.grid.part(readers.shape[1:], moved), padding=None)


def crop_loss(cases: Iterable[Case], size: int) -> CropLoss:
    """How much of the readers' masks of uncropped cases lies outside their middle. Raises DatasetError as above."""
    counts = np.zeros((2, 0))
    for case in cases:
        inside = case.readers[:, *_window(case, size)]
        counts = np.append(counts, [masks.sum(axis=(1, 2)) for masks in (case.readers, inside)], axis=1)
    whole, inside = counts[:, counts[0] > 0]
    if not len(whole):
        return CropLoss(0, float("nan"), float("nan"), float("nan"))
    lost = 1 - inside.sum() / whole.sum()
    return CropLoss(len(whole), float(lost), float((inside < whole).mean()), float((inside == 0).mean()))


def _window(case: Case, size: int) -> tuple[slice, slice]:
    sides = case.grid.shape
    if len(sides) != 2 or min(sides) < size:
        raise DatasetError(
            case.name,
            expected=f"a plane image of at least {size}x{size} pixels",
            got="x".join(map(str, sides)),
            hint="choose a suite of a smaller image_size, and cut volumes into slices with plurimask prepare folder",
        )
    rows, columns = (slice((side - size) // 2, (side - size) // 2 + size) for side in sides)
    return rows, columns
