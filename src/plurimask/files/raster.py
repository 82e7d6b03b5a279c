"""PNG and JPEG files to arrays, through Pillow."""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image
from PIL.ImageFile import ImageFile

from plurimask.errors import InputError
from plurimask.files.stored import Stored, unreadable

_GREY_MODES = ("1", "L", "I;16")
_DAMAGE = (OSError, SyntaxError, ValueError, struct.error, zlib.error, Image.DecompressionBombError)


def read_png(path: Path) -> Stored:
    """The pixels of a PNG: bool for 1 bit, uint8, or uint16 for 16-bit grey; see `read_raster`."""
    return read_raster(path, "PNG")


def read_jpeg(path: Path) -> Stored:
    """The pixels of a JPEG, uint8, marked as lossy; see `read_raster`."""
    return read_raster(path, "JPEG")


def read_raster(path: Path, kind: str) -> Stored:
    """The pixels of a picture in the order in which they are stored, without spacing.

    Three equal channels are one grey channel; any other colour gives three (red, green, blue). A palette counts as the
    colours it stands for. An alpha channel that is opaque everywhere is dropped.

    Args:
        path: the file.
        kind: "PNG" or "JPEG"; the content must be of that format, whatever the name says.

    Raises:
        InputError: a file that is missing or damaged, or holds more pixels than Pillow's limit against decompression
            bombs, several frames, transparency, 16-bit colour, CMYK or an EXIF rotation.
    """
    try:
        with Image.open(path, formats=[kind]) as picture:
            _refuse_deep_colour(path, picture)
            picture.load()
            _refuse_unclear_pixels(path, picture)
            values = _channels(path, picture)
    except _DAMAGE as error:
        raise unreadable(path, f"{kind} file", error) from error
    return Stored(values, lossy=kind == "JPEG")


def _refuse_deep_colour(path: Path, picture: ImageFile) -> None:
    """Pillow cuts 16-bit colour to 8 bits without a word."""
    if picture.mode != "I;16" and any(";16B" in str(tile.args) for tile in picture.tile):
        raise InputError(
            path, expected="8-bit colour", got="16-bit colour", hint="write one 16-bit grey file a channel: image0, ..."
        )


def _refuse_unclear_pixels(path: Path, picture: Image.Image) -> None:
    frames = getattr(picture, "n_frames", 1)
    if frames > 1:
        raise InputError(path, expected="one picture", got=f"{frames} frames", hint="write one file a frame")
    if picture.mode == "CMYK":
        raise InputError(path, expected="a grey or RGB picture", got="CMYK", hint="convert it to grey or RGB")
    orientation = picture.getexif().get(ExifTags.Base.Orientation, 1)
    if orientation != 1:
        raise InputError(
            path,
            expected="pixels stored upright",
            got=f"EXIF orientation {orientation}",
            hint="save it rotated, so that image and labels agree",
        )


def _channels(path: Path, picture: Image.Image) -> np.ndarray:
    """(1, H, W) grey, or (3, H, W) colour."""
    if picture.mode in _GREY_MODES and not picture.has_transparency_data:
        return np.array(picture)[None]
    red_green_blue_alpha = np.moveaxis(np.array(picture.convert("RGBA")), -1, 0)
    colour, alpha = red_green_blue_alpha[:3], red_green_blue_alpha[3]
    if (alpha < 255).any():
        raise InputError(path, expected="an opaque picture", got="transparent pixels", hint="save it without alpha")
    return colour[:1] if (colour == colour[0]).all() else colour
