"""The image encoder of `flow`: a residual U-Net that runs once an image and gives features at every scale. Beside it
the head that tells from these features whether a reader draws nothing.

Besides the image it is shown how close each pixel is to the middle, in pixels and so alike in a centred crop and in the
whole image: readers are asked about what lies there, and convolutions that are indifferent to size cannot know it.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, pixel_unshuffle, relu

from plurimask.nets.residual import ResidualStage, convolution, growing, shrinking
from plurimask.settings import Layers, Patch, Settings, Widths


class ImageEncoderSettings(Settings):
    """Size of the encoder.

    Args:
        patch: pixels per side that a space-to-depth stem folds into channels.
        widths: filters of each stage, from fine to coarse.
        blocks: residual blocks of two 3x3 convolutions per stage, on the way down and again on the way up.
    """

    patch: Patch = 2
    widths: Widths = (64, 128, 192, 192)
    blocks: Layers = 2

    @property
    def multiple(self) -> int:
        """Height and width must be multiples of this many pixels."""
        return self.patch * 2 ** (len(self.widths) - 1)


class ImageEncoder(nn.Module):
    """Image to features, fine first."""

    def __init__(self, image_channels: int, settings: ImageEncoderSettings) -> None:
        super().__init__()
        self.patch = settings.patch
        widths = settings.widths
        self.stem = convolution((image_channels + len(_REACHES)) * settings.patch**2, widths[0], 3)
        self.down = nn.ModuleList(ResidualStage(width, settings.blocks) for width in widths)
        self.shrink = shrinking(widths)
        self.up = nn.ModuleList(ResidualStage(width, settings.blocks) for width in widths[:-1])
        self.grow = growing(widths)

    def forward(self, image: Tensor) -> list[Tensor]:
        """image (B, C, H, W) -> [(B, widths[k], H / (patch 2^k), W / (patch 2^k))]."""
        shown = torch.cat([image, closeness(image.shape[2:], image.device).expand(len(image), -1, -1, -1)], dim=1)
        folded = pixel_unshuffle(shown, self.patch).contiguous(memory_format=torch.channels_last)
        x = self.stem(folded)
        features = [self.down[0](x)]
        for shrink, stage in zip(self.shrink, self.down[1:], strict=True):
            features.append(stage(shrink(features[-1])))
        for level in reversed(range(len(self.up))):
            features[level] = self.up[level](features[level] + self.grow[level](features[level + 1]))
        return features


_REACHES = (8.0, 32.0)
"""Pixels from the middle."""


def closeness(size: torch.Size, device: torch.device) -> Tensor:
    """exp(-(distance from the plane's middle / reach)^2) of each pixel at each of _REACHES: (1, 2, *size)."""
    places = (torch.arange(side, dtype=torch.float32, device=device) for side in size[-2:])
    rows, columns = (place - place.mean() for place in places)
    squared = (rows[:, None] ** 2 + columns**2).expand(size)
    near = torch.stack([torch.exp(-squared / reach**2) for reach in _REACHES])[None]
    return near.where(near > _FAR, 0)


_FAR = 1e-20
"""As close is far enough to be 0: a CPU takes many times as long for products below the least normal number."""
_LEAST = 1e-6
"""Added to every pixel's weight, so that there is an average where no mask is expected."""


def where_expected(features: Tensor, share: Tensor, patch: int) -> Tensor:
    """Features averaged over pixels, each as heavy as the share of readers expected to mark it.

    features (B, width, H / patch, W / patch), share (B, 1, H, W) in [0, 1] -> (B, width).
    """
    weight = avg_pool2d(share, patch) + _LEAST
    return (features * weight).sum((2, 3)) / weight.sum((2, 3))


class EmptinessHead(nn.Module):
    """Two layers on the features where a mask is expected.

    Encoder and mean mask do not learn from it. It says 0 at first.
    """

    def __init__(self, width: int, patch: int) -> None:
        """`width` channels of features, each of which stands for a square of `patch` pixels a side."""
        super().__init__()
        self.patch = patch
        self.hidden, self.last = nn.Linear(width, width), nn.Linear(width, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, features: Tensor, share: Tensor) -> Tensor:
        """features (B, width, H / patch, W / patch), share (B, 1, H, W) of readers in [0, 1] -> logits (B,)."""
        seen = where_expected(features.detach(), share.detach(), self.patch)
        return self.last(relu(self.hidden(seen)))[:, 0]
