"""The demo: twelve cases drawn, scored and laid out in one page that stands alone."""

import csv
import re

import pytest

from plurimask.datasets.demo_cases import demo_cases
from plurimask.demo import SEEN, run_demo
from plurimask.files.mask_sets import MaskSets
from plurimask.sampling import load

CASES = demo_cases()
NAMES = [case.name for case in CASES]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Folder, scores and progress of a demo of two masks a case."""
    out, ticks = tmp_path_factory.mktemp("demo") / "out", []
    return out, run_demo(out, count=2, progress=ticks.append), ticks


@pytest.fixture(scope="module")
def page(demo):
    return (demo[0] / "report.html").read_text()


def test_page_scores_and_masks_are_written(demo):
    out, _, _ = demo
    assert {path.name for path in out.iterdir()} == {"masks", "scores.csv", "summary.json", "report.html"}


def test_panels_are_those_of_the_library(demo):
    panels = MaskSets.under(demo[0] / "masks")
    assert {name: len(panel.masks) for name, panel in panels.items()} == dict.fromkeys(NAMES, 2)
    again = load("lidc").sample(CASES[0], count=2)
    assert panels[NAMES[0]].seeds == again.seeds
    assert (panels[NAMES[0]].masks == again.masks).mean() > 0.999


def test_every_case_is_scored(demo):
    out, scores, _ = demo
    assert [row.name for row in scores.rows] == NAMES
    with (out / "scores.csv").open() as file:
        assert [row["name"] for row in csv.DictReader(file)] == NAMES


def test_page_shows_every_case_by_number_and_stands_alone(page):
    assert not [number for number in range(1, 13) if f'id="case-{number}"' not in page]
    assert not re.findall(r"""(?:src|href)=["']?(?:https?:)?//""", page)


def test_page_says_whose_the_slices_are_and_which_rows_have_seen_the_readers(page):
    assert not [words for words in ("LIDC-IDRI", "CC BY 3.0", "not for diagnosis", SEEN[:40]) if words not in page]


def test_progress_counts_the_cases(demo):
    assert demo[2] == list(range(1, len(NAMES) + 1))
