"""Windows of images and of their features, counted in cells: the blocks of pixels that a net's coarsest stage has."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from plurimask.nets.residual import layout


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
        # Unbound first: the gradient of x[b, ...] would be as large as x for each b.
        parts = zip(x.unbind(), (self.starts * cell).tolist(), strict=True)
        return torch.stack([part[..., r : r + height, c : c + width] for part, (r, c) in parts])

    def cut_levels(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps (B, C, [D,] H, W) from fine to coarse, each of half the sides of the one before; the last has cells."""
        cells = [2**level for level in reversed(range(len(maps)))]
        cut = [self.cut(level, cell) for level, cell in zip(maps, cells, strict=True)]
        # Cutting out leaves channels first, which convolutions on a CPU are slower with.
        return [level.contiguous(memory_format=layout(level.dim() - 2)) for level in cut]


def training_windows(inside: Tensor, cell: int, sides: Sequence[int]) -> Windows:
    """Random windows that hold what is inside (B, H, W) bool, on a grid of `cell` pixels; one of the sides for all.

    Where that is larger than a window it holds part of it; where nothing is inside, the window may lie anywhere. Where
    the image is smaller than the side, all of it is in the window. Sides are in pixels, multiples of `cell`.
    """
    side = sides[int(torch.randint(len(sides), ()))] // cell
    cells = max_pool2d(inside[:, None].float(), cell)[:, 0] > 0
    size, starts = [], []
    for axis in (2, 1):
        occupied = cells.any(axis).int()
        count = occupied.shape[1]
        length = min(side, count)
        # Of a row where nothing is occupied, argmax gives its ends.
        first, last = occupied.argmax(1), count - 1 - occupied.flip(1).argmax(1)
        bounds = torch.stack([first, last + 1 - length]).clamp(0, count - length)
        low, high = bounds.amin(0), bounds.amax(0)
        starts.append(low + (torch.rand(len(low), device=low.device) * (high - low + 1)).long())
        size.append(length)
    return Windows(torch.stack(starts, dim=1), (size[0], size[1]))
