"""What a benchmark's tables and page show: every figure where it belongs, every system on the same cases."""

import csv
import json
import math
import re
from dataclasses import replace
from html import escape

import numpy as np
import pytest
from rich.console import Console
from scipy.stats import spearmanr
from small_benchmark import small_results
from small_panels import case, panel
from small_suite import CIMD, PROB, suite
from tiny import write_cases

from plurimask.benchmark.report import _chosen, contradicting, worst_cases, write_benchmark_report
from plurimask.benchmark.results import Results, RunResult, SeedResult, against, mean_over_seeds
from plurimask.benchmark.run import Diversity, DiversityPoint, Finished, Record, Tried, latent_lines
from plurimask.benchmark.suite import open_bench
from plurimask.benchmark.tables import render_markdown, render_results, settled, write_tables
from plurimask.datasets.changed import CropLoss
from plurimask.datasets.open import open_dataset
from plurimask.errors import CheckpointError
from plurimask.evaluation import COLUMNS, evaluate
from plurimask.show.tables import number

CASES = {name: case(name, patient=f"p{name}") for name in "abcd"}


def scores(shift):
    """By N, of samples that differ from shift to shift."""
    panels = [panel(name, 8) for name in CASES]
    shifted = [replace(one, masks=np.roll(one.masks, shift, axis=2)) for one in panels]
    return {count: evaluate(shifted, CASES, count) for count in (2, 4)}


RECORD = Record(
    terms={},
    definition={},
    learning_rate=1e-4,
    tried=(Tried(learning_rate=1e-3, diverged="step 9"), Tried(learning_rate=1e-4, ged_u=0.25)),
    gflop_a_step=33.4,
)
OVER = Finished(
    steps=4,
    images=8,
    minutes=25.04,
    core_minutes=20.02,
    parameters=3_970_000,
    gflop_a_mask=4.106,
    seconds_a_mask=0.0312,
    threads=1,
    device="cpu",
)


def result(bench, index, seeds):
    run = bench.suite.runs[index]
    mean = {count: mean_over_seeds([s.scores[count] for s in seeds if s.scores], run.title) for count in (2, 4)}
    return RunResult(run, RECORD, seeds, mean)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    home = tmp_path_factory.mktemp("tables")
    data = open_dataset(write_cases(home / "cases"))
    bench = open_bench(suite(seeds=(0, 1), runs=(CIMD, PROB, PROB | {"name": "left"})), data, home / "out")
    for key in ("cimd-seed0", "prob-seed0", "prob-seed1"):
        log = bench.root / "runs" / key / "metrics.jsonl"
        log.parent.mkdir(parents=True)
        terms = {"amb": 2.0, "amn_spread": 0.5, "acn_spread": 0.25} if key.startswith("cimd") else {}
        lines = [
            {"step": 1, "split": "train", "loss": 1.0, **terms},
            {"step": 2, "split": "train", "loss": 1.0, **{k: v / 100 for k, v in terms.items()}},
        ]
        log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    cimd = result(bench, 0, (SeedResult(0, OVER, scores(1)), SeedResult(1, Finished(diverged="step 3"), {})))
    prob = result(bench, 1, (SeedResult(0, OVER, scores(0)), SeedResult(1, OVER, scores(2))))
    cimd = replace(cimd, against=against(cimd, prob, 4))
    left = RunResult(bench.suite.runs[2], None, (), {})
    point = DiversityPoint(noise_scale=0.5, d_ss=0.125, d_yy=0.5, ged_u=0.375, dice_max=0.75)
    diversity = Diversity(settings={"run": "cimd", "steps": 10, "cases": 50, "samples": 8}, points=(point,))
    return Results(bench, (2, 4), (cimd, prob, left), CropLoss(150, 0.0125, 0.04, 0.0), diversity)


@pytest.fixture(scope="module")
def page(results):
    return render_markdown(results)


def line(page, start, section="# "):
    """The first line that starts so, from a heading on."""
    return next(text for text in page[page.index(section) :].splitlines() if text.startswith(start))


