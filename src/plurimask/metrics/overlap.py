"""Overlap of masks in pairs, and THE rule for empty masks: two of them agree fully (IoU 1, Dice 1, distance 0).

Counting is a matrix product over the voxels that any mask of a case holds; the others, most of them, add nothing.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import product
from operator import attrgetter
from types import MappingProxyType
from typing import Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from plurimask.errors import InputError, SettingsError

Distance = Literal["iou", "dice"]

Choice = TypeVar("Choice")

# float32 counts voxels exactly up to 2^24; 2^16 at a time also bounds the float copy at 256 kB a mask of one case.
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

    def distance(self, distance: Distance) -> Tensor:
        """1 - IoU or 1 - Dice: (B, n, m) float64 in [0, 1]. SettingsError for another distance."""
        return 1 - chosen("distance", distance, _AGREEMENT)(self)


_AGREEMENT: Mapping[str, Callable[[Overlap], Tensor]] = MappingProxyType(
    {"iou": attrgetter("iou"), "dice": attrgetter("dice")}
)


@dataclass(frozen=True)
class Pairs:
    """Overlap of all masks of a case with each other.

    Args:
        ss: samples with samples, (B, S, S).
        sy: samples with readers, (B, S, R).
        yy: readers with readers, (B, R, R).
        read: (B, R) bool, which slots were read.
    """

    ss: Overlap
    sy: Overlap
    yy: Overlap
    read: Tensor


def count_overlap(a: Tensor, b: Tensor) -> Overlap:
    """Count the voxels of each pair of a mask of `a` and a mask of `b`.

    Args:
        a: (B, n, H, W[, D]) bool.
        b: (B, m, H, W[, D]) bool, of the same size.

    Returns:
        Exact counts, on the device of `a`; they are made on the CPU. Beyond the input they take 768 kB at most for
        each mask of one case, whatever the number of cases and the size of the masks.

    Raises:
        InputError: masks that are not bool, or of two sizes.
    """
    check_pair(a, b)
    n, m = a.shape[1], b.shape[1]
    shared, added = np.zeros((2, len(a), n, m))
    for case, drawn in _drawn_voxels(a) if a is b else _drawn_voxels(a, b):
        x, y = drawn[:n], drawn[len(drawn) - m :]
        shared[case] += x @ y.T
        added[case] += x.sum(1)[:, None] + y.sum(1)
    return _overlap(shared, added, a)


def count_pairs(samples: Tensor, readers: Tensor, valid: Tensor | None = None) -> Pairs:
    """Count samples and readers with each other and among themselves, all at once.

    Args:
        samples: (B, S, H, W[, D]) bool.
        readers: (B, R, H, W[, D]) bool.
        valid: (B, R) bool, which slots were read; None: all. The others are counted too, to keep their place.

    Raises:
        InputError: masks that are not bool, or of two sizes.
    """
    check_pair(samples, readers)
    count = samples.shape[1]
    shared = np.zeros((len(samples), *2 * [count + readers.shape[1]]))
    for case, drawn in _drawn_voxels(samples, readers):
        shared[case] += drawn @ drawn.T
    sizes = shared.diagonal(axis1=1, axis2=2)
    added = sizes[:, :, None] + sizes[:, None]
    s, y = slice(count), slice(count, None)
    ss, sy, yy = (_overlap(shared[:, i, j], added[:, i, j], samples) for i, j in ((s, s), (s, y), (y, y)))
    return Pairs(ss, sy, yy, reader_slots(readers, valid))


def any_mask(masks: Tensor) -> Tensor:
    """Voxels in any mask of a case: (B, n, H, W[, D]) bool -> (B, H * W[ * D]) bool.

    The same as `masks.any(1)`, which takes a hundred times as long on a CPU.
    """
    refuse_other_than_tensors(masks)
    drawn = np.bitwise_or.reduce(_words(masks.flatten(2).numpy(force=True)), axis=1)
    # Compared, since a boolean's byte may be 255, as Pillow has it, and `count_voxels` counts bits.
    return torch.from_numpy(drawn.view(np.uint8) != 0).to(masks.device)


def count_voxels(mask: Tensor) -> Tensor:
    """Voxels of each mask, (B, V) bool -> (B,) float64; torch takes twenty times as long to add up bool."""
    refuse_other_than_tensors(mask)
    counted = np.bitwise_count(_words(mask.numpy(force=True))).sum(1, dtype=np.float64)
    return torch.from_numpy(counted).to(mask.device)


def pairwise_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of each pair: (B, n, m) float64 in [0, 1]. Arguments and errors as `count_overlap`."""
    return count_overlap(a, b).iou


