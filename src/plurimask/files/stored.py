"""What a file holds before it is taken as an image or a label, and the error for a file that cannot be read."""

import math
import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from plurimask.errors import InputError

_MOST_VOXELS = 2**30  # 1024 cubed; a compressed file of a few MB can claim, and hold, far more


@dataclass(frozen=True, eq=False)
class Stored:
    """The values of one file.

    Args:
        values: (C, H, W[, D]) in the type of the file; a scale factor in its header is applied.
        affine: (4, 4), index (row, column, slice, 1) to RAS+ mm, or None where the file does not say.
        lossy: the file went through a compression that changes values (JPEG).
    """

    values: np.ndarray
    affine: np.ndarray | None = None
    lossy: bool = False


def one_channel(path: Path, values: np.ndarray) -> np.ndarray:
    """An array (H, W) or (H, W, D) as (1, H, W[, D]); trailing axes of length one beyond the second are dropped.

    Raises:
        InputError: fewer than two axes, or more than three.
    """
    while values.ndim > 2 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim not in (2, 3):
        raise InputError(
            path,
            expected="one channel of size (H, W) or (H, W, D)",
            got=f"size {values.shape}",
            hint="write one file a channel: image0, image1, ...",
        )
    return values[None]


def refuse_giant(path: Path, shape: tuple[int, ...]) -> None:
    """Before memory is taken: raises InputError for a size that its file may claim, but no study has."""
    if math.prod(shape) > _MOST_VOXELS:
        raise InputError(
            path, expected=f"at most {_MOST_VOXELS} voxels", got=f"size {shape}", hint="crop or resample the volume"
        )


def unreadable(path: Path, kind: str, error: Exception) -> InputError:
    """The error for a file that is missing, damaged, or of another format than its name says."""
    return InputError(
        path,
        expected=f"a readable {kind}",
        got=f"'{reason(error)}'",
        hint="check the path, or write the file again from its source",
    )


def reason(error: Exception) -> str:
    """What a library said when it failed, in one line."""
    return textwrap.shorten(getattr(error, "strerror", None) or str(error) or type(error).__name__, 160)
