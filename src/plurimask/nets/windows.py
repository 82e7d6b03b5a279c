"""Windows of images and of their features, counted in cells: the blocks of pixels that a net's coarsest stage has."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d


class Windows(NamedTuple):
    """One window an image, all of one size.

    Args:
        starts: (B, 2) int64, first row and column, in cells.
        size: rows and columns, in cells.
    """

    starts: Tensor
    size: tuple[int, int]

    def cut(self, x: Tensor, cell: int) -> Tensor:
        """x (B, ..., H, W), `cell` of its pixels a cell -> (B, ..., size[0] cell, size[1] cell)."""
        height, width = (side * cell for side in self.size)
        starts = (self.starts * cell).tolist()
        return torch.stack([x[b, ..., r : r + height, c : c + width] for b, (r, c) in enumerate(starts)])


def cells_of(inside: Tensor, cell: int) -> Tensor:
    """Cells with any pixel inside: (B, H, W) bool, sides in multiples of `cell` -> (B, H / cell, W / cell) bool."""
    return max_pool2d(inside[:, None].float(), cell)[:, 0] > 0


def training_windows(inside: Tensor, cell: int, sides: Sequence[int]) -> Windows:
    """Random windows around what is inside (B, H, W) bool, on a grid of `cell` pixels; one of the sides for the batch.

    Sides are in pixels, multiples of `cell`.
    """
    side = sides[int(torch.randint(len(sides), ()))]
    return random_windows(cells_of(inside, cell), side // cell)


def random_windows(inside: Tensor, side: int) -> Windows:
    """Random windows of `side` x `side` cells that hold what is inside (B, rows, columns) bool.

    Where that is larger than a window it holds part of it; where nothing is inside, the window may lie anywhere. Where
    there are fewer cells than `side` they are all in the window.
    """
    size, starts = [], []
    for axis in (2, 1):
        occupied = inside.any(axis)
        cells = occupied.shape[1]
        length = min(side, cells)
        first, last = _ends(occupied)
        bounds = torch.stack([first, last + 1 - length]).clamp(0, cells - length)
        low, high = bounds.amin(0), bounds.amax(0)
        starts.append(low + (torch.rand(len(low), device=low.device) * (high - low + 1)).long())
        size.append(length)
    return Windows(torch.stack(starts, dim=1), (size[0], size[1]))


def _ends(occupied: Tensor) -> tuple[Tensor, Tensor]:
    """First and last place that is occupied, (B, n) bool -> (B,), (B,); the ends of the row where none is."""
    places = occupied.int()
    return places.argmax(1), occupied.shape[1] - 1 - places.flip(1).argmax(1)
