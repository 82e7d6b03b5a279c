"""A dataset whose cases are changed as they are read."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from hashlib import sha256

from plurimask.datasets.dataset import Dataset, Split
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
