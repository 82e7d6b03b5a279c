"""What is painted lies where its voxels do, and people can move it by pointer and by key."""

import base64
import io
import itertools
import json
import shutil

import numpy as np
import pytest
from hands import open_case, places, shown, state_of
from PIL import Image
from rooms import SIZE, VOLUME, panel, planes, serving
from scipy.ndimage import distance_transform_edt

from plurimask.files.mask_sets import write_mask_set
from plurimask.records import MaskSet
from plurimask.show.raster import READER_COLOURS, SAMPLE_COLOUR, frequency_colours, outline_opacity
from plurimask.viewer.views import as_radiologists_look, window

HOSTILE = '<img src=x onerror="document.title=1"> & "co'
# Which array axis runs to the right and which one down, and whether it does so backwards, as radiologists have them:
# the volume's rows run to the back, its columns to the left, its slices to the head.
IS_SHARP = """() => {
  const stage = document.querySelector(".stage");
  return stage.firstElementChild.width === Math.round(stage.clientWidth * devicePixelRatio);
}"""
SCREEN = {2: ((1, False), (0, False)), 0: ((1, False), (2, True)), 1: ((0, False), (2, True))}


@pytest.fixture
def volume(room, page):
    """A page on the volume of the first source, without readers' outlines."""
    open_case(page, room.to(VOLUME, "first"))
    page.keyboard.press("r")
    return page


def cut(page, axis):
    """Cut the volume across an axis by the page's own buttons."""
    page.locator(f"input[name=axis][value='{axis}']").check(force=True)
    shown(page)


def picture(page):
    """The pixels of the first canvas, (h, w, 3), and the slice that they show."""
    shown(page)
    canvas = page.locator(".stage canvas").first
    coded = canvas.evaluate("one => one.toDataURL('image/png')").partition(",")[2]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(coded))).convert("RGB")), int(
        canvas.get_attribute("data-slice")
    )


def voxels(grid, axis, index, size):
    """Which voxel each pixel of a canvas (h, w) shows, as an index of three arrays; which pixels show any; and how far,
    in pixels, each is from the next edge. Reckoned here from the grid alone."""
    spans = [(n, step) for n, step in zip(grid.shape, grid.spacing_mm, strict=True)]
    (x, _), (y, _) = SCREEN[axis]
    zoom = min(size[1] / np.prod(spans[x]), size[0] / np.prod(spans[y]))
    found, inside, away = [np.full(size, index)] * 3, np.ones(size, bool), np.full(size, np.inf)
    for pixels, length, (array_axis, backwards) in zip(np.indices(size)[::-1], size[::-1], SCREEN[axis], strict=True):
        count, step = spans[array_axis]
        place = ((pixels + 0.5 - length / 2) / zoom + count * step / 2) / step
        inside &= (place >= 0) & (place < count)
        away = np.minimum(away, np.abs(place - np.rint(place)) * step * zoom)
        numbers = np.floor(place).astype(int).clip(0, count - 1)
        found[array_axis] = count - 1 - numbers if backwards else numbers
    return tuple(found), inside, away


def test_the_image_lies_where_its_voxels_do(volume, room):
    case = room.cases[VOLUME]
    low, high = window(case.image)
    volume.keyboard.press("5")
    for axis in range(3):
        cut(volume, axis)
        pixels, index = picture(volume)
        where, inside, away = voxels(case.grid, axis, index, pixels.shape[:2])
        grey = np.floor(((case.image[0][where] - low) * 255 / (high - low) + 0.5).clip(0, 255)) * inside
        assert np.abs(pixels[..., 0].astype(float) - grey)[away > 1].max() <= 1


def off_the_edges(pixels, mask):
    """The farthest, in pixels, that a line of samples is from an edge of a mask, and an edge from a line."""
    edge = np.zeros(mask.shape, bool)
    for axis in (0, 1):
        changes = np.diff(mask, axis=axis)
        for end in (slice(None, -1), slice(1, None)):
            edge[(end, slice(None)) if axis == 0 else (slice(None), end)] |= changes
    line = (np.abs(pixels.astype(int) - [255, 196, 0]) < 40).all(axis=-1)
    assert edge.sum() > 200
    return distance_transform_edt(~edge)[line].max(), distance_transform_edt(~line)[edge].max()


def test_an_outline_runs_along_the_edges_of_its_voxels(room, alone):
    screen = alone.context.new_cdp_session(alone)
    open_case(alone, room.to(VOLUME, "first"))
    alone.keyboard.press("r")
    alone.keyboard.press("3")
    for axis, ratio in ((0, 1), (1, 1), (2, 1), (1, 1.5)):
        screen.send("Emulation.setDeviceMetricsOverride", {**SIZE, "deviceScaleFactor": ratio, "mobile": False})
        cut(alone, axis)
        alone.wait_for_function(IS_SHARP)
        pixels, index = picture(alone)
        where, inside, _ = voxels(room.cases[VOLUME].grid, axis, index, pixels.shape[:2])
        mask = room.panels["first"][VOLUME].masks[state_of(alone, "sample")][where] & inside
        assert max(off_the_edges(pixels, mask)) <= 1.5 * ratio


