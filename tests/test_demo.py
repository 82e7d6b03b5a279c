"""The demo: twelve cases drawn, scored and laid out in one page that stands alone."""

import csv
import re

import pytest

from plurimask.datasets.demo_cases import demo_cases
from plurimask.demo import run_demo
from plurimask.files.mask_sets import MaskSets
from plurimask.sampling import load

NAMES = [case.name for case in demo_cases()]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Folder, scores and progress of a demo of two masks a case."""
    out, ticks = tmp_path_factory.mktemp("demo") / "out", []
    return out, run_demo(out, count=2, progress=ticks.append), ticks


def test_page_scores_and_masks_are_written(demo):
    out, _, _ = demo
    assert {path.name for path in out.iterdir()} == {"masks", "scores.csv", "summary.json", "report.html"}


def test_every_case_has_its_panel(demo):
    out, _, _ = demo
    panels = MaskSets.under(out / "masks")
    assert {name: len(panel.masks) for name, panel in panels.items()} == dict.fromkeys(NAMES, 2)


def test_every_case_is_scored(demo):
    out, scores, _ = demo
    assert [row.name for row in scores.rows] == NAMES
    with (out / "scores.csv").open() as file:
        assert [row["name"] for row in csv.DictReader(file)] == NAMES


def test_panels_are_those_of_the_library(demo):
    out, _, _ = demo
    panel = next(iter(MaskSets.under(out / "masks").values()))
    again = load("phantom").sample(demo_cases()[0], count=2)
    assert panel.seeds == again.seeds
    assert (panel.masks == again.masks).mean() > 0.999


def test_page_shows_every_case_and_stands_alone(demo):
    page = (demo[0] / "report.html").read_text()
    assert not [name for name in NAMES if name not in page]
    assert not re.findall(r"""(?:src|href)=["']?(?:https?:)?//""", page)


def test_page_says_what_is_simulated_and_whose_the_outlines_are(demo):
    page = (demo[0] / "report.html").read_text()
    assert "simulated CT" in page
    assert "LIDC-IDRI" in page
    assert "not for diagnosis" in page


def test_progress_counts_the_cases(demo):
    assert demo[2] == list(range(1, len(NAMES) + 1))
