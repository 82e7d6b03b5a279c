"""A case or a panel at a glance: HTML for notebooks, of escaped text and pictures inside of it, light or dark around.

Of a volume the slice that holds most marks is shown.
"""

from html import escape

import numpy as np
from PIL import Image, ImageDraw

from plurimask.geometry import Grid
from plurimask.pixels.colours import frequency_colours, reader_colour
from plurimask.pixels.frame import close_up, fullest_slice, grey
from plurimask.pixels.held import count_held
from plurimask.pixels.outline import outlines
from plurimask.pixels.png import data_uri

# Longer sides in pixels, and how many samples a row of tiles shows.
_SIDE, _TILE, _MOST_TILES = 256, 64, 8

Window = tuple[slice, slice]


def case_html(text: str, image: np.ndarray, raters: np.ndarray, grid: Grid) -> str:
    """`text`, the image (H, W[, D]) and, where raters (R, H, W[, D]) drew something, a close-up with their outlines."""
    where, (planes, marks) = _shown(raters, image[None], raters)
    plane = grey(planes[0])
    height, width = plane.shape
    pictures = {f"image{where}": _scaled(plane, (slice(0, height), slice(0, width)), grid.aspect, _SIDE)}
    if marks.any():
        window = close_up(np.asarray(marks.any(axis=0)), grid.aspect)
        pictures[f"readers{where}"] = _outlined(_scaled(plane, window, grid.aspect, _SIDE), marks, window)
    return _page(text, pictures)


def panel_html(text: str, masks: np.ndarray, grid: Grid) -> str:
    """`text`, the frequency map of masks (S, H, W[, D]) and the first of them white on black, all in one close-up."""
    where, (marks,) = _shown(masks, masks)
    window = close_up(np.asarray(marks.any(axis=0)), grid.aspect)
    colours = np.round(frequency_colours(len(marks)) * 255).astype(np.uint8)[:, :3]
    tiles = [_scaled(mask.view(np.uint8) * 255, window, grid.aspect, _TILE) for mask in marks[:_MOST_TILES]]
    most = f"frequency{where}: black where none of {len(marks)} samples is, yellow where all are"
    frequency = _scaled(colours[count_held(marks)], window, grid.aspect, _SIDE)
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


def _outlined(picture: Image.Image, marks: np.ndarray, window: Window) -> Image.Image:
    """The picture of a window with the outlines of marks (R, H, W): the earlier the wider, so that each can be seen."""
    pen = ImageDraw.Draw(picture)
    corner = [span.start for span in window[::-1]]
    scale = [length / (span.stop - span.start) for length, span in zip(picture.size, window[::-1], strict=True)]
    for index, mask in enumerate(marks):
        for polygon in outlines(mask):
            points = (np.vstack((polygon, polygon[:2])) - corner) * scale
            pen.line(points.ravel().tolist(), fill=reader_colour(index), width=1 + len(marks) - index)
    return picture


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
