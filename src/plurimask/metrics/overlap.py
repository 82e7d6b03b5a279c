"""Overlap of masks in pairs, and THE rule for empty masks: two of them agree fully (IoU 1, Dice 1, distance 0)."""

from collections.abc import Mapping
from typing import Literal, TypeVar

import torch
from torch import Tensor

from plurimask.errors import InputError, SettingsError

Distance = Literal["iou", "dice"]

Choice = TypeVar("Choice")

# float32 counts voxels exactly up to 2^24; 2^20 at a time also bounds the float copy at 4 MB a mask.
_VOXELS_AT_ONCE = 2**20


def intersections(a: Tensor, b: Tensor) -> Tensor:
    """Voxels shared by each pair of masks.

    Args:
        a: (B, n, H, W[, D]) bool.
        b: (B, m, H, W[, D]) bool, of the same size.

    Returns:
        (B, n, m) float64, exact. Beyond the input it takes 4 MB a mask, whatever the size of the masks.

    Raises:
        InputError: masks that are not bool, or of two sizes.
    """
    _check_pair(a, b)
    chunks = zip(*(torch.split(x.flatten(2), _VOXELS_AT_ONCE, dim=2) for x in (a, b)), strict=True)
    counts = [(x.float() @ y.float().mT).double() for x, y in chunks]
    return torch.stack(counts).sum(0)


def pairwise_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of each pair: (B, n, m) float64 in [0, 1]. Arguments as `intersections`."""
    shared = intersections(a, b)
    return _share(shared, _sizes_added(a, b) - shared)


def pairwise_dice(a: Tensor, b: Tensor) -> Tensor:
    """Dice of each pair, Eq. 20: (B, n, m) float64 in [0, 1]. Arguments as `intersections`."""
    return _share(2 * intersections(a, b), _sizes_added(a, b))


def pairwise_disagreement(a: Tensor, b: Tensor) -> Tensor:
    """Share of all voxels on which a pair differs: (B, n, m) float64 in [0, 1]. Arguments as `intersections`."""
    return (_sizes_added(a, b) - 2 * intersections(a, b)) / a[0, 0].numel()


def pairwise_distance(a: Tensor, b: Tensor, distance: Distance = "iou") -> Tensor:
    """1 - IoU or 1 - Dice of each pair: (B, n, m) float64 in [0, 1]. Arguments as `intersections`."""
    return 1 - chosen("distance", distance, {"iou": pairwise_iou, "dice": pairwise_dice})(a, b)


def rater_slots(raters: Tensor, valid: Tensor | None) -> Tensor:
    """`valid`, or all slots where it is None: (B, R) bool for raters (B, R, H, W[, D])."""
    return raters.new_ones(raters.shape[:2]) if valid is None else valid


def chosen(what: str, name: str, table: Mapping[str, Choice]) -> Choice:
    """The entry of `table` called `name`; SettingsError where there is none."""
    if name not in table:
        raise SettingsError(what, expected=" or ".join(table), got=repr(name), hint="choose one of these")
    return table[name]


def _share(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole == 0, 1.0, part / whole)


def _sizes_added(a: Tensor, b: Tensor) -> Tensor:
    size_a, size_b = a.flatten(2).sum(2), b.flatten(2).sum(2)
    return (size_a[:, :, None] + size_b[:, None, :]).double()


def _check_pair(a: Tensor, b: Tensor) -> None:
    if a.dtype != torch.bool or b.dtype != torch.bool:
        raise InputError("masks", expected="bool", got=f"{a.dtype} and {b.dtype}", hint="threshold them first")
    if a.shape[0] != b.shape[0] or a.shape[2:] != b.shape[2:]:
        raise InputError(
            "masks",
            expected="as many cases and the same size on both sides",
            got=f"{tuple(a.shape)} and {tuple(b.shape)}",
            hint="bring both to one grid",
        )
