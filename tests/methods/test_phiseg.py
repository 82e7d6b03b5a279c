"""PHiSeg: its bound against a computation of its own, its size as published, and that it learns both modes."""

import numpy as np
import pytest
import torch
from small_batches import batch, draw
from tiny import image, small
from torch.distributions import MultivariateNormal, kl_divergence

from plurimask.datasets.batches import scale_intensity
from plurimask.methods.phiseg import Phiseg, PhisegSettings, accumulate
from plurimask.nets.latent_pyramid import PyramidSettings
from plurimask.training.recipe import load_recipe

LEVELS = range(4)


def parts(made, cases, seed):
    """What `loss` draws under this seed, and what its nets then say: mask, q, p, each level's own logits."""
    torch.manual_seed(seed)
    shown, reader = cases.all_readers() if made.settings.raters == "all" else cases.one_reader()
    with torch.no_grad():
        q, z = made.posterior(
            torch.cat([shown, reader.float() - 0.5], dim=1), lambda _, g: g.mean + g.stddev * torch.randn(g.mean.shape)
        )
        p, _ = made.prior(shown, lambda level, _: z[level])
        return reader, q, p, made.decoder(z)


def divergence(q, p):
    """KL of two fields of Gaussians, (B,), as one Gaussian of diagonal covariance over all their numbers."""
    both = [MultivariateNormal(g.mean.flatten(1).double(), g.variance.flatten(1).double().diag_embed()) for g in (q, p)]
    return kl_divergence(*both)


def surprise(own, mask, level):
    """-log p of a mask in nats, (B,), by the definition and with numpy's own enlarging."""
    logits = sum(np.kron(own[k].double().numpy(), np.ones((2**k, 2**k))) for k in range(level, len(own)))
    foreground = 1 / (1 + np.exp(-logits))
    return -np.log(np.where(mask.numpy(), foreground, 1 - foreground)).sum((1, 2, 3))


@pytest.mark.parametrize("raters", ["one", "all"])
def test_terms_are_those_of_the_bound(raters):
    made, cases = small("phiseg", std=0.02, raters=raters), batch(6)
    torch.manual_seed(1)
    terms = made.loss(cases).terms
    mask, q, p, own = parts(made, cases, seed=1)
    wanted = {f"kl_{level + 1}": divergence(q[level], p[level]).mean().item() for level in LEVELS}
    wanted |= {f"cross_entropy_{level + 1}": surprise(own, mask, level).mean() for level in LEVELS}
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize(("changed", "weights"), [({}, (1, 4, 16, 64)), ({"beta": 0.5}, (0.5, 2, 8, 32))])
def test_kl_weighs_more_at_coarser_levels(changed, weights):
    loss = small("phiseg", std=0.02, **changed).loss(batch(6))
    wanted = sum(loss.terms[f"cross_entropy_{level + 1}"] for level in LEVELS)
    wanted += sum(weight * loss.terms[f"kl_{level + 1}"] for level, weight in enumerate(weights))
    torch.testing.assert_close(loss.total.detach(), wanted)


def test_prior_and_posterior_begin_as_one_and_the_posterior_learns_at_once():
    made = small("phiseg", std=0)
    loss = made.loss(batch(6))
    loss.total.backward()
    assert [loss.terms[f"kl_{level + 1}"].item() for level in LEVELS] == [0] * len(LEVELS)
    assert all(head.mean.weight.grad.abs().max() > 0 for head in made.posterior.heads)


def test_running_means_learn_from_latents_of_both_in_training_alone():
    made = small("phiseg")
    norms = {name: module for name, module in made.named_modules() if isinstance(module, torch.nn.BatchNorm2d)}
    made.loss(batch(6))
    made.eval().loss(batch(6))
    seen = {name: norm.num_batches_tracked.item() for name, norm in norms.items()}
    assert {seen[name] for name in norms if name.startswith("posterior")} == {1}
    assert {seen[name] for name in norms if not name.startswith("posterior")} == {2}


