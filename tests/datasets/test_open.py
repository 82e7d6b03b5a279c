"""The dataset at a path: which layout, case folders and their tables, what is refused; and a choice of its cases."""

import shutil

import numpy as np
import pytest
from case_files import IMAGE, MASK, fill
from tiny import write_cases

from plurimask.datasets.open import CaseFolder, choose_cases, open_dataset
from plurimask.datasets.splits import split_of
from plurimask.errors import DatasetError, InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_cases(tmp_path_factory.mktemp("cases"), count=20)


def test_a_folder_of_cases_is_a_case_folder(folder):
    assert isinstance(open_dataset(str(folder)), CaseFolder)


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


@pytest.mark.parametrize(("limit", "count"), [(7, 7), (70, 20)])
def test_a_limit_takes_that_many_or_all(folder, limit, count):
    assert len(choose_cases(open_dataset(folder), "all", limit)) == count


@pytest.mark.parametrize(("limit", "chosen"), [(None, ["case-07", "case-03", "case-05"]), (2, ["case-07", "case-03"])])
def test_names_choose_exactly_these_cases_in_their_order_or_the_first_of_them(folder, limit, chosen):
    names = ["case-07", "case-03", "case-05"]
    assert list(choose_cases(open_dataset(folder), "all", limit, names)) == chosen


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


def with_sides(root, text, name="split.csv"):
    with_patients(root, "case,patient\na,Smith\nb,Doe\nc,Doe\n")
    (root / name).write_text(text, encoding="utf-8")
    return root


def test_cases_come_sorted_by_name_with_what_each_reader_drew(root):
    cases = CaseFolder(root)
    assert list(cases.names) == ["a", "b", "c"] == [case.name for case in cases]
    assert np.array_equal(cases[1].image, IMAGE[None].astype(np.float32))
    assert np.array_equal(cases[1].readers, [MASK, ~MASK])
    assert (cases[0].readers.shape, cases[0].readers.any()) == ((1, 6, 8), False)  # read, drew nothing
    assert cases[2].readers.shape == (0, 6, 8)  # nobody read


def test_hidden_entries_and_other_files_are_ignored(root):
    before = CaseFolder(root).digest
    (root / ".git").mkdir()
    (root / ".DS_Store").write_text("")
    (root / "README.md").write_text("")
    (root / "b" / ".label2.png").write_text("")
    (root / "b" / "notes.txt").write_text("")
    (root / "b" / "image.json").write_text("{}")
    after = CaseFolder(root)
    assert len(after[1].readers) == 2
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
        ({"label2__bmp": MASK}, r"b: expected image\.png .*, got label2\.bmp; rename or convert it"),
    ],
)
def test_a_case_with_unclear_files_is_refused_when_the_dataset_is_built(root, extra, message):
    fill(root / "b", **extra)
    with pytest.raises(InputError, match=message):
        CaseFolder(root)


def test_an_empty_case_is_refused(root):
    (root / "d").mkdir()
    with pytest.raises(InputError, match=r"d: expected image\.png .*, got an empty folder"):
        CaseFolder(root)


def test_a_root_without_cases_is_refused_with_the_layout(tmp_path):
    with pytest.raises(DatasetError, match=r"expected one folder a case, got no folder; .*image\.png .*label0\.png"):
        CaseFolder(tmp_path)


def test_a_single_case_as_root_is_refused(root):
    with pytest.raises(DatasetError, match="got the files of a single case; pass the folder above it"):
        CaseFolder(root / "a")


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="nowhere: expected a readable folder, got 'No such file or directory'"):
        CaseFolder(tmp_path / "nowhere")


def test_patients_come_from_the_csv_and_are_none_elsewhere(root):
    cases = CaseFolder(with_patients(root, "\ufeffcase,patient\r\nb, p2 \r\n\r\na,p1\r\n"))
    assert list(cases.patients) == ["p1", "p2", None]
    assert [case.patient for case in cases] == ["p1", "p2", None]


def test_without_tables_no_patient_is_known_and_no_side_is_said(root):
    assert list(CaseFolder(root).patients) == [None, None, None]
    assert CaseFolder(root).sides == {}


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
    with pytest.raises(InputError, match=r"patients\.csv: expected a readable CSV file, got 'no UTF-8 text'"):
        CaseFolder(root)


