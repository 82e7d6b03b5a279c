"""The chart of a training run shows what was logged."""

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from plurimask.errors import InputError
from plurimask.show import charts


def write_metrics(path: Path, lines: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_training_figure_draws_every_logged_value_against_its_step(tmp_path: Path) -> None:
    lines = [{"step": step, "split": "train", "simple": 1 / (step + 1)} for step in range(5)]
    lines.append({"step": 4, "split": "val", "ged_v": 0.5})
    figure: Figure = charts.training_figure(write_metrics(tmp_path / "metrics.jsonl", lines))
    loss, score = figure.axes
    assert (loss.get_title(), score.get_title()) == ("simple", "ged_v")
    assert loss.lines[0].get_xydata().tolist() == [[step, 1 / (step + 1)] for step in range(5)]
    assert score.lines[0].get_xydata().tolist() == [[4, 0.5]]


def test_training_figure_leaves_undefined_values_out(tmp_path: Path) -> None:
    lines = [{"step": k, "split": "val", "ged_u": None, "ged_v": 0.5 * k} for k in (1, 2)]
    figure: Figure = charts.training_figure(write_metrics(tmp_path / "metrics.jsonl", lines))
    assert [axes.get_title() for axes in figure.axes if axes.get_title()] == ["ged_v"]


def test_training_figure_smooths_by_the_running_median(tmp_path: Path) -> None:
    values = np.ones(80)
    values[40] = 100.0
    lines = [{"step": step, "split": "train", "loss": value} for step, value in enumerate(values.tolist())]
    smooth = charts.training_figure(write_metrics(tmp_path / "metrics.jsonl", lines)).axes[0].lines[1]
    assert np.asarray(smooth.get_ydata()).tolist() == [1.0] * 80


@pytest.mark.parametrize(
    "line", ['{"step": 1', '{"split": "train"}', "[1, 2]", '{"step": 1, "split": "val", "a": "b"}']
)
def test_training_figure_names_the_line_it_cannot_read(tmp_path: Path, line: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 0, "split": "train", "loss": 1.0}\n' + line + "\n")
    with pytest.raises(InputError, match=r"expected lines such as .* on line 2; remove that line"):
        charts.training_figure(path)


def test_training_figure_of_an_empty_log_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected at least one logged value, got none"):
        charts.training_figure(write_metrics(tmp_path / "metrics.jsonl", []))
