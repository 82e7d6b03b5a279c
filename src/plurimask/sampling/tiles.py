"""A region of a plane -> the fields that cover it, each of the size that a model was trained on.

A region that is no larger than a field gets one field around its middle, so that it is seen in its surroundings. A
larger one gets an area of several fields that overlap by half of their side, or as near to it as the method's nets
allow. What of an area lies outside of the image is filled by mirroring the image at its edge, which adds no intensity
that is not in the image. Every field is scaled on its own, as the images of training were.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from monai.data.utils import dense_patch_slices

from plurimask.datasets.batches import scale_intensity
from plurimask.methods.fields import Fields


@dataclass(frozen=True)
class Tiling:
    """Where the fields of a region lie, the same on every plane of a study.

    Args:
        field: pixels a side of a field.
        starts: row and column of each field's first pixel in the area.
        first: row and column of the area's first pixel in the image; negative where the area juts out of it.
        size: rows and columns of the area.
        image: rows and columns of the image.
    """

    field: int
    starts: tuple[tuple[int, int], ...]
    first: tuple[int, int]
    size: tuple[int, int]
    image: tuple[int, int]

    def fields(self, image: np.ndarray, device: torch.device, done: Callable[[], object]) -> Fields:
        """What a method is shown of an image (C, H, W): its fields on `device`."""
        area = torch.from_numpy(self._cut(image))
        images = [
            scale_intensity(area[:, row : row + self.field, column : column + self.field])
            for row, column in self.starts
        ]
        rows, columns = (max(side, length) for side, length in zip(self.image, self.size, strict=True))
        top, left = (max(first, 0) for first in self.first)
        return Fields(
            torch.stack(images)[:, None].to(device), self.starts, self.size, (rows, columns), (top, left), done
        )

    def inside(self, region: tuple[slice, slice]) -> tuple[slice, slice]:
        """A region of the image, in the area."""
        rows, columns = (
            slice(span.start - first, span.stop - first) for span, first in zip(region, self.first, strict=True)
        )
        return rows, columns

    def _cut(self, image: np.ndarray) -> np.ndarray:
        """The area, (C, *size) float32."""
        lasts = [first + length for first, length in zip(self.first, self.size, strict=True)]
        spans = zip(self.first, lasts, self.image, strict=True)
        around = [(max(-first, 0), max(last - side, 0)) for first, last, side in spans]
        rows, columns = (slice(max(first, 0), last) for first, last in zip(self.first, lasts, strict=True))
        return np.pad(image[:, rows, columns], [(0, 0), *around], mode="symmetric")


def tile(region: tuple[slice, slice], image: tuple[int, int], field: int, multiple: int) -> Tiling:
    """The fields of a region of an image.

    Args:
        region: rows and columns, inside the image.
        image: its rows and columns.
        field: pixels a side of a field.
        multiple: pixels in whole numbers of which all starts are apart, a divisor of `field`.
    """
    (top, height), (left, width) = (
        _area(span, side, field, multiple) for span, side in zip(region, image, strict=True)
    )
    step = max(field // 2 // multiple, 1) * multiple
    places = dense_patch_slices((height, width), (field, field), (step, step))
    starts = tuple((int(rows.start), int(columns.start)) for rows, columns in places)
    return Tiling(field, starts, (top, left), (height, width), image)


def _area(span: slice, side: int, field: int, multiple: int) -> tuple[int, int]:
    """First pixel and length of the area along one axis: in the image if it can be, else around its middle."""
    more = max(span.stop - span.start - field, 0)
    length = field + -(-more // multiple) * multiple
    if length > side:
        return (side - length) // 2, length
    return min(max((span.start + span.stop - length) // 2, 0), side - length), length
