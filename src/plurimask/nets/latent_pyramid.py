"""PHiSeg's nets: a Gaussian over latent maps at several resolutions, and the decoder from these maps to logits.

Level 0 is the finest. Of K resolution levels the coarsest L have a latent, five as published, or all where there are
fewer. The latent of level l has the image's sides over 2^(l + K - L), and depends on the image and on the latent of
level l + 1; the logits of level l have its sides over 2^l.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal
from torch.nn.functional import softplus

from plurimask.settings import Layers, Positive, Settings, Widths

LATENT_LEVELS = 5
MIN_SCALE = 1e-5
"""Smallest standard deviation: the released code adds 1e-10 to every variance in its KL."""


class PyramidSettings(Settings):
    """Size of the nets; the defaults are the published ones.

    Args:
        widths: filters at each resolution level, from fine to coarse.
        latent: numbers that a latent map has at each of its pixels.
        convolutions: 3x3 convolutions that prior and posterior have at each resolution level.
    """

    fixed: ClassVar[Mapping[str, object]] = {"latent_levels": LATENT_LEVELS}

    widths: Widths = (32, 64, 128, 192, 192, 192, 192)
    latent: Positive = 2
    convolutions: Layers = 3

    @property
    def skipped(self) -> int:
        """Resolution levels above the finest latent, K - L."""
        return max(len(self.widths) - LATENT_LEVELS, 0)

    @property
    def multiple(self) -> int:
        """Height and width must be multiples of this many pixels."""
        return 2 ** (len(self.widths) - 1)

    @property
    def latent_scales(self) -> list[int]:
        """Pixels a side that each level's latent map has for one of its own, from fine to coarse."""
        return [2**level for level in range(self.skipped, len(self.widths))]


class LatentPyramid(nn.Module):
    """Prior or posterior: what it is shown to one axis-aligned Gaussian a level, each given the latent below it."""

    def __init__(self, in_channels: int, settings: PyramidSettings) -> None:
        super().__init__()
        widths, levels, latent = settings.widths, len(settings.latent_scales), settings.latent
        pooled = [[nn.AvgPool2d(2)] if level else [] for level in range(len(widths))]
        self.stages = nn.ModuleList(
            nn.Sequential(*pool, *_convolutions(before, width, settings.convolutions))
            for pool, (before, width) in zip(pooled, pairwise((in_channels, *widths)), strict=True)
        )
        self.skipped = settings.skipped
        risen = latent * widths[0]
        self.rising = nn.ModuleList(nn.Sequential(_up(), *_convolutions(latent, risen, 2)) for _ in range(levels - 1))
        self.mixing = nn.ModuleList(
            nn.Sequential(*_convolutions(widths[level + self.skipped] + risen, widths[level], 2))
            for level in range(levels - 1)
        )
        self.heads = nn.ModuleList(_Head(widths[level], latent, kernel=1) for level in range(levels - 1))
        self.heads.append(_Head(widths[-1], latent, kernel=3))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(
        self, shown: Tensor, choose: Callable[[int, "Independent[Normal]"], Tensor]
    ) -> tuple[tuple["Independent[Normal]", ...], tuple[Tensor, ...]]:
        """shown (B, C, H, W) -> Gaussians and latents of all levels, from fine to coarse, each (B, latent, h, w).

        `choose(level, gaussian)` gives the latent of a level, on which the finer ones then depend.
        """
        features = [shown.contiguous(memory_format=torch.channels_last)]
        for stage in self.stages:
            features.append(stage(features[-1]))
        gaussians: list[Independent[Normal]] = []
        latents: list[Tensor] = []
        for level in reversed(range(len(self.heads))):
            seen = features[1 + level + self.skipped]
            if latents:
                seen = self.mixing[level](torch.cat([seen, self.rising[level](latents[-1])], dim=1))
            gaussians.append(self.heads[level](seen))
            latents.append(choose(level, gaussians[-1]))
        return tuple(reversed(gaussians)), tuple(reversed(latents))


class PyramidDecoder(nn.Module):
    """Latents to logits of the foreground at each level; it does not see the image."""

    def __init__(self, settings: PyramidSettings) -> None:
        super().__init__()
        widths, levels, skipped = settings.widths, len(settings.latent_scales), settings.skipped
        self.opening = nn.ModuleList(
            nn.Sequential(
                *_convolutions(settings.latent, width, 2),
                *(layer for _ in range(skipped) for layer in (_up(), *_convolutions(width, width, 1))),
            )
            for width in widths[:levels]
        )
        merged = [*widths[skipped:-1], widths[levels - 1]]
        self.rising = nn.ModuleList(
            nn.Sequential(_up(), *_convolutions(merged[level + 1], widths[level], 1)) for level in range(levels - 1)
        )
        self.merging = nn.ModuleList(
            nn.Sequential(*_convolutions(2 * widths[level], merged[level], 2)) for level in range(levels - 1)
        )
        self.heads = nn.ModuleList(_initialise(nn.Conv2d(width, 1, 1)) for width in merged)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, latents: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Latents from fine to coarse -> each level's own logits, (B, 1, H / 2^level, W / 2^level), in that order."""
        opened = [opening(z) for opening, z in zip(self.opening, latents, strict=True)]
        merged = [opened[-1]]
        for level in reversed(range(len(opened) - 1)):
            both = torch.cat([opened[level], self.rising[level](merged[-1])], dim=1)
            merged.append(self.merging[level](both))
        return tuple(head(features).float() for head, features in zip(self.heads, reversed(merged), strict=True))


class _Head(nn.Module):
    def __init__(self, in_channels: int, latent: int, kernel: int) -> None:
        super().__init__()
        self.mean = nn.Conv2d(in_channels, latent, kernel, padding=kernel // 2)
        self.scale = nn.Conv2d(in_channels, latent, 1)
        # So that prior and posterior begin as one. With weights as He et al. have them, which the released code takes,
        # their KL begins near a million nats, and Adam's second moments keep its gradient for thousands of steps.
        for weight in self.parameters():
            nn.init.zeros_(weight)

    def forward(self, seen: Tensor) -> "Independent[Normal]":
        scale = softplus(self.scale(seen).float()) + MIN_SCALE
        # Unchecked, so that a diverging run ends at its loss, which is not finite, and says so.
        return Independent(Normal(self.mean(seen).float(), scale, validate_args=False), 3, validate_args=False)


def _convolutions(in_channels: int, width: int, count: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for ins in (in_channels, *[width] * (count - 1)):
        convolution = _initialise(nn.Conv2d(ins, width, 3, padding=1, bias=False))
        layers += [convolution, nn.BatchNorm2d(width, eps=1e-3, momentum=0.01), nn.ReLU()]
    return layers


def _up() -> nn.Upsample:
    return nn.Upsample(scale_factor=2, mode="bilinear")


def _initialise(convolution: nn.Conv2d) -> nn.Conv2d:
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    return convolution
