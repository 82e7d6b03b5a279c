"""PNG, JPEG and TIFF: what comes back, and what is refused; tifffile writes what Pillow cannot."""

import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image, PngImagePlugin

from plurimask.errors import InputError
from plurimask.files.images import read_image
from plurimask.files.pictures import read_picture, read_tiff

LEVELS = np.random.default_rng(0).integers(0, 256, (7, 5), dtype=np.uint8)

COLOUR = np.stack([LEVELS, LEVELS.T.reshape(7, 5), 255 - LEVELS], axis=-1)


def write_deep_colour(path):
    """A 16-bit RGB PNG, which Pillow itself cannot write: a 1x1 pixel with its header and data by hand."""
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        PngImagePlugin.putchunk(file, b"IHDR", (1).to_bytes(4, "big") * 2 + bytes([16, 2, 0, 0, 0]))
        PngImagePlugin.putchunk(file, b"IDAT", zlib.compress(bytes(7)))
        PngImagePlugin.putchunk(file, b"IEND", b"")


DEEP = LEVELS.astype(np.uint16) * 257 - np.uint16(3 * (LEVELS > 0))


@pytest.mark.parametrize(
    ("pixels", "values"),
    [
        (LEVELS, LEVELS[None]),
        (DEEP, DEEP[None]),
        (LEVELS > 99, LEVELS[None] > 99),
        (COLOUR, np.moveaxis(COLOUR, -1, 0)),
    ],
    ids=["8 bits", "16 bits", "1 bit", "colour"],
)
def test_a_png_round_trip_keeps_type_and_values_without_loss_or_affine(tmp_path, pixels, values):
    Image.fromarray(pixels).save(tmp_path / "a.png", dpi=(300, 300))
    read = read_picture(tmp_path / "a.png")
    assert (read.values.dtype, read.lossy, read.affine) == (values.dtype, False, None)
    assert np.array_equal(read.values, values)
    Image.fromarray(LEVELS).save(tmp_path / "a.jpg")
    assert read_picture(tmp_path / "a.jpg").lossy


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_equal_channels_are_one_grey_channel(tmp_path, mode):
    Image.fromarray(LEVELS).convert(mode).save(tmp_path / "a.png")
    assert np.array_equal(read_picture(tmp_path / "a.png").values, LEVELS[None])


def test_a_palette_counts_as_its_colours(tmp_path):
    picture = Image.fromarray((LEVELS > 99).astype(np.uint8)).convert("P")
    picture.putpalette([255, 255, 255, 0, 0, 0])
    picture.save(tmp_path / "a.png")
    assert np.array_equal(read_picture(tmp_path / "a.png").values, np.where(LEVELS > 99, 0, 255)[None])


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_refused(tmp_path, mode):
    picture = Image.fromarray(LEVELS).convert(mode)
    picture.putalpha(254)
    picture.save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png: expected an opaque picture, got transparent pixels"):
        read_picture(tmp_path / "a.png")


@pytest.mark.parametrize("picture", [LEVELS, LEVELS.astype(np.uint16), LEVELS > 99], ids=["8 bits", "16 bits", "1 bit"])
def test_a_transparent_grey_value_is_refused(tmp_path, picture):
    Image.fromarray(picture).save(tmp_path / "a.png", transparency=int(picture.flat[0]))
    with pytest.raises(InputError, match="expected an opaque picture"):
        read_picture(tmp_path / "a.png")


def test_sixteen_bit_colour_is_refused_not_cut(tmp_path):
    write_deep_colour(tmp_path / "a.png")
    with pytest.raises(InputError, match="expected 8-bit colour, got 16-bit colour"):
        read_picture(tmp_path / "a.png")


ROTATED = Image.Exif()
ROTATED[0x0112] = 6


@pytest.mark.parametrize(
    ("name", "pixels", "options", "message"),
    [
        ("a.jpg", Image.fromarray(COLOUR).convert("CMYK"), {}, "expected a grey or RGB picture, got CMYK"),
        (
            "a.png",
            Image.fromarray(LEVELS),
            {"save_all": True, "append_images": [Image.fromarray(255 - LEVELS)]},
            "expected one picture, got 2 frames",
        ),
        ("a.png", Image.fromarray(LEVELS), {"exif": ROTATED}, "expected pixels stored upright, got EXIF orientation 6"),
        ("a.jpg", Image.fromarray(LEVELS), {"exif": ROTATED}, "expected pixels stored upright, got EXIF orientation 6"),
    ],
)
def test_a_picture_whose_pixels_are_not_clear_is_refused(tmp_path, name, pixels, options, message):
    pixels.save(tmp_path / name, **options)
    with pytest.raises(InputError, match=message):
        read_picture(tmp_path / name)


def test_the_content_must_be_what_the_name_says(tmp_path):
    Image.fromarray(LEVELS).save(tmp_path / "a.jpg", format="PNG")
    with pytest.raises(InputError, match=r"a\.jpg: expected a readable JPEG file, got 'cannot identify"):
        read_picture(tmp_path / "a.jpg")


def test_pillows_limit_against_bombs_becomes_our_error(tmp_path, monkeypatch):
    Image.fromarray(LEVELS).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(InputError, match=r"a\.png: expected a readable PNG file, got 'Image size \(35 pixels\)"):
        read_picture(tmp_path / "a.png")


# --- TIFF


