"""Overlap by sets of voxels, one pair at a time, and small panels to try it on."""

from collections.abc import Callable
from functools import partial
from itertools import combinations_with_replacement, permutations, product

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

PAIRS: dict[str, Callable] = {
    "v": lambda masks: product(masks, repeat=2),
    "u": partial(permutations, r=2),
    "once": partial(combinations_with_replacement, r=2),
}
"""How each estimator pairs some masks among themselves."""


def voxels(mask: Tensor) -> set[tuple[int, ...]]:
    return {tuple(index) for index in mask.nonzero().tolist()}


def slow_iou(a: Tensor, b: Tensor) -> float:
    a, b = voxels(a), voxels(b)
    return len(a & b) / len(a | b) if a | b else 1.0


def slow_dice(a: Tensor, b: Tensor) -> float:
    a, b = voxels(a), voxels(b)
    return 2 * len(a & b) / (len(a) + len(b)) if a or b else 1.0


def read_by_case(readers: Tensor, valid: Tensor) -> list[Tensor]:
    """The masks of the readers who did read, case by case."""
    return [masks[read] for masks, read in zip(readers, valid, strict=True)]


def by_case(metric: Callable[[Tensor, Tensor], float], samples: Tensor, readers: Tensor, valid: Tensor) -> Tensor:
    """A metric of one case's samples and readers, applied to each case."""
    pairs = zip(samples, read_by_case(readers, valid), strict=True)
    return torch.tensor([metric(drawn, read) for drawn, read in pairs], dtype=torch.float64)


@st.composite
def panels(draw: st.DrawFn, least_samples: int = 1, least_readers: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """samples (B, S, H, W[, D]), readers (B, R, H, W[, D]) with rubbish in unread slots, valid (B, R); often empty."""
    cases = draw(st.integers(1, 2))
    size = draw(st.lists(st.integers(1, 3), min_size=2, max_size=3))
    samples = draw(arrays(bool, (cases, draw(st.integers(least_samples, 4)), *size)))
    readers = draw(arrays(bool, (cases, draw(st.integers(least_readers, 4)), *size)))
    valid = draw(arrays(bool, readers.shape[:2]))
    valid[:, :least_readers] = True
    return torch.from_numpy(samples), torch.from_numpy(readers), torch.from_numpy(np.ascontiguousarray(valid))


def row(*masks: str) -> Tensor:
    """One case of masks written as strings of 0 and 1: (1, n, 1, length) bool."""
    return torch.tensor([[[[character == "1" for character in mask]] for mask in masks]])
