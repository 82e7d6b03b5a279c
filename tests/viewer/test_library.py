"""What is served of a path: every kind of folder, broken sets beside good ones, and what memory holds."""

import os
import shutil
from functools import partial
from pathlib import Path
from threading import Barrier, Thread

import numpy as np
import pytest
from dicom_series import noise, write_series
from PIL import Image
from served import SIZE, squares, write_case, write_set

from plurimask.datasets.demo_cases import demo_cases
from plurimask.errors import DatasetError, InputError
from plurimask.files.images import write_nifti
from plurimask.files.locate import Study, open_study
from plurimask.geometry import Grid
from plurimask.panel_files import write_panel
from plurimask.records import Case, MaskSet
from plurimask.viewer import library as library_module
from plurimask.viewer.library import DRAWN_HERE, Library, name_id, open_library


def opened(path, data=None, drawing=False):
    return open_library(path, data, drawing)


def labels(library):
    return [source.label for source in library.sources.values()]


def first(library):
    return next(iter(library.sources))


def test_a_folder_of_mask_sets_in_every_form(tmp_path):
    write_set(tmp_path, "a", squares(3, 4))
    np.savez(tmp_path / "b.npz", masks=squares(2))
    np.save(tmp_path / "c.npy", squares(1))
    library = opened(tmp_path)
    assert library.names(first(library)) == (["a", "b", "c"], [])
    assert [len(library.panel(first(library), name).marks.masks) for name in "abc"] == [2, 1, 1]


def test_the_folder_of_one_mask_set(tmp_path):
    write_set(tmp_path, "a", squares(3, 4))
    library = opened(tmp_path / "a")
    assert (library.names(first(library))[0], labels(library)) == (["a"], ["a"])


def test_one_file_of_masks(tmp_path):
    np.savez(tmp_path / "b.npz", masks=squares(2))
    (tmp_path / "other").mkdir()
    library = opened(tmp_path / "b.npz")
    assert library.names(first(library))[0] == ["b"]


def test_without_data_the_image_is_blank_and_says_so(tmp_path):
    write_set(tmp_path, "a", squares(3, 4))
    case = opened(tmp_path).case(first(opened(tmp_path)), "a")
    assert not case.has_image
    assert not case.study.case.image.any()


def test_data_gives_images_and_readers(tmp_path):
    write_set(tmp_path / "masks", "a", squares(3, 4))
    write_case(tmp_path / "data", "a", 3, 5, 0)
    library = opened(tmp_path / "masks", tmp_path / "data")
    case = library.case(first(library), "a")
    assert case.has_image
    assert np.array_equal(case.readers.whole()[..., 0], squares(3, 5, 0))


def test_a_demo_folder_brings_its_own_images(tmp_path):
    true = demo_cases()[2]
    write_set(tmp_path / "masks", true.name, true.readers, true.grid)
    library = opened(tmp_path)
    assert np.array_equal(library.case(first(library), true.name).study.case.image, true.image)


def test_a_benchmark_has_a_source_a_run(tmp_path):
    for run in ("cimd-seed0", "cimd-seed1", "unet-seed0"):
        write_set(tmp_path / "masks" / run, "a", squares(3))
    (tmp_path / "runs").mkdir()
    assert labels(opened(tmp_path)) == ["cimd-seed0", "cimd-seed1", "unet-seed0"]


@pytest.mark.parametrize(
    ("record", "text"),
    [("records/cimd.json", '{"terms": {"image_size": 8}}'), ("terms.json", '{"image_size": 8}')],
)
def test_masks_of_a_benchmark_lie_on_the_middle_of_its_data(tmp_path, record, text):
    write_case(tmp_path / "data", "a", 3, 5, 0)
    write_set(tmp_path / "out" / "masks" / "cimd-seed0", "a", squares(1, size=(8, 8)))
    (tmp_path / "out" / record).parent.mkdir(exist_ok=True)
    (tmp_path / "out" / record).write_text(text)
    library = opened(tmp_path / "out", tmp_path / "data")
    case = library.case(first(library), "a")
    assert np.array_equal(case.readers.whole()[..., 0], squares(3, 5, 0)[:, 2:10, 4:12])
    assert library.panel(first(library), "a") is not None