def test_a_run_has_its_values_at_both_numbers(results, page):
    cells = line(page, "| CIMD |", "## Scores").split(" | ")
    few, many = (results.runs[0].mean[count].mean for count in (2, 4))
    shown = [cell.split(" (")[0] for cell in cells[1:]]
    expected = (
        [few["ged_v"], few["ci"], few["dice_max"]],
        [many[key] for key in ("ged_u", "ged_v", "hm_iou", "dice_max", "ci", "d_ss")],
    )
    assert shown[:3] == [number(value) for value in expected[0]]
    assert shown[4:] == [number(value) for value in expected[1]]


def test_intervals_stand_in_brackets(results, page):
    low, high = results.runs[1].mean[4].intervals["ged_u"]
    assert f"({number(low)} to {number(high)})" in line(page, "| prob |", "## Scores")


def test_reported_figures_stand_beside(page):
    assert "| 0.321 / 0.759 / 0.915 |" in line(page, "| CIMD |", "## Scores")
    assert "on splits whose patients overlap" in page


def test_groups_have_a_heading(page):
    assert line(page, "| *latent* |").count("|") == line(page, "| prob |", "## Scores").count("|")


@pytest.mark.parametrize("label", ["all empty", "union x N", "calibrated"])
def test_what_needs_no_image_is_shown(results, page, label):
    row = next(row for row in results.runs[0].mean[4].table if row.label == label)
    assert number(row.values["ged_v"]) in line(page, f"| {label} |", "## Scores")


def test_every_table_is_square(page):
    blocks = [block.splitlines() for block in page.split("\n\n") if block.startswith("|")]
    assert len(blocks) == 8
    assert all(len({text.count("|") for text in block}) == 1 for block in blocks)


def test_the_difference_from_the_reference(results, page):
    difference = results.runs[0].against.difference
    assert "## Against prob" in page
    assert f"| {number(difference.values['ged_u'])} (" in line(page, "| CIMD |", "## Against")


def test_runs_are_compared_over_the_seeds_that_both_have(results):
    cimd, prob, left = results.runs
    first = prob.seeds[0].scores[4].mean["ged_u"]
    assert cimd.against.difference.values["ged_u"] == pytest.approx(cimd.mean[4].mean["ged_u"] - first)
    assert prob.mean[4].mean["ged_u"] != pytest.approx(first)
    assert against(left, prob, 4) is None


def test_both_seeds_are_shown(results, page):
    both = [text for text in page[page.index("## Seeds") :].splitlines() if text.startswith("| prob | ")][:2]
    values = [seed.scores[4].mean["ged_u"] for seed in results.runs[1].seeds]
    assert [text.split(" | ")[1:3] for text in both] == [[str(k), number(value)] for k, value in enumerate(values)]


def test_costs(page):
    assert (
        line(page, "| prob |", "## Costs")
        == "| prob | 3.97 M | 4.11 | 0.0312 | 33.4 | 4 | 8 | 25.0, 25.0 | 20.0, 20.0 |"
    )


def test_rates_that_were_tried(page):
    assert line(page, "| prob |", "## Learning") == "| prob | 0.001: diverged at step 9 | 0.0001: 0.250 | 0.0001 |"


def test_the_course_of_the_latents(page):
    assert line(page, "| CIMD |", "## Latents") == "| CIMD | 0 | 2 → 0.02 | 0.5 → 0.005 | 0.25 → 0.0025 |"


def test_diversity(page):
    assert line(page, "| 0.5 |", "## Diversity") == "| 0.5 | 0.125 | 0.500 | 0.375 | 0.750 |"


def test_divergence_and_what_is_left(page):
    assert "- **CIMD**, seed 1: diverged at step 3" in page
    assert "- 2 of 6 runs are not over yet" in page


def test_what_the_crop_loses(page):
    assert "of 150 masks that are not empty it takes away 1.25% of the pixels; 4.0% of the masks lose some" in page


def test_terms_are_named_by_their_digests(results, page):
    assert f"data `{results.bench.terms['data'][:12]}`, split `{results.bench.terms['split'][:12]}`" in page


def test_the_terminal_table_fits(results):
    console = Console(width=80)
    with console.capture() as said:
        console.print(render_results(results))
    assert "small: 4 of 6 runs · N = 4" in said.get()
    assert max(len(text) for text in said.get().splitlines()) <= 80
    assert number(results.runs[1].mean[4].mean["hm_iou"]) in said.get()


