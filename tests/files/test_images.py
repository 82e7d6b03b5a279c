"""Files of every format to images and reader masks, and damaged files to one kind of error."""

import gzip
import io
import pickle
import tracemalloc
from contextlib import suppress

import nibabel as nib
import numpy as np
import pytest
from case_files import write as save
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from plurimask.errors import InputError, SettingsError
from plurimask.files.images import binarise, read_image, read_label, read_nifti, read_npy, split_name
from plurimask.sampling.region import find_box, parse_region

GREY = np.random.default_rng(0).integers(0, 256, (12, 9), dtype=np.uint8)
NAMES = ["a.png", "a.jpg", "a.tif", "a.npy", "a.nii", "a.nii.gz"]


def write(path, array):
    save(path, array)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.PNG", "a.npy", "a.nii", "a.nii.gz"])
def test_an_image_keeps_its_values_as_float32(tmp_path, name):
    image, grid = read_image(write(tmp_path / name.lower(), GREY).rename(tmp_path / name))
    assert image.dtype == np.float32
    assert np.array_equal(image, GREY[None])
    assert grid.shape == (12, 9)


def test_a_jpeg_image_is_near_its_source(tmp_path):
    Image.fromarray(np.full((16, 16), 90, dtype=np.uint8)).save(tmp_path / "a.jpeg")
    assert np.abs(read_image(tmp_path / "a.jpeg")[0] - 90).max() <= 2


@pytest.mark.parametrize("name", NAMES)
def test_a_label_is_a_bool_plane_in_every_format(tmp_path, name):
    drawn = np.zeros((16, 16), dtype=bool)
    drawn[4:10, 6:12] = True
    mask, grid = read_label(write(tmp_path / name, drawn.astype(np.uint8) * 255))
    assert mask.dtype == np.bool_
    assert np.array_equal(mask, drawn)
    assert grid.shape == drawn.shape


def test_a_label_behind_scale_factors_is_a_float_label(tmp_path):
    volume = nib.Nifti1Image((GREY > 99).astype(np.float32), np.eye(4))
    volume.set_data_dtype(np.uint8)
    nib.save(volume, tmp_path / "a.nii")
    assert np.asanyarray(nib.load(tmp_path / "a.nii").dataobj).dtype.kind == "f"
    assert np.array_equal(read_label(tmp_path / "a.nii")[0], GREY > 99)


def test_spacing_is_unknown_outside_nifti(tmp_path):
    assert read_image(write(tmp_path / "a.png", GREY))[1].spacing_mm is None
    assert read_image(write(tmp_path / "a.nii", GREY))[1].spacing_mm == (1.0, 1.0)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        *(([[0, value]], "expected finite float32 values, got 1 NaN or inf") for value in (np.nan, -np.inf, 1e300)),
        ([[0j]], "expected real numbers, got values of type complex128"),
        (np.zeros((0, 3)), "expected a usable grid"),
    ],
)
def test_what_is_no_image_is_refused(tmp_path, array, message):
    with pytest.raises(InputError, match=rf"a\.npy: {message}"):
        read_image(write(tmp_path / "a.npy", np.array(array)))


def test_a_coloured_label_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"a\.png: expected a grey label, got a coloured one"):
        read_label(write(tmp_path / "a.png", np.stack([GREY, GREY, 0 * GREY], axis=-1)))


@pytest.mark.parametrize("name", ["a.bmp", "a.hdr", "a"])
def test_another_format_is_refused_with_the_list_of_formats(tmp_path, name):
    with pytest.raises(InputError, match=r"a.*: expected one of \.png, \.jpg, .*convert the file"):
        read_image(tmp_path / name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("content", [b"", b"no image at all", bytes(4096)], ids=["empty", "text", "zeros"])
def test_a_file_of_something_else_is_refused_by_name(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name}: expected a readable .* file, got '.+'; check the path"):
        read_image(tmp_path / name)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_file_a_folder_and_half_a_file_are_refused_by_name(tmp_path, name):
    path = tmp_path / name
    with pytest.raises(InputError, match=f"{name}: expected a readable .* file, got 'No such file"):
        read_image(path)
    write(path, np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=rf"{name}: expected (a readable|at least [\d,]+ bytes, as its header)"):
        read_image(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(InputError, match=f"{name}: expected a readable"):
        read_image(path)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("a.png", ("a", ".png")),
        ("a.b.JPG", ("a.b", ".jpg")),
        ("a.nii.gz", ("a", ".nii.gz")),
        ("a.Nii", ("a", ".nii")),
        ("label0.bmp", ("label0", "")),
        ("image", ("image", "")),
    ],
)
def test_stem_and_suffix(tmp_path, name, parts):
    assert split_name(tmp_path / name) == parts


