"""Probabilistic U-Net: its bound against a computation of its own, its size as published, that it learns both modes."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from small_batches import batch, draw
from tiny import SIZE
from torch.nn.functional import logsigmoid

from plurimask.methods.prob_unet import ProbUnet, ProbUnetSettings
from plurimask.nets.conv_unet import ConvUnetSettings
from plurimask.nets.latent import LatentSettings
from plurimask.seeds import OWN, generator

FORMS = ("diagonal", "full", "mixture-diagonal", "mixture-full")


def method(distribution="diagonal", seed=0, **changed):
    """A small Probabilistic U-Net."""
    torch.manual_seed(seed)
    net, latent = ConvUnetSettings(widths=(8, 12), convolutions=1), LatentSettings(distribution=distribution, size=3)
    return ProbUnet(ProbUnetSettings(net=net, latent=latent, **changed))


def logits_of(made, features, z):
    """S of one image by hand: at every pixel, the perceptron of the 1x1 convolutions on features and z."""
    x = torch.cat([features, z[:, None, None].expand(-1, SIZE, SIZE)]).double()
    weights = [layer for layer in made.combine.modules() if isinstance(layer, torch.nn.Conv2d)]
    for number, layer in enumerate(weights):
        x = torch.einsum("oi,ihw->ohw", layer.weight[:, :, 0, 0].double(), x) + layer.bias.double()[:, None, None]
        x = x if number == len(weights) - 1 else x.clamp(min=0)
    return x[0]


@pytest.mark.parametrize("form", ["diagonal", "full"])
@pytest.mark.parametrize("raters", ["one", "all"])
def test_loss_is_the_negative_bound(form, raters, monkeypatch):
    made, cases = method(form, beta=0.5, raters=raters), batch(4)
    latents = []
    combine = made._logits
    monkeypatch.setattr(made, "_logits", lambda features, z: latents.append(z) or combine(features, z))
    torch.manual_seed(1)
    loss = made.loss(cases)
    torch.manual_seed(1)
    shown, reader = cases.all_readers() if raters == "all" else cases.one_reader()
    with torch.no_grad():
        q, p, features = made.posterior(shown, reader.float() - 0.5), made.prior(shown), made.unet(shown)
        surprise, divergence = 0.0, 0.0
        for row, mask in enumerate(reader[:, 0]):
            logits = logits_of(made, features[row], latents[0][row])
            surprise -= torch.where(mask, logsigmoid(logits), logsigmoid(-logits)).sum().item()
            one, other = (multivariate_normal(m.mean[row, 0], m.tril[row, 0] @ m.tril[row, 0].T) for m in (q, p))
            inverse, gap = np.linalg.inv(other.cov), other.mean - one.mean
            ratio = np.linalg.slogdet(other.cov)[1] - np.linalg.slogdet(one.cov)[1]
            divergence += 0.5 * (np.trace(inverse @ one.cov) + gap @ inverse @ gap - 3 + ratio)
    assert loss.terms["cross_entropy"].item() == pytest.approx(surprise / len(shown), rel=1e-5)
    assert loss.terms["kl"].item() == pytest.approx(divergence / len(shown), rel=1e-3)
    assert loss.total.item() == pytest.approx((surprise + 0.5 * divergence) / len(shown), rel=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_the_latent_of_training_is_drawn_from_the_posterior(form, monkeypatch):
    made, cases, latents = method(form), batch(4), []
    combine = made._logits
    monkeypatch.setattr(made, "_logits", lambda features, z: latents.append(z) or combine(features, z))
    torch.manual_seed(1)
    made.loss(cases)
    torch.manual_seed(1)
    shown, reader = cases.one_reader()
    torch.testing.assert_close(latents[0], made.posterior(shown, reader.float() - 0.5).rsample(temperature=0.1))


def layers(ins, outs, kernel=3):
    """Weights and biases of convolutions between these channels."""
    return sum(kernel**2 * i * o + o for i, o in zip(ins, outs, strict=True))


def published(image_channels, classes):
    """Parameters of the released code by part, from its layout: 7 stages of 3, latent 6, 3 + 1 convolutions 1x1."""
    widths = [32, 64, 128, 192, 192, 192, 192]

    def stages(channels):
        return sum(layers([i, o, o], [o] * 3) for i, o in zip([channels, *widths], widths, strict=False))

    up = sum(layers([coarse + fine, fine, fine], [fine] * 3) for fine, coarse in pairwise(widths))
    head = layers([192], [2 * 6], kernel=1)
    return {
        "unet": stages(image_channels) + up,
        "prior": stages(image_channels) + head,
        "posterior": stages(image_channels + classes) + head,
        "combine": layers([32 + 6, 32, 32, 32], [32, 32, 32, classes], kernel=1),
    }


def count(module):
    return sum(weight.numel() for weight in module.parameters())


def test_parameters_are_those_of_the_released_code_but_for_its_classes():
    """As the released code has them for CityScapes: 17.955 M with 24 classes there, of which the masks here have one.

    The posterior's first convolution sees one channel of mask here, and one a class there; the last one makes a logit.
    """
    with torch.device("meta"):
        made = ProbUnet(ProbUnetSettings(image_channels=3))
    there, here = published(3, 24), {name: count(part) for name, part in made.named_children()}
    assert sum(there.values()) == 17_954_736
    assert (here["unet"], here["prior"]) == (there["unet"], there["prior"])
    assert there["posterior"] - here["posterior"] == 9 * 23 * 32
    assert there["combine"] - here["combine"] == 23 * (32 + 1)


def stirred(form="diagonal"):
    """With logits around 0 that depend on z, so that masks are neither full nor empty nor all the same."""
    made, shown = method(form), batch(32).image
    with torch.no_grad():
        made.combine[0][0].weight[:, -3:] *= 5
        z = made.prior(shown).draw(torch.randn(32, 4))
        made.combine[1].bias -= made._logits(made.unet(shown), z).median()
    return made


def test_a_mask_is_where_the_logit_of_a_draw_from_the_prior_is_positive():
    made, shown = stirred(), batch(1).image
    noise = torch.from_numpy(generator(11, OWN).standard_normal(4, dtype=np.float32))
    with torch.inference_mode():
        p = made.prior(shown)
        logits = logits_of(made, made.unet(shown)[0], p.mean[0, 0] + p.tril[0, 0] @ noise[:3])
        mask = draw(made, shown, [11])[0]
    assert ((logits > 0) != mask).float().mean() < 0.004
