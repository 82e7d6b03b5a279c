"""What lies at a path: each form of each kind by one answer, and where mask sets lie."""

import numpy as np
import pytest
from dicom_series import noise, write_series
from tiny import write_cases

from plurimask.errors import InputError
from plurimask.files.locate import locate, mask_sets_at
from plurimask.files.mask_sets import write_mask_set
from plurimask.geometry import Grid
from plurimask.records import MaskSet


def touch(*names):
    def make(root):
        for name in names:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir() if name.endswith("/") else path.touch()
        return root

    return make


def sets(*folders):
    def make(root):
        for folder in folders:
            write_mask_set(root / folder, MaskSet((root / folder).name, np.ones((1, 2, 3), bool), Grid((2, 3))))
        return root

    return make


def file(name):
    return lambda root: touch(name)(root) / name


@pytest.mark.parametrize(
    ("make", "kind", "layout"),
    [
        (lambda root: root / "gone", "nothing", "absent"),
        (touch(), "nothing", "empty"),
        (touch(".hidden/"), "nothing", "empty"),
        (file("a.png"), "study", "file"),
        (file("a.nii.gz"), "study", "file"),
        (file("IM0001"), "study", "file"),
        (touch("image0.png", "label0.png"), "study", "case"),
        (touch("a.dcm", "a.nii.gz"), "study", "series"),
        (touch("IM0001", "IM0002"), "study", "files"),
        (lambda root: write_series(root / "scan", noise())[0].parent, "study", "series"),
        (lambda root: write_cases(root, count=3), "dataset", "case-folder"),
        (touch("a/"), "dataset", "case-folder"),
        (touch("IM0001", "index.csv"), "dataset", "case-folder"),
        (touch("index.csv", "masks.npz", "images/"), "dataset", "lidc-slices"),
        (file("fold-1.CSV"), "dataset", "sides"),
        (file("a.npz"), "mask set", "mask file"),
        (lambda root: sets("a")(root) / "a", "mask set", "mask folder"),
        (touch("masks.npz"), "mask set", "mask folder"),
        (sets("a", "b"), "mask sets", "mask folders"),
        (touch("a.npz", "b.nii.gz"), "mask sets", "mask folders"),
        (touch("a/masks.npz", "a/more.png"), "mask sets", "mask folders"),
        (sets("masks/a"), "results", "systems"),
        (sets("masks/cimd/a", "masks/panel/a"), "results", "systems"),
        (touch("recipe.json", "best.safetensors"), "model", "model folder"),
        (touch("panel.json", "encoder.onnx"), "model", "model folder"),
        (file("a.safetensors"), "model", "weights"),
    ],
)
def test_every_form_has_one_answer(tmp_path, make, kind, layout):
    found = locate(make(tmp_path))
    assert (found.kind, found.layout) == (kind, layout)


@pytest.mark.parametrize(
    ("folders", "masks"),
    [(["a"], [""]), (["masks/a"], ["masks"]), (["masks/b/a", "masks/a/a"], ["masks/a", "masks/b"])],
)
def test_the_folders_of_mask_sets_are_one_a_system(tmp_path, folders, masks):
    assert locate(sets(*folders)(tmp_path)).masks == tuple(tmp_path / name for name in masks)


@pytest.mark.parametrize("folder", ["a", "masks/a", "masks/cimd/a"])
def test_mask_sets_are_found_where_one_system_has_them(tmp_path, folder):
    assert list(mask_sets_at(sets(folder)(tmp_path))) == ["a"]


def test_of_several_systems_one_is_to_be_named(tmp_path):
    with pytest.raises(
        InputError, match=r"expected the masks of one system, got cimd, panel; name one folder, as .*cimd"
    ):
        mask_sets_at(sets("masks/cimd/a", "masks/panel/a")(tmp_path))
