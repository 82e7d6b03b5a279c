"""2,000 small cases drawn by Ray's workers, against the plain loop on one core; empty work; and workers that die.

What more workers would give is simulated: each takes as long for a case as the plain loop did, in the same order, and
the process that gives the cases out, one at a time, takes as long for each as it does where the work is empty.
`python benchmarks/cluster_speed.py [CASES [wait]]` takes minutes and is no part of run.py. With `wait` a case waits
20 ms and writes a file, in place of being drawn: what Ray itself costs shows on a machine that does other work too.
"""

import heapq
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from uuid import uuid4

import numpy as np
import torch
from common import Row, print_table
from PIL import Image

from plurimask.cluster import Cluster
from plurimask.datasets.open import open_dataset
from plurimask.errors import need
from plurimask.files.atomic import write_text
from plurimask.files.mask_sets import read_mask_set, write_mask_set
from plurimask.sampling import CaseDrawer, load

CASES, COUNT, SIZE, KILLS = 2000, 16, 128, 20


def table(cases: int = CASES) -> list[Row]:
    """All in one run, one after the other."""
    load_before, undisturbed = os.getloadavg()[0], 0.0
    with tempfile.TemporaryDirectory() as folder:
        data = _write(Path(folder) / "data", cases)
        dataset = open_dataset(data)
        read = {name: partial(dataset.__getitem__, place) for place, name in enumerate(dataset.names)}
        plain = _plain(read, Path(folder) / "plain")
        alone = sum(plain)
        rows: list[Row] = [
            (f"{cases} cases, {COUNT} masks of lidc, plain loop", f"{alone:.1f} s", f"load {load_before:.1f}")
        ]
        for workers, kills in ((1, 0), (2, 0), (2, KILLS)):
            out = Path(folder) / f"ray-{workers}-{kills}"
            with Cluster(workers=workers) as cluster:
                ends = _on(cluster, read, out, kills)
            ratio, after = alone / ends[-1], sum(plain) / (ends[-1] - ends[0]) * (len(ends) - 1) / cases
            done = f"{ratio:.2f} x as fast, {after:.2f} x once the first case is done"
            if kills:
                done = f"{kills} workers killed: {ends[-1] / undisturbed:.2f} x the time; {_compare(out, folder, read)}"
            undisturbed = ends[-1]
            rows.append((f"the same by Ray, {workers} workers", f"{ends[-1]:.1f} s", done))
        with Cluster(workers=2) as cluster:
            ends = _ends(cluster.map(lambda: lambda name: os.getpid(), {name: name for name in read}), 0)
    each = (ends[-1] - ends[0]) / cases
    rows.append(("empty work, a case", f"{1000 * each:.2f} ms", "target: 5 ms"))
    for workers in (4, 16, 64, 256):
        took = _simulated(plain, each, workers)
        rows.append((f"simulated, {workers} workers", f"{took:.1f} s", f"{alone / took:.1f} x, start-up left out"))
    return rows


def _write(root: Path, cases: int) -> Path:
    for number in range(cases):
        (root / f"case-{number:04d}").mkdir(parents=True)
        pixels = np.random.default_rng(number).integers(256, size=(SIZE, SIZE), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"case-{number:04d}" / "image.png")
        Image.fromarray(pixels // 128 * 255).save(root / f"case-{number:04d}" / "label0.png")
    return root


def _plain(read: dict, out: Path) -> list[float]:
    """Seconds of each case."""
    torch.set_num_threads(1)
    model, took = load("lidc", "cpu"), []
    for name, case in read.items():
        start = time.perf_counter()
        write_mask_set(out / name, model.sample(case(), COUNT))
        took.append(time.perf_counter() - start)
    return took


def _on(cluster: Cluster, read: dict, out: Path, kills: int) -> list[float]:
    work = CaseDrawer(partial(load, "lidc", "cpu"), read, {"independent": out}, COUNT, seed=0)

    def with_process():  # noqa: ANN202
        draw = work()

        def drawn(name: str) -> int:
            draw(name)
            return os.getpid()

        return drawn

    return _ends(cluster.map(with_process, {name: name for name in read}), kills, len(read))


def _ends(results, kills: int, cases: int = 0) -> list[float]:  # noqa: ANN001
    """Seconds from the start to the end of each case; a worker that was just at work is killed now and then."""
    chance = random.Random(0)
    moments = frozenset(chance.sample(range(cases // 20, cases - cases // 20), kills)) if kills else frozenset()
    start, ends, seen = time.perf_counter(), [], {}
    for done, process in enumerate(results):
        ends.append(time.perf_counter() - start)
        seen[process] = done
        if done in moments:
            latest = [one for one, when in seen.items() if done - when < 10]
            victim = chance.choice(latest)
            os.kill(victim, signal.SIGKILL)
            del seen[victim]
    return ends


def _waiting(out: Path) -> Callable[[str], int]:
    (out / "done").mkdir(parents=True, exist_ok=True)

    def work(name: str) -> int:
        time.sleep(0.02)
        write_text(out / name, name)
        (out / "done" / f"{name}-{uuid4().hex}").touch()
        return os.getpid()

    return work


def _compare(out: Path, folder: str, read: dict) -> str:
    there = {path.name for path in out.iterdir()}
    other = 0
    for name in read:
        here, plain = (read_mask_set(where / name) for where in (out, Path(folder) / "plain"))
        other += not np.array_equal(here.masks, plain.masks)
    return f"{len(set(read) - there)} cases lost, {len(there - set(read))} too many, {other} of other masks"


def _simulated(plain: list[float], each: float, workers: int) -> float:
    free, given, last = [0.0] * workers, 0.0, 0.0
    for took in plain:
        given = max(given + each, heapq.heappop(free))
        heapq.heappush(free, given + took)
        last = max(last, given + took)
    return last


def waiting_table(cases: int = CASES) -> list[Row]:
    """As `table`, of cases that wait."""
    names = {f"case-{number:04d}": f"case-{number:04d}" for number in range(cases)}
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        plain = _waiting(Path(folder) / "plain")
        for name in names:
            plain(name)
        alone, undisturbed = time.perf_counter() - start, 0.0
        rows: list[Row] = [(f"{cases} cases that wait, plain loop", f"{alone:.1f} s", f"load {os.getloadavg()[0]:.1f}")]
        for workers, kills in ((1, 0), (2, 0), (2, KILLS)):
            out = Path(folder) / f"ray-{workers}-{kills}"
            with Cluster(workers=workers) as cluster:
                ends = _ends(cluster.map(lambda out=out: _waiting(out), names), kills, cases)
            after = alone / (ends[-1] - ends[0]) * (len(ends) - 1) / cases
            done = f"{alone / ends[-1]:.2f} x as fast, {after:.2f} x once the first case is done"
            if kills:
                lost, again = cases - len(list(out.glob("case-*"))), len(list(out.glob("done/*"))) - cases
                done = (
                    f"{kills} workers killed: {ends[-1] / undisturbed:.2f} x the time; {lost} lost, {again} done again"
                )
            undisturbed = ends[-1]
            rows.append((f"the same by Ray, {workers} workers", f"{ends[-1]:.1f} s", done))
    return rows


if __name__ == "__main__":
    cases = int(sys.argv[1]) if len(sys.argv) > 1 else CASES
    need("ray", "ray").cloudpickle.register_pickle_by_value(sys.modules[__name__])
    print_table("Ray", waiting_table(cases) if "wait" in sys.argv else table(cases))
