"""DICOM series against the formula of the standard, SimpleITK and pydicom: values, order, and where voxels lie."""

import sys
import tracemalloc
from contextlib import suppress
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_series import (
    AXIAL,
    OBLIQUE,
    PATIENT_ID,
    PATIENT_NAME,
    noise,
    set_pixels,
    uid,
    write_multiframe,
    write_series,
)
from pydicom.uid import (
    MPEG2MPML,
    DeflatedExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    RLELossless,
    RTStructureSetStorage,
    SegmentationStorage,
)

from plurimask.errors import InputError, MissingPackageError
from plurimask.files.dicom import read_series
from plurimask.files.dicom_headers import is_dicom

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


def test_each_slice_has_its_own_slope_or_none(tmp_path):
    def change(dataset, number):
        dataset.RescaleSlope, dataset.RescaleIntercept = str(number + 1), str(-number)
        if number == 0:
            del dataset.RescaleSlope, dataset.RescaleIntercept

    stored = noise()
    write_series(tmp_path, stored, change=change)
    np.testing.assert_array_equal(read_series(tmp_path).image[0], stored * [1, 2, 3, 4] - [0, 1, 2, 3])


def test_slices_are_sorted_by_position(tmp_path):
    paths = write_series(tmp_path, noise())
    assert sorted(paths) != paths
    assert read_series(tmp_path).files == tuple(paths)


@pytest.mark.parametrize(("orientation", "step"), [(OBLIQUE, 2.5), (FLIPPED, 2.5), (AXIAL, TILTED)])
def test_a_voxel_lies_where_the_standard_puts_it_also_with_a_tilted_gantry(tmp_path, orientation, step):
    paths = write_series(tmp_path, noise(), orientation=orientation, step=step)
    grid = read_series(tmp_path).grid
    assert grid.voxel_size == pytest.approx(0.7 * 0.6 * 2.5)
    for voxel in [(0, 0, 0), (4, 1, 2), (2, 5, 3)]:
        found = grid.affine @ (*voxel, 1)
        assert np.abs(found[:3] - standard_position(paths[voxel[2]], *voxel[:2])).max() < 1e-3


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


def test_one_slice_is_a_volume_of_one_that_steps_by_its_thickness(tmp_path):
    (path,) = write_series(tmp_path, noise((5, 6, 1)), step=3.0)
    series = read_series(path)
    assert series.image.shape == (1, 5, 6, 1)
    assert series.grid.spacing_mm == pytest.approx((0.7, 0.6, 3.0))
    assert read_series(tmp_path).grid.same_as(series.grid)


def test_spacing_without_position_gives_an_axial_plane_at_the_origin_and_none_no_affine(tmp_path):
    def change(dataset, number):
        del dataset.ImagePositionPatient, dataset.ImageOrientationPatient

    (path,) = write_series(tmp_path, noise((5, 6, 1)), change=change)
    np.testing.assert_allclose(read_series(path).grid.affine @ (1, 2, 0, 1), (-1.2, -0.7, 0, 1))
    (path,) = write_series(tmp_path, noise((5, 6, 1)), change=only(0, PixelSpacing=None))
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


