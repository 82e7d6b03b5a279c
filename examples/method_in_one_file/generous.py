"""A method in one file: readers differ in one number, how generous they are.

    logits(z) = mean(b) + scale(b) z        z ~ N(0, 1), one number per sample, b the image                 (1)
    L = -log of the mean over m of p(mask | z_m)        z_1, ..., z_M drawn anew in every step              (2)

All pixels of a mask share z, so one sample is generous everywhere and another strict.
"""

from collections.abc import Sequence
from math import log
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from plurimask.methods.method import Method, MethodSettings, reader_masks
from plurimask.nets.conv_unet import ConvUnet, ConvUnetSettings
from plurimask.records import Batch, LossTerms


class GenerousSettings(MethodSettings):
    """Everything that defines the method.

    Args:
        net: size of the U-Net.
        draws: M.
    """

    name: Literal["generous"] = "generous"
    net: ConvUnetSettings = ConvUnetSettings(widths=(16, 32, 64), convolutions=2)
    draws: int = 8

    @property
    def multiple(self) -> int:
        """Height and width must be multiples of this many pixels."""
        return self.net.multiple


class Generous(Method):
    """A U-Net with two numbers per pixel: the mean of its logit, and how far z moves it."""

    Settings = GenerousSettings
    settings: GenerousSettings

    def __init__(self, settings: GenerousSettings) -> None:
        super().__init__(settings)
        self.unet = ConvUnet(settings.image_channels, settings.net)
        self.head = nn.Conv2d(self.unet.width, 2, 1)

    def loss(self, batch: Batch) -> LossTerms:
        """L (2) of all masks of a batch, in nats per mask."""
        image, mask = reader_masks(batch, "all")
        mean, scale = self.encode(image)
        logits = mean + scale * torch.randn((self.settings.draws, *mean.shape[:1], 1, 1, 1), device=mean.device)  # (1)
        log_p = -binary_cross_entropy_with_logits(logits, mask.expand_as(logits), reduction="none").sum((2, 3, 4))
        total = (log(self.settings.draws) - log_p.logsumexp(0)).mean()  # (2)
        return LossTerms(total, {"nats": total.detach(), "scale": scale.detach().abs().mean()})

    @property
    def noise(self) -> Sequence[tuple[int, int]]:
        """One number per sample: z."""
        return [(1, 0)]

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and scale of the logits of images (B, C, H, W), each (B, 1, H, W). Done once per image."""
        mean, scale = self.head(self.unet(image)).chunk(2, dim=1)
        return mean, scale

    def predict(self, encoded: tuple[Tensor, Tensor], noise: Sequence[Tensor], *state: Tensor) -> Tensor:
        """Logits (1) of n samples of one image, (n, 1, H, W). A mask is where they are above 0."""
        (mean, scale), (z,) = encoded, noise
        return mean + scale * z[:, :, None, None]
