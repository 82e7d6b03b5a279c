"""The denoisers f_theta(x_t, b, t): MONAI's diffusion U-Net, given the noisy mask and the image in one of two ways.

CIMD's takes them concatenated. SegDiff's (Amit et al. 2021, section 4) is D(E(F(x_t) + G(b), t), t): F is one 3x3
convolution of the noisy mask; G is a stack of residual in residual dense blocks (RRDB, Wang et al. 2018, "ESRGAN") on
the image, with a residual around the stack; E and D are the U-Net.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from monai.networks.nets import DiffusionModelUNet
from pydantic import model_validator
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, pixel_shuffle, pixel_unshuffle

from plurimask.settings import Layers, Patch, Positive, Settings, Widths, wrong

GROWTH = 32
"""Channels that each convolution of a dense block adds."""
RESIDUAL = 0.2
"""Factor on every residual branch of an RRDB, and its activation's negative slope (ESRGAN)."""


class DenoiserSettings(Settings):
    """Size of the U-Net. The defaults are the network of the released code: 85.6 M parameters at one image channel.

    Args:
        channels: filters at each level, from fine to coarse; multiples of 32.
        residual_blocks: residual blocks per level.
        attention: whether each level attends over its pixels; the middle block, at the last level's width, always does.
        head_channels: channels of one attention head.
        patch: pixels per side that a space-to-depth stem folds into channels before the first level (1: none).
    """

    channels: Widths = (128, 128, 256, 384, 512)
    residual_blocks: Layers = 2
    attention: tuple[bool, ...] = (False, False, False, True, False)
    head_channels: Positive = 64
    patch: Patch = 1

    @model_validator(mode="after")
    def _levels_agree(self) -> "DenoiserSettings":
        if len(self.channels) != len(self.attention):
            levels = len(self.channels)
            raise wrong(f"as many levels of attention as of channels, {levels}", got=len(self.attention))
        if any(width % 32 for width in self.channels):
            raise wrong("channels in multiples of 32 (group norm)", got=self.channels)
        attending = [width for width, on in zip(self.channels, self.attention, strict=True) if on]
        if any(width % self.head_channels for width in (*attending, self.channels[-1])):
            raise wrong("multiples of head_channels where channels attend, the last too", got=self.channels)
        return self

    @property
    def multiple(self) -> int:
        """Height and width must be multiples of this many pixels."""
        return self.patch * 2 ** (len(self.channels) - 1)


def make_unet(in_channels: int, out_channels: int, settings: DenoiserSettings) -> nn.Module:
    """The U-Net of these settings: (B, in_channels, H, W), t (B,) int64 -> (B, out_channels, H, W)."""
    net = DiffusionModelUNet(
        spatial_dims=2,
        in_channels=in_channels,
        out_channels=out_channels,
        channels=settings.channels,
        num_res_blocks=settings.residual_blocks,
        attention_levels=settings.attention,
        num_head_channels=settings.head_channels,
        # The time embedding is one constant a channel: a norm group of a single channel would cancel it.
        norm_num_groups=min(32, min(settings.channels) // 2),
    )
    for part in net.modules():
        if isinstance(part, nn.GroupNorm):
            part.register_forward_pre_hook(_in_single)
    return net.to(memory_format=torch.channels_last)


def _in_single(norm: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """What a norm is given, in single precision as on a GPU: a CPU normalises bfloat16 slowly."""
    return tuple(each.float() for each in given)


class Denoiser(nn.Module):
    """f_theta of CIMD: image and noisy mask concatenated."""

    def __init__(self, image_channels: int, output_channels: int, settings: DenoiserSettings) -> None:
        super().__init__()
        self.patch = settings.patch
        self.net = make_unet((1 + image_channels) * settings.patch**2, output_channels * settings.patch**2, settings)

    def forward(self, x_t: Tensor, image: Tensor, t: Tensor) -> Tensor:
        """x_t (B, 1, H, W), image (B, C, H, W), t (B,) int64 -> (B, output_channels, H, W)."""
        return pixel_shuffle(self.net(_folded(torch.cat([x_t, image], dim=1), self.patch), t), self.patch)


class SummedDenoiserSettings(DenoiserSettings):
    """Size of the U-Net and of what stands before it.

    Args:
        features: channels of F(x_t) and G(b).
        image_blocks: RRDBs of G.
    """

    fixed: ClassVar[Mapping[str, object]] = {"growth": GROWTH}

    features: Positive = 128
    image_blocks: Layers = 10


class SummedDenoiser(nn.Module):
    """f_theta of SegDiff: image and noisy mask encoded apart and summed."""

    def __init__(self, image_channels: int, output_channels: int, settings: SummedDenoiserSettings) -> None:
        super().__init__()
        self.patch = settings.patch
        self.mask_encoder = nn.Conv2d(settings.patch**2, settings.features, 3, padding=1)  # F
        self.image_encoder = _ImageEncoder(image_channels * settings.patch**2, settings)  # G
        self.net = make_unet(settings.features, output_channels * settings.patch**2, settings)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x_t: Tensor, image: Tensor, t: Tensor) -> Tensor:
        """x_t (B, 1, H, W), image (B, C, H, W), t (B,) int64 -> (B, output_channels, H, W)."""
        features = self.mask_encoder(_folded(x_t, self.patch)) + self.image_encoder(_folded(image, self.patch))
        return pixel_shuffle(self.net(features, t), self.patch)


class _ImageEncoder(nn.Module):
    """G: (B, C, H, W) -> (B, features, H, W)."""

    def __init__(self, in_channels: int, settings: SummedDenoiserSettings) -> None:
        super().__init__()
        width = settings.features
        self.start = nn.Conv2d(in_channels, width, 3, padding=1)
        self.blocks = nn.Sequential(*(_RRDB(width) for _ in range(settings.image_blocks)))
        self.end = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        shallow = self.start(image)
        return shallow + self.end(self.blocks(shallow))


class _RRDB(nn.Module):
    """Three dense blocks in a row, and a scaled residual around them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(_DenseBlock(width) for _ in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        return x + RESIDUAL * self.blocks(x)


class _DenseBlock(nn.Module):
    """Five convolutions, each on the block's input and everything before it; the last is the scaled residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        outs = [GROWTH] * 4 + [width]
        self.layers = nn.ModuleList(nn.Conv2d(width + k * GROWTH, out, 3, padding=1) for k, out in enumerate(outs))

    def forward(self, x: Tensor) -> Tensor:
        *inner, last = self.layers
        dense = x
        for layer in inner:
            dense = torch.cat([dense, leaky_relu(layer(dense), RESIDUAL)], dim=1)
        return x + RESIDUAL * last(dense)


def _folded(x: Tensor, patch: int) -> Tensor:
    """Squares of pixels as channels: (B, C, H, W) -> (B, C patch^2, H / patch, W / patch)."""
    return pixel_unshuffle(x, patch).contiguous(memory_format=torch.channels_last)
