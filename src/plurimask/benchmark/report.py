"""A benchmark's pictures and its page: which cases are shown, and every system on them; quality against cost."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib import colormaps
from matplotlib.figure import Figure
from scipy.stats import rankdata

from plurimask.benchmark.results import Results, RunResult
from plurimask.benchmark.run import DiversityPoint, latent_lines
from plurimask.benchmark.suite import Json, reported_figures
from plurimask.benchmark.tables import against_table, costs_table, scores_table, seeds_table
from plurimask.evaluation import CaseScores
from plurimask.evaluation.scores import LEVEL
from plurimask.files.mask_sets import read_mask_set
from plurimask.records import MaskSet
from plurimask.show.charts import BLUE, DASHED, VERMILLION, in_style, save_figure, svg_of
from plurimask.show.figures import samples_figure
from plurimask.show.page import write_page
from plurimask.show.systems import MOST_TILES, Shown, shown_case
from plurimask.show.tables import score_head

FAILURES = 2
"""Worst cases shown of each run."""
_MARGIN = 1.5  # inches, for the names of rows
_REASONS = {
    "agreed": "all readers drew",
    "disputed": "half of the readers drew",
    "empty": "nobody or a single reader drew",
    "fine": "the smallest lesion that most readers drew",
    "against": "V-GED and CI rank the systems most differently",
}


def panel_of(results: Results, run: RunResult, name: str) -> MaskSet:
    """The masks of a case by a run's first seed."""
    return read_mask_set(results.bench.masks(run.run, run.scored[0].seed) / name)


