"""axe finds nothing serious or critical on any view, in light and in dark."""

import pytest
from hands import choose, correct, drag, open_case
from rooms import VOLUME

Axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install '.[dev]'").Axe


def check(page):
    found = Axe().run(page).response["violations"]
    grave = [one for one in found if one["impact"] in ("serious", "critical")]
    assert not grave, [(one["id"], one["help"], [node["html"][:200] for node in one["nodes"][:5]]) for one in grave]


@pytest.fixture(params=["light", "dark"])
def themed(request, page):
    page.emulate_media(color_scheme=request.param)
    return page


def test_the_list(room, themed):
    themed.goto(room.address)
    themed.wait_for_selector(".cases-list[aria-busy=false]")
    check(themed)


def test_a_case_beside_another(room, themed):
    open_case(themed, room.to(VOLUME, "first", "second"))
    check(themed)


def test_correcting_and_saving(room, themed):
    open_case(themed, room.to("demo-01", "first"))
    choose(themed, "At least")
    correct(themed)
    drag(themed, (100, 20), (100, 30))
    check(themed)
    themed.keyboard.press("s")
    themed.wait_for_selector("dialog[open]")
    check(themed)


def test_the_help(room, page):
    open_case(page, room.to("demo-01", "first"))
    page.keyboard.press("?")
    page.wait_for_selector("dialog[open]")
    check(page)
