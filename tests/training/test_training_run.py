"""Run folders: nothing is overwritten, nothing foreign is resumed, the state comes back whole, the log reads well."""

import json
import math
import os
import re
import struct
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from tensorboardX.proto.event_pb2 import Event
from tiny import TREE, recipe
from torch.optim.swa_utils import AveragedModel

from plurimask.errors import CheckpointError
from plurimask.methods.method import build
from plurimask.training.run import RunFolder, RunLog, RunState

SPLIT = {"data": "a" * 64, "patients": {"train": ["p"]}}


@pytest.fixture
def folder(tmp_path):
    made = RunFolder(tmp_path / "run")
    made.start(recipe(), SPLIT)
    return made


def state(seed=0, steps=2, **changed):
    """The state after some steps of a real optimiser on the sum of all weights' squares."""
    torch.manual_seed(seed)
    method = build(recipe(**changed).method)
    optimizer, average = torch.optim.AdamW(method.parameters(), 0.01), AveragedModel(method)
    for _ in range(steps):
        sum(weight.square().sum() for weight in method.parameters()).backward()
        optimizer.step()
        optimizer.zero_grad()
        average.update_parameters(method)
    return RunState(steps, 0.5, method, average, optimizer)


def contents(one):
    tensors = [*one.method.state_dict().values(), *one.average.state_dict().values()]
    return tensors + [value for entry in one.optimizer.state_dict()["state"].values() for value in entry.values()]


def test_start_writes_recipe_and_split(folder):
    assert json.loads(folder.recipe.read_text()) == json.loads(recipe().model_dump_json())
    assert json.loads(folder.split.read_text()) == SPLIT


def test_a_run_is_not_overwritten(folder):
    with pytest.raises(CheckpointError, match="expected an empty run folder, got a run; add --resume"):
        folder.start(recipe(), SPLIT)


def test_the_number_of_steps_may_change_and_is_written(folder):
    longer = recipe(training=TREE["training"] | {"steps": 99})
    folder.resume(longer, SPLIT["data"])
    assert json.loads(folder.recipe.read_text())["training"]["steps"] == 99


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"training": TREE["training"] | {"seed": 1}}, "training.seed 0, as the run has it, got 1; resume with"),
        ({"training": TREE["training"] | {"steps": 99, "batch_size": 8}}, "training.batch_size 2, as the run has it"),
        ({"sampler": {"name": "ddpm"}}, 'sampler.name "ddim", as the run has it, got "ddpm"'),
        ({"method": TREE["method"] | {"raters": "mean"}}, 'method.raters "one", as the run has it, got "mean"'),
        ({"image_size": 32}, "image_size 16, as the run has it, got 32"),
    ],
)
def test_another_recipe_is_refused_by_the_first_setting_that_differs(folder, changed, message):
    before = folder.recipe.read_bytes()
    with pytest.raises(CheckpointError, match=f"run: expected {message}"):
        folder.resume(recipe(**changed), SPLIT["data"])
    assert folder.recipe.read_bytes() == before


def test_fewer_steps_than_are_done_are_refused_and_not_written(folder):
    state(steps=3).save(folder.state)
    before = folder.recipe.read_bytes()
    with pytest.raises(
        CheckpointError, match=r"expected training\.steps of 3 or more, which are done, got 2; raise it"
    ):
        folder.resume(recipe(training=TREE["training"] | {"steps": 2}), SPLIT["data"])
    assert folder.recipe.read_bytes() == before
    folder.resume(recipe(training=TREE["training"] | {"steps": 3}), SPLIT["data"])


def test_a_damaged_state_is_refused_before_anything_is_written(folder):
    folder.state.write_bytes(b"damaged")
    before = folder.recipe.read_bytes()
    with pytest.raises(CheckpointError, match=r"last\.pt: expected the state of this run"):
        folder.resume(recipe(training=TREE["training"] | {"steps": 99}), SPLIT["data"])
    assert folder.recipe.read_bytes() == before


def test_other_data_are_refused(folder):
    with pytest.raises(CheckpointError, match="expected data aaaaaaaaaaaa, got bbbbbbbbbbbb; resume on the data"):
        folder.resume(recipe(), "b" * 64)


