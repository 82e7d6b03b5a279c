"""What a benchmark says of claims: equivalence over seeds, orders that scores give, and whether frequencies are met.

Two systems are compared by the differences d_1 ... d_n of their mean U-GED, one for each seed that both were trained
with. With m their mean, s their standard deviation and e = s / sqrt(n), two one-sided t tests with n - 1 degrees of
freedom (Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15, 1987) ask whether the true difference lies
inside of a margin that was stated before:

    t_1 = (m + margin) / e,    t_2 = (margin - m) / e,    p = the larger of P(T > t_1) and P(T > t_2)

The systems are equivalent where p < 0.05, which is where the 90% interval of m lies inside of the margin. They differ
where the 95% interval leaves 0 out. Else the question is undecided. The table says how many seeds would show
equivalence with a chance of 80%, if the true difference were 0 and s as it is.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.stats import kendalltau, t

from plurimask.benchmark.results import Results, RunResult
from plurimask.benchmark.run import MEDIANS
from plurimask.evaluation import COLUMNS
from plurimask.evaluation.scores import values_of
from plurimask.show.tables import Head, Number, Row, Table

MOST_SEEDS = 1000
ORDERED = ("ci", "ged_v", "ged_u", "hm_iou")
"""Columns whose orders of the systems are compared."""


@dataclass(frozen=True)
class Equivalence:
    """What the differences over seeds say.

    Args:
        seeds: how many differences.
        difference: their mean; NaN without any.
        interval: its 90% interval; NaN of fewer than two seeds.
        p: of the two one-sided tests; NaN of fewer than two seeds.
        verdict: `equivalent`, `different` or `undecided`.
        needed: seeds that would show equivalence with a chance of 80%, at most MOST_SEEDS; None of fewer than two.
    """

    seeds: int
    difference: float
    interval: tuple[float, float]
    p: float
    verdict: str
    needed: int | None


def equivalence(differences: Sequence[float], margin: float) -> Equivalence:
    """Two one-sided tests of paired differences against a margin above 0."""
    values = np.asarray(differences, dtype=float)
    count, mean = len(values), float(values.mean()) if len(values) else math.nan
    if count < 2:
        return Equivalence(count, mean, (math.nan, math.nan), math.nan, "undecided", None)
    free, spread = count - 1, float(values.std(ddof=1))
    error = max(spread / math.sqrt(count), 1e-12)
    p = float(max(t.sf((mean + margin) / error, free), t.sf((margin - mean) / error, free)))
    half, wide = (float(t.ppf(level, free)) * error for level in (0.95, 0.975))
    verdict = "equivalent" if p < 0.05 else "different" if abs(mean) > wide else "undecided"
    seeds = np.arange(2, MOST_SEEDS + 1)
    enough = margin * np.sqrt(seeds) >= spread * (t.ppf(0.95, seeds - 1) + t.ppf(0.9, seeds - 1))
    needed = int(seeds[enough.argmax()]) if enough.any() else MOST_SEEDS
    return Equivalence(count, mean, (mean - half, mean + half), p, verdict, needed)


def equivalence_table(results: Results, margin: float) -> Table:
    """Each run against the reference, over the seeds that both were scored with."""
    reference = next(run for run in results.runs if run.run.name == results.bench.suite.reference)
    known = _ged_by_seed(results, reference)
    rows = []
    for run in results.scored:
        if run is not reference:
            own = _ged_by_seed(results, run)
            found = equivalence([own[seed] - known[seed] for seed in own.keys() & known.keys()], margin)
            cells = (found.seeds, Number(found.difference, found.interval), Number(found.p), found.verdict)
            rows.append(Row(Head(run.run.title), (*cells, "" if found.needed is None else found.needed)))
    heads = "seeds", f"U-GED less {reference.run.title} (90% interval)", "p", "verdict", "seeds for 80%"
    return Table((Head("", meaning="system"), *map(Head, heads)), tuple(rows))


def order_table(results: Results) -> Table:
    """Kendall's tau-b between the orders that scores give the systems; V-GED and CI at the smaller N, the paper's."""
    fewer, more = results.counts[0], results.counts[-1]
    orders = {
        f"{COLUMNS[key].label}, N = {count}": [_signed(run.mean[count].mean[key], key) for run in results.scored]
        for key in ORDERED
        for count in ((fewer,) if key in ("ci", "ged_v") else (more,))
    }
    rows = [
        Row(Head(f"{one} and {other}"), (Number(float(kendalltau(orders[one], orders[other]).statistic)),))
        for one, other in combinations(orders, 2)
    ]
    return Table((Head("", meaning="scores"), Head("Kendall's tau")), tuple(rows) if len(results.scored) > 2 else ())


def frequency_table(results: Results) -> Table:
    """Whether each system captures how often what is drawn, by its first seed: empty masks, pixels, sizes.

    r is the correlation over cases between the shares of empty samples and of empty readers. Of the ranks of readers'
    sizes, the share that would have to move for all ranks to be equally likely.
    """
    rows = []
    for run in results.scored:
        scores = run.scored[0].scores[results.counts[-1]]
        drawn, read = (values_of(scores.rows)[key] for key in ("empty_samples", "empty_readers"))
        ranks = np.array(scores.ranks) / sum(scores.ranks) if scores.ranks else np.array([math.nan])
        own = (drawn.mean(), read.mean(), scores.empties.value, scores.reliability.error.item(), ranks[0], ranks[-1])
        amiss, filtered = np.abs(ranks - 1 / len(ranks)).sum() / 2, run.scored[0].finished.filtered
        own = (*own, amiss, scores.mean["ged_u"], *(filtered.get(side, math.nan) for side in MEDIANS))
        rows.append(Row(Head(run.run.title), tuple(map(Number, own))))
    sizes, medians = ("below all samples", "above all", "ranks amiss"), (f"median {side}" for side in MEDIANS)
    heads = "empty samples", "empty readers", "r", "ECE of pixels", *sizes, "U-GED", *medians
    return Table((Head("", meaning="system"), *map(Head, heads)), tuple(rows))


def _ged_by_seed(results: Results, run: RunResult) -> dict[int, float]:
    return {seed.seed: seed.scores[results.counts[-1]].mean["ged_u"] for seed in run.scored}


def _signed(value: float, key: str) -> float:
    return value if COLUMNS[key].better == "higher" else -value
