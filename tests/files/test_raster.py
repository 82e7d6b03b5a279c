"""PNG and JPEG: what comes back, and what is refused."""

import re
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from plurimask.errors import InputError
from plurimask.files.images import read_jpeg, read_png

GREY = np.random.default_rng(0).integers(0, 256, (7, 5), dtype=np.uint8)
COLOUR = np.stack([GREY, GREY.T.reshape(7, 5), 255 - GREY], axis=-1)


def write_deep_colour(path):
    """A 16-bit RGB PNG, which Pillow itself cannot write: a 1x1 pixel with its header and data by hand."""
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        PngImagePlugin.putchunk(file, b"IHDR", (1).to_bytes(4, "big") * 2 + bytes([16, 2, 0, 0, 0]))
        PngImagePlugin.putchunk(file, b"IDAT", zlib.compress(bytes(7)))
        PngImagePlugin.putchunk(file, b"IEND", b"")


def test_eight_bit_grey_round_trip(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "a.png")
    assert np.array_equal(read_png(tmp_path / "a.png").values, GREY[None])


def test_sixteen_bit_grey_round_trip(tmp_path):
    deep = GREY.astype(np.uint16) * 257 - np.uint16(3 * (GREY > 0))
    Image.fromarray(deep).save(tmp_path / "a.png")
    values = read_png(tmp_path / "a.png").values
    assert values.dtype == np.uint16
    assert np.array_equal(values, deep[None])


def test_one_bit_is_bool(tmp_path):
    Image.fromarray(GREY > 99).save(tmp_path / "a.png")
    values = read_png(tmp_path / "a.png").values
    assert values.dtype == np.bool_
    assert np.array_equal(values, GREY[None] > 99)


def test_colour_gives_three_channels(tmp_path):
    Image.fromarray(COLOUR).save(tmp_path / "a.png")
    assert np.array_equal(read_png(tmp_path / "a.png").values, np.moveaxis(COLOUR, -1, 0))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_equal_channels_are_one_grey_channel(tmp_path, mode):
    Image.fromarray(GREY).convert(mode).save(tmp_path / "a.png")
    assert np.array_equal(read_png(tmp_path / "a.png").values, GREY[None])


def test_a_palette_counts_as_its_colours(tmp_path):
    picture = Image.fromarray((GREY > 99).astype(np.uint8)).convert("P")
    picture.putpalette([255, 255, 255, 0, 0, 0])
    picture.save(tmp_path / "a.png")
    assert np.array_equal(read_png(tmp_path / "a.png").values, np.where(GREY > 99, 0, 255)[None])


def test_jpeg_is_marked_as_lossy_and_png_is_not(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "a.jpg")
    Image.fromarray(GREY).save(tmp_path / "a.png")
    assert read_jpeg(tmp_path / "a.jpg").lossy
    assert not read_png(tmp_path / "a.png").lossy


def test_a_picture_has_no_affine(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "a.png", dpi=(300, 300))
    assert read_png(tmp_path / "a.png").affine is None


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_refused(tmp_path, mode):
    picture = Image.fromarray(GREY).convert(mode)
    picture.putalpha(254)
    picture.save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png: expected an opaque picture, got transparent pixels"):
        read_png(tmp_path / "a.png")


@pytest.mark.parametrize("picture", [GREY, GREY.astype(np.uint16), GREY > 99], ids=["8 bits", "16 bits", "1 bit"])
def test_a_transparent_grey_value_is_refused(tmp_path, picture):
    Image.fromarray(picture).save(tmp_path / "a.png", transparency=int(picture.flat[0]))
    with pytest.raises(InputError, match="expected an opaque picture"):
        read_png(tmp_path / "a.png")


def test_sixteen_bit_colour_is_refused_not_cut(tmp_path):
    write_deep_colour(tmp_path / "a.png")
    with pytest.raises(InputError, match="expected 8-bit colour, got 16-bit colour"):
        read_png(tmp_path / "a.png")


def test_cmyk_is_refused(tmp_path):
    Image.fromarray(COLOUR).convert("CMYK").save(tmp_path / "a.jpg")
    with pytest.raises(InputError, match="expected a grey or RGB picture, got CMYK"):
        read_jpeg(tmp_path / "a.jpg")


def test_several_frames_are_refused(tmp_path):
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match="expected one picture, got 2 frames"):
        read_png(tmp_path / "a.png")


@pytest.mark.parametrize(("name", "read"), [("a.png", read_png), ("a.jpg", read_jpeg)])
def test_an_exif_rotation_is_refused(tmp_path, name, read):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(GREY).save(tmp_path / name, exif=exif)
    with pytest.raises(InputError, match="expected pixels stored upright, got EXIF orientation 6"):
        read(tmp_path / name)


def test_the_content_must_be_what_the_name_says(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "a.jpg", format="PNG")
    with pytest.raises(InputError, match=r"a\.jpg: expected a readable JPEG file, got 'cannot identify"):
        read_jpeg(tmp_path / "a.jpg")


def test_pillows_limit_against_bombs_becomes_our_error(tmp_path, monkeypatch):
    Image.fromarray(GREY).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(InputError, match=re.escape("a.png: expected a readable PNG file, got 'Image size (35 pixels)")):
        read_png(tmp_path / "a.png")
