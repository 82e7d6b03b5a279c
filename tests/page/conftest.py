"""A real reading room on a free port, and a browser that stands in it: one of each for all tests of pages.

These tests carry the marker `page` and come after all others: Playwright keeps an event loop in the thread while it
runs.
"""

import shutil
from pathlib import Path

import pytest
from rooms import PLANES, SIZE, panel, planes, serving, volume, write_images

from plurimask.files.mask_sets import write_mask_set

PATIENCE = 60_000
"""Milliseconds that a test waits for the page."""
FLAGS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--in-process-gpu"]
"""Without an emulated GPU, which takes more time than all that is drawn."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark the tests of this folder, and put them last."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("page")
    items.sort(key=lambda item: item.get_closest_marker("page") is not None)


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def browser():
    """Debian's Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install '.[dev]'")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium here: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=chromium, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def modules(browser, room):
    """A page in which scripts may import the page's modules; nobody looks at it."""
    opened = browser.new_page()
    opened.goto(room.address)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def tab(browser):
    """One page for all tests, since a new one takes longer than most of them, and what goes wrong on it."""
    opened = browser.new_context(viewport=SIZE, reduced_motion="reduce").new_page()
    return opened, _faults(opened)


@pytest.fixture
def page(tab):
    """A page with nothing remembered. Errors of scripts and requests to elsewhere fail the test."""
    opened, faults = tab
    faults.clear()
    yield opened
    opened.unroute_all(behavior="ignoreErrors")
    opened.emulate_media(color_scheme="light")
    opened.evaluate("try { localStorage.clear(); } catch { }")
    opened.on("dialog", _leave)
    opened.goto("about:blank")
    opened.remove_listener("dialog", _leave)
    assert not faults


@pytest.fixture
def alone(browser):
    """A page in a browser of its own, for tests that change more than a page can put back; as `page` otherwise."""
    context = browser.new_context(viewport=SIZE)
    opened = context.new_page()
    faults = _faults(opened)
    yield opened
    context.close()
    assert not faults


def _faults(page):
    """A list that grows with each fault of a page."""
    faults: list[str] = []
    page.set_default_timeout(PATIENCE)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda said: faults.append(said.text) if "Content Security Policy" in said.text else None)
    page.on("request", lambda asked: None if _is_own(asked.url) else faults.append(f"asked for {asked.url}"))
    return faults


def _leave(dialog):
    """Strokes that were not saved are let go."""
    dialog.accept()


def _is_own(address: str) -> bool:
    return address.startswith(("http://127.0.0.1:", "blob:", "data:", "about:"))
