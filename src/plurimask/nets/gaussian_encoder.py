"""The encoder that AMN and ACN share: image and mask to a Gaussian over a few latent numbers (Appendix B)."""

from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.distributions import Independent, Normal

Positive = Annotated[int, Field(ge=1)]


class EncoderSettings(BaseModel):
    """Size of the encoder; defaults as in Appendix B and, where it is silent, the Probabilistic U-Net's encoder.

    Args:
        widths: filters of each stage.
        convolutions: 3x3 convolutions a stage.
        latent: numbers in the latent.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    widths: tuple[Positive, ...] = (32, 64, 128, 192)
    convolutions: Positive = 3
    latent: Positive = 6


class GaussianEncoder(nn.Module):
    """Stages of convolutions with ReLU, average pooling between them, a global average, one linear map."""

    def __init__(self, in_channels: int, settings: EncoderSettings) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for stage, width in enumerate(settings.widths):
            if stage > 0:
                layers.append(nn.AvgPool2d(2))
            for _ in range(settings.convolutions):
                convolution = nn.Conv2d(in_channels, width, 3, padding=1)
                # PyTorch's own start shrinks the signal at each layer: after twelve the latent would not see its input.
                nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
                layers += [convolution, nn.ReLU()]
                in_channels = width
        # A quarter less time on a CPU than with the channels first.
        self.features = nn.Sequential(*layers).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.head = nn.Linear(in_channels, 2 * settings.latent)

    def forward(self, image: Tensor, mask: Tensor) -> "Independent[Normal]":
        """image (B, C, H, W), mask (B, 1, H, W) -> axis-aligned Gaussian over (B, latent) (Eq. 12-13).

        The scale lies between exp(-10) and exp(10).
        """
        stacked = torch.cat([image, mask], dim=1).contiguous(memory_format=torch.channels_last)
        pooled = self.features(stacked).mean(dim=(2, 3))
        mean, log_scale = self.head(pooled).chunk(2, dim=1)
        return Independent(Normal(mean, log_scale.clamp(-10, 10).exp()), 1)


class MaskDecoder(nn.Module):
    """Latent to a coarse mask, for the anchored AMN: (B, latent) -> logits (B, 1, 32, 32)."""

    size = 32

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.start = nn.Linear(latent, 32 * 4 * 4)
        stages: list[nn.Module] = []
        for _ in range(3):
            stages += [nn.Upsample(scale_factor=2), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()]
        self.stages = nn.Sequential(*stages, nn.Conv2d(32, 1, 1))

    def forward(self, z: Tensor) -> Tensor:
        """z (B, latent) -> logits (B, 1, 32, 32)."""
        return self.stages(self.start(z).unflatten(1, (32, 4, 4)).relu())
