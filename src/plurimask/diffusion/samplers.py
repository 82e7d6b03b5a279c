"""Samplers: one shared loop from noise to mask, and a `step` each for DDPM, DDIM and DPM-Solver++(2M).

A step goes from time t to an earlier time s. The last step lands on s = 0, where gamma_0 = 1, and adds no noise.
Noise comes from one generator a sample, so sample k has the same noise at any batch size and on any device.
"""

from collections.abc import Callable, Iterator
from functools import partial
from types import EllipsisType
from typing import Annotated, Literal, Protocol

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from plurimask.diffusion.process import Diffusion, Prediction
from plurimask.seeds import PROCESS, generator
from plurimask.settings import Positive, Settings, wrong

Scale = Annotated[float, Field(ge=0, le=10)]
Window = tuple[EllipsisType | slice, ...]
"""An index that cuts a part out of an array."""


class SamplerSettings(Settings):
    """How to go from noise to mask.

    Args:
        name: `ddpm` (ancestral, Eq. 16), `ddim` (Song et al. 2021), `dpm++` (DPM-Solver++(2M), Lu et al. 2022).
        steps: network evaluations per sample; none takes every step of the process for ddpm, 10 for the others.
        eta: DDIM's stochasticity; 0 deterministic given the first noise, 1 like ddpm.
        noise_scale: factor on the noise added by each step (diversity control), one value or one per step.
    """

    name: Literal["ddpm", "ddim", "dpm++"] = "ddpm"
    steps: Positive | None = None
    eta: Annotated[float, Field(ge=0, le=1)] = 0.0
    noise_scale: Scale | tuple[Scale, ...] = 1.0

    @model_validator(mode="after")
    def _scale_fits(self) -> "SamplerSettings":
        if isinstance(self.noise_scale, tuple) and len(self.noise_scale) != self.steps:
            raise wrong("one noise_scale a step", got=f"{len(self.noise_scale)} for steps = {self.steps}")
        adds_noise = self.name == "ddpm" or (self.name == "ddim" and self.eta > 0)
        if self.noise_scale != 1.0 and not adds_noise:
            raise wrong("a sampler that adds noise (ddpm, or ddim with eta above 0) for noise_scale", got="this one")
        return self

    def times(self, timesteps: int) -> list[int]:
        """Times from T down to 0, evenly spaced; steps + 1 of them."""
        steps = self.steps or (timesteps if self.name == "ddpm" else 10)
        if steps > timesteps:
            raise wrong(f"at most {timesteps} sampler steps, as the process has", got=steps)
        return [round(timesteps * (1 - k / steps)) for k in range(steps + 1)]

    def scales(self, steps: int) -> tuple[float, ...]:
        """One noise scale a step."""
        return self.noise_scale if isinstance(self.noise_scale, tuple) else (self.noise_scale,) * steps


class Noise:
    """Standard normal noise, from one generator a sample."""

    def __init__(self, seeds: Tensor, device: torch.device, stream: int = PROCESS) -> None:
        """`seeds` (n,) int64; `stream` of each seed."""
        self._generators = [generator(int(seed), stream) for seed in seeds]
        self._device = device

    def __call__(self, shape: tuple[int, ...], window: Window = (...,)) -> Tensor:
        """The next noise of every sample, (n, *shape) float32, cut to a window."""
        drawn = [one.standard_normal(shape, dtype=np.float32)[window] for one in self._generators]
        return torch.from_numpy(np.stack(drawn)).to(self._device)


class Step(Protocol):
    """One move of a sampler from x_t to x_s, given what the network predicts and a scale for added noise."""

    def __call__(
        self, x_t: Tensor, prediction: Prediction, t: Tensor, s: Tensor, noise: Callable[[], Tensor], scale: float
    ) -> Tensor:
        """x_s, (n, *shape); t and s are (n,) and hold one time each."""
        ...


class DDPMStep:
    """Ancestral sampling, Eq. 16 with the variance of `Diffusion.reverse_log_variance`."""

    def __init__(self, diffusion: Diffusion) -> None:
        self.diffusion = diffusion

    def __call__(
        self, x_t: Tensor, prediction: Prediction, t: Tensor, s: Tensor, noise: Callable[[], Tensor], scale: float
    ) -> Tensor:
        """x_s, drawn."""
        mean = self.diffusion.posterior_mean(prediction.x_0, x_t, t, s)
        if s[0] == 0:
            return mean
        log_variance = self.diffusion.reverse_log_variance(prediction.interpolation, t, s)
        return mean + scale * torch.exp(0.5 * log_variance) * noise()


