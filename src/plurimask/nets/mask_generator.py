"""Nets that draw a mask in one evaluation: a pyramid of features of the image, and a generator from features and z.

They are of planes (B, C, H, W) or of volumes (B, C, D, H, W), as their kernels are. No scale has fewer planes than the
image, since planes lie further apart than pixels.

Both are residual and normalised over the batch. In evaluation that norm is a fixed scale and shift, so that a mask
depends on nothing but its own image and z, and a crop sees what the whole image sees.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, adaptive_avg_pool3d, pixel_unshuffle, relu

from plurimask.nets.image_encoder import closeness
from plurimask.nets.residual import convolution, growing, layout, shrinking
from plurimask.settings import Layers, Patch, Positive, Settings, Widths


class PyramidSettings(Settings):
    """Size of the encoder.

    Args:
        patch: pixels per side that a space-to-depth stem folds into channels.
        widths: filters of each stage, from fine to coarse.
        blocks: residual blocks of two 3x3 convolutions per stage on the way down.
        up_blocks: the same on the way up.
    """

    patch: Patch = 2
    widths: Widths = (48, 96, 128, 160)
    blocks: Layers = 2
    up_blocks: Layers = 1

    @property
    def multiple(self) -> int:
        """Height and width must be multiples of this many pixels."""
        return self.patch * 2 ** (len(self.widths) - 1)


class GeneratorSettings(Settings):
    """Size of the generator, whose stages meet the finest ones of the encoder.

    Args:
        widths: filters of each stage, from fine to coarse.
        blocks: residual blocks of two 3x3 convolutions per stage.
        latent: length of z; with one more number it is at least 16, which PyTorch and NumPy draw alike.
        condition: length of the vector that z becomes before it scales and shifts.
    """

    widths: Widths = (48, 96, 96)
    blocks: Layers = 1
    latent: Annotated[int, Field(ge=15)] = 16
    condition: Positive = 64


class Kernels(NamedTuple):
    """What the convolutions of a stage see.

    Args:
        within: sides of the two of each block, one for each axis.
        through: sides of the only one of one more block, or None: there is no such block.
    """

    within: tuple[int, ...]
    through: tuple[int, ...] | None = None

    @property
    def axes(self) -> int:
        """2 of planes, 3 of volumes."""
        return len(self.within)

    @property
    def cube(self) -> tuple[int, ...]:
        """Of the first and the last convolution."""
        return (3,) * self.axes

    @property
    def point(self) -> tuple[int, ...]:
        """Of a convolution that sees one pixel."""
        return (1,) * self.axes

    def norm(self, width: int) -> nn.BatchNorm2d | nn.BatchNorm3d:
        """A norm over the batch."""
        return nn.BatchNorm2d(width) if self.axes == 2 else nn.BatchNorm3d(width)


PLANAR = Kernels((3, 3))
SOLID = Kernels((3, 3, 3))
LAYERED = Kernels((1, 3, 3), through=(3, 1, 1))
"""Plane by plane, with one look at the neighbouring planes a stage."""


class Unfolding(nn.PixelShuffle):
    """(B, patch^2, [D,] h, w) -> (B, 1, [D,] patch h, patch w)."""

    def forward(self, x: Tensor) -> Tensor:
        """Planes are unfolded each by itself."""
        return super().forward(x) if x.dim() == 4 else super().forward(x.transpose(1, 2)).transpose(1, 2)


class NormedBlock(nn.Module):
    """x + conv(relu(norm(conv(relu(norm(x)))))), scaled and shifted after each norm where there is a condition."""

    def __init__(
        self, width: int, kernels: Kernels, sides: Sequence[tuple[int, ...]], condition: int | None = None
    ) -> None:
        """`sides` of each convolution; `condition`: length of the vector that scales and shifts, or None."""
        super().__init__()
        self.norms = nn.ModuleList(kernels.norm(width) for _ in sides)
        self.layers = nn.ModuleList(convolution(width, width, kernel) for kernel in sides)
        nn.init.zeros_(self.layers[-1].weight)  # type: ignore[arg-type]
        self.modulation = None if condition is None else nn.Linear(condition, 2 * width * len(sides))

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """x (B, width, [D,] H, W), condition (B, condition) -> the same shape."""
        inner, count = x, len(self.layers)
        told = [None] * count
        if self.modulation is not None:
            told = self.modulation(condition)[(..., *[None] * (x.dim() - 2))].chunk(count, dim=1)
        for norm, layer, said in zip(self.norms, self.layers, told, strict=True):
            inner = norm(inner)
            if said is not None:
                scale, shift = said.chunk(2, dim=1)
                inner = torch.addcmul(shift, inner, 1 + scale)
            inner = layer(relu(inner))
        return x + inner


class NormedStage(nn.Module):
    """Blocks of one width, all under the same condition."""

    def __init__(self, width: int, blocks: int, kernels: Kernels, condition: int | None = None) -> None:
        super().__init__()
        convolutions = [[kernels.within] * 2] * blocks + ([[kernels.through]] if kernels.through else [])
        self.blocks = nn.ModuleList(NormedBlock(width, kernels, sides, condition) for sides in convolutions)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """x (B, width, [D,] H, W), condition (B, condition) -> the same shape."""
        for block in self.blocks:
            x = block(x, condition)
        return x


class Pyramid(nn.Module):
    """Image to features, fine first: a residual U-Net that is also shown how close to the plane's middle a pixel is."""

    def __init__(self, image_channels: int, settings: PyramidSettings, kernels: Kernels = PLANAR) -> None:
        super().__init__()
        self.patch = settings.patch
        widths = settings.widths
        self.stem = convolution((image_channels + 2) * settings.patch**2, widths[0], kernels.cube)
        self.down = nn.ModuleList(NormedStage(width, settings.blocks, kernels) for width in widths)
        self.shrink = shrinking(widths, kernels.axes)
        self.up = nn.ModuleList(NormedStage(width, settings.up_blocks, kernels) for width in widths[:-1])
        self.grow = growing(widths, kernels.axes)
        self.norms = nn.ModuleList(kernels.norm(width) for width in widths)

    def forward(self, image: Tensor) -> list[Tensor]:
        """image (B, C, [D,] H, W) -> [(B, widths[k], [D,] H / (patch 2^k), W / (patch 2^k))], not negative."""
        near = closeness(image.shape[2:], image.device)
        shown = torch.cat([image, near.expand(len(image), *near.shape[1:])], dim=1)
        # Channels stand beside the rows while they take those in.
        folded = pixel_unshuffle(shown.movedim(1, -3), self.patch).movedim(-3, 1)
        x = self.stem(folded.contiguous(memory_format=layout(image.dim() - 2)))
        features = [self.down[0](x)]
        for shrink, stage in zip(self.shrink, self.down[1:], strict=True):
            features.append(stage(shrink(features[-1])))
        for level in reversed(range(len(self.up))):
            features[level] = self.up[level](features[level] + self.grow[level](features[level + 1]))
        return [relu(norm(level)) for norm, level in zip(self.norms, features, strict=True)]


