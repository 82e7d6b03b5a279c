"""What a benchmark has come to so far, and its tables: scores of every seed, their means, comparisons, costs.

Tables are written as Markdown, CSV and JSON; the terminal shows one, the page of `report` the others.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from rich.table import Table as RichTable

from plurimask.benchmark.run import Diversity, Finished, Record, Tried, latent_lines, read_record
from plurimask.benchmark.suite import REPORTED, Bench, Json, RunSettings, reported_figures
from plurimask.datasets.changed import CropLoss
from plurimask.datasets.dataset import BY_HASH
from plurimask.evaluation import COLUMNS, Comparison, Scores, TableRow, compare, read_scores
from plurimask.evaluation.scores import LEVEL, summarise, values_of
from plurimask.files.atomic import write_text
from plurimask.files.texts import csv_text, json_text
from plurimask.show.tables import Cell, Head, Number, Row, Table, number, plain_table, score_cells, score_head

FEWER = ("ged_v", "ci", "dice_max")
"""Columns at the smaller N, which are the paper's."""
MORE = ("ged_u", "ged_v", "hm_iou", "dice_max", "ci", "d_ss")
"""Columns at the larger N."""


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
    many = bench.suite.counts[-1]
    compared = tuple(
        replace(run, against=compare(run.mean[many], reference.mean[many]))
        if run is not reference and run.mean and reference.mean
        else run
        for run in runs
    )
    diversity = next((run.record.diversity for run in runs if run.record and run.record.diversity), None)
    return Results(bench, bench.suite.counts, compared, bench.crop_loss(), diversity)


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
    return RunResult(run, record, tuple(seeds), mean)


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


