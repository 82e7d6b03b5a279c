"""Where `panel` draws: the smallest window around what its encoder sees. NumPy alone, since exported panels need it."""

from typing import NamedTuple

import numpy as np

MARGIN = 1
"""Cells about what is visible."""


class Window(NamedTuple):
    """A box of a plane: first row, first column, height and width, in cells."""

    top: int
    left: int
    height: int
    width: int

    def scaled(self, pixels: int) -> "Window":
        """In units of which a cell has so many."""
        return Window(*(pixels * value for value in self))


def panel_window(share: np.ndarray, visible: float, cell: int, least: int) -> Window:
    """The window of one image, in cells of `cell` x `cell` pixels.

    Args:
        share: (H, W) of readers, as the encoder sees it, in [0, 1]; sides in multiples of `cell`.
        visible: least share at a pixel that the window has to hold; the likeliest pixel is inside whatever its share.
        cell: pixels a side.
        least: cells a side at least, or as many as there are.
    """
    inside: np.ndarray = np.asarray(share >= min(float(share.max()), visible))
    height, width = (side // cell for side in inside.shape)
    cells: np.ndarray = np.asarray(inside.reshape(height, cell, width, cell).any(axis=(1, 3)))
    (top, rows), (left, columns) = (_span(np.asarray(cells.any(axis=axis)), least) for axis in (1, 0))
    return Window(top, left, rows, columns)


def _span(occupied: np.ndarray, least: int) -> tuple[int, int]:
    """First place and length, around all that are occupied with a margin."""
    first, *_, last = np.flatnonzero(occupied)[[0, -1]]
    length = min(max(int(last) + 1 - int(first) + 2 * MARGIN, least), len(occupied))
    start = (int(first) + int(last) + 1 - length) // 2
    return min(max(start, 0), len(occupied) - length), length
