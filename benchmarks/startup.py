"""What a command costs before it does its work, in units of `import torch` in the same run.

Times are those of the processor, user and system, so that other work on the machine changes them little.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from common import Row, print_table, shipped_model
from PIL import Image

from plurimask.datasets.demo_cases import demo_cases

REPEATS = 5


def table() -> list[Row]:
    """Help, drawing less the drawing itself, and scoring up to the first mask."""
    script, case = str(Path(sys.executable).with_name("plurimask")), demo_cases()[0]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "data" / "case").mkdir(parents=True)
        (root / "none").mkdir()
        for picture in (root / "slice.png", root / "data/case/image.png", root / "data/case/label0.png"):
            Image.fromarray(case.image[0].astype(np.uint8) // 255 * 255).save(picture)
        torch = _median([sys.executable, "-c", "import torch"])
        sample = f"sample lidc {root}/slice.png --out {root}/masks --count 1"
        evaluate = f"evaluate {root}/none --data {root}/data --split all --out {root}/scores"
        costs = {
            "plurimask --help": _median([script, "--help"]),
            "plurimask sample lidc slice.png, less the drawing": _median([script, *sample.split()]) - _drawing(),
            "plurimask evaluate, up to the first mask": _median([script, *evaluate.split()]),
        }
    note = f"processor time, median of {REPEATS}, a process each; import torch {torch:.2f} s"
    return [(what, f"{cost:.2f} s, {cost / torch:.2f} of import torch", note) for what, cost in costs.items()]


def _median(command: Sequence[str]) -> float:
    return statistics.median(_once(command) for _ in range(REPEATS + 1))


def _once(command: Sequence[str]) -> float:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, _, used = os.wait4(process.pid, 0)
    return used.ru_utime + used.ru_stime


def _drawing() -> float:
    """One mask by a model that has drawn before."""
    model, case = shipped_model(), demo_cases()[0]
    model.sample(case, 1)
    started = time.process_time()
    model.sample(case, 1)
    return time.process_time() - started


if __name__ == "__main__":
    print_table("Start", table())
