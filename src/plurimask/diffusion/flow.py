"""The straight path from noise to mask, written as a diffusion process so that its samplers serve both.

With tau in (0, 1) the share of the way and eps standard normal,

    y_tau = tau x_0 + (1 - tau) eps                                                               (1)

Divided by its scale, sqrt(tau^2 + (1 - tau)^2), that is x_t of a `Diffusion` with

    gamma_t = tau^2 / (tau^2 + (1 - tau)^2),    tau = 1 - t / (T + 1)                             (2)

which never is pure noise, so that every sampler stays finite; at t = T the mask has a weight of 1 / (T + 1). DDIM
without noise is Euler's method on (1). Times are drawn with logit(tau) normal (Esser et al. 2024), which is a normal
log signal-to-noise ratio, sqrt(gamma / (1 - gamma)) being tau / (1 - tau).
"""

import torch
from torch import Tensor

from plurimask.diffusion.process import Diffusion, DiffusionSettings


class Flow(Diffusion):
    """The process (2), of which x_0 is predicted."""

    def __init__(self) -> None:
        super().__init__(DiffusionSettings(predicts="x_0", variance="fixed-small"))
        tau = 1 - torch.arange(self.timesteps + 1, dtype=torch.float64) / (self.timesteps + 1)
        gamma = tau**2 / (tau**2 + (1 - tau) ** 2)  # (2)
        self.gamma, self.one_minus_gamma, self.log_gamma = gamma.float(), (1 - gamma).float(), gamma.log().float()

    def draw_times(self, count: int, mean: float, scale: float) -> Tensor:
        """t in 1..T, (count,) int64, whose logit(tau) is normal."""
        tau = torch.sigmoid(mean + scale * torch.randn(count, device=self.gamma.device))
        return ((1 - tau) * (self.timesteps + 1)).round().long().clamp(1, self.timesteps)