def test_the_frequency_map_says_how_many_hold_each_voxel(volume, room):
    volume.keyboard.press("2")
    cut(volume, 1)
    pixels, index = picture(volume)
    where, inside, away = voxels(room.cases[VOLUME].grid, 1, index, pixels.shape[:2])
    masks = room.panels["first"][VOLUME].masks
    counts = masks.sum(axis=0)[where] * inside
    colours = frequency_colours(len(masks))[counts][..., :3] * 255
    assert len(np.unique(counts)) > 4
    assert np.abs(pixels - colours)[(counts > 0) & (away > 1)].max() <= 3


def test_colours_are_those_of_the_package(modules):
    script = """async () => {
      const { SAMPLE, readerColour, frequencyColour, outlineOpacity } = await import("./paint.js");
      const counts = [1, 4, 16, 100];
      const map = counts.map((n) => Array.from({ length: n }, (_, k) => frequencyColour(k + 1, n)));
      return [SAMPLE, [0, 1, 2, 3, 4, 5].map(readerColour), counts.map(outlineOpacity), map];
    }"""
    sample, readers, opacity, maps = modules.evaluate(script)
    assert (sample, tuple(readers)) == (SAMPLE_COLOUR, READER_COLOURS)
    assert opacity == pytest.approx([outline_opacity(count) for count in (1, 4, 16, 100)])
    for one in maps:
        assert np.abs(frequency_colours(len(one))[1:, :3] * 255 - one).max() <= 3


def test_volumes_are_turned_as_radiologists_have_them_whatever_the_order_of_their_axes(modules):
    turned = [
        [[sign * float(place == one) for place in range(3)] for one, sign in zip(order, signs, strict=True)]
        for order in itertools.permutations(range(3))
        for signs in itertools.product((1, -1), repeat=3)
    ]
    script = """async (turned) => {
      const { planeOf } = await import("./view.js");
      const sides = ({ name, sides: { left, right, top, bottom } }) => [name, left, right, top, bottom].join(" ");
      const all = (axes) => [0, 1, 2].map((axis) => sides(planeOf({ shape: [4, 5, 6], spacing_mm: null, axes }, axis)));
      return turned.map((axes) => all(axes).sort());
    }"""
    expected = ["axial R L A P", "coronal R L S I", "sagittal A P S I"]
    assert modules.evaluate(script, turned) == [expected] * len(turned)


def test_a_thumbnail_is_turned_as_the_stage_is(modules):
    turned = [
        np.array([[sign * float(place == one) for place in range(3)] for one, sign in zip(order, signs, strict=True)])
        for order in itertools.permutations(range(3))
        for signs in itertools.product((1, -1), repeat=3)
    ]
    script = """async (turned) => {
      const { planeOf } = await import("./view.js");
      const first = (axes) => {
        const { xc, xr, yc, yr } = planeOf({ shape: [2, 2, 2], spacing_mm: null, axes }, 2);
        const corners = [[0, 0], [0, 1], [1, 0], [1, 1]];
        const place = ([r, c]) => 1000 * (yc * c + yr * r) + xc * c + xr * r;
        return corners.sort((one, other) => place(one) - place(other)).map(([r, c]) => 2 * r + c);
      };
      return turned.map(first);
    }"""
    plane = np.arange(4).reshape(2, 2)
    small = [as_radiologists_look(plane, axes[0], axes[1]).ravel().tolist() for axes in turned]
    assert modules.evaluate(script, [axes.tolist() for axes in turned]) == small


def test_another_channel_has_its_own_window(tmp_path, page):
    (case,) = planes("demo-01")
    folder = tmp_path / "data" / case.name
    folder.mkdir(parents=True)
    for channel, image in enumerate((case.image[0], case.image[0] / 7 + 5000)):
        np.save(folder / f"image{channel}.npy", image)
    with serving(tmp_path / "data", tmp_path / "saved") as place:
        open_case(page, place.to(case.name))
        first = state_of(page, "window")
        page.get_by_label("channel").select_option("2")
        shown(page)
        second = state_of(page, "window")
        page.get_by_label("channel").select_option("1")
        assert state_of(page, "window") == first
    assert second["low"] == pytest.approx(first["low"] / 7 + 5000, abs=1e-3)
    assert second["high"] == pytest.approx(first["high"] / 7 + 5000, abs=1e-3)


def test_slices_scroll(volume):
    place = state_of(volume, "slice")
    volume.locator(".stage").first.hover()
    for key, steps in (("ArrowDown", 1), ("ArrowUp", -1), ("PageUp", -10), ("PageDown", 10), (None, 1)):
        if key:
            volume.keyboard.press(key)
        else:
            volume.mouse.wheel(0, 120)
        place = min(15, max(0, place + steps))
        volume.wait_for_selector(f"canvas[data-slice='{place}']")
        assert volume.locator(".slider output").inner_text() == f"{place + 1} of 16"


