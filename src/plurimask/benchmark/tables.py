"""A benchmark's tables: scores of every seed, their means, comparisons, claims, costs and courses of the trainings.

They are written as Markdown, CSV and JSON; the terminal shows one, the page of `report` the others.
"""

import math
from collections.abc import Sequence

import numpy as np
from rich.table import Table as RichTable

from plurimask.benchmark.claims import equivalence_table, frequency_table, order_table
from plurimask.benchmark.results import Results, RunResult
from plurimask.benchmark.run import Tried, latent_lines
from plurimask.benchmark.suite import REPORTED, Json, reported_figures
from plurimask.datasets.dataset import BY_HASH
from plurimask.evaluation import COLUMNS, TableRow
from plurimask.evaluation.scores import LEVEL, CaseScores
from plurimask.files.atomic import write_text
from plurimask.files.texts import csv_text, json_text
from plurimask.metrics.bootstrap import patient_groups
from plurimask.show.tables import Cell, Head, Number, Row, Table, number, plain_table, score_cells, score_head

FEWER = ("ged_v", "ci", "dice_max")
"""Columns at the smaller N, which are the paper's."""
MORE = ("ged_u", "ged_v", "hm_iou", "dice_max", "ci", "d_ss")
"""Columns at the larger N."""


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
        _equivalence(results),
        _orders(results),
        _frequencies(results),
        _costs(results),
        _courses(results),
        _rates(results),
        _latents(results),
        _diversity(results),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _terms(results: Results) -> str:
    suite, terms, crop = results.bench.suite, results.bench.terms, results.crop
    by = results.bench.split_by
    file = "" if by == BY_HASH else f", in {by}" if suite.folds else f", as {by} says"
    rates = {run.run.title: run.record.learning_rate for run in results.runs if run.record is not None}
    own = ", ".join(f"{title} {rate:g}" for title, rate in rates.items() if rate is not None)
    lost = (
        f"of {crop.masks} masks that are not empty it takes away {crop.pixels:.2%} of the pixels; "
        f"{crop.cut:.1%} of the masks lose some, {crop.gone:.1%} all"
    )
    fields = f", by fields of {suite.field}" if suite.field else ""
    return "\n".join(
        [
            f"- data `{terms['data'][:12]}`, split `{terms['split'][:12]}` (by patient{file}), "
            f"{len(results.bench.cases)} test cases `{terms['scored'][:12]}`",
            f"- the middle {suite.image_size} x {suite.image_size} pixels of every case{fields}: {lost}",
            f"- budget of each training: {suite.budget.images} images; {suite.batch_size} a step, seeds "
            f"{', '.join(map(str, suite.seeds))}; averaged weights of the last step are scored",
            *([f"- learning rates, each recipe's own: {own}"] if own and not suite.probe.learning_rates else []),
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
                ", ".join(f"{one.core_minutes:.1f}" for one in done),
            )
            rows.append(Row(Head(run.run.title, index=index), cells))
    heads = "parameters", "GFLOP a mask", "seconds a mask", "GFLOP a step", "steps", "images", "minutes", "core-minutes"
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
        f"## Against {reference}\n\nThe run less {reference}, case by case at N = {results.counts[-1]}, over the seeds "
        f"that both were scored with, patients resampled in pairs; \\* 0 is outside.\n\n{table.to_markdown()}"
    )


def _seeds(results: Results) -> str:
    if len(results.bench.suite.seeds) == 1 or not results.scored:
        return ""
    return f"## Seeds, N = {results.counts[-1]}\n\n{seeds_table(results).to_markdown()}"


def _equivalence(results: Results) -> str:
    margin = results.bench.suite.margin
    if margin is None or not results.scored:
        return ""
    return (
        f"## Equivalence\n\nDifferences of U-GED over seeds; two one-sided t tests against the margin {margin:g} "
        "that the suite states. Equivalent: p < 0.05. Different: the 95% interval leaves 0 out.\n\n"
        f"{equivalence_table(results, margin).to_markdown()}"
    )


def _orders(results: Results) -> str:
    table = order_table(results)
    return f"## Orders of the systems\n\n{table.to_markdown()}" if table.rows else ""


def _frequencies(results: Results) -> str:
    if not results.scored:
        return ""
    count = results.counts[-1]
    return (
        f"## Frequencies, N = {count}\n\nEmpty masks: their shares, and r over cases between them. Sizes of readers: "
        "the share below and above those of all samples, and the share that would have to move for all ranks to be "
        f"alike; a calibrated panel has {1 / (count + 1):.3f}, {1 / (count + 1):.3f} and 0. Median: U-GED after a "
        "median filter of so many pixels a side.\n\n"
        f"{frequency_table(results).to_markdown()}"
    )


def _costs(results: Results) -> str:
    table = costs_table(results)
    if not table.rows:
        return ""
    threads = sorted({f"{s.finished.threads} on {s.finished.device}" for r in results.scored for s in r.scored})
    return (
        f"## Costs\n\n{table.to_markdown()}\n\nA multiply-add counts as two operations. A mask's cost is that of a "
        f"panel of {results.counts[-1]} masks over their number. Threads: {', '.join(threads)}. Minutes are those of "
        "the training, validations counted, one figure a seed; core-minutes are processor time, which "
        "other work on the machine changes little."
    )


def courses_table(results: Results) -> Table:
    """How far each training has come, over or not, and the validations at each quarter of that."""
    rows = []
    for run in results.runs:
        for seed, lines in run.courses.items():
            scores = [math.nan if line["ged_u"] is None else line["ged_u"] for line in lines]
            quarters = (Number(scores[(len(lines) - 1) * part // 4]) for part in range(1, 5))
            images = lines[-1]["step"] * results.bench.suite.batch_size
            cells = (seed, images, f"{lines[-1].get('core_minutes', math.nan):.1f}", *quarters)
            rows.append(Row(Head(run.run.title), cells))
    heads = "seed", "images so far", "core-minutes", "after 1/4", "1/2", "3/4", "now"
    return Table((Head("", meaning="system"), *map(Head, heads)), tuple(rows))


def _courses(results: Results) -> str:
    table = courses_table(results)
    probe = results.bench.suite.probe
    if not table.rows:
        return ""
    return (
        f"## Validation\n\nU-GED of the averaged weights on {probe.cases} validation cases at N = {probe.samples}, at "
        "each quarter of the images seen so far. The learning rate falls to 0 at the end of the budget, which flattens "
        f"the last quarter of any course.\n\n{table.to_markdown()}"
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
    costs = ["steps", "images", "minutes", "core_minutes", "parameters", "gflop_a_mask", "seconds_a_mask"]
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
        "patients": patient_groups([row.patient for run in results.scored[:1] for row in _rows(run)]).tolist(),
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
        "record": run.record and run.record.model_dump(mode="json", exclude={"terms", "finished"}),
        "seeds": seeds,
        "mean": {str(count): _json_row(scores.table[0]) for count, scores in run.mean.items()},
        "less_reference": run.against and _json_row(run.against.difference),
        "cases": [row.values["ged_u"] for row in _rows(run)],
        "validation": {str(seed): list(lines) for seed, lines in run.courses.items()},
    }


def _rows(run: RunResult) -> Sequence[CaseScores]:
    """Each scored case at the largest N; none where the run has no scores."""
    return run.mean[max(run.mean)].rows if run.mean else ()


def _json_row(row: TableRow) -> Json:
    return {"label": row.label, "mean": row.values, "interval": row.intervals}
