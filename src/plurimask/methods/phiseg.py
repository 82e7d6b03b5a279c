"""PHiSeg (Baumgartner et al. 2019): an autoencoder of masks given an image b, with a latent map at each of L levels.

    p(z | b) = p(z_L | b) prod_l p(z_l | z_(l+1), b), and q(z | x, b) likewise, which also sees the mask x     (1)
    S_l      = s_l(z_l, ..., z_L) + S_(l+1), each enlarged to the image's size; S_L = s_L                      (2)
    loss     = sum_l E_q[-log p(x | S_l)] + beta sum_l growth^(l-1) KL(q(z_l | z_(l+1), x, b) || p(z_l | ...)) (3)

Level 1 is the finest, growth is 4. Cross-entropies are summed over pixels and averaged over masks; z is one draw from q
in training, from p in sampling. A mask is S_1 > 0. As the masks here have one class, s_l is one logit and q sees one
channel, the mask less 0.5, where the released code has as many of both as classes.

The means and scales of q and p begin at 0 and softplus(0), so that (3) begins as its cross-entropies. The released code
draws these weights as He et al. 2015 have it: its KL begins near 1e6 nats, which millions of steps outlast.

Batch normalisation makes a batch's masks depend on each other in training mode, not in evaluation mode; its running
means are those of latents from q and from p in turn, as in the released code. Of a single image of 64 pixels it
leaves nothing at the coarsest level, a map of one pixel: the released code goes on with its offset alone; here a
recipe of such steps is refused.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.distributions import kl_divergence
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate

from plurimask.methods.method import Method, MethodSettings, reader_masks
from plurimask.nets.latent_pyramid import LatentPyramid, PyramidDecoder, PyramidSettings
from plurimask.records import Batch, LossTerms
from plurimask.settings import Weight

GROWTH = 4.0
"""How many times more the KL of a level weighs than that of the next finer one."""


class PhisegSettings(MethodSettings):
    """Everything that defines PHiSeg; the defaults are the published ones.

    Args:
        raters: `one` uniformly drawn reader per image per draw, or `all` readers of an image in one step.
        beta: weight of the KL terms.
        pyramid: size of the nets.
    """

    fixed: ClassVar[Mapping[str, object]] = {"growth": GROWTH}

    name: Literal["phiseg"] = "phiseg"
    raters: Literal["one", "all"] = "one"
    beta: Weight = 1.0
    pyramid: PyramidSettings = PyramidSettings()

    @property
    def normalises_batches(self) -> bool:
        """The coarsest map is one pixel where the image is `multiple` pixels a side."""
        return True


class Phiseg(Method):
    """The method: prior, posterior and decoder in one module."""

    Settings = PhisegSettings
    settings: PhisegSettings

    def __init__(self, settings: PhisegSettings) -> None:
        super().__init__(settings)
        self.prior = LatentPyramid(settings.image_channels, settings.pyramid)
        self.posterior = LatentPyramid(settings.image_channels + 1, settings.pyramid)
        self.decoder = PyramidDecoder(settings.pyramid)

    def loss(self, batch: Batch) -> LossTerms:
        """The negative lower bound with a cross-entropy a level (3); the terms are in nats a mask."""
        image, mask = reader_masks(batch, self.settings.raters)
        q, z = self.posterior(torch.cat([image, mask - 0.5], dim=1), lambda _, gaussian: gaussian.rsample())
        p, _ = self.prior(image, lambda level, _: z[level])
        terms: dict[str, Tensor] = {}
        total = torch.zeros((), device=image.device)
        for level, logits in enumerate(accumulate(self.decoder(z))):
            cross_entropy = binary_cross_entropy_with_logits(logits, mask, reduction="sum") / len(mask)
            kl = kl_divergence(q[level], p[level]).mean()
            total = total + cross_entropy + self.settings.beta * GROWTH**level * kl  # (3)
            terms |= {f"cross_entropy_{level + 1}": cross_entropy.detach(), f"kl_{level + 1}": kl.detach()}
        if self.training:
            self._meet_prior(image)
        return LossTerms(total, terms)

    @torch.no_grad()
    def _meet_prior(self, image: Tensor) -> None:
        """Let the running means of prior and decoder learn from latents of p as well, which sampling draws."""
        _, z = self.prior(image, lambda _, gaussian: gaussian.sample())
        self.decoder(z)

    @property
    def noise(self) -> list[tuple[int, int]]:
        """Of the latent map of each level, from fine to coarse."""
        return [(self.settings.pyramid.latent, scale) for scale in self.settings.pyramid.latent_scales]

    def predict(self, encoded: Tensor, noise: Sequence[Tensor], *state: Tensor) -> Tensor:
        """S_1 at an image (1, C, h, w) and latents drawn from the prior (1)."""
        image = encoded.expand(len(noise[0]), -1, -1, -1)
        _, z = self.prior(image, lambda level, gaussian: gaussian.mean + gaussian.stddev * noise[level])
        return accumulate(self.decoder(z))[0]


def accumulate(own: Sequence[Tensor]) -> list[Tensor]:
    """s_l from fine to coarse, the finest (B, 1, H, W), each next of half its sides -> S_l, (B, 1, H, W) each."""
    size = own[0].shape[2:]
    sums: list[Tensor] = []
    for logits in reversed(own):
        larger = interpolate(logits, size=size, mode="nearest")
        sums.append(sums[-1] + larger if sums else larger)  # (2)
    return sums[::-1]
