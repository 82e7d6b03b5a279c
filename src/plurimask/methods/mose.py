"""Mixture of stochastic experts, MoSE (Gao et al., ICLR 2023): K Gaussians of one latent, weighed by a gate.

    p(z | b) = sum_k pi_k(b) N(z; m_k, diag(s_k^2)),    m_k and s_k learned, the same for every image b          (1)
    S(b, z)  = 1x1 convolutions of (u(b) + shift(z)) scale(z), u the U-Net's features, shift and scale linear   (2)
    c(x, y)  = 1 - (sum x y + constant) / (sum x + sum y - sum x y + constant)                                  (3)
    T        = argmin sum_nr T_nr c(x_n, y_r) with sum_n T_nr = 1 / R and 0 <= sum_r T_nr <= capacity           (4)
    L        = sum_nr T_nr c(x_n, y_r) + beta KL(t || pi(b)),    t_k = the mass that T puts on k's draws        (5)

In training every expert gives `draws` masks x_n = 1 / (1 + exp(-S)), whatever its weight; y_r are the masks of the R
readers of b, equally heavy. T is held fixed in the gradient. The samples' marginals in (4) are free but for the
capacity, so that T says how heavy each expert ought to be, and the gate learns that. After `start` steps there is no
capacity, and each reader goes to the nearest draw. In sampling k is drawn from pi(b) and z from k's Gaussian; a mask is
S > 0.

Where this differs from the released code:

- The U-Net has no batch normalisation. Its size, the single logit of a mask and the 1x1 convolutions are those of
  `prob-unet` here, so that the two differ in latent and loss alone. The gate sees the average of the coarsest
  features, there that of the fifth of seven stages.
- The means begin evenly apart in [0, 1], there at 0, at 1 and at random in between; s_k begins at 1/8 in both.
- (4) is solved exactly, with the capacity rounded up to whole readers, there greedily. The capacity ends after a
  number of steps, there when the loss has not fallen for ten epochs.
- The KL is one of experts, there the mean over all draws, which is the same but for a constant where beta is
  1 / (K draws).
- Masks are drawn independently, as those of the other methods. The published tables also score K x draws masks that
  are weighed by pi.
"""

from collections.abc import Sequence
from math import ceil
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from plurimask.methods.method import Method, MethodSettings
from plurimask.nets.conv_unet import ConvUnet, ConvUnetSettings, convolution, convolutions
from plurimask.nets.latent import GaussianMixture
from plurimask.records import Batch, LossTerms
from plurimask.settings import Layers, Natural, Positive, Weight, wrong


class MoseSettings(MethodSettings):
    """Everything that defines MoSE; the defaults are those of the released code for LIDC.

    Args:
        net: size of the U-Net.
        combining: 1x1 convolutions, as wide as the U-Net's features, between these and the logit.
        experts: K.
        latent: numbers in z.
        draws: masks of each expert in training.
        capacity: largest share of the readers that one draw takes, at first.
        start: steps of training with that capacity; afterwards there is none.
        constant: of (3), in pixels.
        beta: weight of the gate's KL term.
    """

    name: Literal["mose"] = "mose"
    net: ConvUnetSettings = ConvUnetSettings()
    combining: Layers = 3
    experts: Annotated[int, Field(ge=2)] = 4
    latent: Positive = 1
    draws: Positive = 4
    capacity: Annotated[float, Field(gt=0, le=1)] = 0.5
    start: Natural = 1000
    constant: Weight = 1.0
    beta: Weight = 0.0625

    @model_validator(mode="after")
    def _every_reader_is_taken(self) -> "MoseSettings":
        if self.experts * self.draws * self.capacity < 1:
            raise wrong("capacity of 1 / (experts x draws) or more, so that every reader is taken", got=self.capacity)
        return self