# --- The rule from stored values to a reader mask.


ROW, COLUMN = np.mgrid[:64, :64]

DISC = (ROW - 30) ** 2 + (COLUMN - 33) ** 2 < 100

INTEGERS = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"]


def jpeg(mask, quality):
    buffer = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(buffer, "JPEG", quality=quality)
    return np.array(Image.open(buffer))


@pytest.mark.parametrize("dtype", ["bool", "f2", "f4", "f8", *INTEGERS])
def test_zero_and_one_are_taken_as_they_are(dtype):
    assert np.array_equal(binarise("a", DISC.astype(dtype)), DISC)


def test_the_booleans_of_a_one_bit_png_become_zero_and_one(tmp_path):
    Image.fromarray(DISC).save(tmp_path / "label0.png")
    for mask in (read_label(tmp_path / "label0.png")[0], binarise("a", np.array(Image.open(tmp_path / "label0.png")))):
        assert np.array_equal(mask.view(np.uint8), DISC)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_zero_and_the_maximum_are_empty_and_drawn(dtype):
    maximum = np.iinfo(dtype).max
    assert np.array_equal(binarise("a", np.where(DISC, maximum, 0).astype(dtype)), DISC)


@pytest.mark.parametrize(("dtype", "last_out"), [("u1", 127), ("u2", 32767), ("i2", 16383), ("u8", 2**63 - 1)])
def test_integers_count_above_half_their_maximum(dtype, last_out):
    values = np.array([0, 2, last_out, last_out + 1, np.iinfo(dtype).max], dtype=dtype)
    assert binarise("a", values).tolist() == [False, False, False, True, True]


def test_floats_count_above_one_half_and_may_miss_their_ends_by_a_rounding():
    assert binarise("a", np.array([-1e-6, 0.5, 0.51, 1 + 1e-6])).tolist() == [False, False, True, True]


def test_jpeg_ringing_does_not_count():
    values = jpeg(DISC, quality=75)
    assert (values > 0).sum() > 1.3 * DISC.sum()
    assert np.array_equal(binarise("a", values, lossy=True), DISC)


@pytest.mark.parametrize(("quality", "least"), [(70, 1), (15, 2)])
def test_an_empty_jpeg_that_decodes_to_one_or_more_everywhere_is_empty(quality, least):
    values = jpeg(np.zeros_like(DISC), quality)
    assert values.min() == least or (values > 1).all()
    assert not binarise("a", values, lossy=True).any()


@given(st.lists(st.integers(2, 127), min_size=1))
def test_integers_that_would_all_vanish_are_refused(values):
    with pytest.raises(InputError, match=f"got values up to {max(values)} in uint8; write one mask a file"):
        binarise("a", np.array([0, 1, *values], dtype=np.uint8))


@pytest.mark.parametrize(
    ("values", "got"),
    [
        (np.array([0, 255], dtype=np.uint16), "values up to 255 in uint16"),
        (np.array([0, -1], dtype=np.int16), "negative values, down to -1"),
        (np.array([0.0, 1.1]), "floats from 0 to 1.1"),
        (np.array([-0.5, 1.0]), "floats from -0.5 to 1"),
        (np.array([0.0, np.nan]), "NaN or infinite values"),
        (np.array([0.0, np.inf]), "NaN or infinite values"),
        (np.array([0j, 1j]), "values of type complex128"),
        (np.array(["0", "1"]), "values of type <U1"),
    ],
)
def test_anything_else_is_refused(values, got):
    with pytest.raises(InputError, match=f"label0: expected a label of 0 and 1, .* got {got};"):
        binarise("label0", values)


def test_the_mask_is_not_a_view_of_its_source():
    values = np.array([True, False])
    binarise("a", values)[0] = False
    assert values[0]


# --- NPY: what comes back, and what is refused.


@pytest.mark.parametrize("dtype", ["bool", "<i2", ">i2", ">f8", "f2"])
@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3)])
def test_round_trip_of_one_channel(tmp_path, dtype, shape):
    array = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    for order in ("C", "F"):
        np.save(tmp_path / "a.npy", np.asarray(array, order=order))
        assert np.array_equal(read_npy(tmp_path / "a.npy").values, array[None])


@pytest.mark.parametrize("shape", [(4, 5, 1), (1, 4, 5)])
def test_a_single_slice_is_a_plane(tmp_path, shape):
    plane = np.arange(20).reshape(4, 5)
    np.save(tmp_path / "a.npy", plane.reshape(shape))
    assert np.array_equal(read_npy(tmp_path / "a.npy").values, plane[None])


