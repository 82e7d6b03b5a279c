"""A dataset of which each training image keeps one reader: the annotation that most clinics can pay for."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from hashlib import blake2b, sha256

from plurimask.datasets.dataset import Dataset, Split
from plurimask.datasets.splits import split_indices
from plurimask.records import Case


class OneReader:
    """A dataset whose training cases keep one reader each; validation and test cases keep all of theirs.

    Which one is kept follows from the case's name alone, each with the same chance, and one who drew nothing is a
    reader like any other.

    Raises:
        DatasetError: a case without a patient, or no training case.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._train = frozenset(split_indices(dataset, "train"))
        self.kind = dataset.kind
        self.names: Sequence[str] = dataset.names
        self.patients: Sequence[str | None] = dataset.patients
        self.sides: Mapping[str, Split] = dataset.sides

    @cached_property
    def digest(self) -> str:
        """sha256 (hex) of the whole data's digest and the rule."""
        return sha256(f"{self._dataset.digest} one reader a training case".encode()).hexdigest()

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Case:
        case = self._dataset[index]
        if index not in self._train or not len(case.raters):
            return case
        kept = _hash(case.name) % len(case.raters)
        return replace(case, raters=case.raters[kept : kept + 1])


def _hash(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8, person=b"one-reader").digest(), "big")
