"""How far the latents of AMN and ACN spread in the course of a training, from the log of its run."""

import numpy as np

from plurimask.benchmark.bench import Bench
from plurimask.benchmark.places import key_of
from plurimask.training.run import RunFolder

TERMS = ("amb", "amn_spread", "acn_spread")
"""Terms of the log: L_amb, and the standard deviation over a batch of each encoder's means."""


def latent_lines(bench: Bench, name: str, seed: int) -> np.ndarray:
    """(n, 1 + 3) float64, step and terms of every logged step; n = 0 for a method without AMN and ACN."""
    lines = RunFolder(bench.places.run(key_of(name, seed))).lines("train")
    rows = [[line["step"], *(line[term] for term in TERMS)] for line in lines if TERMS[0] in line]
    return np.array(rows, dtype=float).reshape(-1, 1 + len(TERMS))


def settled(lines: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Medians of the terms over the first and over the last tenth of the steps, (3,) each."""
    tenth = max(1, len(lines) // 10)
    return np.median(lines[:tenth, 1:], axis=0), np.median(lines[-tenth:, 1:], axis=0)