@pytest.mark.parametrize("shape", [(2, 9, 8), (9, 2, 8), (9, 1, 8)])
def test_slices_of_a_pixel_or_two_are_asked_about(tmp_path, shape):
    np.save(tmp_path / "a.npy", np.zeros(shape))
    with pytest.raises(InputError, match=r"a\.npy: expected rows, .* would be .*; move the axis of the slices last"):
        read_npy(tmp_path / "a.npy")


@pytest.mark.parametrize("shape", [(), (4,), (2, 3, 4, 5)])
def test_other_numbers_of_axes_are_refused(tmp_path, shape):
    np.save(tmp_path / "a.npy", np.zeros(shape))
    with pytest.raises(InputError, match=r"a\.npy: expected one channel .* got size \(.*write one file a channel"):
        read_npy(tmp_path / "a.npy")


def bytes_of(array, **options):
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (bytes_of(np.array([[{}]]), allow_pickle=True), ".*Python objects"),
        (pickle.dumps(np.zeros((2, 2))), "'the magic string is not correct"),
    ],
    ids=["objects", "pickle"],
)
def test_other_content_is_refused(tmp_path, content, got):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.npy: expected a readable NPY file, got {got}"):
        read_npy(tmp_path / "a.npy")


@pytest.mark.parametrize(
    "header",
    [
        "-" * 9000 + "1",
        "{[]: 1}",
        "{'descr': (), 'fortran_order': False, 'shape': (1, 2)}",
        f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({2**40}, {2**40})}}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 2)}",
        "{'descr': '|u1'",
    ],
    ids=["deep", "unhashable", "no type", "giant", "negative", "open"],
)
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_a_hostile_header_is_refused(tmp_path, header):
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode())
    with pytest.raises(InputError, match=r"a\.npy: expected (a readable NPY file|at most 4 GiB of memory)"):
        read_npy(tmp_path / "a.npy")


# --- NIfTI against nibabel: values, types, affines, and what is refused.


OBLIQUE = nib.affines.from_matvec(
    nib.eulerangles.euler2mat(0.3, -0.2, 0.5) @ np.diag([0.7, -1.1, 2.5]), [-30.0, 12.0, 8.0]
)


def write_volume(path, array, affine=OBLIQUE, kind=nib.Nifti1Image, **header):
    volume = kind(array, affine)
    for name, value in header.items():
        getattr(volume.header, f"set_{name}")(*value)
    nib.save(volume, path)
    return path


@pytest.mark.parametrize("name", ["a.nii", "a.NII.GZ"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("dtype", ["u1", "i2", "f8"])
def test_values_types_and_places_are_what_nibabel_gives(tmp_path, name, kind, dtype):
    array = np.random.default_rng(0).integers(0, 99, size=(4, 5, 3)).astype(dtype)
    path = write_volume(tmp_path / name, array, kind=kind)
    stored, (_, grid) = read_nifti(path), read_image(path)
    assert stored.values.dtype == array.dtype  # since there are no scale factors
    assert np.array_equal(stored.values, array[None])
    assert grid.spacing_mm == pytest.approx((0.7, 1.1, 2.5), abs=1e-5)
    for voxel in [(0, 0, 0), (3, 1, 2), (1, 4, 0)]:
        assert np.allclose(grid.affine @ (*voxel, 1), (*nib.affines.apply_affine(nib.load(path).affine, voxel), 1))


def test_scale_factors_are_applied(tmp_path):
    stored = np.array([[0, 1], [2, 3]], dtype=np.int16)
    path = write_volume(tmp_path / "a.nii", stored, slope_inter=(0.5, -1024))
    assert np.array_equal(read_nifti(path).values[0], 0.5 * stored - 1024)


@pytest.mark.parametrize(("unit", "mm"), [("meter", 1e3), ("mm", 1.0), ("micron", 1e-3), ("unknown", 1.0)])
def test_the_affine_is_in_mm_whatever_the_header_uses(tmp_path, unit, mm):
    path = write_volume(tmp_path / "a.nii", np.zeros((4, 5, 3), dtype=np.uint8), xyzt_units=(unit,))
    assert np.allclose(read_nifti(path).affine[:3], OBLIQUE[:3] * mm, atol=1e-5 * mm)


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 1, 1)])
def test_a_single_slice_is_a_plane_that_keeps_its_affine(tmp_path, shape):
    _, grid = read_image(write_volume(tmp_path / "a.nii", np.zeros(shape, dtype=np.uint8)))
    assert grid.shape == (4, 5)
    assert np.allclose(grid.affine, OBLIQUE, atol=1e-5)