class Mose(Method):
    """The method: U-Net, gate, the experts' Gaussians, and what combines features and latent."""

    Settings = MoseSettings
    settings: MoseSettings
    steps: Tensor
    """Steps of training so far, up to `start`."""

    def __init__(self, settings: MoseSettings) -> None:
        super().__init__(settings)
        self.unet = ConvUnet(settings.image_channels, settings.net)
        width, coarse, experts = self.unet.width, settings.net.widths[-1], settings.experts
        self.gate = nn.Sequential(
            nn.Linear(coarse, coarse), nn.ReLU(), nn.Linear(coarse, coarse), nn.ReLU(), nn.Linear(coarse, experts)
        )
        self.mean = nn.Parameter(torch.linspace(0, 1, experts)[:, None].repeat(1, settings.latent))
        self.log_scale = nn.Parameter(torch.full_like(self.mean, 1 / 8).log())
        self.shift, self.scale = (nn.Linear(settings.latent, width) for _ in range(2))
        point = (1,) * settings.net.axes
        self.combine = nn.Sequential(
            convolutions(width, width, settings.combining, point), convolution(width, 1, point)
        )
        self.register_buffer("steps", torch.zeros(()))

    def loss(self, batch: Batch) -> LossTerms:
        """L of a batch (5), averaged over images; `transport` is its first term, `gate` the KL in nats."""
        settings, count = self.settings, len(batch.image)
        features, prior = self.encode(batch.image)
        capacity = settings.capacity if self.steps < settings.start else 1.0
        if self.training:
            self.steps += self.steps < settings.start
        noise = torch.randn((count, settings.draws, *self.mean.shape), device=self.device)
        z = self.mean + self.log_scale.exp() * noise
        x = self._logits(features, z.flatten(1, 2)).float().sigmoid().flatten(2)
        cost = distance(x, batch.readers.flatten(2).float(), settings.constant)
        plan = transport(cost.detach(), batch.valid, capacity)
        shares = plan.sum(2).reshape(count, settings.draws, -1).sum(1)  # t of (5)
        fit = (plan * cost).sum() / count
        gate = (shares.xlogy(shares) - shares * log_softmax(prior.logits, dim=1)).sum() / count
        terms = {"transport": fit.detach(), "gate": gate.detach()}
        return LossTerms(fit + settings.beta * gate, terms)

    def encode(self, image: Tensor) -> tuple[Tensor, GaussianMixture]:
        """Features of images, (B, width, [D,] H, W), and p(z | b) (1)."""
        stages = self.unet.down(image)
        logits = self.gate(stages[-1].flatten(2).mean(2)).float()
        mean, tril = self.mean[None], self.log_scale.exp().diag_embed()[None]
        return self.unet.rise(stages), GaussianMixture(logits, mean, tril)

    @property
    def noise(self) -> list[tuple[int, int]]:
        """Of z; the last number chooses the expert."""
        return [(self.settings.latent + 1, 0)]

    def predict(self, encoded: tuple[Tensor, GaussianMixture], noise: Sequence[Tensor], *state: Tensor) -> Tensor:
        """S (2) at z drawn from (1)."""
        features, prior = encoded
        return self._logits(features, prior.draw(noise[0])[None])[0, :, None]

    def _logits(self, features: Tensor, z: Tensor) -> Tensor:
        """S (2): features (B, width, [D,] H, W), z (B, n, latent) -> (B, n, [D,] H, W)."""
        size = features.shape[2:]
        scale = self.scale(z)[(..., *[None] * len(size))]
        shift = self.shift(z)[(..., *[None] * len(size))] * scale
        given = torch.addcmul(shift, features[:, None], scale)
        return self.combine(given.flatten(0, 1)).reshape(*z.shape[:2], *size)


def distance(x: Tensor, y: Tensor, constant: float) -> Tensor:
    """c (3) of soft masks x (B, N, pixels) and hard ones y (B, R, pixels): (B, N, R)."""
    with torch.autocast(x.device.type, enabled=False):  # which would count pixels in half precision
        inside = x @ y.mT
    either = x.sum(2)[:, :, None] + y.sum(2)[:, None] - inside
    return 1 - (inside + constant) / (either + constant)


def transport(cost: Tensor, valid: Tensor, capacity: float) -> Tensor:
    """T (4): cost (B, N, R), valid (B, R) bool -> (B, N, R), 0 for readers who are not valid.

    A draw takes at most `capacity` times the valid readers, rounded up; the draws together have to hold all of them.
    """
    plan = torch.zeros_like(cost)
    # What is not finite must reach the loss, where training reports it with its step.
    costs = np.nan_to_num(cost.float().cpu().numpy())
    for image, read in enumerate(valid.cpu().numpy()):
        readers = np.flatnonzero(read)
        places = ceil(capacity * len(readers) - 1e-6)
        # As many copies of each draw as it may take readers make it an assignment.
        draw, chosen = linear_sum_assignment(np.tile(costs[image][:, readers], (places, 1)))
        plan[image, draw % cost.shape[1], readers[chosen]] = 1 / len(readers)
    return plan
