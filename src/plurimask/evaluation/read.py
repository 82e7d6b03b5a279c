"""Scores from disk, as `write_scores` left them there."""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from plurimask.errors import InputError
from plurimask.evaluation.columns import COLUMNS
from plurimask.evaluation.scores import CaseScores, Scores, TableRow
from plurimask.files.stored import reason
from plurimask.metrics import Reliability


def read_scores(folder: Path) -> Scores:
    """What `write_scores` wrote of rows, table and reliability; conventions of others and strata are left out.

    Raises:
        InputError: files that are damaged.
        OSError: where a file is missing.
    """
    try:
        return _read(folder)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            folder, expected="scores as plurimask writes them", got=f"'{reason(error)}'", hint="score them again"
        ) from error


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
        table=tuple(_row(row) for row in summary["table"]),
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


def _row(row: Mapping[str, Any]) -> TableRow:
    values = {key: _nan(value) for key, value in row["mean"].items()}
    intervals = {key: (_nan(low), _nan(high)) for key, (low, high) in row["interval"].items()}
    return TableRow(row["label"], row["samples"], values, intervals, row["cases"])


def _nan(value: float | None) -> float:
    return math.nan if value is None else value


def _tensor(values: Sequence[float | None]) -> torch.Tensor:
    return torch.tensor([[_nan(value) for value in values]], dtype=torch.float64)