@pytest.mark.parametrize("terms", ["{", "[]", "{}", '{"image_size": "x"}'])
def test_a_benchmark_with_a_damaged_record_is_refused(tmp_path, terms):
    write_case(tmp_path / "data", "a", 3)
    write_set(tmp_path / "out" / "masks" / "cimd-seed0", "a", squares(1))
    (tmp_path / "out" / "records").mkdir()
    (tmp_path / "out" / "records" / "cimd.json").write_text(terms)
    with pytest.raises(InputError, match=r"cimd\.json: expected a benchmark's record"):
        opened(tmp_path / "out", tmp_path / "data")


def test_a_dataset_is_listed_without_masks(tmp_path):
    write_case(tmp_path, "a", 3)
    write_case(tmp_path, "b")
    library = opened(tmp_path)
    assert (labels(library), library.names(DRAWN_HERE)[0]) == (["drawn here"], ["a", "b"])
    assert not library.panel(DRAWN_HERE, "a").marks


def test_a_dicom_series_is_a_study(tmp_path):
    write_series(tmp_path / "scan", noise())
    case = opened(tmp_path / "scan").case(DRAWN_HERE, "scan")
    assert (case.study.format, case.study.case.image.shape) == ("dicom", (1, *noise().shape))


@pytest.fixture
def drawn(tmp_path):
    """The panels of two DICOM studies as they are written, and as they come from an archive; the studies in scans."""
    for number in (1, 2):
        name = f"1.2.{number}"
        write_series(tmp_path / "scans" / name, noise(seed=number), series=name, change=partial(of_series, name))
        study = open_study(tmp_path / "scans" / name)
        masks = np.zeros((3, *study.case.grid.shape), bool)
        masks[:2, 1:3, 2:5, number] = True
        write_panel(tmp_path / "panels" / name, MaskSet(name, masks, study.case.grid), study)
        (tmp_path / "found" / f"9.{number}").mkdir(parents=True)
        shutil.copy(tmp_path / "panels" / name / "samples.dcm", tmp_path / "found" / f"9.{number}" / "0001.dcm")
    return tmp_path


def of_series(name, dataset, _):
    dataset.SeriesInstanceUID = name


@pytest.mark.parametrize("data", ["scans", "scans/1.2.1"])
@pytest.mark.parametrize(("panels", "name"), [("panels", "1.2.1"), ("panels/1.2.1", "1.2.1"), ("found/9.1", "9.1")])
def test_the_objects_of_a_panel_are_its_masks_over_the_series_that_they_refer_to(drawn, panels, name, data):
    library = opened(drawn / panels, drawn / data)
    source = first(library)
    assert library.names(source)[0][0] == name
    case, panel = library.case(source, name), library.panel(source, name)
    assert case.has_image
    assert np.array_equal(case.study.case.image, open_study(drawn / "scans/1.2.1").case.image)
    assert case.study.case.name == name
    assert [len(panel.marks), panel.marks.whole().sum()] == [3, 12]
    assert panel.marks.marked(2) == [1]


def test_a_series_that_a_panel_does_not_refer_to_is_not_its_image(drawn):
    library = opened(drawn / "found", drawn / "scans/1.2.1")
    assert library.case(first(library), "9.1").has_image
    with pytest.raises(InputError, match=r"9\.2: expected masks of a case of the data, got an unknown case"):
        library.case(first(library), "9.2")


def test_a_folder_of_series_is_listed_without_masks(drawn):
    library = opened(drawn / "scans")
    assert library.names(DRAWN_HERE)[0] == ["1.2.1", "1.2.2"]
    assert library.case(DRAWN_HERE, "1.2.2").has_image


def test_the_objects_of_a_panel_without_images_are_shown_where_they_mark(drawn):
    library = opened(drawn / "found")
    assert library.panel(first(library), "9.2").marks.whole().sum() == 12
    assert not library.case(first(library), "9.2").has_image


