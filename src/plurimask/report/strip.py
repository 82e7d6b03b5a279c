"""Masks side by side, white on black, in one small picture; those that agree with no reader are known."""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from plurimask.metrics.overlap import pairwise_iou
from plurimask.pixels.png import data_uri

# Of a tile's width; the gap behind the first few is wider.
_GAP, _WIDE = 0.06, 0.25


@dataclass(frozen=True)
class Strip:
    """A row of masks in one picture, a pixel a voxel.

    Args:
        picture: data URI of a PNG, clear between the tiles.
        starts: column where each tile begins.
        side: columns of a tile.
        width, height: of the picture.
        aspect: height of a voxel over its width.
        empty: how many tiles hold nothing.
        alone: positions of those that agree with no reader.
    """

    picture: str
    starts: tuple[int, ...]
    side: int
    width: int
    height: int
    aspect: float
    empty: int
    alone: tuple[int, ...]


def strip_of(masks: np.ndarray, raters: np.ndarray, window: tuple[slice, slice], aspect: float, first: int) -> Strip:
    """Masks (n, H, W) in a close-up; behind the `first` of them is a wider gap.

    A mask agrees with no reader of raters (R, H, W) where its IoU with each is 0: it shares no voxel with any, or is
    empty although all drew. Without readers that is said of none.
    """
    tiles = masks[:, *window]
    height, side = tiles.shape[1:]
    gap, wide = max(1, round(_GAP * side)), round(_WIDE * side)
    starts = tuple(k * (side + gap) + (wide if k >= first else 0) for k in range(len(tiles)))
    picture = np.zeros((height, starts[-1] + side, 2), np.uint8)
    for start, tile in zip(starts, tiles, strict=True):
        picture[:, start : start + side] = np.stack((tile * 255, np.full_like(tile, 255, np.uint8)), axis=2)
    return Strip(
        picture=data_uri(Image.fromarray(picture)),
        starts=starts,
        side=side,
        width=picture.shape[1],
        height=height,
        aspect=aspect,
        empty=int((~masks.any(axis=(1, 2))).sum()),
        alone=tuple(np.flatnonzero(_agrees_with_none(masks, raters)).tolist()),
    )


def _agrees_with_none(masks: np.ndarray, raters: np.ndarray) -> np.ndarray:
    """(n,) bool."""
    if not len(raters):
        return np.zeros(len(masks), dtype=bool)
    shares = pairwise_iou(torch.from_numpy(masks)[None], torch.from_numpy(raters)[None])[0]
    return (shares == 0).all(dim=1).numpy()
