"""Representative panels from the command line: drawn from a pool, and chosen from anybody's masks."""

import numpy as np
import pytest
from running import files, grey, write_image

import plurimask as pm
from plurimask.cli import draw


def test_sample_draws_a_representative_panel(run, out, tmp_path, weights):
    scan = write_image(tmp_path / "scan.png", grey())
    said = run("sample", weights, scan, "--out", out, "--count", 3, "--panel", "representative", "--pool", 6)
    assert said.code == 0
    panel = pm.read_mask_set(out / "scan")
    assert (len(panel.masks), sum(panel.weights), panel.settings["panel"]) == (3, 6, "representative")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["--count", 9, "--panel", "representative", "--pool", 8],
            "pool: expected at least 9 masks to choose from, got 8",
        ),
        (["--pool", 8], "pool: expected none for independent draws, got 8; add --panel representative"),
    ],
)
def test_sample_refuses_a_pool_before_it_draws(run, out, tmp_path, weights, options, words):
    scan = write_image(tmp_path / "scan.png", grey())
    assert run("sample", weights, scan, "--out", out, *options).refused(words)
    assert not out.exists()


def test_sample_says_how_long_a_slow_pool_takes(run, out, tmp_path, weights, monkeypatch):
    """Once, at the first case."""
    monkeypatch.setattr(draw, "_LONG", 0.0)
    scans = [write_image(tmp_path / f"{name}.png", grey()) for name in "ab"]
    options = ["--count", 2, "--panel", "representative", "--pool", 50]
    said = run("sample", weights, *scans, "--out", out, *options)
    assert said.err.startswith("a: about ")
    assert said.err.count("for the pool that is drawn for each panel") == 1


def pool(folder, name="a", count=9, **more):
    masks = np.zeros((count, 8, 8), bool)
    for number, mask in enumerate(masks):
        mask[: number % 4, :3] = True
    pm.write_mask_set(folder / name, pm.MaskSet(name, masks, pm.Grid((8, 8)), **more))
    return folder


def test_select_chooses_masks_of_every_case(run, out, tmp_path):
    pool(tmp_path / "masks"), pool(tmp_path / "masks", "b", 12, method="theirs")
    said = run("select", tmp_path / "masks", "--count", 4, "--out", out)
    assert (said.code, said.out) == (0, f"4 representative masks of 2 cases in {out}\n")
    panels = [pm.read_mask_set(out / name) for name in "ab"]
    assert [sum(panel.weights) for panel in panels] == [9, 12]
    assert [panel.method for panel in panels] == [None, "theirs"]
    assert {mask.sum() for mask in panels[1].masks} == {0, 3, 6, 9}


def test_select_takes_masks_of_any_program(run, out, tmp_path):
    for number in range(5):
        write_image(
            tmp_path / f"masks/scan/mask{number}.png", (np.arange(64).reshape(8, 8) < 9 * number) * np.uint8(255)
        )
    assert run("select", tmp_path / "masks", "--count", 1, "--out", out).code == 0
    assert pm.read_mask_set(out / "scan").masks.sum() == 27  # of 0, 9, 18, 27 and 36, nested


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"count": 3}, "b: expected at least 4 masks to choose from, got 3"),
        ({"weights": (2,) * 9}, "b: expected independent masks to choose from, got a representative panel"),
    ],
)
def test_select_refuses_what_is_no_pool_and_leaves_nothing(run, out, tmp_path, more, words):
    pool(tmp_path / "masks"), pool(tmp_path / "masks", "b", **more)
    assert run("select", tmp_path / "masks", "--out", out).refused(words)
    assert not out.exists()


def test_select_refuses_a_folder_in_use(run, tmp_path):
    root, used = pool(tmp_path / "masks"), pool(tmp_path / "used")
    before = files(used)
    assert run("select", root, "--out", used).refused("expected a new or empty folder, got a in it; name another --out")
    assert files(used) == before
