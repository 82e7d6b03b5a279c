"""Whether a reader draws nothing: one number an image, from what an encoder sees where it expects a mask."""

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, relu

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
