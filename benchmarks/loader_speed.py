"""Images a second that the loader gives, against what the smallest recipe trains."""

import os
import tempfile
from functools import partial

import numpy as np
from common import Row, print_table, seconds
from train_speed import images_per_second

from plurimask.datasets.batches import Batches, CropSettings
from plurimask.datasets.store import open_store
from plurimask.geometry import Grid
from plurimask.records import Case
from plurimask.training.recipe import load_recipe

RECIPE, CASES, BATCHES = "cimd-small", 2000, 50


class RandomCases:
    """A dataset of noise with four readers a case: the loader does not look at what it loads."""

    root, digest = "random", "0" * 64
    names = tuple(f"case-{number}" for number in range(CASES))
    patients = names

    def __len__(self) -> int:
        return CASES

    def __getitem__(self, index: int) -> Case:
        rng = np.random.default_rng(index)
        image = rng.random((1, 128, 128), dtype=np.float32)
        return Case(self.names[index], image, rng.random((4, 128, 128)) > 0.9, Grid((128, 128)))


def table() -> list[Row]:
    """One row a size of image that the recipe trains on."""
    training = load_recipe(RECIPE).training
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as cache:
        os.environ["PLURIMASK_CACHE"] = cache
        store = open_store(RandomCases())
        for size, until in ((training.crop, BATCHES), (128, 0)):
            batches = Batches(
                store, range(CASES), training.batch_size, 0, CropSettings(training.crop, until, training.crop_shift)
            )
            rows += _rows(size, training.batch_size * BATCHES / seconds(partial(_read, batches)))
    return rows


def _read(batches: Batches) -> None:
    for number in range(BATCHES):
        batches[number]


def _rows(size: int, loaded: float) -> list[Row]:
    trained = images_per_second(RECIPE, size)
    assert trained is not None
    how = (
        f"{BATCHES} batches of {load_recipe(RECIPE).training.batch_size}, {CASES} cases on disk, 1 thread, median of 3"
    )
    return [
        (f"loader at {size}x{size}", f"{loaded:,.0f} images/s", how),
        (f"over {RECIPE} in training", f"{loaded / trained:,.0f}", f"{trained:.1f} images/s; target: at least 20"),
    ]


if __name__ == "__main__":
    print_table("Loader", table())
