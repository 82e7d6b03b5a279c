"""Values of labels: what is drawn by choice, and what needs one."""

import numpy as np
import pytest

from plurimask.errors import InputError, SettingsError
from plurimask.geometry import Grid
from plurimask.prepare.survey import ChosenLabel, agreement, shown, suspicions
from plurimask.records import Case


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
    for values in ([0, 3], [0, 1]):
        rule("a", np.array(values))
    rule.check_drawn(tmp_path)
    assert rule.seen == {0, 1, 3}


def test_many_values_are_shown_in_part():
    assert shown({float(i) for i in range(9)}) == "0, 1, 2, 3, 4, 5, ..."


# --- What looks wrong: each fault is found where it was planted, and nothing is found in sound data.


def blob(shape=(40, 40), corner=(6, 20), extent=(12, 7)):
    """An L, so that no turn of it is itself."""
    mask = np.zeros(shape, dtype=bool)
    (row, column), (rows, columns) = corner, extent
    mask[row : row + rows, column : column + 3] = True
    mask[row : row + 3, column : column + columns] = True
    return mask


def case(*masks, image=None):
    shape = masks[0].shape
    values = np.random.default_rng(0).random((1, *shape)).astype(np.float32) if image is None else image
    return Case("a", values, np.array(masks), Grid(shape))


def kinds(one):
    return [found.partition(":")[0] for found in suspicions(one, range(len(one.readers)))]


def test_agreement_by_hand():
    a, b, none = np.zeros((3, 4, 4), dtype=bool)
    a[0, :4], b[0, 2:4], b[1, :2] = True, True, True
    found = agreement(np.array([a, b]))
    assert (found.dice, found.iou, found.empty) == (0.5, pytest.approx(1 / 3), 0)
    found = agreement(np.array([a, none, none]))
    assert (found.dice, found.empty) == (pytest.approx(1 / 3), pytest.approx(2 / 3))


@pytest.mark.parametrize("count", [0, 1])
def test_one_reader_agrees_with_nobody(count):
    assert np.isnan(agreement(np.ones((count, 4, 4), dtype=bool)).dice)


def test_readers_who_agree_are_left_alone():
    other = blob()
    other[5] |= other[6]
    assert kinds(case(blob(), other, np.zeros_like(other))) == []


def test_a_shift_is_found_with_its_size():
    (found,) = suspicions(case(blob(), np.roll(blob(), (9, -9), (0, 1))), [0, 3])
    assert found == "shifted: readers 0 and 3: Dice 0.00, but 1.00 with reader 3 moved by (-9, 9)"


@pytest.mark.parametrize(
    ("turn", "how"),
    [
        (np.transpose, "transposed"),
        (lambda mask: mask[::-1], "flipped along axis 0"),
        (lambda mask: mask[:, ::-1], "flipped along axis 1"),
        (np.rot90, "transposed and flipped along axis"),
    ],
)
def test_a_turn_is_found_and_named(turn, how):
    (found,) = suspicions(case(blob(), turn(blob())), [0, 1])
    assert found.startswith("swapped axes: ")
    assert f"1.00 with reader 1 {how}" in found


def test_a_flip_of_slices_is_found_in_a_volume():
    volume = np.zeros((20, 18, 10), dtype=bool)
    volume[..., 2], volume[..., 3] = blob((20, 18), (4, 5)), blob((20, 18), (4, 5), (5, 4))
    (found,) = suspicions(case(volume, volume[..., ::-1]), [0, 1])
    assert "flipped along axis 2" in found


def test_readers_who_mark_different_things_of_other_forms_are_left_alone():
    assert kinds(case(blob(corner=(2, 2), extent=(4, 4)), blob(corner=(15, 12), extent=(22, 20)))) == []


def test_a_mask_off_the_body_is_found():
    image = np.zeros((1, 40, 40), dtype=np.float32)
    image[0, 10:30, 10:30] = np.random.default_rng(0).uniform(50, 100, (20, 20))
    inside, outside = blob(corner=(14, 14)), blob(corner=(0, 32), extent=(12, 5))
    found = [one for one in suspicions(case(inside, outside, image=image), [0, 1]) if one.startswith("off the body")]
    assert found == ["off the body: reader 1: 100% of the mask lies where the image is dark"]


def test_dark_within_the_body_is_body():
    image = np.full((1, 40, 40), 100, dtype=np.float32)
    image[0, 10:30, 10:30] = 0
    assert kinds(case(blob(corner=(12, 12)), image=image)) == []


def test_a_flat_image_has_no_outside():
    assert kinds(case(blob(), image=np.zeros((1, 40, 40), np.float32))) == []
