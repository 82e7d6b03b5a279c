"""Which cases are shown, and what the charts draw."""

import math

import numpy as np
import pytest
from small_benchmark import small_results

from plurimask.benchmark.report import (
    choose_examples,
    diversity_figure,
    dodged,
    latents_figure,
    quality_cost_figure,
)
from plurimask.benchmark.run import DiversityPoint
from plurimask.evaluation import CaseScores


def row(name, drawn, size, ged_v=0.0):
    return CaseScores(name, "p", 4, drawn, size, 16, {"ged_v": ged_v})


ROWS = [
    row("a", 3, 80.0),
    row("b", 4, 90.0),
    row("c", 2, 70.0),
    row("d", 0, math.nan),
    row("e", 1, 5.0),
    row("f", 4, 9.0),
]


def test_a_case_of_every_kind_is_shown():
    assert choose_examples(ROWS) == {"agreed": "b", "disputed": "c", "empty": "d", "fine": "f"}


def test_a_kind_that_no_case_is_of_is_left_out():
    assert list(choose_examples(ROWS[:2])) == ["agreed", "fine"]


def test_where_nobody_drew_nothing_the_next_best_is_shown():
    assert choose_examples(ROWS[4:])["empty"] == "e"


def test_no_reader_is_not_an_empty_case():
    assert choose_examples([CaseScores("x", "p", 0, 0, math.nan, 16, {})]) == {}


def test_diversity_is_drawn_against_the_scale():
    points = [
        DiversityPoint(noise_scale=scale, d_ss=scale / 2, d_yy=0.5, ged_u=0.1, dice_max=1) for scale in (0.5, 1, 1.5)
    ]
    lines = diversity_figure(points).axes[0].lines
    np.testing.assert_allclose(lines[0].get_xydata(), [[0.5, 0.25], [1, 0.5], [1.5, 0.75]])
    assert set(lines[2].get_ydata()) == {0.5}


def test_a_line_a_training_in_each_chart_of_latents():
    steps = np.arange(1, 601.0)
    courses = {"one": np.column_stack([steps, steps, 2 * steps, 3 * steps]), "two": np.ones((5, 4))}
    charts = latents_figure(courses).axes
    assert [len(chart.lines) for chart in charts] == [2, 2, 2]
    # Medians of ten steps each: the first of the third chart is three times that of steps 1 to 10.
    assert charts[2].lines[0].get_ydata()[0] == 3 * 5.5
    assert len(charts[0].lines[0].get_ydata()) == 60


def test_runs_of_equal_cost_stand_side_by_side_about_it():
    first, lone, second = dodged([4.0, 1.0, 4.0])
    assert lone == 1.0
    assert first < 4.0 < second
    assert first * second == pytest.approx(16.0)


def test_each_system_has_a_point_with_its_interval(tmp_path):
    results = small_results(tmp_path)
    lines = quality_cost_figure(results).axes[0].lines
    rows = [run.mean[4].table[0] for run in results.scored]
    assert [tuple(line.get_ydata()) for line in lines[::2]] == [row.intervals["ged_u"] for row in rows]
    assert [line.get_ydata()[0] for line in lines[1::2]] == [row.values["ged_u"] for row in rows]
    assert len({line.get_xdata()[0] for line in lines[1::2]}) == len(rows)  # which cost the same
