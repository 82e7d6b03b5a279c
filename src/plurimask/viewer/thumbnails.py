"""Small pictures for lists: a slice of the image with the outlines of all masks. A few ms each."""

import io

import numpy as np
from PIL import Image

from plurimask.viewer.library import Opened
from plurimask.viewer.marks import Marks, Panel, across
from plurimask.viewer.views import start_slice

SIDE = 96
_AXIS, _CLOSEST = 2, 64
_COLOUR = np.array((255, 196, 0))  # of samples, as in every picture
_READERS = np.array((86, 180, 233))  # of readers, where nothing was drawn


def thumbnail(opened: Opened, panel: Panel | None) -> bytes:
    """A PNG of `SIDE` pixels a side at most: the slice to show first, around what is marked on the image."""
    marks = panel.marks if panel and panel.marks.masks.size else opened.readers
    index = start_slice(panel.marks if panel else None, opened.readers, _AXIS)
    plane = across(opened.study.case.image[0].reshape(*opened.readers.shape), _AXIS, index)
    masks, (top, left) = marks.slice(_AXIS, index), (marks.box[0].start, marks.box[1].start)
    rows, columns = _close_up(marks, plane.shape)
    spacing = opened.grid.spacing_mm or (1.0, 1.0)
    height, width = (rows.stop - rows.start) * spacing[0], (columns.stop - columns.start) * spacing[1]
    size = [max(1, round(SIDE * side / max(height, width))) for side in (height, width)]
    low, high = opened.window
    grey = ((plane[rows, columns] - low) / (high - low)).clip(0, 1) * 255
    shown = Image.fromarray(grey.astype(np.uint8)).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    picture = np.repeat(np.asarray(shown)[..., None], 3, axis=2).astype(np.float32)
    if masks.size:
        opacity = _outlines(masks, (rows.start - top, columns.start - left), (rows, columns), size)[..., None]
        picture += ((_COLOUR if marks is not opened.readers else _READERS) - picture) * opacity
    file = io.BytesIO()
    Image.fromarray(picture.astype(np.uint8)).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _close_up(marks: Marks, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Rows and columns twice as long as what is marked, and at least `_CLOSEST`; all of them where nothing is."""
    if not marks.masks.size:
        return slice(0, shape[0]), slice(0, shape[1])
    boxes = marks.box[:2]
    side = max(_CLOSEST, 2 * max(span.stop - span.start for span in boxes))
    spans = []
    for span, length in zip(boxes, shape, strict=True):
        first = min(max((span.start + span.stop - side) // 2, 0), max(length - side, 0))
        spans.append(slice(first, min(first + side, length)))
    return spans[0], spans[1]


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
    return 1 - (1 - min(1.0, 4 / (len(masks) + 3))) ** edge.sum(axis=0)
