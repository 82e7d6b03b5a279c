"""The command line as such: help, usage, and that whatever is wrong is said in one line with exit code 2."""

import json
import signal
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
from running import SCORES, files, grey, write_image
from said import Said
from typer.testing import CliRunner

import plurimask as pm
from plurimask.cli import app


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


def imported(names, *arguments):
    """Those of some modules that a process of its own has imported after a command."""
    code = (
        "import sys\nfrom plurimask.cli import main\n"
        f"try: main()\nexcept SystemExit: print([name for name in {names} if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True)
    return result.stdout.splitlines()[-1]


def test_help_comes_without_heavy_packages():
    heavy = ["torch", "numpy", "monai", "matplotlib", "scipy", "PIL"]
    assert imported(heavy, "sample", "--help") == "[]"


def test_evaluate_imports_no_torch_before_it_reads_masks(dataset, tmp_path):
    assert imported(["torch"], "evaluate", tmp_path, "--data", dataset, "--out", tmp_path / "out") == "[]"


def test_drawing_imports_no_other_methods_libraries(tmp_path):
    path = write_image(tmp_path / "a.png", grey(128))
    others = [
        "monai",
        "torchmetrics",
        "lightning",
        "tensorboardX",
        "matplotlib",
        "scipy.ndimage",
        "scipy.optimize",
        "pydicom",
        "sympy",
    ]
    assert imported(others, "sample", "lidc", path, "--out", tmp_path / "out", "--count", "1") == "[]"
    assert (tmp_path / "out/a/masks.npz").exists()


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
    command = f"plurimask {arguments[0]}" if arguments[0] != "paint" else "plurimask"
    assert run(*arguments).refused(said, f"; see {command} --help")


@pytest.mark.parametrize("arguments", [[], ["prepare"]])
def test_without_a_command_there_is_help(run, arguments):
    said = run(*arguments)
    assert said.code == 2
    assert "Usage: plurimask" in said.out + said.err


def test_output_that_cannot_be_written_is_one_line(run, tmp_path, weights):
    (tmp_path / "out").write_text("a file in the way")
    path = write_image(tmp_path / "a.png", grey())
    assert run("sample", weights, path, "--out", tmp_path / "out").refused(str(tmp_path / "out"))


def test_names_are_not_read_as_markup(run, tmp_path, dataset, panels):
    for path in panels.glob("*/set.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"method": "[red]mine[/blue]"}))
    said = run("evaluate", panels, "--data", dataset, "--out", tmp_path / "[bold]out")
    assert said.code == 0
    assert "[bold]out/scores.csv" in said.out.replace("\n", "")


def test_exit_code_of_the_script(script, dataset):
    assert script("prepare", "phantom", "--out", dataset, "--count", "1").refused("a new or empty folder")


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


WAITS = """
import sys, time, typer
from pathlib import Path
import plurimask.cli as cli
from plurimask.files.atomic import atomic_folder

def wait(out: Path):
    with atomic_folder(out) as fresh:
        (fresh / "a").write_text("half")
        print("ready", flush=True)
        time.sleep(60)

cli.app = typer.Typer(pretty_exceptions_enable=False)
cli.app.command()(wait)
cli.main()
"""


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_sigterm_ends_a_command_as_ctrl_c_does(tmp_path, sent):
    process = subprocess.Popen(
        [sys.executable, "-c", WAITS, tmp_path / "out"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    process.stdout.readline()
    process.send_signal(sent)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "stopped; what was written whole is kept\n")
    assert not list(tmp_path.iterdir())


def test_what_libraries_log_and_warn_of_files_is_not_shown(script, tmp_path):
    path = tmp_path / "image.nii"
    nib.Nifti1Image(np.zeros((4, 5), np.uint8), np.eye(4)).to_filename(path)
    path.write_bytes(path.read_bytes()[:70] + bytes(2) + path.read_bytes()[72:])  # an unknown type of data
    told = script("sample", "phantom", tmp_path / "image.nii", "--out", tmp_path / "out")
    assert told.refused("image.nii")