class DDIMStep:
    """Song et al. 2021, Eq. 12."""

    def __init__(self, diffusion: Diffusion, eta: float) -> None:
        self.diffusion, self.eta = diffusion, eta

    def __call__(
        self, x_t: Tensor, prediction: Prediction, t: Tensor, s: Tensor, noise: Callable[[], Tensor], scale: float
    ) -> Tensor:
        """x_s, drawn where eta is above 0."""
        variance = self.eta**2 * self.diffusion.posterior_variance(t, s)
        towards = (self.diffusion.one_minus_gamma[s][:, None, None, None] - variance).clamp(min=0).sqrt()
        x_s = self.diffusion.gamma[s][:, None, None, None].sqrt() * prediction.x_0 + towards * prediction.eps
        return x_s + scale * variance.sqrt() * noise() if self.eta > 0 and s[0] > 0 else x_s


class DPMSolverStep:
    """DPM-Solver++(2M) in data prediction (Lu et al. 2022, Algorithm 2); first order on the first and last step.

    With lambda = log(sqrt(gamma) / sqrt(1 - gamma)) and h = lambda_s - lambda_t:
    x_s = sigma_s / sigma_t x_t - sqrt(gamma_s) (exp(-h) - 1) D, D extrapolated from the last two x_0.
    """

    def __init__(self, diffusion: Diffusion) -> None:
        self.diffusion = diffusion
        self._last: tuple[Tensor, Tensor] | None = None

    def __call__(
        self, x_t: Tensor, prediction: Prediction, t: Tensor, s: Tensor, noise: Callable[[], Tensor], scale: float
    ) -> Tensor:
        """x_s; no noise is drawn."""
        if s[0] == 0:
            return prediction.x_0
        h = self._log_snr(s) - self._log_snr(t)
        data = prediction.x_0
        if self._last is not None:
            last_x_0, last_h = self._last
            data = prediction.x_0 + h / (2 * last_h) * (prediction.x_0 - last_x_0)
        self._last = (prediction.x_0, h)
        sigma = self.diffusion.one_minus_gamma.sqrt()
        ratio = (sigma[s] / sigma[t])[:, None, None, None]
        return ratio * x_t - self.diffusion.gamma[s][:, None, None, None].sqrt() * torch.expm1(-h) * data

    def _log_snr(self, t: Tensor) -> Tensor:
        return 0.5 * (self.diffusion.gamma[t].log() - self.diffusion.one_minus_gamma[t].log())[:, None, None, None]


def sample(
    denoise: Callable[[Tensor, Tensor], Tensor],
    diffusion: Diffusion,
    settings: SamplerSettings,
    seeds: Tensor,
    shape: tuple[int, ...],
    window: Window = (...,),
) -> Tensor:
    """Draw x_0, (n, *shape) float32, one a seed; with a window, that part of it alone, from that part of the noise.

    `denoise(x_t, t)` is f_theta with the image already given: (n, *shape), (n,) -> (n, 1 or 2, ...).
    Raises ValueError where more steps are asked for than the process has.
    """
    times = settings.times(diffusion.timesteps)
    noise = partial(Noise(seeds, diffusion.gamma.device), shape, window)
    step = _step(diffusion, settings)
    x = noise()
    for t, s, scale in _moves(times, settings.scales(len(times) - 1), len(seeds), diffusion.gamma.device):
        x = step(x, diffusion.predict(denoise(x, t), x, t), t, s, noise, scale)
    return x


def _step(diffusion: Diffusion, settings: SamplerSettings) -> Step:
    if settings.name == "ddpm":
        return DDPMStep(diffusion)
    if settings.name == "ddim":
        return DDIMStep(diffusion, settings.eta)
    return DPMSolverStep(diffusion)


def _moves(
    times: list[int], scales: tuple[float, ...], count: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor, float]]:
    for t, s, scale in zip(times[:-1], times[1:], scales, strict=True):
        yield torch.full((count,), t, device=device), torch.full((count,), s, device=device), scale
