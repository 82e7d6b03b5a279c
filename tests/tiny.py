"""Small things that several test files build on: a recipe of 16x16 pixels, its weights, and a dataset for it."""

import numpy as np
import torch
from PIL import Image
from torch import nn

from plurimask.methods.method import build
from plurimask.training.checkpoint import save_weights
from plurimask.training.recipe import Recipe, parse_recipe

SIZE = 16
TREE = {
    "image_size": SIZE,
    "method": {
        "diffusion": {"schedule": {"timesteps": 20}, "predicts": "x_0"},
        "denoiser": {"channels": [32], "attention": [False], "residual_blocks": 1, "head_channels": 32, "patch": 4},
        "ambiguity": {"encoder": {"widths": [4, 8], "convolutions": 1, "latent": 2}},
    },
    "training": {"steps": 4, "batch_size": 2, "validation_cases": 2, "validation_samples": 2, "checkpoint_every": 2},
    "sampler": {"name": "ddim", "steps": 3},
}
"""A recipe as plain values."""
SMALL = {
    "cimd": TREE["method"],
    "segdiff": TREE["method"]
    | {"name": "segdiff", "denoiser": TREE["method"]["denoiser"] | {"features": 32, "image_blocks": 1}},
    "prob-unet": {"net": {"widths": [8, 12], "convolutions": 1}, "latent": {"size": 3}},
    "phiseg": {"pyramid": {"widths": [6, 8, 8, 8], "convolutions": 1}},
    "ssn": {"net": {"widths": [8, 12], "convolutions": 1}},
    "mose": {"net": {"widths": [4, 8, 8], "convolutions": 1}, "combining": 2},
    "unet": {"net": {"widths": [8, 12], "convolutions": 1}},
    "flow": {
        "encoder": {"widths": [16, 24, 32], "blocks": 1},
        "denoiser": {"patch": 4, "widths": [32, 32], "blocks": 1},
    },
    "one-pass": {
        "encoder": {"widths": [16, 24, 32], "blocks": 1},
        "generator": {"widths": [16, 24], "condition": 16},
        "start": 0,
    },
    "one-pass-volume": {
        "encoder": {"widths": [12, 16, 24], "blocks": 1},
        "generator": {"widths": [12, 16], "condition": 16},
        "windows": [16],
        "start": 0,
    },
}
"""Settings of every method at a size for tests."""


def recipe(**changed) -> Recipe:
    """The tiny recipe, top-level tables changed."""
    return parse_recipe(TREE | changed, "tiny")


def stir(module: nn.Module, std: float = 0.1) -> None:
    """Move every weight away from its start: a fresh denoiser says 0 everywhere, whatever it is shown."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator), alpha=std)


def small(name, std=0.05, **changed):
    """A method at a size for tests, its weights moved away from their start."""
    torch.manual_seed(0)
    made = build(recipe(method={"name": name} | SMALL[name] | changed, sampler=None).method)
    stir(made, std)
    return made


def write_weights(path, **changed):
    """Weights of the tiny recipe at `path`; returns `path`."""
    torch.manual_seed(0)
    made = recipe(**changed)
    method = build(made.method)
    stir(method)
    save_weights(path, method, made, step=7, data="0" * 64)
    return path


def image(seed=0, size=SIZE):
    """(1, size, size) float32, whole numbers 0..255."""
    return np.random.default_rng(seed).integers(256, size=(1, size, size)).astype(np.float32)


def write_cases(root, count=40, readers=2):
    """A case folder: case i is of patient i, so that 40 cases have all three sides of a split; returns `root`."""
    lines = ["case,patient"]
    for number in range(count):
        name = f"case-{number:02d}"
        folder = root / name
        folder.mkdir(parents=True)
        Image.fromarray(image(number)[0].astype(np.uint8)).save(folder / "image.png")
        for reader in range(readers):
            mask = np.zeros((SIZE, SIZE), dtype=np.uint8)
            mask[4 : 8 + reader, 4 : 6 + number % 8] = 255
            Image.fromarray(mask).save(folder / f"label{reader}.png")
        lines.append(f"{name},patient-{number}")
    (root / "patients.csv").write_text("\n".join(lines) + "\n")
    return root
