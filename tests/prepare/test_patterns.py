"""Patterns of paths: which files become which case, reader and patient; what cannot be."""

import os

import pytest

from plurimask.errors import DatasetError, InputError, SettingsError
from plurimask.prepare.patterns import Pattern, find_cases


@pytest.fixture
def root(tmp_path):
    return tmp_path / "data"


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def find(root, image, reader, patient=None):
    images, readers = ([Pattern(t) for t in ([p] if isinstance(p, str) else p)] for p in (image, reader))
    return find_cases(root, images, readers, Pattern(patient) if patient else None)


@pytest.mark.parametrize(
    ("pattern", "path", "values"),
    [
        ("{case}/ct.nii.gz", "a/ct.nii.gz", {"case": "a"}),
        ("{case}/ct.nii.gz", "a/b/ct.nii.gz", None),
        ("{case}/ct.nii.gz", "a/ctxnii.gz", None),
        ("{patient}_{visit}.png", "P1_a_b.png", {"patient": "P1", "visit": "a_b"}),
        ("*/{case}*.png", "set1/a-final.png", {"case": "a"}),
        ("{case}/{case}.png", "a/a.png", {"case": "a"}),
        ("{case}/{case}.png", "a/b.png", None),
    ],
)
def test_a_placeholder_stands_for_as_few_characters_as_fit(pattern, path, values):
    assert Pattern(pattern).match(path) == values


def test_files_of_one_case_come_together(root):
    touch(root, "a/ct.png", "a/reader_1.png", "a/reader_2.png", "b/ct.png", "b/reader_2.png")
    a, b = find(root, "{case}/ct.png", "{case}/reader_{reader}.png")
    assert (a.name, [path.name for path in a.image_files], len(a.readers)) == ("a", ["ct.png"], 2)
    assert (b.name, list(b.readers)) == ("b", ["{case}/reader_2.png"])


def test_readers_are_in_natural_order(root):
    touch(root, "a/ct.png", *(f"a/r{i}.png" for i in (10, 2, 1)))
    (a,) = find(root, "{case}/ct.png", "{case}/r{reader}.png")
    assert [path.name for path in a.readers.values()] == ["r1.png", "r2.png", "r10.png"]


def test_images_are_channels_in_the_order_of_their_patterns(root):
    touch(root, "a/t2.png", "a/flair.png", "a/r1.png")
    (a,) = find(root, ["{case}/t2.png", "{case}/flair.png"], "{case}/r{reader}.png")
    assert [path.name for path in a.image_files] == ["t2.png", "flair.png"]


def test_several_placeholders_name_the_case_and_patient_is_the_patient(root):
    touch(root, "P1/nodule-2/images/s7.png", "P1/nodule-2/mask-0/s7.png")
    image, reader = "{patient}/{nodule}/images/{slice}.png", "{patient}/{nodule}/mask-{reader}/{slice}.png"
    (found,) = find(root, image, reader)
    assert (found.name, found.patient, len(found.readers)) == ("P1-nodule-2-s7", "P1", 1)


def test_a_file_of_a_reader_is_no_image(root):
    touch(root, "a.png", "a_1.png", "a_2.png")
    (a,) = find(root, "{case}.png", "{case}_{reader}.png")
    assert (a.name, len(a.readers)) == ("a", 2)


def test_the_patient_may_be_part_of_a_name(root):
    touch(root, "P1_v1.png", "P1_v2.png", "masks/P1_v1.png")
    found = find(root, "{case}.png", "masks/{case}.png", "{patient}_*")
    assert [one.patient for one in found] == ["P1", "P1"]


def test_a_case_without_an_image_and_one_without_a_reader_are_found_too(root):
    touch(root, "a/ct.png", "b/r1.png")
    a, b = find(root, "{case}/ct.png", "{case}/r{reader}.png")
    assert (a.readers, b.images) == ({}, {})


def test_hidden_files_are_passed_over_and_links_followed_once(root):
    touch(root, "a/ct.png", "a/r1.png", ".b/ct.png", "a/.ct.png")
    (root / "a" / "loop").symlink_to(root, target_is_directory=True)
    (root / "c").symlink_to(root / "a", target_is_directory=True)
    assert len(find(root, "{case}/ct.png", "{case}/r{reader}.png")) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_refused_and_not_passed_over(root):
    touch(root, "a/ct.png", "b/ct.png")
    (root / "b").chmod(0)
    with pytest.raises(InputError, match="b: expected a readable folder, got 'Permission denied'"):
        find(root, "{case}/ct.png", "{case}/r{reader}.png")
    (root / "b").chmod(0o700)


@pytest.mark.parametrize(
    ("image", "reader", "patient", "message"),
    [
        ("{case.png", "{case}_1.png", None, "expected placeholders as {case}, got other braces"),
        ("{a b}.png", "{case}_1.png", None, "other braces"),
        ("image.png", "mask_{reader}.png", None, "expected {case}, and no {reader}"),
        ("{reader}/{case}.png", "{case}_1.png", None, "expected {case}, and no {reader}"),
        (
            "{case}.png",
            "{patient}_{reader}.png",
            None,
            r"expected the placeholders of {case}\.png, got patient, reader",
        ),
        (["{case}/a.png", "{patient}/b.png"], "{case}/r.png", None, r"the placeholders of {case}/a\.png, got patient"),
        ("{case}.png", "{case}_1.png", "{case}_*", "expected {patient} in it"),
        ("{case}.png", [], None, "expected an --image and a --reader"),
    ],
)
def test_patterns_that_do_not_fit_are_refused(root, image, reader, patient, message):
    touch(root, "a.png")
    with pytest.raises(SettingsError, match=message):
        find(root, image, reader, patient)


@pytest.mark.parametrize(
    ("names", "patient", "message"),
    [
        ([], None, "data: expected a folder, got none"),
        (["a.tif"], None, r"data: expected images as {case}\.png, got no such file; correct --root or --image"),
        (["a.png"], "{patient}_*", r"a: expected a name of the form {patient}_\*, got another one"),
    ],
)
def test_files_that_do_not_fit_are_refused(root, names, patient, message):
    touch(root, *names)
    with pytest.raises(DatasetError, match=message):
        find(root, "{case}.png", "masks/{case}.png", patient)


def test_two_files_in_one_place_are_refused(root):
    touch(root, "a-1.png", "a-2.png", "masks/a.png")
    with pytest.raises(DatasetError, match=r"a-2\.png: expected one file for each channel and reader .*a-1\.png too"):
        find(root, "{case}-*.png", "masks/{case}.png")


def test_names_are_found_and_given_in_one_unicode_form(root):
    touch(
        root, "Mu\u0308ller/bild_ä.png", "Mu\u0308ller/a\u0308_1.png", "Mu\u0308ller/Thumbs.db", "__MACOSX/bild_ä.png"
    )
    (found,) = find(root, "{patient}/bild_ä.png", "{patient}/a\u0308_{reader}.png")
    assert (found.name, found.patient, len(found.readers)) == ("M\u00fcller", "M\u00fcller", 1)