def test_a_folder_that_another_process_trains_into_is_refused(folder):
    with folder.alone():
        done = subprocess.run(
            [sys.executable, "-c", _ALONE, str(folder.root)], capture_output=True, text=True, check=True
        )
        assert "run: expected a run folder that nobody trains into, got one that another process is" in done.stdout
    done = subprocess.run([sys.executable, "-c", _ALONE, str(folder.root)], capture_output=True, text=True, check=True)
    assert done.stdout == "mine\n"
    assert {path.name for path in folder.root.iterdir()} == {"recipe.json", "split.json", "tensorboard"}


_ALONE = """
import sys
from pathlib import Path
from plurimask.errors import CheckpointError
from plurimask.training.run import RunFolder
try:
    with RunFolder(Path(sys.argv[1])).alone():
        print("mine")
except CheckpointError as error:
    print(error)
"""


@pytest.mark.parametrize("damage", ['{"step": 1}}', '{"stop": 1}', "{3}"])
def test_a_damaged_log_is_refused_by_name(tmp_path, damage):
    (tmp_path / "metrics.jsonl").write_text(f'{{"step": 1, "split": "train"}}\n{damage}\n')
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl: expected the log of this run, got .*; remove it"):
        opened(tmp_path, first=2)


def test_nothing_to_resume_is_said(tmp_path):
    with pytest.raises(CheckpointError, match="expected a run to resume, got none; leave --resume out"):
        RunFolder(tmp_path).resume(recipe(), SPLIT["data"])


@pytest.mark.parametrize("content", ["{", "3", "", "[" * 100_000])
@pytest.mark.parametrize("name", ["recipe", "split"])
def test_a_damaged_description_is_refused(folder, name, content):
    getattr(folder, name).write_text(content)
    with pytest.raises(CheckpointError, match=rf"{name}\.json: expected a table in JSON"):
        folder.resume(recipe(), SPLIT["data"])


def test_the_state_comes_back_whole(tmp_path):
    saved, other = state(seed=0), state(seed=1, steps=1)
    saved.save(tmp_path / "last.pt")
    other.load(tmp_path / "last.pt")
    assert (other.step, other.best) == (2, 0.5)
    assert all(torch.equal(a, b) for a, b in zip(contents(saved), contents(other), strict=True))


def test_a_state_is_whole_or_not_there(tmp_path):
    saved = state()
    saved.save(tmp_path / "last.pt")
    before = (tmp_path / "last.pt").read_bytes()
    saved.best = lambda: None
    with pytest.raises(AttributeError, match="lambda"):
        saved.save(tmp_path / "last.pt")
    assert (tmp_path / "last.pt").read_bytes() == before
    assert os.listdir(tmp_path) == ["last.pt"]


@pytest.mark.parametrize("share", [0, 0.3, 0.99])
def test_a_truncated_state_is_refused(tmp_path, share):
    state().save(tmp_path / "last.pt")
    content = (tmp_path / "last.pt").read_bytes()
    (tmp_path / "last.pt").write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match="expected the state of this run"):
        state().load(tmp_path / "last.pt")


@pytest.mark.parametrize("content", [{}, [1, 2], torch.zeros(3), {"method": 3}, {"method": {}}])
def test_another_programs_state_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match="expected the state of this run"):
        state().load(tmp_path / "last.pt")


def test_the_state_of_another_network_is_refused(tmp_path):
    state(method=TREE["method"] | {"ambiguity": {"mode": "off"}}).save(tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match="expected the state of this run, got 'Error"):
        state().load(tmp_path / "last.pt")


class _Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_loading_a_state_runs_no_code(tmp_path):
    torch.save({"step": _Bomb(tmp_path / "exploded")}, tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match="expected the state of this run"):
        state().load(tmp_path / "last.pt")
    assert not (tmp_path / "exploded").exists()


def opened(root, first=0, steps=100):
    return RunLog(RunFolder(root), first, steps, batch_size=4)


def lines(root):
    return [json.loads(line) for line in (root / "metrics.jsonl").read_text().splitlines()]


def events(root):
    """TensorBoard's records: length (8 bytes), its checksum (4), the event, its checksum (4)."""
    for path in sorted((root / "tensorboard").iterdir()):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            yield Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]


def curve(root, tag):
    return [
        (event.step, value.simple_value) for event in events(root) for value in event.summary.value if value.tag == tag
    ]