def test_csv_has_a_row_a_seed_and_their_mean(results):
    write_tables(results)
    rows = list(csv.DictReader((results.bench.root / "table.csv").open()))
    assert [(row["run"], row["seed"], row["samples"]) for row in rows] == [
        ("cimd", "mean", "2"),
        ("cimd", "0", "2"),
        ("cimd", "mean", "4"),
        ("cimd", "0", "4"),
        *[("prob", seed, count) for count in "24" for seed in ("mean", "0", "1")],
    ]
    assert float(rows[-1]["ged_u"]) == results.runs[1].seeds[1].scores[4].mean["ged_u"]
    assert float(rows[-1]["ged_u_low"]) == results.runs[1].seeds[1].scores[4].intervals["ged_u"][0]
    assert {row["minutes"] for row in rows if row["seed"] != "mean"} == {"25.04"}


def test_json_holds_everything(results):
    write_tables(results)
    told = json.loads((results.bench.root / "results.json").read_text())
    assert told["terms"] == results.bench.terms
    assert told["runs"][0]["seeds"][1]["diverged"] == "step 3"
    assert set(told["runs"][1]["mean"]["4"]["mean"]) == set(COLUMNS)
    assert told["references"]["2"][0]["label"] == "all empty"
    assert told["reported"]["CIMD"] == {"ged": 0.321, "ci": 0.759, "dice_max": 0.915}


def test_nothing_done_yet(results):
    page = render_markdown(replace(results, runs=results.runs[2:], diversity=None))
    assert "## " not in page
    assert "6 of 6 runs are not over yet" in page


def test_a_method_without_latents_has_no_lines(results):
    assert len(latent_lines(results.bench, results.runs[1].run, 0)) == 0
    assert latent_lines(results.bench, results.runs[0].run, 0).tolist() == [[1, 2, 0.5, 0.25], [2, 0.02, 0.005, 0.0025]]


@pytest.mark.parametrize(
    "broken", ["[" * 100_000, '{"step": 1, "split": "train", "amb": "much"}', '{"amb": 1}', "\udcff"]
)
def test_a_damaged_log_is_refused_by_name(results, broken):
    log = results.bench.root / "runs" / "cimd-seed0" / "metrics.jsonl"
    whole = log.read_bytes()
    log.write_bytes(broken.encode("utf-8", "surrogateescape"))
    try:
        with pytest.raises(CheckpointError, match=r"metrics\.jsonl: expected the log of a training, got"):
            latent_lines(results.bench, results.runs[0].run, 0)
    finally:
        log.write_bytes(whole)


def test_latents_settle_by_the_median_of_a_tenth():
    lines = np.column_stack([np.arange(1, 31), *[[5.0, 1, 9, *[0] * 24, 2, 8, 4]] * 3])
    early, late = settled(lines)
    assert (early.tolist(), late.tolist()) == ([5.0] * 3, [4.0] * 3)


@pytest.fixture(scope="module")
def moved(tmp_path_factory):
    return small_results(tmp_path_factory.mktemp("benchmark"))


@pytest.fixture(scope="module")
def shown(moved):
    write_benchmark_report(moved)
    return (moved.bench.root / "report.html").read_text(encoding="utf-8")


def rows(part):
    return [re.sub(r"<svg.*?</svg>", "", row, flags=re.DOTALL) for row in re.findall(r"<tr.*?</tr>", part, re.DOTALL)]


def section(shown, name):
    return shown.partition(f'<section aria-labelledby="{name}">')[2].partition("</section>")[0]


def test_every_system_stands_on_every_case(moved, shown):
    cards = section(shown, "cases").split("<article")[1:]
    assert len(cards) == len(_chosen(moved))
    for card in cards:
        named = re.findall(r'<th scope="row">(.*?)</th>', card)
        assert named == ["readers", "Near &lt;b&gt;", "far", "nothing"]


def test_pictured_cases_say_why(moved, shown):
    assert all(reason in shown for reason in _chosen(moved).values())


