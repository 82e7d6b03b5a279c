"""Cases of a dataset by name, read when asked for."""

import numpy as np
import pytest

from plurimask.datasets.dataset import CasesByName
from plurimask.geometry import Grid
from plurimask.records import Case


class Counted:
    """A dataset of three cases that notes which it was asked for."""

    root, digest = "counted", "0" * 64
    names, patients = ("x", "y", "z"), (None, None, None)

    def __init__(self) -> None:
        self.read: list[int] = []

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Case:
        self.read.append(index)
        empty = np.zeros((1, 2, 2), np.float32)
        return Case(self.names[index], empty, empty.astype(bool), Grid((2, 2)))


def test_all_cases_in_the_order_of_the_dataset_or_only_the_chosen_positions():
    assert list(CasesByName(Counted())) == ["x", "y", "z"]
    cases = CasesByName(Counted(), [2, 0])
    assert (list(cases), len(cases), "y" in cases) == (["z", "x"], 2, False)


def test_a_case_is_read_when_it_is_asked_for_and_not_before():
    dataset = Counted()
    cases = CasesByName(dataset)
    assert "z" in cases
    assert dataset.read == []
    assert cases["z"].name == "z"
    assert dataset.read == [2]


def test_another_name_is_a_key_error():
    with pytest.raises(KeyError, match="w"):
        CasesByName(Counted())["w"]
