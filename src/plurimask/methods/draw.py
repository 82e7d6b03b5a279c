"""Drawing from any method: fields, blending, noise, steps, and chunks of bounded memory, once for all methods.

A method is shown one field of the size that it was trained on, or several that overlap. Its predictions of several
fields are blended, each weighing less towards its edges, so that one mask is drawn of the whole area: at every step of
a diffusion process, or once. Noise belongs to the plane, of which the area is a part: a pixel's noise is the same in
every field.

A region that is no larger than a field gets one field around its middle, so that it is seen in its surroundings. A
larger one gets an area of several fields that overlap by half of their side, or as near to it as the method's nets
allow. What of an area lies outside of the image is filled by mirroring the image at its edge, which adds no intensity
that is not in the image. Every field is scaled on its own, as the images of training were.

A method of volumes is shown all planes at once, (C, D, H, W). Fields are those of the plane; noise of pixels is then of
voxels, in the region's planes alone.

A net that was trained on images in all orientations still sees each a little differently. With P_k what it draws of a
field turned by symmetry k of the square, and turned back, samples come from

    P = 1/K sum_k P_k                                                                                        (1)

The energy distance to the readers' distribution is convex in P, so that of (1) is at most the mean of theirs, and no
sample costs more: K is `Method.orientations`, k is the remainder of the sample's seed, and each field is encoded K
times. A sample's noise lies on the plane, however the field is turned.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from plurimask.datasets.batches import scale_intensity
from plurimask.diffusion.samplers import Noise, SamplerSettings, Window, sample
from plurimask.methods.method import Method
from plurimask.methods.onnx_model import WAYS
from plurimask.seeds import OWN


@dataclass(frozen=True)
class Tiling:
    """Where the fields of an area lie, the same on every plane of a study.

    Args:
        field: pixels a side of a field.
        starts: row and column of each field's first pixel in the area.
        first: row and column of the area's first pixel in the image; negative where the area juts out of it.
        size: rows and columns of the area.
        image: rows and columns of the image.
        planes: how many a method of volumes is shown at once; of images none.
    """

    field: int
    starts: tuple[tuple[int, int], ...]
    first: tuple[int, int]
    size: tuple[int, int]
    image: tuple[int, int]
    planes: tuple[int, ...] = ()

    @property
    def plane(self) -> tuple[int, int]:
        """Rows and columns that noise is drawn for: the image and what of the area juts out of it."""
        rows, columns = (max(side, length) for side, length in zip(self.image, self.size, strict=True))
        return rows, columns

    def cut(self, image: np.ndarray, padding: np.ndarray | None = None) -> Tensor:
        """The fields of an image (C[, D], H, W), each scaled: (fields, C[, D], field, field) float32.

        Padding ([D,] H, W) bool takes no part in a field's least and greatest value, and is as dark as the least.
        """
        lasts = [first + length for first, length in zip(self.first, self.size, strict=True)]
        spans = zip(self.first, lasts, self.image, strict=True)
        around = [(max(-first, 0), max(last - side, 0)) for first, last, side in spans]
        rows, columns = (slice(max(first, 0), last) for first, last in zip(self.first, lasts, strict=True))
        plain = [(0, 0)] * (image.ndim - 2)
        area = torch.from_numpy(np.pad(image[..., rows, columns], [*plain, *around], mode="symmetric"))
        fields = [area[_window(start, self._field)] for start in self.starts]
        if padding is not None:
            beside = padding[..., rows, columns]
            unmeasured = torch.from_numpy(np.pad(beside, [*plain[1:], *around], mode="symmetric"))
            windows = (unmeasured[_window(start, self._field)] for start in self.starts)
            fields = [_without(field, window) for field, window in zip(fields, windows, strict=True)]
        return torch.stack([scale_intensity(field, image.ndim - 1) for field in fields])

    def inside(self, region: tuple[slice, slice]) -> tuple[slice, slice]:
        """A region of the image, in the area."""
        rows, columns = (
            slice(span.start - first, span.stop - first) for span, first in zip(region, self.first, strict=True)
        )
        return rows, columns

    def window(self, scale: int = 1) -> Window:
        """The area in an array on the plane, (..., H / scale, W / scale)."""
        return _window([max(first, 0) for first in self.first], self.size, scale)

    def blend(self, predict: Callable[..., Tensor], encoded: Sequence[Any], *given: Tensor) -> Tensor:
        """What is predicted of the fields, as one: (n, c[, D], H, W) of the area.

        Args:
            predict: takes one of `encoded` and the field's part of each of `given`: (n, c[, D], field, field).
            encoded: one a field.
            given: vectors (n, c), or maps of the area (n, c[, D], H / k, W / k), k a divisor of every start.
        """
        blended = None
        for one, start, weight in zip(encoded, self.starts, self._weights, strict=True):
            predicted = predict(one, *(self._part(each, start) for each in given))
            if blended is None:
                blended = predicted.new_zeros((*predicted.shape[:-2], *self.size))
            blended[_window(start, self._field)] += weight.to(predicted.device) * predicted
        assert blended is not None, "there is a field"
        return blended

    @property
    def _field(self) -> tuple[int, int]:
        return self.field, self.field

    @cached_property
    def _weights(self) -> Tensor:
        """Weight of each pixel of each field, (fields, field, field): a Gaussian, over the sum of all that see it.

        Four standard deviations lie from the middle to either edge, so that 3e-4 is left there.
        """
        from_middle = torch.arange(self.field) - (self.field - 1) / 2
        bell = torch.exp(-0.5 * (from_middle / (self.field / 8)) ** 2)
        total = torch.zeros(self.size)
        for start in self.starts:
            total[_window(start, self._field)] += bell[:, None] * bell
        return torch.stack([bell[:, None] * bell / total[_window(start, self._field)] for start in self.starts])

    def _part(self, given: Tensor, start: tuple[int, int]) -> Tensor:
        return given if given.dim() == 2 else given[_window(start, self._field, self.size[0] // given.shape[-2])]


def tile(
    region: tuple[slice, slice], image: tuple[int, int], field: int, multiple: int, planes: tuple[int, ...] = ()
) -> Tiling:
    """The fields of a region of an image.

    Args:
        region: rows and columns, inside the image.
        image: its rows and columns.
        field: pixels a side of a field.
        multiple: pixels in whole numbers of which all starts are apart, a divisor of `field`.
        planes: as `Tiling` has them.
    """
    (top, height), (left, width) = (
        _area(span, side, field, multiple) for span, side in zip(region, image, strict=True)
    )
    step = max(field // 2 // multiple, 1) * multiple
    rows, columns = (
        [min(start, length - field) for start in range(0, length - field + step, step)] for length in (height, width)
    )
    return Tiling(field, tuple(product(rows, columns)), (top, left), (height, width), image, planes)


def draw_masks(
    method: Method,
    image: np.ndarray,
    seeds: Sequence[int],
    sampler: SamplerSettings | None,
    field: int,
    chunk: int = 16,
    done: Callable[[], object] = lambda: None,
    ranks: np.ndarray | None = None,
    padding: np.ndarray | None = None,
) -> np.ndarray:
    """Masks (S, H, W[, D]) bool of all of an image (C, H, W[, D]), one a seed; `field` is the side of the method's.

    At most `chunk` samples are in work at once, so memory does not grow with their number. `done` and `ranks` are as
    `draw_area` takes them, padding as `Tiling.cut` does.
    """
    rows, columns = image.shape[1:3]
    whole = slice(0, rows), slice(0, columns)
    if method.volumes:
        image, padding = np.moveaxis(image, 3, 1), None if padding is None else np.moveaxis(padding, 2, 0)
    tiling = tile(whole, (rows, columns), field, method.settings.multiple, image.shape[1:-2])
    inside = (..., *tiling.inside(whole))

    def keep(masks: np.ndarray) -> np.ndarray:
        return np.moveaxis(masks[inside], 1, 3) if method.volumes else masks[inside]

    encoded = encode(method, tiling.cut(image, padding))
    return draw_area(method, tiling, encoded, seeds, sampler, chunk, done, ranks, keep)


def encode(method: Method, fields: Tensor) -> list[list[Any]]:
    """What a method takes of each field (fields, C[, D], field, field), scaled, in each of its orientations.

    All of it is in memory together.
    """
    ways = range(method.orientations)
    with torch.inference_mode():
        return [[method.encode(turned(field[None], way)) for way in ways] for field in fields.to(method.device)]


def turned(planes: Tensor, way: int) -> Tensor:
    """Planes (..., H, W) turned by one of `WAYS`."""
    axes, exchanged = WAYS[way]
    flipped = planes.flip(axes)
    return flipped.transpose(-1, -2) if exchanged else flipped


def turned_back(planes: Tensor, way: int) -> Tensor:
    """The inverse of `turned`."""
    axes, exchanged = WAYS[way]
    return (planes.transpose(-1, -2) if exchanged else planes).flip(axes)


def draw_area(
    method: Method,
    tiling: Tiling,
    encoded: Sequence[Sequence[Any]],
    seeds: Sequence[int],
    sampler: SamplerSettings | None,
    chunk: int,
    done: Callable[[], object] = lambda: None,
    ranks: np.ndarray | None = None,
    keep: Callable[[np.ndarray], np.ndarray] = np.asarray,
) -> np.ndarray:
    """Masks (S[, D], H, W) bool of an area, one a seed, at most `chunk` in work at once, on the method's device.

    Args:
        method: what draws.
        tiling: where the fields lie.
        encoded: of each field, by `encode`.
        seeds: below 2**63.
        sampler: None for a method without a diffusion process.
        chunk: samples.
        done: called after each prediction of a field.
        ranks: (S,) in [0, 1), for a method that is `hurdled`: the quantile that decides on each sample in place of its
            seed's own.
        keep: what is kept of the masks of a chunk, (n[, D], H, W) bool; by default these.
    """
    kept, all_seeds = [], torch.tensor(seeds)
    order = (all_seeds % method.orientations).argsort(stable=True)  # those of one orientation are drawn together
    with torch.inference_mode():
        for part in torch.split(order, chunk):
            noise = _noise(method, tiling, all_seeds[part])
            if ranks is not None:
                noise[0][:, 0] = torch.special.ndtri(torch.from_numpy(ranks)[part])
            drawn = _draw(method, tiling, encoded, all_seeds[part], noise, sampler, done)
            kept.append(keep(drawn.cpu().numpy()))
    return np.concatenate(kept)[order.argsort().numpy()]


def _draw(
    method: Method,
    tiling: Tiling,
    encoded: Sequence[Sequence[Any]],
    seeds: Tensor,
    noise: list[Tensor],
    sampler: SamplerSettings | None,
    done: Callable[[], object],
) -> Tensor:
    """Masks (n[, D], H, W) bool, one a seed, of the method's own noise."""
    ways = seeds % method.orientations

    def predict(one: Sequence[Any], *given: Tensor) -> Tensor:
        """Of a field, from its part of the noise and, where there is a process, of x_t and its t."""
        parts, places = [], []
        for way in sorted(set(ways.tolist())):
            own = (ways == way).nonzero()[:, 0].to(method.device)
            seen = [turned(each[own], way) if each.dim() > 2 else each[own] for each in given]
            drawn = method.predict(one[way], seen[: len(noise)], *seen[len(noise) :])
            parts.append(turned_back(drawn.expand(len(own), *drawn.shape[1:]), way))
            places.append(own)
        predicted = torch.cat(parts)[torch.cat(places).argsort()]
        done()
        return predicted

    if method.process is None:
        return tiling.blend(predict, encoded, *noise)[:, 0] > method.cut
    assert sampler is not None, "a recipe with a diffusion process has a sampler"

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        return tiling.blend(lambda one, *given: predict(one, *given, t), encoded, *noise, x_t)

    x_0 = sample(denoise, method.process, sampler, seeds, (1, *tiling.plane), tiling.window())
    return x_0[:, 0] > method.cut  # (Eq. 16)