def choose_examples(rows: Sequence[CaseScores]) -> dict[str, str]:
    """Cases to show every method on, chosen from the readers alone: names by kind, as the files of figures are called.

    All drew, half drew, nobody or only one drew, and the smallest lesion; of several the first in the order of the
    rows. A kind that no case is of is left out.
    """
    drawn = [row for row in rows if row.drawn]
    kinds: dict[str, list[CaseScores]] = {
        "agreed": [row for row in drawn if row.drawn == row.readers],
        "disputed": [row for row in drawn if row.drawn == row.readers // 2],
        "empty": sorted((row for row in rows if row.drawn <= 1 < row.readers), key=lambda row: row.drawn),
        "fine": sorted((row for row in drawn if row.drawn > row.readers / 2), key=lambda row: row.size),
    }
    return {kind: found[0].name for kind, found in kinds.items() if found}


def worst_cases(results: Results) -> list[tuple[RunResult, CaseScores]]:
    """Of each run's first seed the FAILURES cases of largest V-GED, the worst first."""
    worst = []
    for run in results.scored:
        rows = run.scored[0].scores[results.counts[-1]].rows
        defined = [row for row in rows if not math.isnan(row.values["ged_v"])]
        worst += [(run, row) for row in sorted(defined, key=lambda row: -row.values["ged_v"])[:FAILURES]]
    return worst


def contradicting(results: Results) -> str | None:
    """The case on which V-GED and CI rank the systems most differently, after the paper's Fig. 4; None under three."""
    runs = [{row.name: row.values for row in run.mean[results.counts[-1]].rows} for run in results.scored]
    alike: dict[str, float] = {}
    for name in runs[0] if len(runs) > 2 else ():
        ged, ci = (np.array([run[name][key] for run in runs]) for key in ("ged_v", "ci"))
        if np.ptp(ged) > 0 and np.ptp(ci) > 0:  # which is false where one is NaN
            alike[name] = float(np.corrcoef(rankdata(ged), rankdata(-ci))[0, 1])
    return min(alike, key=alike.__getitem__, default=None)


def write_figures(results: Results) -> None:
    """Write what there is to show as PNG and SVG into the benchmark's `figures`.

    Raises OSError as the file system does.
    """
    folder = results.bench.root / "figures"
    for name, figure in _figures(results):
        save_figure(figure, folder / name)


def _figures(results: Results) -> Iterator[tuple[str, Figure]]:
    """What there is to show so far, by the name of its files."""
    if results.scored:
        for kind, name in choose_examples(results.scored[0].mean[results.counts[-1]].rows).items():
            for count in results.counts:
                yield (
                    f"{kind}-n{count}",
                    _pictured([(run, name, run.run.title) for run in results.scored], results, count),
                )
        worst = [(run, row, f"{run.run.title}\nV-GED {row.values['ged_v']:.2f}") for run, row in worst_cases(results)]
        yield "failures", _pictured([(run, row.name, title) for run, row, title in worst], results, results.counts[-1])
        yield "quality-cost", quality_cost_figure(results)
    if any(run.courses for run in results.runs):
        yield "validation", _courses_figure(results)
    seeds = [(run, seed) for run in results.scored for seed in run.scored]
    courses = {f"{r.run.title}, seed {s.seed}": latent_lines(results.bench, r.run, s.seed) for r, s in seeds}
    courses = {label: lines for label, lines in courses.items() if len(lines)}
    if courses:
        yield "latents", latents_figure(courses)
    if results.diversity is not None:
        yield "diversity", diversity_figure(results.diversity.points)


def _pictured(rows: Sequence[tuple[RunResult, str, str]], results: Results, count: int) -> Figure:
    """A row each: image, readers, a run's first `count` samples for a case; after the paper's Fig. 3 and 8 to 13.

    Args:
        rows: run, name of the case, and what stands on the left.
        results: of the benchmark.
        count: how many samples.
    """
    panels = [panel_of(results, run, name).first(count) for run, name, _ in rows]
    figure = samples_figure([results.bench.cases[name] for _, name, _ in rows], panels)
    width = figure.get_figwidth()
    figure.set_figwidth(width + _MARGIN)
    figure.subplots_adjust(left=_MARGIN / (width + _MARGIN))
    for axes, (_, _, title) in zip(figure.axes, rows, strict=True):
        axes.text(-0.05, 0.5, title, fontsize=7, ha="right", va="center")
    return figure


@in_style
def quality_cost_figure(results: Results) -> Figure:
    """U-GED with its interval against GFLOP a mask, a point a run; those of equal cost stand side by side."""
    figure = Figure(figsize=(6.4, 4.4))
    axes = figure.subplots()
    places = dodged([run.scored[0].finished.gflop_a_mask for run in results.scored])
    for run, x, colour in zip(results.scored, places, _colours(len(results.scored)), strict=True):
        row = run.mean[results.counts[-1]].table[0]
        y = row.values["ged_u"]
        low, high = row.intervals["ged_u"]
        axes.plot([x, x], [low, high], color=colour, linewidth=1.2, alpha=0.6)
        axes.plot([x], [y], color=colour, marker="o", markersize=6, linestyle="", label=run.run.title)
    axes.set_xscale("log")
    axes.set_xlabel(f"GFLOP a mask, in panels of {results.counts[-1]}")
    axes.set_ylabel("mean U-GED, 95% interval (lower is better)")
    figure.legend(loc="outside right upper")
    return figure


def _courses_figure(results: Results) -> Figure:
    courses = {run.run.title: tuple(run.courses.values()) for run in results.runs if run.courses}
    return courses_figure(courses, results.bench.suite.batch_size, results.bench.suite.probe.cases)


@in_style
def courses_figure(courses: Mapping[str, Sequence[Sequence[Json]]], batch_size: int, cases: int) -> Figure:
    """U-GED on validation cases against images seen and core-minutes, a line a training, over or not.

    Args:
        courses: by label of a run, the validations of each of its trainings.
        batch_size: images a step.
        cases: that were validated on.
    """
    figure = Figure(figsize=(9.6, 4.2))
    left, right = figure.subplots(1, 2, sharey=True)
    for (title, trainings), colour in zip(courses.items(), _colours(len(courses)), strict=True):
        for place, lines in enumerate(trainings):
            scores = [math.nan if line["ged_u"] is None else line["ged_u"] for line in lines]
            style: dict[str, Any] = {"color": colour, "linewidth": 1.2, "marker": "."}
            images = [line["step"] * batch_size / 1000 for line in lines]
            left.plot(images, scores, label="" if place else title, **style)
            right.plot([line.get("core_minutes", math.nan) for line in lines], scores, **style)
    left.set(xlabel="thousand images seen", ylabel=f"U-GED of {cases} validation cases")
    right.set(xlabel="core-minutes")
    figure.legend(loc="outside right upper", fontsize=7)
    return figure


@in_style
def latents_figure(courses: Mapping[str, np.ndarray]) -> Figure:
    """L_amb and the spread of AMN's and ACN's means against the step, a line a training.

    Args:
        courses: (n, 4) step, L_amb and both spreads, by label.
    """
    figure = Figure(figsize=(11.5, 3.8))
    for place, (axes, title) in enumerate(
        zip(figure.subplots(1, 3), ("L_amb", "spread of AMN", "spread of ACN"), strict=True)
    ):
        for (label, lines), colour in zip(courses.items(), _colours(len(courses)), strict=True):
            steps, values = _thinned(lines[:, 0]), _thinned(lines[:, 1 + place])
            axes.plot(steps, np.maximum(values, 1e-12), color=colour, linewidth=1.2, label=label if not place else None)
        axes.set_yscale("log")
        axes.set_title(title)
        axes.set_xlabel("step")
    figure.legend(fontsize=7, loc="outside right upper")
    return figure


@in_style
def diversity_figure(points: Sequence[DiversityPoint]) -> Figure:
    """d_SS and U-GED against the factor on the sampler's noise, beside the readers' d_YY."""
    figure = Figure(figsize=(5.4, 3.9))
    axes = figure.subplots()
    scales = [point.noise_scale for point in points]
    axes.plot(scales, [point.d_ss for point in points], color=BLUE, marker="o", label="d_SS of the samples")
    axes.plot(scales, [point.ged_u for point in points], color=VERMILLION, marker="^", label="U-GED (lower is better)")
    axes.axhline(points[0].d_yy, label="d_YY of the readers", **DASHED)
    axes.set_xlabel("factor on the noise of each step")
    axes.legend()
    return figure


def dodged(costs: Sequence[float], apart: float = 1.125) -> list[float]:
    """The costs, equal ones to three digits set apart by a factor each."""
    groups = [[i for i, other in enumerate(costs) if f"{other:.3g}" == f"{cost:.3g}"] for cost in costs]
    return [
        cost * apart ** (group.index(i) - (len(group) - 1) / 2)
        for i, (cost, group) in enumerate(zip(costs, groups, strict=True))
    ]


def _thinned(values: np.ndarray) -> np.ndarray:
    """Medians of at most 60 equal parts of a course."""
    return np.array([np.median(part) for part in np.array_split(values, min(60, len(values)))])


def _colours(count: int) -> list[tuple[float, ...]]:
    return [colormaps["turbo"](0.08 + 0.84 * place / max(1, count - 1)) for place in range(count)]


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
        cases=list(_shown(results, chosen)),
        failures=list(_failures(results, chosen)),
        most_tiles=MOST_TILES,
        notes=(),
    )


