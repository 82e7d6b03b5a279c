"""A benchmark's results to read: tables (Markdown, CSV, JSON, terminal), a page of all systems on the same cases."""

import math
from collections.abc import Iterable, Iterator, Mapping

from markupsafe import Markup
from rich.table import Table as RichTable

from plurimask.benchmark.figures import diversity_figure, quality_cost_figure
from plurimask.benchmark.results import (
    Results,
    RunResult,
    SeedResult,
    choose_examples,
    contradicting,
    latent_lines,
    panel_of,
    settled,
    worst_cases,
)
from plurimask.benchmark.suite import REPORTED, Json, reported_figures
from plurimask.evaluation import COLUMNS, CaseScores, TableRow
from plurimask.evaluation.scores import LEVEL
from plurimask.files.stored import csv_text, json_text, write_text
from plurimask.records import MaskSet
from plurimask.show.charts import svg_of
from plurimask.show.page import write_page
from plurimask.show.systems import MOST_TILES, Shown, shown_case
from plurimask.show.tables import Cell, Head, Number, Row, Table, number, plain_table, score_cells, score_head

FEWER = ("ged_v", "ci", "dice_max")
"""Columns at the smaller N, which are the paper's."""
MORE = ("ged_u", "ged_v", "hm_iou", "dice_max", "ci", "d_ss")
"""Columns at the larger N."""


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
    lost = (
        f"of {crop.masks} masks that are not empty it takes away {crop.pixels:.2%} of the pixels; "
        f"{crop.cut:.1%} of the masks lose some, {crop.gone:.1%} all"
    )
    return "\n".join(
        [
            f"- data `{terms['data'][:12]}`, split `{terms['split'][:12]}` (by patient), {len(results.bench.cases)} "
            f"test cases `{terms['scored'][:12]}`",
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
            *(_tried(one.learning_rate, one.ged_u, one.diverged) for one in run.record.tried),
            _taken(run),
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


def _tried(rate: float, ged_u: float | None, diverged: str | None) -> str:
    if diverged is not None:
        return f"{rate:g}: diverged at {diverged}"
    return f"{rate:g}: {number(math.nan if ged_u is None else ged_u)}"


def _taken(run: RunResult) -> str:
    rate = run.record and run.record.learning_rate
    return "none" if rate is None else f"{rate:g}"


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
    return {
        "name": run.run.name,
        "label": run.run.title,
        "record": run.record and run.record.model_dump(mode="json", exclude={"terms", "sittings", "finished"}),
        "seeds": [_json_seed(seed) for seed in run.seeds],
        "mean": {str(count): _json_row(scores.table[0]) for count, scores in run.mean.items()},
        "less_reference": run.against and _json_row(run.against.difference),
    }


def _json_seed(seed: SeedResult) -> Json:
    scores = {str(count): _json_row(one.table[0]) for count, one in seed.scores.items()}
    return {"seed": seed.seed, **seed.finished.model_dump(mode="json"), "scores": scores}


def _json_row(row: TableRow) -> Json:
    return {"label": row.label, "mean": row.values, "interval": row.intervals}


_REASONS = {
    "agreed": "all readers drew",
    "disputed": "half of the readers drew",
    "empty": "nobody or a single reader drew",
    "fine": "the smallest lesion that most readers drew",
}
_AGAINST = "V-GED and CI rank the systems most differently"


def write_benchmark_report(results: Results) -> None:
    """Write report.html into the benchmark's folder; as long as nothing is scored there is nothing to show.

    Raises:
        InputError: masks of a case that is shown cannot be read.
        OSError: as the file system does.
    """
    if not results.scored:
        return
    suite, chosen = results.bench.suite, _chosen(results)
    write_page(
        results.bench.root / "report.html",
        "benchmark.html.j2",
        title=f"{suite.name}: {len(results.scored)} of {len(suite.runs)} systems side by side",
        results=results,
        suite=suite,
        terms=results.bench.terms,
        reference=next(run for run in results.runs if run.run.name == suite.reference),
        reported=bool(reported_figures(suite.dataset)),
        scores=scores_table(results),
        against=against_table(results),
        seeds=seeds_table(results),
        costs=costs_table(results),
        heads=[score_head(key) for key in ("ged_v", "ci")],
        charts=_charts(results),
        cases=list(_pictured(results, chosen)),
        failures=list(_failures(results, chosen)),
        most_tiles=MOST_TILES,
        notes=(),
    )


def _pictured(results: Results, chosen: Mapping[str, str]) -> Iterator[Shown]:
    """Each chosen case as all systems drew it, by their first seeds."""
    first, last = results.counts[0], results.counts[-1]
    scores = [{row.name: row for row in run.scored[0].scores[last].rows} for run in results.scored]
    for place, (name, reason) in enumerate(chosen.items(), start=1):
        panels = [_panel(results, run, by_name[name]) for run, by_name in zip(results.scored, scores, strict=True)]
        yield shown_case(place, results.bench.cases[name], reason, panels, first)


def _failures(results: Results, chosen: Iterable[str]) -> Iterator[Shown]:
    """Of each run's first seed the cases of largest V-GED; numbers go on behind those of the chosen cases."""
    first, last = results.counts[0], results.counts[-1]
    worst = [(run, row) for run in results.scored for row in worst_cases(run.scored[0].scores[last].rows)]
    names = dict.fromkeys([*chosen, *(row.name for _, row in worst)])
    numbers = {name: number for number, name in enumerate(names, start=1)}
    for run, row in worst:
        yield shown_case(numbers[row.name], results.bench.cases[row.name], "", [_panel(results, run, row)], first)


def _panel(results: Results, run: RunResult, row: CaseScores) -> tuple[str, MaskSet, CaseScores]:
    return run.run.title, panel_of(results, run, row.name), row


def _chosen(results: Results) -> dict[str, str]:
    """Names of the cases to show, and why each."""
    chosen: dict[str, str] = {}
    for kind, name in choose_examples(results.scored[0].mean[results.counts[-1]].rows):
        chosen.setdefault(name, _REASONS[kind])
    against = contradicting(results)
    if against is not None:
        chosen.setdefault(against, _AGAINST)
    return chosen


def _charts(results: Results) -> dict[str, Markup]:
    """SVG by what it shows."""
    figures = {
        f"U-GED against the cost of a mask, N = {results.counts[-1]}; lower and further left is better; bars are "
        f"{LEVEL:.0%} intervals; systems of equal cost stand side by side": quality_cost_figure(results)
    }
    if results.diversity:
        how = results.diversity.settings
        label = f"Spread of the samples and U-GED against the factor on the noise of each step, for {how['run']} in "
        figures[f"{label}{how['steps']} steps"] = diversity_figure(results.diversity.points)
    return {label: svg_of(figure, label) for label, figure in figures.items()}
