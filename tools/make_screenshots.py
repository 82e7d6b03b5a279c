"""Make the pictures of the reading room, docs/figures/reading-room-*.png, and of the demo's page, report.png.

    plurimask demo
    python tools/make_screenshots.py --demo demo

Without `--demo` its panels are drawn first. Debian's Chromium looks at rooms that are served as `plurimask view` does:
the demo's panels, one of them beside a panel of the same case by another model, a synthetic volume with a synthetic
panel, and that volume as a DICOM series with a panel that was stored in Orthanc. Fonts are those of the machine.
"""

import io
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from scipy.ndimage import gaussian_filter

import plurimask as pm
from plurimask.datasets.demo_cases import demo_cases
from plurimask.demo import run_demo
from plurimask.files.atomic import atomic_path
from plurimask.files.dicomweb import Archive, at_hand
from plurimask.sampling import parse_region

sys.path += [str(Path(__file__).parents[1] / folder) for folder in ("tests", "tests/page")]
from dicom_series import uid, write_series
from hands import choose, correct, drag, open_case, places, shown
from orthanc import Orthanc
from rooms import Place, serving, write_images

FIGURES = Path(__file__).parents[1] / "docs/figures"
CASES = demo_cases()
DISPUTED, AGREED, ROUND = (CASES[number].name for number in (5, 6, 7))
SIZE = {"width": 1440, "height": 900}
SHAPE, STEPS_MM = (120, 150, 48), (0.7, 0.7, 2.0)
READERS, SAMPLES = 4, 16
PATIENCE = 600_000
"""Milliseconds that the page may take."""

LISTED = ".cases-list[aria-busy=false]"
DECODED = "Promise.all([...document.querySelectorAll('.case[href] img')].map((one) => one.decode()))"

Look = Callable[[Page, Place], None]


def main(demo: Annotated[Path | None, typer.Option(help="What `plurimask demo` wrote.")] = None) -> None:
    """Write all pictures."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        root = Path(folder)
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        if demo is None:
            demo = root / "demo"
            run_demo(demo)
        _report(browser, demo / "report.html")
        with _slices(root, demo) as place:
            for name, look in SLICES.items():
                _picture(browser, place, name, look)
        with _scan(root) as place:
            _picture(browser, place, "dark", _dark, theme="dark")
        with _stored(root) as place:
            _picture(browser, place, "stored", _found)
        browser.close()


def _picture(browser: Browser, place: Place, name: str, look: Look, theme: str = "light") -> None:
    page = browser.new_page(viewport=SIZE, color_scheme=theme, reduced_motion="reduce")
    page.set_default_timeout(PATIENCE)
    look(page, place)
    page.wait_for_selector(LISTED)
    page.wait_for_selector(".case[href] img:not([src])", state="detached")
    page.evaluate(DECODED)
    _save(page.screenshot(caret="hide"), f"reading-room-{name}.png")
    page.close()


def _report(browser: Browser, report: Path) -> None:
    """The first of the demo's cases that most of its readers drew."""
    page = browser.new_page(viewport=SIZE, device_scale_factor=1.25)
    page.goto(report.resolve().as_uri())
    _save(page.locator("#case-2").screenshot(), "report.png")
    page.close()


def _save(screenshot: bytes, name: str) -> None:
    with atomic_path(FIGURES / name) as temporary:
        Image.open(io.BytesIO(screenshot)).convert("RGB").save(temporary, format="PNG", optimize=True)


@contextmanager
def _slices(root: Path, demo: Path) -> Iterator[Place]:
    """The demo's panels as one source, another model's panel of one of the cases as another."""
    masks = root / "slices/masks"
    shutil.copytree(demo / "masks", masks / "lidc")
    case = next(case for case in CASES if case.name == DISPUTED)
    pm.write_mask_set(masks / "lidc-cimd" / DISPUTED, pm.load("lidc-cimd").sample(case, SAMPLES))
    with serving(root / "slices", root / "saved", model="lidc") as place:
        yield place


@contextmanager
def _scan(root: Path) -> Iterator[Place]:
    """A volume with air, wall, vessels and a lesion; who outlines it errs by a smooth field of distances."""
    chance = np.random.default_rng(0)
    case = _volume(chance)
    drawn = np.stack([_outlined(chance) for _ in range(SAMPLES)])
    write_images(root / "scans", [case])
    pm.write_mask_set(root / "scan/masks/synthetic" / case.name, pm.MaskSet(case.name, drawn, case.grid, "synthetic"))
    with serving(root / "scan", root / "saved", root / "scans", "phantom") as place:
        yield place


