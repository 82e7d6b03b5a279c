"""Sixteen masks of one image: the shipped network at its own sampler against the paper-size network at 1,000 steps."""

import numpy as np
import torch
from common import Row, print_table, seconds, shipped_model, threads

from plurimask.datasets.batches import scale_intensity
from plurimask.datasets.demo_cases import demo_cases
from plurimask.diffusion.samplers import SamplerSettings
from plurimask.training.checkpoint import build_method
from plurimask.training.recipe import load_recipe

MASKS, STEPS, TIMED = 16, 1000, 2


def table() -> list[Row]:
    """Both times and their ratio."""
    model, case = shipped_model(), demo_cases()[0]
    own = model.sampler()
    ours = seconds(lambda: model.sample(case, MASKS))
    step = paper_seconds_a_step(case.image)
    paper = step * STEPS * MASKS
    return [
        (
            f"{MASKS} masks, {model.name}",
            f"{ours:.2f} s",
            f"{own.name}, {own.steps} steps, batch {MASKS}, median of 3, {threads()}",
        ),
        (
            f"{MASKS} masks, paper-size network",
            f"{paper:,.0f} s",
            f"extrapolated: {TIMED} of {STEPS} ddpm steps timed at batch 1 and 2, at best {step:.2f} s a mask a step, "
            f"{threads()}",
        ),
        ("ratio", f"{paper / ours:,.0f}", "target: at least 5,000"),
    ]


def paper_seconds_a_step(image: np.ndarray) -> float:
    """Seconds a mask and step of the paper-size network, at the better of two batch sizes."""
    method = build_method(load_recipe("cimd-lidc")).eval()
    shown, sampler = scale_intensity(torch.from_numpy(image))[None], SamplerSettings(name="ddpm", steps=TIMED)

    def timed(batch: int) -> float:
        images, seeds = shown.expand(batch, -1, -1, -1), torch.arange(batch)
        return seconds(lambda: method.sample(images, seeds, sampler), repeats=1) / TIMED / batch

    with torch.inference_mode():
        return min(timed(batch) for batch in (1, 2))


if __name__ == "__main__":
    print_table("Drawing", table())
