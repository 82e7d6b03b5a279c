"""Residual blocks that are indifferent to the size of the image: nothing in them looks beyond a convolution's reach.

A group norm would take its statistics over the whole image, so that a crop and the image around it disagree; here each
pixel is normalised over its own channels.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import relu


def normalise(x: Tensor) -> Tensor:
    """Each pixel of x (B, C, H, W) divided by the root mean square of its channels."""
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-4)


def layout(axes: int) -> torch.memory_format:
    """In which convolutions of planes (2 axes) and of volumes (3) are fastest on a CPU."""
    return torch.channels_last if axes == 2 else torch.channels_last_3d


def convolution(
    in_channels: int, out_channels: int, kernel: int | tuple[int, ...], *, zero: bool = False, bias: float = 0.0
) -> nn.Conv2d | nn.Conv3d:
    """A convolution that keeps the size; weights as in He et al. 2015.

    `kernel`: its side in a plane, or one side for each axis. `zero`: it says 0 at first. `bias`: standard deviation of
    the biases at first.
    """
    sides = (kernel, kernel) if isinstance(kernel, int) else kernel
    layer = _CONVOLUTIONS[len(sides)](in_channels, out_channels, sides, padding=tuple(side // 2 for side in sides))
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    if zero:
        nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.normal_(layer.bias, std=bias) if bias else nn.init.zeros_(layer.bias)
    return layer.to(memory_format=layout(len(sides)))  # type: ignore[call-overload]


_CONVOLUTIONS: dict[int, Callable[..., nn.Conv2d | nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}


class ResidualBlock(nn.Module):
    """x + conv(relu(norm(conv(relu(norm(x)))))), scaled and shifted after the second norm where there is a condition.

    It says x at first.
    """

    def __init__(self, width: int, condition: int | None = None) -> None:
        """`condition` is the length of the vector that scales and shifts, or None."""
        super().__init__()
        self.first = convolution(width, width, 3)
        self.last = convolution(width, width, 3, zero=True)
        self.modulation = None if condition is None else nn.Linear(condition, 2 * width)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """x (B, width, H, W), condition (B, condition) -> (B, width, H, W)."""
        inner = normalise(self.first(relu(normalise(x))))
        if self.modulation is not None:
            scale, shift = self.modulation(condition)[:, :, None, None].chunk(2, dim=1)
            inner = torch.addcmul(shift, inner, 1 + scale)
        return x + self.last(relu(inner))


class ResidualStage(nn.Module):
    """Residual blocks of one width, all under the same condition."""

    def __init__(self, width: int, blocks: int, condition: int | None = None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ResidualBlock(width, condition) for _ in range(blocks))

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """x (B, width, H, W), condition (B, condition) -> (B, width, H, W)."""
        for block in self.blocks:
            x = block(x, condition)
        return x


def shrinking(widths: tuple[int, ...], axes: int = 2) -> nn.ModuleList:
    """Between the stages on the way down: a 2x2 convolution of stride 2 from each width to the next; planes stay."""
    half, layer = (1, 2, 2)[-axes:], _CONVOLUTIONS[axes]
    return nn.ModuleList(
        layer(fine, coarse, half, stride=half).to(memory_format=layout(axes))  # type: ignore[call-overload]
        for fine, coarse in pairwise(widths)
    )


def growing(widths: tuple[int, ...], axes: int = 2) -> nn.ModuleList:
    """Between the stages on the way up, fine first: each coarse pixel becomes 2x2 fine ones (1x1 convolution)."""
    if axes == 3:
        return nn.ModuleList(
            nn.ConvTranspose3d(coarse, fine, (1, 2, 2), stride=(1, 2, 2)).to(memory_format=layout(axes))  # type: ignore[call-overload]
            for fine, coarse in pairwise(widths)
        )
    return nn.ModuleList(
        nn.Sequential(convolution(coarse, 4 * fine, 1), nn.PixelShuffle(2)) for fine, coarse in pairwise(widths)
    )
