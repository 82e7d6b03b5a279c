"""The page of a benchmark: all systems side by side, in tables and on the same cases, and where each fails."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from scipy.stats import rankdata

from plurimask.benchmark import Results
from plurimask.benchmark.figures import choose_examples, dodged, panel_of, worst_cases
from plurimask.benchmark.places import DiversityPoint
from plurimask.benchmark.reported import reported_figures
from plurimask.benchmark.results import RunResult
from plurimask.benchmark.tables import against_table, costs_table, scores_table, seeds_table
from plurimask.evaluation import CaseScores
from plurimask.records import MaskSet
from plurimask.show.chart import Chart, Line, Point, linear, logarithmic
from plurimask.show.page import write_page
from plurimask.show.systems import MOST_TILES, Shown, shown_case
from plurimask.show.tables import score_head

_REASONS = {
    "agreed": "all readers drew",
    "disputed": "half of the readers drew",
    "empty": "nobody or a single reader drew",
    "fine": "the smallest lesion that most readers drew",
}
_AGAINST = "V-GED and CI rank the systems most differently"
_APART = 1.22
"""Factor between systems of equal cost, so that their points do not hide each other."""


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
        results.bench.places.root / "report.html",
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
        cost=_quality_against_cost(results),
        diversity=results.diversity and _diversity_against_noise(results.diversity.points),
        cases=list(_pictured(results, chosen)),
        failures=list(_failures(results, chosen)),
        most_tiles=MOST_TILES,
        notes=(),
    )


def _pictured(results: Results, chosen: Mapping[str, str]) -> Iterator[Shown]:
    """Each chosen case as all systems drew it, by their first seeds."""
    first, last = results.counts[0], results.counts[-1]
    scores = [{row.name: row for row in run.scored[0].scores[last].rows} for run in results.scored]
    for number, (name, reason) in enumerate(chosen.items(), start=1):
        panels = [_panel(results, run, by_name[name]) for run, by_name in zip(results.scored, scores, strict=True)]
        yield shown_case(number, results.bench.cases[name], reason, panels, first)


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
    against = _contradicting(results)
    if against is not None:
        chosen.setdefault(against, _AGAINST)
    return chosen


def _contradicting(results: Results) -> str | None:
    """The case on which V-GED and CI rank the systems most differently, after the paper's Fig. 4; None under three."""
    runs = [{row.name: row.values for row in run.mean[results.counts[-1]].rows} for run in results.scored]
    alike: dict[str, float] = {}
    for name in runs[0] if len(runs) > 2 else ():
        ged, ci = (np.array([run[name][key] for run in runs]) for key in ("ged_v", "ci"))
        if np.ptp(ged) > 0 and np.ptp(ci) > 0:  # which is false where one is NaN
            alike[name] = float(np.corrcoef(rankdata(ged), rankdata(-ci))[0, 1])
    return min(alike, key=alike.__getitem__, default=None)


def _quality_against_cost(results: Results) -> Chart:
    """U-GED with its interval against the cost of a mask, a numbered point a system."""
    rows = [run.mean[results.counts[-1]].table[0] for run in results.scored]
    costs = [run.scored[0].finished.gflop_a_mask for run in results.scored]
    points = [
        Point(place, row.values["ged_u"], str(number), f"{row.label}: {cost:.3g} GFLOP", row.intervals["ged_u"])
        for number, (place, cost, row) in enumerate(zip(dodged(costs, _APART), costs, rows, strict=True), start=1)
    ]
    ends = [end for point in points for end in (point.y, *(point.span or ())) if end == end]
    return Chart(
        "U-GED against the cost of a mask; lower and further left is better",
        logarithmic([point.x for point in points]),
        linear(min(0.0, *ends), max(ends)),
        ("GFLOP a mask", "U-GED (lower is better)"),
        tuple(points),
    )


def _diversity_against_noise(points: tuple[DiversityPoint, ...]) -> Chart:
    """d_SS and U-GED against the factor on the sampler's noise, beside the readers' d_YY."""
    scales = [point.noise_scale for point in points]
    courses = {key: [getattr(point, key) for point in points] for key in ("d_yy", "d_ss", "ged_u")}
    values = [value for course in courses.values() for value in course]
    return Chart(
        "Spread of the samples and U-GED against the factor on the noise of each sampling step",
        linear(min(scales), max(scales)),
        linear(min(0.0, *values), max(values)),
        ("factor on the noise of each step", ""),
        tuple(
            Point(scale, value, title=f"{value:.3f} at {scale:g}", kind=key)
            for key in ("d_ss", "ged_u")
            for scale, value in zip(scales, courses[key], strict=True)
        ),
        tuple(Line(tuple(zip(scales, course, strict=True)), key) for key, course in courses.items()),
    )
