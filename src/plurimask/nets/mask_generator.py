"""Nets that draw a mask in one evaluation: an encoder of the image, two heads, and a generator from features and z.

All are normalised over the batch. In evaluation that norm is a fixed scale and shift, so that a mask depends on nothing
but its own image and z.
"""

from itertools import pairwise
from typing import Annotated

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, pixel_shuffle, pixel_unshuffle, relu

from plurimask.nets.image_encoder import closeness
from plurimask.settings import Natural, Patch, Settings, Widths, wrong


class EncoderSettings(Settings):
    """Size of the encoder.

    Args:
        patch: pixels per side that a space-to-depth stem folds into channels; at 1 the finest stage sees every pixel.
        widths: filters of each stage, from fine to coarse.
        blocks: residual blocks of two 3x3 convolutions of each stage.
    """

    patch: Patch = 1
    widths: Widths = (32, 96, 160)
    blocks: tuple[Natural, ...] = (1, 1, 3)

    @model_validator(mode="after")
    def _as_many(self) -> "EncoderSettings":
        if len(self.blocks) != len(self.widths):
            raise wrong(f"blocks of each of the {len(self.widths)} stages", got=self.blocks)
        return self

    @property
    def multiple(self) -> int:
        """Height and width must be multiples of this many pixels."""
        return self.patch * 2 ** (len(self.widths) - 1)


class GeneratorSettings(Settings):
    """Size of the generator, whose stages meet the finest ones of the encoder.

    Args:
        widths: filters of each stage, from fine to coarse.
        latent: length of z; with one more number it is at least 16, which PyTorch and NumPy draw alike.
    """

    widths: Widths = (32, 96, 160)
    latent: Annotated[int, Field(ge=15)] = 16


class NormedConvolution(nn.Module):
    """relu(norm(convolution)), scaled and shifted by z after the norm where there is a z."""

    def __init__(self, given: int, width: int, latent: int = 0, stride: int = 1) -> None:
        super().__init__()
        self.layer, self.norm = _three_by_three(given, width, stride), nn.BatchNorm2d(width)
        self.modulation = nn.Linear(latent, 2 * width) if latent else None
        if self.modulation is not None:
            # All of z together moves a scale by 0.2 at first.
            nn.init.normal_(self.modulation.weight, std=0.2 / latent**0.5)
            nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        """x (B, given, H, W), z (B, latent) -> (B, width, H / stride, W / stride), not negative."""
        x = self.norm(self.layer(x))
        if self.modulation is not None:
            scale, shift = self.modulation(z)[:, :, None, None].chunk(2, dim=1)
            x = x * (1 + scale) + shift
        return relu(x)


class NormedBlock(nn.Module):
    """relu(x + norm(convolution(relu(norm(convolution(x)))))), where z scales and shifts after the first norm."""

    def __init__(self, width: int, latent: int = 0) -> None:
        super().__init__()
        self.first = NormedConvolution(width, width, latent)
        self.second, self.norm = _three_by_three(width, width), nn.BatchNorm2d(width)

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        """x (B, width, H, W), z (B, latent) -> (B, width, H, W), not negative."""
        return relu(x + self.norm(self.second(self.first(x, z))))


def _three_by_three(given: int, width: int, stride: int = 1) -> nn.Conv2d:
    layer = nn.Conv2d(given, width, 3, stride, padding=1, bias=False)
    return layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


class Encoder(nn.Module):
    """Image to features, fine first. It is also shown how close each pixel is to the middle."""

    def __init__(self, image_channels: int, settings: EncoderSettings) -> None:
        super().__init__()
        widths, self.patch = settings.widths, settings.patch
        self.stem = NormedConvolution((image_channels + 2) * self.patch**2, widths[0])
        self.stages = nn.ModuleList(
            nn.Sequential(*(NormedBlock(width) for _ in range(count)))
            for width, count in zip(widths, settings.blocks, strict=True)
        )
        self.shrink = nn.ModuleList(NormedConvolution(fine, coarse, stride=2) for fine, coarse in pairwise(widths))

    def forward(self, image: Tensor) -> list[Tensor]:
        """image (B, C, H, W) -> [(B, widths[k], H / (patch 2^k), W / (patch 2^k))], not negative."""
        shown = torch.cat([image, closeness(image.shape[2:], image.device).expand(len(image), -1, -1, -1)], dim=1)
        folded = pixel_unshuffle(shown, self.patch).contiguous(memory_format=torch.channels_last)
        features = [self.stages[0](self.stem(folded))]
        for shrink, stage in zip(self.shrink, self.stages[1:], strict=True):
            features.append(stage(shrink(features[-1])))
        return features


