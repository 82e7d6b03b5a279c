"""GED against CI, case by case, and the cases on which the two disagree, after the paper's Fig. 4; and all as files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.patheffects import withStroke
from scipy.stats import rankdata

from plurimask.errors import InputError
from plurimask.evaluation import CaseScores, Scores
from plurimask.metrics.ged import Estimator
from plurimask.records import Case, MaskSet, public_name
from plurimask.show.charts import (
    BLUE,
    DASHED,
    GREY,
    VERMILLION,
    counted,
    empty_figure,
    in_style,
    ranks_figure,
    reliability_figure,
    save_figure,
)
from plurimask.show.figures import draw_image, outline_readers, outline_samples
from plurimask.show.raster import View

_HALO = [withStroke(linewidth=2.5, foreground="white")]


@dataclass(frozen=True, eq=False)
class _Example:
    """A case to show: (2,) GED and CI, (2,) its ranks by them, and of how many cases."""

    case: Case
    panel: MaskSet
    letter: str
    point: np.ndarray
    ranks: np.ndarray
    cases: int

    @property
    def colour(self) -> str:
        """Blue where GED ranks the case better, vermillion where CI does."""
        return BLUE if self.ranks[0] <= self.ranks[1] else VERMILLION


def disagreeing(ged: np.ndarray, ci: np.ndarray, count: int = 4) -> np.ndarray:
    """The cases that GED and CI rank most differently.

    A case's difference is its rank by CI less its rank by GED, 1 the best (lowest GED, highest CI), equal values at
    their mean rank, among the cases where both are defined. First come those that GED ranks better, half of `count`
    rounded up, then those that CI ranks better; in each half the largest difference first, equal ones in their order.

    Args:
        ged: (n,) float, NaN where undefined.
        ci: (n,) float, NaN where undefined.
        count: how many cases at most; fewer where there are not so many that the two rank differently.

    Returns:
        (k,) int, indices into `ged`, k <= count.
    """
    defined = np.flatnonzero(~(np.isnan(ged) | np.isnan(ci)))
    by_ged, by_ci = _ranks(ged[defined], ci[defined])
    chosen = []
    for difference, most in ((by_ci - by_ged, count - count // 2), (by_ged - by_ci, count // 2)):
        order = np.argsort(-difference, kind="stable")[:most]
        chosen.append(order[difference[order] > 0])
    return defined[np.concatenate(chosen)]


@in_style
def ged_ci_figure(
    ged: np.ndarray,
    ci: np.ndarray,
    names: Sequence[str],
    examples: Sequence[tuple[Case, MaskSet]],
    *,
    samples: int,
    estimator: Estimator = "v",
) -> Figure:
    """A point a case, with both medians, and beside it the image, readers and samples of each example.

    Args:
        ged: (n,) float, NaN where undefined.
        ci: (n,) float, NaN where undefined.
        names: of the n cases.
        examples: some of these cases with their panels, as `disagreeing` chose them; lettered in this order. A name
            that gives the patient away is not told.
        samples: N, on which both scores depend.
        estimator: which GED it is.

    Raises:
        InputError: arrays of unequal length, no case where both scores are defined, or an example that is none of
            those cases.
    """
    _check_lengths(ged, ci, names)
    defined = ~(np.isnan(ged) | np.isnan(ci))
    if not defined.any():
        raise InputError("GED against CI", expected="a case with both", got="none", hint="score at least one case")
    named = [name for name, whole in zip(names, defined, strict=True) if whole]
    points = np.column_stack((ged, ci))[defined]
    ranks = np.column_stack(_ranks(*points.T))
    for case, _ in examples:
        if case.name not in named:
            hint = "choose examples by `disagreeing`"
            raise InputError(case.name, expected="one of the cases with both scores", got="another", hint=hint)
    rows = [named.index(case.name) for case, _ in examples]
    figure = Figure(figsize=(11.6 if rows else 5.6, max(5.2, 1.35 * len(rows))))
    left, *right = figure.subfigures(1, 2 if rows else 1, width_ratios=(5.4, 6.0) if rows else None, squeeze=False)[0]
    axes = left.add_subplot()
    _draw_points(axes, points)
    axes.set_title(counted(len(named), len(names)), pad=22)
    score = f"{estimator.upper()}-GED"
    _name_axes(axes, score, samples)
    if rows:
        shown = [
            _Example(case, panel, chr(ord("a") + position), points[row], ranks[row], len(named))
            for position, (row, (case, panel)) in enumerate(zip(rows, examples, strict=True))
        ]
        _mark(axes, shown)
        _draw_examples(right[0], shown, score)
    return figure


@in_style
def numbered_figure(rows: Sequence[CaseScores], numbers: Mapping[str, int], samples: int) -> Figure | None:
    """V-GED against CI for a page, a point a case, after the paper's Fig. 4; None where no case has both.

    Args:
        rows: of the cases.
        numbers: of those that have a card, by name; their points bear them and lead to #case-NUMBER.
        samples: N.
    """
    points = {row.name: (row.values["ged_v"], row.values["ci"]) for row in rows if row.readers}
    points = {name: point for name, point in points.items() if not np.isnan(point).any()}
    if not points:
        return None
    figure = Figure(figsize=(5.6, 4.2))
    axes = figure.subplots()
    _draw_points(axes, np.array(list(points.values())))
    _name_axes(axes, "V-GED", samples)
    ring = {"boxstyle": "circle,pad=0.25", "facecolor": "#ffffff", "edgecolor": BLUE}
    centred: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 7, "fontweight": "bold", "color": BLUE}
    for name in [one for one in numbers if one in points]:
        axes.text(*points[name], str(numbers[name]), bbox=ring, gid=f"#case-{numbers[name]}", zorder=4, **centred)
    return figure


def _name_axes(axes: Axes, score: str, samples: int) -> None:
    axes.set_xlabel(f"{score} of N = {samples} samples (lower is better)")
    axes.set_ylabel(f"CI of N = {samples} samples (higher is better)")


def _ranks(ged: np.ndarray, ci: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return rankdata(ged), rankdata(-ci)


def _check_lengths(ged: np.ndarray, ci: np.ndarray, names: Sequence[str]) -> None:
    if not ged.shape == ci.shape == (len(names),):
        raise InputError(
            "GED against CI",
            expected="one GED and one CI a name",
            got=f"{ged.shape}, {ci.shape} and {len(names)} names",
            hint="pass three of one length",
        )


def _draw_points(axes: Axes, points: np.ndarray) -> None:
    """The points, and lines at both medians with their values in the margins."""
    axes.scatter(points[:, 0], points[:, 1], s=22, color=GREY, alpha=0.55, linewidths=0, zorder=3)
    axes.set_ylim(-0.03, 1.03)
    axes.margins(x=0.06)
    axes.autoscale_view(scaley=False)
    x, y = np.median(points, axis=0)
    axes.axvline(x, **DASHED)
    axes.axhline(y, **DASHED)
    grey: dict[str, Any] = {"fontsize": 8, "color": GREY}
    axes.text(x, 1.01, f"median {x:.2f}", transform=axes.get_xaxis_transform(), ha="center", va="bottom", **grey)
    axes.text(1.01, y, f"median\n{y:.2f}", transform=axes.get_yaxis_transform(), ha="left", va="center", **grey)


def _mark(axes: Axes, examples: Sequence[_Example]) -> None:
    """Colour and letter the examples' points; of one colour the leftmost bears its letter on the left."""
    leftmost = {example.colour: example for example in sorted(examples, key=lambda one: -one.point[0])}
    for example in examples:
        x, y = example.point
        axes.scatter(x, y, s=52, color=example.colour, edgecolors="white", linewidths=0.8, zorder=4)
        shift, side = (-5, "right") if example is leftmost[example.colour] else (5, "left")
        style: dict[str, Any] = {"color": example.colour, "fontsize": 11, "fontweight": "bold", "path_effects": _HALO}
        axes.annotate(example.letter, (x, y), (shift, 5), textcoords="offset points", ha=side, zorder=5, **style)


