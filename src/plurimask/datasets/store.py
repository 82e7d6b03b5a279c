"""A dataset decoded once into memory-mapped arrays, so that training never waits for files.

A store is a folder under the cache, named by the dataset's digest: `images.bin` (all images one after another, C, H, W,
float32), `raters.bin` (all readers of all cases, H, W / 8, bits), `shapes.npy` (n, 3) of the images, `first_rater.npy`
(n + 1) where each case's readers start, `drawn_by.npy` the name of each of all readers, empty where unknown,
`spacing.npy` (n, 2) in mm, NaN where unknown. It appears when it is whole.

Volumes lie plane by plane, (C, D, H, W), with (n, 4) shapes and (n, 3) spacings in the order of these axes; the planes
are those of `Grid.slicing_axis`. A dataset holds either planes or volumes.
"""

import math
import os
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from plurimask.datasets.changed import Resided
from plurimask.datasets.dataset import Dataset
from plurimask.errors import DatasetError, SettingsError
from plurimask.files.atomic import atomic_folder
from plurimask.records import Case

_LAYOUT = "3"
_MOST_MM, _MOST_RATIO = 100.0, 50.0
"""Of spacings of volumes that are not taken for an error of the header."""


class Store:
    """Random access to a dataset's cases as arrays, of any sizes; nothing but what is asked for is in memory.

    Args:
        folder: a folder that `open_store` has written.

    Attributes:
        shapes: (n, 3) int64, channels, rows and columns of each image; of volumes (n, 4), with planes before the rows.
        spacing: (n, 2 or 3) float64, mm along the axes of each image; NaN where unknown, which it never is of volumes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.shapes: np.ndarray = np.load(folder / "shapes.npy", allow_pickle=False)
        self._first = np.load(folder / "first_rater.npy", allow_pickle=False)
        self.spacing: np.ndarray = np.load(folder / "spacing.npy", allow_pickle=False)
        self._drawn_by = np.load(folder / "drawn_by.npy", allow_pickle=False).tolist()
        self._image_at = np.cumsum([0, *self.shapes.prod(axis=1)])
        bytes_of_mask = self.shapes[:, 1:-1].prod(axis=1) * -(-self.shapes[:, -1] // 8)
        self._masks_at = np.cumsum([0, *(np.diff(self._first) * bytes_of_mask)])
        self._images = np.memmap(folder / "images.bin", np.float32, "r")
        self._readers = np.memmap(folder / "raters.bin", np.uint8, "r")

    def __len__(self) -> int:
        return len(self.shapes)

    def __reduce__(self) -> tuple[type["Store"], tuple[Path]]:
        # Another process maps the same files; a pickled memmap would be a copy of all the data.
        return Store, (self._folder,)

    def image(self, index: int) -> np.ndarray:
        """Of one case, (C, [D,] H, W) float32, on disk."""
        return self._images[self._image_at[index] : self._image_at[index + 1]].reshape(self.shapes[index])

    def readers(self, index: int) -> np.ndarray:
        """Of one case, (R, [D,] H, W / 8) uint8, eight pixels a byte, on disk."""
        *outer, columns = self.shapes[index, 1:]
        return self._readers[self._masks_at[index] : self._masks_at[index + 1]].reshape(-1, *outer, -(-columns // 8))

    def drawn_by(self, indices: Sequence[int]) -> list[str]:
        """Who drew each mask of some cases, of those of whom it is known."""
        masks = chain.from_iterable(self._drawn_by[self._first[index] : self._first[index + 1]] for index in indices)
        return [name for name in masks if name]

    def who(self, names: Sequence[str]) -> np.ndarray:
        """Which of these readers drew each mask of all cases, (n, R) int64; -1 for others, and where there is none.

        R is the most that a case has.
        """
        numbers = {name: number for number, name in enumerate(names)}
        counts = np.diff(self._first)
        found = np.full((len(counts), counts.max()), -1)
        found[np.arange(counts.max()) < counts[:, None]] = [numbers.get(name, -1) for name in self._drawn_by]
        return found

    def read(
        self, indices: Sequence[int] | np.ndarray, starts: np.ndarray | None = None, size: Sequence[int] = ()
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Images (B, C, [D,] H, W) float32, readers (B, R, [D,] H, W) bool and which slots were read (B, R) bool.

        R is the most that one of these cases has.

        Args:
            indices: of cases, which are of one size unless there are starts.
            starts: (B, 2 or 3), the first voxel of a window of each image. It may jut out of the image, which is
                mirrored at its rows' and columns' edge there; beyond the first and last plane these are repeated. None:
                the whole images.
            size: of these windows, in voxels along each axis.
        """
        chosen = np.asarray(indices)
        counts = self._first[chosen + 1] - self._first[chosen]
        valid = np.arange(counts.max()) < counts[:, None]
        channels, *own = self.shapes[chosen[0]]
        shape = own if starts is None else size
        images = np.empty((len(chosen), channels, *shape), dtype=np.float32)
        readers = np.zeros((*valid.shape, *shape), dtype=np.bool_)
        for position, index in enumerate(chosen.tolist()):
            image, packed, columns = self.image(index), self.readers(index), self.shapes[index, -1]
            if starts is None:
                images[position] = image
                readers[position, : len(packed)] = np.unpackbits(packed, axis=-1, count=columns)
            else:
                spans = zip(starts[position].tolist(), size, image.shape[1:], strict=True)
                *planes, down, across = (
                    _inside(start, length, side, mirrored=axis >= image.ndim - 3)
                    for axis, (start, length, side) in enumerate(spans)
                )
                if planes:
                    image, packed = image[:, planes[0]], packed[:, planes[0]]
                images[position] = image[..., down[:, None], across]
                bits = np.unpackbits(packed[..., down, :], axis=-1, count=columns)
                readers[position, : len(packed)] = bits[..., across]
        return images, readers, valid

    def usual_spacing(self, indices: Sequence[int]) -> float | None:
        """Median mm between two pixels of a plane of some cases; None where it is known of less than half of them."""
        steps = np.sqrt(self.spacing[np.asarray(indices), -2:].prod(axis=1))
        known = steps[~np.isnan(steps)]
        return round(float(np.median(known)), 6) if 2 * len(known) >= len(steps) else None

    def drawn_pixel(self, index: int, rng: np.random.Generator) -> tuple[int, ...] | None:
        """Where a voxel of one case is that a reader drew, each as likely as any other; None: nobody did."""
        union = np.bitwise_or.reduce(self.readers(index), axis=0)
        below = np.bitwise_count(union).cumsum(dtype=np.int64)
        if not below[-1]:
            return None
        found = np.unravel_index(int(below.searchsorted(rng.integers(below[-1]), side="right")), union.shape)
        *outer, byte = (int(one) for one in found)
        bits = np.flatnonzero(np.unpackbits(union[*outer, byte : byte + 1]))
        return *outer, 8 * byte + int(rng.choice(bits))