@pytest.mark.parametrize(
    ("dtype", "bits", "value", "limit"),
    [
        (np.int16, 16, ("SS", -2000), None),
        (np.int16, 16, ("US", 63536), None),  # as some write it
        (np.int16, 12, ("US", 63536), None),
        (np.uint16, 16, ("US", 65000), ("US", 63536)),
        (np.int16, 16, ("SS", -1999), ("SS", -2001)),
    ],
)
@pytest.mark.parametrize("frames", [False, True])
def test_what_the_header_declares_as_padding_keeps_its_values_and_is_told_apart(
    tmp_path, dtype, bits, value, limit, frames
):
    def change(dataset, number=0):
        dataset.add_new("PixelPaddingValue", *value)
        dataset.BitsStored, dataset.HighBit = bits, bits - 1
        if limit:
            dataset.add_new("PixelPaddingRangeLimit", *limit)

    stored = (noise() // 4).astype(dtype)
    stored[0] = 64000 if dtype == np.uint16 else -2000
    write_series(tmp_path / "a", stored, change=None if frames else change)
    path = write_multiframe(tmp_path / "b.dcm", tmp_path / "a", (2, 0, 1, 3), change) if frames else tmp_path / "a"
    series = read_series(path)
    np.testing.assert_array_equal(series.image[0], stored.astype(float) - 1024)
    np.testing.assert_array_equal(series.padding, np.arange(5)[:, None, None].repeat(6, 1).repeat(4, 2) == 0)


@pytest.mark.parametrize(
    ("modality", "corner", "padded"), [("CT", -3024, True), ("CT", -1024, False), ("MR", -3024, False)]
)
def test_without_a_declaration_ct_below_air_outside_of_the_circle_is_padding(tmp_path, modality, corner, padded):
    stored = noise((9, 9, 2)) // 4
    stored[:3, :2] = corner + 1024
    stored[4, 4] = -3000  # within it, as behind metal
    write_series(tmp_path, stored, change=lambda dataset, _: setattr(dataset, "Modality", modality))
    padding = read_series(tmp_path).padding
    assert (padding is not None) == padded
    if padded:
        np.testing.assert_array_equal(np.argwhere(padding[..., 0]), np.argwhere(np.ones((3, 2))))


@pytest.mark.parametrize(("zeros", "refused_"), [(2**20, False), (2**27, True)])
def test_a_deflated_file_is_not_inflated_beyond_what_its_header_claims(tmp_path, zeros, refused_):
    def change(dataset, number):
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        dataset.PixelData += bytes(zeros)

    (path,) = write_series(tmp_path, noise((5, 6, 1)), change=change)
    assert path.stat().st_size < 2**18
    tracemalloc.start()
    if refused_:
        refused(
            path, r"expected at most 16,777,276 bytes, as its header says, got \d+,\d+,\d+ or more when it is inflat"
        )
    else:
        assert read_series(path).image.shape == (1, 5, 6, 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 * 2**20


def test_a_length_in_a_file_takes_no_memory_beyond_it(tmp_path):
    (path,) = write_series(tmp_path, noise((5, 6, 1)))
    whole = path.read_bytes()
    at = whole.rindex(b"\xe0\x7f\x10\x00OW") + 8
    path.write_bytes(whole[:at] + b"\xfe\xff\xff\x7f" + whole[at + 4 :])
    tracemalloc.start()
    with suppress(InputError):
        read_series(path)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


def test_a_mosaic_is_refused_and_an_enhanced_file_that_says_so_is_none(tmp_path):
    def change(dataset, number=0):
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "DIFFUSION", "NONE", "ND", "MOSAIC"]

    write_series(tmp_path / "slices", noise())
    path = write_multiframe(tmp_path / "all.dcm", tmp_path / "slices", (0, 1, 2, 3), change)
    np.testing.assert_array_equal(read_series(path).image, read_series(tmp_path / "slices").image)
    write_series(tmp_path / "mosaics", noise(), change=change)
    refused(
        tmp_path / "mosaics", "expected one slice a file, got a mosaic, whose tiles are slices; take it apart first"
    )


@pytest.mark.parametrize(
    ("modality", "stored", "bits", "expected"),
    [("CR", np.uint16(7), 12, 4095 - 7), ("CT", np.uint16(7), 12, 7), ("DX", np.int16(-32768), 16, 32767)],
)
def test_low_values_to_be_shown_white_are_turned_where_they_are_no_quantities(
    tmp_path, modality, stored, bits, expected
):
    def change(dataset, number):
        dataset.PhotometricInterpretation, dataset.Modality = "MONOCHROME1", modality
        dataset.BitsStored, dataset.HighBit = bits, bits - 1

    write_series(tmp_path, np.full((5, 6, 2), stored), intercept=0, change=change)
    assert (read_series(tmp_path).image == expected).all()


def set_colour(colour):
    def change(dataset, number):
        set_pixels(dataset, colour[..., 0])
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
        dataset.PixelData = colour.tobytes()

    return change


def test_colour_is_three_channels_and_one_where_all_are_equal(tmp_path):
    colour = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    write_series(tmp_path, noise((4, 6, 2)), intercept=0, change=set_colour(colour))
    np.testing.assert_array_equal(read_series(tmp_path).image, np.moveaxis(colour, -1, 0)[..., None].repeat(2, -1))
    write_series(tmp_path, noise((4, 6, 2)), change=set_colour(colour[..., :1].repeat(3, -1)))
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


@pytest.mark.parametrize("name", [".hidden", "dicomdir", "069.xml", "LICENSE"])
def test_what_lies_beside_slices_and_says_so_is_passed_over(tmp_path, name):
    paths = write_series(tmp_path, noise())
    (tmp_path / name).write_text("no slice")
    write_series(tmp_path / "other", noise(), series="other")
    assert read_series(tmp_path).files == tuple(paths)
    assert read_series(tmp_path).patient == PATIENT_ID


def test_a_slice_is_a_slice_whatever_its_name(tmp_path):
    paths = write_series(tmp_path, noise())
    moved = paths[1].rename(tmp_path / "069.xml")
    assert read_series(tmp_path).files == (paths[0], moved, *paths[2:])


# --- What DICOM is refused, and that the line names the file and never the patient.


def only(number, **values):
    """A change that gives one slice other values; None takes one away."""

    def change(dataset, slice_):
        for keyword, value in values.items() if slice_ == number else ():
            if value is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)

    return change


