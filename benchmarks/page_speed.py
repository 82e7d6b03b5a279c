"""The page of the reading room in headless Chromium: the first picture, and slices a second while one scrolls."""

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from common import Row, child, print_table
from playwright.sync_api import sync_playwright
from viewer_speed import SHAPE, listening

from plurimask.datasets.demo_cases import demo_cases
from plurimask.files.mask_sets import write_mask_set
from plurimask.records import MaskSet
from plurimask.viewer.library import name_id

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from dicom_series import write_series

SLICES, SAMPLES = 140, 16
PAINTED = "canvas[data-slice]"
SCROLL = """async (count) => {
  const { state } = await import("./state.js");
  const canvas = document.querySelector("canvas[data-slice]");
  const painted = (k) => new Promise((done) => {
    const observer = new MutationObserver(() => {
      if (canvas.dataset.slice !== String(k)) return;
      observer.disconnect();
      done();
    });
    observer.observe(canvas, { attributeFilter: ["data-slice"] });
  });
  const first = state.slice.value > count ? 0 : state.slice.value + 1;
  const started = performance.now();
  for (let k = first; k < first + count; k += 1) {
    const seen = painted(k);
    state.slice.value = k;
    await seen;
  }
  return (1000 * count) / (performance.now() - started);
}"""


def table() -> list[Row]:
    """Each with a server of its own on a thread of the measuring process, which shares the cores with the browser."""
    if shutil.which("chromium") is None:
        return [("the page", "-", "there is no chromium here")]
    case, study = (child("page_speed.py", what) for what in ("case", "study"))
    size = "x".join(map(str, SHAPE))
    start = "from opening the path to the painted image, imports and start of the browser not counted"
    return [
        ("first picture of a built-in case", f"{case['picture']:.2f} s", start),
        (f"first picture of a DICOM study, {size}", f"{study['picture']:.2f} s", start),
        ("slices painted a second", f"{study['rate']:.0f}", f"{SLICES} in a row at 1440 x 900, each of them painted"),
    ]


def _case(folder: Path) -> Path:
    case = demo_cases()[0]
    distance = np.hypot(*(np.indices(case.grid.shape) - case.grid.shape[0] / 2))
    masks = distance < np.arange(8, 8 + SAMPLES)[:, None, None]
    write_mask_set(folder / case.name, MaskSet(case.name, masks, case.grid, "benchmark", tuple(range(SAMPLES))))
    return folder / case.name


def _study(folder: Path) -> Path:
    write_series(folder / "scan", np.random.default_rng(0).integers(0, 4000, SHAPE, dtype=np.int16))
    return folder / "scan"


def _measure(what: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        path = {"case": _case, "study": _study}[what](Path(folder))
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        started = time.perf_counter()
        with listening(path) as port:
            page.goto(f"http://127.0.0.1:{port}/#/case/{name_id(path.name)}")
            page.wait_for_selector(PAINTED, timeout=600_000)
            picture = time.perf_counter() - started
            rate = page.evaluate(SCROLL, SLICES) if what == "study" else float("nan")
            page.close()
        return {"picture": picture, "rate": rate}


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(_measure(sys.argv[1])))
    else:
        print_table("The page of the reading room", table())
