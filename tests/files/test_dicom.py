"""DICOM series against the formula of the standard, SimpleITK and pydicom: values, order, and where voxels lie."""

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_series import AXIAL, OBLIQUE, PATIENT_ID, noise, set_pixels, write_multiframe, write_series
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from plurimask.files.dicom import read_series
from plurimask.files.images import read_image

CORONAL, SAGITTAL, FLIPPED = (1, 0, 0, 0, 0, -1), (0, 1, 0, 0, 0, -1), (-1, 0, 0, 0, 1, 0)
ORIENTATIONS = pytest.mark.parametrize(
    "orientation",
    [AXIAL, CORONAL, SAGITTAL, FLIPPED, OBLIQUE],
    ids=["axial", "coronal", "sagittal", "flipped", "oblique"],
)
TILTED = (0.0, 0.9, 2.5)


def standard_position(path, row, column):
    """PS3.3 C.7.6.2.1.1, Equation C.7.6.2.1-1, as RAS+ mm."""
    header = pydicom.dcmread(path)
    orientation, spacing = np.array(header.ImageOrientationPatient), header.PixelSpacing
    along_row, down_column = orientation[:3] * spacing[1], orientation[3:] * spacing[0]
    lps = np.array(header.ImagePositionPatient) + column * along_row + row * down_column
    return lps * [-1, -1, 1]


@pytest.mark.parametrize("dtype", [np.int16, np.uint16])
def test_values_are_slope_times_stored_plus_intercept(tmp_path, dtype):
    stored = noise().astype(dtype)
    write_series(tmp_path, stored, slope=0.5, intercept=-1000)
    image = read_series(tmp_path).image
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image, 0.5 * stored[None].astype(float) - 1000)


def test_each_slice_has_its_own_slope(tmp_path):
    def change(dataset, number):
        dataset.RescaleSlope, dataset.RescaleIntercept = str(number + 1), str(-number)

    stored = noise()
    write_series(tmp_path, stored, change=change)
    np.testing.assert_array_equal(read_series(tmp_path).image[0], stored * [1, 2, 3, 4] - [0, 1, 2, 3])


def test_without_slope_values_are_as_stored(tmp_path):
    def change(dataset, number):
        del dataset.RescaleSlope, dataset.RescaleIntercept

    stored = noise()
    write_series(tmp_path, stored, change=change)
    np.testing.assert_array_equal(read_series(tmp_path).image[0], stored)


def test_slices_are_sorted_by_position(tmp_path):
    paths = write_series(tmp_path, noise())
    assert sorted(paths) != paths
    assert read_series(tmp_path).files == tuple(paths)


@ORIENTATIONS
@pytest.mark.parametrize("voxel", [(0, 0, 0), (4, 1, 2), (2, 5, 3)])
def test_a_voxel_lies_where_the_standard_puts_it(tmp_path, orientation, voxel):
    paths = write_series(tmp_path, noise(), orientation=orientation)
    found = read_series(tmp_path).grid.affine @ (*voxel, 1)
    assert np.abs(found[:3] - standard_position(paths[voxel[2]], *voxel[:2])).max() < 1e-3


@pytest.mark.parametrize("voxel", [(0, 0, 0), (4, 1, 2), (2, 5, 3)])
def test_with_a_tilted_gantry_a_voxel_lies_where_the_standard_puts_it(tmp_path, voxel):
    paths = write_series(tmp_path, noise(), step=TILTED)
    found = read_series(tmp_path).grid.affine @ (*voxel, 1)
    assert np.abs(found[:3] - standard_position(paths[voxel[2]], *voxel[:2])).max() < 1e-3


def test_a_tilted_gantry_leaves_the_volume_of_a_voxel_as_it_is(tmp_path):
    write_series(tmp_path, noise(), step=TILTED)
    assert read_series(tmp_path).grid.voxel_size == pytest.approx(0.7 * 0.6 * 2.5)


