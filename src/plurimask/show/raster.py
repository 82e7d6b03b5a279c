"""Pictures made of pixels: colours, which part of an image to show, and a case or a panel at a glance.

A glance is HTML for notebooks, of escaped text and pictures inside of it, light or dark around. Of a volume the slice
that holds most marks is shown.
"""

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Self

import numpy as np
from matplotlib import colormaps
from PIL import Image, ImageColor

from plurimask.errors import InputError
from plurimask.geometry import Grid
from plurimask.records import Case, MaskSet, count_votes

# Okabe and Ito's palette for colour-blind readers, without black and the darker blue, which vanish on CT.
READER_COLOURS = ("#56b4e9", "#e69f00", "#cc79a7", "#00b98a", "#f0e442", "#ee6a2c")
SAMPLE_COLOUR = "#ffc400"


def reader_colour(index: int) -> str:
    """The colour of reader `index`, as #rrggbb; from the seventh reader on they repeat."""
    return READER_COLOURS[index % len(READER_COLOURS)]


def frequency_colours(samples: int) -> np.ndarray:
    """(S + 1, 4) RGBA in 0..1 for "k of S samples", k = 0..S: clear for 0, then viridis without its darkest fifth."""
    colours = colormaps["viridis"](np.linspace(0.2, 1.0, samples + 1))
    colours[0] = 0.0
    return colours


def outline_opacity(samples: int) -> float:
    """How opaque one of `samples` outlines is drawn, so that many stay legible and a single one is seen."""
    return min(0.9, max(0.15, 8 / (samples + 4)))


def fullest_slice(*stacks: np.ndarray) -> int:
    """The slice on which the masks of all stacks (n, H, W, D) mark most voxels; the middle one where they mark none."""
    marked = sum(np.count_nonzero(stack, axis=(0, 1, 2)) for stack in stacks)
    return int(np.argmax(marked)) if np.any(marked) else stacks[0].shape[3] // 2


