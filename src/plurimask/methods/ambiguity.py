"""L_amb, the ambiguity loss of CIMD (Rahman et al. 2023); it attaches to any diffusion model of masks.

    L_amb = KL(Q(z | x_b, b) || P(z | x_hat_b, b)), Q from AMN, P from ACN                 (Eq. 12-14)

b is the image, x_b a reader's mask, x_hat_b the prediction of it.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, kl_divergence
from torch.nn.functional import adaptive_avg_pool2d, binary_cross_entropy_with_logits

from plurimask.nets.gaussian_encoder import EncoderSettings, GaussianEncoder, MaskDecoder
from plurimask.settings import Settings, Weight


class AmbiguitySettings(Settings):
    """L_amb: its weight, what ACN sees, and who learns from it.

    Args:
        beta: weight of L_amb.
        mode: `trained` (AMN and ACN both learn), `frozen` (random nets, as in the released code), `acn_only`,
            `anchored` (both learn, and AMN's latent must also reconstruct its mask), `score` (no AMN, no ACN: beta
            weighs a proper score of the predictions in place of L_amb), `off` (none of them).
        acn_input: the prediction as ACN sees it, the recovered `x_0` or the raw `eps`.
        encoder: size of AMN and ACN, and the shape of their Gaussians.
    """

    beta: Weight = 0.001
    mode: Literal["trained", "frozen", "acn_only", "anchored", "score", "off"] = "trained"
    acn_input: Literal["x_0", "eps"] = "x_0"
    encoder: EncoderSettings = EncoderSettings()


class AmbiguityLoss(nn.Module):
    """beta L_amb with its two networks."""

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
        """image (B, C, H, W), reader mask and prediction (B, 1, H, W) -> what to add to the loss, and terms to log.

        `amn_spread` and `acn_spread` are the latents' standard deviation over the batch: near 0, they have collapsed.
        """
        q = self.amn(image, x_0)  # Eq. 12
        p = self.acn(image, shown)  # Eq. 13
        # Matrix products of the full covariance would be taken in half precision otherwise.
        with torch.autocast(image.device.type, enabled=False):
            amb = kl_divergence(q, p).mean()  # Eq. 14
        terms = {"amb": amb, "amn_spread": _spread(q), "acn_spread": _spread(p)}
        total = self.settings.beta * amb
        if self.settings.mode == "anchored":
            coarse = adaptive_avg_pool2d((x_0 + 1) / 2, MaskDecoder.size)
            terms["anchor"] = binary_cross_entropy_with_logits(self.decoder(q.rsample()), coarse)
            total = total + terms["anchor"]
        return total, terms


def _spread(gaussian: Distribution) -> Tensor:
    return gaussian.mean.std(dim=0, correction=0).mean()
