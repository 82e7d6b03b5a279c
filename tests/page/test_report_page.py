"""report.html as people meet it: seen, printed, sorted, and read aloud."""

import numpy as np
import pytest
from hands import grave_faults
from phantoms import phantoms
from small_benchmark import small_results

from plurimask.benchmark.report import write_benchmark_report
from plurimask.evaluation import compare, evaluate
from plurimask.records import MaskSet
from plurimask.show.cases import write_report

A4_IN_PIXELS = {"width": 703, "height": 1031}
"""A sheet without its margins of 12 mm, at 96 pixels an inch."""


def moved(case, rows):
    """Sixteen masks of a case's readers, so many rows further down."""
    masks = np.roll(np.resize(case.readers, (16, *case.grid.shape)), rows, axis=1)
    return MaskSet(case.name, masks, case.grid, f"moved by {rows}")


def write_evaluation(folder):
    cases = {case.name: case for case in phantoms()[:3]}
    panels, others = ({name: moved(case, shift) for name, case in cases.items()} for shift in (0, 3))
    scores = evaluate(panels.values(), cases)
    path = folder / "report.html"
    write_report(scores, path, panels, cases, None, compare(scores, evaluate(others.values(), cases)))
    return path


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """Paths of a report of each kind."""
    results = small_results(tmp_path_factory.mktemp("benchmark"))
    write_benchmark_report(results)
    evaluation = write_evaluation(tmp_path_factory.mktemp("evaluation"))
    return {"evaluation": evaluation, "benchmark": results.bench.root / "report.html"}


@pytest.fixture
def sheet(browser, reports):
    """A page that may ask for nothing but the reports themselves."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    opened, asked = context.new_page(), []
    opened.on("request", lambda request: asked.append(request.url))
    yield opened
    context.close()
    own = {report.as_uri() for report in reports.values()}
    assert not [url for url in asked if url.partition("#")[0] not in own and not url.startswith("data:")]


def test_axe_finds_no_serious_issue(sheet, reports):
    for report in reports.values():
        sheet.goto(report.as_uri())
        assert grave_faults(sheet) == []


def test_only_tables_scroll_sideways_from_a_laptop_to_a_wall(sheet, reports):
    for report in reports.values():
        sheet.goto(report.as_uri())
        for width in (1024, 1440, 2560, 3840):
            sheet.set_viewport_size({"width": width, "height": 900})
            assert sheet.evaluate("document.documentElement.scrollWidth") <= width


def test_no_card_is_cut_in_two_on_paper(sheet, reports):
    """A card that may not be broken, and fits on a sheet."""
    sheet.emulate_media(media="print")
    sheet.set_viewport_size(A4_IN_PIXELS)
    for report in reports.values():
        sheet.goto(report.as_uri())
        cards = sheet.locator("article").evaluate_all(
            "all => all.map(one => [getComputedStyle(one).breakInside, one.offsetHeight])"
        )
        assert cards
        assert {inside for inside, _ in cards} == {"avoid"}
        assert max(height for _, height in cards) < A4_IN_PIXELS["height"]


def test_paper_is_light_whatever_the_screen_is(sheet, reports):
    sheet.goto(reports["evaluation"].as_uri())
    sheet.emulate_media(media="print", color_scheme="dark")
    assert sheet.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    assert sheet.evaluate("getComputedStyle(document.documentElement).color") == "rgb(0, 0, 0)"


def test_system_s_theme_can_be_overruled_on_the_root(sheet, reports):
    sheet.goto(reports["evaluation"].as_uri())
    sheet.emulate_media(color_scheme="light")
    before = sheet.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    sheet.evaluate("document.documentElement.dataset.theme = 'dark'")
    after = sheet.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (before, after) == ("rgb(250, 249, 246)", "rgb(18, 21, 25)")


def test_means_with_intervals_sort_by_the_mean_from_the_keyboard(sheet, reports):
    sheet.goto(reports["benchmark"].as_uri())
    table = sheet.locator("section[aria-labelledby=scores] table")
    table.locator("th", has_text="HM-IoU").locator("button").press("Enter")
    column = table.locator("th", has_text="HM-IoU").evaluate("head => head.cellIndex")
    shown = table.locator("tbody tr").evaluate_all(f"rows => rows.map(row => row.cells[{column}].dataset.value)")
    means = [float(value) for value in shown if value != "\N{EN DASH}"]
    assert means == sorted(means)
    assert len(set(means)) > 3


def test_readers_stay_on_top_of_their_table_when_systems_are_sorted(sheet, reports):
    sheet.goto(reports["benchmark"].as_uri())
    table = sheet.locator("article table").first
    head = table.locator("th", has_text="V-GED")
    head.locator("button").click()
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    titles = table.locator("tbody th").all_inner_texts()
    assert titles[0] == "readers"
    assert titles[-1] == "Near <b>"


def test_numbered_points_lead_to_their_cases(sheet, reports):
    sheet.goto(reports["evaluation"].as_uri())
    links = sheet.locator(".chart a").evaluate_all("all => all.map(one => one.getAttribute('href'))")
    assert sorted(links) == ["#case-1", "#case-2", "#case-3"]
    assert all(sheet.locator(link).count() == 1 for link in links)
