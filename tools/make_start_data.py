"""Make the dataset that the `start` weights are trained on: small pictures of four kinds, of train patients alone.

    python tools/make_start_data.py OUT --lidc D --phantoms D --bu-bil D --cfos D

All are datasets as `plurimask prepare` writes them. A case counts as often as its kind needs to be seen.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from plurimask.datasets.dataset import Dataset
from plurimask.datasets.open import open_dataset
from plurimask.datasets.splits import split_indices
from plurimask.prepare.writer import writing_cases
from plurimask.records import Case, Grid


def main(
    out: Path,
    lidc: Annotated[Path, typer.Option(help="slices of LIDC-IDRI, 128 x 128")],
    phantoms: Annotated[Path, typer.Option(help="phantoms, 128 x 128")],
    bu_bil: Annotated[Path, typer.Option(help="BU-BIL, 256 x 256; halved here")],
    cfos: Annotated[Path, typer.Option(help="cfOS, images of 1024 x 1024 and more")],
) -> None:
    """Write the dataset OUT."""
    with writing_cases(out, lidc) as writer:
        for kind, path, patients, copies in (
            ("lidc", lidc, 300, 1),
            ("phantom", phantoms, 150, 1),
            ("bu-bil", bu_bil, None, 4),
            ("cfos", cfos, None, 8),
        ):
            for case in _train_cases(open_dataset(path), patients):
                shown = _halved(case) if kind == "bu-bil" else case
                patient = f"{kind}-{case.patient}"
                for copy in range(copies):
                    writer.add(replace(shown, name=f"{kind}-{case.name}-{copy}", patient=patient, drawn_by=None))
        writer.finish("tools/make_start_data.py", {})


def _train_cases(dataset: Dataset, patients: int | None) -> Iterator[Case]:
    """Cases of the train side: all, or one of each of so many patients."""
    indices = np.random.default_rng(0).permutation(split_indices(dataset, "train")).tolist()
    one_each = {dataset.patients[index]: index for index in reversed(indices)}
    for index in indices if patients is None else list(one_each.values())[:patients]:
        yield dataset[index]


def _halved(case: Case) -> Case:
    """Means of 2 x 2 pixels; a mask where half of them are in it."""
    image = _blocks(case.image).mean((-3, -1))
    readers = _blocks(case.readers).mean((-3, -1)) >= 0.5
    return replace(case, image=image.astype(np.float32), readers=readers, grid=Grid(image.shape[-2:]))


def _blocks(array: np.ndarray) -> np.ndarray:
    return array.reshape(*array.shape[:-2], array.shape[-2] // 2, 2, array.shape[-1] // 2, 2)


if __name__ == "__main__":
    typer.run(main)
