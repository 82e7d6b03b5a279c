"""Values of labels: what is drawn by choice, and what needs one."""

import numpy as np
import pytest

from plurimask.errors import InputError, SettingsError
from plurimask.files.images import binarise
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
    with pytest.raises(InputError, match=rf"a\.png: expected labels of one class.*the values {listed}; choose one"):
        ChosenLabel()("a.png", values)


def test_one_file_that_needs_a_choice_is_passed_over_and_many_end_the_run(tmp_path):
    rule = ChosenLabel()
    for number in range(20):
        rule(f"{number}.png", np.array([0, 1], "u1"))
    for number in range(3):
        rule.check(tmp_path)
        with pytest.raises(InputError, match=f"c{number}: expected labels of one class"):
            rule(f"c{number}", np.array([0, 1, 2], "u1"))
    with pytest.raises(SettingsError, match="c0: expected labels of one class"):
        rule.check(tmp_path)


SMOOTH = np.round(np.linspace(0, 255, 256)).astype("u1")


@pytest.mark.parametrize("label", [None, "half"])
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_smoothed_masks_are_cut_as_a_dataset_cuts_them_and_told(label, dtype):
    values = (SMOOTH / 255).astype(dtype) if dtype == "f4" else SMOOTH.astype(dtype) * (1 if dtype == "u1" else 257)
    rule = ChosenLabel(label)
    np.testing.assert_array_equal(rule("a.png", values), binarise("a.png", values))
    most = {"u1": 255, "u2": 65535, "f4": 1}[dtype]
    (told,) = rule.questions()
    # 128 of 256 values are drawn; the maximum alone is 1 of them, and 255 are not 0.
    assert told.endswith(f"what lies above half of it, whose Dice with --label {most} 0.02, with --label nonzero 0.67")


def test_another_cut_of_smoothed_masks_is_told_too():
    rule = ChosenLabel("255")
    assert rule("a.png", SMOOTH).sum() == 1
    assert rule.questions()[0].endswith(
        "as --label 255 says, whose Dice with --label half 0.02, with --label nonzero 0.01"
    )


def test_half_of_an_empty_smoothed_mask_is_nothing():
    assert not ChosenLabel("half")("a.png", np.array([0, 3, 90], "u1")).any()


@pytest.mark.parametrize(("most", "odd"), [(255, 254), (255, 3), (1, None), (255, None)])
def test_an_odd_voxel_is_told_and_cut_as_elsewhere(most, odd):
    values = np.repeat([0, most, most if odd is None else odd], [400, 99, 1]).astype("u1")
    rule = ChosenLabel()
    np.testing.assert_array_equal(rule("a.png", values), binarise("a.png", values))
    assert rule.questions() == ([] if odd is None else [f"a.png: 1 voxels of {odd} beside 0 and 255"])


def test_an_odd_voxel_that_would_leave_nothing_of_a_mask_needs_a_choice():
    with pytest.raises(InputError, match="got the values 0, 1, 255; choose one with --label 255"):
        ChosenLabel()("a.png", np.repeat([0, 1, 255], [400, 99, 1]).astype("u1"))


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
    with pytest.raises(SettingsError, match="expected a number, nonzero or half, got 'tumour'"):
        ChosenLabel("tumour")


def test_a_value_that_no_label_holds_is_told(tmp_path):
    rule = ChosenLabel("3")
    rule("a", np.array([0, 1]))
    with pytest.raises(SettingsError, match="expected --label 3 in some label, got 0, 1; correct --label"):
        rule.check(tmp_path)


def test_a_value_that_one_label_holds_is_enough(tmp_path):
    rule = ChosenLabel("3")
    for values in ([0, 3], [0, 1]):
        rule("a", np.array(values))
    rule.check(tmp_path)
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
