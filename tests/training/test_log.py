"""The log: its lines, its curves, what resuming cuts, and what a reader of the output sees."""

import json
import math
import re
import struct
from types import SimpleNamespace

import pytest
from tensorboardX.proto.event_pb2 import Event

from plurimask.training.run import RunLog


def opened(root, first=0, steps=100):
    return RunLog(root, root / "metrics.jsonl", first, steps, batch_size=4)


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


def test_a_step_is_a_line(tmp_path):
    with opened(tmp_path) as log:
        log.train(1, {"loss": 0.5, "simple": 0.25})
    (line,) = lines(tmp_path)
    assert line.pop("images_per_second") > 0
    assert line == {"step": 1, "split": "train", "loss": 0.5, "simple": 0.25}


def test_slow_steps_have_a_rate_of_as_many_digits_as_fast_ones(tmp_path, monkeypatch):
    """Budgets in minutes are turned into steps by it."""
    monkeypatch.setattr("plurimask.training.run.time", SimpleNamespace(monotonic=iter([0.0, 2345.0]).__next__))
    with opened(tmp_path) as log:
        log.train(1, {})
    assert lines(tmp_path)[0]["images_per_second"] == pytest.approx(4 / 2345, rel=1e-5)


def test_a_validation_is_a_line(tmp_path):
    with opened(tmp_path) as log:
        log.validation(3, {"ged_v": 0.75})
    assert lines(tmp_path) == [{"step": 3, "split": "val", "ged_v": 0.75}]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_null_in_the_line_and_absent_from_the_curve(tmp_path, value):
    with opened(tmp_path) as log:
        log.validation(3, {"ci": value, "ged_v": 1.0})
    assert lines(tmp_path)[0]["ci"] is None
    assert (curve(tmp_path, "val/ci"), curve(tmp_path, "val/ged_v")) == ([], [(3, 1.0)])


def test_the_curves_hold_every_step(tmp_path):
    with opened(tmp_path) as log:
        for step in (1, 2, 3):
            log.train(step, {"loss": step / 4})
    assert curve(tmp_path, "train/loss") == [(1, 0.25), (2, 0.5), (3, 0.75)]


def test_flush_brings_the_lines_to_disk(tmp_path):
    with opened(tmp_path) as log:
        log.train(1, {"loss": 0.5})
        log.flush()
        assert lines(tmp_path)[0]["loss"] == 0.5


def test_resuming_cuts_the_lines_after_the_checkpoint(tmp_path):
    with opened(tmp_path) as log:
        for step in range(1, 6):
            log.train(step, {"loss": 1.0})
            log.validation(step, {"ged_v": 1.0})
    with opened(tmp_path, first=3) as log:
        log.train(4, {"loss": 2.0})
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


def test_resuming_purges_the_curves_after_the_checkpoint(tmp_path):
    with opened(tmp_path, first=3) as log:
        log.train(4, {"loss": 2.0})
    starts = [event.step for event in events(tmp_path) if event.HasField("session_log")]
    assert starts == [4]


def test_output_that_is_no_terminal_gets_sober_lines(tmp_path, capsys):
    with opened(tmp_path) as log:
        for step in range(1, 101):
            log.train(step, {"loss": 0.5, "simple": 0.25})
        log.validation(100, {"ged_v": 0.75})
    printed = capsys.readouterr().out.splitlines()
    assert [line.split(" · ")[0] for line in printed] == [
        "step 1 loss 0.5 simple 0.25",
        "step 50 loss 0.5 simple 0.25",
        "step 100 loss 0.5 simple 0.25",
        "step 100 validation ged_v 0.750",
    ]
    assert all("\x1b" not in line for line in printed)
    assert printed[0].endswith(" images/s")


@pytest.mark.parametrize("width", [60, 80, 200])
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
