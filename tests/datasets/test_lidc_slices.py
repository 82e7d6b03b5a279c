"""The layout of slices: exact values on a small release of two patients, damage, and the real release where it lies."""

import csv
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from plurimask.datasets.lidc_slices import LidcSlices
from plurimask.errors import DatasetError, InputError

HEADER = "row,patient_id,nodule,slice,tile,non_empty_masks,area_0,area_1,area_2,area_3,pixel_spacing_mm"
ROWS = (
    "0,P-1,0,0,0,2,0,0,0,0,0.5",
    "1,P-1,0,1,1,0,0,0,0,0,0.5",
    "2,P-1,2,0,2,1,0,0,0,0,",
    "3,P-2,0,7,0,4,0,0,0,0,0.75",
)
IMAGES = np.random.default_rng(0).integers(256, size=(4, 128, 128), dtype=np.uint8)
MASKS = np.random.default_rng(1).random((4, 4, 128, 128)) < 0.1
MASKS[0, 1:3] = MASKS[1] = MASKS[2, :3] = False
_SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
REAL = Path(os.environ.get("PLURIMASK_DATA", _SHARED)) / "lidc-slices-128"


def write(root, rows=ROWS, masks=MASKS, images=((0, 1, 2), (3,))):
    (root / "images").mkdir(parents=True, exist_ok=True)
    for patient, chosen in enumerate(images, 1):
        Image.fromarray(np.concatenate(IMAGES[list(chosen)])).save(root / "images" / f"P-{patient}.png")
    np.savez_compressed(root / "masks.npz", masks_packed=np.packbits(masks, axis=-1))
    (root / "index.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    return root


def test_slices_with_a_mask_have_the_values_of_their_row(tmp_path):
    data = LidcSlices(write(tmp_path))
    assert data.names == ("P-1-n0-s0", "P-1-n2-s0", "P-2-n0-s7")
    assert data.patients == ("P-1", "P-1", "P-2")
    for case, row in zip(data, (0, 2, 3), strict=True):
        np.testing.assert_array_equal(case.image, IMAGES[row][None].astype(np.float32))
        np.testing.assert_array_equal(case.readers, MASKS[row])
    assert [case.grid.spacing_mm for case in data] == [(0.5, 0.5), None, (0.75, 0.75)]


def test_a_dataset_is_sent_to_another_process_as_its_path(tmp_path):
    data = LidcSlices(write(tmp_path))
    sent = pickle.dumps(data)
    assert len(sent) < 1000
    np.testing.assert_array_equal(pickle.loads(sent)[2].image, data[2].image)


def test_digest_changes_with_an_image(tmp_path):
    first = LidcSlices(write(tmp_path)).digest
    assert LidcSlices(write(tmp_path, images=((1, 0, 2), (3,)))).digest != first


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("row", "x", "line 3: .*invalid literal"),
        ("tile", "-1", "line 3: .*negative number -1"),
        ("non_empty_masks", "", "line 3: .*invalid literal"),
        ("pixel_spacing_mm", "0", "line 3: .*spacing 0.0"),
        ("pixel_spacing_mm", "nan", "line 3: .*spacing nan"),
        ("patient_id", "../P-1", "line 3: .*a patient that cannot name a file"),
        ("patient_id", "", "line 3: .*a patient that cannot name a file"),
        ("non_empty_masks", "1", "expected non_empty_masks as in masks.npz"),
        ("row", "2", "expected rows 0 to 3 in order"),
        ("slice", "0", "every slice of a nodule once"),
    ],
)
def test_a_wrong_row_of_the_index_is_refused(tmp_path, column, value, said):
    fields = dict(zip(HEADER.split(","), ROWS[1].split(","), strict=True)) | {column: value}
    rows = (ROWS[0], ",".join(fields.values()), *ROWS[2:])
    with pytest.raises(DatasetError, match=said):
        LidcSlices(write(tmp_path, rows))


def test_a_row_that_breaks_off_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="line 5: expected a slice of one patient"):
        LidcSlices(write(tmp_path, (*ROWS[:3], "3,P-2")))


def test_a_missing_column_is_refused(tmp_path):
    (write(tmp_path) / "index.csv").write_text("row,patient_id\n0,P-1\n")
    with pytest.raises(DatasetError, match="got no column nodule, non_empty_masks, pixel_spacing_mm, slice, tile"):
        LidcSlices(tmp_path)


