"""Where the slices of a DICOM series lie: their order, and the one affine that holds for all of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from plurimask.errors import InputError
from plurimask.files.dicom_headers import Frame
from plurimask.geometry import lps_to_ras

_AXIAL = np.eye(3)[:2]
_AGAIN = "fetch the series again"
_SAME_PLACE_MM = 1e-3


def stack(subject: Path, frames: Sequence[Frame]) -> tuple[np.ndarray, np.ndarray | None]:
    """The order of the slices, as indices into `frames`, and the affine from (row, column, slice) to RAS+ mm.

    Slices are sorted by position along the normal of their plane. The step from slice to slice is the true one between
    their first pixels, (last - first) / (n - 1). With a tilted gantry it is not parallel to the normal: the affine is
    then sheared, which is exactly right, and the slices need no resampling.

    A slice may lie off its even place by 0.1 mm or a fifth of the step, whichever is less; positions in files are
    rounded. A single slice steps by its thickness, or 1 mm. A single slice of unknown position or orientation is taken
    as axial at the origin; without pixel spacing it has no affine.

    Raises:
        InputError: several slices of which one lacks position, orientation or spacing, or that differ in the last two;
            two slices in one place, missing slices, or uneven steps.
    """
    if len(frames) > 1:
        _check_planes(subject, frames)
    first = frames[0]
    if first.spacing is None:
        return np.arange(1), None
    orientation = _AXIAL if first.orientation is None else first.orientation
    normal = np.cross(*orientation)
    places = np.array([np.zeros(3) if frame.position is None else frame.position for frame in frames])
    order = np.argsort(places @ normal, kind="stable")
    if len(frames) > 1:
        _check_steps(subject, [frames[index].name for index in order], places[order], places[order] @ normal)
        step = (places[order[-1]] - places[order[0]]) / (len(frames) - 1)
    else:
        step = normal * (first.thickness or 1.0)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = orientation[1] * first.spacing[0], orientation[0] * first.spacing[1]
    affine[:3, 2], affine[:3, 3] = step, places[order[0]]
    return order, lps_to_ras(affine)


def _check_planes(subject: Path, frames: Sequence[Frame]) -> None:
    for what, tolerance in (("position", None), ("orientation", 1e-3), ("spacing", 1e-4)):
        values = [getattr(frame, what) for frame in frames]
        bare = next((frame.name for frame, value in zip(frames, values, strict=True) if value is None), None)
        if bare is not None:
            raise InputError(subject, expected=f"{what} of every slice", got=f"none in {bare}", hint=_AGAIN)
        other = tolerance and next(
            (
                frame.name
                for frame, value in zip(frames, values, strict=True)
                if not np.allclose(value, values[0], rtol=0, atol=tolerance)
            ),
            None,
        )
        if other:
            raise InputError(
                subject,
                expected=f"slices of one {what}",
                got=f"another in {other} than in {frames[0].name}",
                hint="pass a folder that holds one stack of parallel slices",
            )


def _check_steps(subject: Path, names: Sequence[str], places: np.ndarray, heights: np.ndarray) -> None:
    """Sorted slices: all apart, none missing, all in their even places."""
    gaps = np.diff(heights)
    usual = np.sort(gaps)[(len(gaps) - 1) // 2]
    least, most = int(gaps.argmin()), int(gaps.argmax())
    if gaps[least] < _SAME_PLACE_MM:
        raise InputError(
            subject,
            expected="one slice at each position",
            got=f"{names[least]} and {names[least + 1]} at the same",
            hint="keep one of the two; put each time point or echo into a folder of its own",
        )
    if gaps[most] > 1.5 * usual:
        raise InputError(
            subject,
            expected=f"a slice every {usual:.4g} mm",
            got=f"{gaps[most]:.4g} mm between {names[most]} and {names[most + 1]}",
            hint=f"slices are missing: {_AGAIN}, or split it there",
        )
    even = places[0] + np.linspace(0, 1, len(places))[:, None] * (places[-1] - places[0])
    off = np.linalg.norm(places - even, axis=1)
    tolerance = min(0.1, usual / 5)
    if off.max() > tolerance:
        raise InputError(
            subject,
            expected=f"evenly spaced slices, to {tolerance:.2g} mm",
            got=f"{names[int(off.argmax())]} off by {off.max():.2g} mm",
            hint="resample the series to even steps with another program first",
        )
