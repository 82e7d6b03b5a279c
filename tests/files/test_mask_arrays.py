"""Masks in every format against the same truth, and the arrays that are refused."""

import gzip
import tracemalloc

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from plurimask.errors import InputError
from plurimask.files import stored
from plurimask.files.mask_sets import read_samples, read_stack

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


@pytest.mark.parametrize("suffix", [".npz", ".npy"])
@pytest.mark.parametrize(
    "values", [PLANES.astype(np.int64), PLANES * np.uint8(255), PLANES.astype(np.float32), PLANES * np.float64(0.9)]
)
def test_what_counts_as_drawn_is_the_rule_for_labels(tmp_path, suffix, values):
    SAVERS[suffix](tmp_path / f"a{suffix}", values)
    np.testing.assert_array_equal(read_stack(tmp_path / f"a{suffix}")[0], PLANES)


@pytest.mark.parametrize("suffix", [".npz", ".npy"])
@pytest.mark.parametrize(
    ("values", "got"),
    [
        (np.where(PLANES, np.nan, 0), "NaN"),
        (PLANES * 2.0, "floats from 0 to 2"),
        (-PLANES.astype(np.int8), "negative values, down to -1"),
        (PLANES * np.uint8(2), "values up to 2 in uint8"),
        (PLANES * 1j, "values of type complex128"),
        (PLANES.astype("U5"), "values of type <U5"),
    ],
)
def test_values_against_the_rule_are_refused_by_the_name_of_the_case(tmp_path, suffix, values, got):
    SAVERS[suffix](tmp_path / f"case-3{suffix}", values)
    with pytest.raises(InputError, match=rf"/case-3\{suffix}: expected a label of 0 and 1.*, got {got}"):
        read_stack(tmp_path / f"case-3{suffix}")


@pytest.mark.parametrize("suffix", [".npz", ".npy"])
@pytest.mark.parametrize("shape", [(3, 4), (1, 2, 3, 4, 5), (0, 3, 4), (2, 0, 4), ()])
def test_masks_of_other_shapes_are_refused(tmp_path, suffix, shape):
    SAVERS[suffix](tmp_path / f"a{suffix}", np.zeros(shape, dtype=bool))
    with pytest.raises(InputError, match=rf"/a\{suffix}: expected masks of shape \(S, H, W\[, D\]\)"):
        read_stack(tmp_path / f"a{suffix}")


def test_an_array_of_any_name_is_read_where_it_is_alone(tmp_path):
    np.savez(tmp_path / "a.npz", PLANES)
    np.testing.assert_array_equal(read_stack(tmp_path / "a.npz")[0], PLANES)


def test_the_array_named_masks_is_taken_among_others(tmp_path):
    np.savez(tmp_path / "a.npz", image=np.ones((6, 7)), masks=PLANES, seeds=np.arange(5))
    np.testing.assert_array_equal(read_stack(tmp_path / "a.npz")[0], PLANES)


def test_two_arrays_of_other_names_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", first=PLANES, second=PLANES)
    with pytest.raises(InputError, match="expected an array `masks`, or one array alone, got first, second; rename"):
        read_stack(tmp_path / "a.npz")


def test_an_archive_without_arrays_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz")
    with pytest.raises(InputError, match="expected an array `masks`, or one array alone, got none"):
        read_stack(tmp_path / "a.npz")


@pytest.mark.parametrize("suffix", [".npz", ".npy"])
def test_pickled_content_is_refused(tmp_path, suffix):
    SAVERS[suffix](tmp_path / f"a{suffix}", np.array([PLANES, None], dtype=object))
    with pytest.raises(InputError, match=rf"expected a whole a\{suffix} without pickled objects"):
        read_stack(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("suffix", SAVERS)
def test_a_stack_cut_short_is_refused(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    SAVERS[suffix](path, VOLUMES)
    whole = path.read_bytes()
    for length in range(0, len(whole) - 8, 97):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=rf"/a\{suffix}: expected a (whole|readable)"):
            read_stack(path)


@pytest.mark.parametrize("suffix", SAVERS)
def test_a_stack_that_is_not_there_is_refused(tmp_path, suffix):
    with pytest.raises(InputError, match=rf"/a\{suffix}: expected .*No such file"):
        read_stack(tmp_path / f"a{suffix}")


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
    with pytest.raises(InputError, match=r"b\.nii\.gz: expected at most 1073741824 voxels"):
        read_stack(tmp_path / "b.nii.gz")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_of_a_nifti_stack_every_sample_may_be_as_large_as_a_volume(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(stored, "_MOST_VOXELS", 6 * 7 * 4)
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


def test_masks_that_no_memory_holds_are_refused(tmp_path):
    save_nifti(tmp_path / "a.nii", VOLUMES)
    claim = bytearray((tmp_path / "a.nii").read_bytes())
    claim[42:50] = np.array([1000, 1000, 1000, 30000], dtype="<i2").tobytes()
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(bytes(claim)))
    with pytest.raises(InputError, match=r"b\.nii\.gz: expected masks that fit into memory, got size \(30000, 1000"):
        read_stack(tmp_path / "b.nii.gz")


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".nii"])
def test_the_rule_for_labels_is_that_of_each_sample(tmp_path, suffix):
    values = PLANES.astype(np.uint8) * np.array([1, 255, 255, 1, 255], dtype=np.uint8)[:, None, None]
    if suffix == ".nii":
        write_nifti(tmp_path / "a.nii", np.moveaxis(values[..., None], 0, -1))
    else:
        SAVERS[suffix](tmp_path / f"a{suffix}", values)
    np.testing.assert_array_equal(read_stack(tmp_path / f"a{suffix}")[0], PLANES)


