"""Noise schedules: alpha_t and gamma_t, t in 1..T, computed in double precision."""

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

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
