"""plurimask train: what it refuses, and what is left when it stops."""

import json
import signal
from pathlib import Path

import pytest
from running import files, full_disk, interrupt
from tiny import write_cases

import plurimask as pm
from plurimask.datasets.store import open_store
from plurimask.training.plan import Cost
from plurimask.training.run import RunFolder


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--set", "training.step=5"], ["did you mean training.steps?"]),
        (["--set", "training.steps=0"], ["training.steps", "a number of at least 1"]),
        (["--set", "sampler.steps=30"], ["at most 20 sampler steps"]),
        (["--set", "training"], ["expected key=value"]),
        (["--set", "image_size=32"], ["images of (1, 32, 32)", "(1, 16, 16)"]),
        (["--resume"], ["a run to resume"]),
    ],
)
def test_train_refuses(run, out, dataset, toml, options, words):
    assert run("train", toml, "--data", dataset, "--out", out, *options).refused(*words)
    assert not out.exists()


def test_train_refuses_an_unknown_recipe(run, out, dataset):
    assert run("train", "cimd-larg", "--data", dataset, "--out", out).refused("cimd-larg", "shipped: ", "cimd-small")


def test_train_refuses_a_misspelt_key_of_a_file(run, out, dataset, toml, tmp_path):
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(toml.read_text().replace("batch_size", "batchsize"))
    assert run("train", wrong, "--data", dataset, "--out", out).refused("did you mean training.batch_size?")


def test_train_refuses_a_dataset_without_patients(run, out, toml, tmp_path):
    root = write_cases(tmp_path / "cases", count=3)
    (root / "patients.csv").unlink()
    assert run("train", toml, "--data", root, "--out", out).refused("patient", "patients.csv")
    assert not out.exists()


def test_train_refuses_a_folder_that_holds_a_run(run, out, dataset, toml):
    out.mkdir()
    (out / "recipe.json").write_text("{}")
    assert run("train", toml, "--data", dataset, "--out", out).refused("add --resume")
    assert files(out) == {"recipe.json"}


@pytest.mark.parametrize("room", [500_000, 1_500_000])
def test_full_disk_while_training(run, tmp_path, dataset, toml, room):
    """Weights take 0.7 MB and the state to resume from 3 MB."""
    open_store(pm.open_dataset(dataset))  # decoded before, so that the disk is full at the first checkpoint
    with full_disk(room):
        answer = run("train", toml, "--data", dataset, "--out", tmp_path / "run")
    assert answer.refused("File too large", "free space")
    left = files(tmp_path / "run")
    assert "last.pt" not in left
    assert ("last.safetensors" in left) == (room == 1_500_000)
    assert not [name for name in left if name.startswith(".")]


def test_full_disk_while_decoding(run, tmp_path, toml, monkeypatch):
    root, cache = write_cases(tmp_path / "cases"), tmp_path / "cache"
    monkeypatch.setenv("PLURIMASK_CACHE", str(cache))
    with full_disk(5_000):
        answer = run("train", toml, "--data", root, "--out", tmp_path / "run")
    assert answer.refused("File too large", "free space")
    assert not files(cache)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_training_leaves_a_run_to_resume_by_one_process(script, run, tmp_path, dataset, toml, by):
    trained = tmp_path / "run"
    arguments = ["train", toml, "--data", dataset, "--out", trained, "--set", "training.validate_every=100000"]
    process = script.start(*arguments, "--set", "training.steps=100000")

    def ready():
        return (trained / "last.pt").exists() and run(*arguments, "--resume").refused("another process is training")

    said = interrupt(process, ready, by)
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


