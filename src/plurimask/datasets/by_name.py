"""The cases of a dataset, or of some of its positions, by name."""

from collections.abc import Iterator, Mapping, Sequence

from plurimask.datasets.dataset import Dataset
from plurimask.records import Case


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
