"""The latent of the Probabilistic U-Net and of its generalisation: a mixture of Gaussians that an encoder predicts.

    p(z) = sum_k pi_k N(z; mu_k, L_k L_k^T)       L_k lower triangular with a positive diagonal

One component with a diagonal L is Kohl et al. 2018; a full L, several components or both are Bhat et al. 2022.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, kl_divergence
from torch.nn.functional import gumbel_softmax, log_softmax, softmax

from plurimask.nets.conv_unet import ConvStages, ConvUnetSettings, convolution
from plurimask.settings import Positive, Settings

COMPONENTS = 4
"""Gaussians of a mixture (released code: searched from 2 to 10)."""
TEMPERATURE = 0.1
"""Of the Gumbel-softmax that chooses among them (released code: searched from 0.1 to 0.5)."""
KL_DRAWS = 100
"""Draws per component that estimate KL(Q || P) between mixtures (released code: 1000 in all)."""


class LatentSettings(Settings):
    """Form of prior and posterior.

    Args:
        distribution: one Gaussian, axis-aligned or of full covariance, or a mixture of such.
        size: numbers in the latent.
    """

    fixed: ClassVar[Mapping[str, object]] = {
        "components": COMPONENTS,
        "temperature": TEMPERATURE,
        "kl_draws": KL_DRAWS,
    }

    distribution: Literal["diagonal", "full", "mixture-diagonal", "mixture-full"] = "diagonal"
    size: Positive = 6

    @property
    def is_mixture(self) -> bool:
        """Whether there is more than one Gaussian."""
        return self.distribution.startswith("mixture-")

    @property
    def is_full(self) -> bool:
        """Whether covariances are full."""
        return self.distribution.endswith("full")


@dataclass(frozen=True, eq=False)
class GaussianMixture:
    """A batch of mixtures of K Gaussians over N numbers.

    Args:
        logits: (B, K), of the weights pi.
        mean: (B, K, N).
        tril: (B, K, N, N), L.
    """

    logits: Tensor
    mean: Tensor
    tril: Tensor

    @property
    def components(self) -> MultivariateNormal:
        """The K Gaussians of each row."""
        # Unchecked: what is not finite must reach the loss, where training reports it with its step.
        return MultivariateNormal(self.mean, scale_tril=self.tril, validate_args=False)

    def log_prob(self, z: Tensor) -> Tensor:
        """z (..., B, N) -> (..., B)."""
        each = self.components.log_prob(z.unsqueeze(-2)) + log_softmax(self.logits, dim=-1)  # type: ignore[no-untyped-call]
        return each.logsumexp(-1)

    def rsample(self, temperature: float = TEMPERATURE) -> Tensor:
        """One z a row, (B, N), that gradients pass through: straight-through Gumbel-softmax among the components."""
        choice = gumbel_softmax(self.logits, tau=temperature, hard=True)
        return (choice[..., None] * self._place(torch.randn_like(self.mean))).sum(1)

    def draw(self, noise: Tensor) -> Tensor:
        """One z a row of noise, (n, N): noise (n, N + 1) standard normal, its last number chooses the component.

        B is n or 1.
        """
        uniform = torch.special.ndtr(noise[:, -1:])
        below = softmax(self.logits, dim=-1).cumsum(-1)[:, :-1]
        choice = (uniform > below).sum(1)
        return self._place(noise[:, None, :-1])[torch.arange(len(noise), device=noise.device), choice]

    def kl(self, other: "GaussianMixture", draws: int = KL_DRAWS) -> Tensor:
        """KL(self || other), (B,): exact between two single Gaussians, else log-ratios averaged over draws from self.

        `draws` are taken from each component and weighted by pi, so the weights learn from the estimate as they would
        from the exact value.
        """
        if self.logits.shape[1] == other.logits.shape[1] == 1:
            return kl_divergence(self.components, other.components)[:, 0]
        noise = torch.randn((draws, *self.mean.shape), device=self.mean.device)
        z = self._place(noise).movedim(2, 1)
        ratio = (self.log_prob(z) - other.log_prob(z)).mean(0)
        return (softmax(self.logits, dim=-1) * ratio.T).sum(1)

    def _place(self, noise: Tensor) -> Tensor:
        """mu + L noise of every component, noise (..., B or 1, K or 1, N)."""
        # Not a matrix product, which mixed precision would take in half precision.
        return self.mean + (self.tril * noise[..., None, :]).sum(-1)


class LatentEncoder(nn.Module):
    """Image, or image and mask, to the latent's distribution: stages, a global average, one 1x1 convolution."""

    def __init__(self, in_channels: int, stages: ConvUnetSettings, settings: LatentSettings) -> None:
        super().__init__()
        self.settings = settings
        count, size = (COMPONENTS if settings.is_mixture else 1), settings.size
        self.sizes = [count * size, count * size]
        if settings.is_full:
            self.sizes.append(count * size * (size - 1) // 2)
        if settings.is_mixture:
            self.sizes.append(count)
        self.stages = ConvStages(in_channels, stages)
        self.head = convolution(stages.widths[-1], sum(self.sizes), (1,) * stages.axes)

    def forward(self, *inputs: Tensor) -> GaussianMixture:
        """Tensors (B, c, [D,] H, W) of the encoder's channels in all -> the distribution, in single precision.

        L's diagonal lies between exp(-10) and exp(10).
        """
        features = self.stages(torch.cat(inputs, dim=1))[-1]
        numbers = self.head(features.mean(tuple(range(2, features.dim())), keepdim=True)).flatten(1).float()
        mean, log_scale, *rest = numbers.split(self.sizes, dim=1)
        mean, log_scale = (part.unflatten(1, (-1, self.settings.size)) for part in (mean, log_scale))
        tril = log_scale.clamp(-10, 10).exp().diag_embed()
        if self.settings.is_full:
            row, column = torch.tril_indices(self.settings.size, self.settings.size, offset=-1)
            tril[..., row, column] = rest[0].unflatten(1, (mean.shape[1], -1))
        logits = rest[-1] if self.settings.is_mixture else numbers.new_zeros((len(numbers), 1))
        return GaussianMixture(logits, mean, tril)
