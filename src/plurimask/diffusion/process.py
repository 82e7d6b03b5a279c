"""The Gaussian diffusion of masks: Eq. 1-11 of Rahman et al. 2023; learned variance of Nichol and Dhariwal 2021.

Symbols: x_0 mask in [-1, 1]; x_t noisy mask; eps standard normal; gamma_t the product of alpha_1..alpha_t;
t in 1..T. Every transition is written for two times s < t, of which s = t - 1 is the paper's own:

    q(x_t | x_0)      = N(sqrt(gamma_t) x_0, (1 - gamma_t) I)                             (Eq. 2, 4)
    q(x_s | x_t, x_0) = N(mu, sigma^2 I),  alpha = gamma_t / gamma_s,                     (Eq. 3)
        mu      = (sqrt(gamma_s) (1 - alpha) x_0 + sqrt(alpha) (1 - gamma_s) x_t) / (1 - gamma_t)
        sigma^2 = (1 - gamma_s) (1 - alpha) / (1 - gamma_t)

The network f_theta predicts eps (the paper), x_0, or v = sqrt(gamma_t) eps - sqrt(1 - gamma_t) x_0
(Salimans and Ho 2022). Eq. 11 is q(x_s | x_t, x_0) at the x_0 that the prediction implies.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from plurimask.settings import Settings


class ScheduleSettings(Settings):
    """Which schedule, and how many steps T the forward process has.

    Args:
        name: `linear` (Ho et al. 2020) or `cosine` (Nichol and Dhariwal 2021).
        timesteps: T.
    """

    name: Literal["linear", "cosine"] = "linear"
    timesteps: Annotated[int, Field(ge=2, le=100_000)] = 1000


def gammas(settings: ScheduleSettings) -> Tensor:
    """gamma_t for t = 0..T, (T + 1,) float64; gamma_0 = 1, so the index is the time (Eq. 2).

    `linear` runs 1 - alpha_t from 1e-4 to 0.02 at T = 1000 (Ho et al. 2020), both times 1000 / T at any other T, which
    keeps gamma_T;
    `cosine` is that of Nichol and Dhariwal 2021, Eq. 17, with 1 - alpha_t at most 0.999.
    """
    steps = settings.timesteps
    if settings.name == "linear":
        scale = 1000 / steps
        beta = torch.linspace(scale * 1e-4, scale * 0.02, steps, dtype=torch.float64).clamp(max=0.999)
    else:
        time = torch.arange(steps + 1, dtype=torch.float64) / steps
        gamma = torch.cos((time + 0.008) / 1.008 * math.pi / 2) ** 2
        beta = (1 - gamma[1:] / gamma[:-1]).clamp(max=0.999)
    return torch.cat([torch.ones(1, dtype=torch.float64), torch.cumprod(1 - beta, dim=0)])


class DiffusionSettings(Settings):
    """The forward process and what the network predicts of it.

    Args:
        schedule: of the noise.
        predicts: what the network gives: the noise `eps`, the mask `x_0`, or the velocity `v`.
        variance: of a step back: learned within its bounds, or fixed at the lower or the upper one.
    """

    schedule: ScheduleSettings = ScheduleSettings()
    predicts: Literal["eps", "x_0", "v"] = "eps"
    variance: Literal["learned-range", "fixed-small", "fixed-large"] = "learned-range"

    @property
    def output_channels(self) -> int:
        """Channels of f_theta: the prediction, and the variance interpolation where it is learned."""
        return 2 if self.variance == "learned-range" else 1


@dataclass(frozen=True)
class Prediction:
    """What f_theta says of x_t.

    Args:
        x_0: (B, 1, H, W), clamped to [-1, 1].
        eps: (B, 1, H, W), the noise that goes with that x_0.
        interpolation: (B, 1, H, W) logit of the share of the upper variance bound, or None where it is not learned.
    """

    x_0: Tensor
    eps: Tensor
    interpolation: Tensor | None


class Diffusion(nn.Module):
    """Forward process, posterior and loss terms; no network inside. Times are (B,) int64, tensors (B, 1, H, W)."""

    gamma: Tensor
    one_minus_gamma: Tensor
    log_gamma: Tensor

    def __init__(self, settings: DiffusionSettings) -> None:
        super().__init__()
        self.settings = settings
        self.timesteps = settings.schedule.timesteps
        gamma = gammas(settings.schedule)
        # Single precision would lose the digits of 1 - gamma at small t, and those of 1 - alpha at either end.
        self.register_buffer("gamma", gamma.float(), persistent=False)
        self.register_buffer("one_minus_gamma", (1 - gamma).float(), persistent=False)
        self.register_buffer("log_gamma", gamma.log().float(), persistent=False)

    def q_sample(self, x_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """x_t given x_0 (Eq. 4)."""
        return self._at(self.gamma, t).sqrt() * x_0 + self._at(self.one_minus_gamma, t).sqrt() * eps

    def target(self, x_0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """What f_theta is asked for, in the settings' parametrisation."""
        if self.settings.predicts == "eps":
            return eps
        if self.settings.predicts == "x_0":
            return x_0
        return self._at(self.gamma, t).sqrt() * eps - self._at(self.one_minus_gamma, t).sqrt() * x_0

    def predict(self, output: Tensor, x_t: Tensor, t: Tensor) -> Prediction:
        """Read the network's output (B, 1 or 2, H, W) as x_0 and eps; x_0 is clamped and eps made to agree with it."""
        signal, noise = self._at(self.gamma, t).sqrt(), self._at(self.one_minus_gamma, t).sqrt()
        raw = output[:, :1]
        if self.settings.predicts == "eps":
            x_0 = (x_t - noise * raw) / signal
        elif self.settings.predicts == "x_0":
            x_0 = raw
        else:
            x_0 = signal * x_t - noise * raw
        x_0 = x_0.clamp(-1, 1)
        eps = (x_t - signal * x_0) / noise
        return Prediction(x_0, eps, output[:, 1:] if output.shape[1] == 2 else None)

    def posterior_mean(self, x_0: Tensor, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """Mean of q(x_s | x_t, x_0) (Eq. 3)."""
        gamma_s = self._at(self.gamma, s)
        alpha = self._at(self.gamma, t) / gamma_s
        weight_0 = gamma_s.sqrt() * self._one_minus_alpha(t, s)
        weight_t = alpha.sqrt() * self._at(self.one_minus_gamma, s)
        return (weight_0 * x_0 + weight_t * x_t) / self._at(self.one_minus_gamma, t)

    def posterior_variance(self, t: Tensor, s: Tensor) -> Tensor:
        """Variance of q(x_s | x_t, x_0) (Eq. 3), (B, 1, 1, 1); 0 at s = 0."""
        return self._at(self.one_minus_gamma, s) * self._one_minus_alpha(t, s) / self._at(self.one_minus_gamma, t)

    def reverse_log_variance(self, interpolation: Tensor | None, t: Tensor, s: Tensor) -> Tensor:
        """log sigma^2 of p(x_s | x_t): fixed, or between its two bounds (Nichol and Dhariwal 2021, Eq. 15).

        The bounds are the posterior variance (fixed-small) and 1 - alpha (fixed-large). The posterior's variance at
        s = 0 is 0; its logarithm is taken at s = 1 of the same t, or t = 2 where t is 1.
        """
        large = self._one_minus_alpha(t, s).log()
        inner = s.clamp(min=1)
        small = self.posterior_variance(torch.maximum(t, inner + 1), inner).log()
        if self.settings.variance == "fixed-large":
            return large
        if self.settings.variance == "fixed-small" or interpolation is None:
            return small
        share = interpolation.sigmoid()
        return share * large + (1 - share) * small

    def vlb_bits(self, x_0: Tensor, x_t: Tensor, t: Tensor, prediction: Prediction) -> Tensor:
        """One term of L_vlb in bits per pixel, (B,): L_{t-1} of Eq. 7, or L_0 of Eq. 6 where t is 1.

        L_0 takes a mask pixel as one of two levels: its bin is everything on its side of zero. A soft pixel, from a
        mean of readers, is +1 with probability (1 + x_0) / 2, and its L_0 is the expected one.
        """
        s = t - 1
        true_mean = self.posterior_mean(x_0, x_t, t, s)
        mean = self.posterior_mean(prediction.x_0, x_t, t, s)
        log_variance = self.reverse_log_variance(prediction.interpolation, t, s)
        towards = mean * torch.exp(-0.5 * log_variance)
        foreground, background = torch.special.log_ndtr(towards), torch.special.log_ndtr(-towards)
        decoder = -torch.lerp(background, foreground, (1 + x_0) / 2)  # Eq. 6
        true_log_variance = self.posterior_variance(torch.maximum(t, torch.full_like(t, 2)), s.clamp(min=1)).log()
        ratio = true_log_variance - log_variance
        kl = 0.5 * (ratio.exp() - 1 - ratio + (true_mean - mean) ** 2 * torch.exp(-log_variance))
        nats = torch.where((t == 1)[:, None, None, None], decoder, kl)
        return nats.flatten(1).mean(1) / math.log(2)

    def _one_minus_alpha(self, t: Tensor, s: Tensor) -> Tensor:
        """1 - gamma_t / gamma_s without cancellation: neither where both are near 1 nor where both are near 0."""
        return -torch.expm1(self._at(self.log_gamma, t) - self._at(self.log_gamma, s))

    @staticmethod
    def _at(values: Tensor, t: Tensor) -> Tensor:
        return values[t][:, None, None, None]
