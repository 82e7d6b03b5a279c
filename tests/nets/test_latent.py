"""The latent's distribution against torch.distributions, scipy, closed forms and sampling."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal, kl_divergence

from plurimask.nets.conv_unet import ConvUnetSettings
from plurimask.nets.latent import GaussianMixture, LatentEncoder, LatentSettings

FORMS = ("diagonal", "full", "mixture-diagonal", "mixture-full")
STAGES = ConvUnetSettings(widths=(4, 8), convolutions=1)


def settings(distribution, size=3, **changed):
    return LatentSettings(distribution=distribution, size=size, **changed)


def mixture(distribution, seed=0, rows=2, size=3, count=4, spread=1.0):
    """Mixtures away from each other and from symmetry, in double precision."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    count = count if distribution.startswith("mixture") else 1
    tril = (0.4 * normal(rows, count, size)).exp().diag_embed()
    if distribution.endswith("full"):
        tril = tril + 0.7 * normal(rows, count, size, size).tril(-1)
    return GaussianMixture(normal(rows, count), spread * normal(rows, count, size), tril)


def encoder(distribution, seed=0, size=3):
    torch.manual_seed(seed)
    return LatentEncoder(3, STAGES, settings(distribution, size))


def inputs(count=2):
    generator = torch.Generator().manual_seed(5)
    return torch.randn((count, 2, 8, 8), generator=generator), torch.randn((count, 1, 8, 8), generator=generator)


@pytest.mark.parametrize("form", FORMS)
def test_log_prob_is_that_of_torch_for_many_draws_at_once(form):
    made = mixture(form)
    known = MixtureSameFamily(Categorical(logits=made.logits), MultivariateNormal(made.mean, scale_tril=made.tril))
    z = known.sample((7,))
    torch.testing.assert_close(made.log_prob(z), known.log_prob(z))


def test_kl_of_full_gaussians_is_the_closed_form():
    q, p = mixture("full", 1), mixture("full", 2)
    for row, got in enumerate(q.kl(p, draws=1)):
        s_q, s_p = ((m.tril[row, 0] @ m.tril[row, 0].T).numpy() for m in (q, p))
        gap = (p.mean - q.mean)[row, 0].numpy()
        inverse = np.linalg.inv(s_p)
        ratio = np.linalg.slogdet(s_p)[1] - np.linalg.slogdet(s_q)[1]
        assert got.item() == pytest.approx(0.5 * (np.trace(inverse @ s_q) + gap @ inverse @ gap - 3 + ratio), rel=1e-9)


