"""Probabilistic U-Net: its bound against a computation of its own, its size as published, that it learns both modes."""

from itertools import pairwise

import numpy as np
import pytest
import torch
import toy
from scipy.stats import multivariate_normal
from small_batches import batch, draw, learn_one_case, panel
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


@pytest.mark.parametrize("form", FORMS)
def test_every_part_learns(form):
    made = method(form)
    torch.manual_seed(1)
    made.loss(batch(4)).total.backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in made.parameters())
    for part in made.children():
        assert any(weight.grad.any() for weight in part.parameters())


def test_terms_carry_no_gradient():
    assert not any(term.requires_grad for term in method().loss(batch(4)).terms.values())


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


@pytest.fixture(scope="module")
def released():
    """The defaults on three image channels, as the released code has them for CityScapes."""
    return ProbUnet(ProbUnetSettings(image_channels=3))


@pytest.mark.parametrize("part", ["unet", "prior"])
def test_parameters_are_those_of_the_released_code(released, part):
    assert count(getattr(released, part)) == published(3, 24)[part]


def test_the_posterior_differs_by_the_channels_of_the_mask(released):
    """Its first convolution sees one channel of mask here, and one a class there."""
    assert published(3, 24)["posterior"] - count(released.posterior) == 9 * 23 * 32


def test_the_last_convolution_differs_by_the_logits(released):
    """It makes one logit here, and one a class there."""
    assert published(3, 24)["combine"] - count(released.combine) == 23 * (32 + 1)


def test_parameters_are_within_a_thousandth_of_the_released_codes(released):
    """17.947 M here; 17.955 M there with the 24 classes of its CityScapes setting."""
    assert sum(published(3, 24).values()) == 17_954_736
    assert count(released) == pytest.approx(17_954_736, rel=1e-3)


def stirred(form="diagonal"):
    """With logits around 0 that depend on z, so that masks are neither full nor empty nor all the same."""
    made, shown = method(form), batch(32).image
    with torch.no_grad():
        made.combine[0][0].weight[:, -3:] *= 5
        z = made.prior(shown).draw(torch.randn(32, 4))
        made.combine[1].bias -= made._logits(made.unet(shown), z).median()
    return made


@pytest.mark.parametrize("form", FORMS)
def test_other_seeds_give_other_masks(form):
    first, *others = panel(stirred(form), list(range(8)))
    assert (first != torch.stack(others)).float().mean() > 0.01


def test_a_panel_is_drawn_from_one_pass_of_the_unet():
    made, rows = method(), []
    made.unet.register_forward_hook(lambda module, inputs, output: rows.append(len(output)))
    assert panel(made, [1, 2, 3]).shape == (3, SIZE, SIZE)
    assert rows == [1]


def test_a_mask_is_where_the_logit_of_a_draw_from_the_prior_is_positive():
    made, shown = stirred(), batch(1).image
    noise = torch.from_numpy(generator(11, OWN).standard_normal(4, dtype=np.float32))
    with torch.inference_mode():
        p = made.prior(shown)
        logits = logits_of(made, made.unet(shown)[0], p.mean[0, 0] + p.tril[0, 0] @ noise[:3])
        mask = draw(made, shown, [11])[0]
    assert ((logits > 0) != mask).float().mean() < 0.004


def test_one_case_with_one_reader_is_learned():
    made = method()
    _, drawn = learn_one_case(made, 150)
    assert (panel(made, [1, 2, 3, 4]) == drawn).float().mean() > 0.99


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_both_modes_are_drawn_as_often_as_the_readers_draw_them(form):
    torch.manual_seed(0)
    net = ConvUnetSettings(widths=(16, 32, 32), convolutions=1)
    made = ProbUnet(ProbUnetSettings(net=net, latent=LatentSettings(distribution=form)))
    assert toy.mode_share(toy.fit(made, steps=2000, learning_rate=5e-3, count=16)) == toy.known()
