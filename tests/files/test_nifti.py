"""NIfTI against nibabel: values, types, affines, and what is refused."""

import gzip

import nibabel as nib
import numpy as np
import pytest

from plurimask.errors import InputError
from plurimask.files.images import read_image, read_nifti

OBLIQUE = nib.affines.from_matvec(
    nib.eulerangles.euler2mat(0.3, -0.2, 0.5) @ np.diag([0.7, -1.1, 2.5]), [-30.0, 12.0, 8.0]
)


def write(path, array, affine=OBLIQUE, kind=nib.Nifti1Image, **header):
    volume = kind(array, affine)
    for name, value in header.items():
        getattr(volume.header, f"set_{name}")(*value)
    nib.save(volume, path)
    return path


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.NII.GZ"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_values_are_what_nibabel_gives(tmp_path, name, kind):
    array = np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32)
    assert np.array_equal(read_nifti(write(tmp_path / name, array, kind=kind)).values, array[None])


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "u2", "f4", "f8"])
def test_without_scale_factors_the_type_is_the_files_own(tmp_path, dtype):
    path = write(tmp_path / "a.nii", np.ones((4, 5), dtype=dtype))
    assert read_nifti(path).values.dtype == np.dtype(dtype)


def test_scale_factors_are_applied(tmp_path):
    stored = np.array([[0, 1], [2, 3]], dtype=np.int16)
    path = write(tmp_path / "a.nii", stored, slope_inter=(0.5, -1024))
    assert np.array_equal(read_nifti(path).values[0], 0.5 * stored - 1024)


@pytest.mark.parametrize("voxel", [(0, 0, 0), (3, 1, 2), (1, 4, 0)])
def test_a_voxel_lies_where_nibabel_puts_it(tmp_path, voxel):
    path = write(tmp_path / "a.nii.gz", np.zeros((4, 5, 3), dtype=np.uint8))
    _, grid = read_image(path)
    assert np.allclose(grid.affine @ (*voxel, 1), (*nib.affines.apply_affine(nib.load(path).affine, voxel), 1))


def test_spacing_follows_row_column_slice(tmp_path):
    _, grid = read_image(write(tmp_path / "a.nii", np.zeros((4, 5, 3), dtype=np.uint8)))
    assert grid.shape == (4, 5, 3)
    assert grid.spacing_mm == pytest.approx((0.7, 1.1, 2.5), abs=1e-5)


@pytest.mark.parametrize(("unit", "mm"), [("meter", 1e3), ("mm", 1.0), ("micron", 1e-3), ("unknown", 1.0)])
def test_the_affine_is_in_mm_whatever_the_header_uses(tmp_path, unit, mm):
    path = write(tmp_path / "a.nii", np.zeros((4, 5, 3), dtype=np.uint8), xyzt_units=(unit,))
    assert np.allclose(read_nifti(path).affine[:3], OBLIQUE[:3] * mm, atol=1e-5 * mm)


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 1, 1)])
def test_a_single_slice_is_a_plane_that_keeps_its_affine(tmp_path, shape):
    _, grid = read_image(write(tmp_path / "a.nii", np.zeros(shape, dtype=np.uint8)))
    assert grid.shape == (4, 5)
    assert np.allclose(grid.affine, OBLIQUE, atol=1e-5)


def test_a_fourth_axis_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"a\.nii: expected one channel .* got size \(4, 5, 3, 2\)"):
        read_nifti(write(tmp_path / "a.nii", np.zeros((4, 5, 3, 2), dtype=np.uint8)))


def test_a_header_that_claims_too_many_voxels_is_refused_before_memory_is_taken(tmp_path):
    path = write(tmp_path / "a.nii", np.zeros((4, 5, 3), dtype=np.uint8))
    claim = bytearray(path.read_bytes())
    claim[42:48] = np.array([30000, 30000, 30000], dtype="<i2").tobytes()
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(bytes(claim)))
    with pytest.raises(InputError, match=r"b\.nii\.gz: expected at most 1073741824 voxels, got size \(30000"):
        read_nifti(tmp_path / "b.nii.gz")


def test_a_singular_affine_is_refused_by_the_name_of_the_file(tmp_path):
    path = write(tmp_path / "a.nii", np.zeros((4, 5, 3), dtype=np.uint8))
    volume = nib.load(path)
    volume.header["srow_z"] = 0
    (tmp_path / "b.nii").write_bytes(volume.header.binaryblock + path.read_bytes()[348:])
    with pytest.raises(InputError, match=r"b\.nii: expected a usable grid.*finite, invertible 4x4 affine"):
        read_image(tmp_path / "b.nii")


def test_colour_voxels_are_refused(tmp_path):
    colour = np.zeros((4, 5, 3), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(InputError, match=r"a\.nii: expected real numbers, got values of type \[\('R'"):
        read_image(write(tmp_path / "a.nii", colour))


def test_a_gzip_name_on_plain_content_is_refused(tmp_path):
    path = write(tmp_path / "a.nii", np.zeros((4, 5), dtype=np.uint8))
    path.rename(tmp_path / "b.nii.gz")
    with pytest.raises(InputError, match=r"b\.nii\.gz: expected a readable NIfTI file, got 'Not a gzipped file"):
        read_nifti(tmp_path / "b.nii.gz")
