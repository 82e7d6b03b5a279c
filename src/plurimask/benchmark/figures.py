"""A benchmark's pictures: methods side by side on the same cases, worst cases, quality against cost, and courses."""

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from plurimask.benchmark.results import Results, choose_examples, latent_lines, panel_of, worst_cases
from plurimask.benchmark.run import DiversityPoint
from plurimask.show.charts import BLUE, DASHED, VERMILLION, in_style, save_figure
from plurimask.show.figures import samples_figure

_MARGIN = 1.5  # inches, for the names of rows


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
        for choice in choose_examples(results.scored[0].mean[results.counts[-1]].rows):
            for count in results.counts:
                yield f"{choice.kind}-n{count}", methods_figure(results, choice.name, count)
        yield "failures", failures_figure(results)
        yield "quality-cost", quality_cost_figure(results)
    courses = [(label, lines) for label, lines in _courses(results) if len(lines)]
    if courses:
        yield "latents", latents_figure(courses)
    if results.diversity is not None:
        yield "diversity", diversity_figure(results.diversity.points)


def methods_figure(results: Results, name: str, count: int) -> Figure:
    """One case, a row a run: image, readers, the run's first `count` samples, after the paper's Fig. 3 and 8 to 13."""
    panels = [panel_of(results, run, name).first(count) for run in results.scored]
    figure = samples_figure([results.bench.cases[name]] * len(panels), panels)
    _name_rows(figure, [run.run.title for run in results.scored])
    return figure


def failures_figure(results: Results) -> Figure:
    """Of each run's first seed the cases of largest V-GED, with that figure, and all their samples."""
    count = results.counts[-1]
    worst = [(run, row) for run in results.scored for row in worst_cases(run.scored[0].scores[count].rows)]
    panels = [panel_of(results, run, row.name) for run, row in worst]
    figure = samples_figure([results.bench.cases[row.name] for _, row in worst], panels)
    _name_rows(figure, [f"{run.run.title}\nV-GED {row.values['ged_v']:.2f}" for run, row in worst])
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


@in_style
def latents_figure(courses: Sequence[tuple[str, np.ndarray]]) -> Figure:
    """L_amb and the spread of AMN's and ACN's means against the step, a line a training.

    Args:
        courses: labels, and (n, 4) step, L_amb and both spreads.
    """
    figure = Figure(figsize=(11.5, 3.8))
    for place, (axes, title) in enumerate(
        zip(figure.subplots(1, 3), ("L_amb", "spread of AMN", "spread of ACN"), strict=True)
    ):
        for (label, lines), colour in zip(courses, _colours(len(courses)), strict=True):
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


def _courses(results: Results) -> list[tuple[str, np.ndarray]]:
    return [
        (f"{run.run.title}, seed {seed.seed}", latent_lines(results.bench, run.run, seed.seed))
        for run in results.scored
        for seed in run.scored
    ]


def _thinned(values: np.ndarray) -> np.ndarray:
    """Medians of at most 60 equal parts of a course."""
    return np.array([np.median(part) for part in np.array_split(values, min(60, len(values)))])


def _name_rows(figure: Figure, names: Sequence[str]) -> None:
    """Say left of each row whose it is."""
    width = figure.get_figwidth()
    figure.set_figwidth(width + _MARGIN)
    figure.subplots_adjust(left=_MARGIN / (width + _MARGIN))
    for axes, name in zip(figure.axes, names, strict=True):
        axes.text(-0.05, 0.5, name, fontsize=7, ha="right", va="center")


def _colours(count: int) -> list[tuple[float, ...]]:
    return [colormaps["turbo"](0.08 + 0.84 * place / max(1, count - 1)) for place in range(count)]
