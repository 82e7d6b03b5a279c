"""A real reading room on a free port, and a browser that stands in it.

A browser is closed with its file of tests: Playwright keeps an event loop in the thread while it runs.
"""

import shutil

import pytest
from rooms import PLANES, SIZE, panel, planes, serving, volume, write_images

from plurimask.files.mask_sets import write_mask_set

PATIENCE = 60_000
"""Milliseconds that a test waits for the page."""


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """Two sources, `first` and `second`, of masks for four planes and a volume; one of `first` is broken. No model."""
    root = tmp_path_factory.mktemp("room")
    cases = write_images(root / "data", [*planes(*PLANES), volume()])
    panels = {
        source: {name: panel(case, count, seed) for name, case in cases.items()}
        for source, count, seed in (("first", 12, 1), ("second", 7, 2))
    }
    for source, sets in panels.items():
        for name, one in sets.items():
            write_mask_set(root / "run" / "masks" / source / name, one)
    broken = root / "run" / "masks" / "first" / "broken" / "masks.npz"
    broken.parent.mkdir()
    broken.write_bytes(b"no archive")
    with serving(root / "run", root / "saved", root / "data", cases=cases, panels=panels) as place:
        yield place


@pytest.fixture(scope="module")
def browser():
    """Debian's Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install '.[dev]'")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium here: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield launched
        launched.close()


@pytest.fixture
def page(browser):
    """A page of its own, with nothing remembered. Errors of scripts and requests to elsewhere fail the test."""
    context = browser.new_context(viewport=SIZE)
    context.set_default_timeout(PATIENCE)
    opened = context.new_page()
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda said: faults.append(said.text) if "Content Security Policy" in said.text else None)
    opened.on("request", lambda asked: None if _is_own(asked.url) else faults.append(f"asked for {asked.url}"))
    yield opened
    context.close()
    assert not faults


def _is_own(address: str) -> bool:
    return address.startswith(("http://127.0.0.1:", "blob:", "data:", "about:"))
