"""Cases whose images are DICOM series, with readers' masks as DICOM SEG, RT Structure Sets or files of other programs.

A mask is brought onto the grid of the series: its axes are exchanged and turned as the affines say, and what it leaves
out is empty. A voxel of a contour is drawn where its middle lies inside; a contour within another one is a hole.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from plurimask.errors import InputError, SettingsError, need
from plurimask.files.dicom import holds_series, read_series
from plurimask.files.dicom_headers import is_dicom, quiet
from plurimask.files.images import LabelRule, read_image, read_label, split_name
from plurimask.files.stored import readable
from plurimask.geometry import Grid, lps_to_ras, same_grid
from plurimask.records import Case

_SEGMENTS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
_STRUCTURES = "1.2.840.10008.5.1.4.1.1.481.3"
_ONE_GRID = "draw on the series that is given as the image, or export the mask on its grid"


def is_series(path: Path) -> bool:
    """Whether a file is DICOM and says no other format in its name, or a folder holds such files."""
    return holds_series(path) if path.is_dir() else not split_name(path)[1] and is_dicom(path)


def read_dicom_case(
    name: str,
    images: Sequence[Path],
    labels: Mapping[str, Path],
    patient: str | None,
    rule: LabelRule,
    structure: str | None = None,
) -> tuple[Case, tuple[str, ...]]:
    """A case of which one image at least is a series, and its readers: those of `labels`, or segments by name.

    Args:
        name, patient: of the case.
        images: one a channel; series, or files on the same grid.
        labels: a file a reader: DICOM SEG, RT Structure Set, or one that `read_label` takes.
        rule: for labels that are no DICOM.
        structure: the segment or structure to take of each DICOM object; None: its only one, or all as readers where
            there is one object alone.

    Raises:
        InputError: files that cannot be read, masks on other grids, or no such structure.
        SettingsError: several structures in one of several objects, and none chosen.
    """
    first = next(path for path in images if is_series(path))
    series = read_series(first)
    channels = []
    for path in images:
        if is_series(path):
            values, grid = (series.image, series.grid) if path == first else _series(path)
            same_grid(path, grid, series.grid, first.name, _ONE_GRID)
        else:
            values, grid = read_image(path)
            values = np.stack([onto(path, channel, grid, series.grid) for channel in values])
        channels.append(values)
    masks: dict[str, np.ndarray] = {}
    for reader, path in labels.items():
        if not is_series(path):
            mask, grid = read_label(path, rule)
            masks[reader] = onto(path, mask, grid, series.grid)
            continue
        found = read_marks(path, series.grid)
        if structure is not None:
            found = {key: mask for key, mask in found.items() if key.casefold() == structure.casefold()}
            if not found:
                raise InputError(path, expected=f"a structure {structure}", got="none", hint="correct --structure")
        if len(found) > 1 and len(labels) > 1:
            named = ", ".join(found)
            hint = "choose one with --structure, or give one object with a segment a reader"
            raise SettingsError(path, expected="one structure a reader", got=named, hint=hint)
        masks |= found if len(found) > 1 else dict(zip([reader], found.values(), strict=False))
    image, readers = np.concatenate(channels), np.array([*masks.values()], dtype=np.bool_)
    grid, padding = series.grid, series.padding
    if grid.shape[2] == 1:
        image, readers, grid = image[..., 0], readers[..., 0], Grid(grid.shape[:2], grid.affine)
        padding = None if padding is None else padding[..., 0]
    return Case(name, image, readers.reshape(-1, *grid.shape), grid, patient, padding), tuple(masks)


def _series(path: Path) -> tuple[np.ndarray, Grid]:
    series = read_series(path)
    return series.image, series.grid


def read_marks(path: Path, grid: Grid) -> dict[str, np.ndarray]:
    """The masks (H, W, D) bool of a DICOM SEG or RT Structure Set on a grid, by the labels of segments or regions.

    Raises:
        InputError: another object, a damaged one, two segments of one label, or marks on another grid.
    """
    with quiet(), readable(path, "a readable DICOM file"):
        dataset = need("pydicom", "dicom").dcmread(path)
        kind = str(dataset.get("SOPClassUID", ""))
        if kind in _SEGMENTS:
            return _unique(path, _segments(path, grid))
        if kind == _STRUCTURES:
            return _unique(path, _structures(path, dataset, grid))
    got, hint = f"SOP class {kind}", "give the readers' objects as --reader, images as --image"
    raise InputError(path, expected="a DICOM SEG or an RT Structure Set", got=got, hint=hint)


def _unique(path: Path, found: Sequence[tuple[str, np.ndarray]]) -> dict[str, np.ndarray]:
    labels = [label for label, _ in found]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise InputError(path, expected="labels that differ", got=f"{twice} twice", hint="rename one of the two")
    return dict(found)


def _segments(path: Path, grid: Grid) -> list[tuple[str, np.ndarray]]:
    highdicom = need("highdicom", "dicom")
    segmentation, found = highdicom.seg.segread(path), []
    for number in segmentation.segment_numbers:
        volume = segmentation.get_volume(segment_numbers=[number], combine_segments=False, dtype=np.float32)
        mask = volume.array[..., 0] > 0.5
        came = Grid(mask.shape, lps_to_ras(np.asarray(volume.affine)))
        label = str(segmentation.get_segment_description(number).segment_label)
        found.append((label, onto(path, mask, came, grid)))
    return found


def _structures(path: Path, dataset: Any, grid: Grid) -> list[tuple[str, np.ndarray]]:
    names = {int(one.ROINumber): str(one.ROIName) for one in dataset.StructureSetROISequence}
    found = {number: np.zeros(grid.shape, dtype=np.bool_) for number in names}
    assert grid.affine is not None, "a series has an affine"
    to_index = np.linalg.inv(grid.affine) @ lps_to_ras(np.eye(4))
    for region in dataset.get("ROIContourSequence", []):
        for contour in region.get("ContourSequence", []):
            points = np.array(contour.ContourData, dtype=np.float64).reshape(-1, 3)
            index = points @ to_index[:3, :3].T + to_index[:3, 3]
            if str(contour.ContourGeometricType) == "POINT":
                continue
            place = round(float(index[:, 2].mean()))
            if np.ptp(index[:, 2]) > 0.5 or abs(index[:, 2].mean() - place) > 0.25 or not 0 <= place < grid.shape[2]:
                got = "a contour between two slices or beyond them"
                raise InputError(path, expected="contours on the slices of the series", got=got, hint=_ONE_GRID)
            found[int(region.ReferencedROINumber)][..., place] ^= inside(index[:, :2], grid.shape[:2])
    return [(names[number], mask) for number, mask in found.items()]


def inside(points: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Which pixels' middles a polygon (n, 2) of (row, column) encloses: (H, W) bool, by the even-odd rule.

    A middle on an edge belongs to the side of larger rows and columns, so that polygons side by side share no pixel.
    """
    drawn = np.zeros(shape, dtype=np.bool_)
    columns = np.arange(shape[1])
    for (row, column), (next_row, next_column) in pairwise([*points, points[0]]):
        low, high = sorted((row, next_row))
        for crossed in range(max(0, int(np.ceil(low))), min(shape[0], int(np.ceil(high)))):
            at = column + (crossed - row) / (next_row - row) * (next_column - column)
            drawn[crossed] ^= columns >= at
    return drawn


