"""What a benchmark has come to so far: scores of every seed, their means, comparisons, and which cases tell most."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata

from plurimask.benchmark.run import Diversity, Finished, Record, read_record
from plurimask.benchmark.suite import Bench, RunSettings
from plurimask.datasets.changed import CropLoss
from plurimask.evaluation import COLUMNS, CaseScores, Comparison, Scores, TableRow, compare, read_scores
from plurimask.evaluation.scores import summarise, values_of
from plurimask.files.mask_sets import read_mask_set
from plurimask.records import MaskSet
from plurimask.training.run import RunFolder

LATENTS = ("amb", "amn_spread", "acn_spread")
"""Terms of a run's log: L_amb, and the standard deviation over a batch of each encoder's means."""
FAILURES = 2
"""Worst cases shown of each run."""


@dataclass(frozen=True)
class SeedResult:
    """One run with one seed that is over.

    Args:
        seed: of its training.
        finished: its record.
        scores: by N; empty where it diverged.
    """

    seed: int
    finished: Finished
    scores: Mapping[int, Scores]


@dataclass(frozen=True)
class RunResult:
    """One run of the suite.

    Args:
        run: its settings.
        record: how far it has come; None where nothing has been done.
        seeds: those that are over.
        mean: by N, each case's mean over the seeds that were scored; empty where none was.
        against: comparison with the reference at the larger N, where both have scores.
    """

    run: RunSettings
    record: Record | None
    seeds: tuple[SeedResult, ...]
    mean: Mapping[int, Scores]
    against: Comparison | None = None

    @property
    def scored(self) -> tuple[SeedResult, ...]:
        """The seeds that did not diverge."""
        return tuple(seed for seed in self.seeds if seed.scores)


@dataclass(frozen=True)
class Results:
    """All of a benchmark.

    Args:
        bench: the suite and its data.
        counts: the numbers of samples scored, ascending.
        runs: in the suite's order, those without any result too.
        crop: what the crop took away of the scored cases' masks.
        diversity: scores against the noise scale, where the suite asks for them and they are there.
    """

    bench: Bench
    counts: tuple[int, ...]
    runs: tuple[RunResult, ...]
    crop: CropLoss
    diversity: Diversity | None

    @property
    def scored(self) -> tuple[RunResult, ...]:
        """The runs that have scores."""
        return tuple(run for run in self.runs if run.mean)

    @property
    def references(self) -> Sequence[TableRow]:
        """What needs no image, at the largest N; the same for every run."""
        return self.scored[0].mean[self.counts[-1]].table[1:] if self.scored else ()


def collect(bench: Bench) -> Results:
    """Everything that lies in the benchmark's folder.

    Raises:
        CheckpointError: a damaged record, or results of an earlier version.
        SettingsError: results of other data or settings.
    """
    runs = tuple(_run_result(bench, run) for run in bench.suite.runs)
    reference = next(run for run in runs if run.run.name == bench.suite.reference)
    compared = tuple(replace(run, against=_against(run, reference, bench.suite.counts[-1])) for run in runs)
    diversity = next((run.record.diversity for run in runs if run.record and run.record.diversity), None)
    return Results(bench, bench.suite.counts, compared, bench.crop_loss(), diversity)


def mean_over_seeds(scores: Sequence[Scores], label: str) -> Scores:
    """The mean of each case's values over several trainings of one method, with the intervals of that mean.

    The intervals are over patients alone: they say nothing of how trainings differ. What is not by case is the first
    training's.
    """
    first = scores[0]
    values = {key: np.mean([values_of(one.rows)[key] for one in scores], axis=0) for key in COLUMNS}
    rows = tuple(
        replace(row, values={key: float(values[key][place]) for key in COLUMNS}) for place, row in enumerate(first.rows)
    )
    own = summarise([label], [values], first.samples, [row.patient for row in rows])
    return replace(first, rows=rows, table=(*own, *first.table[1:]))


def latent_lines(bench: Bench, run: RunSettings, seed: int) -> np.ndarray:
    """(n, 1 + 3) float64, step and LATENTS of every logged step; n = 0 for a method without AMN and ACN."""
    lines = RunFolder(bench.run_folder(run, f"seed{seed}")).lines("train")
    rows = [[line["step"], *(line[term] for term in LATENTS)] for line in lines if LATENTS[0] in line]
    return np.array(rows, dtype=float).reshape(-1, 1 + len(LATENTS))


def settled(lines: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Medians of the terms over the first and over the last tenth of the steps, (3,) each."""
    tenth = max(1, len(lines) // 10)
    return np.median(lines[:tenth, 1:], axis=0), np.median(lines[-tenth:, 1:], axis=0)


def panel_of(results: Results, run: RunResult, name: str) -> MaskSet:
    """The masks of a case by a run's first seed."""
    return read_mask_set(results.bench.masks(run.run, run.scored[0].seed) / name)


class Choice(NamedTuple):
    """A case to show every method on.

    Args:
        kind: why, as the figure's file is called.
        name: of the case.
    """

    kind: str
    name: str


def choose_examples(rows: Sequence[CaseScores]) -> tuple[Choice, ...]:
    """Cases to show, from readers alone: all drew, half drew, nobody or only one drew, and the smallest lesion.

    Of several the first in the order of the rows; a kind that no case is of is left out.
    """
    drawn = [row for row in rows if row.drawn]
    kinds: dict[str, list[CaseScores]] = {
        "agreed": [row for row in drawn if row.drawn == row.readers],
        "disputed": [row for row in drawn if row.drawn == row.readers // 2],
        "empty": sorted((row for row in rows if row.drawn <= 1 < row.readers), key=lambda row: row.drawn),
        "fine": sorted((row for row in drawn if row.drawn > row.readers / 2), key=lambda row: row.size),
    }
    return tuple(Choice(kind, found[0].name) for kind, found in kinds.items() if found)


def worst_cases(rows: Sequence[CaseScores]) -> list[CaseScores]:
    """The FAILURES cases of largest V-GED, the worst first."""
    defined = [row for row in rows if not math.isnan(row.values["ged_v"])]
    return sorted(defined, key=lambda row: -row.values["ged_v"])[:FAILURES]


def contradicting(results: Results) -> str | None:
    """The case on which V-GED and CI rank the systems most differently, after the paper's Fig. 4; None under three."""
    runs = [{row.name: row.values for row in run.mean[results.counts[-1]].rows} for run in results.scored]
    alike: dict[str, float] = {}
    for name in runs[0] if len(runs) > 2 else ():
        ged, ci = (np.array([run[name][key] for run in runs]) for key in ("ged_v", "ci"))
        if np.ptp(ged) > 0 and np.ptp(ci) > 0:  # which is false where one is NaN
            alike[name] = float(np.corrcoef(rankdata(ged), rankdata(-ci))[0, 1])
    return min(alike, key=alike.__getitem__, default=None)


def _run_result(bench: Bench, run: RunSettings) -> RunResult:
    record, counts = read_record(bench, run), bench.suite.counts
    finished = record.finished if record else {}
    seeds = tuple(_seed_result(bench, run, seed, finished[seed]) for seed in bench.suite.seeds if seed in finished)
    scored = [seed for seed in seeds if seed.scores]
    mean = {count: mean_over_seeds([s.scores[count] for s in scored], run.title) for count in counts} if scored else {}
    return RunResult(run, record, seeds, mean)


def _seed_result(bench: Bench, run: RunSettings, seed: int, finished: Finished) -> SeedResult:
    counts = bench.suite.counts if finished.diverged is None else ()
    return SeedResult(seed, finished, {count: read_scores(bench.scores(run, seed, count)) for count in counts})


def _against(run: RunResult, reference: RunResult, count: int) -> Comparison | None:
    if run is reference or not run.mean or not reference.mean:
        return None
    return compare(run.mean[count], reference.mean[count])