def pairwise_dice(a: Tensor, b: Tensor) -> Tensor:
    """Dice of each pair, Eq. 20: (B, n, m) float64 in [0, 1]. Arguments and errors as `count_overlap`."""
    return count_overlap(a, b).dice


def pairwise_distance(a: Tensor, b: Tensor, distance: Distance = "iou") -> Tensor:
    """1 - IoU or 1 - Dice of each pair: (B, n, m) float64 in [0, 1]. Arguments and errors as `count_overlap`."""
    return count_overlap(a, b).distance(distance)


def reader_slots(readers: Tensor, valid: Tensor | None) -> Tensor:
    """`valid`, or all slots where it is None: (B, R) bool for readers (B, R, H, W[, D]). InputError for another one."""
    refuse_other_than_tensors(readers, *(() if valid is None else (valid,)))
    if valid is None:
        return readers.new_ones(readers.shape[:2], dtype=torch.bool)
    if valid.dtype != torch.bool or valid.shape != readers.shape[:2]:
        raise InputError(
            "valid",
            expected=f"bool of shape {tuple(readers.shape[:2])}, a flag for each reader of each case",
            got=f"{valid.dtype} of shape {tuple(valid.shape)}",
            hint="say which slots were read",
        )
    return valid


def check_pair(a: Tensor, b: Tensor) -> None:
    """InputError where two stacks are not (B, n, H, W[, D]) bool, or not of one number of cases and one size."""
    refuse_other_than_tensors(a, b)
    if a.dtype != torch.bool or b.dtype != torch.bool:
        raise InputError("masks", expected="bool", got=f"{a.dtype} and {b.dtype}", hint="threshold them first")
    if a.ndim not in (4, 5) or a.ndim != b.ndim or a.shape[0] != b.shape[0] or a.shape[2:] != b.shape[2:]:
        raise InputError(
            "masks",
            expected="(B, n, H, W) or (B, n, H, W, D), as many cases and the same size on both sides",
            got=f"{tuple(a.shape)} and {tuple(b.shape)}",
            hint="bring both to one grid, a case alone to a batch of one",
        )


def refuse_other_than_tensors(*stacks: object) -> None:
    """InputError for masks that are no tensors, as those of a `MaskSet` and a `Case` are."""
    for stack in stacks:
        if not isinstance(stack, Tensor):
            got = "a NumPy array" if isinstance(stack, np.ndarray) else f"a {type(stack).__name__}"
            hint = "give torch.from_numpy(masks)[None], a batch of one case"
            raise InputError("masks", expected="a torch tensor", got=got, hint=hint)


def chosen(what: str, name: str, table: Mapping[str, Choice]) -> Choice:
    """The entry of `table` called `name`; SettingsError where there is none."""
    if name not in table:
        raise SettingsError(what, expected=" or ".join(table), got=repr(name), hint="choose one of these")
    return table[name]


def _share(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole == 0, 1.0, part / whole)


def _overlap(shared: np.ndarray, added: np.ndarray, masks: Tensor) -> Overlap:
    """The counts as tensors where `masks` are."""
    device = masks.device
    return Overlap(torch.from_numpy(shared).to(device), torch.from_numpy(added).to(device), math.prod(masks.shape[2:]))


def _drawn_voxels(*stacks: Tensor) -> Iterator[tuple[int, np.ndarray]]:
    """Case by case and chunk by chunk, the voxels that any mask holds: the case, and all its masks (n, voxels) float32.

    Voxels come by the eight where they can, since a word is as fast to look at as a byte.
    """
    flat = [stack.flatten(2).numpy(force=True) for stack in stacks]
    cases, _, voxels = flat[0].shape
    for case, start in product(range(cases), range(0, voxels, _VOXELS_AT_ONCE)):
        words = [_words(masks[case, :, start : start + _VOXELS_AT_ONCE]) for masks in flat]
        drawn = np.flatnonzero(reduce(np.bitwise_or, (np.bitwise_or.reduce(masks, 0) for masks in words)))
        kept = np.concatenate([masks.take(drawn, 1) for masks in words])
        yield case, kept.view(np.bool_).astype(np.float32)


def _words(masks: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(masks).view(np.uint8 if masks.shape[-1] % 8 else np.uint64)
