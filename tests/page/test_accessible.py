"""axe finds nothing serious or critical on any view, in light and in dark."""

import pytest
from hands import choose, correct, drag, open_case
from rooms import VOLUME

Axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install '.[dev]'").Axe


def check(page, themes=("light", "dark")):
    for theme in themes:
        page.emulate_media(color_scheme=theme)
        found = Axe().run(page).response["violations"]
        grave = [one for one in found if one["impact"] in ("serious", "critical")]
        assert not grave, [(one["id"], one["help"], [node["html"][:200] for node in one["nodes"][:5]]) for one in grave]


def test_the_list(room, page):
    page.goto(room.address)
    page.wait_for_selector(".cases-list[aria-busy=false]")
    check(page)


def test_a_case_beside_another(room, page):
    open_case(page, room.to(VOLUME, "first", "second"))
    check(page)


def test_correcting_and_saving(room, page):
    open_case(page, room.to("demo-01", "first"))
    choose(page, "At least")
    correct(page)
    drag(page, (100, 20), (100, 30))
    check(page)
    page.keyboard.press("s")
    page.wait_for_selector("dialog[open]")
    check(page)


def test_the_help(room, page):
    open_case(page, room.to("demo-01", "first"))
    page.keyboard.press("?")
    page.wait_for_selector("dialog[open]")
    check(page, ["light"])
