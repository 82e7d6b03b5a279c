"""Scores as tables for a terminal of 80 columns."""

import math
from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table

from plurimask.evaluation.columns import COLUMNS, HEADLINE
from plurimask.evaluation.scores import LEVEL, Comparison, Interval, Scores

ARROWS = {"lower": "↓", "higher": "↑", None: ""}


def render_table(scores: Scores) -> Table:
    """The method beside what needs no image, headline values only; a value that is undefined is a dash."""
    left_out = f", {len(scores.missing)} without masks" if scores.missing else ""
    table = _table(f"N = {scores.samples} samples · {_cases(len(scores.rows), scores.patients)}{left_out}")
    table.add_column("", min_width=12)
    for column in HEADLINE.values():
        table.add_column(column.label, justify="right", min_width=6)
    for row in scores.table:
        table.add_row(row.label, *_numbers(row.values, tuple(HEADLINE)))
    rests = {row.label: min(row.cases[key] for key in HEADLINE if key in row.cases) for row in scores.table}
    fewer = {label: cases for label, cases in rests.items() if cases < len(scores.rows)}
    if fewer:
        table.caption = "undefined in some cases: " + ", ".join(f"{label} (rests on {n})" for label, n in fewer.items())
    return table


def render_scores(scores: Scores) -> Group:
    """Every value with its interval, the method by strata, and GED as other codes count it."""
    return Group(_all_values(scores), "", _strata(scores), "", _conventions(scores), "", render_table(scores))


def render_comparison(comparison: Comparison) -> Table:
    """A, B and their difference; a star where the interval of the difference leaves 0 out."""
    left_out = f"{len(comparison.left_out)} cases of one side only left out; " if comparison.left_out else ""
    who = f"A: {comparison.a.label} · B: {comparison.b.label}"
    table = _table(f"{who} · N = {comparison.a.samples} · {_cases(comparison.cases, comparison.patients)}")
    table.caption = f"{left_out}* 0 is outside"
    for head in ("", "A", "B", "A - B", f"{LEVEL:.0%} interval", "", "cases"):
        table.add_column(head, justify="right" if head else "left")
    for key, column in COLUMNS.items():
        values = (row.values[key] for row in (comparison.a, comparison.b, comparison.difference))
        star = "*" if comparison.outside_zero(key) else ""
        interval = _interval(comparison.difference.intervals[key])
        cases = str(comparison.difference.cases[key])
        table.add_row(f"{column.label} {ARROWS[column.better]}", *map(number, values), interval, star, cases)
    return table


def number(value: float) -> str:
    """Three decimals, one where they would be four digits and more, four where three say too little; NaN: a dash."""
    if math.isnan(value):
        return "-"
    if abs(value) >= 100:
        return f"{value:.1f}"
    return f"{value:.4f}" if 0 < abs(value) < 0.01 else f"{value:.3f}"


def _all_values(scores: Scores) -> Table:
    table = _table(f"{scores.table[0].label}: every value, better where the arrow points")
    for head in ("", "mean", f"{LEVEL:.0%} interval", "undefined"):
        table.add_column(head, justify="right" if head else "left")
    for key, column in COLUMNS.items():
        unit = f" ({scores.units[key]})" if key in scores.units else ""
        label = f"{column.label}{unit} {ARROWS[column.better]}"
        undefined = str(scores.undefined[key] or "")
        table.add_row(label, number(scores.mean[key]), _interval(scores.intervals[key]), undefined)
    return table


def _strata(scores: Scores) -> Table:
    keys = ("ged_v", "ged_u", "hm_iou", "dice_max", "ci", "empty_samples", "empty_readers")
    table = _table(f"{scores.table[0].label}: by readers who drew, and by size of what they drew")
    table.add_column("", no_wrap=True)
    for head in ("cases", *(COLUMNS[key].label for key in keys)):
        table.add_column(head, justify="right" if head else "left")
    for stratum in scores.strata:
        table.add_row(stratum.part, str(stratum.cases), *_numbers(stratum.row.values, keys))
    return table


def _conventions(scores: Scores) -> Table:
    table = _table("the same masks, as other codes count")
    for head in ("", "GED", f"{LEVEL:.0%} interval", "HM-IoU"):
        table.add_column(head, justify="right" if head else "left")
    for row in scores.conventions:
        table.add_row(
            row.label,
            *_numbers(row.values, ("ged",)),
            _interval(row.intervals["ged"]),
            *_numbers(row.values, ("hm_iou",)),
        )
    return table


def _numbers(values: Mapping[str, float], keys: Sequence[str]) -> list[str]:
    return [number(values.get(key, math.nan)) for key in keys]


def _interval(interval: Interval) -> str:
    low, high = map(number, interval)
    return "-" if low == "-" else f"{low} to {high}"


def _cases(cases: int, patients: int) -> str:
    return f"{cases} cases · {patients} patients"


def _table(title: str) -> Table:
    return Table(title=title, box=SIMPLE_HEAD, padding=0, show_edge=False)