def test_a_mask_that_agrees_with_no_reader_is_framed(shown):
    """Of each case: none of those near, all that lie elsewhere, all that are empty although both readers drew."""
    card = section(shown, "cases").split("<article")[1]
    framed = [len(re.findall("<rect class=.alone", row)) for row in re.findall(r"<tr.*?</tr>", card, re.DOTALL)]
    assert framed == [0, 0, 0, 4, 4]  # headings, readers, near, far, nothing


def test_framed_masks_are_named_for_who_does_not_see_them(shown):
    assert "nothing, 4 masks, 4 of them empty; framed, since they agree with no reader: 1, 2, 3, 4" in shown


def test_table_holds_means_with_their_intervals(moved, shown):
    row = moved.scored[1].mean[4].table[0]
    low, high = row.intervals["hm_iou"]
    assert f"{row.values['hm_iou']:.3f}<small>{low:.3f} to {high:.3f}</small>" in section(shown, "scores")


def test_reported_figures_stand_beside_ours(shown):
    assert "0.321 / 0.759 / 0.915" in section(shown, "scores")


def test_run_that_is_not_over_is_named(shown):
    assert "left is not over yet" in shown


def test_differences_outside_zero_are_starred(moved, shown):
    against = moved.runs[2].against
    row = rows(section(shown, "against"))[2]
    stars = [against.outside_zero(key) for key in ("ged_u", "ged_v", "hm_iou", "dice_max", "ci", "d_ss")]
    assert ["star" in cell for cell in re.findall(r"<td.*?</td>", row)] == stars
    assert any(stars)


def test_worst_cases_of_each_system_are_listed(moved, shown):
    listed = re.findall(r'<th scope="row">(.*?)</th>', section(shown, "failures"))
    assert listed == [title for title in ("Near &lt;b&gt;", "far", "nothing") for _ in range(2)]
    for run in moved.scored:
        values = sorted((row.values["ged_v"] for row in run.scored[0].scores[4].rows), reverse=True)
        assert [row.values["ged_v"] for one, row in worst_cases(moved) if one is run] == values[:2]


def test_a_case_whose_ged_is_undefined_is_no_worst_case(moved):
    scores = moved.scored[0].scored[0].scores[4]
    first, *others = scores.rows
    rows = (replace(first, values=dict(first.values) | {"ged_v": math.nan}), *others)
    run = moved.scored[0]
    run = replace(run, seeds=(replace(run.seeds[0], scores={2: scores, 4: replace(scores, rows=rows)}),))
    assert first.name not in [row.name for _, row in worst_cases(replace(moved, runs=(run,)))]


def test_charts_of_the_page_name_every_system_and_say_what_they_show(moved, shown):
    (chart,) = re.findall(r'<svg class="chart".*?</svg>', section(shown, "cost"), flags=re.DOTALL)
    assert ' role="img" aria-label="U-GED against the cost of a mask' in chart
    assert all(escape(run.run.title) in chart for run in moved.scored)


def test_case_on_which_ged_and_ci_contradict_has_the_least_rank_correlation(moved):
    runs = [{row.name: row.values for row in run.mean[4].rows} for run in moved.scored]
    pairs = {name: [[run[name]["ged_v"], -run[name]["ci"]] for run in runs] for name in runs[0]}
    alike = {name: spearmanr(pair).statistic for name, pair in pairs.items() if np.ptp(pair, axis=0).all()}
    assert alike[contradicting(moved)] == min(alike.values())


def test_patients_are_not_named(moved, shown):
    patients = {case.patient for case in moved.bench.cases.values()}
    assert not [patient for patient in patients if patient in shown]


def test_page_stands_alone(shown):
    assert not re.findall(r"""(?:src|href)=["'](?!#|data:image/png)""", shown)
    assert not re.search(r"url\(|@import|https?://", shown)


def test_ids_are_unique_and_links_lead_to_them(shown):
    ids = re.findall(r'\bid="(.*?)"', shown)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#(.*?)"', shown)) <= set(ids)


def test_nothing_is_written_before_anything_is_scored(tmp_path, moved):
    empty = type(moved)(moved.bench, moved.counts, moved.runs[3:], moved.crop, None)
    place = moved.bench.root / "report.html"
    before = place.stat().st_mtime_ns if place.exists() else None
    write_benchmark_report(empty)
    assert (place.stat().st_mtime_ns if place.exists() else None) == before
