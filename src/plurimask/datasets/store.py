"""A dataset decoded once into memory-mapped arrays, so that training never waits for files.

A store is a folder under the cache, named by the dataset's digest: `images.bin` (n, C, H, W) float32, `raters.bin`
(all readers of all cases, H, W / 8) bits, `first_rater.npy` (n + 1) where each case's readers start, `image_shape.npy`.
It appears when it is whole.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from plurimask.datasets.changed import Resided
from plurimask.datasets.dataset import Dataset
from plurimask.errors import DatasetError, SettingsError
from plurimask.files.atomic import atomic_folder
from plurimask.records import Case

_LAYOUT = "1"


class Store:
    """Random access to a dataset's cases as arrays; all cases have one size.

    Args:
        folder: a folder that `open_store` has written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.image_shape: tuple[int, int, int] = tuple(np.load(folder / "image_shape.npy", allow_pickle=False).tolist())
        self._first = np.load(folder / "first_rater.npy", allow_pickle=False)
        channels, rows, columns = self.image_shape
        bytes_a_row = -(-columns // 8)
        self._images = np.memmap(folder / "images.bin", np.float32, "r").reshape(-1, channels, rows, columns)
        self._readers = np.memmap(folder / "raters.bin", np.uint8, "r").reshape(-1, rows, bytes_a_row)

    def __len__(self) -> int:
        return len(self._images)

    def __reduce__(self) -> tuple[type["Store"], tuple[Path]]:
        # Another process maps the same files; a pickled memmap would be a copy of all the data.
        return Store, (self._folder,)

    def read(self, indices: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Images (B, C, H, W) float32, readers (B, R, H, W) bool and which slots were read (B, R) bool.

        R is the most that one of these cases has.
        """
        chosen = np.asarray(indices)
        counts = self._first[chosen + 1] - self._first[chosen]
        valid = np.arange(counts.max()) < counts[:, None]
        packed = np.zeros((*valid.shape, *self._readers.shape[1:]), dtype=np.uint8)
        for position, index in enumerate(chosen):
            packed[position, : counts[position]] = self._readers[self._first[index] : self._first[index + 1]]
        return self._images[chosen], np.unpackbits(packed, axis=-1, count=self.image_shape[-1]).view(bool), valid


def open_store(dataset: Dataset, progress: Callable[[int], object] = lambda done: None) -> Store:
    """The dataset's store, written first where the cache has none.

    The cache is that of `cache_folder`. `progress` is called with the number of cases decoded so far.

    Raises:
        DatasetError: cases of different sizes, volumes, or a case that nobody read.
    """
    if isinstance(dataset, Resided):
        return open_store(dataset.whole, progress)  # the same cases
    folder = cache_folder() / f"store-{_LAYOUT}-{dataset.digest}"
    try:
        if not folder.is_dir():
            with atomic_folder(folder) as fresh:
                _write(dataset, fresh, progress)
    except (SettingsError, OSError):
        # Another process may have written the same store meanwhile; then its is as good.
        if not folder.is_dir():
            raise
    return Store(folder)


def cache_folder() -> Path:
    """Where decoded data lies: `$PLURIMASK_CACHE`, or `plurimask` under `$XDG_CACHE_HOME` or `~/.cache`."""
    own = os.environ.get("PLURIMASK_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "plurimask"


def _write(dataset: Dataset, folder: Path, progress: Callable[[int], object]) -> None:
    first = dataset[0]
    if first.image.ndim != 3:
        raise DatasetError(
            first.name,
            expected="plane images",
            got=f"a volume {first.image.shape}",
            hint="cut volumes into slices with plurimask prepare folder",
        )
    counts = []
    with (folder / "images.bin").open("wb") as images, (folder / "raters.bin").open("wb") as readers:
        for index in range(len(dataset)):
            case = dataset[index]
            _check(case, first)
            images.write(np.ascontiguousarray(case.image).tobytes())
            readers.write(np.packbits(case.readers, axis=-1).tobytes())
            counts.append(len(case.readers))
            progress(index + 1)
    np.save(folder / "first_rater.npy", np.cumsum([0, *counts]))
    np.save(folder / "image_shape.npy", np.array(first.image.shape))


def _check(case: Case, first: Case) -> None:
    if case.image.shape != first.image.shape:
        raise DatasetError(
            case.name,
            expected=f"an image of {first.image.shape} (channels, rows, columns) like {first.name}",
            got=str(case.image.shape),
            hint="bring all to one size with plurimask prepare folder --size N, and to one set of channels",
        )
    if not len(case.readers):
        raise DatasetError(case.name, expected="at least one reader mask", got="none", hint="leave it out to train")
