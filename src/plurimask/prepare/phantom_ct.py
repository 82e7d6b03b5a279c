"""Simulated lung CT around real outlines: lung, vessels, chest wall, a nodule, scanner blur and noise, in HU.

The model, in the order in which `simulate_ct` builds it:

- Lung: parenchyma near -860 HU with a slow gradient and fine texture; tapering, branching vessels and cut vessels.
- Nodule: a latent edge that no reader drew. It is a random convex combination (Dirichlet weights) of the readers'
  signed distances, moved by a smooth random field and a random offset. Density falls off across it over a width given
  by the margin ratings, and more slowly where the readers disagree. A halo of random strength fills part of what only
  some of them outlined. Texture sets ground glass, part solid or solid; subtlety and, more weakly, the share of
  readers who drew set the contrast, with noise on top. So the image tells where readers may differ and hints at how
  many see anything, but the mean of their masks cannot be read off it.
- Chest wall and mediastinum: the outside of an ellipse, pushed off wherever the outlines reach; muscle, fat, ribs.
- Scanner: Gaussian blur, then noise with a high-pass spectrum, stronger for thin slices.

Lengths are in mm until they meet the pixel grid. The numbers are plausible values, not fits to patients' images.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from scipy import fft
from scipy.ndimage import distance_transform_edt, gaussian_filter
from scipy.special import expit

from plurimask.prepare.lidc_contours import Ratings

SIZE = 128
LARGEST_SHIFT = 12
"""Pixels by which the nodule may lie off the tile's centre along each axis."""
SUPERSAMPLING = 4
"""Vessels are drawn on a grid this many times finer, then averaged, which makes their partial volume right."""

_FREQUENCY = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)[None]).astype(np.float32)
_ROWS, _COLUMNS = (np.indices((SIZE, SIZE), dtype=np.float32) + 0.5) - SIZE / 2


