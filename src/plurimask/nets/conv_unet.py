"""The plain convolutional U-Net of the Probabilistic U-Net (Kohl et al. 2018), in the form of its released code.

Stages of 3x3 convolutions with ReLU; 2x2 average pooling on the way down; on the way up bilinear upsampling with
aligned corners, and the features of the same size concatenated behind. Weights start as He et al. 2015 have it.

Of volumes (B, C, D, H, W) convolutions are 3x3x3, and all scales have the image's planes, which lie further apart than
pixels. A volume of one plane is then what an image is.
"""

from functools import partial
from itertools import pairwise
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import interpolate

from plurimask.nets import residual
from plurimask.settings import Layers, Settings, Widths

convolution = partial(residual.convolution, bias=0.001)
"""With biases of about 0.001 at first, as the released code has them."""


class ConvUnetSettings(Settings):
    """Size of the U-Net; the defaults are those of the released code.

    Args:
        widths: filters of each stage, from fine to coarse.
        convolutions: 3x3 convolutions per stage.
        axes: 2 of images, 3 of volumes.
    """

    widths: Widths = (32, 64, 128, 192, 192, 192, 192)
    convolutions: Layers = 3
    # Left out where it is the default, so that what is compared with earlier runs stays the same.
    axes: Annotated[Literal[2, 3], Field(exclude_if=lambda axes: axes == 2)] = 2

    @property
    def multiple(self) -> int:
        """Height and width must be multiples of this many pixels."""
        return 2 ** (len(self.widths) - 1)


class ConvStages(nn.Module):
    """The way down: one feature map a stage. Also the trunk of the encoders of a latent."""

    def __init__(self, in_channels: int, settings: ConvUnetSettings) -> None:
        super().__init__()
        widths = pairwise((in_channels, *settings.widths))
        self.halve = nn.AvgPool2d(2) if settings.axes == 2 else nn.AvgPool3d((1, 2, 2))
        self.stages = nn.ModuleList(
            convolutions(before, after, settings.convolutions, (3,) * settings.axes) for before, after in widths
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """image (B, C, [D,] H, W) -> [(B, widths[k], [D,] H / 2^k, W / 2^k)]."""
        features: list[Tensor] = []
        x = image.contiguous(memory_format=residual.layout(image.dim() - 2))
        for stage in self.stages:
            features.append(stage(self.halve(features[-1]) if features else x))
        return features


class ConvUnet(nn.Module):
    """Image to features of its own size; a head of the caller's makes logits of them.

    Attributes:
        width: channels of the features.
    """

    def __init__(self, in_channels: int, settings: ConvUnetSettings) -> None:
        super().__init__()
        self.width = settings.widths[0]
        self.down = ConvStages(in_channels, settings)
        self.up = nn.ModuleList(
            convolutions(coarse + fine, fine, settings.convolutions, (3,) * settings.axes)
            for fine, coarse in pairwise(settings.widths)
        )

    def forward(self, image: Tensor) -> Tensor:
        """image (B, C, [D,] H, W) -> (B, width, [D,] H, W), 0 or more."""
        return self.rise(self.down(image))

    def rise(self, stages: list[Tensor]) -> Tensor:
        """The way up, from what `down` gives: the same features."""
        *skips, x = stages
        for stage, skip in zip(reversed(self.up), reversed(skips), strict=True):
            mode = "bilinear" if x.dim() == 4 else "trilinear"
            raised = interpolate(x, size=skip.shape[2:], mode=mode, align_corners=True)
            x = stage(torch.cat([raised, skip], dim=1))
        return x


def convolutions(in_channels: int, width: int, count: int, kernel: int | tuple[int, ...]) -> nn.Sequential:
    """`count` convolutions to `width` channels, a ReLU after each."""
    layers: list[nn.Module] = []
    for channels in (in_channels, *[width] * (count - 1)):
        layers += [convolution(channels, width, kernel), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
