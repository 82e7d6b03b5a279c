"""What lies at a path: dataset, case or image; and a choice of its cases."""

import numpy as np
import pytest
from tiny import image, write_cases

from plurimask.datasets.open import cases_at, choose_cases, open_dataset
from plurimask.datasets.splits import split_of
from plurimask.errors import DatasetError, InputError


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
    assert list(cases_at([folder / "fold-1.csv"], "val")) == ["case-07"]


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


def test_a_dataset_path_gives_all_its_cases(folder):
    cases = cases_at([folder])
    assert [read().name for read in cases.values()] == list(cases) == [f"case-{i:02d}" for i in range(20)]


def test_a_case_path_gives_that_case_with_its_readers(folder):
    ((name, read),) = cases_at([folder / "case-03"]).items()
    assert (name, read().name, read().raters.shape) == ("case-03", "case-03", (2, 16, 16))


def test_an_image_path_gives_an_image_that_nobody_read(tmp_path):
    np.save(tmp_path / "scan.npy", image()[0])
    ((name, read),) = cases_at([tmp_path / "scan.npy"]).items()
    assert (name, read().name, len(read().raters)) == ("scan", "scan", 0)
    np.testing.assert_array_equal(read().image, image())


def test_split_and_limit_choose_from_a_dataset(folder):
    cases = cases_at([folder], "train", 3)
    assert len(cases) == 3
    assert {split_of(read().patient) for read in cases.values()} == {"train"}


def test_names_choose_from_a_dataset(folder):
    assert list(cases_at([folder], names=["case-07", "case-03"])) == ["case-07", "case-03"]


def test_several_paths_are_joined(folder):
    assert list(cases_at([folder / "case-07", folder / "case-03"])) == ["case-07", "case-03"]


def test_two_cases_of_one_name_are_refused_before_anything_is_read(folder):
    with pytest.raises(InputError, match="case-03: expected one case of this name, got a second one"):
        cases_at([folder / "case-03", folder])


def test_a_path_where_nothing_lies_is_refused(tmp_path):
    with pytest.raises(InputError, match="expected an image, a case's folder or a dataset, got nothing there"):
        cases_at([tmp_path / "nowhere"])