def test_a_fourth_axis_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"a\.nii: expected one channel .* got size \(4, 5, 3, 2\)"):
        read_nifti(write_volume(tmp_path / "a.nii", np.zeros((4, 5, 3, 2), dtype=np.uint8)))


def test_a_header_that_claims_too_many_voxels_is_refused_before_memory_is_taken(tmp_path):
    path = write_volume(tmp_path / "a.nii", np.zeros((4, 5, 3), dtype=np.uint8))
    claim = bytearray(path.read_bytes())
    claim[42:48] = np.array([30000, 30000, 30000], dtype="<i2").tobytes()
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(bytes(claim)))
    with pytest.raises(InputError, match=r"b\.nii\.gz: expected at most 4 GiB of memory for an array, got size 30000x"):
        read_nifti(tmp_path / "b.nii.gz")


@pytest.mark.parametrize("name", ["a.npy", "a.nii", "a.nii.gz"])
def test_a_header_that_claims_more_than_the_file_holds_is_refused_before_memory_is_taken(tmp_path, name):
    values, path = np.zeros((4, 5, 3), dtype=np.uint8), tmp_path / name
    if name == "a.npy":
        path.write_bytes(bytes_of(values).replace(b"(4, 5, 3), }      ", b"(400, 500, 300), }"))
    else:
        claim = bytearray(write_volume(tmp_path / "b.nii", values).read_bytes())
        claim[42:48] = np.array([400, 500, 300], dtype="<i2").tobytes()
        path.write_bytes(gzip.compress(bytes(claim)) if name.endswith(".gz") else claim)
    tracemalloc.start()
    with pytest.raises(InputError, match=rf"{name}: expected at least [\d,]+ bytes, as its header says, got a"):
        read_image(path)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


def test_a_length_within_a_picture_takes_no_memory_beyond_the_file(tmp_path):
    Image.fromarray(np.zeros((4, 5), dtype=np.uint8)).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    at = whole.index(b"IDAT") - 4
    (tmp_path / "a.png").write_bytes(whole[:at] + b"\x7f\xff\xff\xff" + whole[at + 4 :])
    tracemalloc.start()
    with suppress(InputError):
        read_image(tmp_path / "a.png")
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


def test_a_singular_affine_is_refused_by_the_name_of_the_file(tmp_path):
    path = write_volume(tmp_path / "a.nii", np.zeros((4, 5, 3), dtype=np.uint8))
    volume = nib.load(path)
    volume.header["srow_z"] = 0
    (tmp_path / "b.nii").write_bytes(volume.header.binaryblock + path.read_bytes()[348:])
    with pytest.raises(InputError, match=r"b\.nii: expected a usable grid.*finite, invertible 4x4 affine"):
        read_image(tmp_path / "b.nii")


def test_colour_voxels_are_refused(tmp_path):
    colour = np.zeros((4, 5, 3), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(InputError, match=r"a\.nii: expected real numbers, got values of type \[\('R'"):
        read_image(write_volume(tmp_path / "a.nii", colour))


def test_a_gzip_name_on_plain_content_is_refused(tmp_path):
    path = write_volume(tmp_path / "a.nii", np.zeros((4, 5), dtype=np.uint8))
    path.rename(tmp_path / "b.nii.gz")
    with pytest.raises(InputError, match=r"b\.nii\.gz: expected a readable NIfTI file, got 'Not a gzipped file"):
        read_nifti(tmp_path / "b.nii.gz")


def test_an_sform_of_zeros_gives_way_to_a_good_qform(tmp_path):
    path = write_volume(tmp_path / "a.nii", np.zeros((4, 5, 3), dtype=np.uint8), qform=(OBLIQUE, 1))
    volume = nib.load(path)
    for row in ("srow_x", "srow_y", "srow_z"):
        volume.header[row] = 0
    (tmp_path / "b.nii").write_bytes(volume.header.binaryblock + path.read_bytes()[348:])
    assert np.allclose(read_image(tmp_path / "b.nii")[1].affine, OBLIQUE, atol=1e-4)


def test_a_nifti_whose_codes_are_both_0_has_a_spacing_and_no_place(tmp_path):
    path = write_volume(tmp_path / "a.nii", np.zeros((4, 5, 3), dtype=np.uint8))
    assert read_image(path)[1].placed
    volume = nib.Nifti1Image(np.zeros((4, 5, 3), dtype=np.uint8), None)
    volume.header.set_zooms((1, 2, 3))
    nib.save(volume, path)
    grid = read_image(path)[1]
    assert (grid.spacing_mm, grid.placed) == ((1, 2, 3), False)
    with pytest.raises(SettingsError, match=r"expected voxels, since this file does not say where it lies .* both 0"):
        find_box(parse_region("mm:1,2,3"), grid, 2, 8)