def refused(path, match, error=InputError):
    with pytest.raises(error, match=match) as caught:
        read_series(path)
    assert PATIENT_NAME not in str(caught.value)
    assert PATIENT_ID not in str(caught.value)


def test_two_series_in_one_folder(tmp_path):
    write_series(tmp_path, noise())
    for path in write_series(tmp_path / "other", noise((5, 6, 2)), series="other"):
        path.rename(tmp_path / f"other-{path.name}")
    names = rf"({uid('series')}|{uid('other')})"
    refused(
        tmp_path, rf"expected one series, got {names} \([24] files\), {names} \([24] files\); name one behind a #, as"
    )
    assert read_series(tmp_path, uid("other")).image.shape == (1, 5, 6, 2)
    with pytest.raises(InputError, match=r"expected a series 7, got .*; name one of them behind the #"):
        read_series(tmp_path, "7")


def test_a_localizer_among_the_slices(tmp_path):
    write_series(tmp_path, noise(), change=only(2, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]))
    refused(tmp_path, r"expected the slices of one series, got a localizer among them, IM05836\.dcm; move localizers")


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"ImagePositionPatient": None}, "expected position of every slice, got none in IM07924"),
        ({"ImageOrientationPatient": None}, "expected orientation of every slice, got none in IM07924"),
        ({"PixelSpacing": None}, "expected spacing of every slice, got none in IM07924"),
        ({"PixelSpacing": ""}, "expected spacing of every slice, got none in IM07924"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0.8, 0.6]}, "expected slices of one orientation"),
        ({"PixelSpacing": [0.7, 0.61]}, "expected slices of one spacing"),
        ({"FrameOfReferenceUID": "1.2.3"}, "expected slices of one frame of reference, got another in IM"),
        ({"Rows": 3, "PixelData": bytes(36)}, "expected slices of one size"),
        ({"ImagePositionPatient": [-100, -80, -300]}, r"expected one slice at each position, got IM.*dcm and IM"),
        ({"ImagePositionPatient": [-100, -80, -297.2]}, r"expected evenly spaced slices, to 0\.1 mm, got IM07924"),
        ({"ImagePositionPatient": [-100, -79.8, -297.5]}, r"expected evenly spaced slices, to 0\.1 mm, got IM07924"),
        ({"ImagePositionPatient": [-100, "nan", -297.5]}, "expected 3 finite number.* as ImagePositionPatient"),
        ({"ImagePositionPatient": [-100, "1e400", -297.5]}, "expected 3 finite number.* as ImagePositionPatient"),
        ({"ImagePositionPatient": [-100, -300]}, "expected 3 finite number.* as ImagePositionPatient"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "expected two unit vectors at right angles"),
        ({"PixelSpacing": [0.7, 0]}, r"expected numbers above 0 as PixelSpacing, got \[0\.7, 0\.0\]"),
        ({"PixelSpacing": [-0.7, 0.6]}, "expected numbers above 0 as PixelSpacing"),
        ({"RescaleSlope": "0"}, "expected a number other than 0 as RescaleSlope"),
        ({"HighBit": 14}, "expected the 16 stored bits to be the lowest, got high bit 14"),
        ({"Columns": 0}, "expected at least one row, column and frame"),
        ({"Rows": 65535, "Columns": 65535}, "expected at most 4 GiB"),
        ({"PixelData": None}, r"IM07924\.dcm: expected an image, got a DICOM object without pixels"),
        (
            {"BitsStored": 20, "HighBit": 19},
            r"expected pixels in .* 'Bits Stored' value of '20' is invalid",
        ),
        ({"ModalityLUTSequence": [pydicom.Dataset()]}, r"expected slope and intercept, got a table of values"),
        ({"NumberOfFrames": 2}, r"expected a position for each of 2 frames .*frames in time are no volume"),
        ({"SOPClassUID": SegmentationStorage}, "expected an image, got a DICOM object of kind 'Segmentation Storage'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_one_slice_that_does_not_fit(tmp_path, values, match):
    write_series(tmp_path, noise(), change=only(1, **values))
    refused(tmp_path, match)


def test_a_missing_slice(tmp_path):
    write_series(tmp_path, noise((5, 6, 7)))[3].unlink()
    refused(
        tmp_path, r"expected a slice every 2\.5 mm, got 5 mm between IM05836\.dcm and IM\d+\.dcm; slices are missing"
    )


def test_positions_that_are_rounded_are_taken_as_even(tmp_path):
    def rounded(dataset, number):
        dataset.ImagePositionPatient = [-100, -80, round(0.625 * number, 1)]

    write_series(tmp_path, noise((5, 6, 9)), change=rounded)
    assert read_series(tmp_path).grid.spacing_mm == pytest.approx((0.7, 0.6, 0.625))


def test_a_structure_set_among_the_slices(tmp_path):
    def structure_set(dataset, number):
        if number == 2:
            for keyword in ("Rows", "Columns", "PixelData"):
                delattr(dataset, keyword)
            dataset.SOPClassUID = RTStructureSetStorage

    write_series(tmp_path, noise(), change=structure_set)
    refused(tmp_path, r"IM05836\.dcm: expected an image, got a DICOM object of kind 'RT Structure Set Storage'")


@pytest.mark.parametrize(
    ("order", "match"),
    [
        ((0, 1, 1, 2), "expected one slice at each position, got all.dcm, frame 2 and all.dcm, frame 3 at the same"),
        ((0, 1, 3), r"expected a slice every 2\.5 mm, got 5 mm between all\.dcm, frame 2 and all\.dcm, frame 3"),
    ],
)
def test_frames_that_are_no_stack(tmp_path, order, match):
    write_series(tmp_path / "slices", noise())
    refused(write_multiframe(tmp_path / "all.dcm", tmp_path / "slices", order), match)


def test_a_multi_frame_file_beside_slices(tmp_path):
    write_series(tmp_path, noise())
    write_multiframe(tmp_path / "all.dcm", tmp_path, (0, 1, 2, 3))
    refused(tmp_path, "expected one multi-frame file, or one slice a file, got both")


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (b"", "an empty file"),
        (b"0\x82\x0f\x00\x06\x09*\x86H\x86\xf7\r\x01\x07\x03" + bytes(200), "one without DICOM's mark"),
    ],
    ids=["empty", "encrypted"],
)
def test_a_file_of_another_kind_under_a_slices_name(tmp_path, content, got):
    write_series(tmp_path, noise())
    (tmp_path / "IM00001.dcm").write_bytes(content)
    refused(tmp_path, rf"IM00001\.dcm: expected a DICOM file, got {got}; fetch it again, or unpack or decrypt it first")


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        (4, r"expected 24 values, as its header says, got more of them"),
        (6, r"expected pixels in Explicit VR Little Endian, got 'The number of bytes of pixel data is less"),
    ],
)
def test_more_or_fewer_pixels_than_the_header_says(tmp_path, rows, match):
    (path,) = write_series(tmp_path, noise((5, 6, 1)), change=only(0, Rows=rows))
    refused(path, match)


