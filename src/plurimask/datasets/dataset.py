"""What every dataset offers, whatever its files: cases by position, their names and patients, a hash of its data."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

from plurimask.records import Case

Split = Literal["train", "val", "test"]
BY_HASH = "blake2b of the patient, 80/10/10"
"""What decides on sides where nothing else does, as records have it."""


class Dataset(Protocol):
    """A sequence of cases that is read lazily, one case at a time."""

    @property
    def root(self) -> str | Path:
        """Where it lies, as errors name it."""

    @property
    def names(self) -> Sequence[str]:
        """Unique, in a fixed order."""

    @property
    def patients(self) -> Sequence[str | None]:
        """One a case, None where unknown."""

    @property
    def sides(self) -> Mapping[str, Split]:
        """Side of each patient, where the dataset itself says; empty where it leaves that to the hash."""

    @property
    def split_by(self) -> str:
        """What decides on the sides, for records: `BY_HASH`, or the name of a file."""

    @property
    def digest(self) -> str:
        """sha256 (hex) of all its data, the same wherever the folder lies."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Case: ...


class CasesByName(Mapping[str, Case]):
    """A read-only mapping that reads each case when it is asked for, as `evaluation.evaluate` takes it.

    Args:
        dataset: any dataset.
        positions: those to include, such as a split's; None: all.
    """

    def __init__(self, dataset: Dataset, positions: Sequence[int] | None = None) -> None:
        chosen = range(len(dataset)) if positions is None else positions
        self._dataset = dataset
        self._positions = {dataset.names[position]: position for position in chosen}

    def __getitem__(self, name: str) -> Case:
        return self._dataset[self._positions[name]]

    def __contains__(self, name: object) -> bool:
        # Mapping's own would read the case from disk to find out.
        return name in self._positions

    def __iter__(self) -> Iterator[str]:
        return iter(self._positions)

    def __len__(self) -> int:
        return len(self._positions)
