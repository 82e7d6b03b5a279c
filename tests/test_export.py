"""Exported panels: they draw what PyTorch draws, without PyTorch, and are refused in one line where they cannot be."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from tiny import SIZE, image, write_weights
from typer.testing import CliRunner

from plurimask.cli import app
from plurimask.datasets.demo_cases import demo_cases
from plurimask.diffusion.samplers import SamplerSettings
from plurimask.errors import CheckpointError, InputError, MissingPackageError, SettingsError
from plurimask.export import PROGRAM, export_onnx
from plurimask.files.locate import Study
from plurimask.files.mask_sets import read_mask_set
from plurimask.geometry import Grid
from plurimask.methods.onnx_model import CARD, DENOISER, ENCODER, OnnxModel
from plurimask.records import Batch, Case
from plurimask.sampling import load, sample_study

pytest.importorskip("onnxruntime")
PANEL = {
    "orientations": 8,
    "name": "flow",
    "encoder": {"widths": [16, 24, 32], "blocks": 1},
    "denoiser": {"patch": 4, "widths": [32, 32], "blocks": 1},
    "windows": [16],
}
BIG = 48


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    weights = tmp_path_factory.mktemp("weights") / "mine.safetensors"
    return load(write_weights(weights, method=PANEL, image_size=BIG, sampler={"name": "ddim", "steps": 4}), "cpu")


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("exported") / "flow"
    export_onnx(model, out)
    return out


@pytest.mark.parametrize(("count", "steps"), [(5, 1), (20, 8)])
def test_masks_are_those_of_pytorch(model, folder, count, steps):
    shown = image(3, BIG)
    expected = model.sample(shown, count, seed=2, sampler=model.sampler("ddim", steps)).masks
    drawn = OnnxModel(str(folder)).masks(shown, count, seed=2, steps=steps)
    assert (drawn.shape, drawn.dtype) == (expected.shape, np.bool_)
    assert (drawn != expected).mean() < 0.002
    assert 0.01 < expected.mean() < 0.99


def test_the_unit_of_the_image_does_not_matter(folder):
    panel, shown = OnnxModel(folder), image(0, BIG)
    seeds = panel.masks(shown, 2), panel.masks(shown, 2)
    assert np.array_equal(*seeds)
    encoded = [panel._encoder.run({"image": values[None]})[0] for values in (shown, shown * 3 - 7)]
    np.testing.assert_allclose(*encoded, rtol=1e-4)


@pytest.mark.parametrize(("options", "steps"), [(["--count", "20"], 4), (["--count", "3", "--steps", "6"], 6)])
def test_its_own_program_draws_the_masks_of_pytorch_where_there_is_none(model, folder, tmp_path, options, steps):
    """Nor plurimask: the program and NumPy and ONNX Runtime are enough."""
    np.save(tmp_path / "image.npy", image(3, BIG))
    code = f"""
import runpy, sys
for name in ("torch", "plurimask", "pydantic", "scipy", "monai"):
    sys.modules[name] = None