def settled(lines: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Medians of the terms over the first and over the last tenth of the steps, (3,) each."""
    tenth = max(1, len(lines) // 10)
    return np.median(lines[:tenth, 1:], axis=0), np.median(lines[-tenth:, 1:], axis=0)


def write_tables(results: Results) -> None:
    """Write table.md, table.csv and results.json into the benchmark's folder. Raises OSError as files do."""
    root = results.bench.root
    write_text(root / "table.md", render_markdown(results))
    write_text(root / "table.csv", _csv(results))
    write_text(root / "results.json", json_text(_json(results)))


def render_results(results: Results) -> RichTable:
    """The runs so far in 80 columns, at the larger N."""
    count, suite = results.counts[-1], results.bench.suite
    done = sum(len(run.seeds) for run in results.runs)
    own = [Row(Head(run.run.title), score_cells(run.mean[count].table[0], MORE)) for run in results.scored]
    references = [Row(Head(row.label), score_cells(row, MORE)) for row in results.references]
    title = f"{suite.name}: {done} of {len(suite.runs) * len(suite.seeds)} runs · N = {count}"
    return Table((Head(""), *map(score_head, MORE)), (*own, *references), title).to_rich(first=12, others=7)


def render_markdown(results: Results) -> str:
    """The page of tables."""
    parts = [
        f"# {results.bench.suite.name}\n\n{results.bench.suite.purpose}",
        _terms(results),
        _state(results),
        _scores(results),
        _comparisons(results),
        _seeds(results),
        _costs(results),
        _rates(results),
        _latents(results),
        _diversity(results),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _terms(results: Results) -> str:
    suite, terms, crop = results.bench.suite, results.bench.terms, results.crop
    by = results.bench.data.split_by
    file = "" if by == BY_HASH else f", as {by} says"
    lost = (
        f"of {crop.masks} masks that are not empty it takes away {crop.pixels:.2%} of the pixels; "
        f"{crop.cut:.1%} of the masks lose some, {crop.gone:.1%} all"
    )
    return "\n".join(
        [
            f"- data `{terms['data'][:12]}`, split `{terms['split'][:12]}` (by patient{file}), "
            f"{len(results.bench.cases)} test cases `{terms['scored'][:12]}`",
            f"- the middle {suite.image_size} x {suite.image_size} pixels of every case: {lost}",
            f"- budget of each training: {suite.budget.images} images; {suite.batch_size} a step, seeds "
            f"{', '.join(map(str, suite.seeds))}; averaged weights of the last step are scored",
            f"- squared GED with d = 1 - IoU, two empty masks agree; in brackets {LEVEL:.0%} intervals from patients "
            "resampled with replacement",
        ]
    )


def _state(results: Results) -> str:
    lines = []
    for run in results.runs:
        for seed in run.seeds:
            if seed.finished.diverged is not None:
                lines.append(f"- **{run.run.title}**, seed {seed.seed}: diverged at {seed.finished.diverged}")
    planned = len(results.bench.suite.runs) * len(results.bench.suite.seeds)
    missing = planned - sum(len(run.seeds) for run in results.runs)
    if missing:
        lines.append(f"- {missing} of {planned} runs are not over yet")
    return "\n".join(lines)


def scores_table(results: Results) -> Table:
    """Every run at both numbers of samples, and what needs no image, which has no intervals in Markdown."""
    fewer, more = results.counts[0], results.counts[-1]
    known = reported_figures(results.bench.suite.dataset)
    names = " / ".join(COLUMNS[key].label for key in REPORTED.values())
    heads = (
        Head("", meaning="system"),
        *(score_head(key, f"N = {fewer}") for key in FEWER),
        *([Head(f"reported {names}")] if known else []),
        *(score_head(key, f"N = {more}") for key in MORE),
    )
    rows = []
    for index, run in enumerate(results.scored, start=1):
        own = known.get(run.run.reported or "", {})
        figures = [" / ".join(f"{own[key]:.3f}" for key in REPORTED) if own else ""] if known else []
        few, many = (score_cells(run.mean[n].table[0], keys) for n, keys in ((fewer, FEWER), (more, MORE)))
        rows.append(Row(Head(run.run.title, note=run.run.group, index=index), (*few, *figures, *many)))
    for few_row, row in zip(results.scored[0].mean[fewer].table[1:], results.references, strict=True):
        blank: list[Cell] = [""] * bool(known)
        cells = (*score_cells(few_row, FEWER), *blank, *score_cells(row, MORE))
        rows.append(Row(Head(row.label), cells, "reference"))
    return Table(heads, tuple(rows))


def against_table(results: Results) -> Table:
    """Each run less the reference, case by case."""
    rows = []
    for run in results.runs:
        if run.against is not None:
            less = run.against.difference
            cells = (Number(less.values[key], less.intervals[key], run.against.outside_zero(key)) for key in MORE)
            rows.append(Row(Head(run.run.title), tuple(cells)))
    return Table((Head("", meaning="system"), *map(score_head, MORE)), tuple(rows))


def seeds_table(results: Results) -> Table:
    """Each run seed by seed, without intervals in Markdown."""
    count = results.counts[-1]
    rows = (
        Row(Head(run.run.title), (seed.seed, *score_cells(seed.scores[count].table[0], MORE)), "seed")
        for run in results.scored
        for seed in run.scored
    )
    return Table((Head("", meaning="system"), Head("seed"), *map(score_head, MORE)), tuple(rows))


def costs_table(results: Results) -> Table:
    """What training and drawing cost, of each run that was scored."""
    rows = []
    for index, run in enumerate(results.scored, start=1):
        done = [seed.finished for seed in run.scored]
        if run.record is not None and done:
            cells = (
                f"{done[0].parameters / 1e6:.2f} M",
                f"{done[0].gflop_a_mask:.3g}",
                f"{min(one.seconds_a_mask for one in done):.3g}",
                f"{run.record.gflop_a_step:.3g}",
                done[0].steps,
                done[0].images,
                ", ".join(f"{one.minutes:.1f}" for one in done),
            )
            rows.append(Row(Head(run.run.title, index=index), cells))
    heads = "parameters", "GFLOP a mask", "seconds a mask", "GFLOP a step", "steps", "images", "minutes"
    return Table((Head("", meaning="system"), *map(Head, heads)), tuple(rows))


def _scores(results: Results) -> str:
    if not results.scored:
        return ""
    notes = (
        "\n\n*Reported*: by the paper at N = 4, on splits whose patients overlap and by conventions that it does not "
        "state; not comparable."
        if reported_figures(results.bench.suite.dataset)
        else ""
    )
    return f"## Scores\n\n{scores_table(results).to_markdown()}{notes}"


def _comparisons(results: Results) -> str:
    table = against_table(results)
    if not table.rows:
        return ""
    reference = next(run.run.title for run in results.runs if run.run.name == results.bench.suite.reference)
    return (
        f"## Against {reference}\n\nThe run less {reference}, case by case at N = {results.counts[-1]}, patients "
        f"resampled in pairs; \\* 0 is outside.\n\n{table.to_markdown()}"
    )


def _seeds(results: Results) -> str:
    if len(results.bench.suite.seeds) == 1 or not results.scored:
        return ""
    return f"## Seeds, N = {results.counts[-1]}\n\n{seeds_table(results).to_markdown()}"


def _costs(results: Results) -> str:
    table = costs_table(results)
    if not table.rows:
        return ""
    threads = sorted({f"{s.finished.threads} on {s.finished.device}" for r in results.scored for s in r.scored})
    return (
        f"## Costs\n\n{table.to_markdown()}\n\nA multiply-add counts as two operations. A mask's cost is that of a "
        f"panel of {results.counts[-1]} masks over their number. Threads: {', '.join(threads)}. Minutes are those of "
        "the training, validations counted, one figure a seed."
    )


def _rates(results: Results) -> str:
    rows = [
        (
            run.run.title,
            *(_tried(one) for one in run.record.tried),
            "none" if run.record.learning_rate is None else f"{run.record.learning_rate:g}",
        )
        for run in results.runs
        if run.record is not None and run.record.tried is not None and len(run.record.tried) > 1
    ]
    if not rows:
        return ""
    tries = [f"try {index + 1}" for index in range(max(len(row) for row in rows) - 2)]
    probe = results.bench.suite.probe
    return (
        f"## Learning rates\n\nU-GED on {probe.cases} validation cases at N = {probe.samples} after a short training "
        f"of its own at each rate.\n\n{plain_table(['', *tries, 'taken'], rows).to_markdown()}"
    )


def _tried(one: Tried) -> str:
    if one.diverged is not None:
        return f"{one.learning_rate:g}: diverged at {one.diverged}"
    return f"{one.learning_rate:g}: {number(math.nan if one.ged_u is None else one.ged_u)}"


def _latents(results: Results) -> str:
    rows: list[tuple[Cell, ...]] = []
    for run in results.scored:
        for seed in run.scored:
            lines = latent_lines(results.bench, run.run, seed.seed)
            if len(lines):
                courses = (f"{early:.2g} → {late:.2g}" for early, late in zip(*settled(lines), strict=True))
                rows.append((run.run.title, seed.seed, *courses))
    if not rows:
        return ""
    heads = ["", "seed", "L_amb", "spread of AMN", "spread of ACN"]
    return (
        "## Latents of AMN and ACN\n\nMedians over the first and the last tenth of the training. The spread is that of "
        "the latents' means over a batch: near 0 an encoder ignores its input.\n\n"
        f"{plain_table(heads, rows).to_markdown()}"
    )


def _diversity(results: Results) -> str:
    if results.diversity is None:
        return ""
    rows: list[tuple[Cell, ...]] = [
        (f"{p.noise_scale:g}", *map(Number, (p.d_ss, p.d_yy, p.ged_u, p.dice_max))) for p in results.diversity.points
    ]
    settings = results.diversity.settings
    heads = ["noise scale", "d_SS", "d_YY", "U-GED ↓", "D_max ↑"]
    return (
        f"## Diversity of {settings['run']} against the noise of each step\n\nAncestral sampling in "
        f"{settings['steps']} steps, first {settings['cases']} cases, N = {settings['samples']}.\n\n"
        f"{plain_table(heads, rows).to_markdown()}"
    )


def _csv(results: Results) -> str:
    costs = ["steps", "images", "minutes", "parameters", "gflop_a_mask", "seconds_a_mask"]
    spans = [f"{key}_{end}" for key in COLUMNS for end in ("low", "high")]
    rows: list[list[object]] = [["run", "label", "group", "seed", "samples", *COLUMNS, *spans, *costs]]
    for run in results.scored:
        facts = [run.run.name, run.run.title, run.run.group]
        for count in results.counts:
            rows.append([*facts, "mean", count, *_fields(run.mean[count].table[0]), *[""] * len(costs)])
            for seed in run.scored:
                cost = [getattr(seed.finished, name) for name in costs]
                rows.append([*facts, seed.seed, count, *_fields(seed.scores[count].table[0]), *cost])
    return csv_text(rows)


def _fields(row: TableRow) -> list[float]:
    return [row.values[key] for key in COLUMNS] + [end for key in COLUMNS for end in row.intervals[key]]


def _json(results: Results) -> Json:
    bench = results.bench
    return {
        "suite": bench.suite.model_dump(mode="json"),
        "terms": bench.terms,
        "crop": results.crop._asdict(),
        "runs": [_json_run(run) for run in results.runs],
        "references": {
            str(count): [_json_row(row) for row in results.scored[0].mean[count].table[1:]]
            for count in results.counts
            if results.scored
        },
        "diversity": results.diversity and results.diversity.model_dump(mode="json"),
        "reported": dict(reported_figures(bench.suite.dataset)),
    }


def _json_run(run: RunResult) -> Json:
    seeds = [
        {"seed": seed.seed, **seed.finished.model_dump(mode="json")}
        | {"scores": {str(count): _json_row(one.table[0]) for count, one in seed.scores.items()}}
        for seed in run.seeds
    ]
    return {
        "name": run.run.name,
        "label": run.run.title,
        "record": run.record and run.record.model_dump(mode="json", exclude={"terms", "sittings", "finished"}),
        "seeds": seeds,
        "mean": {str(count): _json_row(scores.table[0]) for count, scores in run.mean.items()},
        "less_reference": run.against and _json_row(run.against.difference),
    }


def _json_row(row: TableRow) -> Json:
    return {"label": row.label, "mean": row.values, "interval": row.intervals}