def test_an_index_that_is_not_text_is_refused(tmp_path):
    (write(tmp_path) / "index.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match=r"index\.csv: expected an index of slices"):
        LidcSlices(tmp_path)


@pytest.mark.parametrize("name", ["index.csv", "masks.npz"])
def test_a_missing_file_is_refused(tmp_path, name):
    (write(tmp_path) / name).unlink()
    with pytest.raises(DatasetError, match=f"{name}: .* got 'No such file"):
        LidcSlices(tmp_path)


def test_an_index_shorter_than_the_masks_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"rows 0 to 3 in order, as in masks\.npz, got 3 others"):
        LidcSlices(write(tmp_path, ROWS[:3]))


def test_a_release_without_any_mask_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="at least one slice with a mask, got none"):
        LidcSlices(write(tmp_path, (ROWS[1].replace("1,", "0,", 1),), MASKS[1:2]))


def test_masks_damaged_at_any_place_are_refused_or_read_the_same(tmp_path):
    content = (write(tmp_path) / "masks.npz").read_bytes()
    refused = 0
    for place in range(0, len(content), len(content) // 60):
        (tmp_path / "masks.npz").write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        try:
            np.testing.assert_array_equal(LidcSlices(tmp_path)[2].readers, MASKS[3])
        except DatasetError:
            refused += 1
    assert refused > 50


@pytest.mark.parametrize("masks", [MASKS[:, :3], MASKS[..., :64], np.zeros((4, 4, 128, 128, 2), bool)])
def test_masks_of_another_shape_are_refused(tmp_path, masks):
    with pytest.raises(DatasetError, match=r"expected uint8 \(rows, 4, 128, 16\), got uint8"):
        LidcSlices(write(tmp_path, masks=masks))


def test_pickled_masks_are_refused(tmp_path):
    np.savez(write(tmp_path) / "masks.npz", masks_packed=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DatasetError, match=r"masks\.npz: .*allow_pickle=False"):
        LidcSlices(tmp_path)


def test_an_archive_without_the_array_is_refused(tmp_path):
    np.savez(write(tmp_path) / "masks.npz", other=MASKS)
    with pytest.raises(DatasetError, match="expected an archive with masks_packed"):
        LidcSlices(tmp_path)


def test_a_truncated_strip_is_refused(tmp_path):
    path = write(tmp_path) / "images" / "P-1.png"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match=r"P-1\.png: expected a readable PNG"):
        LidcSlices(tmp_path)[0]


def test_a_missing_strip_is_refused_before_any_slice_is_read(tmp_path):
    (write(tmp_path) / "images" / "P-1.png").unlink()
    with pytest.raises(
        DatasetError, match=r"index\.csv: expected the strip images/P-1\.png of a patient that it names"
    ):
        LidcSlices(tmp_path)


def test_a_strip_of_another_width_is_refused(tmp_path):
    Image.fromarray(IMAGES[0][:, :100]).save(write(tmp_path) / "images" / "P-1.png")
    with pytest.raises(DatasetError, match="a grey strip of 128x128 tiles"):
        LidcSlices(tmp_path)[0]


def test_a_tile_beyond_the_strip_is_refused(tmp_path):
    data = LidcSlices(write(tmp_path, images=((0, 1), (3,))))
    with pytest.raises(DatasetError, match="P-1-n2-s0: expected a tile below 2, the strip's length, got 2"):
        data[1]


@pytest.fixture(scope="module")
def real():
    if not REAL.is_dir():
        pytest.skip(f"no real slices at {REAL}; PLURIMASK_DATA names the folder that holds lidc-slices-128")
    return LidcSlices(REAL)


def test_the_release_has_its_known_size(real):
    assert (len(real), len(set(real.patients))) == (13_934, 786)


def test_areas_in_the_index_are_those_of_the_masks(real):
    with (REAL / "index.csv").open(newline="") as file:
        areas = {
            f"{row['patient_id']}-n{row['nodule']}-s{row['slice']}": [int(row[f"area_{slot}"]) for slot in range(4)]
            for row in csv.DictReader(file)
        }
    for index in range(0, len(real), 500):
        case = real[index]
        assert case.readers.sum(axis=(1, 2)).tolist() == areas[case.name]


def test_each_tile_spans_the_8_bits(real):
    images = [real[index].image for index in range(0, len(real), 500)]
    assert {(image.min(), image.max()) for image in images} == {(0, 255)}


def test_later_slots_are_empty_more_often(real):
    with zipfile.ZipFile(REAL / "masks.npz") as archive, archive.open("masks_packed.npy") as file:
        empty = ~np.lib.format.read_array(file).any(axis=(2, 3))
    assert empty.mean(axis=0).round(2).tolist() == [0.09, 0.33, 0.48, 0.63]