def test_a_nifti_stack_with_a_singular_affine_is_refused_by_name(tmp_path):
    save_nifti(tmp_path / "a.nii", PLANES)
    header = nib.load(tmp_path / "a.nii").header
    header["srow_z"] = 0
    (tmp_path / "b.nii").write_bytes(header.binaryblock + (tmp_path / "a.nii").read_bytes()[348:])
    with pytest.raises(InputError, match=r"b\.nii: expected a usable affine"):
        read_stack(tmp_path / "b.nii")


def save_picture(path, mask):
    Image.fromarray(mask * np.uint8(255)).save(path)


def save_sample(path, mask):
    write_nifti(path, mask.astype(np.uint8))


@pytest.mark.parametrize(
    ("suffix", "save"),
    [(".png", save_picture), (".npy", np.save), (".nii", save_sample), (".nii.gz", save_sample)],
)
def test_samples_one_a_file_are_stacked_in_the_order_given(tmp_path, suffix, save):
    paths = [tmp_path / f"{number}{suffix}" for number in range(5)]
    for path, mask in zip(paths, PLANES, strict=True):
        save(path, mask)
    read, grid = read_samples(paths)
    assert (read.dtype, grid.shape) == (bool, (6, 7))
    np.testing.assert_array_equal(read, PLANES)


def test_jpeg_samples_of_0_and_255_are_read(tmp_path):
    disc = np.hypot(*np.mgrid[-16:16, -16:16]) < 9
    paths = [tmp_path / "0.jpg", tmp_path / "1.jpg"]
    for path, mask in zip(paths, (disc, ~disc), strict=True):
        Image.fromarray(mask * np.uint8(255)).save(path, quality=75)
    np.testing.assert_array_equal(read_samples(paths)[0], [disc, ~disc])


def test_an_empty_sample_stays_empty(tmp_path):
    paths = [tmp_path / "0.png", tmp_path / "1.png"]
    for path, mask in zip(paths, (PLANES[0], np.zeros((6, 7), dtype=bool)), strict=True):
        save_picture(path, mask)
    assert read_samples(paths)[0].any(axis=(1, 2)).tolist() == [True, False]


def test_volumes_one_a_file_have_one_affine(tmp_path):
    paths = [tmp_path / f"{number}.nii.gz" for number in range(5)]
    for path, mask in zip(paths, VOLUMES, strict=True):
        write_nifti(path, mask.astype(np.uint8))
    read, grid = read_samples(paths)
    np.testing.assert_array_equal(read, VOLUMES)
    np.testing.assert_allclose(grid.affine, AFFINE, rtol=1e-6)


def test_the_affine_of_any_sample_is_that_of_all(tmp_path):
    np.save(tmp_path / "0.npy", PLANES[0])
    write_nifti(tmp_path / "1.nii", PLANES[1].astype(np.uint8))
    _, grid = read_samples([tmp_path / "0.npy", tmp_path / "1.nii"])
    np.testing.assert_allclose(grid.affine, AFFINE, rtol=1e-6)


def test_samples_of_two_sizes_are_refused(tmp_path):
    np.save(tmp_path / "0.npy", PLANES[0])
    np.save(tmp_path / "1.npy", PLANES[1, :5])
    with pytest.raises(InputError, match=r"/1\.npy: expected size 6x7, as 0\.npy has, got 5x7"):
        read_samples([tmp_path / "0.npy", tmp_path / "1.npy"])


def test_samples_of_two_affines_are_refused(tmp_path):
    write_nifti(tmp_path / "0.nii", PLANES[0].astype(np.uint8))
    nib.save(nib.Nifti1Image(PLANES[1].astype(np.uint8), np.eye(4)), tmp_path / "1.nii")
    with pytest.raises(InputError, match=r"/1\.nii: expected the affine of 0\.nii, got another one"):
        read_samples([tmp_path / "0.nii", tmp_path / "1.nii"])
