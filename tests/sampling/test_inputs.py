"""What is to be drawn at some paths, and what does not go together."""

import numpy as np
import pytest
from tiny import write_cases

from plurimask.datasets.splits import split_of
from plurimask.errors import InputError, SettingsError
from plurimask.sampling.inputs import Inputs, inputs_at


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_cases(tmp_path_factory.mktemp("data") / "cases", count=3)


def array(folder, name):
    folder.mkdir(exist_ok=True)
    np.save(folder / f"{name}.npy", np.zeros((4, 4)))
    return folder / f"{name}.npy"


def test_a_dataset_gives_its_cases(dataset):
    found = inputs_at([dataset], "all", None, None)
    assert (list(found.cases), dict(found.studies), len(found)) == (["case-00", "case-01", "case-02"], {}, 3)


def test_files_and_folders_of_a_case_are_studies(dataset, tmp_path):
    lone = array(tmp_path, "scan")
    found = inputs_at([lone, dataset / "case-01"], "all", None, None)
    assert dict(found.studies) == {"scan": lone, "case-01": dataset / "case-01"}
    assert not found.cases


def test_a_dataset_gives_the_chosen_cases_each_read_by_a_call(tmp_path):
    root = write_cases(tmp_path, count=20)
    chosen = inputs_at([root], "train", 3, None).cases
    assert len(chosen) == 3
    assert {split_of(read().patient) for read in chosen.values()} == {"train"}
    assert [read().name for read in inputs_at([root], "all", None, ["case-07", "case-03"]).cases.values()] == [
        "case-07",
        "case-03",
    ]
    sides = "".join(f"patient-{i},{'val' if i == 7 else 'train'}\n" for i in range(20))
    (root / "fold-1.csv").write_text(f"patient,side\n{sides}")
    assert list(inputs_at([root / "fold-1.csv"], "val", None, None).cases) == ["case-07"]


@pytest.mark.parametrize(
    ("name", "got"),
    [("none.png", "nothing there; check"), ("a.npz", "masks; give the image"), ("a.safetensors", "a mo")],
)
def test_what_is_neither_study_nor_dataset_is_refused(tmp_path, name, got):
    (tmp_path / "a.npz").touch()
    (tmp_path / "a.safetensors").touch()
    with pytest.raises(InputError, match=rf"{name}: expected an image, a case's folder or a dataset, got {got}"):
        inputs_at([tmp_path / name], "all", None, None)


@pytest.mark.parametrize("paths", [("a/case-01", "b/case-01"), ("a/case-01", None)])
def test_two_of_one_name_are_refused(dataset, tmp_path, paths):
    given = [dataset if path is None else array(tmp_path / path[0], path[2:]) for path in paths]
    with pytest.raises(InputError, match="case-01: expected one case of this name, got a second one"):
        inputs_at(given, "all", None, None)


ONE, TWO = {"a": None}, {"a": None, "b": None}


@pytest.mark.parametrize(
    ("inputs", "region", "format", "engine"),
    [
        (Inputs({}, ONE), False, None, None),
        (Inputs({}, ONE), False, "npz", "ray"),
        (Inputs(ONE, ONE), False, "png", None),
        (Inputs(ONE, {}), True, "png", None),
    ],
)
def test_what_goes_together_passes(inputs, region, format, engine):
    inputs.check(region, format, engine)


@pytest.mark.parametrize(
    ("inputs", "region", "format", "engine", "said"),
    [
        (Inputs(TWO, {}), True, None, None, "--roi: expected one study, got 2"),
        (Inputs({}, ONE), True, None, None, "--roi: expected one study, got 0"),
        (Inputs(ONE, TWO), True, None, None, "--roi: expected studies alone, got 2 cases of a dataset"),
        (Inputs(ONE, ONE), False, "dicom-seg", None, "--format dicom-seg: expected studies alone"),
        (Inputs(ONE, ONE), False, None, "ray", "--engine ray: expected cases of a dataset, got the study a"),
        (Inputs({}, ONE), False, "nifti", "ray", "--engine ray: expected masks.npz, got --format nifti"),
    ],
)
def test_what_does_not_is_refused(inputs, region, format, engine, said):
    with pytest.raises(SettingsError, match=said):
        inputs.check(region, format, engine)
