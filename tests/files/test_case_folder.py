"""The folder of one case: its channels, readers and grid, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from case_files import IMAGE, MASK, fill, write
from dicom_series import noise, write_series

from plurimask.datasets.open import open_dataset
from plurimask.errors import InputError
from plurimask.files.case_folder import holds_case, list_case, read_files
from plurimask.files.locate import open_study, study_name


def read_case(folder):
    return open_study(folder).case


def test_numbered_images_are_channels_in_numeric_order(tmp_path):
    channels = {f"image{n}__npy": np.full((2, 3), n, dtype="f4") for n in range(11)}
    assert read_case(fill(tmp_path / "a", **channels)).image[:, 0, 0].tolist() == list(range(11))


def test_formats_may_be_mixed_and_the_known_affine_holds(tmp_path):
    affine = np.diag([0.5, 0.7, 2.0, 1.0])
    fill(tmp_path / "a", image=IMAGE, label1__npy=MASK)
    write(tmp_path / "a" / "label0.nii.gz", MASK.astype("u1"), affine)
    case = read_case(tmp_path / "a")
    assert case.grid.spacing_mm == pytest.approx((0.5, 0.7))
    assert np.array_equal(case.readers, [MASK, MASK])


def test_volumes(tmp_path):
    volume = np.random.default_rng(0).normal(size=(4, 5, 3)).astype("f4")
    case = read_case(fill(tmp_path / "a", image__nii=volume, label0__npy=(volume > 0)))
    assert case.image.shape == (1, 4, 5, 3)
    assert np.array_equal(case.readers[0], volume > 0)


def test_an_image_may_be_a_series_and_labels_are_turned_to_its_axes(tmp_path):
    values = noise()
    paths = write_series(tmp_path / "cases" / "a" / "image", values)
    series = open_study(tmp_path / "cases" / "a" / "image")
    drawn = np.stack([values > 1000, values > 3000])
    # As another program has it: columns first, rows upwards, slices downwards.
    moved = series.case.grid.affine @ np.array([[0, -1, 0, 4], [1, 0, 0, 0], [0, 0, -1, 3], [0, 0, 0, 1]])
    turned = drawn[0][::-1, :, ::-1].swapaxes(0, 1).astype("u1")
    write(tmp_path / "cases" / "a" / "label0.nii.gz", turned, moved)
    fill(tmp_path / "cases" / "a", label1__npy=drawn[1])
    study, dataset = open_study(tmp_path / "cases" / "a"), open_dataset(tmp_path / "cases")
    assert (study.format, study.sources) == ("dicom", tuple(paths))
    for case in (study.case, dataset[0]):
        assert np.array_equal(case.image, series.case.image)
        assert np.array_equal(case.readers, drawn)
        assert case.grid.same_as(series.case.grid)
    assert set(paths) < set(dataset.files(0))
    before = dataset.digest
    paths[0].write_bytes(paths[0].read_bytes()[:-1] + b"\1")
    assert open_dataset(tmp_path / "cases").digest != before


def test_a_series_may_have_files_of_other_kinds_beside_its_slices(tmp_path):
    write_series(tmp_path / "a" / "image", noise())
    (tmp_path / "a" / "image" / "A" / "b").mkdir(parents=True)
    (tmp_path / "a" / "image" / "Contents.txt").write_text("a scan")
    (tmp_path / "a" / "image" / "DICOMDIR").write_bytes(b"")
    assert np.array_equal(read_case(tmp_path / "a").image[0], noise() - 1024.0)


def test_a_folder_called_image_that_holds_no_series_is_refused_and_a_dataset_may_have_cases_of_that_name(tmp_path):
    fill(tmp_path / "cases" / "image", image=IMAGE)
    assert not holds_case(tmp_path / "cases")
    with pytest.raises(InputError, match=r"expected image.png .* got image; rename or convert it"):
        list_case(tmp_path / "cases")


def test_upper_case_names_count(tmp_path):
    case = read_case(fill(tmp_path / "a", Image=IMAGE, LABEL0__PNG=MASK))
    assert np.array_equal(case.readers, [MASK])


def test_a_case_takes_its_folders_name(tmp_path, monkeypatch):
    monkeypatch.chdir(fill(tmp_path / "b", image=IMAGE))
    assert read_case(Path(".")).name == "b"


@pytest.mark.parametrize("name", ["..png", ".hidden.png", "a\nb.png", "a:b.png", " .png"])
def test_a_name_that_cannot_be_a_folder_everywhere_is_refused(tmp_path, name):
    with pytest.raises(InputError, match="expected a case name that any file system can hold"):
        study_name(tmp_path / name)


def test_a_case_is_told_from_a_dataset(tmp_path):
    assert holds_case(fill(tmp_path / "a", image=IMAGE))
    assert not holds_case(tmp_path)


def test_numbering_starts_at_zero(tmp_path):
    with pytest.raises(InputError, match="got image1 but no image0"):
        read_case(fill(tmp_path / "a", image1=IMAGE))


def test_a_case_without_image_is_refused_with_what_is_there(tmp_path):
    with pytest.raises(InputError, match=r"a: expected image\.png .*, got imgae\.png; add the image"):
        list_case(fill(tmp_path / "a", imgae=IMAGE))


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


def test_headers_that_differ_by_rounding_are_told_in_mm_and_can_be_accepted(tmp_path):
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    image, label = tmp_path / "image.nii", tmp_path / "label0.nii"
    write(image, np.zeros((6, 8, 3), "f4"), affine)
    write(label, np.ones((6, 8, 3), "u1"), affine + 0.002 * np.eye(4))
    with pytest.raises(
        InputError, match=r"got another one, 0\.018 mm or 0\.018 voxels off at a corner; bring all files"
    ):
        read_files("a", [image], [label], None)
    case = read_files("a", [image], [label], None, tolerance_mm=0.02)
    assert np.array_equal(case.grid.affine, affine)
    with pytest.raises(InputError, match="off at a corner"):
        read_files("a", [image], [label], None, tolerance_mm=0.01)
