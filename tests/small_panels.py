"""Small cases and panels of seeded noise, with few readers, one reader and none."""

import numpy as np

from plurimask.geometry import Grid
from plurimask.records import Case, MaskSet

SIZE = (9, 7)
GRID = Grid(SIZE)


def masks(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((count, *SIZE)) < 0.3


def case(name: str, readers: int = 4, patient: str | None = None, grid: Grid = GRID) -> Case:
    drawn = np.resize(masks(4, sum(name.encode())), (readers, *grid.shape))
    return Case(name, np.zeros((1, *grid.shape), np.float32), drawn, grid, patient)


def panel(name: str, count: int = 5, grid: Grid = GRID, method: str | None = "toy") -> MaskSet:
    return MaskSet(name, np.resize(masks(count, 99 + sum(name.encode())), (count, *grid.shape)), grid, method)


CASES = {
    "b": case("b", patient="p1"),
    "a": case("a", patient="p1"),
    "alone": case("alone", readers=1, patient="p2"),
    "unread": case("unread", readers=0),
}
