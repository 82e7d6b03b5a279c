"""What an evaluation knows: values a case, rows of means with intervals, and what was left out.

Two methods on the same cases are compared by the difference of their means, with a paired patient bootstrap.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from plurimask.errors import InputError
from plurimask.evaluation.columns import COLUMNS
from plurimask.metrics.bootstrap import patient_bootstrap, patient_correlation
from plurimask.metrics.calibration import Reliability

if TYPE_CHECKING:
    from plurimask.evaluation.readers import DrawnAs, ReaderScores

DRAWS, LEVEL, SEED = 10_000, 0.95, 0
"""Of the patient bootstrap behind every interval."""

Interval = tuple[float, float]


@dataclass(frozen=True)
class Estimate:
    """A value with its interval over patients."""

    value: float
    interval: Interval = (math.nan, math.nan)


@dataclass(frozen=True)
class CaseScores:
    """Scores of one panel.

    Args:
        name, patient: of the case; a patient may be unknown.
        readers: M.
        drawn: how many of them drew anything.
        size: mean size of what those drew, NaN where none did.
        samples: N.
        values: by the keys of COLUMNS, NaN where undefined.
    """

    name: str
    patient: str | None
    readers: int
    drawn: int
    size: float
    samples: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class TableRow:
    """Means over cases under one label; a key is absent where the row has no such value.

    Args:
        label, samples: whose means, and N.
        values: by key, over the cases where they are defined.
        intervals: of the means, from the patient bootstrap; NaN where fewer than two patients have a value.
        cases: by key, the number of cases where the value is defined.
        representative: whether the masks represent a pool; else they are independent draws, or no samples at all.
    """

    label: str
    samples: int
    values: dict[str, float]
    intervals: dict[str, Interval]
    cases: dict[str, int]
    representative: bool = False


@dataclass(frozen=True)
class Stratum:
    """The method's own row on some of the cases.

    Args:
        by: what divides the cases.
        part: which part this is.
        cases: how many.
        row: of these cases alone.
    """

    by: str
    part: str
    cases: int
    row: TableRow


@dataclass(frozen=True)
class Scores:
    """What `evaluate` returns.

    Args:
        rows: one a scored case, in the order of the panels.
        table: the method first, then what needs no image, on the same cases and N.
        conventions: GED and HM-IoU of the same masks as other codes count them, a row a convention.
        strata: the method by number of readers who drew, then by size of what they drew.
        reliability: of the frequency map, pooled over the cases.
        missing: names of the cases without a panel.
        units: of the values that have one, by the keys of COLUMNS.
        drawn: how the masks came about, as their sets say: distinct combinations of method, checkpoint and settings.
        questions: what looks wrong, a sentence each.
        readers: of readers who are known; None where none is.
        ranks: how many readers' sizes stand at each rank among a panel's, of 0 to N samples below (`size_ranks`); none
            in scores of earlier versions.
    """

    rows: tuple[CaseScores, ...]
    table: tuple[TableRow, ...]
    conventions: tuple[TableRow, ...]
    strata: tuple[Stratum, ...]
    reliability: Reliability
    missing: tuple[str, ...]
    units: Mapping[str, str]
    drawn: tuple[Mapping[str, Any], ...]
    questions: tuple[str, ...] = ()
    readers: "ReaderScores | None" = None
    ranks: tuple[float, ...] = ()
    drawn_as: "DrawnAs | None" = None

    @property
    def samples(self) -> int:
        """N, the samples of every panel."""
        return self.rows[0].samples

    @property
    def mean(self) -> Mapping[str, float]:
        """Mean over the cases where a value is defined; NaN where it is nowhere."""
        return self.table[0].values

    @property
    def intervals(self) -> Mapping[str, Interval]:
        """Of the means, from the patient bootstrap."""
        return self.table[0].intervals

    def beside(self, other: "Scores") -> "Scores":
        """These scores, with the other's own row below the first one of the table."""
        return replace(self, table=(self.table[0], other.table[0], *self.table[1:]))

    @property
    def undefined(self) -> dict[str, int]:
        """For each value the number of cases where it is NaN."""
        return {key: sum(math.isnan(row.values[key]) for row in self.rows) for key in COLUMNS}

    @cached_property
    def empties(self) -> Estimate:
        """r of empties: whether samples are empty in the cases where readers are."""
        drawn, read = (values_of(self.rows)[key] for key in ("empty_samples", "empty_readers"))
        r, *ends = patient_correlation(drawn, read, [row.patient for row in self.rows], DRAWS, SEED, LEVEL)
        return Estimate(r, (ends[0], ends[1]))

    @property
    def patients(self) -> int:
        """Number of distinct known patients."""
        return len({row.patient for row in self.rows} - {None})


