"""A dataset of which each training image keeps one reader: the annotation that most clinics can pay for."""

from dataclasses import replace
from hashlib import blake2b

from plurimask.datasets.changed import Changed
from plurimask.datasets.dataset import Dataset
from plurimask.datasets.splits import split_indices
from plurimask.records import Case


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
        if index not in self._train or not len(case.raters):
            return case
        kept = _hash(case.name) % len(case.raters)
        return replace(case, raters=case.raters[kept : kept + 1])


def _hash(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8, person=b"one-reader").digest(), "big")
