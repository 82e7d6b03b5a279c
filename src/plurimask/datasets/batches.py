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


def scale_intensity(image: Tensor, axes: int = 2) -> Tensor:
    """Each channel of each image min-max scaled on its own to [-1, 1]; a constant channel becomes -1.

    (..., H, W) float32 in any unit, or with `axes` 3 (..., D, H, W). THE intensity rule: training and sampling both
    apply it.
    """
    over = tuple(range(-axes, 0))
    low = image.amin(dim=over, keepdim=True)
    span = image.amax(dim=over, keepdim=True) - low
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
        planes: of a volume that batches have, around the middle one or off it by a quarter of them at most, crops or
            not; a volume of fewer has its first and last repeated. 0: all of them. Fields have their own.
    """

    size: int
    until: int
    shift: int
    planes: int = 0


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

    Volumes are turned in their planes. Those with symmetries of flips are flipped through their planes too, half of
    them. Spacing goes with what is turned, and is smaller where an image is zoomed.

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
        known: names of the readers who are told from each other; a reader's number is the place in it.
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
        known: Sequence[str] = (),
    ) -> None:
        self.store, self.seed, self.crop, self.intensity, self.warp = store, seed, crop, intensity, warp
        self.field, self.symmetries, self.gamma = field, symmetries, gamma
        self.indices = np.asarray(indices)
        self._who = torch.from_numpy(store.who(known)) if known else None
        self.batch_size = min(batch_size, len(self.indices))

    def __len__(self) -> int:
        """Batches of an epoch; those beyond are of the next ones."""
        return len(self.indices) // self.batch_size

    def __getitem__(self, number: int) -> Batch:
        """Batch number `number`, 0 or more."""
        image, readers, valid, steps = self._read(number)
        codes = self._codes(number, image.shape)
        images, masks = (_turned(arrays, codes) for arrays in (image, readers))
        scaled = scale_intensity(images, images.ndim - 2)
        images, masks, zoomed = self._warped(number, self._vary(number, scaled), masks)
        window = self._window(number, images.shape)
        spacing = None
        if steps is not None:
            steps = np.where((codes & 4)[:, None] > 0, steps[:, [0, 2, 1]], steps)
            steps[:, 1:] /= zoomed[:, None]
            spacing = torch.from_numpy(steps.astype(np.float32))
        who = None if self._who is None else self._who[self._cases(number), : valid.shape[1]]
        return Batch(images[window], masks[window], torch.from_numpy(valid), spacing, who)

    def share(self, number: int, rank: int, processes: int) -> Batch:
        """The part of a batch that process `rank` of `processes` works on."""
        return self[number].each(lambda part: part[rank::processes])

    def _rng(self, stream: int, number: int) -> np.random.Generator:
        """One for each question: 0 order (by epoch), 1 turns, 2 window, 3 intensity, 4 warp, 5 fields, 6 gamma."""
        return np.random.default_rng([self.seed, stream, number])

    def _cases(self, number: int) -> np.ndarray:
        epoch, position = divmod(number, len(self))
        order = self._rng(0, epoch).permutation(self.indices)
        return order[position * self.batch_size : (position + 1) * self.batch_size]

    def _read(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
        """Images, readers, slots and, of volumes, spacing of a batch: whole images, or a field of each."""
        chosen, volumes, planes = self._cases(number), self.store.shapes.shape[1] == 4, self.crop.planes
        spacing = self.store.spacing[chosen] if volumes else None
        if self.field is None and not (volumes and planes):
            return *self.store.read(chosen), spacing
        if self.field is None:
            most = self.store.shapes[chosen, 1] - planes
            off = np.minimum(planes // 4, np.abs(most) // 2)
            first = most // 2 + self._rng(5, number).integers(-off, off + 1)
            corners = np.stack([first, *np.zeros((2, len(first)), dtype=np.int64)], axis=1)
            return *self.store.read(chosen, corners, (planes, *self.store.shapes[chosen[0], 2:])), spacing
        rng, side = self._rng(5, number), self.crop.size if number < self.crop.until else self.field.size
        starts = [self._start(index, np.array((side, side)), self.field.drawn, rng) for index in chosen.tolist()]
        return *self.store.read(chosen, np.array(starts), (side, side)), spacing

    def _start(self, index: int, size: np.ndarray, drawn: float, rng: np.random.Generator) -> np.ndarray:
        """First pixel of a field of one case; where the image is the smaller one, it is in the middle."""
        most = self.store.shapes[index, 1:] - size
        pixel = self.store.drawn_pixel(index, rng) if rng.random() < drawn else None
        if pixel is None:
            start = rng.integers(0, np.maximum(most, 0) + 1)
        else:
            start = np.clip(pixel - rng.integers(0, size), 0, np.maximum(most, 0))
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
            power = np.exp(self._rng(6, number).uniform(-reach, reach, (*images.shape[:2], *[1] * (images.ndim - 2))))
            images = ((images + 1) / 2).clamp(min=0) ** torch.from_numpy(power.astype(np.float32)) * 2 - 1
        if not self.intensity:
            return images
        off = self._rng(3, number).uniform(
            -self.intensity, self.intensity, (2, *images.shape[:2], *[1] * (images.ndim - 2))
        )
        factor, moved = torch.from_numpy(off.astype(np.float32))
        return images * (1 + factor) + moved

    def _warped(self, number: int, images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor, np.ndarray]:
        """Images (B, C, [D,] H, W) and masks (B, R, [D,] H, W) bool, some of them warped together, and the zoom (B,).

        A case stays as it is where one of its masks would be lost between pixels or beyond the edge.
        """
        rng, zoomed = self._rng(4, number), np.ones(len(images))
        chosen = np.flatnonzero(rng.random(len(images)) < self.warp.share)
        if not len(chosen):
            return images, masks, zoomed
        angle = np.deg2rad(rng.uniform(-self.warp.turn, self.warp.turn, len(images)))[chosen]
        factor = rng.uniform(1 - self.warp.zoom, 1 + self.warp.zoom, len(images))[chosen]
        grid = _grid(angle, factor, images.shape[-2:])
        # What lies around a crop of a lesion is of no interest; around a field there is more of the same.
        around, undrawn = ("border", "zeros") if self.field is None else ("reflection", "reflection")
        # The planes of a volume are warped alike, as channels.
        flat, flat_masks = (stack[chosen].flatten(1, -3) for stack in (images, masks))
        image = grid_sample(flat, grid, padding_mode=around, align_corners=False).reshape(images[chosen].shape)
        warped = grid_sample(flat_masks.float(), grid, "nearest", undrawn, align_corners=False) > 0
        drawn = warped.reshape(masks[chosen].shape)
        kept = (drawn.flatten(2).any(2) == masks[chosen].flatten(2).any(2)).all(1)
        rows = torch.from_numpy(chosen)[kept]
        images, masks = images.clone(), masks.clone()
        images[rows], masks[rows] = image[kept], drawn[kept]
        zoomed[rows.numpy()] = factor[kept.numpy()]
        return images, masks, zoomed

    def _codes(self, number: int, shape: tuple[int, ...]) -> np.ndarray:
        """(B,) which symmetry each image of a batch is turned by; images that are not square stay upright.

        To those of a square 8 is added where the order of a volume's planes is turned.
        """
        codes, rng = _CODES[self.symmetries], self._rng(1, number)
        upright = codes if shape[-1] == shape[-2] else [code for code in codes if code < 4]
        chosen = np.array(upright)[rng.integers(len(upright), size=shape[0])]
        through = len(shape) == 5 and self.symmetries in ("all", "flips")
        return chosen + 8 * rng.integers(2, size=shape[0]) if through else chosen


def _grid(angle: np.ndarray, factor: np.ndarray, size: Sequence[int]) -> Tensor:
    """Where each pixel comes from, for `grid_sample`: angle (n,) in radians and factor (n,) -> (n, H, W, 2)."""
    height, width = size
    cos, sin = np.cos(angle) / factor, np.sin(angle) / factor
    none = np.zeros_like(angle)
    # grid_sample counts each side as 2, whatever its pixels.
    rows = [[cos, -sin * height / width, none], [sin * width / height, cos, none]]
    theta = torch.from_numpy(np.stack([np.stack(row, axis=1) for row in rows], axis=1).astype(np.float32))
    return affine_grid(theta, [len(angle), 1, height, width], align_corners=False)


def _turned(arrays: np.ndarray, codes: np.ndarray) -> Tensor:
    """(B, ..., H, W), each by one of these symmetries of the square, and of the planes of a volume."""
    turned = np.empty_like(arrays)
    for one, place, code in zip(arrays, turned, codes.tolist(), strict=True):
        planes = one[..., ::-1, :, :] if code & 8 else one
        rows = planes[..., ::-1, :] if code & 1 else planes
        both = rows[..., ::-1] if code & 2 else rows
        place[:] = both.swapaxes(-1, -2) if code & 4 else both
    return torch.from_numpy(turned)
