"""Training images a second of each shipped recipe: forward, backward, optimiser and average, without the loader."""

import json
import sys

import torch
from common import Row, child, print_table, seconds, threads
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from plurimask.methods.method import build
from plurimask.records import Batch
from plurimask.training.recipe import Recipe, load_recipe, recipe_names

SMALL = ("cimd-small", "cimd-phantom")
"""Recipes that are timed at their own batch size; the others at batch 1."""


def table() -> list[Row]:
    """One row a recipe, two where it begins with crops."""
    return [_row(name, size) for name in recipe_names() for size in _sizes(load_recipe(name))]


def images_per_second(name: str, size: int) -> float | None:
    """Rate of a recipe at images of `size` pixels, in a process of its own; None where memory does not suffice."""
    rate: float | None = child("train_speed.py", name, str(size))
    return rate


def _sizes(recipe: Recipe) -> list[int]:
    return [recipe.training.crop] * (recipe.training.crop_steps > 0) + [recipe.image_size]


def _batch_size(name: str) -> int:
    return load_recipe(name).training.batch_size if name in SMALL else 1


def _row(name: str, size: int) -> Row:
    rate = images_per_second(name, size)
    figure = "does not fit" if rate is None else f"{rate:.3g} images/s"
    timed = "2 steps" if name in SMALL else "1 step"
    return f"{name} at {size}x{size}", figure, f"batch {_batch_size(name)}, {timed} timed after one, {threads()}"


def _measure(name: str, size: int) -> float:
    """Images a second."""
    recipe, batch = load_recipe(name), _random_batch(name, size)
    torch.manual_seed(0)
    method = build(recipe.method)
    optimizer = torch.optim.AdamW(method.parameters(), 1e-5)
    average = AveragedModel(method, multi_avg_fn=get_ema_multi_avg_fn(recipe.training.ema))  # type: ignore[no-untyped-call]

    def step() -> None:
        torch.autograd.backward(method.loss(batch).total)
        torch.nn.utils.clip_grad_norm_(method.parameters(), recipe.training.clip)
        optimizer.step()
        optimizer.zero_grad()
        average.update_parameters(method)

    return len(batch.image) / seconds(step, repeats=2 if name in SMALL else 1)


def _random_batch(name: str, size: int) -> Batch:
    count, channels = _batch_size(name), load_recipe(name).method.image_channels
    readers = torch.rand(count, 4, size, size) > 0.9
    return Batch(torch.rand(count, channels, size, size) * 2 - 1, readers, torch.ones(count, 4, dtype=torch.bool))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(_measure(sys.argv[1], int(sys.argv[2]))))
    else:
        print_table("Training", table())
