"""Every example runs from its first line to its last, on small data and small models."""

import json
import runpy
import sys
import tomllib
import webbrowser
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from fastapi.testclient import TestClient
from PIL import Image
from tiny import SIZE, TREE, image, write_cases, write_weights

import plurimask as pm
from plurimask.geometry import Grid
from plurimask.records import MaskSet
from plurimask.training.recipe import load_recipe

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def run(monkeypatch, capsys):
    """Run an example with arguments; what it printed."""

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run


def as_changes(tree, prefix=""):
    """`key=value` of each value of a recipe's tree."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from as_changes(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}={json.dumps(value)}"


def test_scores_of_my_masks(run, tmp_path):
    data = write_cases(tmp_path / "data", count=4)
    for number in range(4):
        name = f"case-{number:02d}"
        masks = np.stack([np.array(Image.open(data / name / f"label{reader}.png")) > 0 for reader in (0, 1, 0, 1)])
        pm.write_mask_set(tmp_path / "masks" / name, MaskSet(name, masks, Grid((SIZE, SIZE)), "copies"))
    said = run("score_my_masks.py", data, tmp_path / "masks")
    assert "4 cases, 4 samples each" in said
    assert "copies" in said
    assert "majority x N" in said


def test_training_on_my_folder(run, tmp_path):
    data = write_cases(tmp_path / "data")
    for number in range(40):
        folder = tmp_path / "scans" / f"patient-{number}"
        folder.mkdir(parents=True)
        (data / f"case-{number:02d}" / "image.png").rename(folder / "ct.png")
        for reader in (0, 1):
            (data / f"case-{number:02d}" / f"label{reader}.png").rename(folder / f"reader_{reader}.png")
    said = run(
        "train_on_my_folder.py", tmp_path / "scans", tmp_path / "out", *as_changes(TREE), "training.crop_steps=0"
    )
    assert "40 cases, 40 to write; 2 readers" in said
    assert "U-GED" in said
    assert (tmp_path / "out/run/best.safetensors").exists()


def test_view_from_python(run, tmp_path, monkeypatch):
    pages = []
    monkeypatch.setattr(webbrowser, "open", lambda address: pages.append(address))
    served = []
    monkeypatch.setattr(uvicorn.Server, "run", lambda server, sockets: served.append(look(server.config.app, pages[0])))
    data = write_cases(tmp_path / "data", count=2)
    weights = write_weights(tmp_path / "tiny.safetensors")
    said = run("view_from_python.py", weights, data, tmp_path / "out")
    assert pages[0] in said
    assert served == [["case-00", "case-01"]]


def look(app, address):
    """The names of the cases that the page at an address lists."""
    browser = TestClient(app, base_url=address)
    return [case["name"] for case in browser.get("/api/v1/cases").json()["items"]]


def test_a_method_of_another_package_trains_and_draws(tmp_path, monkeypatch):
    """As after `pip install ./examples/method_in_one_file`, which writes these entry points beside the package."""
    folder = EXAMPLES / "method_in_one_file"
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    installed = tmp_path / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    (installed / "entry_points.txt").write_text(
        "".join(
            f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in one.items())
            for group, one in project["entry-points"].items()
        )
    )
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.syspath_prepend(str(tmp_path))
    small = as_changes(
        {"image_size": SIZE, "method": {"net": {"widths": [4, 8]}}, "training": TREE["training"] | {"crop_steps": 0}}
    )
    recipe = load_recipe(str(folder / "generous.toml"), tuple(small))
    pm.train(recipe, pm.open_dataset(write_cases(tmp_path / "data")), tmp_path / "run")
    panel = pm.load(str(tmp_path / "run")).sample(image(), count=3, seed=0)
    assert panel.masks.shape == (3, SIZE, SIZE)
    assert panel.method == "generous"
