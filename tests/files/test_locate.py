"""What lies at a path: each form of each kind by one answer, and where mask sets lie."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from dicom_series import OBLIQUE, PATIENT_ID, noise, write_series
from PIL import Image
from tiny import write_cases

from plurimask.errors import InputError
from plurimask.files.locate import locate, mask_sets_at, open_study, study_name
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


def segmentations(*names):
    """Files that begin as DICOM SEG does."""

    def make(root):
        for path in (touch(*names)(root) / name for name in names):
            path.write_bytes(bytes(128) + b"DICM" + b"\x02\0\x02\0UI\x1c\x001.2.840.10008.5.1.4.1.1.66.4")
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
        (touch("samples.dcm", "agreement.dcm"), "mask set", "mask folder"),
        (segmentations("0001.dcm"), "mask set", "mask folder"),
        (lambda root: segmentations("0001.dcm")(root) / "0001.dcm", "mask set", "mask file"),
        (segmentations("a.dcm", "b.dcm"), "mask sets", "mask folders"),
        (segmentations("a/0001.dcm", "b/0001.dcm"), "mask sets", "mask folders"),
        (lambda root: write_series(segmentations("IM00000.dcm")(root), noise())[0].parent, "study", "series"),
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


# --- Studies of every format: name, grid, sources; and one volume through DICOM and NIfTI is one case.


GREY = np.random.default_rng(0).integers(0, 256, (5, 6), dtype=np.uint8)


def write(path):
    if path.suffix in (".png", ".jpg"):
        Image.fromarray(GREY).save(path)
    elif path.suffix == ".npy":
        np.save(path, GREY)
    else:
        nib.save(nib.Nifti1Image(GREY, np.diag([2.0, 3, 4, 1])), path)
    return path


@pytest.mark.parametrize(
    ("name", "format"),
    [("a.png", "picture"), ("a.jpg", "picture"), ("a.npy", "npy"), ("a.nii", "nifti"), ("a.nii.gz", "nifti")],
)
def test_a_lone_file_is_a_study_that_nobody_read(tmp_path, name, format):
    path = write(tmp_path / name)
    study = open_study(path)
    assert (study.format, study.sources, study.case.name) == (format, (path,), "a")
    assert study.case.image.shape == (1, 5, 6)
    assert study.case.readers.shape == (0, 5, 6)


def test_a_folder_of_slices_is_a_study_by_the_folders_name(tmp_path):
    stored = noise()
    paths = write_series(tmp_path / "scan", stored)
    study = open_study(tmp_path / "scan")
    assert (study.format, study.sources, study.case.name) == ("dicom", tuple(paths), "scan")
    np.testing.assert_array_equal(study.case.image[0], stored - 1024.0)
    assert study.case.readers.shape == (0, 5, 6, 4)


def test_a_single_slice_is_a_plane_with_its_place_in_space(tmp_path):
    (path,) = write_series(tmp_path, noise((5, 6, 1)))
    case = open_study(path).case
    assert case.image.shape == (1, 5, 6)
    assert case.grid.spacing_mm == pytest.approx((0.7, 0.6))
    np.testing.assert_allclose(case.grid.affine @ (0, 0, 0, 1), (100, 80, -300, 1))


def test_the_patient_stays_behind(tmp_path):
    write_series(tmp_path / "scan", noise())
    case = open_study(tmp_path / "scan").case
    assert case.patient is None
    assert PATIENT_ID not in case.name


@pytest.mark.parametrize(
    ("file", "name"), [("1.2.840.1", "1.2.840.1"), ("1.2.840.1.dcm", "1.2.840.1"), ("IM1.DCM", "IM1"), ("IM1", "IM1")]
)
def test_dicom_is_known_by_its_content_and_named_by_its_file(tmp_path, file, name):
    (path,) = write_series(tmp_path, noise((5, 6, 1)))
    study = open_study(path.rename(tmp_path / file))
    assert (study.format, study.case.name) == ("dicom", name)


def test_a_case_folder_brings_its_readers(tmp_path):
    files = [write(tmp_path / "image0.png"), write(tmp_path / "image1.npy")]
    Image.fromarray((GREY > 99).astype(np.uint8)).save(tmp_path / "label0.png")
    study = open_study(tmp_path)
    assert (study.format, study.sources) == ("picture", (*files, tmp_path / "label0.png"))
    assert study.case.image.shape == (2, 5, 6)
    np.testing.assert_array_equal(study.case.readers, GREY[None] > 99)


def test_dicom_and_the_nifti_of_its_grid_are_the_same_case(tmp_path):
    write_series(tmp_path / "a", noise(), orientation=OBLIQUE)
    dicom = open_study(tmp_path / "a").case
    nib.save(nib.Nifti1Image(dicom.image[0], dicom.grid.affine), tmp_path / "a.nii.gz")
    nifti = open_study(tmp_path / "a.nii.gz").case
    assert nifti.name == dicom.name
    np.testing.assert_array_equal(nifti.image, dicom.image)
    assert nifti.grid.same_as(dicom.grid)


def test_the_nifti_of_simpleitk_has_the_same_voxels_in_the_same_places(tmp_path):
    """ITK stores the way along a row as the first axis, so that the first two axes are exchanged."""
    write_series(tmp_path / "a", noise(), orientation=OBLIQUE)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "a")))
    sitk.WriteImage(reader.Execute(), str(tmp_path / "b.nii.gz"))
    dicom, nifti = open_study(tmp_path / "a").case, open_study(tmp_path / "b.nii.gz").case
    np.testing.assert_array_equal(nifti.image, dicom.image.swapaxes(1, 2))
    exchanged = nifti.grid.affine[:, [1, 0, 2, 3]]
    corners = np.array([[0, 0, 0, 1], [4, 0, 0, 1], [0, 5, 3, 1], [4, 5, 3, 1]]).T
    assert np.abs(exchanged @ corners - dicom.grid.affine @ corners).max() < 1e-3


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("none.nii", r"none\.nii: expected an image, a DICOM series or a case, got nothing there"),
        ("a.bmp", r"a\.bmp: expected DICOM, or one of \.png, .*, got '\.bmp' without DICOM's mark"),
        ("a.dcm", r"a\.dcm: expected a DICOM file, got one without DICOM's mark"),
        ("a.nii", r"a\.nii: expected a readable NIfTI file"),
        ("empty", r"empty: expected the DICOM files of one series, got none"),
    ],
)
def test_what_is_no_study_is_refused(tmp_path, name, match):
    (tmp_path / "empty").mkdir()
    for other in ("a.bmp", "a.dcm", "a.nii"):
        (tmp_path / other).write_text("no image")
    with pytest.raises(InputError, match=match):
        open_study(tmp_path / name)


def test_a_series_of_several_and_a_time_point_are_chosen_behind_a_number_sign(tmp_path):
    stored = noise()
    for number, count in ((3, 4), (8, 2)):
        change = lambda dataset, _, number=number: setattr(dataset, "SeriesNumber", number)  # noqa: E731
        for path in write_series(tmp_path / f"{number}", stored[..., :count], series=f"{number}", change=change):
            (tmp_path / "scan").mkdir(exist_ok=True)
            path.rename(tmp_path / "scan" / f"{number}-{path.name}")
    with pytest.raises(InputError, match=r"got 3 \(4 files\), 8 \(2 files\); name one behind a #, as scan#3"):
        open_study(tmp_path / "scan")
    study = open_study(tmp_path / "scan#8")
    assert (study.case.name, study.case.grid.shape, len(study.sources)) == ("scan-8", (5, 6, 2), 2)
    assert (locate(tmp_path / "scan#8").kind, study_name(tmp_path / "scan#8")) == ("study", "scan-8")

    volumes = np.random.default_rng(0).normal(size=(4, 5, 3, 2)).astype("f4")
    nib.save(nib.Nifti1Image(volumes, np.eye(4)), tmp_path / "a.nii.gz")
    with pytest.raises(
        InputError, match=r"expected one volume, \(H, W, D\), got size .*; name a time point, as a\.nii\.gz#0"
    ):
        open_study(tmp_path / "a.nii.gz")
    case = open_study(tmp_path / "a.nii.gz#1").case
    assert case.name == "a-1"
    np.testing.assert_array_equal(case.image[0], volumes[..., 1])
    with pytest.raises(
        InputError, match=r"a\.nii\.gz: expected a time point from 0 to 1, got 2; correct what follows #"
    ):
        open_study(tmp_path / "a.nii.gz#2")
