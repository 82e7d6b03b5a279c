"""What several systems drew for one case, beside its readers: masks side by side, white on black, in one picture."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image

from plurimask.evaluation import CaseScores
from plurimask.metrics.overlap import pairwise_iou
from plurimask.records import Case, MaskSet
from plurimask.show.cases import Pictured
from plurimask.show.raster import View, close_up, data_uri, frequency_map

MOST_TILES = 16
"""Samples shown of each panel, the first ones; the paper shows as many."""


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


@dataclass(frozen=True, eq=False)
class Drawn:
    """What one system, or the readers, drew for a case.

    Args:
        title: whose masks they are.
        strip: the first of them.
        frequency: how many of all of them hold each voxel of the close-up, as a data URI.
        count: of all of them.
        empty: how many of them hold nothing.
        scores: of the case at the larger N; None for readers.
    """

    title: str
    strip: Strip
    frequency: str
    count: int
    empty: int
    scores: CaseScores | None = None


@dataclass(frozen=True, eq=False)
class Shown(Pictured):
    """One case with its readers and what systems drew for it; the samples of its view are the first system's.

    Args:
        read: what the readers drew, as a system's; None where nobody read it.
        systems: what each drew.
    """

    read: Drawn | None
    systems: tuple[Drawn, ...]

    @property
    def full(self) -> int:
        """Columns of the widest strip."""
        return max(drawn.strip.width for drawn in self.systems)


def shown_case(
    number: int,
    case: Case,
    reason: str,
    panels: Sequence[tuple[str, MaskSet, CaseScores]],
    first: int,
) -> Shown:
    """A case with the panels of systems: title, masks and scores of each.

    Args:
        number: on the page, from 1.
        case: the case.
        reason: why it is shown.
        panels: one a system.
        first: behind so many samples is a gap.

    Raises:
        InputError: a panel of another case or grid.
    """
    views = [View.of(case, panel) for _, panel, _ in panels]
    window = close_up(np.logical_or.reduce([view.marked for view in views]), views[0].aspect)
    view = replace(views[0], window=window)
    systems = tuple(
        replace(_drawn(title, each.samples, view, first), scores=scores)
        for (title, _, scores), each in zip(panels, views, strict=True)
    )
    read = _drawn("readers", view.readers, view, len(view.readers)) if len(view.readers) else None
    return Shown.of(number, case, view, reason, read=read, systems=systems)


def _drawn(title: str, masks: np.ndarray, view: View, first: int) -> Drawn:
    return Drawn(
        title=title,
        strip=strip_of(masks[:MOST_TILES], view.readers, view.window, view.aspect, first),
        frequency=frequency_map(masks[:, *view.window]),
        count=len(masks),
        empty=int((~masks.any(axis=(1, 2))).sum()),
    )


def strip_of(masks: np.ndarray, readers: np.ndarray, window: tuple[slice, slice], aspect: float, first: int) -> Strip:
    """Masks (n, H, W) in a close-up; behind the `first` of them is a wider gap.

    A mask agrees with no reader (R, H, W) where its IoU with each is 0: it shares no voxel with any, or is
    empty although all drew. Without readers no mask counts as such.
    """
    shares = pairwise_iou(torch.from_numpy(masks)[None], torch.from_numpy(readers)[None])[0].numpy()
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
        alone=tuple(np.flatnonzero((shares == 0).all(1) & bool(len(readers))).tolist()),
    )
