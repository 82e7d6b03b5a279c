"""Diffusion models of masks given an image, CIMD (Rahman et al. 2023) and SegDiff (Amit et al. 2021).

    L_total = L_simple + lambda L_vlb + beta L_amb                                          (Eq. 15)

They differ by their denoiser (nets.denoiser). Masks are {-1, +1}; a mean of readers lies between. Equations are those
of Rahman et al. 2023. CIMD's control, a plain conditional diffusion model ("DDPM-Prob-Seg"), is
`ambiguity.mode = "off"`, which is beta = 0; with `raters = "mean"` besides, it is "DDPM-det-Seg".
`ambiguity.encoder.covariance = "full"` makes it CIMD-FC. SegDiff as published has no ambiguity loss; by the paper's
section 6 the loss attaches to it unchanged.

With `ambiguity.mode = "score"`, L_amb is replaced by the score that methods.one_pass learns from (its (4)): x_1 and x_2
are predictions from the masks of two readers, drawn anew, and two noises at one t; y are all readers' masks. No other
distribution of predictions at t scores better than that of the readers. It is a control, and not published.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from plurimask.diffusion.process import Diffusion, DiffusionSettings, Prediction
from plurimask.methods.ambiguity import AmbiguityLoss, AmbiguitySettings
from plurimask.methods.method import Method, MethodSettings, ReaderChoice, reader_masks
from plurimask.methods.one_pass import scores
from plurimask.nets.denoiser import Denoiser, DenoiserSettings, SummedDenoiser, SummedDenoiserSettings
from plurimask.records import Batch, LossTerms
from plurimask.settings import Weight, wrong

CONSTANT = 0.1
"""c of the score, in pixels."""


class MaskDiffusionSettings(MethodSettings):
    """Settings without a denoiser's; the defaults are the paper's, or where it is silent the released network's.

    Args:
        raters: whose masks are learned: of `one` reader, drawn anew for every image, of `all` readers at once, their
            `mean` (a soft mask in [-1, 1]), or their `majority`.
        unit_targets: whether masks are {0, 1} in place of {-1, +1}, under an x_0 that is clamped to [-1, 1] all the
            same, as in the released code: a fault, to be measured.
        vlb_weight: lambda of Eq. 10; the one sampled term of L_vlb is weighted lambda * T.
    """

    raters: ReaderChoice = "one"
    # Left out where it is not asked for, so that recipes of earlier runs stay the same.
    unit_targets: Annotated[bool, Field(exclude_if=lambda unit: not unit)] = False
    vlb_weight: Weight = 0.001
    diffusion: DiffusionSettings = DiffusionSettings()
    ambiguity: AmbiguitySettings = AmbiguitySettings()

    @model_validator(mode="after")
    def _score_is_of_one_reader(self) -> "MaskDiffusionSettings":
        if self.ambiguity.mode == "score" and self.raters != "one":
            raise wrong("raters of one, where ambiguity.mode is score", got=self.raters)
        return self

    @property
    def timesteps(self) -> int:
        """T of the diffusion process."""
        return self.diffusion.schedule.timesteps


class CimdSettings(MaskDiffusionSettings):
    """Everything that defines CIMD."""

    name: Literal["cimd"] = "cimd"
    denoiser: DenoiserSettings = DenoiserSettings()


class SegdiffSettings(MaskDiffusionSettings):
    """Everything that defines SegDiff."""

    name: Literal["segdiff"] = "segdiff"
    denoiser: SummedDenoiserSettings = SummedDenoiserSettings()


class MaskDiffusion(Method):
    """A denoiser f_theta(x_t, b, t) with, unless they are off, AMN and ACN."""

    settings: MaskDiffusionSettings
    process: Diffusion

    def __init__(self, settings: MaskDiffusionSettings, denoiser: nn.Module) -> None:
        """`denoiser` takes x_t (B, 1, H, W), image (B, C, H, W), t (B,) and gives (B, 1 or 2, H, W)."""
        super().__init__(settings, Diffusion(settings.diffusion))
        self.denoiser = denoiser
        self.cut = 0.5 if settings.unit_targets else 0.0
        if settings.ambiguity.mode not in ("score", "off"):
            self.ambiguity = AmbiguityLoss(settings.image_channels, settings.ambiguity)

    def loss(self, batch: Batch) -> LossTerms:
        """L_total of a batch, at one uniform t and one noise a mask (Eq. 15)."""
        image, mask = reader_masks(batch, self.settings.raters)
        x_0 = self._target(mask)
        t = torch.randint(1, self.process.timesteps + 1, (len(x_0),), device=x_0.device)
        eps = torch.randn_like(x_0)
        x_t = self.process.q_sample(x_0, t, eps)
        output = self.denoiser(x_t, image, t)
        prediction = self.process.predict(output, x_t, t)

        simple = mse_loss(output[:, :1], self.process.target(x_0, eps, t))  # Eq. 9
        terms = {"simple": simple}
        total = simple
        if prediction.interpolation is not None:
            # The mean is detached, so that L_vlb teaches the variance alone (Nichol and Dhariwal 2021, section 3.1).
            detached = Prediction(prediction.x_0.detach(), prediction.eps.detach(), prediction.interpolation)
            terms["vlb"] = self.process.vlb_bits(x_0, x_t, t, detached).mean()
            total = total + self.settings.vlb_weight * self.process.timesteps * terms["vlb"]  # Eq. 10
        if self.settings.ambiguity.mode == "score":
            terms["score"] = self._score(batch, t, prediction.x_0)
            total = total + self.settings.ambiguity.beta * terms["score"]
        elif self.settings.ambiguity.mode != "off":
            shown = prediction.x_0 if self.settings.ambiguity.acn_input == "x_0" else output[:, :1]
            ambiguity, more = self.ambiguity(image, x_0, shown)
            terms |= more
            total = total + ambiguity
        return LossTerms(total, {name: term.detach() for name, term in terms.items()})

    def _target(self, mask: Tensor) -> Tensor:
        """x_0 of a mask in [0, 1]."""
        return mask if self.settings.unit_targets else mask * 2 - 1

    def _score(self, batch: Batch, t: Tensor, first: Tensor) -> Tensor:
        """The score of two predictions of x_0 a case, of which one (B, 1, H, W) is there, against all its readers."""
        image, mask = reader_masks(batch, "one")
        x_t = self.process.q_sample(self._target(mask), t, torch.randn_like(mask))
        second = self.process.predict(self.denoiser(x_t, image, t), x_t, t).x_0
        x = torch.cat([first, second], dim=1).flatten(2).float()
        x = x.clamp(min=0) if self.settings.unit_targets else (x + 1) / 2
        return scores(x, batch.readers.flatten(2).float(), batch.valid, CONSTANT)[0]

    def predict(self, encoded: Tensor, noise: Sequence[Tensor], *state: Tensor) -> Tensor:
        """f_theta(x_t, b, t) at an image (1, C, h, w) (Eq. 16)."""
        x_t, t = state
        return self.denoiser(x_t, encoded.expand(len(x_t), -1, -1, -1), t)


class Cimd(MaskDiffusion):
    """The method: denoiser, AMN and ACN in one module."""

    Settings = CimdSettings

    def __init__(self, settings: CimdSettings) -> None:
        outputs = settings.diffusion.output_channels
        super().__init__(settings, Denoiser(settings.image_channels, outputs, settings.denoiser))


class Segdiff(MaskDiffusion):
    """The method: denoiser, and AMN and ACN where they are attached."""

    Settings = SegdiffSettings

    def __init__(self, settings: SegdiffSettings) -> None:
        outputs = settings.diffusion.output_channels
        super().__init__(settings, SummedDenoiser(settings.image_channels, outputs, settings.denoiser))