def onto(subject: Path, values: np.ndarray, came: Grid, wanted: Grid) -> np.ndarray:
    """Voxels of one grid where they lie on another one of the same voxels, whatever the order of its axes.

    What is not covered is 0. A file without spacing must have the wanted size.

    Args:
        subject: for errors.
        values: (n0, n1[, n2]) on `came`.
        came, wanted: the grids; `wanted` is a volume.

    Raises:
        InputError: other voxels, or something drawn beyond the wanted grid.
    """
    if came.affine is None or wanted.affine is None:
        same_grid(subject, came, wanted, "the series", _ONE_GRID)
        return values
    stack = values if values.ndim == 3 else values[..., None]
    to = np.linalg.inv(wanted.affine) @ came.affine
    turned, start = np.rint(to[:3, :3]), np.rint(to[:3, 3]).astype(int)
    whole = (np.abs(turned).sum(0) == 1).all() and (np.abs(turned).sum(1) == 1).all()
    # Over the whole length of an axis, headers may be off by a little of a step, and by more where that is one slice.
    if (
        not whole
        or (np.abs(to[:3, :3] - turned) @ np.array(stack.shape) > 1).any()
        or np.abs(to[:3, 3] - start).max() > 0.25
    ):
        steps = " x ".join(f"{value:.3g}" for value in came.spacing_mm or ())
        got = f"{came.size} voxels of {steps} mm elsewhere"
        raise InputError(subject, expected="the voxels of the series", got=got, hint=_ONE_GRID)
    order = np.abs(turned).argmax(axis=1)
    signs = turned[np.arange(3), order]
    moved = stack.transpose(*order)[tuple(slice(None, None, int(sign)) for sign in signs)]
    start = start - np.where(signs < 0, np.array(moved.shape) - 1, 0)
    target, source = [], []
    for first, length, size in zip(start.tolist(), moved.shape, wanted.shape, strict=True):
        low, high = max(first, 0), min(first + length, size)
        target.append(slice(low, max(low, high)))
        source.append(slice(low - first, max(low, high) - first))
    placed = np.zeros(wanted.shape, dtype=values.dtype)
    placed[tuple(target)] = moved[tuple(source)]
    if np.count_nonzero(placed) != np.count_nonzero(moved):
        got = "marks beyond it"
        raise InputError(subject, expected="marks within the series", got=got, hint=_ONE_GRID)
    return placed