@pytest.mark.parametrize("lost", [1, 100, 1000])
def test_a_truncated_file(tmp_path, lost):
    paths = write_series(tmp_path, noise())
    paths[1].write_bytes(paths[1].read_bytes()[:-lost])
    refused(tmp_path, r"IM07924\.dcm: expected ")


def test_a_link_to_a_slice_that_is_gone(tmp_path):
    write_series(tmp_path, noise())
    (tmp_path / "IM00001.dcm").symlink_to(tmp_path / "gone.dcm")
    refused(tmp_path, r"IM00001\.dcm: expected a readable file, got what only stands for it; fetch it first")


def test_a_path_without_dicom(tmp_path):
    (tmp_path / "readme.txt").write_text("nothing here")
    refused(tmp_path, "expected the DICOM files of one series, got none; pass the folder that holds the slices")
    refused(tmp_path / "none.dcm", r"none\.dcm: expected a readable file, got 'No such file or directory'")


@pytest.mark.parametrize(
    ("syntax", "match", "error"),
    [
        (HTJ2KLossless, r"expected a decoder of High-Throughput JPEG 2000.*pip install", MissingPackageError),
        (
            MPEG2MPML,
            "expected pixels that are stored plainly, in RLE, JPEG, JPEG-LS or JPEG 2000, got MPEG2 Main Profile",
            InputError,
        ),
    ],
)
def test_a_compression_without_decoder_and_a_film(tmp_path, syntax, match, error):
    (path,) = write_series(tmp_path, noise((5, 6, 1)), change=only(0, PixelData=pydicom.encaps.encapsulate([bytes(8)])))
    restate(path, syntax)
    refused(path, match, error)


