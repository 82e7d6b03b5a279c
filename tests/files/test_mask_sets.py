"""Mask sets on disk: round trips, other people's files, and everything that is refused."""

import gzip
import io
import json
import os
import tempfile
import tracemalloc
import zipfile
from contextlib import suppress
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from plurimask.errors import InputError, SettingsError
from plurimask.files.mask_sets import (
    MaskSets,
    find_mask_files,
    list_mask_files,
    read_mask_set,
    read_samples,
    read_stack,
    write_mask_set,
)
from plurimask.files.stored import MOST_GIB
from plurimask.geometry import Grid
from plurimask.records import MaskSet

MASKS = np.arange(2 * 3 * 4).reshape(2, 3, 4) % 3 == 0

PANEL = MaskSet(
    name="case 7",
    masks=MASKS,
    grid=Grid.plane((3, 4), 0.7),
    method="cimd",
    seeds=(11, 12),
    checkpoint="ab" * 32,
    settings={"steps": 20, "eta": 0.5},
    weights=(12, 4),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder `case 7` that holds PANEL."""
    write_mask_set(tmp_path / PANEL.name, PANEL)
    return tmp_path / PANEL.name


def foreign(folder: Path, **arrays: np.ndarray) -> Path:
    """A folder with a masks.npz as another program may write it."""
    folder.mkdir()
    np.savez(folder / "masks.npz", **arrays)
    return folder


def describe(folder: Path, **changes: object) -> None:
    path = folder / "set.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_every_field_survives_a_round_trip(folder):
    read = read_mask_set(folder)
    for name in ("name", "method", "seeds", "checkpoint", "settings", "weights"):
        assert getattr(read, name) == getattr(PANEL, name)
    assert np.array_equal(read.masks, PANEL.masks)
    assert np.array_equal(read.grid.affine, PANEL.grid.affine)


@given(arrays(bool, array_shapes(min_dims=3, max_dims=4, max_side=5)))
def test_masks_of_any_shape_survive_a_round_trip(masks):
    with tempfile.TemporaryDirectory() as root:
        write_mask_set(Path(root) / "a", MaskSet("a", masks, Grid(masks.shape[1:])))
        read = read_mask_set(Path(root) / "a")
    assert read.masks.dtype == bool
    assert np.array_equal(read.masks, masks)
    assert (read.grid.affine, read.seeds, read.method, read.checkpoint) == (None,) * 4


def test_the_description_has_sorted_keys_and_is_the_same_every_time(folder):
    assert sorted(os.listdir(folder)) == ["masks.npz", "set.json"]
    first = (folder / "set.json").read_bytes()
    assert list(json.loads(first)) == ["checkpoint", "grid", "method", "name", "seeds", "settings", "weights"]
    write_mask_set(folder, PANEL)
    assert (folder / "set.json").read_bytes() == first


def test_masks_are_compressed(tmp_path):
    panel = MaskSet("a", np.zeros((16, 128, 128), dtype=bool), Grid((128, 128)))
    write_mask_set(tmp_path / "a", panel)
    assert (tmp_path / "a" / "masks.npz").stat().st_size < panel.masks.nbytes / 100


def test_a_set_is_replaced_whole_also_of_another_format(folder):
    write_mask_set(folder, MaskSet(PANEL.name, MASKS[:1, :2], Grid((2, 4))))
    read = read_mask_set(folder)
    assert (read.masks.shape, read.seeds) == ((1, 2, 4), None)
    (folder / "masks.npz").rename(folder / "masks.nii.gz")
    (folder / "maps").mkdir()
    write_mask_set(folder, PANEL)
    assert sorted(os.listdir(folder)) == ["masks.npz", "set.json"]


def test_files_of_others_are_never_replaced(folder):
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(
        SettingsError, match=r"expected a new or empty folder, or that of a panel, got notes\.txt in it"
    ):
        write_mask_set(folder, PANEL)
    assert sorted(os.listdir(folder)) == ["masks.npz", "notes.txt", "set.json"]


def test_settings_that_json_cannot_hold_leave_nothing_behind(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_mask_set(tmp_path / "a", MaskSet("a", MASKS, Grid((3, 4)), settings={"scale": float("nan")}))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a/b", "a\\b", "..", ".", "", "a\nb", "c:d", "e*", ".f"])
def test_names_that_cannot_be_a_folders_are_refused(tmp_path, name):
    with pytest.raises(InputError, match="expected a case name that any file system can hold"):
        write_mask_set(tmp_path / name, MaskSet(name, MASKS, Grid((3, 4))))
    assert not list(tmp_path.iterdir())


def test_a_folder_of_another_name_is_refused(tmp_path):
    with pytest.raises(InputError, match="expected a folder named case 7, got other"):
        write_mask_set(tmp_path / "other", PANEL)


def test_a_folder_without_masks_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"expected masks\.npz, or one file a sample, got none; draw masks first"):
        read_mask_set(tmp_path)


def test_a_file_cut_off_anywhere_is_refused(folder):
    path = folder / "masks.npz"
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"/case 7/masks\.npz: expected a whole masks\.npz"):
            read_mask_set(folder)


def test_a_changed_byte_is_refused_or_makes_no_difference(folder):
    path = folder / "masks.npz"
    whole = path.read_bytes()
    unharmed = 0
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x41]) + whole[position + 1 :])
        with suppress(InputError):
            assert np.array_equal(read_mask_set(folder).masks, MASKS)
            unharmed += 1
    assert 0 < unharmed < len(whole) / 2


@given(st.integers(0, 127), st.binary(min_size=1, max_size=3))
def test_an_array_header_of_rubbish_is_refused_or_makes_no_difference(position, rubbish):
    content = io.BytesIO()
    np.save(content, MASKS)
    array = bytearray(content.getvalue())
    array[position : position + len(rubbish)] = rubbish
    with tempfile.TemporaryDirectory() as root:
        with zipfile.ZipFile(Path(root) / "masks.npz", "w") as archive:
            archive.writestr("masks.npy", bytes(array))
        with suppress(InputError):
            assert read_mask_set(Path(root)).masks.size <= MASKS.size


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": [1, 2, 3]}, "expected number of seeds 2, as in the folder, got 3"),
        ({"weights": [1, 2, 3]}, "expected number of weights 2, as in the folder, got 3"),
        ({"weights": [4, 0]}, r"weights\.1: expected a number of at least 1, got 0"),
        ({"grid": {"shape": [4, 3]}}, r"expected shape \(3, 4\), as in the folder, got \(4, 3\)"),
        ({"name": "case 8"}, "expected name case 7, as in the folder, got case 8"),
        ({"grid": {"shape": [3, 4], "affine": [[0.0] * 4] * 4}}, "expected a usable grid"),
        (
            {"grid": {"shape": [3, 4], "affine": [[1.0], [2.0, 3.0]]}},
            r"grid\.affine\.0: expected 4 or more values, got \[1\.0\]",
        ),
        ({"seeds": ["1", "2"]}, r"seeds\.0: expected a whole number, got '1'"),
        ({"settings": 3}, "settings: expected a table, got 3"),
    ],
)
def test_a_description_that_disagrees_or_has_other_types_is_refused(folder, changes, message):
    describe(folder, **changes)
    with pytest.raises(InputError, match=r"case 7/set\.json: " + message):
        read_mask_set(folder)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"{", "a description as plurimask writes it"),
        (b"\xff\xfe", "a description as plurimask writes it"),
        (b'{"settings": {"a": NaN}}', "a description as plurimask writes it"),
        (b"[]", "a table"),
        (b"null", "a table"),
    ],
)
def test_a_description_that_is_not_a_json_object_is_refused(folder, content, expected):
    (folder / "set.json").write_bytes(content)
    with pytest.raises(InputError, match=rf"set\.json: expected {expected}, got"):
        read_mask_set(folder)


def test_unknown_keys_of_a_description_are_passed_over(folder):
    describe(folder, author="another program")
    assert read_mask_set(folder).seeds == PANEL.seeds


def test_sets_are_read_one_by_one_in_the_order_of_their_names(tmp_path):
    for name in ("b", "a"):
        write_mask_set(tmp_path / name, MaskSet(name, MASKS, Grid((3, 4))))
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "masks.npz").write_bytes(b"damaged")
    (tmp_path / "figures").mkdir()
    panels = iter(MaskSets.under(tmp_path).values())
    assert [next(panels).name, next(panels).name] == ["a", "b"]
    with pytest.raises(InputError, match=r"/c/masks\.npz: expected a whole masks\.npz"):
        next(panels)


def test_sets_of_the_wanted_cases_are_chosen_and_those_of_unknown_cases_refused(tmp_path):
    for name in ("b", "a", "c"):
        write_mask_set(tmp_path / name, MaskSet(name, MASKS, Grid((3, 4))))
    sets = MaskSets.under(tmp_path)
    assert list(sets.among({"c", "b", "z"}, known={"a", "b", "c", "z"})) == ["b", "c"]
    with pytest.raises(InputError, match=r"/c: expected masks of a case of the dataset, got an unknown case"):
        sets.among({"a"}, known={"a", "b"})


def test_whether_a_set_is_there_is_known_without_reading_it(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "masks.npz").write_bytes(b"damaged")
    sets = MaskSets.under(tmp_path)
    assert ("a" in sets, "b" in sets, len(sets)) == (True, False, 1)


def test_a_description_alone_is_a_set_that_was_not_finished_and_is_passed_over(folder):
    write_mask_set(folder.parent / "other", MaskSet("other", MASKS, Grid((3, 4))))
    (folder / "masks.npz").unlink()
    assert list(MaskSets.under(folder.parent)) == ["other"]


def test_the_name_of_a_case_that_is_given_as_a_dot_is_its_folders(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert read_mask_set(Path(".")).name == "case 7"


def save_volumes(folder: Path, affine: np.ndarray) -> None:
    folder.mkdir()
    for number, mask in enumerate(MASKS):
        nib.save(nib.Nifti1Image(mask.astype(np.uint8), affine), folder / f"sample{number}.nii.gz")


def test_a_description_beside_samples_is_heeded_where_it_agrees_with_them(tmp_path):
    affine = np.diag([0.7, 0.7, 2, 1])
    save_volumes(tmp_path / "a", affine)
    stated = {"shape": [3, 4], "affine": (affine + 1e-5 * np.eye(4)).tolist()}
    (tmp_path / "a" / "set.json").write_text(json.dumps({"method": "theirs", "seeds": [5, 6], "grid": stated}))
    (panel,) = MaskSets.under(tmp_path).values()
    assert (panel.method, panel.seeds) == ("theirs", (5, 6))
    np.testing.assert_allclose(panel.grid.affine, affine, atol=1e-4)
    describe(tmp_path / "a", grid={"shape": [3, 4], "affine": np.eye(4).tolist()})
    with pytest.raises(InputError, match=r"a/set\.json: expected the affine of the masks, got another one"):
        read_mask_set(tmp_path / "a")


def test_masks_alone_are_enough(tmp_path):
    np.save(tmp_path / "a.npy", MASKS)
    foreign(tmp_path / "b", masks=MASKS)
    for path in ("a.npy", "b"):
        panel = read_mask_set(tmp_path / path)
        assert (panel.name, panel.method) == (path[0], None)
        assert np.array_equal(panel.masks, MASKS)


# --- Where masks lie: every layout, the order of samples, and what is refused before anything is read.


@pytest.fixture
def make(tmp_path):
    """Empty files at these paths below the returned folder."""

    def touch(*paths):
        for path in paths:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).touch()
        return tmp_path

    return touch


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".nii", ".nii.gz", ".NII.GZ"])
@pytest.mark.parametrize("stem", ["a/masks", "a"])
def test_a_stack_lies_in_the_cases_folder_or_bears_its_name(make, stem, suffix):
    root = make(stem + suffix)
    (files,) = list_mask_files(root)
    assert (files.name, files.stack, files.samples) == ("a", root / (stem + suffix), ())


@pytest.mark.parametrize("suffix", [".png", ".npy", ".nii.gz"])
def test_samples_lie_one_a_file_under_any_name(make, suffix):
    root = make(f"a/anything{suffix}", f"a/other{suffix}")
    (files,) = list_mask_files(root)
    assert files.stack is None
    assert [path.name for path in files.samples] == [f"anything{suffix}", f"other{suffix}"]


def test_samples_are_in_natural_order(make):
    names = ["2.png", "10.png", "mask.png", "mask2.png", "mask02b.png", "mask10.npy", "mask010.png", "s1-9.png"]
    root = make(*(f"a/{name}" for name in reversed(names)))
    found = [path.name for path in find_mask_files(root / "a").samples]
    assert found == ["2.png", "10.png", "mask.png", "mask2.png", "mask02b.png", "mask010.png", "mask10.npy", "s1-9.png"]


def test_cases_are_sorted_by_name_whatever_their_form_and_may_hold_dots(make):
    root = make("c.npz", "a/masks.npy", "b/0.png", "B.nii.gz", "1.2.840.npz", "1.2.9/masks.npz", "1.2.nii.nii.gz")
    names = [files.name for files in list_mask_files(root)]
    assert names == ["1.2.840", "1.2.9", "1.2.nii", "B", "a", "b", "c"]


def test_hidden_and_other_files_are_passed_over(make):
    beside = make("a.npz", ".b.npz", ".c/masks.npz", "README.md", "overview.png", "log.json", "figures/2026/a.png")
    assert [files.name for files in list_mask_files(beside)] == ["a"]
    root = make("d/0.png", "d/.1.png", "d/old/2.png", "d/set.json", "e/masks.npz", "e/notes.txt")
    assert find_mask_files(root / "d").samples == (root / "d/0.png",)
    assert find_mask_files(root / "e").stack == root / "e/masks.npz"


def test_a_link_that_leads_nowhere_is_still_a_sample(make):
    root = make("a/0.png")
    (root / "a/1.png").symlink_to(root / "gone.png")
    assert len(find_mask_files(root / "a").samples) == 2


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (("a/masks.npz", "a.npy"), "expected masks of a in one form, got a and a.npy; remove one"),
        (("a.npz", "a.nii.gz"), r"expected masks of a in one form, got a\.nii\.gz and a\.npz"),
        (("a/masks.npz", "a/masks.nii"), r"/a: expected masks of the case in one form, got masks\.nii and masks\.npz"),
        (
            ("a/masks.npz", "a/samples.dcm"),
            r"/a: expected masks of the case in one form, got masks\.npz and samples\.dcm",
        ),
        (("a/0.png", "a/samples.dcm"), r"/a: expected masks of the case in one form, got samples\.dcm and 0\.png"),
        (("a/masks.npz", "a/0.png"), r"/a: expected masks of the case in one form, got masks\.npz and 0\.png"),
        (("a/0.png", "a/0.npy"), r"/a: expected masks of 0 in one form, got 0\.npy and 0\.png"),
    ],
)
def test_two_forms_are_refused_by_name(make, paths, message):
    with pytest.raises(InputError, match=message):
        list_mask_files(make(*paths))


@pytest.mark.parametrize(
    ("paths", "got"),
    [
        (("a/0.png", "a/1.png", "a/0.bmp"), r"0\.bmp"),
        (("a/0.bmp", "b.npz"), r"0\.bmp"),
        (("a/samples.npz",), r"samples\.npz"),
        (("a/agreement.dcm", "a/report.dcm"), r"agreement\.dcm"),
    ],
)
def test_a_file_of_another_kind_is_refused_and_never_left_out(make, paths, got):
    with pytest.raises(InputError, match=rf"/a: expected CASE/masks\.npz .*, got {got}; rename, convert or remove it"):
        list_mask_files(make(*paths))


@pytest.mark.parametrize("image", ["image.png", "Image0.nii.gz"])
def test_a_dataset_in_place_of_the_masks_is_refused(make, image):
    with pytest.raises(InputError, match="/a: expected masks alone, got a case with image and label0; pass the masks"):
        list_mask_files(make(f"a/{image}", "a/label0.png"))


@pytest.mark.parametrize("names", [("image0.png", "image1.png"), ("label0.png", "label1.png")])
def test_samples_may_be_named_like_images_or_labels(make, names):
    assert [path.name for path in find_mask_files(make(*(f"a/{name}" for name in names)) / "a").samples] == list(names)


def test_the_folder_of_a_single_case_is_refused(make):
    with pytest.raises(InputError, match=r"got masks\.npz alone; pass the folder above it"):
        list_mask_files(make("a/masks.npz") / "a")


@pytest.mark.parametrize("paths", [(), ("a/set.json",), ("overview.png",)])
def test_a_folder_without_any_masks_is_refused(make, paths):
    with pytest.raises(InputError, match=r"expected CASE/masks\.npz .*, got none; draw masks first, or mend the path"):
        list_mask_files(make(*paths))
    with pytest.raises(InputError, match="absent: expected a readable folder, got 'No such file"):
        list_mask_files(make() / "absent")


# --- Masks in every format against the same truth, and the arrays that are refused.


PLANES = np.arange(5 * 6 * 7).reshape(5, 6, 7) % 3 == 0

VOLUMES = np.arange(5 * 6 * 7 * 4).reshape(5, 6, 7, 4) % 11 < 4

AFFINE = np.array([[0.0, -0.7, 0, 5], [-0.7, 0, 0, 6], [0, 0, 2, 7], [0, 0, 0, 1]])


def save_npz(path, masks):
    np.savez_compressed(path, masks=masks)


def save_nifti(path, masks):
    """Samples along the last of four axes, with one slice for planes."""
    volume = masks[..., None] if masks.ndim == 3 else masks
    write_nifti(path, np.moveaxis(volume, 0, -1).astype(np.uint8))


def write_nifti(path, values, unit="mm"):
    image = nib.Nifti1Image(values, AFFINE)
    image.header.set_xyzt_units(unit)
    nib.save(image, path)


SAVERS = {".npz": save_npz, ".npy": np.save, ".nii": save_nifti, ".nii.gz": save_nifti}


@pytest.mark.parametrize("masks", [PLANES, VOLUMES, PLANES[:1], VOLUMES[:1]], ids=lambda masks: str(masks.shape))
@pytest.mark.parametrize("suffix", SAVERS)
def test_a_stack_of_any_format_is_read_back(tmp_path, suffix, masks):
    SAVERS[suffix](tmp_path / f"a{suffix}", masks)
    read, grid = read_stack(tmp_path / f"a{suffix}")
    assert (type(read), read.dtype, grid.shape) == (np.ndarray, bool, masks.shape[1:])
    np.testing.assert_array_equal(read, masks)


@pytest.mark.parametrize("values", [PLANES * np.uint8(255), PLANES * np.float64(0.9)])
def test_what_counts_as_drawn_is_the_rule_for_labels(tmp_path, values):
    np.savez(tmp_path / "a.npz", masks=values)
    np.testing.assert_array_equal(read_stack(tmp_path / "a.npz")[0], PLANES)


def test_values_against_the_rule_are_refused_by_the_name_of_the_case(tmp_path):
    for suffix in (".npz", ".npy"):
        SAVERS[suffix](tmp_path / f"case-3{suffix}", PLANES * 2.0)
        got = rf"/case-3\{suffix}: expected a label of 0 and 1.*, got floats from 0 to 2"
        with pytest.raises(InputError, match=got):
            read_stack(tmp_path / f"case-3{suffix}")


@pytest.mark.parametrize("suffix", [".npz", ".npy"])
@pytest.mark.parametrize("shape", [(3, 4), (1, 2, 3, 4, 5), (0, 3, 4), (2, 0, 4), ()])
def test_masks_of_other_shapes_are_refused(tmp_path, suffix, shape):
    SAVERS[suffix](tmp_path / f"a{suffix}", np.zeros(shape, dtype=bool))
    with pytest.raises(InputError, match=rf"/a\{suffix}: expected masks of shape \(S, H, W\[, D\]\)"):
        read_stack(tmp_path / f"a{suffix}")


@pytest.mark.parametrize(
    "arrays", [{"arr_0": PLANES}, {"image": np.ones((6, 7)), "masks": PLANES, "seeds": np.arange(5)}]
)
def test_the_array_named_masks_is_taken_or_the_only_one(tmp_path, arrays):
    np.savez(tmp_path / "a.npz", **arrays)
    np.testing.assert_array_equal(read_stack(tmp_path / "a.npz")[0], PLANES)


@pytest.mark.parametrize(
    ("arrays", "got"), [({"first": PLANES, "second": PLANES}, "first, second; rename"), ({}, "none")]
)
def test_two_arrays_of_other_names_and_none_are_refused(tmp_path, arrays, got):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match=f"expected an array `masks`, or one array alone, got {got}"):
        read_stack(tmp_path / "a.npz")


@pytest.mark.parametrize("suffix", [".npz", ".npy"])
def test_pickled_content_is_refused(tmp_path, suffix):
    SAVERS[suffix](tmp_path / f"a{suffix}", np.array([PLANES, None], dtype=object))
    with pytest.raises(InputError, match=rf"expected a whole a\{suffix} without pickled objects"):
        read_stack(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("suffix", SAVERS)
def test_a_stack_that_is_not_there_or_cut_short_is_refused(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    with pytest.raises(InputError, match=rf"/a\{suffix}: expected .*No such file"):
        read_stack(path)
    SAVERS[suffix](path, VOLUMES)
    whole = path.read_bytes()
    for length in range(0, len(whole) - 8, 97):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=rf"/a\{suffix}: expected (a whole|a readable|at least [\d,]+ bytes)"):
            read_stack(path)


@pytest.mark.parametrize(("unit", "mm"), [("mm", 1), ("meter", 1000)])
@pytest.mark.parametrize("masks", [PLANES, VOLUMES], ids=["planes", "volumes"])
def test_a_nifti_stack_brings_its_affine_in_mm(tmp_path, masks, unit, mm):
    volume = masks[..., None] if masks.ndim == 3 else masks
    write_nifti(tmp_path / "a.nii", np.moveaxis(volume, 0, -1).astype(np.uint8), unit)
    np.testing.assert_allclose(read_stack(tmp_path / "a.nii")[1].affine[:3], AFFINE[:3] * mm, rtol=1e-6)


@pytest.mark.parametrize("shape", [(6, 7), (6, 7, 4), (6, 7, 4, 1, 5)])
def test_a_nifti_stack_of_other_than_four_axes_is_refused_as_unclear(tmp_path, shape):
    write_nifti(tmp_path / "a.nii.gz", np.zeros(shape, dtype=np.uint8))
    with pytest.raises(InputError, match=r"a\.nii\.gz: expected four axes \(H, W, D, S\).*write \(H, W, 1, S\)"):
        read_stack(tmp_path / "a.nii.gz")


def test_a_nifti_that_claims_too_much_is_refused_before_memory_is_taken(tmp_path):
    save_nifti(tmp_path / "a.nii", VOLUMES)
    claim = bytearray((tmp_path / "a.nii").read_bytes())
    claim[42:48] = np.array([30000, 30000, 30000], dtype="<i2").tobytes()
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(bytes(claim)))
    with pytest.raises(InputError, match=r"b\.nii\.gz: expected at most 4 GiB of memory"):
        read_stack(tmp_path / "b.nii.gz")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_of_a_nifti_stack_every_sample_may_be_as_large_as_a_volume(tmp_path, monkeypatch, suffix):
    monkeypatch.setenv(MOST_GIB, str(6 * 7 * 4 * 5 / 2**30))
    save_nifti(tmp_path / f"a{suffix}", VOLUMES)
    np.testing.assert_array_equal(read_stack(tmp_path / f"a{suffix}")[0], VOLUMES)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_beside_the_masks_of_a_nifti_stack_little_memory_is_taken(tmp_path, suffix):
    masks = np.zeros((64, 32, 32, 32), dtype=bool)
    save_nifti(tmp_path / f"a{suffix}", masks)
    tracemalloc.start()
    read_stack(tmp_path / f"a{suffix}")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.25 * masks.nbytes


def test_more_masks_than_the_bound_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv(MOST_GIB, str((VOLUMES.size - 1) / 2**30))
    save_nifti(tmp_path / "a.nii.gz", VOLUMES)
    with pytest.raises(InputError, match=r"a\.nii\.gz: expected at most .* of memory for an array, got size 5x6x7x4"):
        read_stack(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("suffix", SAVERS)
def test_the_rule_for_labels_is_that_of_each_sample(tmp_path, suffix):
    SAVERS[suffix](tmp_path / f"a{suffix}", PLANES * np.array([1, 255, 255, 1, 255], dtype=np.uint8)[:, None, None])
    np.testing.assert_array_equal(read_stack(tmp_path / f"a{suffix}")[0], PLANES)


def test_a_nifti_stack_with_a_singular_affine_is_refused_by_name(tmp_path):
    save_nifti(tmp_path / "a.nii", PLANES)
    header = nib.load(tmp_path / "a.nii").header
    header["srow_z"] = 0
    (tmp_path / "b.nii").write_bytes(header.binaryblock + (tmp_path / "a.nii").read_bytes()[348:])
    with pytest.raises(InputError, match=r"b\.nii: expected a usable grid"):
        read_stack(tmp_path / "b.nii")


def save_picture(path, mask):
    Image.fromarray(mask * np.uint8(255)).save(path)


def save_sample(path, mask):
    write_nifti(path, mask.astype(np.uint8))


SAMPLES = {".png": save_picture, ".npy": np.save, ".nii": save_sample, ".nii.gz": save_sample}


def save_samples(folder, suffix, masks):
    paths = [folder / f"{number}{suffix}" for number in range(len(masks))]
    for path, mask in zip(paths, masks, strict=True):
        SAMPLES[suffix](path, mask)
    return paths


@pytest.mark.parametrize("suffix", SAMPLES)
def test_samples_one_a_file_are_stacked_in_the_order_given(tmp_path, suffix):
    masks = PLANES * (np.arange(5) > 0)[:, None, None]  # of which the first is empty
    read, grid = read_samples(save_samples(tmp_path, suffix, masks))
    assert (read.dtype, grid.shape) == (bool, (6, 7))
    np.testing.assert_array_equal(read, masks)


def test_jpeg_samples_of_0_and_255_are_read(tmp_path):
    disc = np.hypot(*np.mgrid[-16:16, -16:16]) < 9
    paths = [tmp_path / "0.jpg", tmp_path / "1.jpg"]
    for path, mask in zip(paths, (disc, ~disc), strict=True):
        Image.fromarray(mask * np.uint8(255)).save(path, quality=75)
    np.testing.assert_array_equal(read_samples(paths)[0], [disc, ~disc])


def test_the_affine_of_any_sample_is_that_of_all(tmp_path):
    np.save(tmp_path / "0.npy", VOLUMES[0])
    write_nifti(tmp_path / "1.nii.gz", VOLUMES[1].astype(np.uint8))
    read, grid = read_samples([tmp_path / "0.npy", tmp_path / "1.nii.gz"])
    np.testing.assert_array_equal(read, VOLUMES[:2])
    np.testing.assert_allclose(grid.affine, AFFINE, rtol=1e-6)


def test_samples_of_two_grids_are_refused(tmp_path):
    np.save(tmp_path / "0.npy", PLANES[0])
    np.save(tmp_path / "1.npy", PLANES[1, :5])
    with pytest.raises(InputError, match=r"/1\.npy: expected size 6x7, as 0\.npy has, got 5x7"):
        read_samples([tmp_path / "0.npy", tmp_path / "1.npy"])
    write_nifti(tmp_path / "0.nii", PLANES[0].astype(np.uint8))
    nib.save(nib.Nifti1Image(PLANES[1].astype(np.uint8), np.eye(4)), tmp_path / "1.nii")
    with pytest.raises(InputError, match=r"/1\.nii: expected the affine of 0\.nii, got another one"):
        read_samples([tmp_path / "0.nii", tmp_path / "1.nii"])


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damage_under_any_compression_is_refused(tmp_path, kind):
    np.save(tmp_path / "masks.npy", PLANES)
    with zipfile.ZipFile(tmp_path / "a.npz", "w", kind) as archive:
        archive.write(tmp_path / "masks.npy", "masks.npy")
    whole = bytearray((tmp_path / "a.npz").read_bytes())
    np.testing.assert_array_equal(read_stack(tmp_path / "a.npz")[0], PLANES)
    whole[45:70] = bytes(25)
    (tmp_path / "a.npz").write_bytes(whole)
    with pytest.raises(InputError, match=r"a\.npz: expected a whole a\.npz"):
        read_stack(tmp_path / "a.npz")


def test_masks_bear_their_cases_name_in_any_unicode_form(tmp_path):
    np.save(tmp_path / "Mu\u0308ller.npy", np.ones((2, 4, 5), dtype=bool))
    assert list(MaskSets.under(tmp_path)) == ["M\u00fcller"]
    with pytest.raises(InputError, match=r"got an unknown case \(character 1: U\+004D against U\+006D\)"):
        MaskSets.under(tmp_path).among([], ["m\u00fcller"])


CLASSES = np.random.default_rng(0).dirichlet(np.ones(4), (8, 9)).transpose(2, 0, 1)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("count", [2, 4])
def test_probabilities_of_classes_are_no_panel(tmp_path, dtype, count):
    values = np.concatenate([CLASSES[: count - 1], CLASSES[count - 1 :].sum(0, keepdims=True)]).astype(dtype)
    match = f"expected masks, one a sample or reader, got {count} planes that add up to 1 everywhere"
    save_npz(tmp_path / "a.npz", values)
    write_nifti(tmp_path / "a.nii", np.moveaxis(values[..., None], 0, -1).astype("f4"))
    for name in ("a.npz", "a.nii"):
        with pytest.raises(InputError, match=match):
            read_stack(tmp_path / name)
    paths = [tmp_path / f"{number}.npy" for number in range(count)]
    for path, plane in zip(paths, values, strict=True):
        np.save(path, plane)
    with pytest.raises(InputError, match=match):
        read_samples(paths)


@pytest.mark.parametrize("scale", [True, np.uint8(1), np.uint8(255), np.float16(1)])
def test_complementary_masks_and_smooth_ones_that_do_not_add_up_are_a_panel(tmp_path, scale):
    pair = np.stack([PLANES[0], ~PLANES[0]])
    save_npz(tmp_path / "a.npz", pair * scale)
    np.testing.assert_array_equal(read_stack(tmp_path / "a.npz")[0], pair)
    save_npz(tmp_path / "b.npz", CLASSES[:3])
    np.testing.assert_array_equal(read_stack(tmp_path / "b.npz")[0], CLASSES[:3] > 0.5)


@pytest.mark.parametrize("suffix", [".npz", ".npy"])
@pytest.mark.parametrize("shape", [(5, 1, 6, 7), (5, 6, 7, 1)])
def test_one_plane_a_sample_is_a_plane_wherever_its_axis_of_one_stands(tmp_path, suffix, shape):
    SAVERS[suffix](tmp_path / f"a{suffix}", PLANES.reshape(shape))
    np.testing.assert_array_equal(read_stack(tmp_path / f"a{suffix}")[0], PLANES)


@pytest.mark.parametrize("shape", [(6, 7, 2), (5, 2, 6, 7), (6, 2, 7)])
def test_masks_of_a_pixel_or_two_are_asked_about_unless_their_size_is_stated(tmp_path, shape):
    masks = np.ones(shape, dtype=bool)
    np.save(tmp_path / "a.npy", masks)
    with pytest.raises(
        InputError, match=r"expected samples, rows, columns .* whose masks would be .* pixels; move the"
    ):
        read_stack(tmp_path / "a.npy")
    np.testing.assert_array_equal(read_stack(tmp_path / "a.npy", shape[1:])[0], masks)


def bomb(path, shape, dtype="|b1", content=b""):
    """An archive whose header claims an array, and which holds this much of it."""
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        array = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + content
        archive.writestr("masks.npy", array)
    return path


@pytest.mark.parametrize(
    ("shape", "dtype", "match"),
    [
        ((4, 2**15, 2**15 + 1), "|b1", r"got size 32768x32769, which takes 4\.00 GiB"),
        ((5, 2**15, 2**15), "|b1", r"got size 5x32768x32768, which takes 5\.00 GiB"),
        ((2, 2**15, 2**15), "<f8", r"got size 32768x32768, which takes 8\.00 GiB"),
        ((2, 2**14, 2**14), "|b1", r"expected a whole a\.npz"),
    ],
)
def test_what_an_archive_claims_takes_no_memory(tmp_path, shape, dtype, match):
    path = bomb(tmp_path / "a.npz", shape, dtype, bytes(1000))
    tracemalloc.start()
    with pytest.raises(InputError, match=match):
        read_stack(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * 2**28 + 2**20  # the masks of the last, which are never touched