def test_folds_are_trained_in_turn_and_scored_as_one_table(run, out, tmp_path, toml):
    """Each of six patients by the one run of three that it is tested on, from two commands."""
    data = write_cases(tmp_path / "cases", count=6)
    command = "train", toml, "--data", data, "--out", out, "--set", "training.steps=2"
    said = run(*command, "--folds", 3)
    assert said.code == 0
    assert "6 patients: 3 train, 1 val, 2 test, by fold 3 of 3" in said.out
    assert run(*command, "--folds", 3).refused("fold-1", "add --resume")
    (out / "fold-3/recipe.json").unlink()
    assert run(*command, "--folds", 3, "--resume").code == 0  # of a run that was stopped between two folds
    scored = run("evaluate", "--model", out, "--data", data, "--out", tmp_path / "scores", "--count", 2)
    assert scored.code == 0
    assert "6 cases, each drawn by the one of 3 runs that is tested on it" in scored.out
    summary = json.loads((tmp_path / "scores/summary.json").read_text())
    assert (summary["cases"], summary["patients"], summary["data"]["split_by"]) == (6, 6, "3 folds of out")
    for fold in (1, 2, 3):
        tested = json.loads((out / f"fold-{fold}/split.json").read_text())["patients"]["test"]
        digest = pm.load(out / f"fold-{fold}", "cpu").checkpoint.digest
        for patient in tested:
            panel = pm.read_mask_set(tmp_path / f"scores/masks/case-{int(patient.removeprefix('patient-')):02d}")
            assert panel.checkpoint == digest
    assert run("evaluate", "--model", out, "--data", data, "--out", out / "x", "--split", "all").refused("--split all")


def test_a_run_with_sides_by_rank_is_drawn_and_scored_on_them(run, out, tmp_path, toml):
    data = write_cases(tmp_path / "cases", count=5)
    refused = run("train", toml, "--data", data, "--out", out)
    assert refused.refused("at least one patient on the val side", "--split-by rank", "--folds 5", "split.csv")
    command = "train", toml, "--data", data, "--out", out, "--set", "training.steps=2"
    assert run(*command, "--folds", 6).refused("at least 6 patients for 6 folds, got 5")
    assert run(*command, "--folds", 5, "--test", 0.2).refused("--folds", "got --test")
    assert "5 patients: 3 train, 1 val, 1 test" in run(*command, "--split-by", "rank").out
    tested = json.loads((out / "split.json").read_text())["patients"]["test"]
    assert run("sample", out, data, "--split", "test", "--out", tmp_path / "masks", "--count", 2).code == 0
    assert run("evaluate", "--model", out, "--data", data, "--out", tmp_path / "scores", "--count", 2).code == 0
    names = [f"case-{int(patient.removeprefix('patient-')):02d}" for patient in tested]
    assert names == [path.name for path in (tmp_path / "masks").iterdir()]
    assert names == [path.name for path in (tmp_path / "scores/masks").iterdir()]


def test_a_run_on_sides_of_a_file_says_so_and_goes_on_with_the_same_alone(run, out, dataset, toml, tmp_path, sides):
    table = sides(tmp_path / "list.csv", val=["case-03"], test=["case-04"])
    command = "train", toml, "--data", dataset, "--out", out, "--set", "training.steps=2"
    assert run(*command, "--split-file", table).code == 0
    split = json.loads((out / "split.json").read_text())
    assert split["rule"] == "list.csv"
    assert (split["patients"]["val"], split["patients"]["test"]) == (["patient-3"], ["patient-4"])
    assert run(*command, "--resume").refused("resume on the data of the run")
    assert run(*command, "--resume", "--split-file", table).code == 0


@pytest.mark.parametrize(
    ("given", "options", "words"),
    [
        (True, ["--minutes", "5"], ["--minutes", "a recipe, which says its steps"]),
        (False, ["--minutes", "5", "--resume"], ["--minutes", "got --resume"]),
        (False, ["--resume"], ["RECIPE", "name the recipe of the run"]),
    ],
)
def test_a_time_or_a_recipe(run, out, dataset, toml, given, options, words):
    assert run("train", *([toml] if given else []), "--data", dataset, "--out", out, *options).refused(*words)
    assert not out.exists()


