"""NRRD and MetaImage against what SimpleITK writes, and the same volume through NIfTI."""

import gzip

import numpy as np
import pytest
import SimpleITK as sitk

from plurimask.errors import InputError
from plurimask.files.images import read_image, read_label
from plurimask.files.itk_images import read_metaimage, read_nrrd

VOLUME = np.random.default_rng(0).integers(-900, 900, (4, 6, 5)).astype(np.int16)
NAMES = ["a.nrrd", "a.mha", "a.mhd"]


def write(path, values=VOLUME, compress=False, vector=False):
    image = sitk.GetImageFromArray(values, isVector=vector)
    if image.GetDimension() == 3:
        image.SetSpacing((0.5, 0.7, 2.5))
        image.SetOrigin((3, -4, 5))
        image.SetDirection((0, 0, 1, 1, 0, 0, 0, 1, 0))
    else:
        image.SetSpacing((0.5, 0.7))
    sitk.WriteImage(image, str(path), useCompression=compress)
    return path


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("kind", ["u1", "i2", "u2", "i4", "f4", "f8"])
def test_a_volume_is_that_of_the_same_program_in_nifti(tmp_path, name, compress, kind):
    values = VOLUME.astype(kind)
    image, grid = read_image(write(tmp_path / name, values, compress))
    wanted, of_nifti = read_image(write(tmp_path / "a.nii.gz", values))
    assert np.array_equal(image, wanted)
    assert grid.same_as(of_nifti)
    assert grid.placed


@pytest.mark.parametrize("name", NAMES)
def test_a_plane_is_row_by_column_and_a_spacing_of_one_is_unknown(tmp_path, name):
    image, grid = read_image(write(tmp_path / name, VOLUME[0]))
    assert np.array_equal(image, VOLUME[:1])
    assert grid.spacing_mm == pytest.approx((0.7, 0.5))
    sitk.WriteImage(sitk.GetImageFromArray(VOLUME[0]), str(tmp_path / name))
    assert read_image(tmp_path / name)[1].spacing_mm is None


@pytest.mark.parametrize("name", NAMES)
def test_a_label_is_a_mask(tmp_path, name):
    mask, _ = read_label(write(tmp_path / name, (VOLUME > 0).astype(np.uint8)))
    assert np.array_equal(mask, np.moveaxis(VOLUME > 0, (0, 1, 2), (2, 1, 0)))


@pytest.mark.parametrize("name", NAMES)
def test_several_channels_and_half_a_file_are_refused(tmp_path, name):
    path = write(tmp_path / name, np.zeros((4, 6, 3), dtype=np.uint8), vector=True)
    with pytest.raises(InputError, match="expected one channel, got 3 of them; write one file a channel"):
        read_image(path)
    path = write(tmp_path / name)
    data = path.with_suffix(".raw") if name == "a.mhd" else path
    data.write_bytes(data.read_bytes()[:-9])
    with pytest.raises(InputError, match=rf"{name}: expected a readable"):
        read_image(path)


def test_a_bomb_is_refused_before_it_is_inflated(tmp_path):
    header, _ = write(tmp_path / "a.nrrd", compress=True).read_bytes().split(b"\n\n", 1)
    (tmp_path / "a.nrrd").write_bytes(header + b"\n\n" + gzip.compress(bytes(10**8)))
    with pytest.raises(InputError, match="do not end where the header says"):
        read_nrrd(tmp_path / "a.nrrd")
    (tmp_path / "a.mha").write_bytes(
        b"NDims = 3\nDimSize = 99999 99999 9\nElementType = MET_CHAR\nElementDataFile = LOCAL\n"
    )
    with pytest.raises(InputError, match="at most 4 GiB"):
        read_metaimage(tmp_path / "a.mha")


@pytest.mark.parametrize("own", ["../secret.raw", "/etc/passwd", "LIST"])
def test_data_elsewhere_are_refused(tmp_path, own):
    path = write(tmp_path / "a.mhd")
    path.write_text(path.read_text().replace("a.raw", own))
    with pytest.raises(InputError, match="no file beside it"):
        read_metaimage(path)


@pytest.mark.parametrize(
    ("packed", "line", "other"),
    [
        (True, "CompressedData = True", "CompressedData = gzip"),
        (False, "BinaryData = True", "BinaryData = False"),
        (False, "NDims = 3", "NDims = 2"),
        (False, "Offset = ", "Offset = 16 #"),
        (False, "ElementType = MET_UCHAR", "ElementType = MET_USHORT"),
        (False, "ElementType = MET_USHORT", "ElementType = MET_UCHAR"),
    ],
)
def test_a_metaimage_that_contradicts_itself_is_refused(tmp_path, packed, line, other):
    kind = np.uint16 if "MET_USHORT" in line else np.uint8
    path = write(tmp_path / "a.mha", np.arange(60, dtype=kind).reshape(3, 4, 5), compress=packed)
    path.write_bytes(path.read_bytes().replace(line.encode(), other.encode()))
    with pytest.raises(InputError, match=r"a\.mha: expected a readable MetaImage"):
        read_metaimage(path)


def test_a_nrrd_in_a_space_of_unknown_axes_is_refused(tmp_path):
    path = write(tmp_path / "a.nrrd")
    path.write_bytes(path.read_bytes().replace(b"left-posterior-superior", b"scanner-xyz"))
    with pytest.raises(InputError, match=r"expected one of the spaces .*, got scanner-xyz; save it in LPS or RAS"):
        read_nrrd(path)
