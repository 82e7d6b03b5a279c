"""The page of a demo or an evaluation: scores of all cases, and a card for some."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from plurimask.errors import InputError
from plurimask.evaluation import CaseScores, Comparison, Scores
from plurimask.records import Case, MaskSet
from plurimask.report.card import Card, card_of
from plurimask.report.chart import Chart, Line, Point, linear
from plurimask.report.choice import cases_to_show
from plurimask.report.page import origin_of, settings_of, write_page

STRATUM_KEYS = ("ged_v", "ged_u", "hm_iou", "dice_max", "ci", "empty_samples", "empty_readers")
"""Columns of the table by readers who drew and by size."""


def write_report(
    path: Path,
    title: str,
    cases: Sequence[Case],
    panels: Sequence[MaskSet],
    scores: Scores,
    *,
    details: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
) -> None:
    """Write a page with the scores of all cases and a card for each of `cases`, whole or not at all.

    Patients are not named; a case whose name holds its patient's identity is shown by number.

    Args:
        path: the HTML file.
        title: the page's heading.
        cases: the cases to show, in this order; `scores` may hold more.
        panels: `panels[i]` belongs to `cases[i]`.
        scores: of these panels.
        details: what else the settings should list (version, data digest, ...).
        notes: paragraphs for the foot of the page (attribution, licence).

    Raises:
        InputError: not one panel a case, or a panel that belongs to another case or grid.
    """
    if len(cases) != len(panels):
        raise InputError(
            path, expected="one panel a case", got=f"{len(cases)} cases and {len(panels)} panels", hint="pair them"
        )
    rows = {row.name: row for row in scores.rows}
    pairs = zip(cases, panels, strict=True)
    cards = [card_of(number, case, panel, rows.get(case.name)) for number, (case, panel) in enumerate(pairs, 1)]
    settings = settings_of(map(origin_of, panels)) | dict(details or {})
    _write(path, title, cards, scores, settings, notes)


def write_evaluation_report(
    scores: Scores,
    path: Path,
    panels: Mapping[str, MaskSet],
    cases: Mapping[str, Case],
    data: Mapping[str, Any] | None = None,
    comparison: Comparison | None = None,
) -> None:
    """Write a page with the scores of all cases and a card for at most a dozen, chosen by `cases_to_show`.

    Args:
        scores: of these panels.
        path: the HTML file.
        panels, cases: by name; only those that are shown are read, one at a time.
        data: what was scored (digest of the dataset, split, list of cases), as far as it is known.
        comparison: with another method on the same cases.

    Raises:
        InputError: a panel or a case that cannot be read any more.
        OSError: as the file system does.
    """
    rows = {row.name: row for row in scores.rows}
    cards, origins = [], []
    for number, (name, reason) in enumerate(cases_to_show(scores.rows).items(), start=1):
        panel = panels[name].first(scores.samples)
        cards.append(card_of(number, cases[name], panel, rows[name], reason))
        origins.append(origin_of(panel))
    known = {f"data, {key}": str(value) for key, value in (data or {}).items() if value is not None}
    title = f"{scores.table[0].label} against the readers"
    _write(path, title, cards, scores, settings_of(origins) | known, (), comparison)


def _write(
    path: Path,
    title: str,
    cards: Sequence[Card],
    scores: Scores,
    settings: Mapping[str, str],
    notes: Sequence[str],
    comparison: Comparison | None = None,
) -> None:
    shown = {card.name: card.number for card in cards}
    write_page(
        path,
        "report.html.j2",
        title=title,
        cards=cards,
        shown=shown,
        scores=scores,
        comparison=comparison,
        charts=[chart for chart in (_ged_against_ci(scores.rows, shown), _reliability(scores)) if chart.points],
        stratum_keys=STRATUM_KEYS,
        settings=settings,
        notes=notes,
    )


def _ged_against_ci(rows: Sequence[CaseScores], shown: Mapping[str, int]) -> Chart:
    """A point a case, those that have a card numbered; after the paper's Fig. 4."""
    defined = [row for row in rows if row.readers and not math.isnan(row.values["ged_v"])]
    points = [
        Point(
            row.values["ged_v"],
            row.values["ci"],
            text=str(shown.get(row.name, "")),
            title=f"case {shown[row.name]}" if row.name in shown else "",
            link=f"#case-{shown[row.name]}" if row.name in shown else "",
        )
        for row in defined
    ]
    return Chart(
        "V-GED against CI, a point a case",
        linear(0.0, max((point.x for point in points), default=1.0)),
        linear(0.0, 1.0),
        ("V-GED (lower is better)", "CI (higher is better)"),
        tuple(sorted(points, key=lambda point: bool(point.text))),
    )


def _reliability(scores: Scores) -> Chart:
    """What readers drew against how many samples hold it, a point a bin of all voxels of all cases."""
    curve = scores.reliability
    weights, predicted, drawn = (
        values[0].tolist() for values in (curve.weight, curve.mean_predicted, curve.mean_drawn)
    )
    bins = [(x, y, weight) for x, y, weight in zip(predicted, drawn, weights, strict=True) if weight > 0]
    return Chart(
        "Share of readers who drew a voxel against the share of samples that hold it",
        linear(0.0, 1.0),
        linear(0.0, 1.0),
        ("share of samples that hold the voxel", "share of readers who drew it"),
        tuple(Point(x, y, title=f"{weight:.0f} voxels times readers") for x, y, weight in bins),
        (Line(((0, 0), (1, 1)), "diagonal"), *([Line(tuple((x, y) for x, y, _ in bins))] if bins else [])),
    )