def restate(path, syntax):
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset["PixelData"].is_undefined_length = True
    dataset["PixelData"].VR = "OB"
    dataset.save_as(path)


def test_without_pydicom_the_error_says_what_to_install(tmp_path, monkeypatch):
    write_series(tmp_path, noise())
    for module in [name for name in sys.modules if name.partition(".")[0] == "pydicom"]:
        monkeypatch.setitem(sys.modules, module, None)
    refused(tmp_path, r'run pip install "plurimask\[dicom\]"', MissingPackageError)


def test_no_warning_of_pydicom_quotes_the_file(tmp_path, recwarn):
    write_series(tmp_path, noise(), change=only(1, StudyInstanceUID="1.2.x", PatientID="x" * 80))
    recwarn.clear()
    read_series(tmp_path)
    assert not recwarn


# --- pydicom's own test files: each opens as another reader has it, or is refused with the right sentence.


SHIPPED = Path(pydicom.__file__).parent / "data"

GREY = {
    "J2K_pixelrep_mismatch": (512, 512),
    "CT_small": (128, 128),
    "JPEG2000": (1024, 256),
    "JPEGLSNearLossless_08": (45, 10),
    "JPEGLSNearLossless_16": (50, 10),
    "MR_small": (64, 64),
    "MR_small_RLE": (64, 64),
    "MR_small_bigendian": (64, 64),
    "MR_small_expb": (64, 64),
    "MR_small_implicit": (64, 64),
    "MR_small_jp2klossless": (64, 64),
    "MR_small_jpeg_ls_lossless": (64, 64),
    "examples_overlay": (300, 484),
    "image_dfl": (512, 512),
    "693_J2KI": (512, 512),
}

