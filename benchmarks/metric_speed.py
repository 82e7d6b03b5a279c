"""All pairwise metrics of many panels, against a NumPy loop over pairs of boolean masks; peak memory; growth."""

import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from itertools import combinations_with_replacement, islice, product
from pathlib import Path

import numpy as np
import torch
from common import Row, child, print_table, threads
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from plurimask.datasets.lidc_slices import LidcSlices
from plurimask.metrics.ci_score import ci_score, combined_sensitivity, mean_of_best, range_agreement
from plurimask.metrics.ged import energy_distance, matched_mean, mean_distance
from plurimask.metrics.overlap import count_pairs

SIZE = 128
CASES, SAMPLES, READERS, BATCH, LOOPED = 1500, 16, 4, 32, 60
FEWER = (375, 750)
MORE = {64: 200, 256: 50}
"""Samples a case, and how many cases of so many are timed."""

_SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
REAL = Path(os.environ.get("PLURIMASK_DATA", _SHARED)) / "lidc-slices-128"

Panel = tuple[np.ndarray, np.ndarray]
"""Samples (S, H, W) and readers (R, H, W), bool."""
Count = Callable[[np.ndarray, np.ndarray], tuple[int, int]]
"""Voxels in both of two masks, and in any of them."""


def table() -> list[Row]:
    """A process for each number of cases and samples; the loops run in that of the first row."""
    full = _timed(CASES, SAMPLES, LOOPED)
    what = f"{SAMPLES} samples, {READERS} readers, {SIZE}x{SIZE}"
    source = "LIDC slices" if REAL.is_dir() else "drawn discs (no LIDC slices here)"
    rows = [
        (
            f"{CASES} cases",
            f"{full['seconds']:.2f} s",
            f"{source}, {what}, batches of {BATCH}, {threads()}, median of 3",
        ),
        _ratio(
            "loop over all pairs, logical_and(a, b).sum()",
            full["sums"] / full["seconds"],
            "target: at least 10, aim 25",
        ),
        _ratio(
            "loop over each pair once, count_nonzero(a & b)", full["nonzero"] / full["seconds"], "stricter, no target"
        ),
        ("peak memory", f"{full['peak'] / 2**20:,.0f} MiB", "RSS, panels made one by one; target: below 2,048"),
    ]
    for cases in FEWER:
        rows.append(_growth(f"{cases} cases", _timed(cases, SAMPLES), cases, SAMPLES))
    rows.append(_growth(f"{CASES} cases", full, CASES, SAMPLES))
    return rows + [_growth(f"{n} samples", _timed(cases, n), cases, n) for n, cases in MORE.items()]


def _ratio(what: str, ratio: float, target: str) -> Row:
    return what, f"{ratio:.1f} times as long", f"timed on {LOOPED} of the cases, same run; {target}"


def _growth(what: str, run: dict[str, float], cases: int, samples: int) -> Row:
    pairs = samples**2 + samples * READERS + READERS**2
    a_case = run["seconds"] / cases
    return what, f"{a_case * 1e9 / pairs:,.0f} ns a pair", f"{a_case * 1e3:.3f} ms a case of {pairs:,} pairs"


def _timed(cases: int, samples: int, looped: int = 0) -> dict[str, float]:
    result: dict[str, float] = child("metric_speed.py", *map(str, (cases, samples, looped)))
    return result