def simulate_ct(
    masks: np.ndarray,
    ratings: Sequence[Ratings],
    pixel_spacing_mm: float,
    slice_thickness_mm: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """A CT slice that could have led the readers to these outlines.

    Args:
        masks: (R, 128, 128) bool, one a reader, at least one pixel in all.
        ratings: those of the readers who marked the nodule, on this slice or another.
        pixel_spacing_mm: of the square pixels.
        slice_thickness_mm: thin slices are noisier.
        rng: the only source of randomness.

    Returns:
        (128, 128) float32, HU, whole numbers in -1024..3071.
    """
    scene = _Scene(pixel_spacing_mm, slice_thickness_mm, rng)
    image = scene.lung()
    image = scene.add_nodule(image, masks, ratings)
    image = scene.add_wall(image, np.logical_or.reduce(masks))
    return scene.scan(image)


class Surroundings(ABC):
    """What lies around a lung, the same in a plane and in a volume. Depth and arc are in mm, as the scene is shaped."""

    rng: np.random.Generator
    pixel_mm: float

    @abstractmethod
    def field(self, scale_mm: float) -> np.ndarray:
        """Smooth Gaussian noise of the scene, mean 0, standard deviation 1, correlated over `scale_mm`."""

    def _within(self, distance_mm: np.ndarray) -> np.ndarray:
        """0..1: the share of each place inside a surface, from the signed distance (negative inside) of its middle."""
        return np.clip(0.5 - distance_mm / self.pixel_mm, 0, 1)

    def _chest_wall(self, depth: np.ndarray, arc: np.ndarray) -> np.ndarray:
        """Muscle between layers of fat, ribs with a bright rim, then air; `depth` and `arc` in mm."""
        layers = np.sin(depth / 5 + 1.5 * self.field(10.0)) + (depth - self.rng.uniform(10, 30)) / 12
        tissue = 50 - 150 * expit(2 * layers)
        return np.where(depth > self.rng.uniform(28, 60), -1000, self._add_ribs(tissue, depth, arc))

    def _add_ribs(self, tissue: np.ndarray, depth: np.ndarray, arc: np.ndarray) -> np.ndarray:
        """Capsules along the pleura: a bright cortex around marrow."""
        places = float(arc.min()) + self.rng.uniform(0, 40) + np.cumsum(self.rng.uniform(25, 60, 20))
        beyond = np.full_like(arc, np.inf)
        for place in places[places < arc.max() + 20].tolist():
            np.minimum(beyond, np.abs(arc - place) - self.rng.uniform(3, 14), out=beyond)
        radius = self.rng.uniform(2.2, 3.8)
        tilted = depth - radius - self.rng.uniform(1, 4) + 1.5 * self.field(12.0)
        surface = np.hypot(beyond.clip(0), tilted) - radius
        bone, marrow = self._within(surface), self._within(surface + self.rng.uniform(0.8, 1.6))
        return tissue + bone * (self.rng.uniform(400, 900) - tissue) - marrow * self.rng.uniform(250, 450)

    def _mediastinum(self) -> np.ndarray:
        """Heart, vessels or liver: even, with a little fat."""
        blood = 160 if self.rng.random() < 0.3 else 45
        return blood - (blood + 90) * expit(3 * (self.field(8.0) - 1.6))


@dataclass(frozen=True)
class _Scene(Surroundings):
    """What every part of the picture needs: the pixel size and the generator."""

    pixel_mm: float
    thickness_mm: float
    rng: np.random.Generator

    @property
    def fine_mm(self) -> float:
        """Pixel size of the grid on which vessels are drawn."""
        return self.pixel_mm / SUPERSAMPLING

    def field(self, scale_mm: float) -> np.ndarray:
        """(128, 128) float32: smooth Gaussian noise, mean 0, standard deviation 1, correlated over `scale_mm`."""
        sigma = scale_mm / self.pixel_mm
        return self.noise(np.exp(-2 * (np.pi * sigma * _FREQUENCY) ** 2))

    def noise(self, transfer: np.ndarray) -> np.ndarray:
        """(128, 128) float32: Gaussian noise with this amplitude spectrum, mean 0, standard deviation 1."""
        parts = self.rng.standard_normal((*_FREQUENCY.shape, 2), dtype=np.float32)
        spectrum = parts.view(np.complex64)[..., 0] * transfer
        spectrum[0, 0] = 0
        noise = fft.irfft2(spectrum, s=(SIZE, SIZE))
        return noise * (SIZE / np.linalg.norm(noise))

    def lung(self) -> np.ndarray:
        """Parenchyma and vessels, HU."""
        texture = 10 * self.field(12.0) + 14 * self.field(1.5)
        parenchyma = self.rng.uniform(-900, -810) + texture
        blood = (120 if self.rng.random() < 0.4 else 40) + self.rng.normal(0, 15)
        return parenchyma + self.vessels() * (blood - parenchyma)

    def vessels(self) -> np.ndarray:
        """(128, 128) float32 in 0..1: the share of each pixel that vessels fill."""
        fine = SIZE * SUPERSAMPLING
        canvas = Image.new("L", (fine, fine))
        draw = ImageDraw.Draw(canvas)
        self._cut_vessels(draw, self.rng.uniform(0, fine, (self.rng.poisson(24), 2)))
        hilum = self.rng.uniform(0, 2 * np.pi)
        for start in self.rng.uniform(-0.1 * fine, 1.1 * fine, (self.rng.poisson(6), 2)):
            self._grow(draw, start, hilum + self.rng.normal(0, 0.8), 0.4 + self.rng.gamma(2.0, 0.25))
        return np.asarray(canvas.reduce(SUPERSAMPLING), dtype=np.float32) / 255

    def _cut_vessels(self, draw: ImageDraw.ImageDraw, centres: np.ndarray) -> None:
        """Vessels that cross the slice, some at a slant."""
        radius_mm = 0.35 + self.rng.gamma(1.5, 0.22, len(centres))
        slant = np.where(self.rng.random((len(centres), 2)) < 0.3, 1.8, 1.0)
        reach = (radius_mm / self.fine_mm)[:, None] * slant
        boxes = np.hstack([centres - reach, centres + reach]).tolist()
        for box, fill in zip(boxes, self._filled(radius_mm), strict=True):
            draw.ellipse(box, fill=fill)

    def _grow(self, draw: ImageDraw.ImageDraw, start: np.ndarray, angle: float, radius_mm: float) -> None:
        """One vessel in the slice: it winds, tapers, sends off thinner ones, and ends where it leaves the slice."""
        radii_mm = radius_mm * 0.93 ** np.arange(min(self.rng.geometric(0.1), 30))
        angles = angle + np.cumsum(self.rng.normal(0, 0.25, len(radii_mm)))
        steps = 2.5 / self.fine_mm * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        points = np.vstack([start, start + np.cumsum(steps, axis=0)])
        widths = np.maximum(1, np.rint(2 * radii_mm / self.fine_mm)).astype(int).tolist()
        for ends, width, fill in zip(
            np.hstack([points[:-1], points[1:]]).tolist(), widths, self._filled(radii_mm), strict=True
        ):
            draw.line(ends, fill=fill, width=width)
            draw.circle(ends[:2], width / 2, fill=fill)
        for i in np.flatnonzero((self.rng.random(len(angles)) < 0.15) & (radii_mm > 0.5)):
            turn = self.rng.uniform(0.4, 1.0) * (1 if self.rng.random() < 0.5 else -1)
            self._grow(draw, points[i], float(angles[i]) + turn, 0.6 * float(radii_mm[i]))

    def _filled(self, radii_mm: np.ndarray) -> list[int]:
        """How much of the slice's thickness vessels of these radii fill, 0..255."""
        share = self.rng.uniform(0.5, 1.0) * (0.3 + 2 * radii_mm / self.thickness_mm)
        return (255 * share.clip(0, 1)).astype(int).tolist()

    def add_nodule(self, image: np.ndarray, masks: np.ndarray, ratings: Sequence[Ratings]) -> np.ndarray:
        """The nodule over the lung; vessels that are denser than it stay visible inside."""
        drawn = masks[masks.any(axis=(1, 2))]
        subtlety, margin, texture = np.mean([(r.subtlety, r.margin, r.texture) for r in ratings], axis=0).tolist()
        distance = signed_distance(drawn)
        edge = self._latent_edge(distance)
        width = 0.25 / self.pixel_mm * (1 + 0.5 * (5 - margin)) + 0.25 * distance.std(axis=0).clip(0, 4)
        halo = self.rng.uniform(0, 0.35) * expit((self._hinted_extent(distance) - 0.5) / width)
        extent = np.maximum(expit(edge / width), halo)
        solidity = (texture - 1) / 4
        core = np.minimum(solidity * 3, 1) * expit((edge - 0.8 * (1 - solidity) * edge.max()) / width)
        ground_glass, solid = self.rng.uniform(-660, -480), self.rng.uniform(-30, 70)
        lung = -860.0
        density = (ground_glass - lung) * extent + (solid - ground_glass) * np.minimum(core, extent)
        mottle = 1 + 0.08 * self.field(1.5)
        return np.maximum(image, lung + nodule_contrast(subtlety, len(drawn) / len(masks), self.rng) * mottle * density)

    def _latent_edge(self, distance: np.ndarray) -> np.ndarray:
        """Signed distance, in pixels, to an edge between the readers' own, roughened and shifted."""
        weights = self.rng.dirichlet(np.full(len(distance), 1.5)).astype(np.float32)
        rough = self.rng.uniform(0.3, 0.9) * self.field(2.0)
        return np.tensordot(weights, distance, 1) + rough + self.rng.normal(0, 0.4)

    def _hinted_extent(self, distance: np.ndarray) -> np.ndarray:
        """Signed distance, in pixels, to what a random choice of the readers outlined together, roughened."""
        kept = self.rng.random(len(distance)) < 0.7
        kept[self.rng.integers(len(distance))] = True
        return distance[kept].max(axis=0) + 0.7 * self.field(2.5)

    def add_wall(self, image: np.ndarray, outlined: np.ndarray) -> np.ndarray:
        """Chest wall on the outer side of the lung, mediastinum on the inner, each drawn only where it comes in."""
        radii = self.rng.uniform(45, 85), self.rng.uniform(35, 60)
        tilt, side = self.rng.uniform(0, 2 * np.pi, 2).tolist()
        from_centre = math.sqrt(self.rng.uniform(0, 1))
        across, along = self._rotated(tilt)
        across += from_centre * math.cos(side) * radii[0]
        along += from_centre * math.sin(side) * radii[1]
        depth = ellipse_distance(across, along, radii) + 1.0 * self.field(7.0)
        depth -= max(0.0, float(depth[outlined].max()) + self.rng.exponential(1.5))
        if depth.max() < -self.pixel_mm:
            return image
        angle = np.arctan2(along / radii[1], across / radii[0])
        outer = np.cos(angle - side + self.rng.normal(0, 0.5)) > -0.3
        tissue = np.where(outer, self._chest_wall(depth, angle * sum(radii) / 2), self._mediastinum())
        beyond = self._within(-depth)
        return image + beyond * (tissue - image)

    def _rotated(self, tilt: float) -> np.ndarray:
        """(2, 128, 128) float32: mm from the tile's centre along two axes turned by `tilt`."""
        cosine, sine = self.pixel_mm * math.cos(tilt), self.pixel_mm * math.sin(tilt)
        return np.stack([cosine * _COLUMNS + sine * _ROWS, cosine * _ROWS - sine * _COLUMNS])

    def scan(self, image: np.ndarray) -> np.ndarray:
        """Blur of the scanner and its kernel, noise, and whole HU."""
        blurred = gaussian_filter(image, self.rng.uniform(0.35, 0.65) / self.pixel_mm, mode="nearest", truncate=3.0)
        cutoff = self.rng.uniform(0.25, 0.5)
        level = self.rng.lognormal(math.log(20), 0.6) * math.sqrt(2.0 / self.thickness_mm)
        grain = self.noise(np.sqrt(_FREQUENCY) * np.exp(-((_FREQUENCY / cutoff) ** 2)))
        return np.rint(blurred + level * grain).clip(-1024, 3071).astype(np.float32)


def nodule_contrast(subtlety: float, share: float, rng: np.random.Generator) -> float:
    """Of a nodule's full density above the lung, the part that the image shows; `share` of the readers marked it."""
    return float(np.clip(0.3 + 0.1 * (subtlety - 1) + 0.3 * share + rng.normal(0, 0.12), 0.2, 1.05))


def signed_distance(masks: np.ndarray, reach: int = 16) -> np.ndarray:
    """(R, 128, 128) float32: pixels to each mask's edge, positive inside, never below -`reach`."""
    rows, columns = (np.flatnonzero(masks.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    window = tuple(slice(max(0, i[0] - reach), i[-1] + 1 + reach) for i in (rows, columns))
    distance = np.full(masks.shape, -float(reach), dtype=np.float32)
    for full, mask in zip(distance, masks[:, *window], strict=True):
        inside, outside = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1], distance_transform_edt(~mask)
        full[window] = (inside - outside - np.where(mask, 0.5, -0.5)).clip(-reach)
    return distance


def ellipse_distance(x: np.ndarray, y: np.ndarray, radii: tuple[float, float]) -> np.ndarray:
    """Distance to an ellipse to first order, positive outside."""
    k0 = np.hypot(x / radii[0], y / radii[1])
    k1 = np.hypot(x / radii[0] ** 2, y / radii[1] ** 2)
    return k0 * (k0 - 1) / np.maximum(k1, 1e-6)
