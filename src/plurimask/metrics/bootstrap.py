"""Percentile bootstrap intervals of means over cases, when patients are drawn anew and not cases.

Cases of one patient resemble each other, so that an interval over cases would be too narrow. With u_j the sum of
the defined values of patient j, n_j their number, and w_j how often the patient comes up among P draws with
replacement from P patients,

    mean = sum_j w_j u_j / sum_j w_j n_j

for each draw; the interval spans the central share `level` of the draws. It is the pairs cluster bootstrap of Cameron,
Gelbach and Miller (Review of Economics and Statistics, 2008) with patients as clusters.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plurimask.errors import InputError, SettingsError

# 2^21 numbers of 8 bytes: some 16 MB an array, whatever the number of draws.
_AT_ONCE = 2**21


@dataclass(frozen=True)
class Interval:
    """Ends of one interval for each column, (k,) float64 each; NaN where there is none."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]


def patient_bootstrap(
    values: NDArray[np.float64],
    patients: Sequence[str | None],
    draws: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Interval of the mean over cases of each column, patients resampled with replacement.

    All columns see the same draws of patients, so a paired comparison of a and b is `patient_bootstrap(a - b, ...)`.
    The same seed gives the same interval; where every case has a patient, in any order of the cases, up to rounding.

    Args:
        values: (n, k), one row a case; NaN is left out of the mean, and so is a draw without a value in a column.
        patients: patient of each of the n cases; a case with None is a patient of its own.
        draws: number of draws.
        seed: of the draws.
        level: share of the draws inside the interval.

    Returns:
        Interval of k columns; NaN where fewer than two patients have a value, as it says nothing of other patients.

    Raises:
        InputError: values that are not a table, or not one patient for each of its rows.
        SettingsError: no draw, or a level outside 0 to 1.
    """
    _check(values, patients, draws, level)
    sums, counts = _by_patient(values, patient_groups(patients))
    parts = []
    for weights in patient_weights(len(sums), draws, seed):
        total, number = weights @ sums, weights @ counts
        parts.append(np.divide(total, number, out=np.full_like(total, np.nan), where=number > 0))
    means = np.concatenate(parts)
    low, high = np.full((2, values.shape[1]), np.nan)
    for column in np.flatnonzero((counts > 0).sum(0) >= 2):
        known = means[~np.isnan(means[:, column]), column]
        low[column], high[column] = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return Interval(low, high)


def patient_correlation(
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    patients: Sequence[str | None],
    draws: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float, float]:
    """Correlation over cases of a and b, (n,) each, and both ends of its interval; arguments as `patient_bootstrap`.

    A case where either is NaN is left out, and so is a draw in which either is constant. Where one is constant over all
    cases there is no correlation: NaN.
    """
    known = ~(np.isnan(a) | np.isnan(b))
    both = np.stack([a, b], axis=1)[known]
    both -= both.mean(0)
    moments = np.column_stack([both, both**2, both.prod(1)])
    groups = patient_groups([patient for patient, used in zip(patients, known, strict=True) if used])
    sums, counts = _by_patient(moments, groups)

    def correlation(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        mean_a, mean_b, squares_a, squares_b, product = (weights @ sums / (weights @ counts)).T
        spread = (squares_a - mean_a**2) * (squares_b - mean_b**2)
        some = spread > 1e-18
        return (product - mean_a * mean_b)[some] / np.sqrt(spread[some])

    if not len(sums) or not len(own := correlation(np.ones((1, len(sums))))):
        return math.nan, math.nan, math.nan
    drawn = np.concatenate([correlation(weights) for weights in patient_weights(len(sums), draws, seed)])
    tails = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(drawn, tails) if len(sums) > 1 and len(drawn) else (math.nan, math.nan)
    return float(own[0]), float(low), float(high)


def _check(values: NDArray[np.float64], patients: Sequence[str | None], draws: int, level: float) -> None:
    if values.ndim != 2 or len(values) != len(patients):
        got = f"{values.shape} and {len(patients)} patients"
        raise InputError("values", expected="(n, k) and n patients", got=got, hint="give each case a patient or None")
    if draws < 1:
        raise SettingsError("draws", expected="1 or more", got=str(draws), hint="10,000 is the usual number")
    if not 0 < level < 1:
        raise SettingsError("level", expected="above 0 and below 1", got=str(level), hint="0.95 is the usual level")


def patient_groups(patients: Sequence[str | None]) -> NDArray[np.intp]:
    """(n,) index of each case's patient: names in order of the alphabet, then cases without one."""
    names = {name: index for index, name in enumerate(sorted({name for name in patients if name is not None}))}
    alone = iter(range(len(names), len(names) + len(patients)))
    return np.array([next(alone) if name is None else names[name] for name in patients], dtype=np.intp)


def _by_patient(
    values: NDArray[np.float64], groups: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum and number of the defined values of each patient and column, (P, k) each."""
    defined = ~np.isnan(values)
    sums, counts = np.zeros((2, groups.max(initial=-1) + 1, values.shape[1]))
    np.add.at(sums, groups, np.where(defined, values, 0.0))
    np.add.at(counts, groups, defined)
    return sums, counts


def patient_weights(patients: int, draws: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """How often each patient comes up in each draw, (draws at once, P)."""
    generator = np.random.default_rng(seed)
    step = max(1, _AT_ONCE // max(1, patients))
    for start in range(0, draws, step):
        rows = min(step, draws - start)
        picked = generator.integers(max(1, patients), size=(rows, patients))
        places = picked + patients * np.arange(rows)[:, None]
        yield np.bincount(places.ravel(), minlength=rows * patients).reshape(rows, patients).astype(np.float64)
