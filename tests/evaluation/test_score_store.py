"""What an evaluation writes: everything that was scored, and how; and read back as it was written."""

import csv
import json
import math
from dataclasses import replace

import pytest
import torch
from small_panels import CASES, case, panel

from plurimask.errors import InputError
from plurimask.evaluation import COLUMNS, CaseScores, Scores, compare, evaluate, read_scores, write_scores
from plurimask.evaluation.columns import LATER
from plurimask.metrics.conventions import CONVENTIONS
from plurimask.settings import parse


@pytest.fixture(scope="module")
def scores() -> Scores:
    return evaluate([panel(name) for name in ("a", "b", "alone", "unread")], CASES)


def refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def read(path):
    return json.loads(path.read_text(), parse_constant=refuse)


def number(text: str) -> float:
    return float(text or "nan")


def test_the_csv_gives_every_value_back(scores, tmp_path):
    write_scores(scores, tmp_path)
    with (tmp_path / "scores.csv").open(newline="") as file:
        rows = [
            CaseScores(
                name=line["name"],
                patient=line["patient"] or None,
                readers=int(line["readers"]),
                drawn=int(line["drawn"]),
                size=number(line["size"]),
                samples=int(line["samples"]),
                values={key: number(line[key]) for key in scores.rows[0].values},
            )
            for line in csv.DictReader(file)
        ]
    assert list(map(repr, rows)) == list(map(repr, scores.rows))


def test_the_summary_states_what_was_scored_and_how(tmp_path):
    scores = evaluate([panel("a"), panel("alone")], CASES)
    write_scores(scores, tmp_path, {"digest": "ab" * 32, "split": "test"})
    summary = read(tmp_path / "summary.json")
    counts = ("samples", "cases", "patients", "cases_without_patient", "missing")
    assert [summary[key] for key in counts] == [5, 2, 2, 0, ["b", "unread"]]
    assert summary["data"] == {"digest": "ab" * 32, "split": "test"}
    assert summary["drawn"] == [{"method": "toy", "checkpoint": None, "settings": {}}]
    assert summary["bootstrap"] == {"draws": 10_000, "level": 0.95, "seed": 0, "unit": "patient"}
    assert {key: math.nan if value is None else value for key, value in summary["mean"].items()} == pytest.approx(
        dict(scores.mean), nan_ok=True
    )
    assert summary["undefined"] == scores.undefined


def test_the_summary_states_every_convention_and_those_of_others(scores, tmp_path):
    write_scores(scores, tmp_path)
    summary = read(tmp_path / "summary.json")
    assert summary["conventions"].keys() >= COLUMNS.keys()
    assert [row["label"] for row in summary["as_counted_by_others"]] == list(CONVENTIONS)
    assert all(row["source"] and row["differs"] for row in summary["as_counted_by_others"])


def test_every_row_has_means_and_intervals(scores, tmp_path):
    write_scores(scores, tmp_path)
    for written, row in zip(read(tmp_path / "summary.json")["table"], scores.table, strict=True):
        assert (written["label"], written["mean"]["ged_v" if row.label != "reader left out" else "hm_iou"]) == (
            row.label,
            row.values["ged_v" if row.label != "reader left out" else "hm_iou"],
        )
        assert {key: tuple(ends) for key, ends in written["interval"].items() if None not in ends} == {
            key: ends for key, ends in row.intervals.items() if ends[0] == ends[0]
        }


def test_an_undefined_mean_is_null_in_the_summary(tmp_path):
    write_scores(evaluate([panel("alone")], CASES), tmp_path)
    assert read(tmp_path / "summary.json")["mean"]["ged_u"] is None


