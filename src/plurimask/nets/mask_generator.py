"""Nets that draw a mask in one evaluation: a pyramid of features of the image, and a generator from features and z.

Both are residual and normalised over the batch. In evaluation that norm is a fixed scale and shift, so that a mask
depends on nothing but its own image and z, and a crop sees what the whole image sees.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, pixel_shuffle, pixel_unshuffle, relu

from plurimask.nets.image_encoder import closeness
from plurimask.nets.residual import convolution, growing, shrinking
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


class NormedBlock(nn.Module):
    """x + conv(relu(norm(conv(relu(norm(x)))))), scaled and shifted after each norm where there is a condition."""

    def __init__(self, width: int, condition: int | None = None) -> None:
        """`condition` is the length of the vector that scales and shifts, or None."""
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(2))
        self.layers = nn.ModuleList(convolution(width, width, 3) for _ in range(2))
        nn.init.zeros_(self.layers[1].weight)  # type: ignore[arg-type]
        self.modulation = None if condition is None else nn.Linear(condition, 4 * width)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """x (B, width, H, W), condition (B, condition) -> (B, width, H, W)."""
        inner = x
        told = [None, None] if self.modulation is None else self.modulation(condition)[:, :, None, None].chunk(2, dim=1)
        for norm, layer, said in zip(self.norms, self.layers, told, strict=True):
            inner = norm(inner)
            if said is not None:
                scale, shift = said.chunk(2, dim=1)
                inner = torch.addcmul(shift, inner, 1 + scale)
            inner = layer(relu(inner))
        return x + inner


class NormedStage(nn.Module):
    """Blocks of one width, all under the same condition."""

    def __init__(self, width: int, blocks: int, condition: int | None = None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(NormedBlock(width, condition) for _ in range(blocks))

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """x (B, width, H, W), condition (B, condition) -> (B, width, H, W)."""
        for block in self.blocks:
            x = block(x, condition)
        return x


class Pyramid(nn.Module):
    """Image to features, fine first: a residual U-Net that is also shown how close each pixel is to the middle."""

    def __init__(self, image_channels: int, settings: PyramidSettings) -> None:
        super().__init__()
        self.patch = settings.patch
        widths = settings.widths
        self.stem = convolution((image_channels + 2) * settings.patch**2, widths[0], 3)
        self.down = nn.ModuleList(NormedStage(width, settings.blocks) for width in widths)
        self.shrink = shrinking(widths)
        self.up = nn.ModuleList(NormedStage(width, settings.up_blocks) for width in widths[:-1])
        self.grow = growing(widths)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)

    def forward(self, image: Tensor) -> list[Tensor]:
        """image (B, C, H, W) -> [(B, widths[k], H / (patch 2^k), W / (patch 2^k))], not negative."""
        shown = torch.cat([image, closeness(image.shape[2:], image.device).expand(len(image), -1, -1, -1)], dim=1)
        x = self.stem(pixel_unshuffle(shown, self.patch).contiguous(memory_format=torch.channels_last))
        features = [self.down[0](x)]
        for shrink, stage in zip(self.shrink, self.down[1:], strict=True):
            features.append(stage(shrink(features[-1])))
        for level in reversed(range(len(self.up))):
            features[level] = self.up[level](features[level] + self.grow[level](features[level + 1]))
        return [relu(norm(level)) for norm, level in zip(self.norms, features, strict=True)]


class MaskGenerator(nn.Module):
    """Logits of a mask from the image's features and z, coarse to fine."""

    def __init__(self, given: tuple[int, ...], patch: int, settings: GeneratorSettings) -> None:
        """`given` are the widths of the encoder's stages, the first of which is at 1 / `patch` of the size."""
        super().__init__()
        self.patch = patch
        widths, condition = settings.widths, settings.condition
        self.maps = nn.ModuleList(convolution(wide, own, 1) for wide, own in zip(given, widths, strict=False))
        self.embed = nn.Sequential(
            nn.Linear(settings.latent, condition), nn.ReLU(), nn.Linear(condition, condition), nn.ReLU()
        )
        self.stages = nn.ModuleList(NormedStage(width, settings.blocks, condition) for width in widths)
        self.grow = growing(widths)
        self.norm = nn.BatchNorm2d(widths[0])
        self.head = convolution(widths[0], patch**2, 3, zero=True)

    def features(self, encoded: list[Tensor]) -> list[Tensor]:
        """Once an image: the encoder's features -> what `forward` takes of them, as wide as the stages."""
        return [layer(level) for layer, level in zip(self.maps, encoded, strict=False)]

    def forward(self, maps: list[Tensor], z: Tensor) -> Tensor:
        """maps of n images or of one, z (n, latent) -> logits (n, 1, H, W).

        What the finest map has beyond its own width, `patch`**2 maps, are logits that the mask's are added to.
        """
        condition, width = self.embed(z), self.maps[0].out_channels
        onto, maps = maps[0][:, width:], [maps[0][:, :width], *maps[1:]]
        x = maps[-1].expand(len(z), -1, -1, -1)
        for level in reversed(range(len(maps))):
            x = self.stages[level](x, condition)
            if level:
                x = maps[level - 1] + self.grow[level - 1](x)
        logits = self.head(relu(self.norm(x)))
        return pixel_shuffle(logits + onto if onto.shape[1] else logits, self.patch)


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
        """features [(B, widths[k], h_k, w_k)], share (B, 1, H, W) of readers in [0, 1] -> logits (B,)."""
        share = share.detach()
        near = closeness(share.shape[2:], share.device)[:, :1]
        seen = [_pooled(level, weight) for weight in (share, near) for level in features]
        seen.append(share.sum((2, 3)).log1p())
        return self.last(relu(self.hidden(torch.cat(seen, dim=1))))[:, 0]


def _pooled(level: Tensor, weight: Tensor) -> Tensor:
    """Mean of features (B, width, h, w), each pixel as heavy as its weight (B or 1, 1, H, W) says: (B, width)."""
    weight = adaptive_avg_pool2d(weight, (level.shape[2], level.shape[3])) + 1e-6
    return (level * weight).sum((2, 3)) / weight.sum((2, 3))