@contextmanager
def _stored(root: Path) -> Iterator[Place]:
    """The volume as a series in an archive, its panel stored there too, and both fetched again."""
    values = np.rint(_volume(np.random.default_rng(0)).image[0] + 1024).clip(0).astype(np.int16)
    written = write_series(root / "ct", values, spacing=STEPS_MM[:2], step=STEPS_MM[2])
    orthanc = Orthanc(root).start()
    try:
        archive, study = Archive(orthanc.root), f"{orthanc.root}/studies/{uid('study')}"
        archive.store(written)
        (scan,) = at_hand([f"{study}#3"], root / "found")
        opened = pm.open_study(scan)
        panel = pm.sample_study(pm.load("lidc"), opened, SAMPLES, region=parse_region("38,62,15:32"))
        archive.store(
            [path for path in pm.write_panel(root / "panels" / scan.name, panel, opened) if path.suffix == ".dcm"]
        )
        (samples,) = at_hand([f"{study}#301"], root / "found")
    finally:
        orthanc.stop()
    with serving(samples, root / "saved", scan, "lidc", {samples.name: opened.case}) as place:
        yield place


def _volume(chance: np.random.Generator) -> pm.Case:
    row, column, height = _mm()
    image = np.full(SHAPE, -860.0)
    for _ in range(40):
        start, way = chance.uniform((0, 0), (84, 105)), chance.normal(0, 0.35, 2)
        away = np.hypot(row - start[0] - way[0] * height, column - start[1] - way[1] * height)
        image[away < chance.uniform(0.6, 2.2)] = 20
    image[(row / 70) ** 2 + ((column - 60) / 85) ** 2 > 1] = 50
    image[_distance() < 0] = 30
    image = gaussian_filter(image, (0.8, 0.8, 0.4)) + gaussian_filter(chance.normal(0, 90, SHAPE), (0.8, 0.8, 0))
    readers = np.stack([_outlined(chance) for _ in range(READERS)])
    affine = np.array([[0, -0.7, 0, 50], [-0.7, 0, 0, 40], [0, 0, 2.0, -60], [0, 0, 0, 1.0]])
    return pm.Case("CT-phantom", np.rint(image)[None].astype(np.float32), readers, pm.Grid(SHAPE, affine))


def _outlined(chance: np.random.Generator) -> np.ndarray:
    errors = gaussian_filter(chance.normal(0, 1, SHAPE), (7, 7, 2.5))
    return _distance() < chance.normal(0, 0.8) + 1.6 * errors / errors.std()


def _distance() -> np.ndarray:
    """About how far outside of the lesion a voxel is, in mm; (H, W, D)."""
    row, column, height = _mm()
    lobes = 1.5 * np.cos(3 * np.arctan2(row - 38, column - 62) + 1)
    return np.sqrt((row - 38) ** 2 + ((column - 62) / 1.3) ** 2 + (height - 46) ** 2) - 10 - lobes


def _mm() -> list[np.ndarray]:
    return [step * index for step, index in zip(STEPS_MM, np.indices(SHAPE), strict=True)]


def _case(page: Page, place: Place) -> None:
    _open(page, place.to(DISPUTED))
    _point(page, (62, 52))


def _frequency(page: Page, place: Place) -> None:
    _open(page, place.to(AGREED))
    page.keyboard.press("2")
    page.keyboard.press("z")
    shown(page)
    _point(page, (62, 63))


def _compare(page: Page, place: Place) -> None:
    _open(page, place.to(DISPUTED, "lidc", "lidc-cimd"))
    page.keyboard.press("z")
    shown(page)
    _point(page, (62, 52))


def _correct(page: Page, place: Place) -> None:
    _open(page, place.to(ROUND))
    page.keyboard.press("z")
    choose(page, "At least")
    correct(page)
    drag(page, (69, 75), (73, 72), (75, 66))


def _dark(page: Page, place: Place) -> None:
    _open(page, place.to("CT-phantom"))


def _found(page: Page, place: Place) -> None:
    (name,) = place.cases
    open_case(page, place.to(name))  # nobody read it, so there are no scores
    page.wait_for_selector("#draw .region:not([hidden])")
    page.wait_for_selector(".film[data-slice]")


def _open(page: Page, address: str) -> None:
    open_case(page, address)
    page.wait_for_selector("#draw .row button:enabled, #draw .region:not([hidden])")
    page.wait_for_selector("#scores table")
    page.wait_for_selector(".film[data-slice]")


def _point(page: Page, voxel: tuple[int, int]) -> None:
    (spot,) = places(page, [voxel])
    page.mouse.move(*spot)


SLICES: dict[str, Look] = {
    "case": _case,
    "frequency": _frequency,
    "compare": _compare,
    "correct": _correct,
}

if __name__ == "__main__":
    typer.run(main)