@ORIENTATIONS
def test_simpleitk_agrees_on_voxels_and_places(tmp_path, orientation):
    write_series(tmp_path, noise(), orientation=orientation, slope=2)
    series, reader = read_series(tmp_path), sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    other = reader.Execute()
    np.testing.assert_allclose(series.image[0], np.moveaxis(sitk.GetArrayFromImage(other), 0, -1))
    for row, column, slice_ in [(0, 0, 0), (4, 1, 2), (2, 5, 3)]:
        lps = other.TransformIndexToPhysicalPoint((column, row, slice_))
        assert np.abs((series.grid.affine @ (row, column, slice_, 1))[:3] - np.array(lps) * [-1, -1, 1]).max() < 1e-3


@ORIENTATIONS
def test_the_same_volume_through_nibabel_is_the_same_image_on_the_same_grid(tmp_path, orientation):
    write_series(tmp_path / "dicom", noise(), orientation=orientation, step=1.25)
    series = read_series(tmp_path / "dicom")
    nib.save(nib.Nifti1Image(series.image[0], series.grid.affine), tmp_path / "a.nii.gz")
    image, grid = read_image(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(image, series.image)
    assert grid.same_as(series.grid)


def test_one_slice_is_a_volume_of_one_that_steps_by_its_thickness(tmp_path):
    (path,) = write_series(tmp_path, noise((5, 6, 1)), step=3.0)
    series = read_series(path)
    assert series.image.shape == (1, 5, 6, 1)
    assert series.grid.spacing_mm == pytest.approx((0.7, 0.6, 3.0))


def test_a_folder_of_one_slice_is_the_slice(tmp_path):
    (path,) = write_series(tmp_path, noise((5, 6, 1)))
    assert read_series(tmp_path).grid.same_as(read_series(path).grid)


def test_spacing_without_position_gives_an_axial_plane_at_the_origin(tmp_path):
    def change(dataset, number):
        del dataset.ImagePositionPatient, dataset.ImageOrientationPatient

    (path,) = write_series(tmp_path, noise((5, 6, 1)), change=change)
    np.testing.assert_allclose(read_series(path).grid.affine @ (1, 2, 0, 1), (-1.2, -0.7, 0, 1))


def test_without_spacing_the_grid_has_no_affine(tmp_path):
    def change(dataset, number):
        del dataset.PixelSpacing

    (path,) = write_series(tmp_path, noise((5, 6, 1)), change=change)
    assert read_series(path).grid.affine is None


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (2, 0, 3, 1)])
def test_an_enhanced_multi_frame_image_is_the_series_that_it_was_made_of(tmp_path, order):
    write_series(tmp_path / "slices", noise(), orientation=OBLIQUE, slope=3)
    path = write_multiframe(tmp_path / "all.dcm", tmp_path / "slices", order)
    frames, slices = read_series(path), read_series(tmp_path / "slices")
    np.testing.assert_array_equal(frames.image, slices.image)
    assert frames.grid.same_as(slices.grid)
    assert frames.files == (path,)


def test_a_frame_overrides_what_frames_share(tmp_path):
    def change(dataset):
        own = pydicom.Dataset()
        own.RescaleSlope, own.RescaleIntercept = "5", "7"
        dataset.PerFrameFunctionalGroupsSequence[1].PixelValueTransformationSequence = [own]

    stored = noise()
    write_series(tmp_path / "slices", stored, intercept=0)
    path = write_multiframe(tmp_path / "all.dcm", tmp_path / "slices", (0, 1, 2, 3), change)
    np.testing.assert_array_equal(read_series(path).image[0], stored * [1, 5, 1, 1] + [0, 7, 0, 0])


@pytest.mark.parametrize("signed", [False, True])
def test_bits_beyond_the_stored_ones_do_not_count(tmp_path, signed):
    def change(dataset, number):
        dirty = (values[..., number] & 0x0FFF) | 0x5000
        set_pixels(dataset, dirty.astype(np.int16 if signed else np.uint16))
        dataset.BitsStored, dataset.HighBit = 12, 11

    values = noise().astype(np.int32) - (2000 if signed else 0)
    write_series(tmp_path, noise(), intercept=0, change=change)
    np.testing.assert_array_equal(read_series(tmp_path).image[0], values)