sys.argv = ["draw.py", {str(tmp_path / "image.npy")!r}, {str(tmp_path / "masks.npy")!r}, *{options!r}, "--seed", "2"]
runpy.run_path({str(folder / PROGRAM)!r}, run_name="__main__")
"""
    subprocess.run([sys.executable, "-I", "-c", code], check=True)
    drawn = np.load(tmp_path / "masks.npy")
    expected = model.sample(image(3, BIG), len(drawn), seed=2, sampler=model.sampler("ddim", steps)).masks
    assert (drawn != expected).mean() < 0.002
    assert 0.01 < expected.mean() < 0.99


def test_its_own_program_refuses_in_one_line(folder, tmp_path):
    np.save(tmp_path / "image.npy", image(3, SIZE))
    command = [sys.executable, "-I", folder / PROGRAM, tmp_path / "image.npy", tmp_path / "masks.npy"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "image: expected (1, 48, 48) (channels, rows, columns), got (1, 16, 16); cut 48x48" in done.stderr


def test_the_command_draws_from_it_as_from_any_model(model, folder, tmp_path):
    np.save(tmp_path / "someone.npy", image(3, BIG)[0])
    words = ["sample", str(folder), str(tmp_path / "someone.npy"), "--out", str(tmp_path / "out"), "--count", "3"]
    done = CliRunner().invoke(app, [*words, "--runtime", "onnx"], catch_exceptions=False)
    assert done.exit_code == 0
    drawn, expected = read_mask_set(tmp_path / "out/someone"), model.sample(image(3, BIG), 3)
    assert (drawn.masks != expected.masks).mean() < 0.002
    assert (drawn.method, drawn.checkpoint, drawn.seeds) == ("flow", expected.checkpoint, expected.seeds)


@pytest.mark.parametrize(
    ("sampler", "size"), [(SamplerSettings(name="ddpm", steps=4), BIG), (SamplerSettings(name="dpm++", steps=3), 80)]
)
def test_any_sampler_and_any_study_will_do(model, folder, sampler, size):
    """The larger one is drawn from several fields that are blended."""
    case = Case("a", image(3, size), np.zeros((0, size, size), bool), Grid((size, size)))
    masks = [
        sample_study(drawer, Study(case, "npy", ()), 6, sampler=sampler, whole=True).masks
        for drawer in (model, load(folder, runtime="onnx"))
    ]
    assert (masks[0] != masks[1]).mean() < 0.002
    assert 0.01 < masks[0].mean() < 0.99


def test_an_exported_model_asks_for_its_runtime_and_does_not_learn(folder):
    with pytest.raises(CheckpointError, match="expected weights, got an exported model; add --runtime onnx"):
        load(folder)
    batch = Batch(torch.zeros(1, 1, BIG, BIG), torch.zeros(1, 1, BIG, BIG, dtype=torch.bool), torch.ones(1, 1) > 0)
    with pytest.raises(SettingsError, match="expected weights, got an exported model"):
        load(folder, runtime="onnx").method.loss(batch)


def test_another_method_is_not_exported(tmp_path):
    other = load(write_weights(tmp_path / "cimd.safetensors"), "cpu")
    with pytest.raises(
        SettingsError, match="expected a model of the method one-pass or flow, got cimd; of the other methods none"
    ):
        export_onnx(other, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_in_use_is_left_alone(model, tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(SettingsError, match="expected a new or empty folder, or that of an export, got mine"):
        export_onnx(model, tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "keep"


@pytest.mark.parametrize(
    ("shown", "match"),
    [
        (np.zeros((SIZE, SIZE)), r"expected \(1, 48, 48\) \(channels, rows, columns\), got \(1, 16, 16\); cut 48x48"),
        (np.zeros((2, BIG, BIG)), r"got \(2, 48, 48\)"),
        (np.full((BIG, BIG), np.nan), "expected finite numbers, got NaN"),
    ],
)
def test_images_that_do_not_fit_are_refused(folder, shown, match):
    with pytest.raises(InputError, match=match):
        OnnxModel(folder).masks(shown)


@pytest.mark.parametrize(("asked", "match"), [({"count": 0}, "at least one mask, got 0"), ({"steps": 0}, "1 to 1000")])
def test_numbers_that_make_no_panel_are_refused(folder, asked, match):
    panel = OnnxModel(folder)
    with pytest.raises(SettingsError, match=match):
        panel.masks(image(0, BIG), **asked)
    # Other numbers that are not said are the recipe's; a constant image is drawn on.
    assert np.array_equal(panel.masks(np.full((BIG, BIG), 7.0), 2), panel.masks(np.zeros((BIG, BIG)), 2, steps=4))


@pytest.mark.parametrize(
    "change",
    [
        {"format": "plurimask-panel-onnx-9"},
        {"cell": "wide"},
        {"cell": 0},
        {"gamma": ["one", "two"]},
        {"gamma": [[1.0], [0.5]]},
        {"gamma": [1.0, 0.5, 0.7]},
        {"gamma": [1.0, 0.5, 0.0]},
        {"gamma": []},
        {"image_size": 1e400},
    ],
)
def test_a_card_of_another_form_is_refused(folder, tmp_path, change):
    (tmp_path / CARD).write_text(json.dumps(json.loads((folder / CARD).read_text()) | change))
    with pytest.raises(CheckpointError, match="expected a folder of plurimask export"):
        OnnxModel(tmp_path)


@pytest.mark.parametrize("content", ["[" * 100_000, '{"format": ' + "1" * 5000 + "}", "3"])
def test_a_card_that_is_no_table_is_refused(tmp_path, content):
    (tmp_path / CARD).write_text(content)
    with pytest.raises(CheckpointError, match="expected a folder of plurimask export"):
        OnnxModel(tmp_path)


def test_the_recipe_of_another_method_is_refused(folder, tmp_path):
    other = copied(folder, tmp_path)
    card = json.loads((other / CARD).read_text())
    (other / CARD).write_text(
        json.dumps(
            card | {"recipe": card["recipe"] | {"method": {"name": "unet", "net": {"widths": [4, 8]}}, "sampler": None}}
        )
    )
    with pytest.raises(CheckpointError, match="expected an exported model, got a recipe of unet"):
        load(other, runtime="onnx")


def copied(folder, to):
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to


def test_another_net_is_refused_when_it_is_loaded_or_first_asked(folder, tmp_path):
    swapped = copied(folder, tmp_path)
    (swapped / DENOISER).write_bytes((folder / ENCODER).read_bytes())
    with pytest.raises(
        CheckpointError, match=rf"{DENOISER}: expected the ONNX file of an export, got a net that takes im"
    ):
        OnnxModel(swapped)
    # The nets of another export: the inputs are the same, their sizes are not.
    card = json.loads((folder / CARD).read_text())
    (copied(folder, tmp_path) / CARD).write_text(json.dumps(card | {"image_channels": 2}))
    with pytest.raises(CheckpointError, match=rf"{ENCODER}: expected the ONNX file of an export, got .*image"):
        OnnxModel(tmp_path).masks(np.zeros((2, BIG, BIG)), 1)


def test_whatever_is_damaged_in_a_net_is_refused(folder, tmp_path):
    content = bytearray((copied(folder, tmp_path) / ENCODER).read_bytes())
    draw, refused = np.random.default_rng(0), 0
    for _ in range(20):
        damaged = bytearray(content)
        for place in draw.integers(len(damaged), size=20):
            damaged[place] ^= int(draw.integers(1, 256))
        (tmp_path / ENCODER).write_bytes(damaged)
        try:
            OnnxModel(tmp_path).masks(image(0, BIG), 1)
        except CheckpointError as error:
            refused += "expected the ONNX file of an export" in str(error)
    assert refused > 5


def test_a_damaged_net_is_refused(folder, tmp_path):
    (copied(folder, tmp_path) / DENOISER).write_bytes(b"nothing of the kind")
    with pytest.raises(CheckpointError, match="expected the ONNX file of an export"):
        OnnxModel(tmp_path)


def test_a_missing_runtime_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingPackageError, match=r'pip install "plurimask\[onnx\]"'):
        OnnxModel(folder)


@pytest.fixture(scope="module")
def one_pass():
    return load("lidc-one-pass", "cpu")


@pytest.fixture(scope="module")
def generator(one_pass, tmp_path_factory):
    out = tmp_path_factory.mktemp("exported") / "one-pass"
    assert export_onnx(one_pass, out) < 0.002
    return out


def test_one_pass_draws_a_real_slice_as_pytorch_does(one_pass, generator):
    """Both kinds of panel, by the folder itself and through plurimask."""
    case, exported, runtime = demo_cases()[2], OnnxModel(generator), load(generator, runtime="onnx")
    independent = one_pass.sample(case, 20, seed=1).masks
    assert independent.any()
    assert (independent != exported.masks(case.image, 20, seed=1)).sum() <= 2
    assert (independent != runtime.sample(case, 20, seed=1).masks).sum() <= 2
    expected = one_pass.sample(case, 4, panel="representative", pool=40)
    masks, weights = exported.representative(case.image, 4, pool=40)
    assert (expected.masks != masks).sum() <= 2
    assert expected.weights == tuple(weights)
    assert runtime.sample(case, 4, panel="representative", pool=40).weights == expected.weights


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_its_own_program_draws_representative_panels_without_plurimask(one_pass, generator, tmp_path, suffix):
    case, out = demo_cases()[2], tmp_path / f"masks.{suffix}"
    np.save(tmp_path / "image.npy", case.image)
    options = ["--count", "3", "--panel", "representative", "--pool", "40"]
    command = [sys.executable, "-I", generator / PROGRAM, tmp_path / "image.npy", out, *options]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    expected = one_pass.sample(case, 3, panel="representative", pool=40)
    drawn = np.load(out)
    assert (expected.masks != (drawn if suffix == "npy" else drawn["masks"])).sum() <= 2
    assert suffix == "npy" or tuple(drawn["weights"]) == expected.weights
    shares = " ".join(f"{100 * share:.0f}" for share in expected.shares)
    assert done.stdout == f"of 100 readers so many would draw about this: {shares}\n"


@pytest.mark.parametrize(
    ("asked", "match"),
    [
        ({"count": 4, "pool": 3}, "pool: expected at least 4 masks, got 3"),
        ({"count": 0}, "count: expected at least one mask, got 0"),
        ({"steps": 2}, "steps: expected from 1 to 1, got 2"),
    ],
)
def test_one_pass_refuses_what_makes_no_panel(generator, asked, match):
    with pytest.raises(SettingsError, match=match):
        OnnxModel(generator).representative(demo_cases()[2].image, **asked)


def test_a_panel_of_several_steps_is_represented_too(model, folder):
    expected = model.sample(image(3, BIG), 3, panel="representative", pool=12)
    masks, weights = OnnxModel(folder).representative(image(3, BIG), 3, pool=12)
    assert (expected.masks != masks).mean() < 0.002
    assert sum(weights) == 12
