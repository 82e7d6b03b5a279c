"""Datasets whose cases are changed as they are read: one reader an image, or the middle of every case."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from hashlib import blake2b, sha256
from typing import NamedTuple

import numpy as np

from plurimask.datasets.dataset import Dataset, Split
from plurimask.datasets.splits import split_indices
from plurimask.errors import DatasetError, SettingsError
from plurimask.geometry import Grid
from plurimask.records import Case


class Changed(ABC):
    """A dataset of the same cases, patients and sides as another.

    Args:
        dataset: the other one.
        rule: what is changed, in words that enter the hash of the data.
    """

    def __init__(self, dataset: Dataset, rule: str) -> None:
        self._dataset, self._rule = dataset, rule
        self.kind = dataset.kind
        self.names: Sequence[str] = dataset.names
        self.patients: Sequence[str | None] = dataset.patients
        self.sides: Mapping[str, Split] = dataset.sides

    @cached_property
    def digest(self) -> str:
        """sha256 (hex) of the whole data's digest and the rule."""
        return sha256(f"{self._dataset.digest} {self._rule}".encode()).hexdigest()

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Case:
        return self._change(index, self._dataset[index])

    @abstractmethod
    def _change(self, index: int, case: Case) -> Case: ...


class OneReader(Changed):
    """A dataset whose training cases keep one reader each; validation and test cases keep all of theirs.

    Which one is kept follows from the case's name alone, each with the same chance, and one who drew nothing is a
    reader like any other.

    Raises:
        DatasetError: a case without a patient, or no training case.
    """

    def __init__(self, dataset: Dataset) -> None:
        super().__init__(dataset, "one reader a training case")
        self._train = frozenset(split_indices(dataset, "train"))

    def _change(self, index: int, case: Case) -> Case:
        if index not in self._train or not len(case.readers):
            return case
        hashed = blake2b(case.name.encode(), digest_size=8, person=b"one-reader").digest()
        kept = int.from_bytes(hashed, "big") % len(case.readers)
        return replace(case, readers=case.readers[kept : kept + 1])


class CentreCrop(Changed):
    """A dataset whose cases are cut to their middle `size` x `size` pixels; names and patients stay.

    Of an odd number of pixels too many, the last row and column go. A case that has that size is left as it is.

    Raises:
        SettingsError: a size below 1.
        DatasetError: on reading a case, a volume or a smaller image.
    """

    def __init__(self, dataset: Dataset, size: int) -> None:
        if size < 1:
            raise SettingsError("image_size", expected="at least one pixel", got=str(size), hint="correct it")
        super().__init__(dataset, f"centre {size}")
        self.size = size

    def _change(self, index: int, case: Case) -> Case:
        return crop_case(case, self.size)


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
    """The middle `size` x `size` pixels of a plane case, where they lie. Raises DatasetError for any other case."""
    rows, columns = _window(case, size)
    image, readers = (np.ascontiguousarray(array[..., rows, columns]) for array in (case.image, case.readers))
    return Case(case.name, image, readers, _moved(case.grid, rows.start, columns.start, size), case.patient)


def crop_loss(cases: Iterable[Case], size: int) -> CropLoss:
    """How much of the readers' masks of uncropped cases lies outside their middle. Raises DatasetError as above."""
    counts = [_counts(case, size) for case in cases]
    whole, inside = np.concatenate(counts, axis=1) if counts else np.zeros((2, 0))
    drawn = whole > 0
    whole, inside = whole[drawn], inside[drawn]
    if not len(whole):
        return CropLoss(0, float("nan"), float("nan"), float("nan"))
    lost = 1 - inside.sum() / whole.sum()
    return CropLoss(len(whole), float(lost), float((inside < whole).mean()), float((inside == 0).mean()))


def _counts(case: Case, size: int) -> np.ndarray:
    """(2, R): pixels of each mask, and those of them inside."""
    rows, columns = _window(case, size)
    return np.stack([mask.sum(axis=(1, 2)) for mask in (case.readers, case.readers[:, rows, columns])])


def _window(case: Case, size: int) -> tuple[slice, slice]:
    sides = case.grid.shape
    if len(sides) != 2 or min(sides) < size:
        raise DatasetError(
            case.name,
            expected=f"a plane image of at least {size}x{size} pixels",
            got="x".join(map(str, sides)),
            hint="choose a suite of a smaller image_size, and cut volumes into slices",
        )
    rows, columns = (slice((side - size) // 2, (side - size) // 2 + size) for side in sides)
    return rows, columns


def _moved(grid: Grid, row: int, column: int, size: int) -> Grid:
    if grid.affine is None:
        return Grid((size, size))
    affine = grid.affine.copy()
    affine[:, 3] = grid.affine @ (row, column, 0, 1)
    return Grid((size, size), affine)