def test_a_step_and_a_validation_are_a_line_on_disk_and_a_point_of_the_curves(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "plurimask.training.run.time",
        SimpleNamespace(monotonic=iter([0.0, 2345.0, 2400.0]).__next__, process_time=iter([9.0, 69.0, 129.0]).__next__),
    )
    with opened(tmp_path) as log:
        log.train(1, {"loss": 0.5, "simple": 0.25})
        (line,) = lines(tmp_path)
        log.validation(3, {"ged_v": 0.75})
    assert line.pop("images_per_second") == pytest.approx(4 / 2345, rel=1e-5)
    times = {"minutes": 39.0833, "core_minutes": 1.0}
    assert line == {"step": 1, "split": "train", "loss": 0.5, "simple": 0.25, **times}
    assert lines(tmp_path)[1] == {"step": 3, "split": "val", "ged_v": 0.75, "minutes": 40.0, "core_minutes": 2.0}
    assert (curve(tmp_path, "train/loss"), curve(tmp_path, "val/ged_v")) == ([(1, 0.5)], [(3, 0.75)])


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_what_is_not_finite_is_null_in_the_line_and_absent_from_the_curve(tmp_path, value):
    with opened(tmp_path) as log:
        log.validation(3, {"ci": value, "ged_v": 1.0})
    assert lines(tmp_path)[0]["ci"] is None
    assert (curve(tmp_path, "val/ci"), curve(tmp_path, "val/ged_v")) == ([], [(3, 1.0)])


def test_resuming_cuts_the_lines_after_the_checkpoint(tmp_path):
    with opened(tmp_path) as log:
        for step in range(1, 6):
            log.train(step, {"loss": 1.0})
            log.validation(step, {"ged_v": 1.0})
    before = lines(tmp_path)[5]
    with opened(tmp_path, first=3) as log:
        log.train(4, {"loss": 2.0})
    assert lines(tmp_path)[6]["minutes"] >= before["minutes"]  # of all sittings, without what is done again
    starts = [event.step for event in events(tmp_path) if event.HasField("session_log")]
    assert 4 in starts
    kept = [(line["step"], line["split"]) for line in lines(tmp_path)]
    assert kept == [*((step, split) for step in (1, 2, 3) for split in ("train", "val")), (4, "train")]


@pytest.mark.parametrize("half", ['{"step": 3, "split": "tr', '{"step"', "{", '{"step": 3, "loss": 0.5}'])
def test_resuming_cuts_a_half_written_line(tmp_path, half):
    with opened(tmp_path) as log:
        log.train(1, {"loss": 1.0})
        log.train(2, {"loss": 1.0})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write(half)
    with opened(tmp_path, first=2) as log:
        log.train(3, {"loss": 2.0})
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3]


def test_output_that_is_no_terminal_gets_a_line_a_minute_with_the_time_left(tmp_path, capsys, monkeypatch):
    """A step takes 4 seconds: the first line, one every 15 steps, the last, and what validation says."""
    clock = iter(range(0, 10_000, 4))
    times = SimpleNamespace(monotonic=lambda: float(next(clock)), process_time=lambda: 0.0)
    monkeypatch.setattr("plurimask.training.run.time", times)
    with opened(tmp_path, steps=40) as log:
        for step in range(1, 41):
            log.train(step, {"loss": 0.5, "simple": 0.25})
        log.validation(40, {"ged_v": 0.75})
    printed = capsys.readouterr().out.splitlines()
    assert printed == [
        "step 1 of 40 loss 0.5 simple 0.25 · 1.0 images/s · 3 min left",
        "step 16 of 40 loss 0.5 simple 0.25 · 1.0 images/s · 2 min left",
        "step 31 of 40 loss 0.5 simple 0.25 · 1.0 images/s · 36 s left",
        "step 40 of 40 loss 0.5 simple 0.25 · 1.0 images/s · 0 s left",
        "step 40 validation ged_v 0.750",
    ]


@pytest.mark.parametrize("width", [60, 80])
def test_a_terminal_of_any_width_shows_step_speed_and_loss(tmp_path, capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    terms = {name: 0.123456 for name in ("loss", "simple", "vlb", "amb", "amn_spread", "acn_spread", "gradient")}
    with opened(tmp_path, steps=4800) as log:
        log.train(1234, terms)
    shown = re.split(r"[\r\n]", re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().out).strip())[-1]
    assert shown.startswith("step 1234/4800")
    assert " images/s" in shown
    assert width < 80 or "loss 0.1" in shown
    assert len(shown.rstrip()) <= width