class MaskGenerator(nn.Module):
    """Logits of a mask from the image's features and z, coarse to fine. Of a volume z is one for all planes."""

    def __init__(
        self, given: tuple[int, ...], patch: int, settings: GeneratorSettings, kernels: Kernels = PLANAR
    ) -> None:
        """`given` are the widths of the encoder's stages, the first of which is at 1 / `patch` of the size."""
        super().__init__()
        widths, condition = settings.widths, settings.condition
        self.width = widths[0]
        self.maps = nn.ModuleList(
            convolution(wide, own, kernels.point) for wide, own in zip(given, widths, strict=False)
        )
        self.embed = nn.Sequential(
            nn.Linear(settings.latent, condition), nn.ReLU(), nn.Linear(condition, condition), nn.ReLU()
        )
        self.stages = nn.ModuleList(NormedStage(width, settings.blocks, kernels, condition) for width in widths)
        self.grow = growing(widths, kernels.axes)
        self.norm = kernels.norm(widths[0])
        self.head = convolution(widths[0], patch**2, kernels.cube, zero=True)
        self.unfold = Unfolding(patch)

    def features(self, encoded: list[Tensor]) -> list[Tensor]:
        """Once an image: the encoder's features -> what `forward` takes of them, as wide as the stages."""
        return [layer(level) for layer, level in zip(self.maps, encoded, strict=False)]

    def forward(self, maps: list[Tensor], z: Tensor) -> Tensor:
        """maps of n images or of one, z (n, latent) -> logits (n, 1, [D,] H, W).

        What the finest map has beyond its own width, `patch`**2 maps, are logits that the mask's are added to.
        """
        condition = self.embed(z)
        finest, onto = maps[0].split_with_sizes([self.width, maps[0].shape[1] - self.width], dim=1)
        maps = [finest, *maps[1:]]
        x = maps[-1].expand(len(z), *maps[-1].shape[1:])
        for level in reversed(range(len(maps))):
            x = self.stages[level](x, condition)
            if level:
                x = maps[level - 1] + self.grow[level - 1](x)
        logits = self.head(relu(self.norm(x)))
        return self.unfold(logits + onto if onto.shape[1] else logits)


class JointEmptiness(nn.Module):
    """Whether a reader draws nothing: two layers on the features of all scales where a mask is expected.

    They also see the features near the middle, where readers are asked to look, and how large a mask is expected. The
    features learn from it, the mean mask does not. It says 0 at first.
    """

    def __init__(self, widths: tuple[int, ...], hidden: int) -> None:
        super().__init__()
        self.hidden, self.last = nn.Linear(2 * sum(widths) + 1, hidden), nn.Linear(hidden, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, features: list[Tensor], share: Tensor) -> Tensor:
        """features [(B, widths[k], [D,] h_k, w_k)], share (B, 1, [D,] H, W) of readers in [0, 1] -> logits (B,)."""
        share = share.detach()
        near = closeness(share.shape[2:], share.device)[:, :1]
        seen = [_pooled(level, weight) for weight in (share, near) for level in features]
        seen.append(share.flatten(2).sum(2).log1p())
        return self.last(relu(self.hidden(torch.cat(seen, dim=1))))[:, 0]


def _pooled(level: Tensor, weight: Tensor) -> Tensor:
    """Mean of features (B, width, [D,] h, w), weighted by (B or 1, 1, [D,] H, W): (B, width)."""
    space = tuple(range(2, level.dim()))
    pool: Callable[..., Tensor] = adaptive_avg_pool2d if len(space) == 2 else adaptive_avg_pool3d
    weight = pool(weight, level.shape[2:]) + 1e-6
    return (level * weight).sum(space) / weight.sum(space)
