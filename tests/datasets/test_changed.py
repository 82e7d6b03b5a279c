"""The centre crop: which pixels it keeps, where they lie, and what it takes away, counted by hand."""

import math
from collections import Counter
from types import MappingProxyType

import numpy as np
import pytest

from plurimask.datasets.changed import CentreCrop, OneReader, crop_case, crop_loss
from plurimask.datasets.splits import split_of
from plurimask.errors import DatasetError, SettingsError
from plurimask.geometry import Grid
from plurimask.records import Case


class Pair:
    """Two cases with their numbers as pixels, the second without spacing."""

    kind, names, patients, digest = "pair", ("a", "b"), ("p", None), "d" * 64
    sides = MappingProxyType({"p": "val"})

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return case(grid=Grid.plane((8, 6), 0.5) if index == 0 else Grid((8, 6)))


def case(shape=(8, 6), grid=None, readers=None):
    image = np.arange(math.prod(shape), dtype=np.float32).reshape(1, *shape)
    readers = np.zeros((2, *shape), dtype=bool) if readers is None else readers
    return Case("a", image, readers, grid or Grid(shape))


def mask(*pixels):
    drawn = np.zeros((8, 6), dtype=bool)
    for row, column in pixels:
        drawn[row, column] = True
    return drawn


def test_the_middle_is_kept():
    assert crop_case(case(), 4).image[0].tolist() == [[r * 6 + c for c in range(1, 5)] for r in range(2, 6)]


def test_masks_are_cut_with_their_image():
    readers = np.stack([mask((2, 1)), mask((5, 4), (0, 0))])
    cut = crop_case(case(readers=readers), 4).readers
    assert np.argwhere(cut).tolist() == [[0, 0, 0], [1, 3, 3]]


def test_pixels_stay_where_they_lie():
    whole = Pair()[0].grid
    cut = crop_case(Pair()[0], 4).grid
    np.testing.assert_allclose(cut.affine @ (0, 0, 0, 1), whole.affine @ (2, 1, 0, 1))
    np.testing.assert_allclose(cut.affine @ (3, 2, 0, 1), whole.affine @ (5, 3, 0, 1))


def test_unknown_spacing_stays_unknown():
    assert CentreCrop(Pair(), 4)[1].grid.affine is None


def test_an_odd_surplus_loses_its_last_row():
    assert crop_case(case((5, 5)), 4).image[0, 0, 0] == 0


def test_a_case_of_that_size_stays():
    whole = case((4, 4), Grid.plane((4, 4), 2.0))
    cut = crop_case(whole, 4)
    np.testing.assert_array_equal(cut.image, whole.image)
    assert cut.grid.same_as(whole.grid)


def test_names_patients_and_length_stay():
    cut = CentreCrop(Pair(), 4)
    assert (cut.kind, cut.names, cut.patients, cut.sides, len(cut)) == (
        "pair",
        ("a", "b"),
        ("p", None),
        {"p": "val"},
        2,
    )


def test_digest_tells_sizes_and_data_apart():
    other = Pair()
    other.digest = "e" * 64
    assert len({CentreCrop(Pair(), 4).digest, CentreCrop(Pair(), 2).digest, CentreCrop(other, 4).digest}) == 3


def test_a_smaller_image_is_refused():
    with pytest.raises(DatasetError, match="a: expected a plane image of at least 7x7 pixels, got 8x6"):
        crop_case(case(), 7)


def test_a_volume_is_refused():
    volume = Case("v", np.zeros((1, 4, 4, 4), np.float32), np.zeros((0, 4, 4, 4), bool), Grid((4, 4, 4)))
    with pytest.raises(DatasetError, match="v: expected a plane image"):
        crop_case(volume, 2)


def test_a_size_of_nothing_is_refused():
    with pytest.raises(SettingsError, match="expected at least one pixel, got 0"):
        CentreCrop(Pair(), 0)


def test_loss_counted_by_hand():
    """Of 4 masks one is whole inside, one half, one outside, one empty: 3 drawn, 5 pixels, 2 of them lost."""
    first = case(readers=np.stack([mask((2, 1), (3, 2)), mask((4, 4), (4, 5))]))
    second = case(readers=np.stack([mask((7, 0)), mask()]))
    loss = crop_loss([first, second], 4)
    assert loss.masks == 3
    assert loss.pixels == pytest.approx(2 / 5)
    assert loss.cut == pytest.approx(2 / 3)
    assert loss.gone == pytest.approx(1 / 3)


def test_loss_of_nothing_is_undefined():
    loss = crop_loss([case()], 4)
    assert loss.masks == 0
    assert math.isnan(loss.pixels)
    assert math.isnan(crop_loss([], 4).cut)


# --- One reader a training case: which cases keep how many, each reader with the same chance.


class Many:
    """Cases of a patient each; reader k has drawn k + 1 pixels, the last one nothing."""

    kind, digest = "many", "d" * 64

    def __init__(self, count=400, patients=True):
        self.names = tuple(f"case-{index}" for index in range(count))
        self.patients = tuple(f"patient-{index}" if patients else None for index in range(count))
        self.sides = {}

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        readers = np.zeros((4, 2, 2), dtype=bool)
        for reader in range(3):
            readers[reader].flat[: reader + 1] = True
        return Case(self.names[index], np.zeros((1, 2, 2), np.float32), readers, Grid((2, 2)), self.patients[index])


def test_training_cases_keep_one_and_the_others_all():
    data = OneReader(Many())
    kept = {(split_of(data.patients[index]), len(data[index].readers)) for index in range(len(data))}
    assert kept == {("train", 1), ("val", 4), ("test", 4)}


def test_each_reader_has_the_same_chance_and_nothing_drawn_is_a_reader():
    data = OneReader(Many())
    sizes = Counter(int(data[index].readers.sum()) for index in range(len(data)) if len(data[index].readers) == 1)
    assert set(sizes) == {0, 1, 2, 3}
    expected = sizes.total() / 4
    # Three standard deviations of a binomial count.
    assert all(abs(count - expected) < 3 * (expected * 0.75) ** 0.5 for count in sizes.values())


def test_the_choice_is_the_same_at_every_reading():
    data = OneReader(Many(40))
    again = OneReader(Many(80))
    assert all(np.array_equal(data[index].readers, again[index].readers) for index in range(40))


def test_image_patient_and_name_stay():
    case, whole = OneReader(Many())[0], Many()[0]
    assert (case.name, case.patient) == (whole.name, whole.patient)
    np.testing.assert_array_equal(case.image, whole.image)


def test_digest_differs_from_the_whole_data():
    assert OneReader(Many()).digest != Many().digest


def test_a_case_without_patient_is_refused():
    with pytest.raises(DatasetError, match="expected a patient, since splits are by patient"):
        OneReader(Many(patients=False))
