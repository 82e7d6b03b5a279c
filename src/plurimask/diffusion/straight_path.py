"""The straight path from noise to mask, written as a diffusion process so that its samplers serve both.

With tau in (0, 1) the share of the way and eps standard normal,

    y_tau = tau x_0 + (1 - tau) eps                                                               (1)

Divided by its scale, sqrt(tau^2 + (1 - tau)^2), that is x_t of a `Diffusion` with

    gamma_t = tau^2 / (tau^2 + (1 - tau)^2),    tau = (1 - s) / (1 + (k - 1) s),    s = t / (T + 1)    (2)

which never is pure noise, so that every sampler stays finite. The shift k >= 1 says where equal steps of t go: at k = 1
they are equal steps of tau, and the larger k is, the more of them lie near the noise. There it is decided what a mask
is as a whole. Noise is independent from pixel to pixel, a mask is not: of M pixels that are in it together with
probability p, one learns from x_t whether they are with a signal-to-noise ratio of M tau^2 / (1 - tau)^2, so that all
is decided where tau is about 1 / sqrt(M). A step across that range goes towards the mean mask and so towards what is
likelier: 8 steps with k = 1 draw 60 pixels of probability 0.25 in 17% of masks and 1,000 in 2%, with k = 8 in 23% and
21%.

DDIM without noise is Euler's method on (1). Times are drawn with logit(tau) normal (Esser et al. 2024), which is a
normal log signal-to-noise ratio, sqrt(gamma / (1 - gamma)) being tau / (1 - tau).
"""

import torch
from torch import Tensor

from plurimask.diffusion.process import Diffusion, DiffusionSettings


class StraightPath(Diffusion):
    """The process (2), of which x_0 is predicted."""

    def __init__(self, shift: float = 8.0) -> None:
        super().__init__(DiffusionSettings(predicts="x_0", variance="fixed-small"))
        self.shift = shift
        s = torch.arange(self.timesteps + 1, dtype=torch.float64) / (self.timesteps + 1)
        tau = (1 - s) / (1 + (shift - 1) * s)
        gamma = tau**2 / (tau**2 + (1 - tau) ** 2)  # (2)
        self.gamma, self.one_minus_gamma, self.log_gamma = gamma.float(), (1 - gamma).float(), gamma.log().float()

    def draw_times(self, count: int, mean: float = -1.5, scale: float = 1.4) -> Tensor:
        """t in 1..T, (count,) int64, whose logit(tau) is normal."""
        tau = torch.sigmoid(mean + scale * torch.randn(count, device=self.gamma.device))
        s = (1 - tau) / (1 + (self.shift - 1) * tau)
        return (s * (self.timesteps + 1)).round().long().clamp(1, self.timesteps)