def _noise(method: Method, tiling: Tiling, seeds: Tensor) -> list[Tensor]:
    """The method's own noise: vectors (n, c), and of maps the part of the area."""
    draw = Noise(seeds, method.device, OWN)
    rows, columns = tiling.plane
    return [
        draw((c, *tiling.planes, rows // k, columns // k), tiling.window(k)) if k else draw((c,))
        for c, k in method.noise
    ]


def _without(field: Tensor, padding: Tensor) -> Tensor:
    """A field (C[, D], H, W) whose padding has each channel's least measured value; all the same where all is."""
    least = field.masked_fill(padding, torch.inf).amin(dim=tuple(range(1, field.dim())), keepdim=True)
    return torch.where(padding, torch.where(least.isinf(), field.amin(), least), field)


def _area(span: slice, side: int, field: int, multiple: int) -> tuple[int, int]:
    """First pixel and length of the area along one axis: in the image if it can be, else around its middle."""
    more = max(span.stop - span.start - field, 0)
    length = field + -(-more // multiple) * multiple
    if length > side:
        return (side - length) // 2, length
    return min(max((span.start + span.stop - length) // 2, 0), side - length), length


def _window(start: Sequence[int], size: Sequence[int], scale: int = 1) -> Window:
    rows, columns = (
        slice(first // scale, first // scale + length // scale) for first, length in zip(start, size, strict=True)
    )
    return (..., rows, columns)
