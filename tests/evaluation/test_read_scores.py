"""Scores read back as they were written."""

import math

import pytest
import torch
from small_panels import CASES, case, panel

from plurimask.errors import InputError
from plurimask.evaluation import COLUMNS, compare, evaluate, read_scores, write_scores

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
    assert (read.missing, dict(read.units), read.drawn) == (whole.missing, dict(whole.units), whole.drawn)


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
