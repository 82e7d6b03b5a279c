"""Correcting a mask: what a brush reaches, what can be taken back, and that nothing is lost unasked."""

import numpy as np
import pytest
from hands import choose, correct, drag, open_case, seen, state_of
from rooms import VOLUME

PLANE = {"rows": 30, "columns": 40, "xc": 0.6, "xr": 0, "yc": 0, "yr": -2.5}


@pytest.fixture
def corrected(room, page):
    """A page on which a consensus of the first case is being corrected."""
    open_case(page, room.to("demo-01", "first"))
    page.locator("label.check", has_text="Readers").locator("input").uncheck()
    choose(page, "At least")
    level = state_of(page, "level")
    correct(page)
    return page, room.panels["first"]["demo-01"].masks.sum(axis=0) >= level


def reached(plane, start, end, radius):
    """Pixels whose middle is within `radius` mm of a line, by dense sampling of it; NaN on the rim."""
    height, width = abs(plane["yr"]), plane["xc"]
    rows, columns = np.indices((plane["rows"], plane["columns"])) + 0.5
    along = np.linspace(0, 1, 2001)[:, None, None]
    line = [start[axis] + along * (end[axis] - start[axis]) for axis in (0, 1)]
    away = np.hypot((rows - line[0]) * height, (columns - line[1]) * width).min(axis=0)
    inside = (away <= radius).astype(float)
    inside[np.abs(away - radius) < 1e-3] = np.nan
    return inside


def test_a_stroke_is_round_in_mm_and_without_gaps(modules):
    script = """async ([plane, from, to, radius]) => {
      const { stroked } = await import("./correcting.js");
      const place = ([row, column]) => ({ row, column });
      return [...stroked(new Uint8Array(plane.rows * plane.columns), plane, place(from), place(to), radius, 1)];
    }"""
    strokes = [((12.3, 20.8), (12.3, 20.8), 4.0), ((5.1, 3.2), (22.4, 33.9), 2.7), ((-6.0, 10.0), (8.5, 55.0), 5.0)]
    for start, end, radius in strokes:
        drawn = np.array(modules.evaluate(script, [PLANE, start, end, radius])).reshape(30, 40)
        true = reached(PLANE, start, end, radius)
        true[drawn.astype(bool) & (np.indices(drawn.shape) == np.floor(end)[:, None, None]).all(axis=0)] = np.nan
        assert np.nansum(true) > 20
        assert (drawn == true)[~np.isnan(true)].all()


def test_a_mask_is_the_same_across_all_axes(modules):
    shape = (5, 7, 4)
    truth = np.random.default_rng(0).random(shape) < 0.4
    script = """async ([shape, axis, planes]) => {
      const mask = new (await import("./masks.js")).EditMask(shape);
      planes.forEach((plane, k) => mask.set(axis, k, Uint8Array.from(plane)));
      const across = (one) => Array.from({ length: shape[one] }, (_, k) => [...mask.get(one, k)]);
      return [mask.count, [0, 1, 2].map(across)];
    }"""
    for axis in range(3):
        planes = np.moveaxis(truth, axis, 0).reshape(shape[axis], -1)
        count, found = modules.evaluate(script, [shape, axis, planes.astype(int).tolist()])
        assert count == truth.sum()
        for other in range(3):
            assert np.array_equal(found[other], np.moveaxis(truth, other, 0).reshape(shape[other], -1))


def test_what_can_be_taken_back_is_bounded(modules):
    script = """async () => {
      const undo = new (await import("./correcting.js")).Undo(100);
      const plane = new Uint8Array(10);
      for (let slice = 0; slice < 9; slice += 1) undo.add({ axis: 2, slice, before: plane, after: plane });
      const back = [];
      for (let one = undo.undo(); one; one = undo.undo()) back.push(one.slice);
      return [back, undo.canUndo, undo.isChanged, undo.canRedo, undo.redo().slice];
    }"""
    assert modules.evaluate(script) == [[8, 7, 6, 5, 4], False, True, True, 4]


def test_strokes_are_on_screen_where_they_were_made(corrected):
    page, before = corrected
    assert np.array_equal(seen(page), before)
    page.keyboard.press("[")
    page.keyboard.press("[")
    page.keyboard.press("[")
    drag(page, (100, 20), (100, 26))
    drag(page, (100, 23), button="right")
    wanted = before.copy()
    wanted[100, 20:27] = True
    wanted[100, 23] = False
    assert np.array_equal(seen(page), wanted)


def test_strokes_are_taken_back_and_made_again(corrected):
    page, before = corrected
    drag(page, (100, 20), (100, 30))
    drawn = seen(page)
    assert (drawn & ~before).sum() > 20
    page.keyboard.press("Control+z")
    assert np.array_equal(seen(page), before)
    page.get_by_role("button", name="Redo").click()
    assert np.array_equal(seen(page), drawn)
    assert page.get_by_role("button", name="Redo").is_disabled()


def test_leaving_with_strokes_asks(corrected, room):
    page, _ = corrected
    drag(page, (100, 20), (100, 30))
    asked = []
    page.once("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    page.evaluate("address => { location.href = address }", room.to("demo-02", "first"))
    page.wait_for_function("name => document.querySelector('h1').textContent === name", arg="demo-01")
    assert asked == ["The corrections have not been saved. Leave them?"]
    assert page.url == room.to("demo-01", "first")
    assert state_of(page, "edit")["isUnsaved"]
    page.once("dialog", lambda dialog: dialog.accept())
    page.evaluate("address => { location.href = address }", room.to("demo-02", "first"))
    page.wait_for_function("name => document.querySelector('h1').textContent === name", arg="demo-02")
    assert state_of(page, "edit") is None


def test_without_strokes_nothing_is_asked(corrected, room):
    page, _ = corrected
    asked = []

    def note(dialog):
        asked.append(dialog.message)
        dialog.accept()

    page.on("dialog", note)
    page.get_by_role("button", name="Stop correcting").click()
    page.remove_listener("dialog", note)
    assert state_of(page, "mode") == "consensus"
    assert not asked


def test_strokes_of_other_slices_are_taken_back_where_they_are(room, page):
    open_case(page, room.to(VOLUME, "first"))
    choose(page, "Nothing")
    correct(page)
    first = state_of(page, "slice")
    drag(page, (20, 20), (25, 30))
    page.keyboard.press("ArrowDown")
    drag(page, (10, 10))
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Control+z")
    assert state_of(page, "slice") == first + 1
    page.keyboard.press("Control+z")
    assert state_of(page, "slice") == first
    assert "nothing" in page.locator("#edit .correcting p").inner_text()