def _draw_examples(figure: SubFigure, examples: Sequence[_Example], score: str) -> None:
    """A row an example: its scores in words, its image, its readers and its samples."""
    grid = figure.add_gridspec(max(4, len(examples)), 4, width_ratios=(1.45, 1, 1, 1))
    for row, example in enumerate(examples):
        words, *tiles = (figure.add_subplot(grid[row, column]) for column in range(4))
        _draw_words(words, example, score)
        view = View.of(example.case, example.panel)
        for axes, title in zip(tiles, ("image", "readers", "samples"), strict=True):
            draw_image(axes, view, "" if row else title)
        _, readers, samples = tiles
        outline_readers(readers, view, 0.7)
        outline_samples(samples, view)


def _draw_words(axes: Axes, example: _Example, score: str) -> None:
    (ged, ci), (by_ged, by_ci) = example.point, example.ranks
    better = "GED good, CI poor" if example.colour == BLUE else "GED poor, CI good"
    name = public_name(example.case.name, example.case.patient, "")
    lines = (
        name if len(name) <= 24 else f"{name[:23]}…",
        f"{score} {ged:.2f}, rank {by_ged:g} of {example.cases}",
        f"CI {ci:.2f}, rank {by_ci:g} of {example.cases}",
        f"{_drawn(example.case.readers)} readers drew",
        f"{_drawn(example.panel.masks)} samples not empty",
    )
    axes.set_axis_off()
    bold: dict[str, Any] = {"fontweight": "bold", "color": example.colour, "va": "center"}
    axes.text(0, 0.9, example.letter, fontsize=13, **bold)
    axes.text(0.13, 0.9, better, fontsize=9, **bold)
    axes.text(0.13, 0.76, "\n".join(lines), fontsize=8, va="top", linespacing=1.45, parse_math=False)


