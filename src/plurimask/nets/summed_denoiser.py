"""SegDiff's denoiser (Amit et al. 2021, section 4): D(E(F(x_t) + G(b), t), t).

F is one 3x3 convolution of the noisy mask. G is a stack of residual in residual dense blocks (RRDB, Wang et al. 2018,
"ESRGAN") on the image, with a residual around the stack. E and D are the U-Net that `Denoiser` uses too.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, pixel_shuffle, pixel_unshuffle

from plurimask.nets.denoiser import DenoiserSettings, make_unet
from plurimask.settings import Positive

RESIDUAL = 0.2  # factor on every residual branch of an RRDB, and its activation's negative slope (ESRGAN)


class SummedDenoiserSettings(DenoiserSettings):
    """Size of the U-Net and of what stands before it.

    Args:
        features: channels of F(x_t) and G(b).
        image_blocks: RRDBs of G.
        growth: channels that each convolution of a dense block adds.
    """

    features: Positive = 128
    image_blocks: Positive = 10
    growth: Positive = 32


class SummedDenoiser(nn.Module):
    """f_theta(x_t, b, t)."""

    def __init__(self, image_channels: int, output_channels: int, settings: SummedDenoiserSettings) -> None:
        super().__init__()
        self.patch = settings.patch
        self.mask_encoder = nn.Conv2d(settings.patch**2, settings.features, 3, padding=1)  # F
        self.image_encoder = _ImageEncoder(image_channels * settings.patch**2, settings)  # G
        self.net = make_unet(settings.features, output_channels * settings.patch**2, settings)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x_t: Tensor, image: Tensor, t: Tensor) -> Tensor:
        """x_t (B, 1, H, W), image (B, C, H, W), t (B,) int64 -> (B, output_channels, H, W)."""
        features = self.mask_encoder(self._fold(x_t)) + self.image_encoder(self._fold(image))
        return pixel_shuffle(self.net(features, t), self.patch)

    def _fold(self, x: Tensor) -> Tensor:
        return pixel_unshuffle(x, self.patch).contiguous(memory_format=torch.channels_last)


class _ImageEncoder(nn.Module):
    """G: (B, C, H, W) -> (B, features, H, W)."""

    def __init__(self, in_channels: int, settings: SummedDenoiserSettings) -> None:
        super().__init__()
        width = settings.features
        self.start = nn.Conv2d(in_channels, width, 3, padding=1)
        self.blocks = nn.Sequential(*(_RRDB(width, settings.growth) for _ in range(settings.image_blocks)))
        self.end = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        shallow = self.start(image)
        return shallow + self.end(self.blocks(shallow))


class _RRDB(nn.Module):
    """Three dense blocks in a row, and a scaled residual around them."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(_DenseBlock(width, growth) for _ in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        return x + RESIDUAL * self.blocks(x)


class _DenseBlock(nn.Module):
    """Five convolutions, each on the block's input and everything before it; the last is the scaled residual."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        outs = [growth] * 4 + [width]
        self.layers = nn.ModuleList(nn.Conv2d(width + k * growth, out, 3, padding=1) for k, out in enumerate(outs))

    def forward(self, x: Tensor) -> Tensor:
        *inner, last = self.layers
        dense = x
        for layer in inner:
            dense = torch.cat([dense, leaky_relu(layer(dense), RESIDUAL)], dim=1)
        return x + RESIDUAL * last(dense)
