"""plurimask sample: what it writes, what it refuses, and what is left when it stops."""

import numpy as np
import pytest
from running import files, full_disk, grey, interrupt, text_as_png, truncated, write_image
from safetensors.numpy import save_file
from tiny import SIZE, image, write_cases

import plurimask as pm
from plurimask.datasets.open import choose_cases


def gap(folder):
    for name in ("image", "label0", "label2"):
        write_image(folder / f"{name}.png", grey() // 128)
    return folder


def with_nan(folder):
    pixels = image()
    pixels[0, 0, 0] = np.nan
    np.save(folder / "nan.npy", pixels[0])
    return folder / "nan.npy"


def empty_case(folder):
    (folder / "set" / "case").mkdir(parents=True)
    return folder / "set"


def gif(folder):
    path = folder / "scan.gif"
    path.write_bytes(b"GIF89a")
    return path


BAD_INPUTS = {
    "gap in the labels": (gap, ["label2 but no label1", "renumber"]),
    "wrong size": (lambda d: write_image(d / "a.png", grey(24)), ["16x16 pixels", "got 24x24"]),
    "wrong channel count": (
        lambda d: write_image(
            d / "a.png",
            np.moveaxis(np.eye(3, dtype=np.uint8)[np.random.default_rng(0).integers(3, size=(SIZE, SIZE))] * 255, 0, 0),
        ),
        ["1 image channel", "got 3"],
    ),
    "truncated file": (truncated, ["readable PNG"]),
    "NaN in the image": (with_nan, ["1 NaN"]),
    "missing file": (lambda d: d / "none.png", ["none.png", "nothing there"]),
    "unknown format": (gif, ["DICOM, or one of .png", "convert"]),
    "empty folder": (lambda d: d, ["one folder a case", "got no folder"]),
    "empty case": (empty_case, ["label0.png", "an empty folder"]),
}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_sample_refuses(run, out, tmp_path, weights, name):
    make, words = BAD_INPUTS[name]
    folder = tmp_path / "input"
    folder.mkdir()
    assert run("sample", weights, make(folder), "--out", out).refused(*words)
    assert not out.exists()


def test_sample_refuses_a_dataset_without_patients_for_a_split(run, out, tmp_path, weights):
    root = write_cases(tmp_path / "cases", count=3)
    (root / "patients.csv").unlink()
    assert run("sample", weights, root, "--out", out, "--split", "test").refused("a patient", "patients.csv")
    assert not out.exists()


def test_sample_refuses_a_split_that_holds_no_patient(run, out, tmp_path, weights):
    root = write_cases(tmp_path / "cases", count=2)
    said = run("sample", weights, root, "--out", out, "--split", "val")
    assert said.refused("at least one patient on the val side", "none among 2 patients")
    assert not out.exists()


def test_sample_refuses_two_cases_of_one_name(run, out, tmp_path, weights):
    paths = [write_image(tmp_path / folder / "image.png", grey()) for folder in "ab"]
    assert run("sample", weights, *paths, "--out", out).refused("image: expected one case of this name")


def test_sample_keeps_the_whole_sets_before_a_bad_case(run, out, tmp_path, weights):
    root = write_cases(tmp_path / "cases", count=3)
    truncated(root / "case-02").rename(root / "case-02/image.png")
    assert run("sample", weights, root, "--out", out).refused("case-02/image.png")
    assert files(out) == {f"case-0{i}/{name}" for i in (0, 1) for name in ("masks.npz", "set.json")}


def other_weights(folder):
    save_file({"layer": np.zeros(3)}, folder / "other.safetensors")
    return folder / "other.safetensors"


def newer_weights(folder):
    save_file({"layer": np.zeros(3)}, folder / "newer.safetensors", metadata={"format": "plurimask-99"})
    return folder / "newer.safetensors"


BAD_MODELS = {
    "unknown name": (lambda d: "ldic", ["ldic", "built in: lidc"]),
    "text file": (text_as_png, ["a safetensors file"]),
    "weights of another program": (other_weights, ["format plurimask-1", "another program"]),
    "weights of another format": (newer_weights, ["format plurimask-1", "got plurimask-99"]),
    "folder without a run": (lambda d: d, ["expected a checkpoint", "no such file"]),
}


@pytest.mark.parametrize("name", BAD_MODELS)
def test_sample_refuses_a_model(run, out, tmp_path, name):
    make, words = BAD_MODELS[name]
    path = write_image(tmp_path / "images/a.png", grey())
    assert run("sample", make(tmp_path), path, "--out", out).refused(*words)
    assert not out.exists()


@pytest.mark.parametrize("options", [["--steps", "2000"], ["--sampler", "ddim", "--steps", "2000"]])
def test_sample_refuses_more_steps_than_the_process_has(run, out, tmp_path, weights, options):
    path = write_image(tmp_path / "a.png", grey())
    assert run("sample", weights, path, "--out", out, *options).refused("at most 20 sampler steps", "2000")
    assert not out.exists()


def test_sample_refuses_a_device_that_is_not_there(run, out, tmp_path, weights):
    path = write_image(tmp_path / "a.png", grey())
    assert run("sample", weights, path, "--out", out, "--device", "cuda:99").refused("a device of this machine")


def test_sample_writes_a_set_for_each_kind_of_input(run, out, tmp_path, dataset, weights):
    lone = write_image(tmp_path / "lone.png", grey())
    said = run("sample", weights, lone, dataset / "case-07", "--out", out, "--count", 3, "--seed", 4)
    assert said.code == 0
    assert files(out) == {f"{case}/{name}" for case in ("lone", "case-07") for name in ("masks.npz", "set.json")}
    assert pm.read_mask_set(out / "lone").settings["seed"] == 4
    assert pm.read_mask_set(out / "lone").masks.shape == (3, SIZE, SIZE)


def test_sample_and_library_draw_the_same(run, out, dataset, weights):
    run("sample", weights, dataset / "case-07", "--out", out, "--count", 4)
    panel = pm.load(weights, "cpu").sample(image(7), count=4)
    assert np.array_equal(pm.read_mask_set(out / "case-07").masks, panel.masks)


def test_sample_takes_one_side_of_a_dataset_and_a_limit(run, out, dataset, weights):
    run("sample", weights, dataset, "--split", "train", "--limit", 2, "--out", out, "--count", 1)
    drawn = {path.name for path in out.iterdir()}
    assert len(drawn) == 2
    assert drawn <= set(choose_cases(pm.open_dataset(dataset), "train", None))


def test_sample_takes_the_side_that_a_file_says(run, out, tmp_path, dataset, weights, sides):
    table = sides(tmp_path / "list.csv", test=["case-03", "case-05"])
    run("sample", weights, dataset, "--split", "test", "--split-file", table, "--out", out, "--count", 1)
    assert {path.name for path in out.iterdir()} == {"case-03", "case-05"}


@pytest.mark.parametrize(
    ("options", "recorded"),
    [
        ([], ("ddim", 3)),
        (["--sampler", "ddpm"], ("ddpm", 20)),
        (["--sampler", "dpm++", "--steps", "4"], ("dpm++", 4)),
    ],
)
def test_sampler_options_are_recorded(run, out, tmp_path, weights, options, recorded):
    run("sample", weights, write_image(tmp_path / "a.png", grey()), "--out", out, "--count", 1, *options)
    settings = pm.read_mask_set(out / "a").settings
    assert (settings["name"], settings["steps"]) == recorded


def test_full_disk_while_sampling(run, out, tmp_path, weights):
    path = write_image(tmp_path / "a.png", grey())
    with full_disk(200):
        answer = run("sample", weights, path, "--out", out, "--count", 64)
    assert answer.refused("File too large", "free space")
    assert not files(out)


def test_ctrl_c_while_sampling_leaves_whole_sets_only(script, out, dataset, weights):
    process = script.start("sample", weights, dataset, "--out", out, "--count", "64", "--sampler", "ddpm")
    said = interrupt(process, lambda: any(out.glob("*/masks.npz")))
    assert (said.code, said.err.count("\n")) == (130, 1)
    names = {path.name for path in out.iterdir() if any(path.iterdir())}
    assert 0 < len(names) < 40
    assert files(out) == {f"{case}/{name}" for case in names for name in ("masks.npz", "set.json")}


@pytest.mark.parametrize("option", [("--split", "train"), ("--limit", 1)])
def test_sample_refuses_a_choice_of_cases_where_there_is_none(run, out, tmp_path, weights, option):
    image = write_image(tmp_path / "slice.png", grey())
    assert run("sample", weights, image, "--out", out, *option).refused(f"{option[0]}: expected a dataset")
    assert not out.exists()
