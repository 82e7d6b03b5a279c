"""Residual blocks that are indifferent to the size of the image: nothing in them looks beyond a convolution's reach.

A group norm would take its statistics over the whole image, so that a crop and the image around it disagree; here each
pixel is normalised over its own channels.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import relu


def normalise(x: Tensor) -> Tensor:
    """Each pixel of x (B, C, H, W) divided by the root mean square of its channels."""
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-4)


def convolution(
    in_channels: int, out_channels: int, kernel: int, *, zero: bool = False, bias: float = 0.0
) -> nn.Conv2d:
    """A convolution that keeps the size; weights as in He et al. 2015.

    `zero`: it says 0 at first. `bias`: standard deviation of the biases at first.
    """
    layer = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    if zero:
        nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.normal_(layer.bias, std=bias) if bias else nn.init.zeros_(layer.bias)
    return layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


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


def shrinking(widths: tuple[int, ...]) -> nn.ModuleList:
    """Between the stages on the way down: a 2x2 convolution of stride 2 from each width to the next."""
    return nn.ModuleList(
        nn.Conv2d(fine, coarse, 2, stride=2).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for fine, coarse in pairwise(widths)
    )


def growing(widths: tuple[int, ...]) -> nn.ModuleList:
    """Between the stages on the way up, fine first: each coarse pixel becomes 2x2 fine ones (1x1 convolution)."""
    return nn.ModuleList(
        nn.Sequential(convolution(coarse, 4 * fine, 1), nn.PixelShuffle(2)) for fine, coarse in pairwise(widths)
    )
