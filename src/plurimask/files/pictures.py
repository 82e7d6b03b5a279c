"""PNG, JPEG and TIFF through Pillow: the pixels in the order in which they are stored."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from plurimask.errors import InputError
from plurimask.files.decoding import TIFF, frames_apart, pixels_of
from plurimask.files.stored import HeldFile, Stored, readable, refuse_giant


def read_picture(path: Path) -> Stored:
    """The pixels of a PNG or JPEG in the order in which they are stored, without spacing; a JPEG is marked as lossy.

    bool for 1 bit, uint8, or uint16 for 16-bit grey. Three equal channels are one grey channel; any other colour gives
    three (red, green, blue). A palette counts as the colours it stands for. An alpha channel that is opaque everywhere
    is dropped. The content must be of the format that the name says.

    Raises:
        InputError: a file that is missing or damaged, or holds more pixels than Pillow's limit against decompression
            bombs, several frames, transparency, 16-bit colour, CMYK or an EXIF rotation.
    """
    kind = "PNG" if path.suffix.lower() == ".png" else "JPEG"
    with (
        readable(path, f"a readable {kind} file"),
        HeldFile(path) as file,
        Image.open(file, formats=[kind]) as picture,
    ):
        if picture.mode != "I;16" and any(";16B" in str(tile.args) for tile in picture.tile):
            # Pillow cuts it to 8 bits without a word.
            hint = "write one 16-bit grey file a channel: image0, ..."
            raise InputError(path, expected="8-bit colour", got="16-bit colour", hint=hint)
        refuse_giant(path, (*picture.size[::-1], 4), 1)  # which colours and a palette are decoded to
        picture.load()
        _refuse_unclear_pixels(path, picture)
        values = _channels(path, pixels_of(picture))
    return Stored(values, lossy=kind == "JPEG")


def _refuse_unclear_pixels(path: Path, picture: Image.Image) -> None:
    frames = getattr(picture, "n_frames", 1)
    if frames > 1:
        raise InputError(path, expected="one picture", got=f"{frames} frames", hint="write one file a frame")
    if picture.mode == "CMYK":
        raise InputError(path, expected="a grey or RGB picture", got="CMYK", hint="convert it to grey or RGB")
    _refuse_turned(path, picture)


def _refuse_turned(path: Path, picture: Image.Image) -> None:
    orientation = picture.getexif().get(ExifTags.Base.Orientation, 1)
    if orientation != 1:
        got, hint = f"EXIF orientation {orientation}", "save it rotated, so that image and labels agree"
        raise InputError(path, expected="pixels stored upright", got=got, hint=hint)


def _channels(path: Path, pixels: np.ndarray) -> np.ndarray:
    """What `pixels_of` gives as (1, H, W) grey, or (3, H, W) colour."""
    if pixels.ndim == 2:
        return pixels[None]
    red_green_blue_alpha = np.moveaxis(pixels, -1, 0)
    colour, alpha = red_green_blue_alpha[:3], red_green_blue_alpha[3]
    if (alpha < 255).any():
        raise InputError(path, expected="an opaque picture", got="transparent pixels", hint="save it without alpha")
    return colour[:1] if (colour == colour[0]).all() else colour


def read_tiff(path: Path) -> Stored:
    """The pixels of a TIFF of 8 or 16 bits, of floats or of colours; several pages are the slices of one volume.

    Spacing is known where ImageJ or OME wrote it, or in pixels a centimetre. Pixels an inch are what printers need.

    Raises:
        InputError: a file that is missing or damaged, too large, with pages of several sizes, or with several
            channels or time points in its pages; 16-bit colour, and whatever else `read_picture` refuses.
    """
    with readable(path, "a readable TIFF file"), HeldFile(path) as file, Image.open(file, formats=["TIFF"]) as picture:
        frames = getattr(picture, "n_frames", 1)
        refuse_giant(path, (*picture.size[::-1], 4, frames), 1)
        own: Any = picture
        tags, size, pages, packed = dict(own.tag_v2), picture.size, [], False
        swapped = own.tag_v2.prefix == b"MM" and tags.get(_COMPRESSION, 1) != 1 and picture.mode in ("I", "F")
        if swapped or (tags.get(_SIGNED, (1,))[0] == 2 and picture.mode == "L"):  # which Pillow reads wrong
            got = "compressed big-endian values" if swapped else "signed bytes"
            raise InputError(
                path, expected="values in another form", got=got, hint="write unsigned, little-endian values"
            )
        if len(set(tags.get(_BITS, (8,)))) > 1 or (tags.get(_SAMPLES, 1) > 1 and max(tags.get(_BITS, (8,))) > 8):
            hint = "write one 16-bit grey file a channel: image0, ..."
            raise InputError(path, expected="8-bit colour", got="16-bit colour", hint=hint)
        said = str(tags.get(ExifTags.Base.ImageDescription, "")).encode("latin-1", "ignore").decode("utf-8", "ignore")
        axes = _TIFF_AXES.findall(said)
        several = next((f"{count} {name}" for name, count in axes if int(count) > 1), None)
        if several and frames > 1:
            hint = "write one file a channel or time point"
            raise InputError(path, expected="pages that are slices", got=several, hint=hint)
        for page in range(frames):
            picture.seek(page)
            if picture.size != size:
                hint = "write one file a size, without thumbnails"
                raise InputError(path, expected="pages of one size", got=f"{size} and {picture.size}", hint=hint)
            if page == 0:
                _refuse_turned(path, picture)
            if sum((right - left) * (low - high) for _, (left, high, right, low), *_ in own.tile) < size[0] * size[1]:
                raise ValueError("strips that do not cover the picture")  # the rest of which Pillow leaves to chance
            packed |= own.tag_v2.get(_COMPRESSION, 1) != 1
        if packed:  # which LibTIFF decodes
            pages = [_channels(path, page) for page in frames_apart(path, TIFF, frames)]
        else:
            for page in range(frames):
                picture.seek(page)
                pages.append(_channels(path, pixels_of(picture)))
    if len({len(page) for page in pages}) > 1:
        raise InputError(path, expected="pages of one kind", got="grey and colour", hint="write one file a kind")
    return Stored(pages[0] if frames == 1 else np.stack(pages, axis=-1), _tiff_affine(tags, said, frames), placed=False)


_BITS, _COMPRESSION, _SAMPLES, _ACROSS, _ALONG, _UNIT, _SIGNED = 258, 259, 277, 282, 283, 296, 339
_TIFF_AXES = re.compile(r"\b(channels|frames|SizeC|SizeT)=\"?([0-9]+)")
_TIFF_SPACING = re.compile(r"\b(unit|spacing|PhysicalSize[XYZ](?:Unit)?)=\"?([^\"\s]+)")
_TIFF_MM = {"nm": 1e-6, "micron": 1e-3, "microns": 1e-3, "um": 1e-3, "\xb5m": 1e-3, "\u03bcm": 1e-3, "\\u00B5m": 1e-3}
_TIFF_MM |= {"mm": 1.0, "cm": 10.0, "m": 1e3}


def _tiff_affine(tags: Mapping[int, Any], description: str, pages: int) -> np.ndarray | None:
    """Steps in mm along rows, columns and pages; None where it is not said how large a voxel is."""
    said = dict(_TIFF_SPACING.findall(description))
    unknown = 1 if pages == 1 else 0
    if "PhysicalSizeX" in said:
        units = [_TIFF_MM.get(said.get(f"PhysicalSize{axis}Unit", "um"), 0.0) for axis in "YXZ"]
        steps = [float(said.get(f"PhysicalSize{axis}", unknown)) for axis in "YXZ"]
    else:
        unit = _TIFF_MM.get(said.get("unit", "cm" if tags.get(_UNIT) == 3 else ""), 0.0)
        densities = [float(tags.get(key) or 0) for key in (_ALONG, _ACROSS)]
        units, steps = (
            [unit] * 3,
            [*(1 / one if one else 0.0 for one in densities), float(said.get("spacing", unknown))],
        )
    rows, columns, across = (unit * step for unit, step in zip(units, steps, strict=True))
    if not rows * columns * across > 0:
        return None
    return np.array([[0, -columns, 0, 0], [-rows, 0, 0, 0], [0, 0, across, 0], [0, 0, 0, 1.0]])