def test_two_files_are_written_and_nothing_else(scores, tmp_path):
    write_scores(scores, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["scores.csv", "summary.json"]


def test_a_comparison_is_written_with_its_difference(scores, tmp_path):
    write_scores(scores, tmp_path, comparison=compare(scores, scores))
    written = read(tmp_path / "comparison.json")
    assert (written["cases"], written["difference"]["mean"]["ci"]) == (4, 0)
    assert written["conventions"].keys() >= COLUMNS.keys()


def test_the_comparison_of_an_earlier_run_does_not_stay(scores, tmp_path):
    write_scores(scores, tmp_path, comparison=compare(scores, scores))
    write_scores(scores, tmp_path)
    assert not (tmp_path / "comparison.json").exists()


def test_each_mean_stands_with_the_number_of_cases_behind_it(scores, tmp_path):
    write_scores(scores, tmp_path)
    own = read(tmp_path / "summary.json")["table"][0]
    assert own["cases"] == {key: 4 - count for key, count in scores.undefined.items()}


PATIENTS = {name: case(name, patient=f"p{name}") for name in "abc"}


def alike(one, two):
    """Equal, where NaN is NaN."""
    return one == two or (isinstance(one, float) and math.isnan(one) and math.isnan(two))


@pytest.fixture(params=[PATIENTS, CASES], ids=["all read", "one unread"])
def stored(request, tmp_path):
    whole = evaluate([panel(name) for name in request.param], request.param)
    write_scores(whole, tmp_path)
    return whole, read_scores(tmp_path)


def test_rows_come_back_to_the_last_bit(stored):
    whole, read = stored
    for one, two in zip(whole.rows, read.rows, strict=True):
        assert (one.name, one.patient, one.readers, one.drawn, one.samples) == (
            two.name,
            two.patient,
            two.readers,
            two.drawn,
            two.samples,
        )
        assert alike(one.size, two.size)
        assert all(alike(one.values[key], two.values[key]) for key in COLUMNS)


def test_the_table_comes_back(stored):
    whole, read = stored
    for one, two in zip(whole.table, read.table, strict=True):
        assert (one.label, one.samples, one.cases) == (two.label, two.samples, two.cases)
        assert all(alike(one.values[key], two.values[key]) for key in [*one.values, *two.values])
        assert all(
            alike(a, b) for key in one.values for a, b in zip(one.intervals[key], two.intervals[key], strict=True)
        )


def test_the_reliability_curve_comes_back(stored):
    whole, read = stored
    for name in ("weight", "predicted", "drawn"):
        torch.testing.assert_close(getattr(read.reliability, name), getattr(whole.reliability, name))


def test_the_rest_comes_back(stored):
    whole, read = stored
    assert read.ranks == pytest.approx(whole.ranks)
    assert (read.missing, dict(read.units), read.drawn) == (whole.missing, dict(whole.units), whole.drawn)


def test_scores_of_earlier_versions_lack_what_came_later(scores, tmp_path):
    write_scores(scores, tmp_path)
    with (tmp_path / "scores.csv").open(newline="") as file:
        rows = [{key: value for key, value in line.items() if key not in LATER} for line in csv.DictReader(file)]
    with (tmp_path / "scores.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    summary = read(tmp_path / "summary.json")
    for key, values in ((key, summary["table"][0][part]) for key in LATER for part in ("mean", "interval", "cases")):
        del values[key]
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    found = read_scores(tmp_path)
    assert all(math.isnan(found.mean[key]) and math.isnan(found.rows[0].values[key]) for key in LATER)
    assert found.mean["ged_u"] == scores.mean["ged_u"]


def test_scores_that_are_written_again_while_they_are_read_are_of_one_writing(tmp_path, monkeypatch):
    drawn = panel("a")
    first, second = (evaluate([replace(drawn, masks=masks)], CASES) for masks in (drawn.masks, ~drawn.masks))
    write_scores(first, tmp_path)
    parsed = []

    def overtaken(*args):
        found = parse(*args)
        if not parsed:
            write_scores(second, tmp_path)
        parsed.append(found)
        return found

    monkeypatch.setattr("plurimask.evaluation.store.parse", overtaken)
    found = read_scores(tmp_path)
    assert len(parsed) == 2
    assert found.table[0].values["ged_v"] == second.table[0].values["ged_v"] == found.rows[0].values["ged_v"]
    assert first.table[0].values["ged_v"] != second.table[0].values["ged_v"]


def test_a_comparison_of_what_was_read_is_that_of_what_was_written(stored):
    whole, read = stored
    assert repr(compare(read, read).difference) == repr(compare(whole, whole).difference)


@pytest.mark.parametrize("file", ["scores.csv", "summary.json"])
@pytest.mark.parametrize("length", [0, 150])
def test_files_cut_short_are_refused_by_the_name_of_their_folder(tmp_path, file, length):
    write_scores(evaluate([panel("a")], PATIENTS), tmp_path / "n16")
    whole = (tmp_path / "n16" / file).read_text()
    (tmp_path / "n16" / file).write_text(whole[:length])
    with pytest.raises(InputError, match=r"n16: expected scores as plurimask writes them, got .*; score them again"):
        read_scores(tmp_path / "n16")


def in_summary(change):
    """A change of what summary.json says, as a function of a folder of scores."""

    def changed(folder):
        told = read(folder / "summary.json")
        change(told)
        (folder / "summary.json").write_text(json.dumps(told))

    return changed


def in_csv(old, new):
    """Another text in scores.csv."""

    def changed(folder):
        path = folder / "scores.csv"
        path.write_text(path.read_text().replace(old, new, 1))

    return changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (in_summary(lambda told: told.update(units=["mm"])), r"summary\.json: units: expected a table"),
        (
            in_summary(lambda told: told["table"][0]["mean"].update(ged_v="low")),
            r"mean.*: expected a number, got 'low'",
        ),
        (
            in_summary(lambda told: told["table"][0].update(samples=0)),
            r"samples: expected a number of at least 1, got 0",
        ),
        (in_summary(lambda told: told["table"][0]["interval"].update(ci=[1])), r"interval"),
        (in_summary(lambda told: told["table"][0]["mean"].pop("ci")), "a table without some of the values"),
        (in_summary(lambda told: told.update(table=[])), "table: expected 1 or more values"),
        (in_summary(lambda told: told.update(drawn=5)), "drawn: expected a list, got 5"),
        (in_summary(lambda told: told["reliability"]["voxels"].pop()), "expected scores as plurimask writes them"),
        (in_summary(lambda told: told.update(cases=True)), "1 of 1 cases|of 1 cases|expected"),
        (in_csv("a,pa,", "a,pa,-"), "expected scores as plurimask writes them"),
        (
            lambda folder: (folder / "summary.json").write_text("[" * 100_000),
            "expected scores as plurimask writes them",
        ),
        (lambda folder: (folder / "summary.json").write_text("9" * 5000), "expected "),
        (
            lambda folder: (folder / "scores.csv").unlink(),
            "expected scores as plurimask writes them, got 'No such file",
        ),
        (lambda folder: link_to_itself(folder / "summary.json"), "Too many levels of symbolic links"),
    ],
)
def test_odd_values_are_refused_by_name(tmp_path, change, message):
    write_scores(evaluate([panel(name) for name in "ab"], {name: PATIENTS[name] for name in "ab"}), tmp_path / "n16")
    change(tmp_path / "n16")
    with pytest.raises(InputError, match=rf"n16.*{message}"):
        read_scores(tmp_path / "n16")


