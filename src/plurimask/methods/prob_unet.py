"""Probabilistic U-Net (Kohl et al. 2018) and, by the form of its latent, its generalisation (Bhat et al. 2022).

    S(b, z) = 1x1 convolutions of the U-Net's features of image b and of z, broadcast to every pixel    (1)
    L       = E_Q[-log P(y | S(b, z))] + beta KL(Q(z | b, y) || P(z | b))                               (2)

The cross-entropy is summed over pixels and averaged over masks; z is one draw from Q in training, from P in sampling.
A mask is S > 0. As the masks here have one class, S is one logit and Q sees one channel, the mask less 0.5, where the
released code has as many of both as classes.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from plurimask.methods.method import Method, MethodSettings, reader_masks
from plurimask.nets.conv_unet import ConvUnet, ConvUnetSettings, convolution, convolutions
from plurimask.nets.latent import GaussianMixture, LatentEncoder, LatentSettings
from plurimask.records import Batch, LossTerms
from plurimask.settings import Weight

COMBINING = 3
"""1x1 convolutions, as wide as the U-Net's features, between these and the logit."""


class ProbUnetSettings(MethodSettings):
    """Everything that defines the Probabilistic U-Net; the defaults are those of the released code.

    Args:
        raters: `one` uniformly drawn reader per image per draw, or `all` readers of an image in one step.
        beta: weight of the KL term.
        net: size of the U-Net, and of the encoders of P and Q, which are its way down.
        latent: form of P and Q.
    """

    fixed: ClassVar[Mapping[str, object]] = {"combining": COMBINING}

    name: Literal["prob-unet"] = "prob-unet"
    raters: Literal["one", "all"] = "one"
    beta: Weight = 1.0
    net: ConvUnetSettings = ConvUnetSettings()
    latent: LatentSettings = LatentSettings()


class ProbUnet(Method):
    """The method: U-Net, prior P, posterior Q, and what combines features and latent."""

    Settings = ProbUnetSettings
    settings: ProbUnetSettings

    def __init__(self, settings: ProbUnetSettings) -> None:
        super().__init__(settings)
        self.unet = ConvUnet(settings.image_channels, settings.net)
        self.prior = LatentEncoder(settings.image_channels, settings.net, settings.latent)
        self.posterior = LatentEncoder(settings.image_channels + 1, settings.net, settings.latent)
        point = (1,) * settings.net.axes
        self.combine = nn.Sequential(
            convolutions(self.unet.width + settings.latent.size, self.unet.width, COMBINING, point),
            convolution(self.unet.width, 1, point),
        )

    def loss(self, batch: Batch) -> LossTerms:
        """L of a batch (2); the terms are in nats a mask."""
        image, mask = reader_masks(batch, self.settings.raters)
        q, p = self.posterior(image, mask - 0.5), self.prior(image)
        logits = self._logits(self.unet(image), q.rsample())
        cross_entropy = binary_cross_entropy_with_logits(logits, mask, reduction="sum") / len(mask)
        kl = q.kl(p).mean()
        total = cross_entropy + self.settings.beta * kl
        return LossTerms(total, {"cross_entropy": cross_entropy.detach(), "kl": kl.detach()})

    def encode(self, image: Tensor) -> tuple[Tensor, GaussianMixture]:
        """Features of an image, and P."""
        return self.unet(image), self.prior(image)

    @property
    def noise(self) -> list[tuple[int, int]]:
        """Of z: each field has its own P, and so makes its own z of it."""
        return [(self.settings.latent.size + 1, 0)]

    def predict(self, encoded: tuple[Tensor, GaussianMixture], noise: Sequence[Tensor], *state: Tensor) -> Tensor:
        """S (1) at z drawn from P."""
        features, prior = encoded
        return self._logits(features, prior.draw(noise[0]))

    def _logits(self, features: Tensor, z: Tensor) -> Tensor:
        """S (1): features (n or 1, width, [D,] H, W), z (n, latent) -> (n, 1, [D,] H, W)."""
        size = features.shape[2:]
        everywhere = z[(..., *[None] * len(size))].expand(-1, -1, *size)
        return self.combine(torch.cat([features.expand(len(z), -1, *size), everywhere], dim=1))
