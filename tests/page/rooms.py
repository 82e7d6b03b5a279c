"""Real reading rooms on a free port, and what is shown in them."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import uvicorn
from phantoms import phantoms

from plurimask.files.images import write_nifti
from plurimask.files.locate import open_study
from plurimask.geometry import Grid
from plurimask.records import Case, MaskSet
from plurimask.viewer.app import Room, make_app
from plurimask.viewer.guard import LOOPBACK
from plurimask.viewer.library import DRAWN_HERE, name_id, open_library

SIZE = {"width": 1200, "height": 750}
PLANES, VOLUME = ("demo-01", "demo-02", "demo-03", "demo-05"), "volume"
STEPS_MM = np.array([[0, -0.6, 0, 10], [-0.8, 0, 0, 20], [0, 0, 2.5, -30], [0, 0, 0, 1.0]])
"""Rows run to the back, columns to the left, slices to the head: 0.8, 0.6 and 2.5 mm."""


@dataclass(frozen=True)
class Place:
    """A server that runs, and what it serves.

    Args:
        address: of the page, with a slash at its end.
        out: where masks are saved.
        cases: by name.
        panels: by source and name.
    """

    address: str
    out: Path
    cases: dict[str, Case]
    panels: dict[str, dict[str, MaskSet]]

    def to(self, case: str, source: str | None = None, other: str | None = None) -> str:
        """The address of a case, by names."""
        named = {"source": source, "with": other}
        ids = {key: name if name == DRAWN_HERE else name_id(name) for key, name in named.items() if name is not None}
        query = urlencode(ids)
        return f"{self.address}#/case/{name_id(case)}" + (f"?{query}" if query else "")


@contextmanager
def serving(path, out, data=None, model=None, cases=None, panels=None) -> Iterator[Place]:
    """The server of `plurimask view`, in a thread, until the end of the block."""
    room = Room(open_library(path, data, drawing=model is not None), model, out, device="cpu")
    config = uvicorn.Config(make_app(room, LOOPBACK), port=0, log_level="warning", lifespan="off", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield Place(f"http://127.0.0.1:{port}/", out, cases or {}, panels or {})
    finally:
        server.should_exit = server.force_exit = True
        thread.join()
        room.close()


def write_images(root, cases) -> dict[str, Case]:
    """A dataset of cases with their readers, as it is read again."""
    for case in cases:
        folder = root / case.name
        folder.mkdir(parents=True)
        write_nifti(folder / "image.nii.gz", case.image[0], case.grid)
        for number, mask in enumerate(case.readers):
            write_nifti(folder / f"label{number}.nii.gz", mask.astype(np.uint8), case.grid)
    return {case.name: open_study(root / case.name).case for case in cases}


def planes(*names) -> list[Case]:
    """Shipped cases."""
    return [case for case in phantoms() if case.name in names]


def volume(shape=(40, 48, 16)) -> Case:
    """A ramp under noise, and three readers who differ in where an ellipsoid ends: no two axes are alike."""
    row, column, slices = np.indices(shape)
    image = (100 * slices + 3 * row + column + np.random.default_rng(0).integers(0, 60, shape)).astype(np.float32)
    away = ((row - 18) / 7) ** 2 + ((column - 27) / 10) ** 2 + ((slices - 6) / 4) ** 2
    readers = np.stack([away < size for size in (0.6, 1.0, 1.3)])
    return Case(VOLUME, image[None], readers, Grid(shape, STEPS_MM))


def panel(case: Case, count: int, seed: int) -> MaskSet:
    """Samples that are readers' masks, moved by up to two rows and columns; the last one draws nothing."""
    chance = np.random.default_rng(seed)
    moved = [
        np.roll(case.readers[chance.integers(len(case.readers))], chance.integers(-2, 3, 2), axis=(0, 1))
        for _ in range(count)
    ]
    moved[-1] = np.zeros_like(moved[-1])
    return MaskSet(case.name, np.stack(moved), case.grid, f"toy {seed}")
