"""A whole session on a CT series with the shipped model: what is saved is what was on the screen, voxel for voxel."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dicom_series import write_series
from hands import choose, correct, drag, open_case, save, seen_volume, shown, state_of
from pydicom import dcmread
from rooms import planes, serving

from plurimask.files.locate import open_study
from plurimask.files.mask_sets import write_mask_set
from plurimask.sampling import load, parse_region, sample_study

NODULE = (slice(42, 66), slice(61, 89))
STEP = 2.5


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A nodule on five slices of 0.8 x 0.6 x 2.5 mm, and four samples of two steps on two of these."""
    root = tmp_path_factory.mktemp("session")
    (case,) = planes("demo-01")
    stored = case.image[0][NODULE][..., None] + np.arange(5)
    write_series(root / "scan", stored.astype(np.int16), spacing=(0.8, 0.6), step=STEP)
    model, opened = load("lidc-cimd"), open_study(root / "scan")
    few = sample_study(model, opened, 4, 0, model.sampler(steps=2), parse_region("12,14,1:3"))
    write_mask_set(root / "masks" / "few" / few.name, few)
    panels = {"few": {few.name: few}}
    with serving(root / "masks" / "few", root / "saved", root / "scan", "lidc-cimd", panels=panels) as place:
        yield place


def test_a_whole_session(study, page):
    open_case(page, study.to("scan", "few"))
    scroll(page)
    page.locator("#agreement input[type=range]").press("End")
    page.locator("#agreement", has_text="in at least 4 of 4").wait_for()
    page.locator("#film [role=option]").nth(2).dblclick()
    number = state_of(page, "sample")
    draw_and_cancel(page)

    choose(page, "Sample")
    correct(page)
    sample = study.panels["few"]["scan"].masks[number]
    assert np.array_equal(seen_volume(page, 2), sample)
    for axis in (0, 1, 2):
        edit_across(page, axis)
    screens = [seen_volume(page, axis) for axis in range(3)]
    assert (screens[0] != sample).sum() > 40
    assert np.array_equal(screens[0], screens[1])
    assert np.array_equal(screens[0], screens[2])

    first = Path(save(page, kind="NIfTI")["file"])
    kept = first.read_bytes()
    assert np.array_equal(nib.load(first).get_fdata() > 0, screens[0])
    drag(page, (2, 15), (2, 25))
    screen = seen_volume(page, 2)
    assert (screen != screens[0]).any()
    second = Path(save(page, kind="DICOM SEG")["file"])
    assert np.array_equal(segmented(second, screen.shape), screen)
    assert [path.parent.name for path in (first, second)] == ["0001", "0002"]
    assert first.read_bytes() == kept

    page.reload()
    page.get_by_text("Saved before (2)").wait_for()
    assert state_of(page, "description")["samples"] == 8


def scroll(page):
    """A slice on by the wheel, and back by a key."""
    first = state_of(page, "slice")
    page.locator(".stage").first.hover()
    page.mouse.wheel(0, 60)
    page.wait_for_function(f"() => document.querySelector('.stage canvas').dataset.slice === '{first + 1}'")
    page.keyboard.press("ArrowUp")
    page.wait_for_function(f"() => document.querySelector('.stage canvas').dataset.slice === '{first}'")


def draw_and_cancel(page):
    page.wait_for_selector("#draw .row button:enabled")
    page.get_by_role("button", name="Draw 4 more samples").click()
    page.locator(".facts", has_text="8 samples").wait_for()
    page.get_by_role("button", name="Draw 64 more samples").click()
    page.locator("#draw .drawing button:enabled").click()
    page.locator("#said", has_text="Cancelled: nothing was added").wait_for()


def edit_across(page, axis):
    """A stroke that stays, one that is taken back, and one that takes away, on the shown slice across an axis."""
    page.locator(".toolbar fieldset label").nth(2 - axis).click()
    shown(page)
    rows, columns = np.delete([24, 28, 5], axis)
    page.keyboard.press("b")
    drag(page, (rows // 4, 1), (rows // 2, columns - 2))
    drag(page, (0, 0), (rows - 1, 0))
    page.keyboard.press("Control+z")
    page.keyboard.press("e")
    drag(page, (rows // 2, columns // 2), (rows // 2, columns - 1))
    page.keyboard.press("b")


def segmented(path, shape):
    """The mask of a DICOM SEG, its frames placed by their position along the axis of the body."""
    mask = np.zeros(shape, dtype=bool)
    built = dcmread(path)
    pixels = built.pixel_array.reshape(-1, *shape[:2])
    for frame, plane in zip(built.PerFrameFunctionalGroupsSequence, pixels, strict=True):
        height = float(frame.PlanePositionSequence[0].ImagePositionPatient[2])
        mask[..., round((height + 300) / STEP)] = plane
    return mask