COLOUR = {
    "ExplVR_BigEnd": (60, 80),
    "SC_jpeg_no_color_transform": (256, 256),
    "SC_jpeg_no_color_transform_2": (256, 256),
    "SC_rgb_dcmtk_+eb+cr": (100, 100),
    "SC_rgb_dcmtk_+eb+cy+n1": (100, 100),
    "SC_rgb_dcmtk_+eb+cy+n2": (100, 100),
    "SC_rgb_dcmtk_+eb+cy+np": (100, 100),
    "SC_rgb_dcmtk_+eb+cy+s2": (100, 100),
    "SC_rgb_dcmtk_+eb+cy+s4": (100, 100),
    "SC_rgb_gdcm_KY": (100, 100),
    "SC_rgb_jls_lossy_line": (100, 100),
    "SC_rgb_jls_lossy_sample": (100, 100),
    "SC_rgb_jpeg": (256, 256),
    "SC_rgb_jpeg_app14_dcmd": (256, 256),
    "SC_rgb_jpeg_dcmd": (256, 256),
    "SC_rgb_jpeg_dcmtk": (100, 100),
    "SC_rgb_jpeg_gdcm": (100, 100),
    "SC_rgb_jpeg_lossy_gdcm": (100, 100),
    "SC_rgb_rle": (100, 100),
    "SC_rgb_rle_16bit": (100, 100),
    "SC_rgb_rle_32bit": (100, 100),
    "SC_rgb_small_odd": (3, 3),
    "SC_rgb_small_odd_big_endian": (3, 3),
    "SC_rgb_small_odd_jpeg": (3, 3),
    "SC_ybr_full_422_uncompressed": (100, 100),
    "examples_jpeg2k": (480, 640),
    "examples_palette": (350, 800),
    "examples_rgb_color": (240, 320),
}

FRAMES = r"expected a position for each of (2|30) frames \(enhanced multi-frame\), got frames without; write each frame"

TWELVE_BITS = r"expected pixels in JPEG Extended .*, got 'Unable to decode.*'; decompress it with another program"

KIND = "expected an image, got a DICOM object of kind '%s'( without pixels)?; pass the images alone"

NO_PIXELS = r"expected an image, got a DICOM object( of kind '\w+ Image Storage')? without pixels"

REFUSED = {
    "ExplVR_BigEndNoMeta": KIND % "RT Ion Plan Storage",
    "ExplVR_LitEndNoMeta": KIND % "RT Ion Plan Storage",
    "GDCMJ2K_TextGBR": r"expected pixels in JPEG 2000 .*, got 'Unable to decode.*'; decompress it with another program",
    "JPEG-lossy": TWELVE_BITS,
    "JPEG2000-embedded-sequence-delimiter": "expected pixels in JPEG 2000 Image Compression, got 'Unable to decode",
    "JPGExtended": TWELVE_BITS,
    "MR_truncated": r"got 'The number of bytes of pixel data is less than expected \(8130 vs 8192 bytes\)",
    "SC_rgb_rle_16bit_2frame": FRAMES,
    "SC_rgb_rle_2frame": FRAMES,
    "SC_rgb_rle_32bit_2frame": FRAMES,
    "UN_sequence": NO_PIXELS,
    "badVR": KIND % "RT Dose Storage",
    "empty_charset_LEI": NO_PIXELS,
    "examples_ybr_color": FRAMES,
    "liver_1frame": KIND % "Segmentation Storage",
    "liver_expb_1frame": KIND % "Segmentation Storage",
    "meta_missing_tsyntax": NO_PIXELS,
    "nested_priv_SQ": NO_PIXELS,
    "no_meta": "expected a DICOM file, got one without DICOM's mark",  # a stray byte stands in front
    "no_meta_group_length": NO_PIXELS,
    "priv_SQ": NO_PIXELS,
    "reportsi": KIND % "Basic Text SR Storage",
    "reportsi_with_empty_number_tags": KIND % "Basic Text SR Storage",
    "rtdose": KIND % "RT Dose Storage",
    "rtdose_1frame": KIND % "RT Dose Storage",
    "rtdose_expb": KIND % "RT Dose Storage",
    "rtdose_expb_1frame": KIND % "RT Dose Storage",
    "rtdose_rle": KIND % "RT Dose Storage",
    "rtdose_rle_1frame": KIND % "RT Dose Storage",
    "rtplan": KIND % "RT Plan Storage",
    "rtplan_truncated": KIND % "RT Plan Storage",
    "rtstruct": KIND % "RT Structure Set Storage",
    "test-SR": KIND % "Comprehensive SR Storage",
    "waveform_ecg": KIND % "12-lead ECG Waveform Storage",
}


