"""Samplers: one shared loop from noise to mask, and a `step` each for DDPM, DDIM and DPM-Solver++(2M).

A step goes from time t to an earlier time s. The last step lands on s = 0, where gamma_0 = 1, and adds no noise.
Noise comes from one generator a sample, so sample k has the same noise at any batch size and on any device.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from types import EllipsisType
from typing import Annotated, ClassVar, Literal, NamedTuple

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
        noise_scale: factor on the noise added by each step (diversity control), one value or one per step.
    """

    fixed: ClassVar[Mapping[str, object]] = {"eta": 0.0}

    name: Literal["ddpm", "ddim", "dpm++"] = "ddpm"
    steps: Positive | None = None
    noise_scale: Scale | tuple[Scale, ...] = 1.0

    @model_validator(mode="after")
    def _scale_fits(self) -> "SamplerSettings":
        if isinstance(self.noise_scale, tuple) and len(self.noise_scale) != self.steps:
            raise wrong("one noise_scale a step", got=f"{len(self.noise_scale)} for steps = {self.steps}")
        if self.noise_scale != 1.0 and self.name != "ddpm":
            raise wrong("a sampler that adds noise (ddpm) for noise_scale", got=self.name)
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


class Move(NamedTuple):
    """From time t to time s, (n,) int64 of one value each; `noise` draws what a step adds, times `scale`."""

    t: Tensor
    s: Tensor
    noise: Callable[[], Tensor]
    scale: float


class Step(ABC):
    """One move of a sampler, given what the network predicts."""

    def __init__(self, diffusion: Diffusion) -> None:
        self.diffusion = diffusion

    @abstractmethod
    def __call__(self, x_t: Tensor, prediction: Prediction, move: Move) -> Tensor:
        """x_s, (n, *shape)."""


class DDPMStep(Step):
    """Ancestral sampling, Eq. 16 with the variance of `Diffusion.reverse_log_variance`."""

    def __call__(self, x_t: Tensor, prediction: Prediction, move: Move) -> Tensor:
        """x_s, drawn."""
        mean = self.diffusion.posterior_mean(prediction.x_0, x_t, move.t, move.s)
        if move.s[0] == 0:
            return mean
        log_variance = self.diffusion.reverse_log_variance(prediction.interpolation, move.t, move.s)
        return mean + move.scale * torch.exp(0.5 * log_variance) * move.noise()


class DDIMStep(Step):
    """Song et al. 2021, Eq. 12 without added noise (eta = 0)."""

    def __call__(self, x_t: Tensor, prediction: Prediction, move: Move) -> Tensor:
        """x_s; no noise is drawn."""
        signal, noise = (
            values[move.s][:, None, None, None].sqrt()
            for values in (self.diffusion.gamma, self.diffusion.one_minus_gamma)
        )
        return signal * prediction.x_0 + noise * prediction.eps


class DPMSolverStep(Step):
    """DPM-Solver++(2M) in data prediction (Lu et al. 2022, Algorithm 2); first order on the first and last step.

    With lambda = log(sqrt(gamma) / sqrt(1 - gamma)) and h = lambda_s - lambda_t:
    x_s = sigma_s / sigma_t x_t - sqrt(gamma_s) (exp(-h) - 1) D, D extrapolated from the last two x_0.
    """

    def __init__(self, diffusion: Diffusion) -> None:
        super().__init__(diffusion)
        self._last: tuple[Tensor, Tensor] | None = None

    def __call__(self, x_t: Tensor, prediction: Prediction, move: Move) -> Tensor:
        """x_s; no noise is drawn."""
        t, s = move.t, move.s
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
    steps: dict[str, Callable[[Diffusion], Step]] = {"ddpm": DDPMStep, "ddim": DDIMStep, "dpm++": DPMSolverStep}
    step = steps[settings.name](diffusion)
    x = noise()
    for *ends, scale in zip(times[:-1], times[1:], settings.scales(len(times) - 1), strict=True):
        t, s = (torch.full((len(seeds),), time, device=x.device) for time in ends)
        x = step(x, diffusion.predict(denoise(x, t), x, t), Move(t, s, noise, scale))
    return x
