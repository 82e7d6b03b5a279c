"""Mask sets against the readers of their cases: scores a case, means, and the reference rows to read them by.

Takes masks, not methods, so that anyone's masks can be scored. Panels and cases are read one by one and let go.
"""

import csv
import io
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch
from rich.box import SIMPLE_HEAD
from rich.table import Table
from torch import Tensor

from plurimask.errors import InputError
from plurimask.files.atomic import write_text
from plurimask.metrics import (
    DEGENERATE,
    calibrated_level,
    ci_harmonic,
    ci_score,
    combined_sensitivity,
    count_overlap,
    energy_distance,
    mean_distance,
    mean_of_best,
    range_agreement,
)
from plurimask.records import Case, MaskSet

COLUMNS: Mapping[str, str] = {
    "ged_v": "V-GED",
    "ged_u": "U-GED",
    "dice_max": "D_max",
    "sensitivity": "S_c",
    "agreement": "D_a",
    "ci": "CI",
    "ci_harmonic": "CI (harmonic)",
    "d_ss": "d_SS",
    "d_yy": "d_YY",
}

CONVENTIONS: Mapping[str, str] = {
    "ged_v": "squared, d = 1 - IoU, self pairs counted (V-statistic); depends on N",
    "ged_u": "squared, d = 1 - IoU, distinct pairs only (U-statistic); undefined under two samples or readers",
    "d_ss": "mean d of distinct pairs of samples; ged_v = ged_u + d_ss / N + d_yy / M",
    "d_yy": "mean d of distinct pairs of readers",
    "dice_max": "mean over readers of the best sample's Dice",
    "sensitivity": "share of the readers' union that the samples' union covers; 1 where no reader drew",
    "agreement": "variance of a pair: disagreeing voxels / (4 * voxels), distinct pairs only",
    "ci": "Eq. 17 as printed: 3abc / (a + b + c)",
    "ci_harmonic": "harmonic mean: 3abc / (ab + bc + ca)",
    "empty masks": "two empty masks: IoU 1, Dice 1, d = 0",
    "mean": "a value for each case, then the mean over the cases where it is defined",
    "calibrated": "expected of samples drawn from the readers' own distribution: U-GED 0, V-GED d_yy (1/N + 1/M)",
}


@dataclass(frozen=True)
class CaseScores:
    """Scores of one panel: values by the keys of COLUMNS, NaN where undefined; `readers` is M and `samples` is N."""

    name: str
    patient: str | None
    readers: int
    samples: int
    values: dict[str, float]


@dataclass(frozen=True)
class TableRow:
    """Means over cases under one label; a key is absent where the row has no such value."""

    label: str
    samples: int
    values: dict[str, float]


@dataclass(frozen=True)
class Scores:
    """What `evaluate` returns.

    Args:
        rows: one a scored case, in the order of the panels.
        table: the method first, then the degenerate predictors and "calibrated", on the same cases and N.
        missing: names of the cases without a panel.
    """

    rows: tuple[CaseScores, ...]
    table: tuple[TableRow, ...]
    missing: tuple[str, ...]

    @property
    def samples(self) -> int:
        """N, the samples of every panel."""
        return self.rows[0].samples

    @property
    def mean(self) -> dict[str, float]:
        """Mean over the cases where a value is defined; NaN where it is nowhere."""
        return self.table[0].values

    @property
    def undefined(self) -> dict[str, int]:
        """For each value the number of cases where it is NaN."""
        return {key: sum(math.isnan(row.values[key]) for row in self.rows) for key in COLUMNS}

    @property
    def patients(self) -> int:
        """Number of distinct known patients."""
        return len({row.patient for row in self.rows} - {None})


def evaluate(panels: Iterable[MaskSet], cases: Mapping[str, Case]) -> Scores:
    """Score panels against the readers of their cases.

    Args:
        panels: one a case, read as they come; all of one number of samples, since V-GED depends on it.
        cases: by name, and no others than those to be scored. A mapping that reads on access keeps memory at one case.

    Raises:
        InputError: no panel, two panels of one case, a panel of an unknown case, of another size or grid than its
            case, or with another number of samples than the first.
    """
    rows: dict[str, CaseScores] = {}
    methods: set[str] = set()
    references: dict[str, list[dict[str, float]]] = defaultdict(list)
    for panel in panels:
        count = len(panel.masks)
        _check_panel(panel, rows, cases)
        case = cases[panel.name]
        _check_grid(panel, case)
        raters = torch.tensor(case.raters)[None]
        values = {key: v.item() for key, v in _values(torch.tensor(panel.masks)[None], raters).items()}
        rows[panel.name] = CaseScores(panel.name, case.patient, len(case.raters), count, values)
        methods.add(panel.method or "unnamed")
        for label, reference in _references(raters, count).items():
            references[label].append(reference)
    if not rows:
        raise InputError("evaluation", expected="at least one mask set", got="none", hint="draw masks first")
    own = TableRow(" + ".join(sorted(methods)), count, _means([row.values for row in rows.values()]))
    others = (TableRow(label, count, _means(values)) for label, values in references.items())
    return Scores(tuple(rows.values()), (own, *others), tuple(name for name in cases if name not in rows))


def write_scores(scores: Scores, out: Path, digest: str | None = None) -> None:
    """Write `out`/scores.csv (a row a case, an undefined value is an empty field) and `out`/summary.json.

    `digest` is that of the scored dataset, if known. Raises OSError as the file system does.
    """
    write_text(out / "scores.csv", _csv(scores))
    write_text(out / "summary.json", json.dumps(_summary(scores, digest), indent=2, allow_nan=False) + "\n")


