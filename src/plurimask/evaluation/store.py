"""Scores on disk and back: a row a case as CSV, and all else as one JSON file that states every convention."""

import csv
import json
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, BeforeValidator, Field

from plurimask import __version__
from plurimask.errors import InputError
from plurimask.evaluation.columns import COLUMNS, GENERAL_CONVENTIONS, LATER
from plurimask.evaluation.readers import DrawnAs, ReaderScores
from plurimask.evaluation.scores import DRAWS, LEVEL, SEED, CaseScores, Comparison, Estimate, Scores, TableRow
from plurimask.files.atomic import read_together, write_text
from plurimask.files.stored import is_endless, readable
from plurimask.files.texts import csv_text, json_text, plain_cell
from plurimask.metrics.calibration import Reliability
from plurimask.metrics.conventions import CONVENTIONS
from plurimask.settings import Natural, Positive, parse

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
        **({"readers": _readers(scores.readers)} if scores.readers else {}),
        **({"drawn_as": _drawn_as(scores.drawn_as)} if scores.drawn_as else {}),
        "units": dict(scores.units),
        "mean": scores.mean,
        "interval": scores.intervals,
        "undefined": scores.undefined,
        "r_of_empties": _estimate(scores.empties),
        "table": [_row(row) for row in scores.table],
        "strata": [_row(s.row) | {"by": s.by, "part": s.part, "all_cases": s.cases} for s in scores.strata],
        "reliability": {
            "voxels": reliability.weight.flatten().tolist(),
            "predicted": reliability.mean_predicted.flatten().tolist(),
            "drawn": reliability.mean_drawn.flatten().tolist(),
        },
        "size_ranks": list(scores.ranks),
        "conventions": _conventions(),
        "as_counted_by_others": [
            _row(row) | {"source": CONVENTIONS[row.label].source, "differs": CONVENTIONS[row.label].differs}
            for row in scores.conventions
        ],
    }


def _readers(readers: ReaderScores) -> Json:
    """Of known readers, by name; `alike` in the order of the names."""
    columns = {"dice_of_samples": readers.met, "dice_of_others": readers.others, "size_ratio": readers.size}
    return {
        "by_reader": {
            name: {"masks": readers.masks[place]} | {key: _estimate(values[place]) for key, values in columns.items()}
            for place, name in enumerate(readers.names)
        },
        "alike": readers.alike.tolist(),
        "between_persons": _estimate(readers.between) | {"permuted": list(readers.by_chance), "p": readers.chance},
        "drawn_as_a_reader": readers.asked and _estimate(readers.asked),
    }


def _drawn_as(drawn: DrawnAs) -> Json:
    """Of masks drawn as each reader, by name; `dice` in the order of the names."""
    columns = ("own", "less_others", "less_any", "less_as_others", "less_resized")
    return {
        "by_reader": {
            name: {key: _estimate(getattr(drawn, key)[place]) for key in columns}
            for place, name in enumerate(drawn.names)
        },
        "dice": drawn.dice.tolist(),
    }


def _estimate(one: Estimate) -> Json:
    return {"mean": one.value, "interval": list(one.interval)}


def _made() -> Json:
    return {"plurimask": __version__, "bootstrap": {"draws": DRAWS, "level": LEVEL, "seed": SEED, "unit": "patient"}}


def _row(row: TableRow) -> Json:
    means = {"mean": row.values, "interval": row.intervals, "cases": row.cases}
    kind = {"representative": True} if row.representative else {}
    return {"label": row.label, "samples": row.samples} | kind | means


Known = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]
"""A number whose null is NaN."""


class _Row(BaseModel):
    label: str
    samples: Positive
    mean: dict[str, Known]
    interval: dict[str, tuple[Known, Known]]
    cases: dict[str, Natural]
    representative: bool = False

    @property
    def row(self) -> TableRow:
        return TableRow(self.label, self.samples, self.mean, self.interval, self.cases, self.representative)


class _Curve(BaseModel):
    voxels: list[Known]
    predicted: list[Known]
    drawn: list[Known]


class _Read(BaseModel):
    """What `read_scores` takes of summary.json."""

    cases: Positive
    missing: tuple[str, ...]
    units: dict[str, str]
    drawn: tuple[dict[str, Any], ...]
    table: Annotated[tuple[_Row, ...], Field(min_length=1)]
    reliability: _Curve
    size_ranks: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...] = ()


def read_scores(folder: Path) -> Scores:
    """What `write_scores` wrote of rows, table and reliability; conventions of others and strata are left out.

    All files are of one writing, also where they are written again meanwhile.

    Raises:
        InputError: files that are damaged or missing, or a value that cannot be one.
    """
    return read_together(folder, partial(_read_scores, folder))


def _read_scores(folder: Path) -> Scores:
    with readable(folder, "scores as plurimask writes them", "score them again"):
        if any(is_endless(folder / name) for name in ("summary.json", "scores.csv")):
            raise ValueError("a pipe or a device")
        summary = parse(_Read, json.loads((folder / "summary.json").read_bytes()), folder / "summary.json", InputError)
        with (folder / "scores.csv").open(newline="", encoding="utf-8") as file:
            rows = tuple(map(_case, csv.DictReader(file)))
        if len(rows) != summary.cases:
            raise ValueError(f"{len(rows)} of {summary.cases} cases")
        own = summary.table[0]
        if not COLUMNS.keys() - set(LATER) <= own.mean.keys() & own.interval.keys() & own.cases.keys():
            raise ValueError("a table without some of the values")
        for key in LATER:
            own.mean.setdefault(key, math.nan)
            own.interval.setdefault(key, (math.nan, math.nan))
            own.cases.setdefault(key, 0)
        curve = torch.tensor([list(part) for _, part in summary.reliability], dtype=torch.float64)
    weight, predicted, drawn = curve[:, None]
    return Scores(
        rows=rows,
        table=tuple(one.row for one in summary.table),
        conventions=(),
        strata=(),
        reliability=Reliability(weight, *((part * weight).nan_to_num() for part in (predicted, drawn))),
        missing=summary.missing,
        units=summary.units,
        drawn=summary.drawn,
        ranks=summary.size_ranks,
    )


def _case(line: dict[str, str]) -> CaseScores:
    readers, drawn, samples = (int(line[key]) for key in ("readers", "drawn", "samples"))
    if not (0 <= drawn <= readers and samples > 0):
        raise ValueError(f"{drawn} of {readers} readers who drew, and {samples} samples")
    return CaseScores(
        name=plain_cell(line["name"]),
        patient=plain_cell(line["patient"]) or None,
        readers=readers,
        drawn=drawn,
        size=_number(line["size"]),
        samples=samples,
        values={key: _number(line.get(key, "") if key in LATER else line[key]) for key in COLUMNS},
    )


def _number(text: str) -> float:
    return math.nan if text == "" else float(text)
