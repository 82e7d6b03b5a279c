"""Saving from the page: what is on screen is what lies on disk, and what lies there stays."""

import json
from hashlib import sha256
from pathlib import Path

import nibabel as nib
import numpy as np
from hands import choose, open_case, save, state_of
from rooms import VOLUME


def mask_of(path):
    return np.asanyarray(nib.load(path).dataobj).astype(bool)


def test_a_sample_is_saved_as_it_is(room, page):
    open_case(page, room.to(VOLUME, "first"))
    choose(page, "Sample")
    number = state_of(page, "sample")
    said = save(page, "Ada Lovelace", "spiculated")
    path = Path(said["file"])
    assert np.array_equal(mask_of(path), room.panels["first"][VOLUME].masks[number])
    assert sha256(path.read_bytes()).hexdigest() == said["sha256"]
    record = json.loads((path.parent / "saved.json").read_text())
    assert (record["author"], record["note"]) == ("Ada Lovelace", "spiculated")
    assert record["origin"] == {"kind": "sample", "sample": number}


def test_nothing_is_overwritten(room, page):
    open_case(page, room.to("demo-02", "first"))
    choose(page, "At least")
    first = Path(save(page)["file"])
    kept = first.read_bytes()
    page.locator("#agreement input[type=range]").press("ArrowRight")
    level = state_of(page, "level")
    second = Path(save(page)["file"])
    assert [path.parent.name for path in (first, second)] == ["0001", "0002"]
    assert first.read_bytes() == kept
    held = room.panels["first"]["demo-02"].masks.sum(axis=0)
    assert np.array_equal(mask_of(first)[..., 0], held >= level - 1)
    assert np.array_equal(mask_of(second)[..., 0], held >= level)
    page.get_by_text("Saved before (2)").click()
    assert page.locator("#saving li").first.inner_text().startswith(f"0002 · at least {level} samples")


def test_who_saved_is_remembered(room, page):
    open_case(page, room.to("demo-03", "first"))
    choose(page, "Nothing")
    assert not mask_of(save(page, "Ada Lovelace")["file"]).any()
    page.reload()
    choose(page, "Nothing")
    page.keyboard.press("s")
    assert page.get_by_label("Saved by").input_value() == "Ada Lovelace"


def test_what_cannot_be_read_of_earlier_is_said(room, page):
    page.route("**/saved", lambda route: route.abort())
    open_case(page, room.to("demo-01", "first"))
    page.get_by_text("What was saved before cannot be read: the server does not answer").wait_for()


def test_a_browser_that_keeps_nothing_still_shows_and_saves(room, alone):
    alone.add_init_script("Object.defineProperty(window, 'localStorage', { get() { throw new Error('blocked'); } })")
    open_case(alone, room.to("demo-02", "first"))
    choose(alone, "Nothing")
    assert not mask_of(save(alone, "Ada")["file"]).any()
    alone.keyboard.press("s")
    assert alone.get_by_label("Saved by").input_value() == "Ada"


def test_what_went_wrong_is_said_and_can_be_tried_again(room, page):
    room.out.mkdir(exist_ok=True)
    (room.out / "demo-05").write_text("a file in the way")
    open_case(page, room.to("demo-05", "first"))
    choose(page, "Nothing")
    page.keyboard.press("s")
    page.get_by_label("Saved by").fill("Ada")
    page.locator("dialog.saving button[type=submit]").click()
    page.locator("dialog.saving .fault:not([hidden])").wait_for()
    assert page.locator("dialog.saving button[type=submit]").is_enabled()
    (room.out / "demo-05").unlink()
    page.locator("dialog.saving button[type=submit]").click()
    page.locator(".receipt").wait_for()


def test_many_masks_at_once_cannot_be_saved(room, page):
    open_case(page, room.to("demo-01", "first"))
    for mode in ("Outlines", "Frequency"):
        page.locator("#layers label", has_text=mode).click()
        assert page.locator("#saving > button").is_disabled()
