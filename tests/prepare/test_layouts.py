"""nnU-Net and BIDS by name: what is an image, what a reader, and what is neither."""

import nibabel as nib
import numpy as np
import pytest
from said import command

import plurimask as pm
from plurimask.errors import DatasetError
from plurimask.prepare.layouts import find_layout


def save(root, *names):
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        values = np.zeros((6, 7, 2), dtype=np.uint8)
        values[1 : 3 + number % 3, 2:5] = 1
        nib.save(nib.Nifti1Image(values, np.eye(4)), path)


def prepared(root, monkeypatch, capsys, tmp_path):
    said = command(monkeypatch, capsys, "prepare", "folder", "--root", root, "--persons", "--out", tmp_path / "cases")
    assert said.code == 0, said.err
    return {case.name: case.drawn_by for case in pm.open_dataset(tmp_path / "cases")}


def test_nnunet_has_a_channel_a_number_and_a_reader_a_folder_or_an_ending(tmp_path, monkeypatch, capsys):
    root = tmp_path / "Dataset001"
    save(root, "imagesTr/a_1_0000.nii.gz", "imagesTr/a_1_0001.nii.gz", "imagesTr/a_1_x_0000.nii.gz")
    save(
        root,
        "imagesTr/a_1_x_0001.nii.gz",
        "labelsTr/a_1_ann.nii.gz",
        "labelsTr/a_1_x_ann.nii.gz",
        "labelsTr/a_1_x.nii.gz",
    )
    save(root, "labelsTr_bob/a_1.nii.gz")
    layout = find_layout(root)
    assert layout.images == ["imagesTr/{case}_0000.nii.gz", "imagesTr/{case}_0001.nii.gz"]
    assert set(layout.readers) == {"labelsTr/{case}_ann.nii.gz", "labelsTr/{case}.nii.gz", "labelsTr_bob/{case}.nii.gz"}
    found = prepared(root, monkeypatch, capsys, tmp_path)
    ann, bob, plain = "labelsTr/{case}_ann.nii.gz", "labelsTr_bob/{case}.nii.gz", "labelsTr/{case}.nii.gz"
    assert set(found["a_1-s000"]) == {ann, bob}
    assert set(found["a_1_x-s000"]) == {ann, plain}


def test_bids_has_a_reader_a_desc_and_the_images_that_all_subjects_have(tmp_path, monkeypatch, capsys):
    root = tmp_path / "study"
    for subject in ("01", "02"):
        for session in ("a", "b"):
            raw = f"sub-{subject}/ses-{session}/anat/sub-{subject}_ses-{session}"
            save(root, f"{raw}_FLAIR.nii.gz", f"{raw}_T1w.nii.gz")
            for reader in ("ann", "bob"):
                save(root, f"derivatives/manual/{raw}_space-orig_desc-{reader}_mask.nii.gz")
            save(root, f"derivatives/manual/{raw}_label-lesion_probseg.nii.gz")
    save(root, "sub-01/ses-a/anat/sub-01_ses-a_T2w.nii.gz")
    layout = find_layout(root)
    stem = "sub-{patient}/ses-{session}/anat/sub-{patient}_ses-{session}"
    assert layout.images == [f"{stem}_FLAIR.nii.gz", f"{stem}_T1w.nii.gz"]
    assert layout.readers == [f"derivatives/manual/{stem}_space-orig_desc-{{reader}}_mask.nii.gz"]
    found = prepared(root, monkeypatch, capsys, tmp_path)
    assert found["02-b-s001"] == ("ann", "bob")
    assert pm.open_dataset(tmp_path / "cases").patients[0] == "01"


def test_another_layout_is_refused(tmp_path):
    (tmp_path / "scans").mkdir()
    with pytest.raises(DatasetError, match=r"expected the layout of nnU-Net .* or BIDS .*; say with --image"):
        find_layout(tmp_path)
