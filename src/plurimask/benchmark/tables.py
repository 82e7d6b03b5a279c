"""A benchmark's results as tables: Markdown for people, CSV for spreadsheets, JSON for programs."""

import json
import math
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from plurimask.benchmark.latents import latent_lines, settled
from plurimask.benchmark.places import Json
from plurimask.benchmark.reported import KEYS, reported_figures
from plurimask.benchmark.results import Results, RunResult, SeedResult
from plurimask.evaluation import COLUMNS, TableRow
from plurimask.evaluation.scores import LEVEL
from plurimask.files.stored import csv_text, write_text
from plurimask.show.tables import ARROWS, number

FEWER = ("ged_v", "ci", "dice_max")
"""Columns at the smaller N, which are the paper's."""
MORE = ("ged_u", "ged_v", "hm_iou", "dice_max", "ci", "d_ss")
"""Columns at the larger N."""


def write_tables(results: Results) -> None:
    """Write table.md, table.csv and results.json into the benchmark's folder. Raises OSError as files do."""
    root = results.bench.places.root
    write_text(root / "table.md", render_markdown(results))
    write_text(root / "table.csv", _csv(results))
    write_text(root / "results.json", json.dumps(_json(results), indent=2, allow_nan=False) + "\n")


def render_results(results: Results) -> Table:
    """The runs so far in 80 columns, at the larger N."""
    count = results.counts[-1]
    suite = results.bench.suite
    done = sum(len(run.seeds) for run in results.runs)
    table = Table(
        title=f"{suite.name}: {done} of {len(suite.runs) * len(suite.seeds)} runs · N = {count}",
        box=SIMPLE_HEAD,
        padding=0,
        show_edge=False,
    )
    table.add_column("", min_width=12)
    for key in MORE:
        table.add_column(COLUMNS[key].label, justify="right", min_width=7)
    for run in results.scored:
        table.add_row(run.run.title, *_values(run.mean[count].table[0], MORE))
    for row in results.references:
        table.add_row(row.label, *_values(row, MORE))
    return table


