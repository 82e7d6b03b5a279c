"""The denoiser of `flow`: a small residual U-Net on a noisy mask, to which the image's features are added.

`features` computes once what depends on the image alone: the features at each scale, made as wide as the stages that
they are added to, and `basis`, fine maps of the image. A step then costs a few convolutions at the resolution of the
stem; fine detail comes from the image,

    logit(pixel) = own(pixel) + sum_k coefficient_k(patch) basis_k(pixel)                          (1)
"""

import math
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import torch
from pydantic import field_validator
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle, relu

from plurimask.nets.image_encoder import ImageEncoderSettings
from plurimask.nets.residual import ResidualStage, convolution, growing, normalise, shrinking
from plurimask.nets.windows import Windows
from plurimask.settings import Layers, Patch, Settings, Widths, wrong

BASIS = 8
"""Maps of the image that a mask is put together from."""
CONDITION = 128
"""Length of the vector that carries the scalars."""
_WAVES = 8
"""Cosines that a scalar is told by."""


class MaskDenoiserSettings(Settings):
    """Size of the denoiser.

    Args:
        patch: pixels per side that a space-to-depth stem folds into channels, a power of 2.
        widths: filters of each stage, from fine to coarse.
        blocks: residual blocks of two 3x3 convolutions per stage, on the way down and again on the way up.
    """

    fixed: ClassVar[Mapping[str, object]] = {"basis": BASIS, "condition": CONDITION}

    patch: Patch = 2
    widths: Widths = (64, 128, 128)
    blocks: Layers = 1

    @field_validator("patch")
    @classmethod
    def _power_of_two(cls, patch: int) -> int:
        if patch & (patch - 1):
            raise wrong("a power of 2", got=patch)
        return patch

    @property
    def multiple(self) -> int:
        """Height and width must be multiples of this many pixels."""
        return self.patch * 2 ** (len(self.widths) - 1)


class ImageFeatures(NamedTuple):
    """What the denoiser takes from an image; one row an image.

    Args:
        maps: [(B, widths[k], H / (patch 2^k), W / (patch 2^k))].
        basis: (B, basis, patch^2, H / patch, W / patch).
    """

    maps: list[Tensor]
    basis: Tensor

    def cut(self, windows: Windows) -> "ImageFeatures":
        """A window of each image."""
        return ImageFeatures(windows.cut_levels(self.maps), windows.cut(self.basis, 2 ** (len(self.maps) - 1)))

    def rows(self, rows: Tensor) -> "ImageFeatures":
        """Those of the images in `rows`, (n,) int64."""
        return ImageFeatures([level[rows] for level in self.maps], self.basis[rows])


class MaskDenoiser(nn.Module):
    """Logits of the mask from a noisy one, from what the image gives, and from two scalars."""

    def __init__(self, encoder: ImageEncoderSettings, settings: MaskDenoiserSettings) -> None:
        super().__init__()
        self.settings = settings
        self.finest = encoder.patch
        self.first = int(math.log2(settings.patch // encoder.patch))
        pixels, widths = settings.patch**2, settings.widths
        given = encoder.widths[self.first : self.first + len(widths)]
        self.maps = nn.ModuleList(convolution(wide, own, 1) for wide, own in zip(given, widths, strict=True))
        self.basis = convolution(encoder.widths[0], BASIS * encoder.patch**2, 1)
        self.embed = nn.Sequential(nn.Linear(2 * _WAVES, CONDITION), nn.ReLU(), nn.Linear(CONDITION, CONDITION))
        self.stem = convolution(pixels, widths[0], 3)
        self.down = nn.ModuleList(ResidualStage(width, settings.blocks, CONDITION) for width in widths)
        self.shrink = shrinking(widths)
        self.up = nn.ModuleList(ResidualStage(width, settings.blocks, CONDITION) for width in widths[:-1])
        self.grow = growing(widths)
        self.head = convolution(widths[0], pixels + BASIS, 1, zero=True)

    def features(self, encoded: list[Tensor]) -> ImageFeatures:
        """Once an image: the encoder's features -> what `forward` takes of them."""
        used = encoded[self.first : self.first + len(self.maps)]
        maps = [layer(relu(normalise(level))) for layer, level in zip(self.maps, used, strict=True)]
        fine = pixel_shuffle(self.basis(relu(normalise(encoded[0]))), self.finest)
        basis = pixel_unshuffle(fine, self.settings.patch)
        return ImageFeatures(maps, basis.reshape(len(basis), BASIS, -1, *basis.shape[2:]))

    def forward(self, x: Tensor, given: ImageFeatures, time: Tensor, rank: Tensor) -> Tensor:
        """x (n, 1, H, W), given of n images or of one, time and rank (n,) in [0, 1] -> logits (n, 1, H, W)."""
        condition = relu(self.embed(torch.cat([_waves(time), _waves(rank)], dim=1)))
        folded = pixel_unshuffle(x, self.settings.patch).contiguous(memory_format=torch.channels_last)
        levels = [self.down[0](self.stem(folded) + given.maps[0], condition)]
        for shrink, stage, seen in zip(self.shrink, self.down[1:], given.maps[1:], strict=True):
            levels.append(stage(shrink(levels[-1]) + seen, condition))
        for level in reversed(range(len(self.up))):
            levels[level] = self.up[level](levels[level] + self.grow[level](levels[level + 1]), condition)
        own, coefficients = self.head(relu(normalise(levels[0]))).split([self.settings.patch**2, BASIS], dim=1)
        return pixel_shuffle(own + (coefficients[:, :, None] * given.basis).sum(1), self.settings.patch)  # (1)


def _waves(scalar: Tensor) -> Tensor:
    """(n,) in [0, 1] -> (n, _WAVES), cosines of up to _WAVES half turns."""
    turns = torch.arange(1, _WAVES + 1, device=scalar.device)
    return torch.cos(math.pi * turns * scalar[:, None])