def summarise(
    labels: Sequence[str], values: Sequence[Mapping[str, np.ndarray]], samples: int, patients: Sequence[str | None]
) -> tuple[TableRow, ...]:
    """One row a label: means of `values[i][key]` (n,) over the cases where it is defined, and their intervals.

    All rows are resampled together, so that their intervals rest on the same draws of patients.
    """
    columns = [(row, key) for row, of_row in enumerate(values) for key in of_row]
    matrix = np.stack([values[row][key] for row, key in columns], axis=1)
    interval = patient_bootstrap(matrix, patients, DRAWS, SEED, LEVEL)
    rows = tuple(TableRow(label, samples, {}, {}, {}) for label in labels)
    means = np.array([mean_of_defined(column) for column in matrix.T])
    defined = (~np.isnan(matrix)).sum(0)
    for place, (row, key) in enumerate(columns):
        rows[row].values[key] = float(means[place])
        rows[row].intervals[key] = (float(interval.low[place]), float(interval.high[place]))
        rows[row].cases[key] = int(defined[place])
    return rows


def stratify(rows: Sequence[CaseScores], label: str, unit: str) -> tuple[Stratum, ...]:
    """The rows by number of readers who drew, and in thirds by size of what they drew; equal sizes stay together."""
    parts: list[tuple[str, str, list[CaseScores]]] = []
    for drawn, readers in sorted({(row.drawn, row.readers) for row in rows}):
        inside = [row for row in rows if (row.drawn, row.readers) == (drawn, readers)]
        parts.append(("readers who drew", f"{drawn} of {readers} readers drew", inside))
    sized = sorted((row for row in rows if not math.isnan(row.size)), key=lambda row: row.size)
    sizes = np.array([row.size for row in sized])
    cuts = np.searchsorted(sizes, np.quantile(sizes, (1 / 3, 2 / 3), method="higher"), "left") if sized else []
    for third in np.split(np.arange(len(sized)), np.unique(cuts)):
        if len(third):
            ends = f"{sizes[third[0]]:.3g} to {sizes[third[-1]]:.3g} {unit}"
            parts.append(("size of what they drew", ends, [sized[place] for place in third]))
    return tuple(Stratum(by, part, len(inside), _own_row(inside, label)) for by, part, inside in parts)


def values_of(rows: Sequence[CaseScores]) -> dict[str, np.ndarray]:
    """By the keys of COLUMNS, (n,) each."""
    return {key: np.array([row.values[key] for row in rows]) for key in COLUMNS}


def mean_of_defined(values: np.ndarray) -> float:
    """Mean of what is not NaN; NaN where nothing is."""
    defined = values[~np.isnan(values)]
    return math.fsum(defined) / len(defined) if len(defined) else math.nan


def _own_row(rows: Sequence[CaseScores], label: str) -> TableRow:
    return summarise([label], [values_of(rows)], rows[0].samples, [row.patient for row in rows])[0]


@dataclass(frozen=True)
class Comparison:
    """A against B on the cases that both have.

    Args:
        a, b: each one's own row on these cases.
        difference: of A minus B, case by case; a case counts where both values are defined.
        cases, patients: how many were compared.
        left_out: names of the cases that only one of the two has.
    """

    a: TableRow
    b: TableRow
    difference: TableRow
    cases: int
    patients: int
    left_out: tuple[str, ...]

    def outside_zero(self, key: str) -> bool:
        """Whether the interval of the difference leaves 0 out."""
        low, high = self.difference.intervals[key]
        return low > 0 or high < 0


def compare(a: Scores, b: Scores) -> Comparison:
    """Compare two evaluations; patients are resampled once for both, so a case that is hard for both adds no noise.

    Raises:
        InputError: different numbers of samples, on which most values depend, or units, or no case in common.
    """
    if a.samples != b.samples:
        raise InputError(
            "comparison",
            expected=f"{a.samples} samples on both sides",
            got=f"{a.samples} and {b.samples}",
            hint="score the first N of each with --count N",
        )
    if a.units != b.units:
        units = [", ".join(dict.fromkeys(scores.units.values())) for scores in (a, b)]
        raise InputError("comparison", expected=f"sizes in {units[0]} on both sides", got=units[1], hint="use one grid")
    rows_a, rows_b = ({row.name: row for row in scores.rows} for scores in (a, b))
    both = [name for name in rows_a if name in rows_b]
    if not both:
        raise InputError("comparison", expected="cases that both have", got="none", hint="score the same cases")
    shared_a, shared_b = [rows_a[name] for name in both], [rows_b[name] for name in both]
    patients = [row.patient for row in shared_a]
    values_a, values_b = values_of(shared_a), values_of(shared_b)
    difference = {key: values_a[key] - values_b[key] for key in values_a}
    labels = [a.table[0].label, b.table[0].label, "A - B"]
    row_a, row_b, row = summarise(labels, [values_a, values_b, difference], a.samples, patients)
    left_out = tuple(name for name in [*rows_a, *rows_b] if name not in rows_a or name not in rows_b)
    return Comparison(row_a, row_b, row, len(both), len(set(patients) - {None}), left_out)
