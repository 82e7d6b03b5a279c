"""Stochastic Segmentation Networks (Monteiro et al. 2020): a Gaussian over the logits of all pixels at once.

    eta | b ~ N(mu(b), P(b) P(b)^T + D(b))             P of low rank, D diagonal                    (1)
    L = -log 1/M sum_m exp(sum_i log p(y_i | eta_i^m)),   eta^m drawn from (1)                      (2)

A mask is eta > 0. The published two-class softmax depends on the difference of its two logits alone, and under (1) that
is again Gaussian, of the same rank plus a diagonal; so one logit a pixel says the same. As in the released code the
draws of (2) come in pairs mirrored at mu, and D has a floor of 1e-5. The backbone there is DeepMedic, for brain
volumes; here it is the U-Net of the Probabilistic U-Net, so that the two differ in nothing but their distribution. With
`net.axes` 3 pixels are voxels.
"""

from collections.abc import Mapping, Sequence
from math import log
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from plurimask.methods.method import Method, MethodSettings, reader_masks
from plurimask.nets.conv_unet import ConvUnet, ConvUnetSettings
from plurimask.records import Batch, LossTerms

RANK = 10
"""Columns of P."""
DRAWS = 20
"""M, an even number."""


class SsnSettings(MethodSettings):
    """Everything that defines the network.

    Args:
        raters: `one` uniformly drawn reader per image per draw, or `all` readers of an image in one step.
        net: size of the U-Net.
    """

    fixed: ClassVar[Mapping[str, object]] = {"rank": RANK, "draws": DRAWS}

    name: Literal["ssn"] = "ssn"
    raters: Literal["one", "all"] = "one"
    net: ConvUnetSettings = ConvUnetSettings()


class LogitGaussian(NamedTuple):
    """N(mean, factor factor^T + diag(variance)) over P pixels (1).

    Args:
        mean: (B, P).
        factor: (B, rank, P).
        variance: (B, P).
    """

    mean: Tensor
    factor: Tensor
    variance: Tensor

    def deviations(self, noise: Tensor) -> Tensor:
        """Standard normal noise (..., B, rank + P) -> deviations from the mean, (..., B, P)."""
        rank = self.factor.shape[1]
        shared = torch.einsum("...br,brp->...bp", noise[..., :rank], self.factor)
        return shared + self.variance.sqrt() * noise[..., rank:]


class Ssn(Method):
    """The method: U-Net, and the heads of mean, factor and diagonal."""

    Settings = SsnSettings
    settings: SsnSettings

    def __init__(self, settings: SsnSettings) -> None:
        super().__init__(settings)
        self.unet = ConvUnet(settings.image_channels, settings.net)
        layer = nn.Conv2d if settings.net.axes == 2 else nn.Conv3d
        self.head = layer(self.unet.width, 2 + RANK, 1)

    def loss(self, batch: Batch) -> LossTerms:
        """L of a batch (2), and the mean variances of (1) by their source; in nats a mask."""
        image, mask = reader_masks(batch, self.settings.raters)
        gaussian = self.gaussian(image)
        size = RANK + gaussian.mean.shape[1]
        deviation = gaussian.deviations(torch.randn((DRAWS // 2, len(mask), size), device=image.device))
        logits = gaussian.mean + torch.cat([deviation, -deviation])
        total = negative_log_likelihood(logits, mask.flatten(1)).mean()
        terms = {"shared": gaussian.factor.square().sum(1).mean(), "diagonal": gaussian.variance.mean()}
        return LossTerms(total, {name: term.detach() for name, term in terms.items()})

    @property
    def noise(self) -> list[tuple[int, int]]:
        """That of P, one a sample, and that of D, one a pixel."""
        return [(RANK, 0), (1, 1)]

    def encode(self, image: Tensor) -> LogitGaussian:
        """Distribution (1) of the logits of an image."""
        return self.gaussian(image)

    def predict(self, encoded: LogitGaussian, noise: Sequence[Tensor], *state: Tensor) -> Tensor:
        """Logits drawn from (1)."""
        shared, own = noise
        logits = encoded.mean + encoded.deviations(torch.cat([shared, own.flatten(1)], dim=1))
        return logits.reshape(own.shape)

    def gaussian(self, image: Tensor) -> LogitGaussian:
        """Distribution (1) of the logits of images (B, C, [D,] H, W), pixels in rows, in single precision."""
        outputs = self.head(self.unet(image)).flatten(2).float()
        return LogitGaussian(outputs[:, 0], outputs[:, 2:], outputs[:, 1].exp() + 1e-5)


def negative_log_likelihood(logits: Tensor, mask: Tensor) -> Tensor:
    """L (2) in nats, (B,): logits (M, B, P), mask (B, P) in {0, 1}."""
    log_prob = logsigmoid(torch.where(mask > 0, logits, -logits)).sum(-1)
    return log(len(logits)) - log_prob.logsumexp(0)