def test_padding_is_left_as_stored(tmp_path):
    stored = noise()
    stored[0] = -2000
    write_series(tmp_path, stored, change=lambda dataset, _: dataset.add_new("PixelPaddingValue", "SS", -2000))
    assert (read_series(tmp_path).image[0, 0] == -3024).all()


@pytest.mark.parametrize(("modality", "expected"), [("CR", 4095 - 7), ("CT", 7)])
def test_low_values_to_be_shown_white_are_turned_where_they_are_no_quantities(tmp_path, modality, expected):
    def change(dataset, number):
        dataset.PhotometricInterpretation, dataset.Modality = "MONOCHROME1", modality
        dataset.BitsStored, dataset.HighBit = 12, 11

    write_series(tmp_path, np.full((5, 6, 2), 7, dtype=np.uint16), intercept=0, change=change)
    assert (read_series(tmp_path).image == expected).all()


def test_signed_values_are_turned_about_minus_one_half(tmp_path):
    def change(dataset, number):
        dataset.PhotometricInterpretation, dataset.Modality = "MONOCHROME1", "DX"

    write_series(tmp_path, np.full((5, 6, 2), -32768, dtype=np.int16), intercept=0, change=change)
    assert (read_series(tmp_path).image == 32767).all()


def set_colour(colour):
    def change(dataset, number):
        set_pixels(dataset, colour[..., 0])
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
        dataset.PixelData = colour.tobytes()

    return change


def test_colour_is_three_channels(tmp_path):
    colour = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    write_series(tmp_path, noise((4, 6, 2)), intercept=0, change=set_colour(colour))
    np.testing.assert_array_equal(read_series(tmp_path).image, np.moveaxis(colour, -1, 0)[..., None].repeat(2, -1))


def test_colour_without_colour_is_one_channel(tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, (4, 6, 1), dtype=np.uint8).repeat(3, -1)
    write_series(tmp_path, noise((4, 6, 2)), change=set_colour(grey))
    assert read_series(tmp_path).image.shape == (1, 4, 6, 2)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, RLELossless])
def test_every_way_of_writing_gives_the_same_volume(tmp_path, syntax):
    def change(dataset, number):
        if syntax == RLELossless:
            dataset.compress(syntax)
        dataset.file_meta.TransferSyntaxUID = syntax

    write_series(tmp_path / "plain", noise())
    write_series(tmp_path / "other", noise(), change=change)
    np.testing.assert_array_equal(read_series(tmp_path / "other").image, read_series(tmp_path / "plain").image)


@pytest.mark.parametrize(("implicit", "little"), [(True, True), (False, True), (False, False)])
def test_a_file_without_preamble_is_read(tmp_path, implicit, little):
    (path,) = write_series(tmp_path, noise((5, 6, 1)))
    dataset = pydicom.dcmread(path)
    if not little:
        dataset.PixelData = dataset.pixel_array.byteswap().tobytes()
    del dataset.file_meta, dataset.preamble
    pydicom.dcmwrite(tmp_path / "bare", dataset, implicit_vr=implicit, little_endian=little, force_encoding=True)
    np.testing.assert_array_equal(read_series(tmp_path / "bare").image, read_series(path).image)


def test_the_patient_is_kept(tmp_path):
    write_series(tmp_path, noise())
    assert read_series(tmp_path).patient == PATIENT_ID


@pytest.mark.parametrize("name", [".hidden", "DICOMDIR", "dicomdir", "069.xml", "LICENSE", "notes.txt"])
def test_what_lies_beside_slices_and_says_so_is_passed_over(tmp_path, name):
    paths = write_series(tmp_path, noise())
    (tmp_path / name).write_text("no slice")
    assert read_series(tmp_path).files == tuple(paths)


def test_a_slice_is_a_slice_whatever_its_name(tmp_path):
    paths = write_series(tmp_path, noise())
    moved = paths[1].rename(tmp_path / "069.xml")
    assert read_series(tmp_path).files == (paths[0], moved, *paths[2:])


def test_folders_within_are_passed_over(tmp_path):
    paths = write_series(tmp_path, noise())
    write_series(tmp_path / "other", noise(), series="other")
    assert read_series(tmp_path).files == tuple(paths)
