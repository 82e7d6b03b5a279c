"""What every dataset offers, whatever its files: cases by position, their names and patients, a hash of its data."""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from plurimask.records import Case

Split = Literal["train", "val", "test"]


class Dataset(Protocol):
    """A sequence of cases that is read lazily, one case at a time."""

    @property
    def kind(self) -> str:
        """The layout's name, for the log."""

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
    def digest(self) -> str:
        """sha256 (hex) of all its data, the same wherever the folder lies."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Case: ...
