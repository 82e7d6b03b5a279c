"""One file of what a training needs, to be copied to a machine without the data, and training from it alone.

    python tools/pack_training.py pack lidc-slices-128 lidc.pack --side 80
    python tools/pack_training.py train lidc.pack one-pass-lidc --out runs/one-pass

The pack holds the middle of each image of the train and val splits, and no test patient. Images of 8 bits are kept as
differences of neighbouring columns, masks as bits, both compressed. Two corner pixels hold the least and the greatest
value of the whole image, so that it is scaled as the whole would be; everything else is without loss.
"""

import hashlib
import io
import lzma
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from plurimask.datasets.dataset import Dataset, Split
from plurimask.datasets.open import open_dataset
from plurimask.datasets.splits import split_indices
from plurimask.errors import DatasetError
from plurimask.geometry import Grid
from plurimask.records import Case
from plurimask.training.loop import train as train_run
from plurimask.training.recipe import load_recipe

app = typer.Typer()


class Pack:
    """Dataset of a pack; each side of a patient is that of the dataset it was made from."""

    root = "pack"

    def __init__(self, path: Path) -> None:
        content = path.read_bytes()
        self.digest = hashlib.sha256(content).hexdigest()
        with np.load(io.BytesIO(lzma.decompress(content)), allow_pickle=False) as arrays:
            self._images = np.cumsum(arrays["steps"], axis=-1, dtype=np.uint8)
            self._masks, self._read = arrays["masks"], arrays["read"]
            self.names, self.patients = tuple(arrays["names"].tolist()), tuple(arrays["patients"].tolist())
            self.sides: dict[str, Split] = dict(zip(self.patients, arrays["sides"].tolist(), strict=True))

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Case:
        image = self._images[index].astype(np.float32)
        masks = np.unpackbits(self._masks[index], axis=-1, count=image.shape[-1]).astype(bool)[: self._read[index]]
        return Case(self.names[index], image, masks, Grid(image.shape[1:]), self.patients[index])


@app.command()
def pack(data: Path, out: Path, side: Annotated[int, typer.Option(help="Pixels a side that are kept.")] = 80) -> None:
    """Write the pack of a dataset of 8-bit images of one size."""
    dataset = open_dataset(data)
    sides: dict[int, Split] = {i: split for split in ("train", "val") for i in split_indices(dataset, split)}
    cases = [_middle(dataset, index, side) for index in sorted(sides)]
    most = max(len(masks) for _, masks in cases)
    masks = np.stack([np.pad(masks, ((0, most - len(masks)), (0, 0), (0, 0))) for _, masks in cases])
    buffer = io.BytesIO()
    np.savez(
        buffer,
        steps=np.diff(np.stack([image for image, _ in cases]), axis=-1, prepend=np.uint8(0)),
        masks=np.packbits(masks, axis=-1),
        read=np.array([len(masks) for _, masks in cases]),
        names=np.array([dataset.names[index] for index in sorted(sides)]),
        patients=np.array([dataset.patients[index] for index in sorted(sides)]),
        sides=np.array([sides[index] for index in sorted(sides)]),
    )
    out.write_bytes(lzma.compress(buffer.getvalue()))
    typer.echo(f"{out}: {len(cases)} cases of {side} x {side} pixels, {out.stat().st_size / 1e6:.1f} MB")


@app.command()
def train(
    path: Path,
    recipe: str,
    out: Annotated[Path, typer.Option(help="The run folder.")],
    change: Annotated[list[str], typer.Option("--set", help="key=value of the recipe.")] = [],  # noqa: B006
    resume: bool = False,
) -> None:
    """Train a recipe from a pack, whose side is the size of the images."""
    dataset = Pack(path)
    size = dataset[0].image.shape[-1]
    train_run(load_recipe(recipe, (f"image_size={size}", *change)), dataset, out, resume=resume)


def _middle(dataset: Dataset, index: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Image (C, side, side) uint8 and masks (R, side, side) bool."""
    case = dataset[index]
    image = case.image.astype(np.uint8)
    if (image != case.image).any():
        raise DatasetError(case.name, expected="whole numbers from 0 to 255", got="others", hint="pack 8-bit images")
    middle = tuple(slice((length - side) // 2, (length + side) // 2) for length in image.shape[1:])
    kept = image[:, *middle].copy()
    kept[:, 0, 0], kept[:, -1, -1] = image.min((1, 2)), image.max((1, 2))
    return kept, case.readers[:, *middle]


if __name__ == "__main__":
    app()
