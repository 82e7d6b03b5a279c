"""Which part of an image to show, and in which greys."""

import math

import numpy as np


def fullest_slice(*stacks: np.ndarray) -> int:
    """The slice on which the masks of all stacks (n, H, W, D) mark most voxels; the middle one where they mark none."""
    marked = sum(np.count_nonzero(stack, axis=(0, 1, 2)) for stack in stacks)
    return int(np.argmax(marked)) if np.any(marked) else stacks[0].shape[3] // 2


def grey(image: np.ndarray) -> np.ndarray:
    """A plane (H, W) as uint8: black and white at its 0.5th and 99.5th percentile, or mid-grey where it is constant."""
    low, high = np.percentile(image, (0.5, 99.5))
    if low == high:
        low, high = image.min() - 0.5, image.max() + 0.5
    return (np.clip((image - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def close_up(marked: np.ndarray, aspect: float) -> tuple[slice, slice]:
    """Rows and columns of a square (in mm) around all that is marked in a mask (H, W), at least a third of the plane.

    `aspect` is the height of a voxel over its width. The whole plane where nothing is marked.
    """
    height, width = marked.shape
    if not marked.any():
        return slice(0, height), slice(0, width)
    rows, columns = (np.flatnonzero(marked.any(axis=axis)) for axis in (1, 0))
    side = 1.5 * max(np.ptp(rows) * aspect + aspect, np.ptp(columns) + 1.0)
    side = max(side, max(height * aspect, width) / 3)
    return _span(rows, side / aspect, height), _span(columns, side, width)


def _span(marked: np.ndarray, length: float, size: int) -> slice:
    count = min(size, math.ceil(length))
    start = round((marked[0] + marked[-1] + 1 - count) / 2)
    start = min(max(start, 0), size - count)
    return slice(start, start + count)