def render_markdown(results: Results) -> str:
    """The page of tables."""
    parts = [
        f"# {results.bench.suite.name}\n\n{results.bench.suite.purpose}",
        _terms(results),
        _state(results),
        *([_scores(results), _comparisons(results)] if results.scored else []),
        *([_seeds(results)] if len(results.bench.suite.seeds) > 1 and results.scored else []),
        _costs(results),
        _rates(results),
        _latents(results),
        _diversity(results),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _terms(results: Results) -> str:
    suite, terms, crop = results.bench.suite, results.bench.terms, results.crop
    (unit, amount), *_ = suite.budget.model_dump(exclude_none=True).items()
    lost = (
        f"of {crop.masks} masks that are not empty it takes away {crop.pixels:.2%} of the pixels; "
        f"{crop.cut:.1%} of the masks lose some, {crop.gone:.1%} all"
    )
    return "\n".join(
        [
            f"- data `{terms['data'][:12]}`, split `{terms['split'][:12]}` (by patient), {len(results.bench.cases)} "
            f"test cases `{terms['scored'][:12]}`",
            f"- the middle {suite.image_size} x {suite.image_size} pixels of every case: {lost}",
            f"- budget of each training: {amount:g} {unit}; {suite.batch_size} images a step, seeds "
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


def _scores(results: Results) -> str:
    fewer, more = results.counts[0], results.counts[-1]
    known = reported_figures(results.bench.suite.dataset)
    heads = [
        *(f"{_head(key)}, N = {fewer}" for key in FEWER),
        *([f"reported {' / '.join(COLUMNS[KEYS[key]].label for key in KEYS)}"] if known else []),
        *(f"{_head(key)}, N = {more}" for key in MORE),
    ]
    body = []
    for group, runs in groupby(results.scored, key=lambda run: run.run.group):
        if group:
            body.append([f"*{group}*", *[""] * len(heads)])
        for run in runs:
            own = known.get(run.run.reported or "", {})
            said = [" / ".join(f"{own[key]:.3f}" for key in KEYS) if own else ""] if known else []
            few, many = (_with_intervals(run.mean[n].table[0], keys) for n, keys in ((fewer, FEWER), (more, MORE)))
            body.append([run.run.title, *few, *said, *many])
    few_rows = results.scored[0].mean[fewer].table[1:]
    for few_row, row in zip(few_rows, results.references, strict=True):
        body.append([row.label, *_values(few_row, FEWER), *[""] * bool(known), *_values(row, MORE)])
    notes = (
        "\n\n*Reported*: by the paper at N = 4, on splits whose patients overlap and by conventions that it does not "
        "state; not comparable."
        if known
        else ""
    )
    return f"## Scores\n\n{_markdown(['', *heads], body)}{notes}"


def _comparisons(results: Results) -> str:
    compared = [run for run in results.runs if run.against is not None]
    if not compared:
        return ""
    body = []
    for run in compared:
        assert run.against is not None
        difference = run.against.difference
        stars = ["\\*" if run.against.outside_zero(key) else "" for key in MORE]
        cells = _with_intervals(difference, MORE)
        body.append([run.run.title, *(f"{cell}{star}" for cell, star in zip(cells, stars, strict=True))])
    heads = ["", *(_head(key) for key in MORE)]
    reference = next(run.run.title for run in results.runs if run.run.name == results.bench.suite.reference)
    return (
        f"## Against {reference}\n\nThe run less {reference}, case by case at N = {results.counts[-1]}, patients "
        f"resampled in pairs; \\* 0 is outside.\n\n{_markdown(heads, body)}"
    )


def _seeds(results: Results) -> str:
    count = results.counts[-1]
    body = [
        [run.run.title, str(seed.seed), *_values(seed.scores[count].table[0], MORE)]
        for run in results.scored
        for seed in run.scored
    ]
    return f"## Seeds, N = {count}\n\n{_markdown(['', 'seed', *map(_head, MORE)], body)}"


def _costs(results: Results) -> str:
    body = []
    for run in results.runs:
        done = [seed.finished for seed in run.scored]
        if run.prepared is None or not done:
            continue
        minutes = ", ".join(f"{one.minutes:.1f}" for one in done)
        seconds = min(one.seconds_a_mask for one in done)
        body.append(
            [
                run.run.title,
                f"{done[0].parameters / 1e6:.2f} M",
                f"{done[0].gflop_a_mask:.3g}",
                f"{seconds:.3g}",
                f"{run.prepared.gflop_a_step:.3g}",
                str(done[0].steps),
                str(done[0].images),
                minutes,
            ]
        )
    if not body:
        return ""
    heads = ["", "parameters", "GFLOP a mask", "seconds a mask", "GFLOP a step", "steps", "images", "minutes"]
    threads = sorted({f"{s.finished.threads} on {s.finished.device}" for r in results.scored for s in r.scored})
    return (
        f"## Costs\n\n{_markdown(heads, body)}\n\nA multiply-add counts as two operations. A mask's cost is that of a "
        f"panel of {results.counts[-1]} masks over their number. Threads: {', '.join(threads)}. Minutes are those of "
        "the training, validations counted, one figure a seed."
    )


def _rates(results: Results) -> str:
    body = [
        [
            run.run.title,
            *(_tried(one.learning_rate, one.ged_u, one.diverged) for one in run.prepared.tried),
            _taken(run),
        ]
        for run in results.runs
        if run.prepared is not None and len(run.prepared.tried) > 1
    ]
    if not body:
        return ""
    tries = [f"try {index + 1}" for index in range(max(len(row) for row in body) - 2)]
    probe = results.bench.suite.probe
    return (
        f"## Learning rates\n\nU-GED on {probe.cases} validation cases at N = {probe.samples} after a short training "
        f"of its own at each rate.\n\n{_markdown(['', *tries, 'taken'], body)}"
    )


def _tried(rate: float, ged_u: float | None, diverged: str | None) -> str:
    if diverged is not None:
        return f"{rate:g}: diverged at {diverged}"
    return f"{rate:g}: {number(math.nan if ged_u is None else ged_u)}"


def _taken(run: RunResult) -> str:
    rate = run.prepared and run.prepared.learning_rate
    return "none" if rate is None else f"{rate:g}"


def _latents(results: Results) -> str:
    body = []
    for run in results.scored:
        for seed in run.scored:
            lines = latent_lines(results.bench, run.run.name, seed.seed)
            if len(lines):
                courses = (f"{early:.2g} → {late:.2g}" for early, late in zip(*settled(lines), strict=True))
                body.append([run.run.title, str(seed.seed), *courses])
    if not body:
        return ""
    heads = ["", "seed", "L_amb", "spread of AMN", "spread of ACN"]
    return (
        "## Latents of AMN and ACN\n\nMedians over the first and the last tenth of the training. The spread is that of "
        f"the latents' means over a batch: near 0 an encoder ignores its input.\n\n{_markdown(heads, body)}"
    )


def _diversity(results: Results) -> str:
    if results.diversity is None:
        return ""
    body = [
        [f"{p.noise_scale:g}", *(number(value) for value in (p.d_ss, p.d_yy, p.ged_u, p.dice_max))]
        for p in results.diversity.points
    ]
    settings = results.diversity.settings
    heads = ["noise scale", "d_SS", "d_YY", "U-GED ↓", "D_max ↑"]
    return (
        f"## Diversity of {settings['run']} against the noise of each step\n\nAncestral sampling in "
        f"{settings['steps']} steps, first {settings['cases']} cases, N = {settings['samples']}.\n\n"
        f"{_markdown(heads, body)}"
    )


def _head(key: str) -> str:
    return f"{COLUMNS[key].label} {ARROWS[COLUMNS[key].better]}".strip()


def _values(row: TableRow, keys: Iterable[str]) -> list[str]:
    return [number(row.values.get(key, math.nan)) for key in keys]


def _with_intervals(row: TableRow, keys: Iterable[str]) -> list[str]:
    cells = []
    for key in keys:
        low, high = map(number, row.intervals[key])
        cells.append(f"{number(row.values[key])} ({low} to {high})")
    return cells


def _markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(heads) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [heads, rule, *rows])


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


def _fields(row: TableRow) -> list[str]:
    values = [row.values[key] for key in COLUMNS] + [end for key in COLUMNS for end in row.intervals[key]]
    return ["" if math.isnan(value) else repr(value) for value in values]


def _json(results: Results) -> Json:
    bench = results.bench
    crop = {key: _null(value) for key, value in results.crop._asdict().items()}
    return {
        "suite": bench.suite.model_dump(mode="json"),
        "terms": bench.terms,
        "crop": crop,
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
    return {
        "name": run.run.name,
        "label": run.run.title,
        "prepared": run.prepared and run.prepared.model_dump(mode="json"),
        "seeds": [_json_seed(seed) for seed in run.seeds],
        "mean": {str(count): _json_row(scores.table[0]) for count, scores in run.mean.items()},
        "less_reference": run.against and _json_row(run.against.difference),
    }


def _json_seed(seed: SeedResult) -> Json:
    scores = {str(count): _json_row(one.table[0]) for count, one in seed.scores.items()}
    return {"seed": seed.seed, **seed.finished.model_dump(mode="json"), "scores": scores}


def _json_row(row: TableRow) -> Json:
    return {
        "label": row.label,
        "mean": {key: _null(value) for key, value in row.values.items()},
        "interval": {key: [_null(low), _null(high)] for key, (low, high) in row.intervals.items()},
    }


def _null(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
