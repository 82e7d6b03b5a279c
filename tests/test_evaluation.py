"""Evaluation against the metrics one by one, the reference rows, what is written, and what is refused."""

import csv
import io
import json
import math
import weakref

import numpy as np
import pytest
import torch
from rich.console import Console

from plurimask.errors import InputError
from plurimask.evaluation import COLUMNS, CaseScores, Scores, TableRow, evaluate, render_table, write_scores
from plurimask.geometry import Grid
from plurimask.metrics import (
    DEGENERATE,
    calibrated_level,
    ci_harmonic,
    ci_score,
    combined_sensitivity,
    dice_max,
    diversity_agreement,
    ged,
    rater_diversity,
    sample_diversity,
)
from plurimask.records import Case, MaskSet

SIZE = (9, 7)
GRID = Grid(SIZE)


def masks(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((count, *SIZE)) < 0.3


def case(name: str, readers: int = 4, patient: str | None = None, grid: Grid = GRID) -> Case:
    raters = np.resize(masks(4, sum(name.encode())), (readers, *grid.shape))
    return Case(name, np.zeros((1, *grid.shape), np.float32), raters, grid, patient)


def panel(name: str, count: int = 5, grid: Grid = GRID, method: str | None = "toy") -> MaskSet:
    return MaskSet(name, np.resize(masks(count, 99 + sum(name.encode())), (count, *grid.shape)), grid, method)


CASES = {
    "b": case("b", patient="p1"),
    "a": case("a", patient="p1"),
    "alone": case("alone", readers=1, patient="p2"),
    "unread": case("unread", readers=0),
}


@pytest.fixture(scope="module")
def scores() -> Scores:
    return evaluate([panel(name) for name in ("a", "b", "alone", "unread")], CASES)


def one_by_one(samples: torch.Tensor, raters: torch.Tensor) -> dict[str, float]:
    parts = [part(samples, raters) for part in (combined_sensitivity, dice_max, diversity_agreement)]
    values = {
        "ged_v": ged(samples, raters),
        "ged_u": ged(samples, raters, estimator="u"),
        "d_ss": sample_diversity(samples),
        "d_yy": rater_diversity(raters),
        "sensitivity": parts[0],
        "dice_max": parts[1],
        "agreement": parts[2],
        "ci": ci_score(*parts),
        "ci_harmonic": ci_harmonic(*parts),
    }
    return {key: value.item() for key, value in values.items()}


def stack(array: np.ndarray) -> torch.Tensor:
    return torch.tensor(array)[None]


def mean_of_defined(values: list[float]) -> float:
    return float(np.nanmean(values)) if not np.isnan(values).all() else math.nan


@pytest.mark.parametrize("name", CASES)
def test_each_value_is_that_of_its_metric(scores, name):
    row = next(row for row in scores.rows if row.name == name)
    expected = one_by_one(stack(panel(name).masks), stack(CASES[name].raters))
    assert row.values == pytest.approx(expected, nan_ok=True)


def test_rows_follow_the_panels_and_know_patient_readers_and_samples(scores):
    facts = [(row.name, row.patient, row.readers, row.samples) for row in scores.rows]
    assert facts == [("a", "p1", 4, 5), ("b", "p1", 4, 5), ("alone", "p2", 1, 5), ("unread", None, 0, 5)]


def test_the_mean_is_over_the_cases_where_a_value_is_defined(scores):
    expected = {key: mean_of_defined([row.values[key] for row in scores.rows]) for key in COLUMNS}
    assert scores.mean == pytest.approx(expected)


def test_undefined_values_are_counted(scores):
    by_readers = {"ged_u": 2, "d_yy": 2, "d_ss": 0}
    assert scores.undefined == {key: by_readers.get(key, 1) for key in COLUMNS}


def test_a_value_that_is_nowhere_defined_has_no_mean():
    assert math.isnan(evaluate([panel("a", count=1)], CASES).mean["d_ss"])


def test_the_table_has_the_method_first_then_the_references(scores):
    assert [row.label for row in scores.table] == ["toy", *DEGENERATE, "calibrated"]
    assert {row.samples for row in scores.table} == {scores.samples} == {5}


@pytest.mark.parametrize("label", DEGENERATE)
@pytest.mark.parametrize("count", [1, 2, 7])
def test_a_degenerate_predictor_is_scored_at_the_methods_n(label, count):
    scores = evaluate([panel(name, count) for name in CASES], CASES)
    expected = [
        one_by_one(DEGENERATE[label](stack(case.raters), None, count), stack(case.raters)) for case in CASES.values()
    ]
    values = next(row for row in scores.table if row.label == label).values
    assert values == pytest.approx({k: mean_of_defined([e[k] for e in expected]) for k in COLUMNS}, nan_ok=True)


def test_the_calibrated_row_holds_the_expected_geds_alone(scores):
    levels = [calibrated_level(stack(case.raters), None, 5).item() for case in CASES.values()]
    assert scores.table[-1].values == pytest.approx({"ged_v": mean_of_defined(levels), "ged_u": 0})


def test_patients_are_counted_once_and_unknown_ones_not_at_all(scores):
    assert scores.patients == 2


def test_cases_without_a_panel_are_reported(scores):
    assert scores.missing == ()
    assert evaluate([panel("a")], CASES).missing == ("b", "alone", "unread")


@pytest.mark.parametrize(("methods", "label"), [(("x", "y"), "x + y"), ((None, None), "unnamed")])
def test_the_first_row_is_named_after_the_methods(methods, label):
    panels = [panel(name, method=method) for name, method in zip("ab", methods, strict=True)]
    assert evaluate(panels, CASES).table[0].label == label


def test_volumes_are_scored_too():
    grid = Grid((3, 4, 5))
    samples, volume = panel("v", grid=grid), case("v", grid=grid)
    row = evaluate([samples], {"v": volume}).rows[0]
    assert row.values == pytest.approx(one_by_one(stack(samples.masks), stack(volume.raters)))


def test_panels_are_let_go_as_they_are_scored():
    alive: weakref.WeakSet[MaskSet] = weakref.WeakSet()
    most = 0

    def stream():
        nonlocal most
        for number in range(20):
            alive.add(drawn := panel(str(number)))
            most = max(most, len(alive))
            yield drawn
            del drawn

    evaluate(stream(), {str(number): case(str(number)) for number in range(20)})
    assert most <= 2


def test_no_panel_is_refused():
    with pytest.raises(InputError, match="expected at least one mask set, got none"):
        evaluate([], CASES)


def test_a_panel_of_an_unknown_case_is_refused_by_name():
    with pytest.raises(InputError, match="stranger: expected masks of one of the cases to be scored, got an unknown"):
        evaluate([panel("stranger")], CASES)


def test_a_second_panel_of_a_case_is_refused():
    with pytest.raises(InputError, match="a: expected one mask set a case, got a second one"):
        evaluate([panel("a"), panel("a")], CASES)


def test_panels_of_another_n_are_refused():
    with pytest.raises(InputError, match="b: expected 5 masks, as for a, got 4"):
        evaluate([panel("a"), panel("b", count=4)], CASES)


def test_another_size_is_refused_with_both_sizes():
    with pytest.raises(InputError, match="a: expected masks of size 9x7, got 7x9"):
        evaluate([panel("a", grid=Grid((7, 9)))], CASES)


def test_another_affine_is_refused():
    placed = {"a": case("a", grid=Grid.plane(SIZE, 1.0))}
    with pytest.raises(InputError, match="a: expected masks on the grid of the case, got another affine"):
        evaluate([panel("a", grid=Grid.plane(SIZE, 2.0))], placed)


def test_masks_without_an_affine_are_taken_to_lie_on_the_cases_grid():
    placed = {"a": case("a", grid=Grid.plane(SIZE, 1.0))}
    assert evaluate([panel("a")], placed).rows[0].name == "a"


def test_the_csv_gives_every_value_back(scores, tmp_path):
    write_scores(scores, tmp_path)
    with (tmp_path / "scores.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    rows = [
        CaseScores(
            line["name"],
            line["patient"] or None,
            int(line["readers"]),
            int(line["samples"]),
            {key: float(line[key] or "nan") for key in COLUMNS},
        )
        for line in read
    ]
    assert list(map(repr, rows)) == [
        repr(CaseScores(r.name, r.patient, r.readers, r.samples, {key: r.values[key] for key in COLUMNS}))
        for r in scores.rows
    ]


def refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def test_the_summary_states_what_was_scored_and_how(tmp_path):
    scores = evaluate([panel("a"), panel("alone")], CASES)
    write_scores(scores, tmp_path, digest="ab" * 32)
    summary = json.loads((tmp_path / "summary.json").read_text(), parse_constant=refuse)
    counts = ("data", "samples", "cases", "patients", "cases_without_patient", "missing")
    assert [summary[key] for key in counts] == ["ab" * 32, 5, 2, 2, 0, ["b", "unread"]]
    assert summary["mean"] == scores.mean
    assert summary["undefined"] == scores.undefined
    assert [row["label"] for row in summary["table"]] == [row.label for row in scores.table]
    assert summary["conventions"].keys() >= COLUMNS.keys()


def test_an_undefined_mean_is_null_in_the_summary(tmp_path):
    write_scores(evaluate([panel("alone")], CASES), tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text(), parse_constant=refuse)
    assert summary["mean"]["ged_u"] is None


def test_two_files_are_written_and_nothing_else(scores, tmp_path):
    write_scores(scores, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["scores.csv", "summary.json"]


def rendered(scores: Scores) -> str:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(render_table(scores))
    return console.export_text()


def test_the_table_states_n_cases_patients_and_missing(scores):
    assert "N = 5 samples · 4 cases · 2 patients\n" in rendered(scores).replace("  ", "")
    assert "3 without masks" in rendered(evaluate([panel("a")], CASES))


def test_the_table_shows_whole_labels_and_values_in_80_columns():
    values = dict.fromkeys(COLUMNS, -0.1234)
    row = CaseScores("a", None, 4, 16, values)
    text = rendered(Scores((row,), tuple(TableRow(label, 16, values) for label in ("cimd", *DEGENERATE)), ()))
    for label in DEGENERATE:
        assert any(line.startswith(label) and line.count("-0.123") == len(COLUMNS) for line in text.splitlines())
    assert "…" not in text
