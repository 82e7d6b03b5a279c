"""Tables: whole and legible in 80 columns, with N, cases, patients and whatever is missing."""

import io
import math

import pytest
from rich.console import Console
from small_panels import CASES, panel

from plurimask.evaluation import COLUMNS, HEADLINE, Scores, compare, evaluate
from plurimask.metrics.conventions import CONVENTIONS
from plurimask.metrics.degenerate import DEGENERATE
from plurimask.show.tables import (
    Head,
    Number,
    Row,
    Table,
    number,
    render_comparison,
    render_scores,
    render_table,
    score_head,
)


@pytest.fixture(scope="module")
def scores() -> Scores:
    return evaluate([panel(name) for name in ("a", "b", "alone", "unread")], CASES)


def shown(table) -> str:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()


def line(text: str, label: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(label))


def test_the_table_states_n_cases_patients_and_missing(scores):
    assert "N = 5 samples · 4 cases · 2 patients\n" in shown(render_table(scores)).replace("  ", "")
    assert "3 without masks" in shown(render_table(evaluate([panel("a")], CASES)))


def test_the_table_shows_whole_labels_and_every_headline_value(scores):
    text = shown(render_table(scores))
    for row in scores.table[: 1 + len(DEGENERATE)]:
        assert line(text, row.label).split()[-len(HEADLINE) :] == [number(row.values[key]) for key in HEADLINE]
    assert "…" not in text


def test_rows_that_rest_on_fewer_cases_are_named(scores):
    text = " ".join(shown(render_table(scores)).split())
    assert "undefined in some cases: toy (rests on 2)" in text
    assert "calibrated (rests on 2)" in text


def test_every_value_stands_with_its_interval_and_the_cases_where_it_is_undefined(scores):
    text = shown(render_scores(scores))
    low, high = scores.intervals["hm_iou"]
    assert line(text, "HM-IoU ↑").split()[2:] == [number(scores.mean["hm_iou"]), number(low), "to", number(high), "1"]
    assert all(any(row.startswith(column.label) for row in text.splitlines()) for column in COLUMNS.values())


def test_every_convention_and_stratum_has_a_line(scores):
    text = shown(render_scores(scores))
    assert all(line(text, name) for name in CONVENTIONS)
    assert all(f" {stratum.cases}" in text for stratum in scores.strata)


def test_a_comparison_marks_what_leaves_zero_out(scores):
    text = shown(render_comparison(compare(scores, scores)))
    assert "4 cases · 2 patients" in text
    assert not line(text, "CI ↑").endswith("*")


@pytest.mark.parametrize(
    ("value", "text"),
    [(math.nan, "-"), (0.5, "0.500"), (0.0, "0.000"), (0.00312, "0.0031"), (-0.131, "-0.131"), (212.34, "212.3")],
)
def test_numbers_keep_what_they_have_to_say(value, text):
    assert number(value) == text


TABLE = Table(
    (Head("", meaning="system"), score_head("hm_iou", "N = 4"), Head("cases")),
    (
        Row(Head("one", note="new"), (Number(0.5, (0.25, 0.75), starred=True), 3)),
        Row(Head("two"), (Number(0.125, (0.1, 0.2)), 4), "reference"),
    ),
)


def test_markdown_has_intervals_stars_and_groups_and_bare_numbers_in_rows_of_a_kind():
    assert TABLE.to_markdown().splitlines() == [
        "|  | HM-IoU ↑, N = 4 | cases |",
        "| --- | ---: | ---: |",
        "| *new* |  |  |",
        "| one | 0.500 (0.250 to 0.750)\\* | 3 |",
        "| two | 0.125 | 4 |",
    ]


def test_a_terminal_has_the_numbers_alone():
    assert [text.split() for text in shown(TABLE.to_rich()).splitlines()] == [
        ["HM-IoU", "cases"],
        ["─" * 16],
        ["one", "0.500", "3"],
        ["two", "0.125", "4"],
    ]
