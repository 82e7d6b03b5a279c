"""Changed datasets: the centre crop, counted by hand, and one reader a training case."""

import json
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from plurimask.datasets.changed import (
    Leaked,
    centre_crop,
    crop_case,
    crop_loss,
    few,
    grown,
    one_reader,
    split_as,
    split_as_trained,
    split_by_rule,
)
from plurimask.datasets.dataset import BY_HASH
from plurimask.datasets.splits import SplitRule, split_indices, split_of
from plurimask.errors import DatasetError, SettingsError
from plurimask.geometry import Grid
from plurimask.records import Case


class Listed:
    """Cases that are in memory, of a patient each unless told otherwise."""

    root = "listed"
    split_by = BY_HASH

    def __init__(self, cases, digest="d" * 64, sides=None):
        self.cases, self.digest, self.sides = cases, digest, sides or {}
        self.names, self.patients = tuple(case.name for case in cases), tuple(case.patient for case in cases)

    def __len__(self):
        return len(self.cases)

    def __getitem__(self, index):
        return self.cases[index]


def case(shape=(8, 6), grid=None, readers=None, **of):
    image = np.arange(math.prod(shape), dtype=np.float32).reshape(1, *shape)
    readers = np.zeros((2, *shape), dtype=bool) if readers is None else readers
    return Case(of.get("name", "a"), image, readers, grid or Grid(shape), of.get("patient"))


def mask(*pixels):
    drawn = np.zeros((8, 6), dtype=bool)
    for row, column in pixels:
        drawn[row, column] = True
    return drawn


def test_the_middle_is_kept_with_its_masks_where_it_lies():
    readers, grid = np.stack([mask((2, 1)), mask((5, 4), (0, 0))]), Grid.plane((8, 6), 0.5)
    cut = crop_case(case(readers=readers, grid=grid), 4)
    assert cut.image[0].tolist() == [[r * 6 + c for c in range(1, 5)] for r in range(2, 6)]
    assert np.argwhere(cut.readers).tolist() == [[0, 0, 0], [1, 3, 3]]
    np.testing.assert_allclose(cut.grid.affine @ (3, 2, 0, 1), grid.affine @ (5, 3, 0, 1))
    assert crop_case(case(), 4).grid.affine is None


def test_an_odd_surplus_loses_its_last_row():
    assert crop_case(case((5, 5)), 4).image[0, 0, 0] == 0


def test_a_case_of_that_size_stays():
    whole = case((4, 4), Grid.plane((4, 4), 2.0))
    cut = crop_case(whole, 4)
    np.testing.assert_array_equal(cut.image, whole.image)
    assert cut.grid.same_as(whole.grid)


def test_kind_names_patients_sides_and_length_stay():
    data = Listed([case(patient="p"), case(name="b")], sides={"p": "val"})
    cut = centre_crop(data, 4)
    assert (cut.root, cut.names, cut.patients) == ("listed", ("a", "b"), ("p", None))
    assert (cut.sides, len(cut)) == ({"p": "val"}, 2)
    assert cut[1].image.shape == (1, 4, 4)


def test_digest_tells_sizes_and_data_apart():
    one, other = Listed([case()]), Listed([case()], "e" * 64)
    assert len({one.digest, centre_crop(one, 4).digest, centre_crop(one, 2).digest, centre_crop(other, 4).digest}) == 4


@pytest.mark.parametrize(("shape", "got"), [((8, 6), "8x6"), ((8, 8, 8), "8x8x8")])
def test_a_smaller_image_and_a_volume_are_refused(shape, got):
    with pytest.raises(DatasetError, match=f"a: expected a plane image of at least 7x7 pixels, got {got}"):
        crop_case(case(shape), 7)


def test_a_size_of_nothing_is_refused():
    with pytest.raises(SettingsError, match="expected at least one pixel, got 0"):
        centre_crop(Listed([case()]), 0)


