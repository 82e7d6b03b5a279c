"""What a person does on the page, and what they see there."""

import numpy as np
import pytest

_MATRIX = """
  const [{ state }, { planeOf, matrixOf }] = await Promise.all([import("./state.js"), import("./view.js")]);
  const plane = planeOf(state.description.value, state.axis.value);
  const m = matrixOf(plane, state.view.value, stage.clientWidth, stage.clientHeight);
  const place = (r, c) => [m.a * c + m.c * r + m.e, m.b * c + m.d * r + m.f];
"""
_PLACES = f"""async (voxels) => {{
  const stage = document.querySelector(".stage");
  {_MATRIX}
  const {{ left, top }} = stage.getBoundingClientRect();
  return voxels.map(([r, c]) => place(r, c)).map(([x, y]) => [left + x, top + y]);
}}"""
_READ = f"""
  const stage = document.querySelector(".stage"), canvas = stage.querySelector("canvas");
  const read = async () => {{
    {_MATRIX}
    const {{ data }} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const isCyan = (i) => data[i + 2] - data[i] > 20;
    const at = ([x, y]) => 4 * (Math.floor(y * devicePixelRatio) * canvas.width + Math.floor(x * devicePixelRatio));
    const marked = (r, c) => Number(isCyan(at(place(r + 0.5, c + 0.5))));
    const rows = Array.from({{ length: plane.rows }}, (_, r) => r);
    return rows.map((r) => Array.from({{ length: plane.columns }}, (_, c) => marked(r, c)).join(""));
  }};
"""
_SEEN = f"async () => {{ {_READ} return read(); }}"
_SEEN_ALL = f"""async (axis) => {{
  {_READ}
  const [{{ state }}, {{ setAxis }}] = await Promise.all([import("./state.js"), import("./actions.js")]);
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  setAxis(axis);
  const found = [];
  for (let k = 0; k < state.description.value.shape[axis]; k += 1) {{
    state.slice.value = k;
    await frame();
    do await frame(); while (canvas.dataset.slice !== String(k));
    found.push(await read());
  }}
  return found;
}}"""


def open_case(page, address):
    """Go to a case and wait for its image."""
    page.goto(address)
    shown(page)


def shown(page):
    """Wait until the stage has painted a slice, and once more, so that it is the latest."""
    page.wait_for_selector("canvas[data-slice]")
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def state_of(page, name):
    """The value of a signal of the page's state."""
    return page.evaluate("async (name) => (await import('./state.js')).state[name].value", name)


def places(page, voxels):
    """Where voxels (row, column) of the shown plane are, in pixels of the window; a whole number is an edge."""
    return page.evaluate(_PLACES, [[float(r), float(c)] for r, c in voxels])


def drag(page, *voxels, button="left"):
    """Press on the middle of a voxel, and go on over those of the others; let go."""
    first, *rest = places(page, [(r + 0.5, c + 0.5) for r, c in voxels])
    page.mouse.move(*first)
    page.mouse.down(button=button)
    for place in rest:
        page.mouse.move(*place)
    page.mouse.up(button=button)


def seen(page):
    """Which voxels of the shown plane have the colour of a corrected mask in their middle: (rows, columns) bool.

    Read from the pixels of the canvas, where the image is grey.
    """
    shown(page)
    return _bits(page.evaluate(_SEEN))


def seen_volume(page, axis):
    """The same of all slices across an axis, one after the other on screen: (H, W, D) bool."""
    return np.moveaxis(np.stack([_bits(rows) for rows in page.evaluate(_SEEN_ALL, axis)]), 0, axis)


def _bits(rows):
    return np.array([list(row) for row in rows]) == "1"


def choose(page, kind):
    """Take a sample, a consensus or nothing: what a radio button of the panel says first."""
    page.locator("#edit label", has_text=kind).click()
    shown(page)


def correct(page):
    """Begin to correct what is on screen."""
    page.locator("#edit .taking button").click()
    page.wait_for_selector("#edit .correcting:not([hidden])")


def save(page, author="Ada", note=None, kind=None):
    """Save what is on screen; the dialog's answer as {file, sha256}."""
    page.locator("#saving > button").click()
    page.get_by_label("Saved by").fill(author)
    if note is not None:
        page.get_by_label("Note").fill(note)
    if kind is not None:
        page.locator("dialog.saving label", has_text=kind).click()
    page.locator("dialog.saving button[type=submit]").click()
    path, digest = (page.locator(".receipt dd").nth(place).inner_text() for place in (0, 1))
    page.locator(".receipt button").click()
    return {"file": path, "sha256": digest}


def grave_faults(page, within=None):
    """What axe finds of serious and critical faults, with the first elements: by all rules in the light theme, in the
    dark one by that of contrast, which alone depends on it."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install '.[dev]'").Axe()
    found = []
    for theme, rules in (("light", {}), ("dark", {"runOnly": ["color-contrast"]})):
        page.emulate_media(color_scheme=theme)
        found += axe.run(page, within, {"resultTypes": ["violations"]} | rules).response["violations"]
    elements = [(one["id"], [node["html"][:200] for node in one["nodes"][:5]], one["impact"]) for one in found]
    return [one for one in elements if one[2] in ("serious", "critical")]
