"""Seconds of drawing against the number of masks, of steps and of pixels, beside the paper-size network.

python benchmarks/panel_cost.py lidc-panel --out docs/benchmarks/panel/cost
"""

import argparse
import json
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from common import seconds, threads
from draw_speed import MASKS as USUAL
from draw_speed import STEPS as PAPER_STEPS
from draw_speed import paper_seconds_a_step
from matplotlib.figure import Figure

from plurimask.datasets.demo_cases import demo_cases
from plurimask.files.stored import write_text
from plurimask.methods.draw import draw_masks
from plurimask.sampling import Model, load
from plurimask.show.charts import plain_axes

MASKS, STEPS, SIZES = (1, 4, 16, 64), (1, 2, 4, 8, 16, 32), (64, 128, 256, 512)

Course = list[tuple[int, float]]
"""Number of masks, steps or pixels a side, and seconds."""


def courses(model: Model) -> dict[str, Course]:
    """Seconds, one of the three numbers varied and the others as usual: 16 masks, own steps, 128 x 128."""
    return {
        "masks": [(count, _drawn(model, count=count)) for count in MASKS],
        "steps": [(steps, _drawn(model, steps=steps)) for steps in STEPS],
        "pixels": [(side, _drawn(model, side=side)) for side in SIZES],
    }


def _drawn(model: Model, count: int = USUAL, steps: int | None = None, side: int = 128) -> float:
    """The median over the demo's first three cases, each drawn once after a draw that is not counted."""
    sampler, seeds = model.sampler(steps=steps), tuple(range(count))
    images = [_sized(case.image, side) for case in demo_cases()[:3]]
    draws = [partial(draw_masks, model.method, image, seeds, sampler) for image in images]
    return median(seconds(draw, repeats=1) for draw in draws)


def _sized(image: np.ndarray, side: int) -> np.ndarray:
    """The middle of an image, or the image with its border drawn out: the lesion stays the only one."""
    more = side - image.shape[1]
    if more <= 0:
        cut = slice(-more // 2, -more // 2 + side)
        return np.ascontiguousarray(image[:, cut, cut])
    before = more // 2
    return np.pad(image, ((0, 0), (before, more - before), (before, more - before)), mode="edge")


def figure(record: dict[str, Any]) -> Figure:
    """The three courses side by side, a line a model; the paper-size network where it can be seen."""
    made = Figure(figsize=(11.5, 3.8), layout="constrained")
    titles = {
        "masks": "masks (own steps, 128 x 128)",
        "steps": "steps (16 masks, 128 x 128)",
        "pixels": "pixels a side (16 masks)",
    }
    for axes, (key, title) in zip(made.subplots(1, 3, sharey=True), titles.items(), strict=True):
        for name, found in record["models"].items():
            places, values = zip(*found["courses"][key], strict=True)
            axes.plot(places, values, marker="o", label=name if key == "masks" else None)
        axes.set_xscale("log", base=2)
        axes.set_xticks(places, [str(place) for place in places])
        axes.set_yscale("log")
        axes.set_xlabel(title, fontsize=9)
        plain_axes(axes)
        if key != "pixels":
            paper = record["paper"]["seconds_a_mask_and_step"] * (PAPER_STEPS if key == "masks" else USUAL)
            axes.plot(places, [paper * place for place in places], color="0.5", linestyle="--")
    made.axes[0].set_ylabel("seconds", fontsize=9)
    made.axes[0].plot(
        [], [], color="0.5", linestyle="--", label="paper-size network, 1,000 steps (masks), extrapolated"
    )
    made.legend(fontsize=8, frameon=False, loc="outside lower center", ncols=4)
    return made


def main() -> None:
    """Measure, write OUT.json and OUT.png, print the figures of the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    record: dict[str, Any] = {"threads": threads(), "torch": torch.__version__, "models": {}}
    for name in asked.models:
        model = load(name, "cpu")
        record["models"][name] = {"weights": model.checkpoint.digest, "courses": courses(model)}
        print(f"{name}: {record['models'][name]['courses']}", flush=True)
    step = paper_seconds_a_step(demo_cases()[0].image)
    record["paper"] = {"seconds_a_mask_and_step": step, "steps": PAPER_STEPS}
    for name in asked.models:
        found = dict(record["models"][name]["courses"]["masks"])
        record["models"][name] |= {
            "ratio": step * PAPER_STEPS * USUAL / found[USUAL],
            "further_sample": (found[MASKS[-1]] - found[USUAL]) / (MASKS[-1] - USUAL),
        }
        print(f"{name}: ratio {record['models'][name]['ratio']:,.0f}", flush=True)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    write_text(asked.out.with_suffix(".json"), json.dumps(record, indent=1) + "\n")
    figure(record).savefig(asked.out.with_suffix(".png"), dpi=120)


if __name__ == "__main__":
    main()