def _shown(results: Results, chosen: Mapping[str, str]) -> Iterator[Shown]:
    """Each chosen case as all systems drew it, by their first seeds."""
    first, last = results.counts[0], results.counts[-1]
    scores = [(run, {row.name: row for row in run.scored[0].scores[last].rows}) for run in results.scored]
    for place, (name, reason) in enumerate(chosen.items(), start=1):
        panels = [(run.run.title, panel_of(results, run, name), rows[name]) for run, rows in scores]
        yield shown_case(place, results.bench.cases[name], reason, panels, first)


def _failures(results: Results, chosen: Iterable[str]) -> Iterator[Shown]:
    """The worst cases of each run; numbers go on behind those of the chosen cases."""
    worst = worst_cases(results)
    names = dict.fromkeys([*chosen, *(row.name for _, row in worst)])
    numbers = {name: number for number, name in enumerate(names, start=1)}
    for run, row in worst:
        panels = [(run.run.title, panel_of(results, run, row.name), row)]
        yield shown_case(numbers[row.name], results.bench.cases[row.name], "", panels, results.counts[0])


def _chosen(results: Results) -> dict[str, str]:
    """Names of the cases to show, and why each."""
    examples = choose_examples(results.scored[0].mean[results.counts[-1]].rows)
    chosen: dict[str, str] = {}
    for kind, name in (*examples.items(), ("against", contradicting(results))):
        if name is not None:
            chosen.setdefault(name, _REASONS[kind])
    return chosen


def _charts(results: Results) -> dict[str, Markup]:
    """SVG by what it shows."""
    figures = {
        f"U-GED against the cost of a mask, N = {results.counts[-1]}; lower and further left is better; bars are "
        f"{LEVEL:.0%} intervals; systems of equal cost stand side by side": quality_cost_figure(results)
    }
    if any(run.courses for run in results.runs):
        label = "U-GED on validation cases against the images seen and the processor time of each training, over or not"
        figures[label] = _courses_figure(results)
    if results.diversity:
        how = results.diversity.settings
        label = f"Spread of the samples and U-GED against the factor on the noise of each step, for {how['run']} in "
        figures[f"{label}{how['steps']} steps"] = diversity_figure(results.diversity.points)
    return {label: svg_of(figure, label) for label, figure in figures.items()}
