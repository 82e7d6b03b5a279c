"""THE rule that turns what a label file holds into a rater mask."""

from pathlib import Path
from typing import Protocol

import numpy as np

from plurimask.errors import InputError

_ROUNDING = 1e-5  # what a scale factor in a NIfTI header may add to 0 and 1


class LabelRule(Protocol):
    """From what a label file holds to a mask of the same shape, bool; see `binarise`, the usual one."""

    def __call__(self, subject: str | Path, values: np.ndarray, *, lossy: bool = False) -> np.ndarray:
        """(...) any values -> (...) bool."""


def binarise(subject: str | Path, values: np.ndarray, *, lossy: bool = False) -> np.ndarray:
    """A label as a mask of the same shape, bool.

    Booleans and arrays that hold only 0 and 1 are taken as they are. Other integers are cut at half their type's
    maximum, so uint8 counts from 128 on. Floats must lie in [0, 1] and count above 0.5.

    A lossy label is always cut: an empty one may decode to 1 everywhere, and ringing around an outline reaches far
    above 1. For the same reason only a lossy label may hold values above 1 and none above the cut.

    Args:
        subject: the file or record that an error names.
        values: any shape.
        lossy: the values went through JPEG.

    Raises:
        InputError: another type, NaN, a value outside the range, or integers above 1 that all lie below the cut
            (such as classes 0, 1, 2, or 255 in 16 bits).
    """
    if values.dtype.kind == "b":
        return values.copy()
    if values.dtype.kind == "f":
        return _cut_floats(subject, values)
    if values.dtype.kind not in "iu":
        raise _refusal(subject, f"values of type {values.dtype}")
    if not lossy and ((values == 0) | (values == 1)).all():
        return values.astype(np.bool_)
    return _cut_integers(subject, values, lossy)


def _cut_floats(subject: str | Path, values: np.ndarray) -> np.ndarray:
    if not np.isfinite(values).all():
        raise _refusal(subject, "NaN or infinite values")
    if values.size and (values.min() < -_ROUNDING or values.max() > 1 + _ROUNDING):
        raise _refusal(subject, f"floats from {values.min():g} to {values.max():g}")
    return values > 0.5


def _cut_integers(subject: str | Path, values: np.ndarray, lossy: bool) -> np.ndarray:
    if values.min() < 0:
        raise _refusal(subject, f"negative values, down to {values.min()}")
    mask = values > np.iinfo(values.dtype).max // 2
    if not lossy and not mask.any():
        raise _refusal(subject, f"values up to {values.max()} in {values.dtype}")
    return mask


def _refusal(subject: str | Path, got: str) -> InputError:
    return InputError(
        subject,
        expected="a label of 0 and 1, of 0 and its type's maximum (255 in 8 bits), or of floats in [0, 1]",
        got=got,
        hint="write one mask a file, 1 or 255 where the reader drew",
    )
