"""The figures of an evaluation, as files."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from plurimask.evaluation import Scores
from plurimask.plot.ged_ci import disagreeing, ged_ci_figure
from plurimask.plot.save import save_figure
from plurimask.plot.scores import empty_figure, reliability_figure
from plurimask.records import Case, MaskSet


def write_score_figures(
    scores: Scores, out: Path, panels: Mapping[str, MaskSet], cases: Mapping[str, Case]
) -> tuple[Path, ...]:
    """Write `out`/ged-ci, `out`/reliability and `out`/empty as PNG and SVG; returns the paths.

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
    curve = scores.reliability
    figures = {
        "ged-ci": ged_ci_figure(ged, ci, names, examples, samples=scores.samples),
        "reliability": reliability_figure(
            *(sums[0].numpy() for sums in (curve.mean_predicted, curve.mean_drawn, curve.weight))
        ),
        "empty": empty_figure(
            np.array([row.drawn for row in read]),
            np.array([row.values["empty_samples"] for row in read]),
            np.array([row.readers for row in read]),
        ),
    }
    return tuple(path for name, figure in figures.items() for path in save_figure(figure, out / name))
