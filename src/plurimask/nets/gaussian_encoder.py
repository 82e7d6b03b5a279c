"""The encoder that AMN and ACN share: image and mask to a Gaussian over a few latent numbers (Appendix B).

Its covariance is diagonal, or full (Appendix E):

    Sigma = L L^T, L lower triangular with a positive diagonal                                  (Eq. 25)
    z = mu + L eps, eps ~ N(0, I)                                                               (Eq. 26)

L = diag(s) U with U's diagonal 1, which every such L has: entries of U below the diagonal are bounded, so that a KL
stays finite however far apart the scales s of two Gaussians are.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal

from plurimask.settings import Layers, Positive, Settings, Widths


class EncoderSettings(Settings):
    """Size of the encoder; defaults as in Appendix B and, where it is silent, the Probabilistic U-Net's encoder.

    Args:
        widths: filters of each stage.
        convolutions: 3x3 convolutions per stage.
        latent: numbers in the latent.
        covariance: `diagonal`, or `full` as in CIMD-FC.
    """

    widths: Widths = (32, 64, 128, 192)
    convolutions: Layers = 3
    latent: Positive = 6
    covariance: Literal["diagonal", "full"] = "diagonal"

    @property
    def outputs(self) -> int:
        """Numbers that define one Gaussian: means, log scales, and what of U lies below its diagonal."""
        below = self.latent * (self.latent - 1) // 2
        return 2 * self.latent + (below if self.covariance == "full" else 0)


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
        self.latent = settings.latent
        self.head = nn.Linear(in_channels, settings.outputs)

    def forward(self, image: Tensor, mask: Tensor) -> Distribution:
        """image (B, C, H, W), mask (B, 1, H, W) -> Gaussian over (B, latent), always float32 (Eq. 12-13).

        The scale lies between exp(-10) and exp(10), entries of U between -10 and 10.
        """
        stacked = torch.cat([image, mask], dim=1).contiguous(memory_format=torch.channels_last)
        features = self.features(stacked)
        # In half precision the KL would see the rounding of means and scales, and has no triangular solver.
        with torch.autocast(image.device.type, enabled=False):
            numbers = self.head(features.float().mean(dim=(2, 3)))
            return gaussian(numbers, self.latent)


def gaussian(numbers: Tensor, latent: int) -> Distribution:
    """Means, log scales and, if there are more numbers, U below its diagonal row by row: (B, n) -> over (B, latent)."""
    mean, log_scale, below = numbers.tensor_split((latent, 2 * latent), dim=1)
    scale = log_scale.clamp(-10, 10).exp()
    # Not validated: a number that is not finite is for the trainer to report, with its step.
    if not below.shape[1]:
        return Independent(Normal(mean, scale, validate_args=False), 1, validate_args=False)
    unit = torch.diag_embed(torch.ones_like(scale))
    row, column = torch.tril_indices(latent, latent, -1, device=numbers.device)
    unit[:, row, column] = below.clamp(-10, 10)
    return MultivariateNormal(mean, scale_tril=scale[:, :, None] * unit, validate_args=False)  # Eq. 25


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
