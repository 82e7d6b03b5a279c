"""Between one case, slice or source and the next: what is on screen is what the page says it is; errors are seen."""

import re

import pytest
from hands import choose, correct, drag, open_case, places, shown, state_of
from rooms import SIZE, VOLUME

from plurimask.viewer.library import name_id

BLANK = ".stage canvas:not([data-slice])"
SOON = 5000


@pytest.fixture
def waiting(page):
    """Call it with a pattern of addresses: requests for these wait until what it returned is called."""

    def hold(pattern):
        held, is_over = [], []
        page.route(re.compile(pattern), lambda route: route.continue_() if is_over else held.append(route))

        def release():
            is_over.append(True)
            for route in held:
                route.continue_()

        return release

    return hold


@pytest.fixture
def unreachable(page):
    """Call it with a pattern of addresses: the server does not answer at these."""
    return lambda pattern: page.route(re.compile(pattern), lambda route: route.abort())


def go(page, address):
    page.evaluate("address => { location.href = address }", address)


def set_slice(page, k):
    page.evaluate("async (k) => (await import('./actions.js')).setSlice(k)", k)


def named(page, name):
    page.wait_for_function("name => document.querySelector('h1').textContent === name", arg=name)


def test_an_earlier_case_is_not_shown_under_the_name_of_the_next(room, page, waiting):
    open_case(page, room.to(VOLUME, "first"))
    release = waiting(r"/image/")
    set_slice(page, 14)
    go(page, room.to("demo-01", "first"))
    named(page, "demo-01")
    page.wait_for_selector(BLANK, state="attached", timeout=SOON)
    release()
    shown(page)


def test_a_slice_that_cannot_be_read_leaves_no_other_in_its_place(room, page, unreachable):
    open_case(page, room.to(VOLUME, "first"))
    unreachable(r"/image/14\?")
    set_slice(page, 14)
    page.locator("#error", has_text="the server does not answer").wait_for()
    page.wait_for_selector(BLANK, state="attached", timeout=SOON)


def test_a_source_that_cannot_be_read_is_not_shown_as_another_and_strokes_outlive_it(room, page, unreachable):
    open_case(page, room.to("demo-01", "second"))
    choose(page, "Nothing")
    correct(page)
    drag(page, (60, 20), (60, 30))
    unreachable(rf"/cases/[^/]+\?source={name_id('first')}$")
    go(page, room.to("demo-01", "first"))
    page.locator("#error", has_text="the server does not answer").wait_for()
    page.wait_for_selector(BLANK, state="attached", timeout=SOON)
    assert state_of(page, "description") is None
    go(page, room.to("demo-01", "second"))
    shown(page)
    assert state_of(page, "edit")["isUnsaved"]


def test_keys_of_the_list_do_no_harm_where_a_case_is_not_there(room, page):
    page.goto(room.to("nobody", "first"))
    page.locator("#error:not([hidden])").wait_for()
    page.keyboard.press("n")
    page.wait_for_timeout(500)
    assert page.url == room.to("nobody", "first")


def test_a_stroke_is_on_the_slice_that_is_seen(room, page, waiting):
    open_case(page, room.to(VOLUME, "first"))
    choose(page, "Nothing")
    correct(page)
    before = state_of(page, "slice")
    release = waiting(r"/image/14\?")
    set_slice(page, 14)
    drag(page, (20, 20), (25, 30))
    held = "async (k) => (await import('./state.js')).state.edit.value.mask.get(2, k).reduce((a, b) => a + b)"
    assert page.evaluate(held, before) > 10
    assert page.evaluate(held, 14) == 0
    release()


def test_the_strip_shows_the_latest_slice_whatever_comes_last(room, page, waiting):
    open_case(page, room.to(VOLUME, "first"))
    release = waiting(r"/image/14\?")
    with page.expect_request(re.compile(r"/image/14\?")):
        set_slice(page, 14)
    page.wait_for_timeout(300)
    set_slice(page, 5)
    page.wait_for_selector(".film[data-slice='5']", timeout=SOON)
    release()
    page.wait_for_selector(".stage canvas[data-slice='5']")
    page.wait_for_timeout(300)
    assert page.locator(".film").get_attribute("data-slice") == "5"


def test_nothing_is_said_of_a_place_of_an_earlier_case(room, page):
    open_case(page, room.to("demo-05", "first"))
    page.mouse.move(*places(page, [(100.5, 100.5)])[0])
    page.locator(".under", has_text="row 101").wait_for()
    go(page, room.to(VOLUME, "first"))
    named(page, VOLUME)
    shown(page)
    assert page.locator(".under").first.inner_text() == ""


def test_a_sample_is_shown_of_each_case_where_samples_are_shown_alone(room, page):
    open_case(page, room.to("demo-01", "first"))
    page.locator("#film [role=option]").nth(3).dblclick()
    go(page, room.to("demo-02", "first"))
    named(page, "demo-02")
    assert state_of(page, "sample") == state_of(page, "description")["groups"][0]["members"][0]


def test_another_screen_has_as_many_pixels_as_it_needs(room, alone):
    open_case(alone, room.to("demo-01", "first"))
    canvas = alone.locator(".stage canvas").first
    width = canvas.evaluate("one => one.width")
    screen = {**SIZE, "deviceScaleFactor": 2, "mobile": False}
    alone.context.new_cdp_session(alone).send("Emulation.setDeviceMetricsOverride", screen)
    alone.keyboard.press("+")
    alone.wait_for_function(
        "width => document.querySelector('.stage canvas').width === 2 * width", arg=width, timeout=SOON
    )


def test_a_stroke_counts_though_the_brush_was_put_away_before_its_end(room, page):
    open_case(page, room.to("demo-01", "first"))
    choose(page, "Nothing")
    correct(page)
    start, end = places(page, [(60.5, 20.5), (60.5, 30.5)])
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end)
    page.keyboard.press("Escape")
    page.mouse.up()
    assert state_of(page, "edit")["isUnsaved"]


def test_strokes_made_while_others_are_being_saved_are_not_yet_saved(room, page, waiting):
    open_case(page, room.to("demo-03", "second"))
    choose(page, "Nothing")
    correct(page)
    drag(page, (60, 20), (60, 30))
    release = waiting(r"/saved$")
    page.keyboard.press("s")
    page.get_by_label("Saved by").fill("Ada")
    page.locator("dialog.saving button[type=submit]").click()
    page.keyboard.press("Escape")
    drag(page, (80, 20), (80, 30))
    with page.expect_response(lambda answer: answer.request.method == "POST"):
        release()
    page.locator("#saving summary", has_text="Saved before").wait_for()
    assert state_of(page, "edit")["isUnsaved"]


def test_another_case_closes_what_was_to_be_saved_of_this_one(room, page):
    open_case(page, room.to("demo-01", "first"))
    choose(page, "Nothing")
    page.keyboard.press("s")
    page.get_by_label("Saved by").wait_for()
    go(page, room.to("demo-02", "first"))
    named(page, "demo-02")
    assert not page.locator("dialog.saving").is_visible()