def shipped(name):
    return SHIPPED / "test_files" / f"{name}.dcm"


def test_the_tables_name_every_shipped_file():
    here = {path.stem for path in (SHIPPED / "test_files").glob("*.dcm")}
    assert here - {"MR_small_padded"} == set(GREY) | set(COLOUR) | set(REFUSED)


@pytest.mark.parametrize(("name", "shape"), GREY.items())
def test_a_grey_image_is_as_simpleitk_has_it(name, shape):
    series, other = read_series(shipped(name)), sitk.ReadImage(str(shipped(name)))
    assert series.image.shape == (1, *shape, 1)
    np.testing.assert_allclose(series.image[0, ..., 0], sitk.GetArrayFromImage(other)[0])
    if series.grid.affine is not None:
        far = other.TransformIndexToPhysicalPoint((shape[1] - 1, shape[0] - 1, 0))
        found = series.grid.affine @ (shape[0] - 1, shape[1] - 1, 0, 1)
        assert np.abs(found[:3] - np.array(far) * [-1, -1, 1]).max() < 1e-3


def test_padding_of_zeros_does_not_count():
    padded, plain = read_series(shipped("MR_small_padded")), read_series(shipped("MR_small"))
    np.testing.assert_array_equal(padded.image, plain.image)


@pytest.mark.parametrize(("name", "shape"), COLOUR.items())
def test_a_colour_image_is_three_channels(name, shape):
    assert read_series(shipped(name)).image.shape == (3, *shape, 1)


@pytest.mark.parametrize("name", ["SC_rgb_rle", "SC_rgb_small_odd", "examples_rgb_color", "SC_rgb_jpeg_gdcm"])
def test_colours_are_as_simpleitk_has_them(name):
    other = sitk.GetArrayFromImage(sitk.ReadImage(str(shipped(name))))[0]
    np.testing.assert_array_equal(read_series(shipped(name)).image[..., 0], np.moveaxis(other, -1, 0))


@pytest.mark.parametrize(("name", "match"), REFUSED.items())
def test_no_image_or_a_damaged_one_is_refused_with_its_reason(name, match):
    with pytest.raises(InputError, match=match):
        read_series(shipped(name))


def test_a_shipped_series_opens_and_selections_that_are_no_stack_are_refused():
    folder = SHIPPED / "test_files" / "dicomdirtests"
    assert read_series(folder / "98892001" / "CT5N").image.shape == (1, 16, 16, 5)
    with pytest.raises(InputError, match="expected a slice every"):
        read_series(folder / "77654033" / "CT2")
    with pytest.raises(InputError, match="expected slices of one orient"):
        read_series(folder / "98892003" / "MR700")


def test_an_index_of_a_medium_is_no_image():
    with pytest.raises(InputError, match=KIND % "Media Storage Directory Storage"):
        read_series(SHIPPED / "test_files" / "dicomdirtests" / "DICOMDIR")


@pytest.mark.parametrize("folder", ["charset_files", "palettes", "test_files/dicomdirtests/TINY_ALPHA"])
def test_any_other_shipped_file_is_an_image_or_refused_by_name(folder):
    """Colour palettes, character sets, text files; pydicom's own table of them is not repeated here."""
    for path in (path for path in (SHIPPED / folder).rglob("*") if path.is_file()):
        try:
            said = path.name if is_dicom(path) and read_series(path) else ""
        except InputError as error:
            said = str(error)
        assert path.name in said or not is_dicom(path)