@pytest.mark.parametrize("form", FORMS)
def test_kl_is_the_mean_log_ratio_of_draws(form):
    q, p = mixture(form, 1), mixture(form, 2)
    known, other = (
        MixtureSameFamily(Categorical(logits=m.logits), MultivariateNormal(m.mean, scale_tril=m.tril)) for m in (q, p)
    )
    torch.manual_seed(3)
    z = known.sample((20_000,))
    ratio = known.log_prob(z) - other.log_prob(z)
    error = 6 * ratio.std(0) / math.sqrt(20_000)
    assert ((ratio.mean(0) - q.kl(p, draws=20_000 // q.mean.shape[1])).abs() < error).all()


def test_mixture_weights_learn_from_the_kl_as_from_the_exact_value():
    """Components far apart: KL is the categorical one and the Gaussians', whose gradient in the logits is known."""
    q, p = (mixture("mixture-diagonal", 1), mixture("mixture-diagonal", 2))
    far = 100 * torch.eye(4, 3, dtype=torch.float64)
    logits = q.logits.clone().requires_grad_()
    torch.manual_seed(0)
    GaussianMixture(logits, far + q.mean, q.tril).kl(
        GaussianMixture(p.logits, far + p.mean, p.tril), 20_000
    ).sum().backward()
    again = q.logits.clone().requires_grad_()
    each = kl_divergence(MultivariateNormal(q.mean, scale_tril=q.tril), MultivariateNormal(p.mean, scale_tril=p.tril))
    categorical = kl_divergence(Categorical(logits=again), Categorical(logits=p.logits))
    (categorical + (again.softmax(1) * each).sum(1)).sum().backward()
    torch.testing.assert_close(logits.grad, again.grad, rtol=0.05, atol=0.02)


def moments(z):
    """Mean (N,) and covariance (N, N) of draws (n, N)."""
    return z.mean(0), torch.cov(z.T)


def known_moments(made, row):
    """Mean and covariance of one row's mixture, by the law of total variance."""
    weights, mean = made.logits[row].softmax(0)[:, None], made.mean[row]
    centre = (weights * mean).sum(0)
    within = (weights[..., None] * (made.tril[row] @ made.tril[row].mT)).sum(0)
    return centre, within + (weights * (mean - centre)).T @ (mean - centre)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("how", ["rsample", "draw"])
def test_draws_have_mean_and_covariance_of_the_distribution(form, how):
    made = mixture(form, rows=1)
    torch.manual_seed(4)
    count = 60_000
    if how == "draw":
        z = made.draw(torch.randn((count, 4), dtype=torch.float64))
    else:
        many = GaussianMixture(*(part.expand(count, *part.shape[1:]) for part in (made.logits, made.mean, made.tril)))
        z = many.rsample(temperature=0.1)
    mean, covariance = known_moments(made, 0)
    torch.testing.assert_close(moments(z)[0], mean, rtol=0, atol=0.04)
    torch.testing.assert_close(moments(z)[1], covariance, rtol=0.05, atol=0.08)


def test_components_are_drawn_by_their_weights():
    made = GaussianMixture(
        torch.tensor([[0.1, 0.2, 0.7]]).log(),
        torch.tensor([[[-100.0], [0.0], [100.0]]]),
        torch.ones(1, 3, 1, 1),
    )
    torch.manual_seed(0)
    z = made.draw(torch.randn(20_000, 2))
    shares = [(z < -50).float().mean(), (z.abs() < 50).float().mean(), (z > 50).float().mean()]
    assert [share.item() for share in shares] == pytest.approx([0.1, 0.2, 0.7], abs=0.015)


def test_a_draw_of_each_row_comes_from_its_own_distribution():
    made, noise = mixture("mixture-full", rows=5), torch.randn(5, 4, dtype=torch.float64)
    third = GaussianMixture(made.logits[2:3], made.mean[2:3], made.tril[2:3])
    torch.testing.assert_close(made.draw(noise)[2:3], third.draw(noise[2:3]))


def test_the_choice_passes_gradients_to_the_weights():
    made = mixture("mixture-full")
    logits = made.logits.clone().requires_grad_()
    torch.manual_seed(0)
    GaussianMixture(logits, made.mean, made.tril).rsample(temperature=0.5).square().sum().backward()
    assert logits.grad.abs().min() > 0


@pytest.mark.parametrize("form", FORMS)
def test_the_encoder_makes_a_distribution_of_its_form(form):
    made = encoder(form)(*inputs())
    count = 4 if form.startswith("mixture") else 1
    assert made.logits.shape == (2, count)
    assert made.mean.shape == (2, count, 3)
    assert made.tril.shape == (2, count, 3, 3)
    assert not made.tril.triu(1).any()
    assert (made.tril.diagonal(dim1=-2, dim2=-1) > 0).all()
    assert bool(made.tril.tril(-1).any()) == form.endswith("full")


@pytest.mark.parametrize(
    ("form", "count"), [("diagonal", 6), ("full", 9), ("mixture-diagonal", 28), ("mixture-full", 40)]
)
def test_the_head_says_each_number_of_the_distribution_once(form, count):
    assert encoder(form).head.out_channels == count


@pytest.mark.parametrize(("bias", "scale"), [(-1e6, math.exp(-10)), (1e6, math.exp(10))])
def test_scales_are_bounded(bias, scale):
    made = encoder("full")
    torch.nn.init.constant_(made.head.bias, bias)
    diagonal = made(*inputs()).tril.diagonal(dim1=-2, dim2=-1)
    torch.testing.assert_close(diagonal, torch.full_like(diagonal, scale))


@pytest.mark.parametrize("form", FORMS)
def test_mixed_precision_leaves_the_kl_in_single_precision(form):
    q, p = encoder(form, 1), encoder(form, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.manual_seed(0)
        got = q(*inputs()).kl(p(*inputs()), draws=100)
    torch.manual_seed(0)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, q(*inputs()).kl(p(*inputs()), draws=100), rtol=0.1, atol=0.01)


@pytest.mark.parametrize("form", FORMS)
def test_what_is_not_finite_reaches_the_loss(form):
    made = encoder(form)
    torch.nn.init.constant_(made.head.bias, math.nan)
    distribution = made(*inputs())
    assert distribution.kl(distribution, draws=2).isnan().all()
