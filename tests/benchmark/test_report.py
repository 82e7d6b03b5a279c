"""The page of a benchmark: every system on the same cases, failures framed, nothing of patients, of bounded size."""

import re

import numpy as np
import pytest
from scipy.stats import spearmanr
from small_benchmark import small_results

from plurimask.benchmark.report import _chosen, _contradicting, _quality_against_cost, write_benchmark_report


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return small_results(tmp_path_factory.mktemp("benchmark"))


@pytest.fixture(scope="module")
def page(results):
    write_benchmark_report(results)
    return (results.bench.places.root / "report.html").read_text(encoding="utf-8")


def rows(part):
    return [re.sub(r"<svg.*?</svg>", "", row, flags=re.DOTALL) for row in re.findall(r"<tr.*?</tr>", part, re.DOTALL)]


def section(page, name):
    return page.partition(f'<section aria-labelledby="{name}">')[2].partition("</section>")[0]


def test_every_system_stands_on_every_case(results, page):
    cards = section(page, "cases").split("<article")[1:]
    assert len(cards) == len(_chosen(results))
    for card in cards:
        named = re.findall(r'<th scope="row">(.*?)</th>', card)
        assert named == ["readers", "Near &lt;b&gt;", "far", "nothing"]


def test_pictured_cases_say_why(results, page):
    assert all(reason in page for reason in _chosen(results).values())


def test_a_mask_that_agrees_with_no_reader_is_framed(page):
    """Of each case: none of those near, all that lie elsewhere, all that are empty although both readers drew."""
    card = section(page, "cases").split("<article")[1]
    framed = [len(re.findall("<rect class=.alone", row)) for row in re.findall(r"<tr.*?</tr>", card, re.DOTALL)]
    assert framed == [0, 0, 0, 4, 4]  # headings, readers, near, far, nothing


def test_framed_masks_are_named_for_who_does_not_see_them(page):
    assert "nothing, 4 masks, 4 of them empty; framed, since they agree with no reader: 1, 2, 3, 4" in page


def test_table_holds_means_with_their_intervals(results, page):
    row = results.scored[1].mean[4].table[0]
    low, high = row.intervals["hm_iou"]
    assert f"{row.values['hm_iou']:.3f}<small>{low:.3f} to {high:.3f}</small>" in section(page, "scores")


def test_reported_figures_stand_beside_ours(page):
    assert "0.321 / 0.759 / 0.915" in section(page, "scores")


def test_run_that_is_not_over_is_named(page):
    assert "left is not over yet" in page


def test_differences_outside_zero_are_starred(results, page):
    against = results.runs[2].against
    row = rows(section(page, "against"))[2]
    stars = [against.outside_zero(key) for key in ("ged_u", "ged_v", "hm_iou", "dice_max", "ci", "d_ss")]
    assert ["star" in cell for cell in re.findall(r"<td.*?</td>", row)] == stars
    assert any(stars)


def test_worst_cases_of_each_system_are_listed(results, page):
    listed = re.findall(r'<th scope="row">(.*?)</th>', section(page, "failures"))
    assert listed == [title for title in ("Near &lt;b&gt;", "far", "nothing") for _ in range(2)]


def test_cost_chart_has_a_point_a_system_with_its_interval(results):
    chart = _quality_against_cost(results)
    assert [point.text for point in chart.points] == ["1", "2", "3"]
    assert [point.span for point in chart.points] == [run.mean[4].table[0].intervals["ged_u"] for run in results.scored]
    assert len({chart.across(point.x) for point in chart.points}) == 3  # which cost the same


def test_case_on_which_ged_and_ci_contradict_has_the_least_rank_correlation(results):
    runs = [{row.name: row.values for row in run.mean[4].rows} for run in results.scored]
    pairs = {name: [[run[name]["ged_v"], -run[name]["ci"]] for run in runs] for name in runs[0]}
    alike = {name: spearmanr(pair).statistic for name, pair in pairs.items() if np.ptp(pair, axis=0).all()}
    assert alike[_contradicting(results)] == min(alike.values())


def test_patients_are_not_named(results, page):
    patients = {case.patient for case in results.bench.cases.values()}
    assert not [patient for patient in patients if patient in page]


def test_page_stands_alone(page):
    assert not re.findall(r"""(?:src|href)=["'](?!#|data:image/png)""", page)
    assert not re.search(r"url\(|@import|https?://", page)


def test_ids_are_unique_and_links_lead_to_them(page):
    ids = re.findall(r'\bid="(.*?)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#(.*?)"', page)) <= set(ids)


def test_nothing_is_written_before_anything_is_scored(tmp_path, results):
    empty = type(results)(results.bench, results.counts, results.runs[3:], results.crop, None)
    place = results.bench.places.root / "report.html"
    before = place.stat().st_mtime_ns if place.exists() else None
    write_benchmark_report(empty)
    assert (place.stat().st_mtime_ns if place.exists() else None) == before
