"""The figures of an evaluation: there, for every kind of case, and only where something was read."""

import numpy as np
import pytest
from small_panels import CASES, case, panel

from plurimask.evaluation import evaluate
from plurimask.geometry import Grid
from plurimask.show.score_figures import write_score_figures

NAMES = {f"{name}.{suffix}" for name in ("ged-ci", "reliability", "empty") for suffix in ("png", "svg")}


def written(out, cases, panels, count=None):
    scores = evaluate(panels.values(), cases, count)
    return {path.name for path in write_score_figures(scores, out, panels, cases)}


def test_cases_of_several_reader_counts_give_three_figures(tmp_path):
    panels = {name: panel(name) for name in CASES}
    assert written(tmp_path, CASES, panels) == NAMES == {path.name for path in tmp_path.iterdir()}
    text = (tmp_path / "empty.svg").read_text()
    assert "3 cases" in text


def test_volumes_give_them_too(tmp_path):
    grid = Grid((6, 5, 4), np.diag([1.0, 1.0, 3.0, 1.0]))
    cases = {name: case(name, grid=grid) for name in "abc"}
    assert written(tmp_path, cases, {name: panel(name, grid=grid) for name in cases}) == NAMES


@pytest.mark.parametrize("count", [1, 3])
def test_the_examples_show_the_samples_that_were_scored(tmp_path, count):
    cases = {name: case(name) for name in "abcdefgh"}
    written(tmp_path, cases, {name: panel(name) for name in cases}, count)
    assert f"of {count} samples not empty" in (tmp_path / "ged-ci.svg").read_text()


def test_nothing_is_written_where_nobody_read(tmp_path):
    assert written(tmp_path, {"unread": CASES["unread"]}, {"unread": panel("unread")}) == set()
    assert list(tmp_path.iterdir()) == []