def test_a_split_of_its_own_gives_the_sides(root):
    sides = CaseFolder(with_sides(root, "patient,side\nDoe,test\nSmith,train\nelsewhere,val\n")).sides
    assert (sides["Doe"], sides["Smith"]) == ("test", "train")


def test_another_file_may_take_the_place_of_split_csv(root):
    with_sides(root, "patient,side\nDoe,test\nSmith,train\n")
    with_sides(root, "patient,side\nDoe,train\nSmith,test\n", "fold-1.csv")
    assert CaseFolder(root, root / "fold-1.csv").sides["Doe"] == "train"
    assert CaseFolder(root, root / "fold-1.csv").split_by == "fold-1.csv"
    assert CaseFolder(root, root / "fold-1.csv").digest != CaseFolder(root).digest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("case,side\na,train\n", r"split\.csv, line 1: expected the header patient,side, got another line"),
        ("patient,side\nSmith,tset\n", r"split\.csv, line 2: expected train, val or test, got 'tset'"),
        ("patient,side\nDoe,val\nSmith,train\nDoe,val\n", "line 4: expected one line a patient, got one again"),
        ("patient,side\nDoe,val\n\nDoe,test\n", "line 4: expected one side a patient, got test, and val on line 2"),
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


# --- Names and patients are compared in one Unicode form.

COMPOSED, DECOMPOSED = "M\u00fcller", "Mu\u0308ller"


def test_tables_and_folders_may_write_a_name_in_any_unicode_form(tmp_path):
    for name in (COMPOSED, "b"):
        fill(tmp_path / name.replace("\u00fc", "u\u0308"), image=IMAGE, label0=MASK)
    (tmp_path / "patients.csv").write_text(f"case,patient\n{COMPOSED},{DECOMPOSED}\nb,{COMPOSED}\u00a0\n", "utf-8")
    (tmp_path / "split.csv").write_text(f"patient,side\n{DECOMPOSED},val\n", "utf-8")
    data = CaseFolder(tmp_path)
    assert data.names == (COMPOSED, "b")
    assert set(data.patients) == {COMPOSED}
    assert set(choose_cases(data, "val", None, [COMPOSED])) == {COMPOSED}
    assert np.array_equal(data[0].readers, [MASK])


def test_two_folders_of_one_name_are_refused(tmp_path):
    for name in (COMPOSED, DECOMPOSED):
        fill(tmp_path / name, image=IMAGE)
    with pytest.raises(DatasetError, match=r"got two folders .*\(character 2: U\+0075 against U\+00FC\)"):
        CaseFolder(tmp_path)


@pytest.mark.parametrize(
    ("patients", "sides", "message"),
    [
        ("A,p\n", "", r"name of a case folder, got 'A' \(character 1: U\+0041 against U\+0061\)"),
        (
            "a,Smith\nb,x\nc,x\n",
            "smith,val\nx,test\n",
            r"1 without one, one of .*\(character 1: U\+0053 against U\+0073",
        ),
    ],
)
def test_names_that_differ_in_case_are_refused_with_how(root, patients, sides, message):
    with_patients(root, "case,patient\n" + patients)
    if sides:
        (root / "split.csv").write_text("patient,side\n" + sides, "utf-8")
    with pytest.raises(DatasetError, match=message):
        CaseFolder(root)


def test_a_listed_name_that_is_spelt_otherwise_is_told(root):
    with pytest.raises(DatasetError, match=r"first B \(character 1: U\+0042 against U\+0062\)"):
        choose_cases(CaseFolder(root), "all", None, ["B"])


def test_what_systems_leave_is_no_case_and_no_file_of_one(root):
    before = CaseFolder(root).digest
    for name in ("__MACOSX", "@eaDir", "System Volume Information"):
        (root / name).mkdir()
    for name in ("Thumbs.db", "desktop.ini", "b/Thumbs.db", "b/._image.png"):
        (root / name).write_text("")
    assert CaseFolder(root).digest == before


@pytest.mark.parametrize("name", ["patients.csv", "split.csv"])
def test_a_table_that_is_a_link_to_nothing_is_no_missing_table(tmp_path, name):
    root = write_cases(tmp_path / "cases", count=3)
    (root / name).unlink(missing_ok=True)
    (root / name).symlink_to("nothing")
    with pytest.raises(InputError, match=rf"{name}: .* got what only stands for it; fetch it first"):
        open_dataset(root)
