"""Case folders: what becomes a case, what is refused, and the error for it."""

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from plurimask.datasets.open import CaseFolder
from plurimask.errors import DatasetError, InputError
from plurimask.files.case_folder import holds_case, read_case, read_image_case

IMAGE = np.random.default_rng(0).integers(0, 256, (6, 8), dtype=np.uint8)
MASK = IMAGE > 120


def fill(folder, **files):
    """Write arrays by name, `image__nii` as image.nii and `image` as image.png; bool as 0/255."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in files.items():
        stem, _, suffix = name.partition("__")
        write(
            folder / f"{stem}.{suffix or 'png'}", np.where(array, 255, 0).astype("u1") if array.dtype == bool else array
        )
    return folder


def write(path, array, affine=None):
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix in (".nii", ".gz"):
        nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    else:
        Image.fromarray(array).save(path)


@pytest.fixture
def root(tmp_path):
    """Three cases: two readers, one who drew nothing, nobody."""
    fill(tmp_path / "data" / "b", image=IMAGE, label0=MASK, label1=~MASK)
    fill(tmp_path / "data" / "a", image=IMAGE, label0=np.zeros_like(MASK))
    fill(tmp_path / "data" / "c", image=IMAGE)
    return tmp_path / "data"


def with_patients(root, text):
    (root / "patients.csv").write_text(text, encoding="utf-8")
    return root


def test_cases_come_sorted_by_name(root):
    cases = CaseFolder(root)
    assert list(cases.names) == ["a", "b", "c"] == [case.name for case in cases]
    assert len(cases) == 3


def test_image_and_rater_masks_are_those_on_disk(root):
    case = CaseFolder(root)[1]
    assert np.array_equal(case.image, IMAGE[None].astype(np.float32))
    assert np.array_equal(case.raters, [MASK, ~MASK])


def test_an_all_zero_label_is_a_reader_who_drew_nothing_and_the_case_is_kept(root):
    raters = CaseFolder(root)[0].raters
    assert raters.shape == (1, 6, 8)
    assert not raters.any()


def test_no_label_file_means_that_nobody_read(root):
    assert CaseFolder(root)[2].raters.shape == (0, 6, 8)


def test_hidden_entries_and_other_files_are_ignored(root):
    before = CaseFolder(root).digest
    (root / ".git").mkdir()
    (root / ".DS_Store").write_text("")
    (root / "README.md").write_text("")
    (root / "b" / ".label2.png").write_text("")
    (root / "b" / "notes.txt").write_text("")
    (root / "b" / "image.json").write_text("{}")
    after = CaseFolder(root)
    assert len(after[1].raters) == 2
    assert after.digest == before


def test_cases_are_read_lazily(root):
    cases = CaseFolder(root)
    (root / "c" / "image.png").write_bytes(b"")
    assert cases[0].name == "a"
    with pytest.raises(InputError, match=r"c/image\.png: expected a readable PNG file"):
        cases[2]


def test_links_are_followed_under_their_own_name(root, tmp_path):
    (root / "d").symlink_to(fill(tmp_path / "elsewhere", image=IMAGE), target_is_directory=True)
    assert CaseFolder(root)[3].name == "d"


def test_numbered_images_are_channels_in_numeric_order(tmp_path):
    channels = {f"image{n}__npy": np.full((2, 3), n, dtype="f4") for n in range(11)}
    assert read_case(fill(tmp_path / "a", **channels)).image[:, 0, 0].tolist() == list(range(11))


def test_formats_may_be_mixed_and_the_known_affine_holds(tmp_path):
    affine = np.diag([0.5, 0.7, 2.0, 1.0])
    fill(tmp_path / "a", image=IMAGE, label1__npy=MASK)
    write(tmp_path / "a" / "label0.nii.gz", MASK.astype("u1"), affine)
    case = read_case(tmp_path / "a")
    assert case.grid.spacing_mm == pytest.approx((0.5, 0.7))
    assert np.array_equal(case.raters, [MASK, MASK])


def test_volumes(tmp_path):
    volume = np.random.default_rng(0).normal(size=(4, 5, 3)).astype("f4")
    case = read_case(fill(tmp_path / "a", image__nii=volume, label0__npy=(volume > 0)))
    assert case.image.shape == (1, 4, 5, 3)
    assert np.array_equal(case.raters[0], volume > 0)


def test_upper_case_names_count(tmp_path):
    case = read_case(fill(tmp_path / "a", Image=IMAGE, LABEL0__PNG=MASK))
    assert np.array_equal(case.raters, [MASK])


def test_a_single_case_takes_its_folders_name_and_the_given_patient(root, monkeypatch):
    monkeypatch.chdir(root / "b")
    case = read_case(Path("."), patient="p1")
    assert (case.name, case.patient) == ("b", "p1")


@pytest.mark.parametrize("name", ["scan.png", "scan.npy", "scan.nii.gz"])
def test_a_lone_image_is_a_case_that_nobody_read(tmp_path, name):
    write(tmp_path / name, IMAGE)
    case = read_image_case(tmp_path / name)
    assert case.name == "scan"
    assert case.raters.shape == (0, 6, 8)


@pytest.mark.parametrize("name", ["..png", ".hidden.png", "a\nb.png", "a:b.png", " .png"])
def test_a_name_that_cannot_be_a_folder_everywhere_is_refused(tmp_path, name):
    Image.fromarray(IMAGE).save(tmp_path / name, format="PNG")
    with pytest.raises(InputError, match="expected a case name that any file system can hold"):
        read_image_case(tmp_path / name)


def test_a_case_is_told_from_a_dataset(root):
    assert holds_case(root / "a")
    assert not holds_case(root)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (
            {"label3": MASK},
            "b: expected label files numbered from 0 without a gap, got label3 but no label2; add label2",
        ),
        ({"label0__npy": MASK}, r"b: expected one file for label0, got label0\.npy and label0\.png; remove one"),
        ({"label00": MASK}, r"b: expected one file for label0, got label0\.png and label00\.png"),
        ({"image0": IMAGE}, r"b: expected image, or image0, image1, \.\.\., got both"),
        ({"label": MASK}, r"b: expected image\.png .*, got label\.png; rename or convert it"),
        ({"label2__tif": MASK}, r"b: expected image\.png .*, got label2\.tif; rename or convert it"),
    ],
)
def test_a_case_with_unclear_files_is_refused_when_the_dataset_is_built(root, extra, message):
    fill(root / "b", **extra)
    with pytest.raises(InputError, match=message):
        CaseFolder(root)


def test_numbering_starts_at_zero(tmp_path):
    with pytest.raises(InputError, match="got image1 but no image0"):
        read_case(fill(tmp_path / "a", image1=IMAGE))


def test_a_case_without_image_is_refused_with_what_is_there(tmp_path):
    with pytest.raises(InputError, match=r"a: expected image\.png .*, got imgae\.png; add the image"):
        read_case(fill(tmp_path / "a", imgae=IMAGE))


def test_an_empty_case_is_refused(root):
    (root / "d").mkdir()
    with pytest.raises(InputError, match=r"d: expected image\.png .*, got an empty folder"):
        CaseFolder(root)


@pytest.mark.parametrize("name", ["label0", "image1"])
def test_another_size_is_refused_with_both_sizes(tmp_path, name):
    fill(tmp_path / "a", image0=IMAGE, **{name: MASK[:5]})
    with pytest.raises(InputError, match=rf"a/{name}\.png: expected size 6x8, as image0\.png has, got 5x8"):
        read_case(tmp_path / "a")


def test_another_affine_is_refused(tmp_path):
    fill(tmp_path / "a", image=IMAGE, label0__nii=MASK)
    write(tmp_path / "a" / "label1.nii", MASK.astype("u1"), np.diag([1, 1, 1.1, 1]))
    with pytest.raises(InputError, match=r"label1\.nii: expected the affine of label0\.nii, got another one"):
        read_case(tmp_path / "a")


def test_a_root_without_cases_is_refused_with_the_layout(tmp_path):
    with pytest.raises(DatasetError, match=r"expected one folder a case, got no folder; .*image\.png .*label0\.png"):
        CaseFolder(tmp_path)


def test_a_single_case_as_root_is_refused(root):
    with pytest.raises(DatasetError, match="got the files of a single case; pass the folder above it"):
        CaseFolder(root / "a")


@pytest.mark.parametrize("read", [CaseFolder, read_case])
def test_a_missing_folder_is_refused(tmp_path, read):
    with pytest.raises(InputError, match="nowhere: expected a readable folder, got 'No such file or directory'"):
        read(tmp_path / "nowhere")


def test_patients_come_from_the_csv_and_are_none_elsewhere(root):
    cases = CaseFolder(with_patients(root, "\ufeffcase,patient\r\nb, p2 \r\n\r\na,p1\r\n"))
    assert list(cases.patients) == ["p1", "p2", None]
    assert [case.patient for case in cases] == ["p1", "p2", None]


def test_without_csv_no_patient_is_known(root):
    assert list(CaseFolder(root).patients) == [None, None, None]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,Smith\n", "line 1: expected the header case,patient, got another line"),
        ("case;patient\na;Smith\n", "line 1: expected the header case,patient, got another line"),
        ("", "line 1: expected the header case,patient, got an empty file"),
        ("case,patient\nz,Smith\n", "line 2: expected the name of a case folder, got 'z'"),
        ("case,patient\na,Smith\na,Smith\n", "line 3: expected one line a case, got 'a' again"),
        ("case,patient\na\n", "line 2: expected a case and its patient, got a cell that is empty, missing"),
        ("case,patient\na,Smith,x\n", "line 2: expected a case and its patient"),
        ("case,patient\na,\n", "line 2: expected a case and its patient"),
    ],
)
def test_a_csv_that_does_not_fit_is_refused_without_naming_a_patient(root, text, message):
    with pytest.raises(DatasetError, match=rf"patients\.csv, {message}") as caught:
        CaseFolder(with_patients(root, text))
    assert "Smith" not in str(caught.value)


def test_a_csv_that_is_not_text_is_refused(root):
    (root / "patients.csv").write_bytes(b"case,patient\na,M\xfcller\n")
    with pytest.raises(InputError, match=r"patients\.csv: expected a readable CSV file, got .*utf-8"):
        CaseFolder(root)


def with_sides(root, text, name="split.csv"):
    with_patients(root, "case,patient\na,Smith\nb,Doe\nc,Doe\n")
    (root / name).write_text(text, encoding="utf-8")
    return root


def test_a_split_of_its_own_gives_the_sides(root):
    sides = CaseFolder(with_sides(root, "patient,side\nDoe,test\nSmith,train\nelsewhere,val\n")).sides
    assert (sides["Doe"], sides["Smith"]) == ("test", "train")


def test_without_split_csv_no_side_is_said(root):
    assert CaseFolder(with_patients(root, "case,patient\na,p1\n")).sides == {}


def test_another_file_may_take_the_place_of_split_csv(root):
    with_sides(root, "patient,side\nDoe,test\nSmith,train\n")
    with_sides(root, "patient,side\nDoe,train\nSmith,test\n", "fold-1.csv")
    assert CaseFolder(root, root / "fold-1.csv").sides["Doe"] == "train"
    assert CaseFolder(root, root / "fold-1.csv").digest != CaseFolder(root).digest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("case,side\na,train\n", r"split\.csv, line 1: expected the header patient,side, got another line"),
        ("patient,side\nSmith,tset\n", r"split\.csv, line 2: expected train, val or test, got 'tset'"),
        ("patient,side\nDoe,val\nSmith,train\nDoe,test\n", "line 4: expected one line a patient, got one again"),
        ("patient,side\nSmith,train\n", "expected the side of every patient of .*, got 1 without one"),
        ("patient,side\nSmith\n", "line 2: expected a patient and its side"),
    ],
)
def test_sides_that_do_not_fit_are_refused_without_naming_a_patient(root, text, message):
    with pytest.raises(DatasetError, match=message) as caught:
        CaseFolder(with_sides(root, text))
    assert not {"Smith", "Doe"} & set(str(caught.value).replace(",", " ").split())


def test_sides_for_cases_without_a_patient_are_refused(root):
    with_sides(root, "patient,side\nSmith,train\n")
    with_patients(root, "case,patient\na,Smith\n")
    with pytest.raises(DatasetError, match="the patient of every case there, got 1 without one"):
        CaseFolder(root)


def test_the_digest_does_not_depend_on_the_place(root, tmp_path):
    shutil.copytree(root, tmp_path / "copy")
    assert CaseFolder(tmp_path / "copy").digest == CaseFolder(root).digest


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "a" / "image.png").write_bytes((root / "a" / "image.png").read_bytes() + b"\0"),
        lambda root: (root / "a").rename(root / "aa"),
        lambda root: (root / "b" / "label1.png").unlink(),
        lambda root: (
            (root / "b" / "label0.png").rename(root / "c" / "label0.png")
            and (root / "b" / "label1.png").rename(root / "b" / "label0.png")
        ),
        lambda root: with_patients(root, "case,patient\na,p1\n"),
    ],
    ids=["content", "case name", "a label less", "a label moved", "patients"],
)
def test_the_digest_sees_a_change_of(root, change):
    before = CaseFolder(root).digest
    change(root)
    assert CaseFolder(root).digest != before


def test_the_digest_names_a_file_that_is_gone(root):
    cases = CaseFolder(root)
    (root / "a" / "image.png").unlink()
    with pytest.raises(InputError, match=r"a/image\.png: expected a readable file, got 'No such file"):
        _ = cases.digest
