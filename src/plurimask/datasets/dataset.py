"""What every dataset offers, whatever its files: cases by position, their names and patients, and a hash of its data."""

from collections.abc import Sequence
from typing import Protocol

from plurimask.records import Case


class Dataset(Protocol):
    """A sequence of cases that is read lazily, one case at a time.

    names: unique, in a fixed order. patients: one a case, None where unknown. digest: sha256 (hex) of all its data,
    the same wherever the folder lies. kind: the layout's name, for the log.
    """

    kind: str
    names: Sequence[str]
    patients: Sequence[str | None]
    digest: str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Case: ...
