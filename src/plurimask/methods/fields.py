"""What a method is shown of a plane: one field of the size that it was trained on, or several that overlap.

What a method says of several fields is blended, each weighing less towards its edges, so that one mask is drawn of the
whole area: a diffusion model's prediction at every step, or the logits of a model that has no steps. Noise belongs to
the plane, of which the area is a part: a pixel's noise is the same in whichever field it is seen.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from plurimask.diffusion.samplers import Window


@dataclass(frozen=True, eq=False)
class Fields:
    """Fields of one size that cover an area of a plane.

    Args:
        images: (T, B, C, h, w) float32, each of the T fields scaled on its own; B is 1 for one image at all seeds, or
            there is one image a seed.
        starts: row and column in the area of each field's first pixel, T of them.
        size: rows and columns of the area.
        plane: rows and columns of the plane.
        place: row and column in the plane of the area's first pixel.
        done: called after each look at a field.
    """

    images: Tensor
    starts: Sequence[tuple[int, int]]
    size: tuple[int, int]
    plane: tuple[int, int]
    place: tuple[int, int] = (0, 0)
    done: Callable[[], object] = lambda: None

    @classmethod
    def of(cls, image: Tensor) -> "Fields":
        """One field that is the whole plane: image (B, C, H, W), scaled."""
        height, width = image.shape[2:]
        return cls(image[None], [(0, 0)], (height, width), (height, width))

    def window(self, scale: int = 1) -> Window:
        """The area in an array on the plane, (..., H / scale, W / scale)."""
        return _window(self.place, self.size, scale)

    def blend(self, see: Callable[..., Tensor], shown: Iterable[Any], *areas: Tensor) -> Tensor:
        """What `see` says of the fields, as one: (n, c, H, W) of the area.

        Args:
            see: takes one of `shown` and the field's part of each of `areas`, and gives (n, c, h, w).
            shown: one a field.
            areas: (n, c, H / k, W / k) each, k a divisor of every start.
        """
        blended = None
        for one, start, weight in zip(shown, self.starts, self._weights, strict=True):
            said = see(one, *(self._part(area, start) for area in areas))
            if blended is None:
                blended = said.new_zeros((*said.shape[:2], *self.size))
            blended[_window(start, weight.shape)] += weight * said
            self.done()
        assert blended is not None, "there is a field"
        return blended

    @cached_property
    def _weights(self) -> Tensor:
        """Weight of each pixel of each field, (T, h, w): a Gaussian, over the sum of all that see the pixel."""
        field = self.images.shape[3:]
        # Not MONAI's map, whose floor would make all fields equal near the edges of the area.
        rows, columns = (_bell(side, self.images.device) for side in field)
        bell = rows[:, None] * columns
        total = bell.new_zeros(self.size)
        for start in self.starts:
            total[_window(start, field)] += bell
        return torch.stack([bell / total[_window(start, field)] for start in self.starts])

    def _part(self, area: Tensor, start: tuple[int, int]) -> Tensor:
        return area[_window(start, self.images.shape[3:], self.size[0] // area.shape[-2])]


def _bell(side: int, device: torch.device) -> Tensor:
    """Four standard deviations from the middle to either edge, so that 3e-4 is left there."""
    from_middle = torch.arange(side, device=device) - (side - 1) / 2
    return torch.exp(-0.5 * (from_middle / (side / 8)) ** 2)


def _window(start: Sequence[int], size: Sequence[int], scale: int = 1) -> Window:
    rows, columns = (
        slice(first // scale, first // scale + length // scale) for first, length in zip(start, size, strict=True)
    )
    return (..., rows, columns)
