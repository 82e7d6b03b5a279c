"""Small pictures for lists: a slice of the image with the outlines of all masks. A few ms each."""

import io

import numpy as np
from PIL import Image, ImageColor

from plurimask.pixels.colours import SAMPLE_COLOUR, outline_opacity, reader_colour
from plurimask.pixels.frame import close_up
from plurimask.viewer.library import Opened
from plurimask.viewer.marks import Panel, across
from plurimask.viewer.views import start_slice

SIDE = 96
_AXIS, _CHANNEL = 2, 0
_RIGHT = np.array([[0, -1, 0], [-1, 0, 0], [-1, 0, 0]])
_BOTTOM = np.array([[0, 0, -1], [0, 0, -1], [0, -1, 0]])
"""What is at the right and at the bottom, in RAS+, by the direction that a plane is cut across."""


def thumbnail(opened: Opened, panel: Panel | None) -> bytes:
    """A PNG of `SIDE` pixels a side at most: the slice to show first, around what is marked on it."""
    marks = panel.marks if panel and panel.marks.masks.size else opened.readers
    index = start_slice(panel.marks if panel else None, opened.readers, _AXIS)
    plane = across(opened.study.case.image[_CHANNEL].reshape(*opened.readers.shape), _AXIS, index)
    masks, aspect = marks.plane(_AXIS, index), opened.grid.aspect
    marked = np.zeros(plane.shape, dtype=np.bool_)
    if masks.size:
        marked[marks.box[0], marks.box[1]] = masks.any(axis=0)
    rows, columns = close_up(marked, aspect)
    height, width = (rows.stop - rows.start) * aspect, columns.stop - columns.start
    size = [max(1, round(SIDE * side / max(height, width))) for side in (height, width)]
    low, high = opened.windows[_CHANNEL]
    grey = ((plane[rows, columns] - low) / (high - low)).clip(0, 1) * 255
    shown = Image.fromarray(grey.astype(np.uint8)).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    picture = np.repeat(np.asarray(shown)[..., None], 3, axis=2).astype(np.float32)
    if masks.size:
        offset = rows.start - marks.box[0].start, columns.start - marks.box[1].start
        opacity = _outlines(masks, offset, (rows, columns), size)[..., None]
        colour = reader_colour(0) if marks is opened.readers else SAMPLE_COLOUR
        picture += (ImageColor.getrgb(colour) - picture) * opacity
    if opened.grid.affine is not None:
        picture = as_radiologists_look(picture, opened.grid.affine[:3, 0], opened.grid.affine[:3, 1])
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture, np.uint8)).save(file, "PNG", compress_level=1)
    return file.getvalue()


def as_radiologists_look(plane: np.ndarray, down: np.ndarray, along: np.ndarray) -> np.ndarray:
    """A plane (h, w, ...) turned so that the patient's left, or back, is at the right and the feet, or back, are below.

    `down` and `along` are one row and one column in RAS+ mm. static/view.js turns what the stage shows the same way.
    """
    across = int(np.abs(np.cross(down, along)).argmax())
    right, bottom = _RIGHT[across], _BOTTOM[across]
    down, along = (step / np.linalg.norm(step) for step in (down, along))
    if (down @ right) ** 2 + (along @ bottom) ** 2 > (down @ bottom) ** 2 + (along @ right) ** 2:
        plane, down, along = plane.swapaxes(0, 1), along, down
    return plane[:: -1 if down @ bottom < 0 else 1, :: -1 if along @ right < 0 else 1]


def _outlines(masks: np.ndarray, offset: tuple[int, int], window: tuple[slice, slice], size: list[int]) -> np.ndarray:
    """How much of each pixel's colour is that of outlines, (h, w) in 0..1, for masks (S, ...) of the marked box.

    Args:
        masks: of one slice.
        offset: of the window against the box, in rows and columns.
        window: rows and columns that are shown.
        size: of the picture.
    """
    large = masks
    for axis, (start, span, pixels) in enumerate(zip(offset, window, size, strict=True), start=1):
        places = ((np.arange(pixels) + 0.5) * (span.stop - span.start) / pixels).astype(int) + start
        inside = (places >= 0) & (places < masks.shape[axis])
        large = large.take(places.clip(0, masks.shape[axis] - 1), axis)
        large &= np.expand_dims(inside, [other for other in range(3) if other != axis])
    edge = large.copy()
    edge[:, 1:-1, 1:-1] &= ~(large[:, :-2, 1:-1] & large[:, 2:, 1:-1] & large[:, 1:-1, :-2] & large[:, 1:-1, 2:])
    return 1 - (1 - outline_opacity(len(masks))) ** edge.sum(axis=0)
