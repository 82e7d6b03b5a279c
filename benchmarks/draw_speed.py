"""Sixteen masks of one image: the shipped network against the paper-size network at 1,000 steps.

Also a pool of 256, of which sixteen represent it.
"""

import numpy as np
from common import Row, print_table, seconds, shipped_model, threads

from plurimask.datasets.demo_cases import demo_cases
from plurimask.diffusion.samplers import SamplerSettings
from plurimask.methods.draw import draw_masks
from plurimask.methods.method import build
from plurimask.training.recipe import load_recipe

MASKS, POOL, STEPS, TIMED = 16, 256, 1000, 2


def table() -> list[Row]:
    """Both times and their ratio."""
    model, case = shipped_model(), demo_cases()[0]
    ours = seconds(lambda: model.sample(case, MASKS))
    step = paper_seconds_a_step(case.image)
    paper = step * STEPS * MASKS
    represented = seconds(lambda: model.sample(case, MASKS, panel="representative", pool=POOL))
    return [
        (
            f"{MASKS} masks, {model.name}",
            f"{ours:.2f} s",
            f"one evaluation each, median of 3, {threads()}",
        ),
        (
            f"{MASKS} masks, paper-size network",
            f"{paper:,.0f} s",
            f"extrapolated: {TIMED} of {STEPS} ddpm steps timed at batch 1 and 2, at best {step:.2f} s a mask a step, "
            f"{threads()}",
        ),
        ("ratio", f"{paper / ours:,.0f}", "target: at least 200,000"),
        (f"{POOL} masks, of which {MASKS} represent them", f"{represented:.2f} s", f"median of 3, {threads()}"),
    ]


def paper_seconds_a_step(image: np.ndarray) -> float:
    """Seconds a mask and step of the paper-size network, at the better of two batch sizes."""
    method, sampler = build(load_recipe("cimd-lidc").method).eval(), SamplerSettings(name="ddpm", steps=TIMED)

    def timed(batch: int) -> float:
        taken = seconds(lambda: draw_masks(method, image, range(batch), sampler, image.shape[-1]), repeats=1)
        return taken / TIMED / batch

    return min(timed(batch) for batch in (1, 2))


if __name__ == "__main__":
    print_table("Drawing", table())
