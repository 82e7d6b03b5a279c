"""Folders of other ecosystems: MONAI loads and runs a bundle as we draw, and a hub's folder is a model as before."""

import json
from functools import partial

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow
from monai.bundle import load as load_bundle
from PIL import Image
from said import command
from tiny import image, write_weights

import plurimask as pm
from plurimask.files.mask_sets import read_stack
from plurimask.training.checkpoint import BUILT_IN


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "licence.txt").write_text("Yours to use.")
    return write_weights(tmp_path / "mine.safetensors")


@pytest.fixture
def export(monkeypatch, capsys, tmp_path):
    """Run `plurimask export` of a model in a format, into a folder of the format's name."""

    def call(model, format, *options):
        return run("export", model, "--format", format, "--out", tmp_path / format, *options)

    run = partial(command, monkeypatch, capsys)
    return call


@pytest.mark.filterwarnings("ignore::UserWarning")  # MONAI's, of any bundle
def test_monai_loads_and_runs_a_bundle_as_we_draw(mine, export, tmp_path):
    assert export(mine, "monai-bundle", "--licence", tmp_path / "licence.txt").code == 0
    root, shown = tmp_path / "monai-bundle", image(3)
    expected = pm.load(mine, "cpu").sample(shown, 16).masks
    assert 0.01 < expected.mean() < 0.99
    net = load_bundle("monai-bundle", workflow_type="inference", bundle_dir=tmp_path, source="github", device="cpu")
    np.testing.assert_array_equal(net(torch.from_numpy(shown)[None])[0], expected)
    (root / "images").mkdir()
    Image.fromarray(shown[0].astype("u1")).save(root / "images" / "a.png")
    nib.save(nib.Nifti1Image(shown[0], np.diag([0.5, 0.7, 1, 1])), root / "images" / "b.nii.gz")
    configs = {f"{what}_file": str(root / "configs" / f"{name}.json") for what, name in _FILES.items()}
    workflow = ConfigWorkflow(**configs, workflow_type="inference", bundle_root=str(root), count=4)
    workflow.initialize()
    workflow.run()
    for name, spacing in (("a", (1, 1)), ("b", (0.5, 0.7))):
        masks, grid = read_stack(root / "panels" / f"{name}_panel.nii.gz")
        np.testing.assert_array_equal(masks, expected[:4])
        assert grid.spacing_mm == pytest.approx(spacing)
    assert (root / "LICENSE").read_text() == "Yours to use."


_FILES = {"config": "inference", "meta": "metadata"}


def test_a_hubs_folder_is_the_model(mine, export, tmp_path):
    assert export(mine, "hub", "--licence", tmp_path / "licence.txt").code == 0
    here, there = pm.load(mine, "cpu"), pm.load(tmp_path / "hub", "cpu")
    assert (there.name, there.checkpoint.digest) == ("hub", here.checkpoint.digest)
    config = json.loads((tmp_path / "hub" / "config.json").read_text())
    assert config["recipe"] == here.recipe.model_dump(mode="json")
    assert (tmp_path / "hub" / "README.md").read_text().startswith("---\nlicense: other\n")


def test_a_model_that_ships_brings_its_card_and_licence_and_others_are_asked_for_one(mine, export, tmp_path):
    assert export(mine, "hub").refused("--licence: expected that of the weights of mine")
    assert export(mine, "hub", "--licence", tmp_path / "none").refused("expected a text file")
    assert not (tmp_path / "hub").exists()
    assert export("phantom", "hub").code == 0
    assert (tmp_path / "hub" / "README.md").read_text() == (BUILT_IN / "phantom.md").read_text()
    licence = (tmp_path / "hub" / "LICENSE").read_text()
    assert "Apache License" in licence
    assert "CC BY 3.0" in licence