def link_to_itself(path):
    path.unlink()
    path.symlink_to(path)


NAMES = ["=1+1", "+x", "-x", "@x", "\tx", "'=x", "'x", "''-x", "-5", "1e3", "=cmd|' /C calc'!A0", "a,=b"]


def test_text_that_a_spreadsheet_would_run_is_escaped_and_comes_back_unchanged(tmp_path):
    cases = {name: case(name, patient=f"{name} ") for name in NAMES}
    whole = evaluate([panel(name) for name in NAMES], cases)
    write_scores(whole, tmp_path)
    with (tmp_path / "scores.csv").open(newline="") as file:
        cells = [cell for row in list(csv.reader(file))[1:] for cell in row]
    assert not [cell for cell in cells if cell[:1] in "=@\t\r" and cell]
    assert not [cell for cell in cells if cell[:1] in ("+", "-") and math.isnan(number_or_nan(cell))]
    again = read_scores(tmp_path)
    assert [(row.name, row.patient) for row in again.rows] == [(row.name, row.patient) for row in whole.rows]


def number_or_nan(text):
    try:
        return float(text)
    except ValueError:
        return math.nan


def test_negative_numbers_stay_numbers(tmp_path):
    whole = evaluate([panel("a")], PATIENTS)
    row = replace(whole.rows[0], values=dict(whole.rows[0].values) | {"ged_u": -0.25})
    write_scores(replace(whole, rows=(row,)), tmp_path)
    with (tmp_path / "scores.csv").open(newline="") as file:
        (written,) = csv.DictReader(file)
    assert written["ged_u"] == "-0.25"
    assert read_scores(tmp_path).rows[0].values["ged_u"] == -0.25