class MeanHead(nn.Module):
    """The mean mask: each stage's own say, the coarse ones enlarged, added up."""

    def __init__(self, widths: tuple[int, ...], patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.finest = nn.Conv2d(widths[0], patch**2, 1)
        self.coarser = nn.ModuleList(nn.Conv2d(width, 1, 1) for width in widths[1:])

    def forward(self, features: list[Tensor]) -> Tensor:
        """features [(B, widths[k], H / (patch 2^k), W / (patch 2^k))] -> logits (B, 1, H, W), float32."""
        layers = [self.finest, *self.coarser]
        said = [layer(level).float() for layer, level in zip(layers, features, strict=True)]
        mean = said.pop()
        while said:
            mean = interpolate(mean, scale_factor=2, mode="bilinear") + said.pop()
        return pixel_shuffle(mean, self.patch)


class EmptinessHead(nn.Module):
    """Whether a reader draws nothing: two layers on what all stages see, and on how large a mask is expected.

    Of each stage they see the mean, the maximum, and the mean where a mask is expected. The features learn from it, the
    mean mask does not.
    """

    def __init__(self, widths: tuple[int, ...], patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.hidden, self.last = nn.Linear(3 * sum(widths) + 1, widths[-1]), nn.Linear(widths[-1], 1)

    def forward(self, features: list[Tensor], share: Tensor) -> Tensor:
        """features as of `MeanHead`, share (B, 1, H, W) of readers in [0, 1] -> logits (B,)."""
        share, seen = share.detach(), []
        for number, features_of_stage in enumerate(features):
            level, weight = features_of_stage.float(), avg_pool2d(share, self.patch * 2**number)
            expected = (level * weight).sum((2, 3)) / (weight.sum((2, 3)) + _LEAST)
            seen += [level.mean((2, 3)), level.amax((2, 3)), expected]
        seen.append(share.sum((2, 3)).log1p())
        return self.last(relu(self.hidden(torch.cat(seen, dim=1))))[:, 0]


class MaskGenerator(nn.Module):
    """Logits of a mask from the image's features and z, coarse to fine."""

    def __init__(self, given: tuple[int, ...], patch: int, settings: GeneratorSettings) -> None:
        """`given` are the widths of the encoder's stages, the first of which is at 1 / `patch` of the size."""
        super().__init__()
        widths, self.patch = settings.widths, patch
        self.maps = nn.ModuleList(nn.Conv2d(wide, own, 1) for wide, own in zip(given, widths, strict=False))
        self.stages = nn.ModuleList(NormedBlock(width, settings.latent) for width in widths)
        self.grow = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for fine, coarse in pairwise(widths))
        self.head = nn.Conv2d(widths[0], patch**2, 1)

    def features(self, encoded: list[Tensor]) -> list[Tensor]:
        """Once an image: the encoder's features -> what `forward` takes of them, as wide as the stages."""
        return [layer(level) for layer, level in zip(self.maps, encoded, strict=False)]

    def forward(self, maps: list[Tensor], z: Tensor) -> Tensor:
        """maps of n images or of one, z (n, latent) -> logits (n, 1, H, W), float32.

        What the finest map has beyond its own width, `patch`**2 maps, are logits that the mask's are added to.
        """
        width = self.maps[0].out_channels
        onto, maps = maps[0][:, width:], [maps[0][:, :width], *maps[1:]]
        # Not len(z), which would fix the number of masks in an export.
        x = self.stages[-1](maps[-1].expand(z.shape[0], -1, -1, -1), z)
        for level in reversed(range(len(self.grow))):
            x = self.stages[level](maps[level] + interpolate(self.grow[level](x), scale_factor=2), z)
        logits = self.head(x).float()
        return pixel_shuffle(logits + onto if onto.shape[1] else logits, self.patch)


_LEAST = 1e-3
"""Pixels added to the weight, so that there is a mean where no mask is expected."""
