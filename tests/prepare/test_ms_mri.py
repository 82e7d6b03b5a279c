"""The MS data of ISBI 2015 from its own layout: slices, channels, geometry, folds, and what is refused."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from said import command
from tiny import TREE

import plurimask as pm
from plurimask.datasets.open import choose_cases
from plurimask.prepare.ms_mri import CHANNELS, leave_one_out, prepare_ms_mri
from plurimask.training.recipe import parse_recipe

SHAPE = (10, 12, 7)
AFFINE = np.array([[-1, 0, 0, 90], [0, 1.0, 0, -126], [0, 0, 1.2, -72], [0, 0, 0, 1]])
MARKED = (2, 3, 5)


def save(path, values, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values, affine), path)


def channel(number):
    """Values that tell channels apart: channel c lies in [100 c, 100 c + 1)."""
    return (100 * number + np.random.default_rng(number).random(SHAPE)).astype(np.float32)


def add_scan(folder, subject, scan, masks=2, suffix=".nii"):
    for number, name in enumerate(CHANNELS):
        save(folder / subject / "preprocessed" / f"{subject}_{scan}_{name}_pp{suffix}", channel(number))
    for reader in range(1, masks + 1):
        mask = np.zeros(SHAPE, dtype=np.uint8)
        mask[2:8, 2:8, MARKED[reader - 1] : MARKED[reader]] = 1
        save(folder / subject / "masks" / f"{subject}_{scan}_mask{reader}{suffix}", mask)


@pytest.fixture(scope="module")
def download(tmp_path_factory):
    """Three subjects with one or two time points, and one of the test set without masks."""
    root = tmp_path_factory.mktemp("ms") / "download"
    add_scan(root / "training", "training01", "01")
    add_scan(root / "training", "training01", "02", suffix=".nii.gz")
    add_scan(root / "training", "training02", "01")
    add_scan(root / "training", "training03", "01")
    add_scan(root / "testdata_website", "test01", "01", masks=0)
    (root / "training/training01/preprocessed/notes.txt").write_text("passed over")
    return root


@pytest.fixture(scope="module")
def native(download, tmp_path_factory):
    out = tmp_path_factory.mktemp("native") / "out"
    prepare_ms_mri(download, out, None)
    return out


@pytest.fixture
def own(download, tmp_path):
    """A download that a test may spoil."""
    return shutil.copytree(download, tmp_path / "own")


def test_slices_on_which_a_reader_drew_become_cases(native):
    scans = ("training01_01", "training01_02", "training02_01", "training03_01")
    assert list(pm.open_dataset(native).names) == [f"{scan}-s00{number}" for scan in scans for number in (2, 3, 4)]


def test_a_case_has_four_channels_and_two_readers_where_its_slice_lay(native):
    first, second, third = list(pm.open_dataset(native))[:3]
    np.testing.assert_array_equal(second.image, [channel(number)[:, :, 3] for number in range(4)])
    assert [case.readers.sum((1, 2)).tolist() for case in (first, second, third)] == [[36, 0], [0, 36], [0, 36]]
    assert second.grid.spacing_mm == pytest.approx((1, 1))
    np.testing.assert_allclose(second.grid.affine @ (4, 5, 0, 1), AFFINE @ (4, 5, 3, 1), atol=1e-4)


def test_axial_slices_are_found_by_the_affine(download, tmp_path):
    for path in (download / "training/training02").rglob("*.nii"):
        turned = np.moveaxis(np.asanyarray(nib.load(path).dataobj), 2, 0)
        save(tmp_path / "in" / "training02" / path.parent.name / path.name, turned, AFFINE[:, [2, 0, 1, 3]])
    prepare_ms_mri(tmp_path / "in", tmp_path / "out", None)
    case = pm.open_dataset(tmp_path / "out")[1]
    np.testing.assert_array_equal(case.image[0], channel(0)[:, :, 3])


def test_all_slices_where_they_are_wanted(download, tmp_path):
    assert prepare_ms_mri(download, tmp_path / "out", 8, every=True).slices == 4 * SHAPE[2]


def test_a_size_gives_squares_of_it(download, tmp_path):
    prepare_ms_mri(download, tmp_path / "out", 6)
    case = pm.open_dataset(tmp_path / "out")[0]
    assert case.image.shape == (4, 6, 6)
    assert case.grid.spacing_mm == pytest.approx((2, 2))
    # Padded to 12 x 12, what was drawn covers four pairs of rows, two of them by half, and three pairs of columns.
    assert case.readers.sum((1, 2)).tolist() == [12, 0]


@pytest.mark.parametrize("fold", [1, 2, 3])
def test_each_fold_holds_out_one_subject_and_validates_on_another(native, fold):
    data = pm.open_dataset(native / f"fold-{fold}.csv")
    held, next_one = f"training0{fold}", f"training0{fold % 3 + 1}"
    sides = {side: {case.patient for case in choose_cases(data, side, None).values()} for side in ("test", "val")}
    assert sides == {"test": {held}, "val": {next_one}}


def test_five_subjects_have_five_folds_that_hold_out_each_once():
    folds = leave_one_out("abcde")
    assert [[one for one, side in fold.items() if side == "test"] for fold in folds] == [[c] for c in "abcde"]
    assert all(sorted(fold.values()) == ["test", "train", "train", "train", "val"] for fold in folds)


def test_two_subjects_have_no_folds():
    assert leave_one_out("ab") == []


def test_the_manifest_counts_and_names_what_was_passed_over(native):
    manifest = json.loads((native / "manifest.json").read_text())
    assert manifest["counts"] == {"cases": 12, "patients": 3, "cases_of_unknown_patient": 0}
    assert manifest["skipped"] == [{"what": "test01_01", "why": "no masks"}]
    assert manifest["sha256"] == pm.open_dataset(native).digest
    assert manifest["source"]["files"] == 24


def test_the_folder_of_the_subjects_serves_as_root(download, native, tmp_path):
    prepare_ms_mri(download / "training", tmp_path / "out", None)
    assert pm.open_dataset(tmp_path / "out").digest == pm.open_dataset(native).digest


def test_the_command_says_what_it_wrote(monkeypatch, capsys, download, tmp_path):
    said = command(monkeypatch, capsys, "prepare", "ms-mri", "--root", download, "--out", tmp_path / "out")
    assert said.code == 0
    assert "12 slices of 4 scans of 3 patients" in said.out
    assert "1 scan without masks passed over" in said.out
    assert pm.open_dataset(tmp_path / "out/fold-3.csv")[0].image.shape == (4, 64, 64)


def remove(root, name):
    next(root.rglob(name)).unlink()


def another_grid(root):
    save(root / "training/training02/masks/training02_01_mask1.nii", np.zeros((10, 12, 8), np.uint8))


def another_place(root):
    path = root / "training/training02/masks/training02_01_mask1.nii"
    save(path, np.asanyarray(nib.load(path).dataobj), AFFINE @ np.diag([-1, 1, 1, 1]))


def cut_short(root):
    path = root / "training/training03/preprocessed/training03_01_t2_pp.nii"
    path.write_bytes(path.read_bytes()[:900])


SPOILT = {
    "a channel missing": (lambda root: remove(root, "training01_01_t2_pp.nii"), ["training01_01", "no t2"]),
    "a reader missing": (lambda root: remove(root, "training03_01_mask2.nii"), ["training03_01", "no mask2"]),
    "no masks at all": (lambda root: shutil.rmtree(root / "training"), ["1 time points without masks"]),
    "nothing at all": (lambda root: [shutil.rmtree(path) for path in root.iterdir()], ["preprocessed", "got none"]),
    "a file twice": (
        lambda root: save(root / "training/training02/masks/training02_01_mask1.nii.gz", np.zeros(SHAPE, np.uint8)),
        ["training02_01_mask1.nii", "one file of its kind"],
    ),
    "a file of another subject": (
        lambda root: save(root / "training/training02/masks/training03_01_mask1.nii", np.zeros(SHAPE, np.uint8)),
        ["training03_01_mask1.nii", "files of training02 alone"],
    ),
    "another size": (another_grid, ["training02_01_mask1.nii", "size 10x12x7", "10x12x8"]),
    "another affine": (another_place, ["training02_01_mask1.nii", "another one"]),
    "a file cut short": (
        cut_short,
        ["training03_01_t2_pp.nii", "at least 3,360 bytes, as its header says, got a file of 900"],
    ),
}


@pytest.mark.parametrize("name", SPOILT)
def test_refused_in_one_line_with_nothing_written(monkeypatch, capsys, own, name):
    spoil, words = SPOILT[name]
    spoil(own)
    out = own.parent / "out"
    assert command(monkeypatch, capsys, "prepare", "ms-mri", "--root", own, "--out", out).refused(*words)
    assert [path.name for path in own.parent.iterdir()] == ["own"]


def test_a_fold_trains(monkeypatch, download, tmp_path):
    monkeypatch.setenv("PLURIMASK_CACHE", str(tmp_path / "cache"))
    prepare_ms_mri(download, tmp_path / "data", 16)
    recipe = parse_recipe(TREE | {"method": TREE["method"] | {"image_channels": 4}}, "tiny")
    pm.train(recipe, pm.open_dataset(tmp_path / "data/fold-2.csv"), tmp_path / "run")
    assert pm.load(tmp_path / "run").method.image_channels == 4
    assert json.loads((tmp_path / "run/split.json").read_text())["patients"]["test"] == ["training02"]