def test_loss_counted_by_hand():
    """Of 4 masks one is whole inside, one half, one outside, one empty: 3 drawn, 5 pixels, 2 of them lost."""
    first = case(readers=np.stack([mask((2, 1), (3, 2)), mask((4, 4), (4, 5))]))
    second = case(readers=np.stack([mask((7, 0)), mask()]))
    assert crop_loss([first, second], 4) == (3, pytest.approx(2 / 5), pytest.approx(2 / 3), pytest.approx(1 / 3))


@pytest.mark.parametrize("cases", [[case()], []])
def test_loss_of_nothing_is_undefined(cases):
    masks, *shares = crop_loss(cases, 4)
    assert masks == 0
    assert np.isnan(shares).all()


def many(count=400):
    """Cases of a patient each; reader k has drawn k + 1 pixels, the last one nothing."""
    readers = np.stack([mask(*((0, column) for column in range(drawn))) for drawn in (1, 2, 3, 0)])
    return Listed([case(readers=readers, name=f"case-{i}", patient=f"patient-{i}") for i in range(count)])


def test_training_cases_keep_one_reader_and_the_others_all():
    data = one_reader(many())
    kept = {(split_of(data.patients[index]), len(data[index].readers)) for index in range(len(data))}
    assert kept == {("train", 1), ("val", 4), ("test", 4)}
    np.testing.assert_array_equal(data[0].image, many()[0].image)


def test_each_reader_has_the_same_chance_and_nothing_drawn_is_a_reader():
    sizes = Counter(int(one.readers.sum()) for one in one_reader(many()) if len(one.readers) == 1)
    assert set(sizes) == {0, 1, 2, 3}
    expected = sizes.total() / 4
    # Three standard deviations of a binomial count.
    assert all(abs(count - expected) < 3 * (expected * 0.75) ** 0.5 for count in sizes.values())


def test_the_choice_of_a_reader_depends_on_the_case_alone():
    data, again = one_reader(many(40)), one_reader(many(80))
    assert all(np.array_equal(data[index].readers, again[index].readers) for index in range(40))


def test_who_drew_goes_with_the_mask():
    named = many(40)
    whose = [replace(one, drawn_by=tuple(f"r{slot}" for slot in range(len(one.readers)))) for one in named]
    data = one_reader(Listed(whose))
    assert all(len(data[index].drawn_by) == len(data[index].readers) for index in range(40))


def test_few_cases_are_seen_in_place_of_all_others_of_their_side():
    whole = Listed([replace(one, image=one.image + place) for place, one in enumerate(many(40))])
    sides, seen = {side: split_indices(whole, side) for side in ("train", "val", "test")}, {}
    for count in (1, 2, 3, len(whole)):
        changed = few(whole, count)
        images = [changed[index].image.tobytes() for index in sides["train"]]
        seen[count] = set(images)
        assert len(seen[count]) == min(count, len(images))
        assert [changed[index].name for index in sides["train"]] == [whole.names[index] for index in sides["train"]]
        assert all(changed[index] is whole[index] for side in ("val", "test") for index in sides[side])
    assert seen[1] < seen[2] < seen[3] < seen[len(whole)]


def test_the_digest_of_one_reader_is_another():
    assert one_reader(many()).digest != many().digest


def test_one_reader_of_a_case_without_patient_is_refused():
    with pytest.raises(DatasetError, match="expected a patient, since splits are by patient"):
        one_reader(Listed([case()]))


def sides_file(tmp_path, *lines, name="sides.csv"):
    path = tmp_path / name
    path.write_text("patient,side\n" + "\n".join(lines) + "\n")
    return path


def test_a_file_says_the_sides_in_place_of_hash_and_dataset(tmp_path):
    data = Listed([case(patient="p"), case(name="b", patient="q")], sides={"p": "val", "q": "val"})
    other = split_as(data, sides_file(tmp_path, "q,test", "p,train", "r,val"))
    assert (split_indices(other, "train"), split_indices(other, "test")) == ([0], [1])
    assert split_indices(centre_crop(other, 4), "test") == [1]
    assert (data.split_by, other.split_by, centre_crop(other, 4).split_by) == (BY_HASH, "sides.csv", "sides.csv")


