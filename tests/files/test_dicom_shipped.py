"""pydicom's own test files: each opens as another reader has it, or is refused with the right sentence."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from plurimask.errors import InputError
from plurimask.files.dicom import read_series
from plurimask.files.dicom_headers import is_dicom

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


def test_a_shipped_series_opens():
    assert read_series(SHIPPED / "test_files" / "dicomdirtests" / "98892001" / "CT5N").image.shape == (1, 16, 16, 5)


@pytest.mark.parametrize(
    ("folder", "match"),
    [("77654033/CT2", "expected a slice every"), ("98892003/MR700", "expected slices of one orient")],
)
def test_a_shipped_selection_of_slices_that_is_no_stack_is_refused(folder, match):
    with pytest.raises(InputError, match=match):
        read_series(SHIPPED / "test_files" / "dicomdirtests" / folder)


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
