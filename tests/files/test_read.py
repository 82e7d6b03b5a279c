"""Files of every format to images and rater masks, and damaged files to one kind of error."""

import random

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from plurimask.errors import InputError
from plurimask.files.images import read_image, read_label, split_name

GREY = np.random.default_rng(0).integers(0, 256, (12, 9), dtype=np.uint8)
NAMES = ["a.png", "a.jpg", "a.npy", "a.nii", "a.nii.gz"]


def write(path, array):
    if path.suffix in (".png", ".jpg", ".jpeg"):
        Image.fromarray(array).save(path)
    elif path.suffix == ".npy":
        np.save(path, array)
    else:
        nib.save(nib.Nifti1Image(array, np.eye(4)), path)
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


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_an_image_that_is_not_finite_in_float32_is_refused(tmp_path, value):
    array = np.zeros((3, 3))
    array[1, 2] = value
    with pytest.raises(InputError, match=r"a\.npy: expected finite float32 values, got 1 NaN or infinite"):
        read_image(write(tmp_path / "a.npy", array))


def test_a_complex_image_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"a\.npy: expected real numbers, got values of type complex128"):
        read_image(write(tmp_path / "a.npy", np.zeros((3, 3), dtype=complex)))


def test_a_coloured_label_is_refused(tmp_path):
    colour = np.stack([GREY, GREY, 0 * GREY], axis=-1)
    with pytest.raises(InputError, match=r"a\.png: expected a grey label, got a coloured one"):
        read_label(write(tmp_path / "a.png", colour))


def test_an_array_without_voxels_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"a\.npy: expected a usable grid"):
        read_image(write(tmp_path / "a.npy", np.zeros((0, 3))))


@pytest.mark.parametrize("name", ["a.tif", "a.nrrd", "a"])
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
def test_a_missing_file_is_refused_by_name(tmp_path, name):
    with pytest.raises(InputError, match=f"{name}: expected a readable .* file, got 'No such file"):
        read_image(tmp_path / name)


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_in_place_of_a_file_is_refused_by_name(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=f"{name}: expected a readable"):
        read_image(tmp_path / name)


@pytest.mark.parametrize("name", NAMES)
def test_half_a_file_is_refused_by_name(tmp_path, name):
    path = write(tmp_path / name, np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=f"{name}: expected a readable"):
        read_image(path)


def mutant(source, chance):
    """One to four bytes changed, removed or cut off; half of the time near the start, where headers are."""
    data = bytearray(source)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(min(len(data), chance.choice([360, len(data)])))
        match chance.randrange(4):
            case 0:
                data[place] = chance.randrange(256)
            case 1:
                data[place] ^= 1 << chance.randrange(8)
            case 2:
                del data[place + 1 : place + 9]
            case 3:
                del data[place + 1 :]
    return bytes(data)


def complaint(read, path):
    """The error's line, or "" where the file could be read."""
    try:
        values, grid = read(path)
    except InputError as error:
        return str(error)
    return "" if values.shape[-len(grid.shape) :] == grid.shape else "values that do not fit their grid"


@pytest.mark.parametrize("read", [read_image, read_label])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_file_gives_an_array_or_an_error_that_names_it(tmp_path, name, read):
    chance = random.Random(name)
    source = write(tmp_path / name, (GREY > 99).astype(np.uint8) * 255).read_bytes()
    path = tmp_path / f"mutant-{name}"
    lines = []
    for _ in range(60):
        path.write_bytes(mutant(source, chance))
        lines.append(complaint(read, path))
    assert any(lines)
    assert all(line.startswith(f"{path}: expected ") for line in lines if line)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("a.png", ("a", ".png")),
        ("a.b.JPG", ("a.b", ".jpg")),
        ("a.nii.gz", ("a", ".nii.gz")),
        ("a.Nii", ("a", ".nii")),
        ("label0.tif", ("label0", "")),
        ("image", ("image", "")),
    ],
)
def test_stem_and_suffix(tmp_path, name, parts):
    assert split_name(tmp_path / name) == parts
