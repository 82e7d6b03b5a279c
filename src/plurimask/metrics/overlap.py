"""Overlap of masks in pairs, and THE rule for empty masks: two of them agree fully (IoU 1, Dice 1, distance 0)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import Tensor

from plurimask.errors import InputError, SettingsError

Distance = Literal["iou", "dice"]

Choice = TypeVar("Choice")

# float32 counts voxels exactly up to 2^24; 2^16 at a time also bounds the float copy at 256 kB a mask.
_VOXELS_AT_ONCE = 2**16


@dataclass(frozen=True)
class Overlap:
    """Voxel counts of pairs of masks; every pairwise measure follows from them.

    Args:
        shared: (B, n, m) float64, voxels in both masks of a pair.
        added: (B, n, m) float64, the sizes of the two masks added.
        voxels: number of voxels of the image.
    """

    shared: Tensor
    added: Tensor
    voxels: int

    @property
    def iou(self) -> Tensor:
        """Intersection over union: (B, n, m) float64 in [0, 1]."""
        return _share(self.shared, self.added - self.shared)

    @property
    def dice(self) -> Tensor:
        """Dice, Eq. 20: (B, n, m) float64 in [0, 1]."""
        return _share(2 * self.shared, self.added)

    @property
    def variance(self) -> Tensor:
        """Variance of a voxel's two values, averaged over voxels: (B, n, m) float64 in [0, 1/4].

        Two values that differ have variance 1/4, so it is a quarter of the share of voxels on which the two differ.
        """
        return (self.added - 2 * self.shared) / (4 * self.voxels)


def count_overlap(a: Tensor, b: Tensor) -> Overlap:
    """Count the voxels of each pair of a mask of `a` and a mask of `b`.

    Args:
        a: (B, n, H, W[, D]) bool.
        b: (B, m, H, W[, D]) bool, of the same size.

    Returns:
        Exact counts. Beyond the input it takes 256 kB a mask, whatever the size of the masks.

    Raises:
        InputError: masks that are not bool, or of two sizes.
    """
    check_pair(a, b)
    chunks = _chunks(a)
    pieces = [_count(x, y) for x, y in zip(chunks, chunks if a is b else _chunks(b), strict=True)]
    shared, added = (torch.stack(counts).sum(0) for counts in zip(*pieces, strict=True))
    return Overlap(shared, added, math.prod(a.shape[2:]))


def pairwise_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of each pair: (B, n, m) float64 in [0, 1]. Arguments and errors as `count_overlap`."""
    return count_overlap(a, b).iou


def pairwise_dice(a: Tensor, b: Tensor) -> Tensor:
    """Dice of each pair, Eq. 20: (B, n, m) float64 in [0, 1]. Arguments and errors as `count_overlap`."""
    return count_overlap(a, b).dice


def pairwise_distance(a: Tensor, b: Tensor, distance: Distance = "iou") -> Tensor:
    """1 - IoU or 1 - Dice of each pair: (B, n, m) float64 in [0, 1]. Arguments and errors as `count_overlap`."""
    return 1 - chosen("distance", distance, {"iou": pairwise_iou, "dice": pairwise_dice})(a, b)


def rater_slots(raters: Tensor, valid: Tensor | None) -> Tensor:
    """`valid`, or all slots where it is None: (B, R) bool for raters (B, R, H, W[, D])."""
    return raters.new_ones(raters.shape[:2]) if valid is None else valid


def check_pair(a: Tensor, b: Tensor) -> None:
    """InputError where two stacks of masks are not bool, or not of one number of cases and one size."""
    if a.dtype != torch.bool or b.dtype != torch.bool:
        raise InputError("masks", expected="bool", got=f"{a.dtype} and {b.dtype}", hint="threshold them first")
    if a.shape[0] != b.shape[0] or a.shape[2:] != b.shape[2:]:
        raise InputError(
            "masks",
            expected="as many cases and the same size on both sides",
            got=f"{tuple(a.shape)} and {tuple(b.shape)}",
            hint="bring both to one grid",
        )


def chosen(what: str, name: str, table: Mapping[str, Choice]) -> Choice:
    """The entry of `table` called `name`; SettingsError where there is none."""
    if name not in table:
        raise SettingsError(what, expected=" or ".join(table), got=repr(name), hint="choose one of these")
    return table[name]


def _share(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole == 0, 1.0, part / whole)


def _count(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    x = a.float()
    y = x if a is b else b.float()
    return (x @ y.mT).double(), (x.sum(2)[:, :, None] + y.sum(2)[:, None, :]).double()


def _chunks(masks: Tensor) -> Sequence[Tensor]:
    return torch.split(masks.flatten(2), _VOXELS_AT_ONCE, dim=2)
