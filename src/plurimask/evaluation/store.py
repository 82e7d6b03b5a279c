"""Scores on disk and back: a row a case as CSV, and all else as one JSON file that states every convention."""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from plurimask import __version__
from plurimask.evaluation.columns import COLUMNS, GENERAL_CONVENTIONS
from plurimask.evaluation.scores import DRAWS, LEVEL, SEED, CaseScores, Comparison, Scores, TableRow
from plurimask.files.stored import csv_text, json_text, readable, write_text
from plurimask.metrics import CONVENTIONS, Reliability

Json = dict[str, Any]


def write_scores(
    scores: Scores, out: Path, data: Mapping[str, Any] | None = None, comparison: Comparison | None = None
) -> None:
    """Write `out`/scores.csv (a row a case, an undefined value is an empty field) and `out`/summary.json.

    With a comparison `out`/comparison.json is written too; without one, that of an earlier run is removed.
    `data` says what was scored (digest of the dataset, split, list of cases), as far as it is known.
    Raises OSError as the file system does.
    """
    texts = {"scores.csv": _csv(scores), "summary.json": json_text(_summary(scores, data or {}))}
    if comparison:
        texts["comparison.json"] = json_text(_compared(comparison, scores, data or {}))
    else:
        (out / "comparison.json").unlink(missing_ok=True)
    for name, text in texts.items():
        write_text(out / name, text)


def _compared(comparison: Comparison, scores: Scores, data: Mapping[str, Any]) -> Json:
    rows = {"a": comparison.a, "b": comparison.b, "difference": comparison.difference}
    facts = {"cases": comparison.cases, "patients": comparison.patients, "left_out": list(comparison.left_out)}
    how = {"data": dict(data), "units": dict(scores.units), "conventions": _conventions()}
    return _made() | facts | {name: _row(row) for name, row in rows.items()} | how


def _conventions() -> dict[str, str]:
    return {key: column.convention for key, column in COLUMNS.items()} | dict(GENERAL_CONVENTIONS)


def _csv(scores: Scores) -> str:
    rows: list[list[object]] = [["name", "patient", "readers", "drawn", "size", "samples", *COLUMNS]]
    for row in scores.rows:
        facts = [row.name, row.patient, row.readers, row.drawn, row.size, row.samples]
        rows.append([*facts, *(row.values[key] for key in COLUMNS)])
    return csv_text(rows)


def _summary(scores: Scores, data: Mapping[str, Any]) -> Json:
    reliability = scores.reliability
    return _made() | {
        "data": dict(data),
        "drawn": [dict(one) for one in scores.drawn],
        "samples": scores.samples,
        "cases": len(scores.rows),
        "patients": scores.patients,
        "cases_without_patient": sum(row.patient is None for row in scores.rows),
        "missing": list(scores.missing),
        "units": dict(scores.units),
        "mean": scores.mean,
        "interval": scores.intervals,
        "undefined": scores.undefined,
        "table": [_row(row) for row in scores.table],
        "strata": [_row(s.row) | {"by": s.by, "part": s.part, "all_cases": s.cases} for s in scores.strata],
        "reliability": {
            "voxels": reliability.weight.flatten().tolist(),
            "predicted": reliability.mean_predicted.flatten().tolist(),
            "drawn": reliability.mean_drawn.flatten().tolist(),
        },
        "conventions": _conventions(),
        "as_counted_by_others": [
            _row(row) | {"source": CONVENTIONS[row.label].source, "differs": CONVENTIONS[row.label].differs}
            for row in scores.conventions
        ],
    }


def _made() -> Json:
    return {"plurimask": __version__, "bootstrap": {"draws": DRAWS, "level": LEVEL, "seed": SEED, "unit": "patient"}}


def _row(row: TableRow) -> Json:
    means = {"mean": row.values, "interval": row.intervals, "cases": row.cases}
    kind = {"representative": True} if row.representative else {}
    return {"label": row.label, "samples": row.samples} | kind | means


def read_scores(folder: Path) -> Scores:
    """What `write_scores` wrote of rows, table and reliability; conventions of others and strata are left out.

    Raises:
        InputError: files that are missing or damaged.
    """
    with readable(folder, "scores as plurimask writes them", "score them again"):
        return _read(folder)


def _read(folder: Path) -> Scores:
    with (folder / "scores.csv").open(newline="", encoding="utf-8") as file:
        rows = tuple(_case(line) for line in csv.DictReader(file))
    summary = json.loads((folder / "summary.json").read_bytes())
    if len(rows) != summary["cases"]:
        raise ValueError(f"{len(rows)} of {summary['cases']} cases")
    curve = {key: _tensor(summary["reliability"][key]) for key in ("voxels", "predicted", "drawn")}
    weight = curve["voxels"]
    return Scores(
        rows=rows,
        table=tuple(_read_row(row) for row in summary["table"]),
        conventions=(),
        strata=(),
        reliability=Reliability(weight, *((curve[key] * weight).nan_to_num() for key in ("predicted", "drawn"))),
        missing=tuple(summary["missing"]),
        units=summary["units"],
        drawn=tuple(summary["drawn"]),
    )


def _case(line: dict[str, str]) -> CaseScores:
    return CaseScores(
        name=line["name"],
        patient=line["patient"] or None,
        readers=int(line["readers"]),
        drawn=int(line["drawn"]),
        size=_number(line["size"]),
        samples=int(line["samples"]),
        values={key: _number(line[key]) for key in COLUMNS},
    )


def _number(text: str) -> float:
    return math.nan if text == "" else float(text)


def _read_row(row: Mapping[str, Any]) -> TableRow:
    values = {key: _nan(value) for key, value in row["mean"].items()}
    intervals = {key: (_nan(low), _nan(high)) for key, (low, high) in row["interval"].items()}
    return TableRow(row["label"], row["samples"], values, intervals, row["cases"], row.get("representative", False))


def _nan(value: float | None) -> float:
    return math.nan if value is None else value


def _tensor(values: Sequence[float | None]) -> torch.Tensor:
    return torch.tensor([[_nan(value) for value in values]], dtype=torch.float64)