def test_a_rule_gives_other_sides_and_the_usual_one_changes_nothing():
    data = Listed([case(name=name, patient=name) for name in "abc"])
    assert split_by_rule(data, SplitRule()) is data
    folds = [split_by_rule(data, SplitRule(folds=3), fold) for fold in (1, 2, 3)]
    assert sorted(index for fold in folds for index in split_indices(fold, "test")) == [0, 1, 2]
    assert len({fold.digest for fold in folds}) == 3


def test_sides_of_a_run_are_taken_as_far_as_the_data_has_its_patients(tmp_path):
    data = Listed([case(name=name, patient=name) for name in "abc"])
    sides = SplitRule(folds=3).sides("abc", 1)
    patients = {side: [one for one in sides if sides[one] == side] for side in ("train", "val", "test")}
    (tmp_path / "split.json").write_text(json.dumps({"rule": "fold 1", "patients": patients}))
    trained = split_as_trained(data, tmp_path)
    assert [data.patients[index] for index in split_indices(trained, "test")] == patients["test"]
    assert split_as_trained(trained, tmp_path) is trained
    others = Listed([case(patient="other")])
    assert split_as_trained(others, tmp_path) is others
    assert split_as_trained(data, tmp_path / "none") is data
    with pytest.raises(
        DatasetError, match=r"split\.json: expected the side of every patient .* got 1 without one; train on"
    ):
        split_as(others, tmp_path)


def test_the_digest_of_other_sides_depends_on_those_of_its_own_patients_alone(tmp_path):
    data = Listed([case(patient="p"), case(name="b", patient="q")])
    one = split_as(data, sides_file(tmp_path, "q,test", "p,train")).digest
    assert one == split_as(data, sides_file(tmp_path, "p,train", "r,val", "q,test", name="b.csv")).digest
    assert len({one, data.digest, split_as(data, sides_file(tmp_path, "q,train", "p,test")).digest}) == 3


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("Doe,train",), "expected the side of every patient of listed, .*, got 1 without one"),
        (("Doe,test", "Smith,val", "Doe,train"), "sides.csv, line 4: expected one side a patient, got train, and test"),
    ],
)
def test_a_file_that_gives_a_patient_no_side_or_two_is_refused_without_naming_one(tmp_path, lines, message):
    data = Listed([case(patient="Doe"), case(name="b", patient="Smith")])
    with pytest.raises(DatasetError, match=message) as caught:
        split_as(data, sides_file(tmp_path, *lines))
    assert not {"Smith", "Doe"} & set(str(caught.value).replace(",", " ").split())


def test_a_leaked_split_trains_on_unscored_cases_of_the_test_patients_in_place_of_as_many():
    """100 patients of 5 cases; two of each test patient are scored."""
    dataset = Listed([case(name=f"{p}-{k}", patient=f"p{p}") for p in range(100) for k in range(5)])
    test = [dataset.names[place] for place in split_indices(dataset, "test")]
    scored = {name for name in test if name[-1] in "01"}
    leaked = Leaked(dataset, scored)
    before, after = ({s: split_indices(d, s) for s in ("train", "val", "test")} for d in (dataset, leaked))
    names = [leaked.names[place] for place in after["train"]]
    assert len(after["train"]) == len(before["train"])
    assert after["val"] == before["val"]
    assert set(test) - set(names) == scored
    assert len(set(names) - set(test)) == len(before["train"]) - len(test) + len(scored)
    assert leaked.digest not in (dataset.digest, Leaked(dataset, set(test[:1])).digest)


def test_training_masks_grow_by_two_pixels_and_the_others_stay():
    readers = np.zeros((2, 9, 9), dtype=bool)
    readers[0, 4, 4] = True
    dataset = Listed([case((9, 9), readers=readers, name=f"c{p}", patient=f"p{p}") for p in range(100)])
    larger = grown(dataset)
    steps = np.abs(np.indices((9, 9)) - 4).sum(0)
    for side in ("train", "val", "test"):
        (first, second) = larger[split_indices(dataset, side)[0]].readers
        np.testing.assert_array_equal(first, steps <= (2 if side == "train" else 0))
        assert not second.any()
