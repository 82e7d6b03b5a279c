"""The fast panel: the image is encoded once, and a small flow draws each mask in a few steps.

    D(x_t, b, t, u) = P(pixel is in the mask | x_t, b, u)                 x_0 is predicted as 2 D - 1        (1)
    L = E[cross-entropy of D at the rater's mask] + weight * cross-entropy of the encoder at the mean mask   (2)

x_t lies on the straight path from noise to the rater's mask (diffusion.flow). u in (0, 1) is the rank of the rater
among those of the image by the size of what they drew: the r-th smallest of R has u uniform in ((r - 1) / R, r / R),
equal ones in random order. Of all raters together u is uniform whatever the image, so

    p(mask | b) = integral of p(mask | b, u) du                                                              (3)

holds exactly and a sample draws its u uniformly. Whether a mask is empty, and how large it is, is then decided by one
number before the first step, in the readers' own proportions, and not by what a few steps make of noise.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from plurimask.diffusion.flow import Flow
from plurimask.diffusion.samplers import Noise, SamplerSettings, sample
from plurimask.methods.method import Method, MethodSettings, rater_masks
from plurimask.nets.image_encoder import ImageEncoder, ImageEncoderSettings
from plurimask.nets.mask_denoiser import MaskDenoiser, MaskDenoiserSettings
from plurimask.nets.residual import convolution
from plurimask.records import Batch, LossTerms


class PanelSettings(MethodSettings):
    """Everything that defines the method.

    Args:
        encoder, denoiser: sizes of the nets.
        ranked: whether u is the rater's rank; otherwise it says nothing of the mask.
        repeats: times t at which each rater's mask is learned in one step.
        time_mean, time_scale: of the normal logit of the share of the way.
        mean_weight: of the encoder's own loss (2).
    """

    name: Literal["panel"] = "panel"
    encoder: ImageEncoderSettings = ImageEncoderSettings()
    denoiser: MaskDenoiserSettings = MaskDenoiserSettings()
    ranked: bool = True
    repeats: Annotated[int, Field(ge=1)] = 2
    time_mean: Annotated[float, Field(allow_inf_nan=False)] = -0.6
    time_scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.2
    mean_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0

    @model_validator(mode="after")
    def _stages_meet(self) -> "PanelSettings":
        encoder, denoiser = self.encoder, self.denoiser
        scales = [encoder.patch * 2**level for level in range(len(encoder.widths))]
        for level in range(len(denoiser.widths)):
            if denoiser.patch * 2**level not in scales:
                raise ValueError(f"an encoder stage at 1/{denoiser.patch * 2**level} of the size, not {scales} alone")
        return self

    @property
    def multiple(self) -> int:
        """Height and width must be multiples of this many pixels."""
        return self.encoder.multiple

    @property
    def timesteps(self) -> int:
        """T of the process."""
        return 1000


class Panel(Method):
    """The method: encoder, its head for the mean mask, and denoiser."""

    def __init__(self, settings: PanelSettings) -> None:
        super().__init__()
        self.settings = settings
        self.image_channels = settings.image_channels
        self.flow = Flow()
        self.encoder = ImageEncoder(settings.image_channels, settings.encoder)
        self.denoiser = MaskDenoiser(settings.encoder, settings.denoiser)
        head = convolution(settings.encoder.widths[0], settings.encoder.patch**2, 1)
        self.mean_head = nn.Sequential(head, nn.PixelShuffle(settings.encoder.patch))

    def loss(self, batch: Batch) -> LossTerms:
        """L of a batch (2), all raters of an image at `repeats` times each; in nats a pixel."""
        features = self.encoder(batch.image)
        _, share = rater_masks(batch, "mean")
        mean = binary_cross_entropy_with_logits(self.mean_head(features[0]), share)
        case, slot = batch.valid.nonzero(as_tuple=True)
        masks, ranks = batch.raters[case, slot][:, None].float(), self._ranks(batch)[:, case, slot].flatten()
        masks, case = masks.repeat(self.settings.repeats, 1, 1, 1), case.repeat(self.settings.repeats)
        x_0 = masks * 2 - 1
        t = self.flow.draw_times(len(x_0), self.settings.time_mean, self.settings.time_scale)
        x_t = self.flow.q_sample(x_0, t, torch.randn_like(x_0))
        logits = self.denoiser(x_t, self.denoiser.look(features).rows(case), t / self.flow.timesteps, ranks)
        drawn = binary_cross_entropy_with_logits(logits, masks)
        total = drawn + self.settings.mean_weight * mean  # (2)
        return LossTerms(total, {"drawn": drawn.detach(), "mean": mean.detach()})

    def sample(self, image: Tensor, seeds: Tensor, sampler: SamplerSettings | None) -> Tensor:
        """One mask a seed, each distinct image encoded once: image (n, C, H, W), seeds (n,) -> (n, H, W) bool."""
        assert sampler is not None, "a recipe with a diffusion process has a sampler"
        shown, rows = image.unique(dim=0, return_inverse=True)  # type: ignore[no-untyped-call]
        look = self.denoiser.look(self.encoder(shown))
        if len(shown) > 1:
            look = look.rows(rows)
        # Of another stream than the mask's noise, which would otherwise begin with this very number.
        u = torch.special.ndtr(Noise(seeds ^ _RANK_STREAM, (), image.device)())

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            return torch.tanh(self.denoiser(x_t, look, t / self.flow.timesteps, u) / 2)  # (1), 2 D - 1

        return sample(denoise, self.flow, sampler, seeds, (1, *image.shape[2:]))[:, 0] > 0

    def _ranks(self, batch: Batch) -> Tensor:
        """u of each rater at each of its times, (repeats, B, R)."""
        sizes = batch.raters.sum((2, 3)).expand(self.settings.repeats, -1, -1)
        return draw_ranks(sizes, batch.valid) if self.settings.ranked else torch.rand(sizes.shape, device=sizes.device)


_RANK_STREAM = 0x5DEECE66D


def draw_ranks(sizes: Tensor, valid: Tensor) -> Tensor:
    """u of each rater (..., R) float32: sizes (..., R) int64 in pixels, which slots were read (..., R).

    Unread slots hold numbers without a meaning.
    """
    tied = sizes + torch.rand(sizes.shape, dtype=torch.float64, device=sizes.device)
    place = tied.masked_fill(~valid, torch.inf).argsort(dim=-1).argsort(dim=-1)
    within = torch.rand(sizes.shape, device=sizes.device)
    return (place + within) / valid.sum(-1, keepdim=True)
