"""The reading room over HTTP: the first page of many mask sets, the first picture, slices a second."""

import http.client
import json
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import uvicorn
from common import Row, child, print_table

from plurimask.datasets.demo_cases import demo_cases
from plurimask.files.mask_sets import write_mask_set
from plurimask.geometry import Grid
from plurimask.records import MaskSet
from plurimask.viewer.app import Room, make_app
from plurimask.viewer.guard import LOOPBACK
from plurimask.viewer.library import name_id, open_library
from plurimask.viewer.run import listen

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from dicom_series import write_series

SETS, SIDE, SAMPLES = 10_000, 128, 16
SHAPE, SLICES = (512, 512, 300), 200


def table() -> list[Row]:
    """Each in a process of its own, so that nothing is in memory before; files are in the system's cache."""
    many, case, study = (child("viewer_speed.py", what) for what in ("many", "case", "study"))
    size = "x".join(map(str, SHAPE))
    start = "from opening the path to the last byte, imports not counted"
    return [
        (
            f"first page of {SETS:,} mask sets ({SAMPLES} x {SIDE} x {SIDE})",
            f"{many['page']:.2f} s",
            f"50 cases, {start}",
        ),
        ("its memory above that of the imports", f"{many['memory']:.0f} MiB", "after sorting half of them"),
        ("first picture of a built-in case", f"{case['picture']:.2f} s", start),
        ("a thumbnail of it", f"{case['thumbnail'] * 1e3:.1f} ms", f"{SAMPLES} samples"),
        (f"first picture of a DICOM study, {size}", f"{study['picture']:.2f} s", start),
        (
            f"slices of {SHAPE[0]} x {SHAPE[1]} a second",
            f"{study['rate']:.0f}",
            f"image and samples, {SLICES} in a row",
        ),
    ]


def _many() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        panel = _panel("set", Grid.plane((SIDE, SIDE), 0.7))
        first = Path(folder, "masks", "set")
        write_mask_set(first, panel)
        for number in range(SETS):
            place = Path(folder, "masks", f"case-{number:05}")
            place.mkdir()
            (place / "masks.npz").hardlink_to(first / "masks.npz")
        before = _memory()
        started = time.perf_counter()
        with _served(first.parent) as get:
            json.loads(get("/api/v1/cases?limit=50"))
            page = time.perf_counter() - started
            while json.loads(get("/api/v1/cases?limit=1&sort=size"))["computing"]["done"] < SETS // 2:
                time.sleep(0.5)
        return {"page": page, "memory": _memory() - before}


def _case() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        case = demo_cases()[0]
        write_mask_set(Path(folder, "masks", case.name), _panel(case.name, case.grid))
        address = f"/api/v1/cases/{name_id(case.name)}"
        started = time.perf_counter()
        with _served(Path(folder)) as get:
            get(address)
            get(f"{address}/image/0")
            picture = time.perf_counter() - started
            get(f"{address}/samples/0")
            started = time.perf_counter()
            get(f"{address}/thumbnail")
            return {"picture": picture, "thumbnail": time.perf_counter() - started}


def _study() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        write_series(Path(folder, "scan"), np.random.default_rng(0).integers(0, 4000, SHAPE, dtype=np.int16))
        address = f"/api/v1/cases/{name_id('scan')}"
        started = time.perf_counter()
        with _served(Path(folder, "scan")) as get:
            first = json.loads(get(address))["start_slice"][2]
            get(f"{address}/image/{first}")
            picture = time.perf_counter() - started
            started = time.perf_counter()
            for k in range(SLICES):
                get(f"{address}/image/{k}")
                get(f"{address}/samples/{k}")
            return {"picture": picture, "rate": SLICES / (time.perf_counter() - started)}


@contextmanager
def listening(path: Path) -> Iterator[int]:
    """A server of a path on a thread; its port."""
    room = Room(open_library(path, None, drawing=False), None, path.parent / "saved")
    place = listen("127.0.0.1", 0)
    config = uvicorn.Config(make_app(room, LOOPBACK), log_level="error", lifespan="off", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [place]})
    thread.start()
    try:
        yield place.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        room.close()


@contextmanager
def _served(path: Path) -> Iterator[Callable[[str], bytes]]:
    """A server of a path on a thread, and what asks it over one connection."""
    with listening(path) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port)

        def get(address: str) -> bytes:
            connection.request("GET", address)
            answer = connection.getresponse()
            content = answer.read()
            if answer.status != 200:
                raise RuntimeError(f"{address}: {answer.status} {content!r}")
            return content

        yield get


def _panel(name: str, grid: Grid) -> MaskSet:
    """Discs of growing size around the middle of a plane."""
    distance = np.hypot(*(np.indices(grid.shape) - grid.shape[0] / 2))
    return MaskSet(name, distance < np.arange(8, 8 + SAMPLES)[:, None, None], grid, "benchmark", tuple(range(SAMPLES)))


def _memory() -> float:
    """The most that this process has held so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps({"many": _many, "case": _case, "study": _study}[sys.argv[1]]()))
    else:
        print_table("Reading room", table())
