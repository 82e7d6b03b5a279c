"""axe finds nothing serious or critical on any view, in light and in dark."""

from hands import choose, correct, drag, grave_faults, open_case
from rooms import VOLUME


def test_the_list(room, page):
    page.goto(room.address)
    page.wait_for_selector(".cases-list[aria-busy=false]")
    assert grave_faults(page) == []


def test_a_case_beside_another(room, page):
    open_case(page, room.to(VOLUME, "first", "second"))
    assert grave_faults(page) == []


def test_correcting_and_saving(room, page):
    open_case(page, room.to("demo-01", "first"))
    choose(page, "At least")
    correct(page)
    drag(page, (100, 20), (100, 30))
    assert grave_faults(page) == []
    page.keyboard.press("s")
    page.wait_for_selector("dialog[open]")
    assert grave_faults(page, "dialog[open]") == []


def test_the_help(room, page):
    open_case(page, room.to("demo-01", "first"))
    page.keyboard.press("?")
    page.wait_for_selector("dialog[open]")
    assert grave_faults(page, "dialog[open]") == []
