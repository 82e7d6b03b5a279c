"""Store -> Batches. Batch number k of a run is a function of (seed, k) alone, so a resumed run sees the same ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from plurimask.datasets.store import Store
from plurimask.records import Batch


def scale_intensity(image: Tensor) -> Tensor:
    """Each channel of each image min-max scaled on its own to [-1, 1]; a constant channel becomes -1.

    (..., H, W) float32 in any unit. THE intensity rule: training and sampling both apply it.
    """
    low = image.amin(dim=(-2, -1), keepdim=True)
    span = image.amax(dim=(-2, -1), keepdim=True) - low
    return (image - low) / torch.where(span > 0, span, 1) * 2 - 1


Symmetries = Literal["all", "flips", "flip-rows", "flip-columns", "turns", "none"]
_CODES = {
    "all": (0, 1, 2, 3, 4, 5, 6, 7),
    "flips": (0, 1, 2, 3),
    "flip-rows": (0, 1),
    "flip-columns": (0, 2),
    "turns": (0, 3, 5, 6),
    "none": (0,),
}
"""Of the symmetries of a square: 1 turns the order of rows, 2 that of columns, 4 exchanges both, after the others."""


@dataclass(frozen=True)
class CropSettings:
    """Square crops for the first batches of a run, before whole images: many more of them fit into an hour.

    Args:
        size: pixels a side.
        until: batches that are cropped; 0 for none.
        shift: pixels that they are off the middle at most, on each axis.
    """

    size: int
    until: int
    shift: int


@dataclass(frozen=True)
class FieldSettings:
    """Square fields of images of any size, cut before anything is scaled or turned.

    A side of an image that is shorter than a field is mirrored at both ends, as in sampling. The first batches of a run
    have fields of the size of its crops.

    Args:
        size: pixels a side.
        drawn: share of the fields that hold a pixel that a reader drew, wherever in the field; the others lie anywhere.
    """

    size: int
    drawn: float


@dataclass(frozen=True)
class WarpSettings:
    """Rotation by any angle and zoom about the middle, beside the eight symmetries of the square.

    Args:
        share: of the images that are warped, on average.
        turn: degrees that they are turned by at most, either way.
        zoom: how far off 1 the factor is that they are scaled by, at most.
    """

    share: float
    turn: float
    zoom: float


class Batches:
    """Training batches: cases drawn without replacement epoch by epoch, flipped and turned by right angles.

    Args:
        store: the decoded dataset.
        indices: positions of the cases to draw from.
        batch_size: images a batch, over all processes; at most the number of cases.
        seed: with the batch's number, decides on everything.
        crop: where given, the first batches are crops near the centre.
        intensity: each channel of each image, in [-1, 1], is multiplied by a factor up to so much off 1 and moved by
            up to so much.
        warp: of images and masks, before they are cropped.
        field: where given, batches are of fields of the images, which may have any sizes; else all have one.
        symmetries: which ones an image is turned by: `all` eight of a square, `flips` along rows and columns, `turns`
            by right angles, ...
        gamma: each channel of each image, in [0, 1], is raised to a power between 1 / (1 + gamma) and 1 + gamma.
    """

    def __init__(
        self,
        store: Store,
        indices: Sequence[int],
        batch_size: int,
        seed: int,
        crop: CropSettings = CropSettings(0, 0, 0),
        intensity: float = 0.0,
        warp: WarpSettings = WarpSettings(0.0, 0.0, 0.0),
        field: FieldSettings | None = None,
        symmetries: Symmetries = "all",
        gamma: float = 0.0,
    ) -> None:
        self.store, self.seed, self.crop, self.intensity, self.warp = store, seed, crop, intensity, warp
        self.field, self.symmetries, self.gamma = field, symmetries, gamma
        self.indices = np.asarray(indices)
        self.batch_size = min(batch_size, len(self.indices))

    def __len__(self) -> int:
        """Batches of an epoch; those beyond are of the next ones."""
        return len(self.indices) // self.batch_size

    def __getitem__(self, number: int) -> Batch:
        """Batch number `number`, 0 or more."""
        image, readers, valid = self._read(number)
        codes = _CODES[self.symmetries]
        images, masks = (_turned(arrays, self._rng(1, number), codes) for arrays in (image, readers))
        images, masks = self._warped(number, self._vary(number, scale_intensity(images)), masks)
        window = self._window(number, images.shape)
        return Batch(images[window], masks[window], torch.from_numpy(valid))

    def share(self, number: int, rank: int, processes: int) -> Batch:
        """The part of a batch that process `rank` of `processes` works on."""
        whole = self[number]
        mine = slice(rank, None, processes)
        return Batch(whole.image[mine], whole.readers[mine], whole.valid[mine])

    def _rng(self, stream: int, number: int) -> np.random.Generator:
        """One for each question: 0 order (by epoch), 1 turns, 2 window, 3 intensity, 4 warp, 5 fields, 6 gamma."""
        return np.random.default_rng([self.seed, stream, number])

    def _cases(self, number: int) -> np.ndarray:
        epoch, position = divmod(number, len(self))
        order = self._rng(0, epoch).permutation(self.indices)
        return order[position * self.batch_size : (position + 1) * self.batch_size]

    def _read(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Images, readers and slots of a batch: whole images, or a field of each."""
        chosen = self._cases(number)
        if self.field is None:
            return self.store.read(chosen)
        rng, side = self._rng(5, number), self.crop.size if number < self.crop.until else self.field.size
        starts = [self._start(index, side, self.field.drawn, rng) for index in chosen.tolist()]
        return self.store.read(chosen, np.array(starts), side)

    def _start(self, index: int, side: int, drawn: float, rng: np.random.Generator) -> np.ndarray:
        """First row and column of a field of one case; where the image is the smaller one, it is in the middle."""
        most = self.store.shapes[index, 1:] - side
        pixel = self.store.drawn_pixel(index, rng) if rng.random() < drawn else None
        if pixel is None:
            start = rng.integers(0, np.maximum(most, 0) + 1)
        else:
            start = np.clip(pixel - rng.integers(0, side, size=2), 0, np.maximum(most, 0))
        return np.where(most < 0, most // 2, start)

    def _window(self, number: int, shape: tuple[int, ...]) -> tuple[EllipsisType | slice, ...]:
        """One window for the whole batch; all of it once crops are over."""
        if number >= self.crop.until or self.field is not None:
            return (...,)
        size = self.crop.size
        middles = np.array([(side - size) // 2 for side in shape[-2:]])
        reach = np.minimum(middles, self.crop.shift)
        starts = middles + self._rng(2, number).integers(-reach, reach + 1)
        return (..., *(slice(start, start + size) for start in starts.tolist()))

    def _vary(self, number: int, images: Tensor) -> Tensor:
        if self.gamma:
            reach = np.log1p(self.gamma)
            power = np.exp(self._rng(6, number).uniform(-reach, reach, (*images.shape[:2], 1, 1)))
            images = ((images + 1) / 2).clamp(min=0) ** torch.from_numpy(power.astype(np.float32)) * 2 - 1
        if not self.intensity:
            return images
        off = self._rng(3, number).uniform(-self.intensity, self.intensity, (2, *images.shape[:2], 1, 1))
        factor, moved = torch.from_numpy(off.astype(np.float32))
        return images * (1 + factor) + moved

    def _warped(self, number: int, images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W) and masks (B, R, H, W) bool, some of them warped together.

        A case stays as it is where one of its masks would be lost between pixels or beyond the edge.
        """
        rng = self._rng(4, number)
        chosen = np.flatnonzero(rng.random(len(images)) < self.warp.share)
        if not len(chosen):
            return images, masks
        angle = np.deg2rad(rng.uniform(-self.warp.turn, self.warp.turn, len(images)))[chosen]
        factor = rng.uniform(1 - self.warp.zoom, 1 + self.warp.zoom, len(images))[chosen]
        grid = _grid(angle, factor, images.shape[2:])
        # What lies around a crop of a lesion is of no interest; around a field there is more of the same.
        around, undrawn = ("border", "zeros") if self.field is None else ("reflection", "reflection")
        image = grid_sample(images[chosen], grid, padding_mode=around, align_corners=False)
        drawn = grid_sample(masks[chosen].float(), grid, "nearest", undrawn, align_corners=False) > 0
        kept = (drawn.any((2, 3)) == masks[chosen].any((2, 3))).all(1)
        rows = torch.from_numpy(chosen)[kept]
        images, masks = images.clone(), masks.clone()
        images[rows], masks[rows] = image[kept], drawn[kept]
        return images, masks


def _grid(angle: np.ndarray, factor: np.ndarray, size: Sequence[int]) -> Tensor:
    """Where each pixel comes from, for `grid_sample`: angle (n,) in radians and factor (n,) -> (n, H, W, 2)."""
    height, width = size
    cos, sin = np.cos(angle) / factor, np.sin(angle) / factor
    none = np.zeros_like(angle)
    # grid_sample counts each side as 2, whatever its pixels.
    rows = [[cos, -sin * height / width, none], [sin * width / height, cos, none]]
    theta = torch.from_numpy(np.stack([np.stack(row, axis=1) for row in rows], axis=1).astype(np.float32))
    return affine_grid(theta, [len(angle), 1, height, width], align_corners=False)


def _turned(arrays: np.ndarray, rng: np.random.Generator, codes: Sequence[int]) -> Tensor:
    """(B, ..., H, W), each by one of these symmetries of the square; images that are not square stay upright."""
    upright = codes if arrays.shape[-1] == arrays.shape[-2] else [code for code in codes if code < 4]
    chosen = rng.integers(len(upright), size=len(arrays))
    turned = np.empty_like(arrays)
    for one, place, code in zip(arrays, turned, [upright[number] for number in chosen], strict=True):
        rows = one[..., ::-1, :] if code & 1 else one
        both = rows[..., ::-1] if code & 2 else rows
        place[:] = both.swapaxes(-1, -2) if code & 4 else both
    return torch.from_numpy(turned)
