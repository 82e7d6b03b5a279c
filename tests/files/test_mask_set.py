"""Mask sets on disk: round trips, other people's files, and everything that is refused."""

import io
import json
import os
import tempfile
import zipfile
from contextlib import suppress
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from plurimask.errors import InputError, SettingsError
from plurimask.files.mask_sets import MaskSets, read_mask_set, write_mask_set
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
    for name in ("name", "method", "seeds", "checkpoint", "settings"):
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


def test_a_folder_holds_the_two_files_and_nothing_else(folder):
    assert sorted(os.listdir(folder)) == ["masks.npz", "set.json"]


def test_the_description_has_sorted_keys_and_is_the_same_every_time(folder):
    first = (folder / "set.json").read_bytes()
    assert list(json.loads(first)) == ["checkpoint", "grid", "method", "name", "seeds", "settings"]
    write_mask_set(folder, PANEL)
    assert (folder / "set.json").read_bytes() == first


def test_masks_are_compressed(tmp_path):
    panel = MaskSet("a", np.zeros((16, 128, 128), dtype=bool), Grid((128, 128)))
    write_mask_set(tmp_path / "a", panel)
    assert (tmp_path / "a" / "masks.npz").stat().st_size < panel.masks.nbytes / 100


def test_a_set_is_replaced_whole(folder):
    write_mask_set(folder, MaskSet(PANEL.name, MASKS[:1, :2], Grid((2, 4))))
    read = read_mask_set(folder)
    assert read.masks.shape == (1, 2, 4)
    assert read.seeds is None


def test_a_set_replaces_a_panel_of_another_format(folder):
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


def test_masks_alone_are_enough(tmp_path):
    panel = read_mask_set(foreign(tmp_path / "b", masks=MASKS))
    assert panel.name == "b"
    assert np.array_equal(panel.masks, MASKS)


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


@pytest.mark.parametrize("flip", [0x01, 0x40, 0xFF])
def test_a_changed_byte_is_refused_or_makes_no_difference(folder, flip):
    path = folder / "masks.npz"
    whole = path.read_bytes()
    unharmed = 0
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ flip]) + whole[position + 1 :])
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
        ({"seeds": []}, "expected number of seeds 2, as in the folder, got 0"),
        ({"grid": {"shape": [4, 3]}}, r"expected shape \(3, 4\), as in the folder, got \(4, 3\)"),
        ({"name": "case 8"}, "expected name case 7, as in the folder, got case 8"),
        ({"grid": {"shape": [3, 4], "affine": [[0.0] * 4] * 4}}, "expected a usable affine"),
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
        (b"", "a description as plurimask writes it"),
        (b"{", "a description as plurimask writes it"),
        (b"\xff\xfe", "a description as plurimask writes it"),
        (b"[]", "a table"),
        (b"null", "a table"),
    ],
)
def test_a_description_that_is_not_a_json_object_is_refused(folder, content, expected):
    (folder / "set.json").write_bytes(content)
    with pytest.raises(InputError, match=rf"set\.json: expected {expected}, got"):
        read_mask_set(folder)


def test_a_description_with_nan_is_refused(folder):
    (folder / "set.json").write_text('{"settings": {"a": NaN}}')
    with pytest.raises(InputError, match=r"set\.json: expected a description as plurimask writes it"):
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


def some_sets(root: Path) -> MaskSets:
    for name in ("b", "a", "c"):
        write_mask_set(root / name, MaskSet(name, MASKS, Grid((3, 4))))
    return MaskSets.under(root)


def test_sets_of_the_wanted_cases_are_chosen(tmp_path):
    assert list(some_sets(tmp_path).among({"c", "b", "z"}, known={"a", "b", "c", "z"})) == ["b", "c"]


def test_a_set_of_a_case_that_the_dataset_does_not_have_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"/c: expected masks of a case of the dataset, got an unknown case"):
        some_sets(tmp_path).among({"a"}, known={"a", "b"})


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


@pytest.mark.parametrize("nudge", [0, 1e-5])
def test_a_description_beside_samples_is_heeded(tmp_path, nudge):
    affine = np.diag([0.7, 0.7, 2, 1])
    save_volumes(tmp_path / "a", affine)
    stated = {"shape": [3, 4], "affine": (affine + nudge * np.eye(4)).tolist()}
    (tmp_path / "a" / "set.json").write_text(json.dumps({"method": "theirs", "seeds": [5, 6], "grid": stated}))
    (panel,) = MaskSets.under(tmp_path).values()
    assert (panel.method, panel.seeds) == ("theirs", (5, 6))
    np.testing.assert_allclose(panel.grid.affine, affine, atol=1e-4)


def test_a_description_of_another_affine_than_the_masks_is_refused(tmp_path):
    save_volumes(tmp_path / "a", np.diag([0.7, 0.7, 2, 1]))
    (tmp_path / "a" / "set.json").write_text(json.dumps({"grid": {"shape": [3, 4], "affine": np.eye(4).tolist()}}))
    with pytest.raises(InputError, match=r"a/set\.json: expected the affine of the masks, got another one"):
        read_mask_set(tmp_path / "a")


def test_a_single_file_has_no_description(tmp_path):
    np.save(tmp_path / "a.npy", MASKS)
    assert read_mask_set(tmp_path / "a.npy").method is None


def test_every_refusal_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"\A[^\n]+\Z"):
        read_mask_set(foreign(tmp_path / "b", masks=np.array([None])))