def test_sums_are_those_of_the_enlarged_levels():
    own = [torch.randn(2, 1, 8 // 2**level, 12 // 2**level) for level in range(3)]
    for level, got in enumerate(accumulate(own)):
        wanted = sum(np.kron(own[k].numpy(), np.ones((2**k, 2**k))) for k in range(level, 3))
        np.testing.assert_allclose(got.numpy(), wanted, rtol=1e-5, atol=1e-6)


def test_a_loss_that_is_not_finite_is_told_and_not_raised():
    made = small("phiseg", std=0)
    torch.nn.init.constant_(made.posterior.heads[0].mean.bias, torch.nan)
    assert made.loss(batch(6)).total.isnan()


def _normed(ins, outs, kernel=3):
    """Weights of a convolution without bias, scale and offset of its batch normalisation."""
    return kernel**2 * ins * outs + 2 * outs


def _biased(ins, outs, kernel):
    return kernel**2 * ins * outs + outs


WIDTHS = (32, 64, 128, 192, 192, 192, 192)


def released_pyramid(in_channels):
    """Parameters of the released prior or posterior, and of those its layers whose output nothing reads.

    The latent of level l + 1 is enlarged to every finer level; only its map at level l is used.
    """
    ins = (in_channels, *WIDTHS[:-1])
    total = sum(_normed(i, o) + 2 * _normed(o, o) for i, o in zip(ins, WIDTHS, strict=True))
    total += _biased(192, 2, 3) + _biased(192, 2, 1)
    for level in range(4):
        total += _normed(2, 64) + _normed(64, 64)
        total += _normed(WIDTHS[level + 2] + 64, WIDTHS[level]) + _normed(WIDTHS[level], WIDTHS[level])
        total += 2 * _biased(WIDTHS[level], 2, 1)
    unread = sum(level * 2 * _normed(64, 64) for level in range(4))
    return total + unread, unread


def released_likelihood(classes):
    merged = (128, 192, 192, 192, 192)
    total = sum(_normed(2, w) + 3 * _normed(w, w) for w in WIDTHS[:5])
    total += sum(_biased(w, classes, 1) for w in merged)
    for level in range(4):
        total += _normed(merged[level + 1], WIDTHS[level])
        total += _normed(2 * WIDTHS[level], merged[level]) + _normed(merged[level], merged[level])
    return total


def test_published_settings_have_the_parameters_of_the_released_network():
    """18.7 M of two classes, less three differences: layers that nothing reads, and twice the second class."""
    with torch.device("meta"):
        got = sum(weight.numel() for weight in Phiseg(PhisegSettings()).parameters())
    (prior, unread), (posterior, _) = released_pyramid(1), released_pyramid(1 + 2)
    released = prior + posterior + released_likelihood(classes=2)
    assert released == 18_706_994
    mask_channel, second_logits = 9 * 32, released_likelihood(2) - released_likelihood(1)
    assert got == released - 2 * unread - mask_channel - second_logits
    assert got == pytest.approx(released, rel=0.05)


def test_the_recipe_is_the_published_network_at_a_quarter_of_its_width():
    settings = load_recipe("phiseg").method
    assert settings == PhisegSettings(pyramid=PyramidSettings(widths=tuple(width // 4 for width in WIDTHS)))


def test_drawn_latents_are_those_of_the_prior():
    made, kept = small("phiseg", std=0).eval(), []
    made.decoder.register_forward_pre_hook(lambda module, given: kept.extend(given[0]))
    shown = scale_intensity(torch.from_numpy(image()))[None]
    with torch.inference_mode():
        gaussian = made.prior(shown, lambda _, g: g.mean)[0][-1]
        draw(made, shown, range(400))
    standard = (kept[-1] - gaussian.mean) / gaussian.stddev
    assert standard.mean().item() == pytest.approx(0, abs=0.1)
    assert standard.std().item() == pytest.approx(1, abs=0.1)
