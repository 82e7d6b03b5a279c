"""The demo: draw a panel for each shipped case, score it, and lay it before people in one page."""

from collections.abc import Callable
from pathlib import Path

from plurimask.datasets.demo_cases import demo_cases
from plurimask.evaluation import Scores, evaluate, write_scores
from plurimask.files.atomic import check_room
from plurimask.files.mask_sets import write_mask_set
from plurimask.sampling import load
from plurimask.show.cases import write_report

SEEN = "The rows from majority to raters resampled are made of the readers' own masks, which the model has not seen."
NOTES = (
    SEEN,
    "The images are CT slices of twelve patients of LIDC-IDRI, cut to 128 x 128 pixels and scaled to 8 bits. The "
    "outlines are those of its radiologists. No model was trained on these patients. They are the first twelve of the "
    "list lidc-eval-200, which a hash of names puts in order.",
    "LIDC-IDRI: Armato et al., Medical Physics 38 (2011) 915-931; The Cancer Imaging Archive, "
    "https://doi.org/10.7937/K9/TCIA.2015.LO9QL9SX, CC BY 3.0, https://creativecommons.org/licenses/by/3.0/.",
)


def run_demo(out: Path, count: int = 16, progress: Callable[[int], object] = lambda done: None) -> Scores:
    """Write `out`/masks, `out`/scores.csv, `out`/summary.json and `out`/report.html; returns the scores.

    `progress` is called with the number of cases drawn so far. Raises OSError as the file system does.
    """
    check_room(out)
    model, panels = load("lidc"), {}
    cases = {case.name: case for case in demo_cases()}
    for done, (name, case) in enumerate(cases.items(), start=1):
        panels[name] = model.sample(case, count)
        write_mask_set(out / "masks" / name, panels[name])
        progress(done)
    scores = evaluate(panels.values(), cases)
    write_scores(scores, out)
    title = f"Twelve slices of LIDC-IDRI, {count} samples each"
    write_report(scores, out / "report.html", panels, cases, title=title, notes=NOTES)
    return scores
