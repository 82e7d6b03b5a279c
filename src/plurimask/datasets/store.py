"""A dataset decoded once into memory-mapped arrays, so that training never waits for files.

A store is a folder under the cache, named by the dataset's digest: `images.bin` (all images one after another, C, H, W,
float32), `raters.bin` (all readers of all cases, H, W / 8, bits), `shapes.npy` (n, 3) of the images, `first_rater.npy`
(n + 1) where each case's readers start, `spacing.npy` (n, 2) in mm, NaN where unknown. It appears when it is whole.
"""

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from plurimask.datasets.changed import Resided
from plurimask.datasets.dataset import Dataset
from plurimask.errors import DatasetError, SettingsError
from plurimask.files.atomic import atomic_folder
from plurimask.records import Case

_LAYOUT = "2"


class Store:
    """Random access to a dataset's cases as arrays, of any sizes; nothing but what is asked for is in memory.

    Args:
        folder: a folder that `open_store` has written.

    Attributes:
        shapes: (n, 3) int64, channels, rows and columns of each image.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.shapes: np.ndarray = np.load(folder / "shapes.npy", allow_pickle=False)
        self._first = np.load(folder / "first_rater.npy", allow_pickle=False)
        _, rows, columns = self.shapes.T
        self._image_at = np.cumsum([0, *self.shapes.prod(axis=1)])
        self._masks_at = np.cumsum([0, *(np.diff(self._first) * rows * -(-columns // 8))])
        self._images = np.memmap(folder / "images.bin", np.float32, "r")
        self._readers = np.memmap(folder / "raters.bin", np.uint8, "r")

    def __len__(self) -> int:
        return len(self.shapes)

    def __reduce__(self) -> tuple[type["Store"], tuple[Path]]:
        # Another process maps the same files; a pickled memmap would be a copy of all the data.
        return Store, (self._folder,)

    def image(self, index: int) -> np.ndarray:
        """Of one case, (C, H, W) float32, on disk."""
        return self._images[self._image_at[index] : self._image_at[index + 1]].reshape(self.shapes[index])

    def readers(self, index: int) -> np.ndarray:
        """Of one case, (R, H, W / 8) uint8, eight pixels a byte, on disk."""
        rows, columns = self.shapes[index, 1:]
        return self._readers[self._masks_at[index] : self._masks_at[index + 1]].reshape(-1, rows, -(-columns // 8))

    def read(
        self, indices: Sequence[int] | np.ndarray, starts: np.ndarray | None = None, side: int = 0
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Images (B, C, H, W) float32, readers (B, R, H, W) bool and which slots were read (B, R) bool.

        R is the most that one of these cases has.

        Args:
            indices: of cases, which are of one size unless there are starts.
            starts: (B, 2), first row and column of a square of each image; it may jut out of the image, which is
                mirrored at its edge there. None: the whole images.
            side: of these squares, in pixels.
        """
        chosen = np.asarray(indices)
        counts = self._first[chosen + 1] - self._first[chosen]
        valid = np.arange(counts.max()) < counts[:, None]
        channels, *size = self.shapes[chosen[0]] if starts is None else (self.shapes[chosen[0], 0], side, side)
        images = np.empty((len(chosen), channels, *size), dtype=np.float32)
        readers = np.zeros((*valid.shape, *size), dtype=np.bool_)
        for position, index in enumerate(chosen.tolist()):
            image, packed, columns = self.image(index), self.readers(index), self.shapes[index, 2]
            if starts is None:
                images[position] = image
                readers[position, : len(packed)] = np.unpackbits(packed, axis=-1, count=columns)
            else:
                down, across = (
                    _mirrored(start, side, length)
                    for start, length in zip(starts[position].tolist(), image.shape[1:], strict=True)
                )
                images[position] = image[:, down[:, None], across]
                bits = np.unpackbits(packed[:, down], axis=-1, count=columns)
                readers[position, : len(packed)] = bits[:, :, across]
        return images, readers, valid

    def usual_spacing(self, indices: Sequence[int]) -> float | None:
        """The median distance of two pixels of some cases, in mm; None where it is known of less than half of them."""
        steps = np.sqrt(np.load(self._folder / "spacing.npy", allow_pickle=False)[np.asarray(indices)].prod(axis=1))
        known = steps[~np.isnan(steps)]
        return round(float(np.median(known)), 6) if 2 * len(known) >= len(steps) else None

    def drawn_pixel(self, index: int, rng: np.random.Generator) -> tuple[int, int] | None:
        """Row and column of a pixel of one case that a reader drew, each as likely as any other; None: nobody did."""
        union = np.bitwise_or.reduce(self.readers(index), axis=0)
        below = np.bitwise_count(union).cumsum(dtype=np.int64)
        if not below[-1]:
            return None
        row, byte = divmod(int(below.searchsorted(rng.integers(below[-1]), side="right")), union.shape[1])
        return row, 8 * byte + int(rng.choice(np.flatnonzero(np.unpackbits(union[row, byte : byte + 1]))))


def _mirrored(start: int, length: int, side: int) -> np.ndarray:
    """Which of `side` pixels each of a span is, (length,) int64; beyond the edge as NumPy's padding `symmetric`."""
    place = np.arange(start, start + length) % (2 * side)
    return np.minimum(place, 2 * side - 1 - place)


def open_store(dataset: Dataset, progress: Callable[[int], object] = lambda done: None) -> Store:
    """The dataset's store, written first where the cache has none.

    The cache is that of `cache_folder`. `progress` is called with the number of cases decoded so far.

    Raises:
        DatasetError: cases of different channels, volumes, or a case that nobody read.
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
    shapes, counts, spacings = [], [], []
    with (folder / "images.bin").open("wb") as images, (folder / "raters.bin").open("wb") as readers:
        for index in range(len(dataset)):
            case = dataset[index]
            _check(case, first)
            images.write(np.ascontiguousarray(case.image).tobytes())
            readers.write(np.packbits(case.readers, axis=-1).tobytes())
            shapes.append(case.image.shape)
            counts.append(len(case.readers))
            spacings.append(case.grid.spacing_mm or (math.nan, math.nan))
            progress(index + 1)
    np.save(folder / "first_rater.npy", np.cumsum([0, *counts]))
    np.save(folder / "shapes.npy", np.array(shapes))
    np.save(folder / "spacing.npy", np.array(spacings))


def _check(case: Case, first: Case) -> None:
    if case.image.ndim != 3:
        raise DatasetError(
            case.name,
            expected="plane images",
            got=f"a volume {case.image.shape}",
            hint="cut volumes into slices with plurimask prepare folder",
        )
    if len(case.image) != len(first.image):
        raise DatasetError(
            case.name,
            expected=f"an image of {len(first.image)} channels like {first.name}",
            got=str(len(case.image)),
            hint="bring all cases to one set of channels",
        )
    if not len(case.readers):
        raise DatasetError(case.name, expected="at least one reader mask", got="none", hint="leave it out to train")
