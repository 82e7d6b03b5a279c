"""The demo: draw a panel for each shipped case, score it, and lay it before people in one page."""

from collections.abc import Callable
from pathlib import Path

from plurimask.datasets.demo_cases import demo_cases
from plurimask.evaluation import Scores, evaluate, write_scores
from plurimask.files.mask_sets import write_mask_set
from plurimask.sampling import load
from plurimask.show.cases import write_report

NOTES = (
    "The images are simulated CT. The outlines are real: they were drawn by the radiologists of LIDC-IDRI (Armato et "
    "al., Medical Physics 38 (2011) 915-931; The Cancer Imaging Archive, CC BY 3.0) and carried over from their scans.",
)


def run_demo(
    out: Path, count: int = 16, seed: int = 0, progress: Callable[[int], object] = lambda done: None
) -> Scores:
    """Write `out`/masks, `out`/scores.csv, `out`/summary.json and `out`/report.html; returns the scores.

    `progress` is called with the number of cases drawn so far. Raises OSError as the file system does.
    """
    model = load("phantom")
    cases = demo_cases()
    panels = []
    for done, case in enumerate(cases, start=1):
        panels.append(model.sample(case, count, seed))
        write_mask_set(out / "masks" / case.name, panels[-1])
        progress(done)
    scores = evaluate(panels, {case.name: case for case in cases})
    write_scores(scores, out)
    write_report(
        out / "report.html", f"Twelve phantom nodules, {count} samples each", cases, panels, scores, notes=NOTES
    )
    return scores