def test_only_the_latest_slice_is_painted_of_many_that_are_passed(volume):
    for _ in range(40):
        volume.keyboard.press("ArrowUp")
    volume.wait_for_selector("canvas[data-slice='0']")
    shown(volume)
    assert picture(volume)[1] == 0


def under(page, x, y):
    """The row and column that the page says lie at a place of the window."""
    page.mouse.move(x, y)
    return page.locator(".under").first.inner_text().partition(" · ")[0]


def test_zoom_keeps_the_voxel_under_the_pointer(volume):
    ((x, y),) = places(volume, [(18.5, 27.5)])
    assert under(volume, x, y) == "row 19, column 28"
    volume.keyboard.down("Control")
    volume.mouse.wheel(0, -600)
    volume.keyboard.up("Control")
    volume.wait_for_function("() => document.querySelector('.zoom output').textContent !== '100%'")
    assert under(volume, x + 1, y + 1) == "row 19, column 28"


def test_a_drag_takes_the_image_along(volume):
    volume.keyboard.press("+")
    ((x, y),) = places(volume, [(18.5, 27.5)])
    volume.mouse.move(x, y)
    volume.mouse.down()
    volume.mouse.move(x + 70, y - 40, steps=3)
    volume.mouse.up()
    assert under(volume, x + 70, y - 40) == "row 19, column 28"


def width_and_centre(page):
    return [float(one.input_value()) for one in page.locator(".window input").all()]


def test_a_drag_of_the_right_button_changes_the_window(volume):
    ((x, y),) = places(volume, [(18.5, 27.5)])
    for dx, dy, changed in ((60, 0, 0), (0, -60, 1)):
        before = width_and_centre(volume)
        volume.mouse.move(x, y)
        volume.mouse.down(button="right")
        volume.mouse.move(x + dx, y + dy)
        volume.mouse.up(button="right")
        after = width_and_centre(volume)
        assert after[changed] > before[changed]
        assert after[1 - changed] == before[1 - changed]


def test_the_window_can_be_changed_by_keys_and_put_back(volume):
    before = width_and_centre(volume)
    for key in "lljik":
        volume.keyboard.press(key)
    changed = width_and_centre(volume)
    volume.keyboard.press("u")
    assert changed[0] > before[0]
    assert width_and_centre(volume) == before


def test_a_theme_is_chosen_and_kept(volume):
    paper = "getComputedStyle(document.documentElement).backgroundColor"
    light = volume.evaluate(paper)
    volume.keyboard.press("t")
    volume.keyboard.press("t")
    dark = volume.evaluate(paper)
    volume.reload()
    assert dark != light
    assert volume.evaluate(paper) == dark


def test_two_sources_lie_side_by_side_on_the_same_slice(room, page):
    open_case(page, room.to(VOLUME, "first", "second"))
    page.wait_for_function("() => document.querySelectorAll('canvas[data-slice]').length === 2")
    page.keyboard.press("ArrowDown")
    k = state_of(page, "slice")
    page.wait_for_function(f"() => document.querySelectorAll('canvas[data-slice=\"{k}\"]').length === 2")
    ((x, y),) = places(page, [(18.5, 27.5)])
    page.mouse.move(x, y)
    said = page.locator(".under").all_inner_texts()
    held = {name: int(room.panels[name][VOLUME].masks[:, 18, 27, k].sum()) for name in ("first", "second")}
    assert f"{held['first']} of 12 samples" in said[0]
    assert f"{held['second']} of 7 samples" in said[1]


def test_a_letter_does_nothing_outside_of_the_image_where_keys_are_off(volume):
    volume.keyboard.press("?")
    volume.locator("dialog.help input").uncheck()
    volume.locator("dialog.help button").click()
    volume.evaluate("document.activeElement.blur()")
    volume.keyboard.press("2")
    assert state_of(volume, "mode") == "outlines"


def test_help_leads_to_the_description_of_the_interface(room, page):
    page.goto(room.address)
    page.get_by_role("button", name="Keys and help").click()
    page.get_by_role("link", name="HTTP interface").click()
    described = json.loads(page.locator("body").inner_text())
    assert described["info"]["title"] == "plurimask reading room"
    assert all(item for item in described["paths"].values())


def test_a_case_that_is_not_there_is_said_in_one_line(room, page):
    page.goto(room.to("nobody", "first"))
    page.wait_for_selector("#error:not([hidden])")
    assert page.locator("#error").inner_text() == "no such case"


def test_what_files_and_folders_say_is_text_whatever_it_is(page, tmp_path):
    one = panel(planes("demo-01")[0], 3, 0)
    write_mask_set(tmp_path / "masks" / "plain", MaskSet("plain", one.masks, one.grid, HOSTILE))
    shutil.copytree(tmp_path / "masks" / "plain", tmp_path / "masks" / HOSTILE)
    with serving(tmp_path / "masks", tmp_path / "saved") as place:
        open_case(page, place.to("plain"))
        page.wait_for_selector(".case-name >> nth=1")
        assert HOSTILE in page.locator("#header .facts").inner_text()
        assert HOSTILE in page.locator(".case-name").all_inner_texts()
        assert page.locator("[onerror]").count() == 0