def _inside(start: int, length: int, side: int, *, mirrored: bool) -> np.ndarray:
    """Which of `side` voxels each of a span is, (length,) int64; beyond the edge as NumPy's `symmetric`, or its `edge`.

    A plane is not mirrored, since a lesion that ends within the planes would come twice.
    """
    place = np.arange(start, start + length)
    return np.minimum(place % (2 * side), 2 * side - 1 - place % (2 * side)) if mirrored else place.clip(0, side - 1)


def open_store(dataset: Dataset, progress: Callable[[int], object] = lambda done: None) -> Store:
    """The dataset's store, written first where the cache has none.

    The cache is that of `cache_folder`. `progress` is called with the number of cases decoded so far.

    Raises:
        DatasetError: cases of different channels, planes beside volumes, a case that nobody read, or a volume whose
            spacing is not known or no image's.
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


def check_planes(dataset: Dataset, store: Store, volumes: bool = False) -> None:
    """Raises DatasetError where a dataset is of volumes, for what learns of planes; with `volumes` the reverse."""
    if (store.shapes.shape[1] == 4) == volumes:
        return
    kinds, size = ("plane images", "volumes"), "x".join(map(str, store.shapes[0, 1:]))
    slices = "cut volumes into slices with plurimask prepare folder, or take a recipe of volumes"
    raise DatasetError(
        dataset.root,
        expected=kinds[volumes],
        got=f"{kinds[not volumes]}, {dataset.names[0]} of {size} ({'' if volumes else 'planes, '}rows, columns)",
        hint="take a recipe of planes" if volumes else slices,
    )


def cache_folder() -> Path:
    """Where decoded data lies: `$PLURIMASK_CACHE`, or `plurimask` under `$XDG_CACHE_HOME` or `~/.cache`."""
    own = os.environ.get("PLURIMASK_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "plurimask"


def _write(dataset: Dataset, folder: Path, progress: Callable[[int], object]) -> None:
    first = dataset[0]
    shapes, counts, spacings, drawn_by = [], [], [], []
    with (folder / "images.bin").open("wb") as images, (folder / "raters.bin").open("wb") as readers:
        for index in range(len(dataset)):
            case = dataset[index]
            _check(case, first)
            image, masks, steps = case.image, case.readers, case.grid.spacing_mm or (math.nan, math.nan)
            if image.ndim == 4:
                slicing = case.grid.slicing_axis
                image, masks = (np.moveaxis(stack, slicing + 1, 1) for stack in (image, masks))
                steps = (steps[slicing], *np.delete(steps, slicing).tolist())
            images.write(np.ascontiguousarray(image).tobytes())
            readers.write(np.packbits(masks, axis=-1).tobytes())
            shapes.append(image.shape)
            counts.append(len(case.readers))
            drawn_by += [name or "" for name in case.drawn_by or (None,) * len(case.readers)]
            spacings.append(steps)
            progress(index + 1)
    np.save(folder / "first_rater.npy", np.cumsum([0, *counts]))
    np.save(folder / "drawn_by.npy", np.array(drawn_by))
    np.save(folder / "shapes.npy", np.array(shapes))
    np.save(folder / "spacing.npy", np.array(spacings))


def _check(case: Case, first: Case) -> None:
    if case.image.ndim != first.image.ndim:
        kinds = ("a plane image", "a volume")
        expected, got = kinds if first.image.ndim == 3 else kinds[::-1]
        hint = "train on one kind; prepare folder cuts volumes into slices"
        raise DatasetError(case.name, expected=f"{expected} like {first.name}", got=got, hint=hint)
    spacing = case.grid.spacing_mm
    if case.image.ndim == 4 and (
        spacing is None or max(spacing) > _MOST_MM or max(spacing) > _MOST_RATIO * min(spacing)
    ):
        got = "none" if spacing is None else " x ".join(f"{step:g}" for step in spacing) + " mm"
        expected = f"a spacing of at most {_MOST_MM:g} mm, and of at most {_MOST_RATIO:g} : 1"
        hint = "correct the header: what is learned of volumes depends on it"
        raise DatasetError(case.name, expected=expected, got=got, hint=hint)
    if len(case.image) != len(first.image):
        raise DatasetError(
            case.name,
            expected=f"an image of {len(first.image)} channels like {first.name}",
            got=str(len(case.image)),
            hint="bring all cases to one set of channels",
        )
    if not len(case.readers):
        raise DatasetError(case.name, expected="at least one reader mask", got="none", hint="leave it out to train")
