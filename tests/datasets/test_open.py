"""The dataset at a path, and a choice of its cases."""

import pytest
from tiny import write_cases

from plurimask.datasets.open import choose_cases, open_dataset
from plurimask.datasets.splits import split_of
from plurimask.errors import DatasetError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_cases(tmp_path_factory.mktemp("cases"), count=20)


def test_a_folder_of_cases_is_a_case_folder(folder):
    assert open_dataset(folder).kind == "case-folder"


def test_no_folder_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="expected a dataset folder, got no folder"):
        open_dataset(tmp_path / "absent")


def test_a_folder_with_index_and_masks_is_a_release_of_slices(tmp_path):
    (tmp_path / "index.csv").write_text("nothing of use")
    (tmp_path / "masks.npz").write_bytes(b"nothing of use")
    with pytest.raises(DatasetError, match=r"masks\.npz: expected an archive"):
        open_dataset(tmp_path)


def test_one_side_of_a_dataset(folder):
    chosen = choose_cases(open_dataset(folder), "val", None)
    assert {split_of(case.patient) for case in chosen.values()} == {"val"}


def test_a_table_of_sides_is_its_folder_with_that_split(folder):
    sides = [f"patient-{i},{'val' if i == 7 else 'train'}" for i in range(20)]
    (folder / "fold-1.csv").write_text("\n".join(["patient,side", *sides]))
    assert list(choose_cases(open_dataset(folder / "fold-1.csv"), "val", None)) == ["case-07"]


def test_a_limit_takes_that_many(folder):
    assert len(choose_cases(open_dataset(folder), "all", 7)) == 7


def test_a_limit_above_the_number_takes_all(folder):
    assert len(choose_cases(open_dataset(folder), "all", 70)) == 20


def test_names_choose_exactly_these_cases_in_their_order(folder):
    assert list(choose_cases(open_dataset(folder), "all", None, ["case-07", "case-03"])) == ["case-07", "case-03"]


def test_a_limit_takes_the_first_names(folder):
    assert list(choose_cases(open_dataset(folder), "all", 2, ["case-07", "case-03", "case-05"])) == [
        "case-07",
        "case-03",
    ]


def test_names_that_the_dataset_lacks_are_counted_and_refused(folder):
    with pytest.raises(DatasetError, match="all 3 listed cases in the dataset, got 2 that are not, first case-99"):
        choose_cases(open_dataset(folder), "all", 1, ["case-07", "case-99", "case-98"])


def test_names_on_another_side_of_the_split_are_refused(folder):
    dataset = open_dataset(folder)
    train, val = (next(iter(choose_cases(dataset, side, None))) for side in ("train", "val"))
    with pytest.raises(DatasetError, match=f"all 2 listed cases on the val side, got 1 that are not, first {train}"):
        choose_cases(dataset, "val", None, [val, train])


def test_names_on_the_side_asked_for_are_taken(folder):
    dataset = open_dataset(folder)
    names = list(choose_cases(dataset, "train", None))[::-1]
    assert list(choose_cases(dataset, "train", None, names)) == names
