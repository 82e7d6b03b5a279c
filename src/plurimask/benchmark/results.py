"""What a benchmark has come to so far: scores of every seed, their means, comparisons, courses of the trainings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from plurimask.benchmark.run import Diversity, Finished, Record, log_lines, read_record
from plurimask.benchmark.suite import Bench, Json, RunSettings
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
        record: how far it has come; None where nothing has been done.
        seeds: those that are over.
        mean: by N, each case's mean over the seeds that were scored; empty where none was.
        against: comparison with the reference at the larger N, over the seeds that both were scored with, if any.
        courses: by seed, the validations of its training so far, over or not.
    """

    run: RunSettings
    record: Record | None
    seeds: tuple[SeedResult, ...]
    mean: Mapping[int, Scores]
    against: Comparison | None = None
    courses: Mapping[int, Sequence[Json]] = field(default_factory=dict)

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
    many = bench.suite.counts[-1]
    compared = tuple(run if run is reference else replace(run, against=against(run, reference, many)) for run in runs)
    diversity = next((run.record.diversity for run in runs if run.record and run.record.diversity), None)
    return Results(bench, bench.suite.counts, compared, bench.crop_loss(), diversity)


def against(run: RunResult, reference: RunResult, count: int) -> Comparison | None:
    """A run and the reference case by case at N = `count`, over the seeds that both were scored with; None of none."""
    own, known = ({seed.seed: seed.scores[count] for seed in one.scored} for one in (run, reference))
    shared = [seed for seed in own if seed in known]
    if not shared:
        return None
    return compare(
        mean_over_seeds([own[seed] for seed in shared], run.run.title),
        mean_over_seeds([known[seed] for seed in shared], reference.run.title),
    )


def _run_result(bench: Bench, run: RunSettings) -> RunResult:
    record, counts = read_record(bench, run), bench.suite.counts
    seeds = []
    for seed in bench.suite.seeds:
        finished = record.finished.get(seed) if record else None
        if finished is not None:
            scored = counts if finished.diverged is None else ()
            scores = {count: read_scores(bench.scores(run, seed, count)) for count in scored}
            seeds.append(SeedResult(seed, finished, scores))
    done = [seed.scores for seed in seeds if seed.scores]
    mean = {count: mean_over_seeds([scores[count] for scores in done], run.title) for count in counts if done}
    courses = {seed: lines for seed in bench.suite.seeds if (lines := log_lines(bench, run, seed, "val"))}
    return RunResult(run, record, tuple(seeds), mean, courses=courses)


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
