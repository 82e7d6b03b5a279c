"""Cases drawn as the workers of a cluster draw them: what is there already, and was drawn so, is left alone."""

from functools import partial

import numpy as np
import pytest
from in_turn import InTurn
from tiny import write_cases, write_weights

import plurimask as pm
from plurimask.files.mask_sets import DESCRIPTION, STACK
from plurimask.geometry import Grid
from plurimask.sampling import CaseDrawer, load


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """Weights, and a dataset of three cases."""
    folder = tmp_path_factory.mktemp("given")
    return write_weights(folder / "mine.safetensors"), write_cases(folder / "cases", count=3)


@pytest.fixture
def draw(given, tmp_path):
    """Draw all cases; gives the names of those that were written anew."""
    weights, data = given
    out = {"independent": tmp_path / "masks", "representative": tmp_path / "chosen"}

    def call(count=2, seed=0, sampler=None, data=data):
        dataset = pm.open_dataset(data)
        read = {name: partial(dataset.__getitem__, place) for place, name in enumerate(dataset.names)}
        before = {path: path.stat().st_ino for path in tmp_path.glob("*/*")}
        work = CaseDrawer(partial(load, weights, "cpu"), read, out, count, seed, sampler, pool=4)
        list(InTurn().map(work, {name: name for name in read}))
        written = (path for path in tmp_path.glob("*/*") if before.get(path) != path.stat().st_ino)
        return sorted(f"{path.parent.name} {path.name}" for path in written)

    return call


ALL = [f"{kind} case-{number:02d}" for kind in ("chosen", "masks") for number in range(3)]


def test_panels_are_those_of_the_model_and_complete_ones_are_left_alone(draw, given, tmp_path):
    assert draw() == ALL
    weights, data = given
    model, case = load(weights, "cpu"), pm.open_dataset(data)[1]
    for folder, panel in {
        "masks": model.sample(case, 2),
        "chosen": model.sample(case, 2, 0, None, "representative", 4),
    }.items():
        found = pm.read_mask_set(tmp_path / folder / "case-01")
        assert np.array_equal(found.masks, panel.masks)
        assert (found.seeds, found.settings, found.weights) == (panel.seeds, panel.settings, panel.weights)
    assert draw() == []
    (tmp_path / "masks" / "case-00" / f"{STACK}.npz").unlink()
    (tmp_path / "chosen" / "case-02" / DESCRIPTION).write_text("{")
    assert draw() == ["chosen case-02", "masks case-00"]


@pytest.mark.parametrize("changed", ["count", "seed", "sampler", "image"])
def test_what_was_drawn_otherwise_is_drawn_again(draw, given, tmp_path, changed):
    draw()
    if changed == "image":
        other = write_cases(tmp_path / "other" / "cases", count=3)
        (other / "case-00" / "image.png").write_bytes((other / "case-01" / "image.png").read_bytes())
        assert draw(data=other) == ["chosen case-00", "masks case-00"]
    else:
        asked = {"count": 3, "seed": 1, "sampler": load(given[0], "cpu").sampler("ddim", 2)}
        assert draw(**{changed: asked[changed]}) == ALL


def test_a_volume_at_another_spacing_is_complete_too(tmp_path):
    weights = write_weights(tmp_path / "spaced.safetensors", images="any-place", spacing_mm=1.4)
    grid, image = Grid((16, 16, 2), np.diag([0.7, 0.7, 3.0, 1.0])), np.random.default_rng(0).normal(size=(1, 16, 16, 2))
    case = pm.Case("deep", image.astype(np.float32), np.zeros((0, 16, 16, 2), dtype=bool), grid)
    draw = CaseDrawer(partial(load, weights, "cpu"), {"deep": lambda: case}, {"independent": tmp_path}, 2, 0)()
    written = []
    for _ in range(2):
        draw("deep")
        written.append((tmp_path / "deep" / DESCRIPTION).stat().st_ino)
    assert written[0] == written[1]
    assert pm.read_mask_set(tmp_path / "deep").settings["resampled_mm"] == [1.4, 1.4]