PAGES = np.random.default_rng(1).integers(0, 60000, (4, 7, 5), dtype=np.uint16)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("kind", "compression"),
    [(kind, None) for kind in ("u1", "u2", "i2", "i4", "f4")] + [("u1", "zlib"), ("u2", "zlib")],
)
def test_a_tiff_keeps_its_values_and_pages_are_the_slices_of_a_volume(tmp_path, kind, order, compression):
    pages = (PAGES / 250).astype(order + kind)
    for name, values in (("one.tif", pages[0]), ("many.TIFF", pages)):
        tifffile.imwrite(tmp_path / name, values, byteorder=order, compression=compression, photometric="minisblack")
    assert np.array_equal(read_tiff(tmp_path / "one.tif").values, pages[:1])
    assert np.array_equal(read_tiff(tmp_path / "many.TIFF").values, np.moveaxis(pages, 0, -1)[None])


def test_a_coloured_tiff_has_three_channels(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", COLOUR, photometric="rgb")
    assert np.array_equal(read_tiff(tmp_path / "a.tif").values, np.moveaxis(COLOUR, -1, 0))


@pytest.mark.parametrize(
    ("options", "spacing"),
    [
        ({}, None),
        ({"resolution": (300, 300), "resolutionunit": "INCH"}, None),
        ({"resolution": (1000, 500), "resolutionunit": "CENTIMETER"}, None),
        (
            {"imagej": True, "resolution": (2, 4), "metadata": {"unit": "um", "spacing": 3, "axes": "ZYX"}},
            (0.25e-3, 0.5e-3, 3e-3),
        ),
        (
            {
                "ome": True,
                "metadata": {
                    "axes": "ZYX",
                    "PhysicalSizeX": 0.5,
                    "PhysicalSizeXUnit": "\xb5m",
                    "PhysicalSizeY": 0.25,
                    "PhysicalSizeYUnit": "\xb5m",
                    "PhysicalSizeZ": 2,
                    "PhysicalSizeZUnit": "mm",
                },
            },
            (0.25e-3, 0.5e-3, 2),
        ),
    ],
    ids=["none", "dots an inch", "unknown between pages", "ImageJ", "OME"],
)
def test_the_spacing_of_a_tiff_is_what_imagej_ome_or_centimetres_say(tmp_path, options, spacing):
    tifffile.imwrite(tmp_path / "a.tif", PAGES, photometric="minisblack", **options)
    grid = read_image(tmp_path / "a.tif")[1]
    assert grid.spacing_mm == (spacing and pytest.approx(spacing))
    assert not grid.placed


def test_a_plane_has_the_spacing_of_its_centimetres(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", PAGES[0], resolution=(1000, 500), resolutionunit="CENTIMETER")
    assert read_image(tmp_path / "a.tif")[1].spacing_mm == pytest.approx((0.02, 0.01))


def two_sizes(path):
    with tifffile.TiffWriter(path) as file:
        file.write(LEVELS)
        file.write(LEVELS[:3])


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (two_sizes, r"expected pages of one size, got \(5, 7\) and \(5, 3\)"),
        (
            lambda path: tifffile.imwrite(path, np.stack([PAGES[:3]] * 2), imagej=True, metadata={"axes": "ZCYX"}),
            "expected pages that are slices, got 3 channels",
        ),
        (
            lambda path: tifffile.imwrite(path, PAGES, ome=True, photometric="minisblack", metadata={"axes": "TYX"}),
            "expected pages that are slices, got 4 SizeT",
        ),
        (
            lambda path: tifffile.imwrite(path, COLOUR.astype(np.uint16), photometric="rgb"),
            "expected 8-bit colour, got 16-bit colour",
        ),
        (
            lambda path: tifffile.imwrite(path, PAGES[0].astype(">i2"), byteorder=">", compression="zlib"),
            "expected values in another form, got compressed big-endian",
        ),
        (lambda path: tifffile.imwrite(path, LEVELS.astype("i1")), "expected values in another form, got signed bytes"),
        (lambda path: path.write_bytes(b"II*\0"), "expected a readable TIFF file"),
    ],
    ids=["sizes", "channels", "time points", "deep colour", "swapped", "signed", "cut"],
)
def test_a_tiff_whose_pages_are_not_clear_is_refused(tmp_path, write, message):
    write(tmp_path / "a.tif")
    with pytest.raises(InputError, match=rf"a\.tif: {message}"):
        read_tiff(tmp_path / "a.tif")


def test_a_damaged_tiff_is_refused_without_a_word_of_libtiff(tmp_path, capfd):
    pixels = np.random.default_rng(0).integers(0, 255, (40, 30), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.tif", compression="tiff_adobe_deflate")
    whole = (tmp_path / "a.tif").read_bytes()
    middle = len(whole) // 2
    (tmp_path / "a.tif").write_bytes(whole[:middle] + bytes(40) + whole[middle + 40 :])
    with pytest.raises(InputError, match=r"a\.tif: expected a readable TIFF file"):
        read_tiff(tmp_path / "a.tif")
    assert capfd.readouterr() == ("", "")


def test_strips_that_leave_rows_out_are_refused(tmp_path):
    Image.fromarray(np.ones((16, 16), dtype=np.uint16)).save(tmp_path / "a.tif")
    tag = b"\x16\x01\x04\x00\x01\x00\x00\x00"  # rows per strip, one long number
    whole = (tmp_path / "a.tif").read_bytes()
    assert tag + b"\x10" in whole
    (tmp_path / "a.tif").write_bytes(whole.replace(tag + b"\x10", tag + b"\x06"))
    with pytest.raises(InputError, match="strips that do not cover the picture"):
        read_tiff(tmp_path / "a.tif")