def test_a_study_that_cannot_be_read_is_refused_at_once(tmp_path):
    (tmp_path / "scan.nii.gz").write_bytes(b"no")
    with pytest.raises(InputError, match=r"scan\.nii\.gz"):
        opened(tmp_path / "scan.nii.gz")


def test_a_model_brings_a_source_for_what_it_draws(tmp_path):
    write_set(tmp_path, "a", squares(3))
    assert labels(opened(tmp_path, drawing=True)) == [tmp_path.name, "drawn here"]


def test_nothing_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="nothing there"):
        opened(tmp_path / "gone")


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="got none of these"):
        opened(tmp_path)


def test_data_for_something_else_than_masks_is_refused(tmp_path):
    write_case(tmp_path, "a", 3)
    with pytest.raises(InputError, match="leave --data out"):
        opened(tmp_path, tmp_path)


def test_folders_that_are_no_cases_are_refused(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "notes.txt").write_text("no image")
    with pytest.raises((InputError, DatasetError), match="expected"):
        opened(tmp_path)


def set_of(folder, name, content):
    (folder / name).mkdir(parents=True)
    (folder / name / "masks.npz").write_bytes(content)


BROKEN = {
    "damaged": (lambda root: set_of(root, "x", b"no zip"), "whole masks.npz"),
    "empty": (lambda root: (root / "x").mkdir(), "got none"),
    "twice": (lambda root: [write_set(root, "x", squares(1)), np.save(root / "x.npy", squares(1))], "in one form"),
    "other size": (lambda root: write_set(root, "x", squares(1, size=(9, 9))), "as the image has, got 9x9"),
    "other grid": (
        lambda root: write_set(root, "x", squares(1), Grid.plane(SIZE, 9.0)),
        "the affine of the image, got another one",
    ),
    "unknown": (lambda root: write_set(root, "y", squares(1)), "an unknown case"),
    "pipe": (lambda root: [(root / "x").mkdir(), os.mkfifo(root / "x" / "masks.npz")], "a pipe"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_set_has_its_reason_and_the_good_one_works(tmp_path, what):
    write_case(tmp_path / "data", "a", 3)
    (tmp_path / "data" / "x").mkdir()
    write_nifti(tmp_path / "data" / "x" / "image.nii.gz", np.zeros(SIZE, np.float32), Grid.plane(SIZE, 1.0))
    write_set(tmp_path / "masks", "a", squares(3, 4))
    spoil, said = BROKEN[what]
    spoil(tmp_path / "masks")
    library = opened(tmp_path / "masks", tmp_path / "data")
    assert library.summary(first(library), "a").samples == 2
    name = "y" if what == "unknown" else "x"
    assert name in library.names(first(library))[0]
    with pytest.raises(InputError, match=said):
        library.summary(first(library), name)


@pytest.mark.parametrize("link", ["folder", "file", "inner", "data"])
def test_a_link_out_of_the_served_folder_is_followed_on_request_alone(tmp_path, link):
    write_case(tmp_path / "data", "a", 3)
    write_case(tmp_path / "data", "b", 3)
    write_case(tmp_path / "secret", "b", 5)
    write_set(tmp_path / "masks", "a", squares(3))
    write_set(tmp_path / "elsewhere", "b", squares(1))
    if link == "folder":
        (tmp_path / "masks" / "b").symlink_to(tmp_path / "elsewhere" / "b")
    elif link == "file":
        (tmp_path / "masks" / "b").mkdir()
        (tmp_path / "masks" / "b" / "masks.npz").symlink_to(tmp_path / "elsewhere" / "b" / "masks.npz")
    elif link == "inner":
        write_set(tmp_path / "masks", "b", squares(1))
        (tmp_path / "masks" / "b" / "maps").mkdir()
        (tmp_path / "masks" / "b" / "maps" / "x.nii.gz").symlink_to(tmp_path / "elsewhere" / "b" / "masks.npz")
    else:
        write_set(tmp_path / "masks", "b", squares(1))
        (tmp_path / "data" / "b" / "label0.png").unlink()
        (tmp_path / "data" / "b" / "label0.png").symlink_to(tmp_path / "secret" / "b" / "label0.png")
    library = opened(tmp_path / "masks", tmp_path / "data")
    with pytest.raises(InputError, match="got a link out of it") as error:
        library.summary(first(library), "b")
    assert "elsewhere" not in str(error.value)
    assert "secret" not in str(error.value)
    following = open_library(tmp_path / "masks", tmp_path / "data", drawing=False, follow_links=True)
    assert following.summary(first(following), "b").samples == 1


def write_slices(root):
    """A release of one slice of a patient `p0`."""
    (root / "images").mkdir(parents=True)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(root / "images/p0.png")
    np.savez(root / "masks.npz", masks_packed=np.full((1, 4, 8, 1), 255, np.uint8))
    columns = "row,patient_id,nodule,slice,tile,non_empty_masks,pixel_spacing_mm"
    (root / "index.csv").write_text(f"{columns}\n0,p0,0,0,0,4,1.0\n")


@pytest.mark.parametrize("linked", ["index.csv", "masks.npz", "images", "images/p0.png", "patients.csv", "terms.json"])
def test_tables_and_strips_are_not_read_through_links_out(tmp_path, linked):
    served, data = tmp_path / "data", None
    if linked == "patients.csv":
        write_case(served, "p0", 3)
        (served / linked).write_text("case,patient\np0,Doe\n")
    elif linked == "terms.json":
        served, data = tmp_path / "out", tmp_path / "data"
        write_case(data, "p0", 3)
        write_set(served / "masks/run", "p0", squares(3))
        (served / linked).write_text('{"image_size": 8}')
    else:
        write_slices(served)
    (tmp_path / "secret").mkdir()
    (served / linked).rename(tmp_path / "secret" / Path(linked).name)
    (served / linked).symlink_to(tmp_path / "secret" / Path(linked).name)
    with pytest.raises(InputError, match="got a link out of it"):
        see_first(opened(served, data))
    see_first(open_library(served, data, drawing=False, follow_links=True))


def see_first(library):
    library.case(first(library), library.names(first(library))[0][0])


def test_links_within_the_served_folder_work(tmp_path):
    write_set(tmp_path, "a", squares(3))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "masks.npz").symlink_to(tmp_path / "a" / "masks.npz")
    library = opened(tmp_path)
    assert library.panel(first(library), "b").marks.masks.shape == (1, 3, 3, 1)


def test_names_that_cannot_be_shown_are_told_apart(tmp_path):
    write_set(tmp_path, "a", squares(3))
    np.save(tmp_path / "line\nbreak.npy", squares(1))
    np.save(tmp_path / "b.npy", squares(1))
    os.rename(tmp_path / "b.npy", os.fsencode(tmp_path) + b"/\xff.npy")
    library = opened(tmp_path)
    names, odd = library.names(first(library))
    assert (names, len(odd)) == (["a"], 2)
    assert all(library.name(name_id(name)) is None for name in odd)


@pytest.fixture
def counted():
    """A library of two planes, and the names of those that were read; the first look at `b` fails."""
    reads = []

    def study(name):
        reads.append(name)
        if reads == ["b"]:
            raise InputError(name, expected="an image", got="none", hint="copy it")
        return Study(Case(name, np.zeros((1, *SIZE), np.float32), squares(3), Grid(SIZE)), "npy", ())

    return Library("title", (), {name: partial(study, name) for name in "ab"}, drawing=False), reads


def test_a_case_is_read_once_whichever_threads_ask(counted):
    library, reads = counted
    meeting = Barrier(8)
    threads = [Thread(target=lambda: (meeting.wait(), library.case(DRAWN_HERE, "a"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert reads == ["a"]


def test_a_case_that_could_not_be_read_is_read_again(counted):
    library, reads = counted
    with pytest.raises(InputError, match="got none"):
        library.case(DRAWN_HERE, "b")
    assert library.case(DRAWN_HERE, "b").has_image
    assert reads == ["b", "b"]


def test_memory_holds_the_latest_case_however_large(counted, monkeypatch):
    library, reads = counted
    monkeypatch.setattr(library, "_cases", library_module._latest(1))
    for name in "aabba":
        library.case(DRAWN_HERE, name)
    assert reads == ["a", "b", "a"]