def render_table(scores: Scores) -> Table:
    """The table of means for a terminal, N, cases and patients in its title; a value that is undefined is a dash."""
    left_out = f", {len(scores.missing)} without masks" if scores.missing else ""
    title = f"N = {scores.samples} samples · {len(scores.rows)} cases · {scores.patients} patients{left_out}"
    table = Table(title=title, box=SIMPLE_HEAD, padding=0, show_edge=False)
    table.add_column("", min_width=12)
    for name in COLUMNS.values():
        table.add_column(name, justify="right", min_width=6)
    for row in scores.table:
        values = (row.values.get(key, math.nan) for key in COLUMNS)
        table.add_row(row.label, *("-" if math.isnan(value) else f"{value:.3f}" for value in values))
    return table


def _values(samples: Tensor, raters: Tensor) -> dict[str, Tensor]:
    """Every value of COLUMNS, (B,) each, from one count of all pairs; all raters did read."""
    read, count = raters.new_ones(raters.shape[:2]), samples.shape[1]
    pairs = count_overlap(masks := torch.cat([samples, raters], 1), masks)
    d_ss, d_sy, d_yy = _blocks(1 - pairs.iou, count)
    variance_ss, _, variance_yy = _blocks(pairs.variance, count)
    sensitivity = combined_sensitivity(samples, raters)
    best_dice = mean_of_best(_blocks(pairs.dice, count)[1], read)
    agreement = range_agreement(variance_ss, variance_yy, read)
    return {
        "ged_v": energy_distance(d_sy, d_ss, d_yy, read, "v"),
        "ged_u": energy_distance(d_sy, d_ss, d_yy, read, "u"),
        "d_ss": mean_distance(d_ss, read.new_ones(samples.shape[:2])),
        "d_yy": mean_distance(d_yy, read),
        "sensitivity": sensitivity,
        "dice_max": best_dice,
        "agreement": agreement,
        "ci": ci_score(sensitivity, best_dice, agreement),
        "ci_harmonic": ci_harmonic(sensitivity, best_dice, agreement),
    }


def _blocks(pairs: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """(B, S+R, S+R) -> samples with samples, samples with raters, raters with raters."""
    return pairs[:, :count, :count], pairs[:, :count, count:], pairs[:, count:, count:]


def _references(raters: Tensor, count: int) -> dict[str, dict[str, float]]:
    """Values of the degenerate predictors and of a calibrated panel for one case."""
    # Two or more copies of one mask score the same at any number of copies, so two stand for N.
    predicted = torch.cat([predict(raters, None, min(count, 2)) for predict in DEGENERATE.values()])
    values = _values(predicted, raters.expand(len(predicted), *raters.shape[1:]))
    rows = {label: {key: v[i].item() for key, v in values.items()} for i, label in enumerate(DEGENERATE)}
    level = calibrated_level(raters, None, count).item()
    return rows | {"calibrated": {"ged_v": level, "ged_u": 0 * level}}  # NaN stays NaN


def _means(values: Sequence[Mapping[str, float]]) -> dict[str, float]:
    defined = {key: [v[key] for v in values if not math.isnan(v[key])] for key in values[0]}
    return {key: math.fsum(kept) / len(kept) if kept else math.nan for key, kept in defined.items()}


def _check_panel(panel: MaskSet, rows: Mapping[str, CaseScores], cases: Mapping[str, Case]) -> None:
    if panel.name not in cases:
        raise InputError(
            panel.name,
            expected="masks of one of the cases to be scored",
            got="an unknown case",
            hint="score the --split that was drawn (sample draws all unless told), or rename the sets",
        )
    if panel.name in rows:
        raise InputError(panel.name, expected="one mask set a case", got="a second one", hint="remove one of them")
    first = next(iter(rows.values()), None)
    if first is not None and len(panel.masks) != first.samples:
        raise InputError(
            panel.name,
            expected=f"{first.samples} masks, as for {first.name}",
            got=str(len(panel.masks)),
            hint="GED depends on the number of samples: score sets of different sizes apart",
        )


def _check_grid(panel: MaskSet, case: Case) -> None:
    if panel.grid.shape != case.grid.shape:
        sizes = ["x".join(map(str, grid.shape)) for grid in (case.grid, panel.grid)]
        raise InputError(
            case.name,
            expected=f"masks of size {sizes[0]}",
            got=sizes[1],
            hint="bring the masks to the grid of the case",
        )
    if not panel.grid.same_as(case.grid):
        raise InputError(
            case.name,
            expected="masks on the grid of the case",
            got="another affine",
            hint="bring the masks to the grid of the case, or correct set.json",
        )


def _csv(scores: Scores) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["name", "patient", "readers", "samples", *COLUMNS])
    for row in scores.rows:
        values = ("" if math.isnan(row.values[key]) else repr(row.values[key]) for key in COLUMNS)
        writer.writerow([row.name, row.patient or "", row.readers, row.samples, *values])
    return text.getvalue()


def _summary(scores: Scores, digest: str | None) -> dict[str, object]:
    return {
        "plurimask": _version(),
        "data": digest,
        "samples": scores.samples,
        "cases": len(scores.rows),
        "patients": scores.patients,
        "cases_without_patient": sum(row.patient is None for row in scores.rows),
        "missing": list(scores.missing),
        "mean": _null_for_nan(scores.mean),
        "undefined": scores.undefined,
        "table": [{"label": row.label, "samples": row.samples, **_null_for_nan(row.values)} for row in scores.table],
        "conventions": dict(CONVENTIONS),
    }


def _null_for_nan(values: Mapping[str, float]) -> dict[str, float | None]:
    return {key: None if math.isnan(value) else value for key, value in values.items()}


def _version() -> str | None:
    try:
        return metadata.version("plurimask")
    except metadata.PackageNotFoundError:  # run from a source tree
        return None
