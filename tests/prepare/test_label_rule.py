"""Values of labels: what is drawn by choice, and what needs one."""

import numpy as np
import pytest

from plurimask.errors import InputError, SettingsError
from plurimask.prepare.survey import ChosenLabel, shown


@pytest.mark.parametrize(
    ("label", "values", "drawn"),
    [
        (None, np.array([0, 1, 1], "u1"), [False, True, True]),
        (None, np.array([0, 255], "u1"), [False, True]),
        (None, np.array([0.0, 1.0]), [False, True]),
        (None, np.array([0.2, 0.7]), [False, True]),
        (None, np.array([0, 0], "u1"), [False, False]),
        (None, np.array([True, False]), [True, False]),
        ("2", np.array([0, 1, 2, 2], "u1"), [False, False, True, True]),
        ("2", np.array([0.0, 2.00001, 3.0]), [False, True, False]),
        ("0", np.array([0, 1], "u1"), [True, False]),
        ("-1", np.array([0, -1], "i2"), [False, True]),
        ("nonzero", np.array([0, 1, 7], "u1"), [False, True, True]),
    ],
)
def test_what_is_drawn(label, values, drawn):
    assert ChosenLabel(label)("a", values).tolist() == drawn


@pytest.mark.parametrize(
    "values",
    [np.array([0, 1, 2], "u1"), np.array([0, 2], "u1"), np.array([0, 128, 255], "u1"), np.array([0.0, 1.0, 2.0]),
     np.array([1, 2], "u1"), np.array([0, 255], "u2"), np.array([-1, 0], "i2")],
)  # fmt: skip
def test_classes_need_a_choice_and_are_named(values):
    listed = ", ".join(f"{value:g}" for value in values)
    with pytest.raises(SettingsError, match=rf"a\.png: expected labels of one class.*the values {listed}; choose one"):
        ChosenLabel()("a.png", values)


def test_the_refusal_says_what_to_do():
    with pytest.raises(
        SettingsError, match="--label 2, or all with --label nonzero; several classes at once are not s"
    ):
        ChosenLabel()("a.png", np.array([0, 1, 2]))


def test_a_jpeg_is_cut_at_the_middle_without_a_choice_and_refused_with_one():
    values = np.array([3, 120, 250], "u1")
    assert ChosenLabel()("a.jpg", values, lossy=True).tolist() == [False, False, True]
    with pytest.raises(SettingsError, match="expected labels without loss for --label, got a JPEG"):
        ChosenLabel("3")("a.jpg", values, lossy=True)


@pytest.mark.parametrize("label", [None, "1", "nonzero"])
def test_not_a_number_is_refused_whatever_was_chosen(label):
    with pytest.raises(InputError, match="got NaN or infinite values"):
        ChosenLabel(label)("a", np.array([0.0, np.nan]))


def test_another_word_is_refused():
    with pytest.raises(SettingsError, match="expected a number or nonzero, got 'tumour'"):
        ChosenLabel("tumour")


def test_a_value_that_no_label_holds_is_told(tmp_path):
    rule = ChosenLabel("3")
    rule("a", np.array([0, 1]))
    with pytest.raises(SettingsError, match="expected --label 3 in some label, got 0, 1; correct --label"):
        rule.check_drawn(tmp_path)


def test_a_value_that_one_label_holds_is_enough(tmp_path):
    rule = ChosenLabel("3")
    rule("a", np.array([0, 3]))
    rule("b", np.array([0, 1]))
    rule.check_drawn(tmp_path)
    assert rule.seen == {0, 1, 3}


def test_many_values_are_shown_in_part():
    assert shown({float(i) for i in range(9)}) == "0, 1, 2, 3, 4, 5, ..."