def grey(image: np.ndarray) -> np.ndarray:
    """A plane (H, W) as uint8: black and white at its 0.5th and 99.5th percentile, or mid-grey where it is constant."""
    low, high = np.percentile(image, (0.5, 99.5))
    if low == high:
        low, high = image.min() - 0.5, image.max() + 0.5
    return (np.clip((image - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def close_up(marked: np.ndarray, aspect: float) -> tuple[slice, slice]:
    """Rows and columns of a square (in mm) around all that is marked in a mask (H, W), at least a third of the plane.

    `aspect` is the height of a voxel over its width. The whole plane where nothing is marked.
    """
    height, width = marked.shape
    if not marked.any():
        return slice(0, height), slice(0, width)
    rows, columns = (np.flatnonzero(marked.any(axis=axis)) for axis in (1, 0))
    side = 1.5 * max(np.ptp(rows) * aspect + aspect, np.ptp(columns) + 1.0)
    side = max(side, max(height * aspect, width) / 3)
    return _span(rows, side / aspect, height), _span(columns, side, width)


def _span(marked: np.ndarray, length: float, size: int) -> slice:
    count = min(size, math.ceil(length))
    start = round((marked[0] + marked[-1] + 1 - count) / 2)
    start = min(max(start, 0), size - count)
    return slice(start, start + count)


@dataclass(frozen=True, eq=False)
class View:
    """One plane of a case with its panel, as it is drawn.

    Args:
        image: (H, W) uint8 grey, the first channel between its 0.5th and 99.5th percentile.
        readers: (R, H, W) bool.
        samples: (S, H, W) bool.
        aspect: height of a voxel over its width.
        window: rows and columns of a close-up that holds every mark; the whole plane where nobody drew anything.
        slice_index: which slice of a volume this is, or None for a plane image.
    """

    image: np.ndarray
    readers: np.ndarray
    samples: np.ndarray
    aspect: float
    window: tuple[slice, slice]
    slice_index: int | None

    @classmethod
    def of(cls, case: Case, panel: MaskSet, slice_index: int | None = None) -> Self:
        """The plane of `case` to show: of a volume, that slice, or the one that readers and samples marked most.

        Raises:
            InputError: the panel is another case's, or lies on another grid.
        """
        check_pair(case, panel)
        aspect = case.grid.aspect
        image, readers, samples, index = case.image[0], case.readers, panel.masks, slice_index
        if len(case.grid.shape) == 3:
            if index is None:
                index = fullest_slice(readers, samples)
            # Planes of their own: views into a volume would keep all of it.
            image, readers, samples = (stack[..., index].copy() for stack in (image, readers, samples))
        whole = slice(0, image.shape[0]), slice(0, image.shape[1])
        view = cls(grey(image), readers, samples, aspect, whole, index)
        return replace(view, window=close_up(view.marked, aspect))

    @property
    def marked(self) -> np.ndarray:
        """(H, W) bool: where any reader or sample has something."""
        return np.logical_or(self.readers.any(axis=0), self.samples.any(axis=0))

    @property
    def counts(self) -> np.ndarray:
        """(H, W) unsigned int: how many samples hold each voxel."""
        return count_votes(self.samples)


def check_pair(case: Case, panel: MaskSet) -> None:
    """Raises InputError where the panel is another case's, or lies on another grid."""
    if panel.name != case.name or not panel.grid.same_as(case.grid):
        raise InputError(
            panel.name,
            expected=f"the panel of case {case.name} on its grid {case.grid.shape}",
            got=f"a panel of {panel.name} on {panel.grid.shape}",
            hint="pair each case with its own mask set",
        )


def outline_pixels(masks: np.ndarray, window: Sequence[slice], size: Sequence[int], width: int = 1) -> np.ndarray:
    """Where the inner borders of masks run in a picture: (S, h, w) bool.

    Args:
        masks: (S, H, W) bool.
        window: rows and columns that are shown, which may reach beyond the masks.
        size: (h, w, ...) of the picture, whose pixels take the nearest voxel.
        width: of a border, in pixels.
    """
    large = masks
    for axis, (span, pixels) in enumerate(zip(window, size, strict=False), start=1):
        places = ((np.arange(pixels) + 0.5) * (span.stop - span.start) / pixels).astype(int) + span.start
        inside = (places >= 0) & (places < masks.shape[axis])
        large = large.take(places.clip(0, masks.shape[axis] - 1), axis)
        large &= np.expand_dims(inside, [other for other in range(3) if other != axis])
    inner = large
    for _ in range(width):
        eroded = np.zeros_like(inner)
        eroded[:, 1:-1, 1:-1] = inner[:, 1:-1, 1:-1] & inner[:, :-2, 1:-1] & inner[:, 2:, 1:-1]
        eroded[:, 1:-1, 1:-1] &= inner[:, 1:-1, :-2] & inner[:, 1:-1, 2:]
        inner = eroded
    return large & ~inner


def picture_of(view: View) -> str:
    """The image of a view as the data URI of a PNG, no side longer than PICTURE_SIDE."""
    picture = Image.fromarray(view.image)
    picture.thumbnail((PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.LANCZOS)
    return data_uri(picture)


def frequency_map(masks: np.ndarray) -> str:
    """How many of the masks (n, h, w) hold each voxel as the data URI of a PNG, a pixel a voxel, clear for none."""
    colours = np.round(frequency_colours(len(masks)) * 255).astype(np.uint8)
    return data_uri(Image.fromarray(colours[count_votes(masks)]))


def data_uri(picture: Image.Image) -> str:
    """A picture as the data URI of a PNG."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


# Screens show no more of a picture in a card; outlines are drawn from the full mask whatever its size.
PICTURE_SIDE = 768
# Longer sides in pixels, and how many samples a row of tiles shows.
_SIDE, _TILE, _MOST_TILES = 256, 64, 8

Window = tuple[slice, slice]


def case_html(text: str, image: np.ndarray, readers: np.ndarray, grid: Grid) -> str:
    """`text`, the image (H, W[, D]), and a close-up with the outlines of readers (R, H, W[, D]) who drew something."""
    where, (planes, marks) = _shown(readers, image[None], readers)
    plane = grey(planes[0])
    height, width = plane.shape
    pictures = {f"image{where}": _scaled(plane, (slice(0, height), slice(0, width)), grid.aspect, _SIDE)}
    if marks.any():
        window = close_up(np.asarray(marks.any(axis=0)), grid.aspect)
        picture = np.array(_scaled(plane, window, grid.aspect, _SIDE))
        for index, mask in enumerate(marks):  # the earlier the wider, so that each can be seen
            width = 1 + len(marks) - index
            picture[outline_pixels(mask[None], window, picture.shape, width)[0]] = ImageColor.getrgb(
                reader_colour(index)
            )
        pictures[f"readers{where}"] = Image.fromarray(picture)
    return _page(text, pictures)


def panel_html(text: str, masks: np.ndarray, grid: Grid) -> str:
    """`text`, the frequency map of masks (S, H, W[, D]) and the first of them white on black, all in one close-up."""
    where, (marks,) = _shown(masks, masks)
    window = close_up(np.asarray(marks.any(axis=0)), grid.aspect)
    colours = np.round(frequency_colours(len(marks)) * 255).astype(np.uint8)[:, :3]
    tiles = [_scaled(mask.view(np.uint8) * 255, window, grid.aspect, _TILE) for mask in marks[:_MOST_TILES]]
    most = f"frequency{where}: black where none of {len(marks)} samples is, yellow where all are"
    frequency = _scaled(colours[count_votes(marks)], window, grid.aspect, _SIDE)
    return _page(text, {most: frequency, _first(marks): _row(tiles)})


def _shown(marked: np.ndarray, *stacks: np.ndarray) -> tuple[str, list[np.ndarray]]:
    """Which slice of a volume is shown, in words, and that slice of each stack (n, H, W[, D])."""
    if marked.ndim == 3:
        return "", list(stacks)
    index = fullest_slice(marked)
    return f", slice {index + 1} of {marked.shape[3]}", [stack[..., index] for stack in stacks]


def _scaled(pixels: np.ndarray, window: Window, aspect: float, side: int) -> Image.Image:
    """The window of a picture (H, W[, 3]) uint8 at true proportions, its longer side of `side` pixels."""
    part = pixels[window]
    height, width = part.shape[0] * aspect, part.shape[1]
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return Image.fromarray(part).convert("RGB").resize(size, Image.Resampling.BOX)


def _row(tiles: list[Image.Image]) -> Image.Image:
    """Pictures of one size side by side, a grey line between them."""
    width, height = tiles[0].size
    row = Image.new("RGB", (len(tiles) * (width + 2) - 2, height), "#808080")
    for index, tile in enumerate(tiles):
        row.paste(tile, (index * (width + 2), 0))
    return row


def _first(marks: np.ndarray) -> str:
    return "all samples" if len(marks) <= _MOST_TILES else f"the first {_MOST_TILES} of {len(marks)} samples"


def _page(text: str, pictures: dict[str, Image.Image]) -> str:
    figures = "".join(
        f'<figure style="margin:0"><img src="{data_uri(picture)}" alt="{escape(words)}">'
        f'<figcaption style="font-size:small">{escape(words)}</figcaption></figure>'
        for words, picture in pictures.items()
    )
    return f'<p>{escape(text)}</p><div style="display:flex;flex-wrap:wrap;gap:12px;align-items:end">{figures}</div>'
