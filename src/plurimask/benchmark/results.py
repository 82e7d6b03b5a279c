"""What a benchmark has come to so far: scores of every seed, their means, comparisons with the reference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from plurimask.benchmark.bench import Bench
from plurimask.benchmark.places import Diversity, Finished, Prepared, key_of, read_record
from plurimask.benchmark.run import counts
from plurimask.benchmark.suite import RunSettings
from plurimask.datasets.changed import CropLoss
from plurimask.evaluation import COLUMNS, Comparison, Scores, TableRow, compare, read_scores
from plurimask.evaluation.scores import summarise, values_of


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
        prepared: how it is trained; None where nothing has been done.
        seeds: those that are over.
        mean: by N, each case's mean over the seeds that were scored; empty where none was.
        against: comparison with the reference at the larger N, where both have scores.
    """

    run: RunSettings
    prepared: Prepared | None
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
    """Everything that lies in the benchmark's folder. Raises CheckpointError for a damaged record."""
    numbers = counts(bench)
    runs = tuple(_run_result(bench, run, numbers) for run in bench.suite.runs)
    reference = next(run for run in runs if run.run.name == bench.suite.reference)
    compared = tuple(replace(run, against=_against(run, reference, numbers[-1])) for run in runs)
    chosen = bench.suite.diversity
    place = chosen and bench.places.diversity(key_of(chosen.run, bench.suite.seeds[0]))
    diversity = read_record(place, Diversity) if place else None
    return Results(bench, numbers, compared, bench.crop_loss(), diversity)


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


def _run_result(bench: Bench, run: RunSettings, numbers: Sequence[int]) -> RunResult:
    seeds = tuple(
        _seed_result(bench, run, seed, numbers)
        for seed in bench.suite.seeds
        if bench.places.finished(key_of(run.name, seed)).exists()
    )
    scored = [seed for seed in seeds if seed.scores]
    mean = {count: mean_over_seeds([s.scores[count] for s in scored], run.title) for count in numbers} if scored else {}
    return RunResult(run, read_record(bench.places.prepared(run.name), Prepared), seeds, mean)


def _seed_result(bench: Bench, run: RunSettings, seed: int, numbers: Sequence[int]) -> SeedResult:
    key = key_of(run.name, seed)
    finished = read_record(bench.places.finished(key), Finished)
    assert finished is not None
    if finished.diverged is not None:
        return SeedResult(seed, finished, {})
    return SeedResult(seed, finished, {count: read_scores(bench.places.scores(key, count)) for count in numbers})


def _against(run: RunResult, reference: RunResult, count: int) -> Comparison | None:
    if run is reference or not run.mean or not reference.mean:
        return None
    return compare(run.mean[count], reference.mean[count])
