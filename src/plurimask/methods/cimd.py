"""CIMD (Rahman et al. 2023): a diffusion model of masks given an image, with an ambiguity loss between AMN and ACN.

    L_total = L_simple + lambda L_vlb + beta L_amb                                          (Eq. 15)
    L_amb   = KL(Q(z | x_b, b) || P(z | x_hat_b, b)), Q from AMN, P from ACN               (Eq. 12-14)

Masks are {-1, +1}. With `ambiguity.mode = "off"` (beta = 0) this is a plain conditional diffusion model.
"""

from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.distributions import Independent, Normal, kl_divergence
from torch.nn.functional import adaptive_avg_pool2d, binary_cross_entropy_with_logits, mse_loss

from plurimask.diffusion.process import Diffusion, DiffusionSettings, Prediction
from plurimask.diffusion.samplers import SamplerSettings, sample
from plurimask.methods.method import Method
from plurimask.nets.denoiser import Denoiser, DenoiserSettings
from plurimask.nets.gaussian_encoder import EncoderSettings, GaussianEncoder, MaskDecoder
from plurimask.records import Batch, LossTerms


class AmbiguitySettings(BaseModel):
    """L_amb: its weight, what ACN sees, and who learns from it.

    Args:
        beta: weight of L_amb.
        mode: `trained` (AMN and ACN both learn), `frozen` (random nets, as in the released code), `acn_only`,
            `anchored` (both learn, and AMN's latent must also reconstruct its mask), `off` (no AMN, no ACN).
        acn_input: the prediction as ACN sees it, the recovered `x_0` or the raw `eps`.
        encoder: size of AMN and ACN.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    beta: Annotated[float, Field(ge=0)] = 0.001
    mode: Literal["trained", "frozen", "acn_only", "anchored", "off"] = "trained"
    acn_input: Literal["x_0", "eps"] = "x_0"
    encoder: EncoderSettings = EncoderSettings()


class CimdSettings(BaseModel):
    """Everything that defines CIMD; the defaults are the paper's, or where it is silent the released network's.

    Args:
        raters: `one` uniformly drawn rater per image per draw, or `all` raters of an image in one step.
        vlb_weight: lambda of Eq. 10; the one sampled term of L_vlb is weighted lambda * T.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["cimd"] = "cimd"
    image_channels: Annotated[int, Field(ge=1)] = 1
    raters: Literal["one", "all"] = "one"
    vlb_weight: Annotated[float, Field(ge=0)] = 0.001
    diffusion: DiffusionSettings = DiffusionSettings()
    denoiser: DenoiserSettings = DenoiserSettings()
    ambiguity: AmbiguitySettings = AmbiguitySettings()


class Cimd(Method):
    """The method: denoiser, AMN and ACN in one module."""

    def __init__(self, settings: CimdSettings) -> None:
        super().__init__()
        self.settings = settings
        self.image_channels = settings.image_channels
        self.diffusion = Diffusion(settings.diffusion)
        self.denoiser = Denoiser(settings.image_channels, settings.diffusion.output_channels, settings.denoiser)
        if settings.ambiguity.mode != "off":
            self.ambiguity = AmbiguityLoss(settings.image_channels, settings.ambiguity)

    def loss(self, batch: Batch) -> LossTerms:
        """L_total of a batch, at one uniform t and one noise a mask (Eq. 15)."""
        image, rater = batch.all_raters() if self.settings.raters == "all" else batch.one_rater()
        x_0 = rater.float() * 2 - 1
        t = torch.randint(1, self.diffusion.timesteps + 1, (len(x_0),), device=x_0.device)
        eps = torch.randn_like(x_0)
        x_t = self.diffusion.q_sample(x_0, t, eps)
        output = self.denoiser(x_t, image, t)
        said = self.diffusion.predict(output, x_t, t)

        simple = mse_loss(output[:, :1], self.diffusion.target(x_0, eps, t))  # Eq. 9
        terms = {"simple": simple}
        total = simple
        if said.interpolation is not None:
            # The mean is detached, so that L_vlb teaches the variance alone (Nichol and Dhariwal 2021, section 3.1).
            detached = Prediction(said.x_0.detach(), said.eps.detach(), said.interpolation)
            terms["vlb"] = self.diffusion.vlb_bits(x_0, x_t, t, detached).mean()
            total = total + self.settings.vlb_weight * self.diffusion.timesteps * terms["vlb"]  # Eq. 10
        if self.settings.ambiguity.mode != "off":
            shown = said.x_0 if self.settings.ambiguity.acn_input == "x_0" else output[:, :1]
            ambiguity, more = self.ambiguity(image, x_0, shown)
            terms |= more
            total = total + ambiguity
        return LossTerms(total, {name: term.detach() for name, term in terms.items()})

    def sample(self, image: Tensor, seeds: Tensor, sampler: SamplerSettings) -> Tensor:
        """Masks of one image a seed: image (n, C, H, W), seeds (n,) int64 -> (n, H, W) bool, x_0 > 0 (Eq. 16)."""
        x_0 = sample(lambda x_t, t: self.denoiser(x_t, image, t), self.diffusion, sampler, seeds, (1, *image.shape[2:]))
        return x_0[:, 0] > 0


class AmbiguityLoss(nn.Module):
    """beta L_amb with its two networks; also usable on another diffusion backbone."""

    def __init__(self, image_channels: int, settings: AmbiguitySettings) -> None:
        super().__init__()
        self.settings = settings
        self.amn = GaussianEncoder(image_channels + 1, settings.encoder)
        self.acn = GaussianEncoder(image_channels + 1, settings.encoder)
        if settings.mode in ("frozen", "acn_only"):
            self.amn.requires_grad_(False)
        if settings.mode == "frozen":
            self.acn.requires_grad_(False)
        if settings.mode == "anchored":
            self.decoder = MaskDecoder(settings.encoder.latent)

    def forward(self, image: Tensor, x_0: Tensor, shown: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """image (B, C, H, W), rater mask and prediction (B, 1, H, W) -> what to add to the loss, and terms to log.

        `amn_spread` and `acn_spread` are the latents' standard deviation over the batch: near 0, they have collapsed.
        """
        q = self.amn(image, x_0)  # Eq. 12
        p = self.acn(image, shown)  # Eq. 13
        amb = kl_divergence(q, p).mean()  # Eq. 14
        terms = {"amb": amb, "amn_spread": _spread(q), "acn_spread": _spread(p)}
        total = self.settings.beta * amb
        if self.settings.mode == "anchored":
            coarse = adaptive_avg_pool2d((x_0 + 1) / 2, MaskDecoder.size)
            terms["anchor"] = binary_cross_entropy_with_logits(self.decoder(q.rsample()), coarse)
            total = total + terms["anchor"]
        return total, terms


def _spread(gaussian: "Independent[Normal]") -> Tensor:
    return gaussian.mean.std(dim=0, correction=0).mean()