@pytest.fixture
def slow_machine(monkeypatch):
    """On which a plan for six seconds has as few steps as a plan may have."""
    monkeypatch.setattr("plurimask.training.plan.measure", lambda recipe, dataset: Cost(9.0, 9.0, 0.1, 1.0))


def test_a_plan_is_written_with_its_reasons_and_trains_without_a_setting(run, out, dataset, tmp_path, slow_machine):
    plan = tmp_path / "own.toml"
    said = run("plan", "--data", dataset, "--minutes", "0.1", "--out", plan)
    assert said.code == 0
    assert plan.read_text() in said.out
    assert f"Train: plurimask train {plan} --data {dataset}" in said.out
    assert run("plan", "--data", dataset, "--out", plan).refused("expected a new file", "choose another --out")
    assert run("train", plan, "--data", dataset, "--out", out).code == 0
    assert pm.load(out, "cpu").recipe.method.name == "one-pass"


def test_without_a_recipe_one_is_planned_first_and_gone_on_with(run, out, dataset, slow_machine):
    assert run("train", "--data", dataset, "--out", out, "--minutes", "0.1").code == 0
    assert "# Written by plurimask plan for 0.1 minutes" in (out / "plan.toml").read_text()
    assert run("train", "--data", dataset, "--out", out, "--resume", "--set", "training.steps=21").code == 0
    assert [line["step"] for line in RunFolder(out).lines("train")] == list(range(1, 22))


def test_weights_of_another_method_to_start_from_leave_no_run(run, out, dataset, toml):
    said = run("train", toml, "--data", dataset, "--out", out, "--set", "training.start=lidc-one-pass")
    assert said.refused("training.start: expected weights of cimd")
    assert not out.exists()


def test_what_was_planned_for_an_earlier_training_is_not_taken(run, out, dataset, slow_machine):
    out.mkdir()
    (out / "plan.toml").write_text("of another time")
    assert run("train", "--data", dataset, "--out", out, "--set", "training.steps=1").code == 0
    planned = (out / "plan.toml").read_text()
    assert "of another time" not in planned
    assert run("train", "--data", dataset, "--out", out, "--minutes", 9).refused("expected an empty run folder")
    assert (out / "plan.toml").read_text() == planned


@pytest.mark.parametrize("minutes", ["inf", "1e9"])
def test_a_time_that_is_none_is_refused(run, out, dataset, tmp_path, minutes):
    assert run("plan", "--data", dataset, "--minutes", minutes, "--out", tmp_path / "p.toml").refused("at most 100,000")
    assert run("train", "--data", dataset, "--minutes", minutes, "--out", out).refused("at most 100,000")
    assert run("plan", "--data", dataset, "--out", tmp_path / "plan.txt").refused("a new file with the ending .toml")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "command",
    [
        ("sample", "lidc", "{data}", "--out", "{data}/masks"),
        ("sample", "lidc", "{data}/case-00", "--out", "{data}/case-00/masks"),
        ("evaluate", "{masks}", "--data", "{data}", "--out", "{data}"),
        ("evaluate", "{masks}", "--data", "{data}", "--out", "{masks}/scores"),
        ("evaluate", "--model", "lidc", "--data", "{data}", "--out", "{data}/scores"),
        ("select", "{masks}", "--out", "{masks}/few"),
        ("plan", "--data", "{data}", "--out", "{data}/plan.toml"),
        ("train", "--data", "{data}", "--out", "{data}/run"),
        ("benchmark", "smoke", "--data", "{data}", "--out", "{data}/bench"),
    ],
    ids=" ".join,
)
def test_no_command_writes_into_what_it_reads(run, dataset, drawn, command):
    before = files(dataset) | files(drawn)
    said = run(*(word.format(data=dataset, masks=drawn) for word in command))
    assert said.refused("which is read, got one inside it; name another --out")
    assert files(dataset) | files(drawn) == before
