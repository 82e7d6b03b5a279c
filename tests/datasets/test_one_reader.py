"""One reader a training case: which cases keep how many, each reader with the same chance."""

from collections import Counter

import numpy as np
import pytest

from plurimask.datasets.changed import OneReader
from plurimask.datasets.splits import split_of
from plurimask.errors import DatasetError
from plurimask.geometry import Grid
from plurimask.records import Case


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
        raters = np.zeros((4, 2, 2), dtype=bool)
        for reader in range(3):
            raters[reader].flat[: reader + 1] = True
        return Case(self.names[index], np.zeros((1, 2, 2), np.float32), raters, Grid((2, 2)), self.patients[index])


def test_training_cases_keep_one_and_the_others_all():
    data = OneReader(Many())
    kept = {(split_of(data.patients[index]), len(data[index].raters)) for index in range(len(data))}
    assert kept == {("train", 1), ("val", 4), ("test", 4)}


def test_each_reader_has_the_same_chance_and_nothing_drawn_is_a_reader():
    data = OneReader(Many())
    sizes = Counter(int(data[index].raters.sum()) for index in range(len(data)) if len(data[index].raters) == 1)
    assert set(sizes) == {0, 1, 2, 3}
    expected = sizes.total() / 4
    # Three standard deviations of a binomial count.
    assert all(abs(count - expected) < 3 * (expected * 0.75) ** 0.5 for count in sizes.values())


def test_the_choice_is_the_same_at_every_reading():
    data = OneReader(Many(40))
    again = OneReader(Many(80))
    assert all(np.array_equal(data[index].raters, again[index].raters) for index in range(40))


def test_image_patient_and_name_stay():
    case, whole = OneReader(Many())[0], Many()[0]
    assert (case.name, case.patient) == (whole.name, whole.patient)
    np.testing.assert_array_equal(case.image, whole.image)


def test_digest_differs_from_the_whole_data():
    assert OneReader(Many()).digest != Many().digest


def test_a_case_without_patient_is_refused():
    with pytest.raises(DatasetError, match="expected a patient, since splits are by patient"):
        OneReader(Many(patients=False))
