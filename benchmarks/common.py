"""What the benchmarks share: a clock, a model to draw from, child processes, and one aligned table each."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from plurimask.methods.method import build
from plurimask.sampling import Model, load
from plurimask.training.checkpoint import ALIASES, Checkpoint, built_in_names
from plurimask.training.recipe import load_recipe

Row = tuple[str, str, str]
"""What, the figure, how it was measured."""


def seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """Median wall time of `work`, after one run that is not counted."""
    work()
    return statistics.median(_once(work) for _ in range(repeats))


def _once(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def shipped_model() -> Model:
    """`lidc` on the CPU; where its weights are not there, its network as it starts, which costs the same."""
    if ALIASES["lidc"] in built_in_names():
        return load("lidc", "cpu")
    recipe = load_recipe("cimd-small")
    torch.manual_seed(0)
    fresh = Checkpoint(build(recipe.method).eval(), recipe, 0, "", "")
    return Model("cimd-small, untrained (no lidc weights here)", fresh, torch.device("cpu"))


def child(script: str, *arguments: str) -> Any:
    """What a benchmark's script prints as JSON when it is run with arguments, in a process of its own.

    None where the process was killed, as happens when memory does not suffice.
    """
    command = [sys.executable, str(Path(__file__).with_name(script)), *arguments]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if result.returncode < 0:
        return None
    result.check_returncode()
    return json.loads(result.stdout)


def threads() -> str:
    """How many threads computed."""
    return f"{torch.get_num_threads()} threads"


def print_table(title: str, rows: Sequence[Row]) -> None:
    """One aligned table."""
    what, figure = (max(len(row[column]) for row in rows) for column in (0, 1))
    print(f"\n{title}")
    for row in rows:
        print(f"  {row[0]:<{what}}  {row[1]:>{figure}}  {row[2]}", flush=True)