def _drawn(masks: np.ndarray) -> str:
    return f"{sum(mask.any() for mask in masks)} of {len(masks)}"


def pooled_figure(scores: Scores) -> Figure:
    """`reliability_figure` of all voxels of all cases."""
    curve = scores.reliability
    return reliability_figure(*(sums[0].numpy() for sums in (curve.mean_predicted, curve.mean_drawn, curve.weight)))


def write_score_figures(
    scores: Scores, out: Path, panels: Mapping[str, MaskSet], cases: Mapping[str, Case]
) -> tuple[Path, ...]:
    """Write `out`/ged-ci, `out`/reliability, `out`/ranks and `out`/empty as PNG and SVG; returns the paths.

    The examples of the first show the samples that were scored. Where no case was read there is nothing to show,
    and nothing is written. Raises OSError as the file system does.

    Args:
        scores: of these panels.
        panels, cases: by name; only the examples are read.
    """
    read = [row for row in scores.rows if row.readers]
    if not read:
        return ()
    ged, ci = (np.array([row.values[key] for row in read]) for key in ("ged_v", "ci"))
    names = [row.name for row in read]
    examples = [
        (cases[names[place]], panels[names[place]].first(scores.samples)) for place in disagreeing(ged, ci).tolist()
    ]
    figures = {
        "ged-ci": ged_ci_figure(ged, ci, names, examples, samples=scores.samples),
        "reliability": pooled_figure(scores),
        "ranks": ranks_figure(np.array(scores.ranks)),
        "empty": empty_figure(
            np.array([row.drawn for row in read]),
            np.array([row.values["empty_samples"] for row in read]),
            np.array([row.readers for row in read]),
        ),
    }
    return tuple(path for name, figure in figures.items() for path in save_figure(figure, out / name))