def _measure(cases: int, samples: int, looped: int) -> dict[str, float]:
    """Seconds for all cases: ours, and of each loop from `looped` of them; peak memory in bytes."""
    packed = _packed_readers(cases)
    passes = [_scoring_time(_panels(packed, samples)) for _ in range(4)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    spread = _panels(packed[:: cases // looped][:looped], samples) if looped else iter(())
    sums, nonzero = _loop_times(list(spread))
    scale = cases / max(looped, 1)
    # The first pass warms up.
    return {"seconds": statistics.median(passes[1:]), "sums": sums * scale, "nonzero": nonzero * scale, "peak": peak}


def _scoring_time(panels: Iterator[Panel]) -> float:
    """Seconds, without the making of the panels, with their packing into batches."""
    spent = 0.0
    while batch := list(islice(panels, BATCH)):
        started = time.perf_counter()
        _scores(*(torch.from_numpy(np.stack(masks)) for masks in zip(*batch, strict=True)))
        spent += time.perf_counter() - started
    return spent


def _scores(samples: Tensor, readers: Tensor) -> dict[str, Tensor]:
    pairs = count_pairs(samples, readers)
    read = pairs.read
    ss, sy, yy = (block.distance("iou") for block in (pairs.ss, pairs.sy, pairs.yy))
    best, covered = mean_of_best(pairs.sy.dice, read), combined_sensitivity(samples, readers)
    agreement = range_agreement(pairs.ss.variance, pairs.yy.variance, read)
    return {
        "ged_v": energy_distance(sy, ss, yy, read, "v"),
        "ged_u": energy_distance(sy, ss, yy, read, "u"),
        "hm_iou": matched_mean(1 - sy, read),
        "dice_max": best,
        "ci": ci_score(covered, best, agreement),
        "d_ss": mean_distance(ss, read.new_ones(samples.shape[:2])),
        "d_yy": mean_distance(yy, read),
    }


def _loop_times(panels: list[Panel]) -> tuple[float, float]:
    """Seconds of both loops; their values are ours."""
    times = []
    for count, once in ((_by_sum, False), (_by_count_nonzero, True)):
        started = time.perf_counter()
        values = [_loop_scores(*panel, count, once) for panel in panels]
        times.append(time.perf_counter() - started)
        for panel, slow in zip(panels, values, strict=True):
            fast = _scores(*(torch.from_numpy(masks)[None] for masks in panel))
            assert all(np.isclose(fast[key].item(), slow[key], atol=1e-9) for key in fast), (fast, slow)
    return times[0], times[1]


def _loop_scores(samples: np.ndarray, readers: np.ndarray, count: Count, once: bool) -> dict[str, float]:
    ss, yy = (_loop_pairs(masks, masks, count, once) for masks in (samples, readers))
    sy = _loop_pairs(samples, readers, count, False)
    d_ss, d_sy, d_yy = (1 - np.divide(*block, out=np.ones_like(block[0]), where=block[1] > 0) for block in (ss, sy, yy))
    iou = 1 - d_sy
    best = (2 * iou / (1 + iou)).max(0).mean()
    apart = [((both[1] - both[0]) / (4 * samples[0].size))[np.triu_indices(len(both[0]), 1)] for both in (ss, yy)]
    agreement = 1 - (abs(apart[0].max() - apart[1].max()) + abs(apart[0].min() - apart[1].min())) / 2
    drawn = readers.any(0)
    covered = (samples.any(0) & drawn).sum() / drawn.sum()
    repeated = iou.repeat(len(samples) // len(readers), 1)
    n, m = len(samples), len(readers)
    return {
        "ged_v": 2 * d_sy.mean() - d_ss.mean() - d_yy.mean(),
        "ged_u": 2 * d_sy.mean() - d_ss.sum() / (n * (n - 1)) - d_yy.sum() / (m * (m - 1)),
        "hm_iou": repeated[linear_sum_assignment(repeated, maximize=True)].mean(),
        "dice_max": best,
        "ci": 3 * covered * best * agreement / (covered + best + agreement),
        "d_ss": d_ss.sum() / (n * (n - 1)),
        "d_yy": d_yy.sum() / (m * (m - 1)),
    }


def _loop_pairs(a: np.ndarray, b: np.ndarray, count: Count, once: bool) -> np.ndarray:
    """Shared and united voxels of each pair (2, n, m); `once`: of a stack with itself, each pair counted once."""
    counts = np.empty((2, len(a), len(b)))
    for i, j in combinations_with_replacement(range(len(a)), 2) if once else product(range(len(a)), range(len(b))):
        counts[:, i, j] = count(a[i], b[j])
        if once:
            counts[:, j, i] = counts[:, i, j]
    return counts


def _by_sum(a: np.ndarray, b: np.ndarray) -> tuple[int, int]:
    return np.logical_and(a, b).sum(), np.logical_or(a, b).sum()


def _by_count_nonzero(a: np.ndarray, b: np.ndarray) -> tuple[int, int]:
    return np.count_nonzero(a & b), np.count_nonzero(a | b)


def _panels(packed: np.ndarray, samples: int) -> Iterator[Panel]:
    """One panel a case, made when asked for: its readers drawn again, each moved by up to three pixels a side."""
    for number, bits in enumerate(packed):
        rng, readers = np.random.default_rng(number), np.unpackbits(bits, axis=-1).astype(bool)
        moves = rng.integers(-3, 4, (samples, 2))
        drawn = zip(rng.integers(len(readers), size=samples), moves, strict=True)
        yield np.stack([np.roll(readers[reader], move, (0, 1)) for reader, move in drawn]), readers


def _packed_readers(cases: int) -> np.ndarray:
    """(cases, R, H, W / 8) uint8, slices from all over the release."""
    masks = _real_readers(cases) if REAL.is_dir() else islice(_discs(), cases)
    return np.stack([np.packbits(readers, axis=-1) for readers in masks])


def _real_readers(cases: int) -> Iterator[np.ndarray]:
    slices = LidcSlices(REAL)
    for index in np.linspace(0, len(slices) - 1, cases).astype(int):
        yield slices[index].readers


def _discs() -> Iterator[np.ndarray]:
    rng, grid = np.random.default_rng(0), np.indices((SIZE, SIZE))
    while True:
        centres = rng.integers(40, 88, 2) + rng.integers(-2, 3, (READERS, 2))
        squared = ((grid - centres[:, :, None, None]) ** 2).sum(1)
        yield squared <= rng.uniform(2, 14) ** 2 * rng.uniform(0.7, 1.4, (READERS, 1, 1))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(_measure(*map(int, sys.argv[1:]))))
    else:
        print_table("Metrics", table())
