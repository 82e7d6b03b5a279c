"""Stochastic Segmentation Networks: the loss against a direct computation, and the covariance of what is drawn."""

import math

import numpy as np
import pytest
import torch
import toy
from pydantic import ValidationError
from small_batches import draw, learn_one_case, panel
from tiny import SIZE, image

from plurimask.datasets.batches import scale_intensity
from plurimask.methods.ssn import LogitGaussian, Ssn, SsnSettings, negative_log_likelihood
from plurimask.nets.conv_unet import ConvUnetSettings
from plurimask.records import Batch
from plurimask.seeds import OWN, generator


def method(seed=0, **changed):
    """A small network."""
    torch.manual_seed(seed)
    return Ssn(SsnSettings(net=ConvUnetSettings(widths=(8, 12), convolutions=1), **{"rank": 3, "draws": 6} | changed))


def batch(count=4):
    """Images with three readers each."""
    raters = torch.rand((count, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(3)) > 0.7
    images = torch.from_numpy(np.stack([image(seed) for seed in range(count)]))
    return Batch(scale_intensity(images), raters, torch.ones((count, 3), dtype=torch.bool))


def gaussian(rows=1, rank=2, pixels=5):
    generator = torch.Generator().manual_seed(1)
    mean, factor = (torch.randn((rows, *shape), generator=generator) for shape in ((pixels,), (rank, pixels)))
    return LogitGaussian(mean, factor, torch.rand((rows, pixels), generator=generator))


def test_loss_is_minus_the_log_of_the_mean_likelihood():
    """Few pixels, so that likelihoods can be multiplied and averaged as they stand."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((6, 2, 5), generator=generator, dtype=torch.float64)
    mask = (torch.rand((2, 5), generator=generator) > 0.5).double()
    inside = torch.sigmoid(logits)
    likelihood = (inside * mask + (1 - inside) * (1 - mask)).prod(-1).mean(0)
    torch.testing.assert_close(negative_log_likelihood(logits, mask), -likelihood.log())


def test_loss_of_draws_that_agree_is_the_summed_cross_entropy():
    logits, mask = torch.randn(1, 2, 64, 64), (torch.rand(2, 64 * 64) > 0.5).float()
    each = torch.nn.functional.binary_cross_entropy_with_logits(logits[0].flatten(1), mask, reduction="none")
    got = negative_log_likelihood(logits.flatten(2).expand(20, -1, -1), mask)
    torch.testing.assert_close(got, each.sum(1))


def test_loss_stays_finite_where_a_likelihood_would_underflow():
    assert negative_log_likelihood(torch.full((20, 1, 128 * 128), -30.0), torch.ones(1, 128 * 128)).isfinite().all()


@pytest.mark.parametrize("raters", ["one", "all"])
def test_loss_of_a_batch_is_that_of_mirrored_draws(raters):
    made, cases = method(raters=raters), batch()
    torch.manual_seed(1)
    loss = made.loss(cases)
    torch.manual_seed(1)
    shown, reader = cases.all_readers() if raters == "all" else cases.one_reader()
    noise = torch.randn(3, len(shown), 3 + SIZE**2).double()
    with torch.no_grad():
        said = made.gaussian(shown)
    total = 0.0
    for row, mask in enumerate(reader.flatten(1)):
        mean, factor, variance = (part[row].double() for part in said)
        scores = []
        for drawn in noise[:, row]:
            deviation = factor.T @ drawn[:3] + variance.sqrt() * drawn[3:]
            for logits in (mean + deviation, mean - deviation):
                scores.append(torch.log(torch.where(mask, torch.sigmoid(logits), torch.sigmoid(-logits))).sum())
        total += math.log(6) - torch.stack(scores).logsumexp(0).item()
    assert loss.total.item() == pytest.approx(total / len(shown), rel=1e-5)


def test_draws_have_the_covariance_of_the_low_rank_and_the_diagonal():
    made = gaussian()
    torch.manual_seed(0)
    deviation = made.deviations(torch.randn(200_000, 7))
    expected = made.factor[0].T @ made.factor[0] + made.variance[0].diag()
    torch.testing.assert_close(torch.cov(deviation.T), expected, rtol=0.03, atol=0.03)
    torch.testing.assert_close(deviation.mean(0), torch.zeros(5), rtol=0, atol=0.02)


def test_draws_have_the_distribution_of_torchs_low_rank_gaussian():
    made = gaussian()
    known = torch.distributions.LowRankMultivariateNormal(made.mean, made.factor.mT, made.variance)
    torch.manual_seed(0)
    z = made.mean + made.deviations(torch.randn(100_000, 7))
    again = known.sample((100_000,))[:, 0]
    got, expected = (known.log_prob(draws[:, None]).mean().item() for draws in (z, again))
    assert got == pytest.approx(expected, abs=0.03)


def test_a_row_of_noise_meets_its_own_image():
    made = gaussian(rows=3)
    noise = torch.randn(4, 3, 7)
    second = LogitGaussian(*(part[1:2] for part in made))
    torch.testing.assert_close(made.deviations(noise)[2, 1], second.deviations(noise[2, 1:2])[0])


def test_heads_are_mean_log_variance_and_factor():
    made = method()
    torch.nn.init.zeros_(made.head.weight)
    made.head.bias.data = torch.tensor([0.5, math.log(0.25), 1.0, 2.0, 3.0])
    said = made.gaussian(batch().image)
    assert said.mean.unique().tolist() == [0.5]
    assert said.variance.unique().tolist() == pytest.approx([0.25 + 1e-5])
    assert said.factor[0, :, 7].tolist() == [1, 2, 3]


def test_every_parameter_learns():
    made = method()
    torch.manual_seed(1)
    made.loss(batch()).total.backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in made.parameters())


def test_terms_tell_shared_from_diagonal_variance():
    made = method()
    torch.nn.init.zeros_(made.head.weight)
    made.head.bias.data = torch.tensor([0.0, 0.0, 1.0, 2.0, 3.0])
    terms = made.loss(batch()).terms
    assert {name: round(term.item(), 3) for name, term in terms.items()} == {"shared": 14.0, "diagonal": 1.0}
    assert not any(term.requires_grad for term in terms.values())


def test_a_mask_is_where_the_logit_drawn_under_its_seed_is_positive():
    made, shown = method(), batch(1).image
    noise = torch.from_numpy(generator(11, OWN).standard_normal(3 + SIZE**2, dtype=np.float32))
    with torch.inference_mode():
        mean, factor, variance = (part[0] for part in made.gaussian(shown))
        logits = mean + factor.T @ noise[:3] + variance.sqrt() * noise[3:]
        mask = draw(made, shown, [11])[0]
    assert ((logits.reshape(SIZE, SIZE) > 0) != mask).float().mean() < 0.004


def test_a_panel_is_drawn_from_one_pass_of_the_unet():
    made, rows = method(), []
    made.unet.register_forward_hook(lambda module, inputs, output: rows.append(len(output)))
    masks = panel(made, [1, 2, 3])
    assert (rows, masks.shape, masks.dtype) == ([1], (3, SIZE, SIZE), torch.bool)


def test_one_case_with_one_reader_is_learned():
    """By the mean of (1): in (2) it is enough that one of the draws fits, so that single masks may miss."""
    made = method()
    shown, drawn = learn_one_case(made, 200)
    with torch.inference_mode():
        mean = made.eval().gaussian(shown).mean.reshape(drawn.shape)
    assert ((mean > 0) == drawn).float().mean() > 0.99


@pytest.mark.slow
def test_both_modes_are_drawn_as_often_as_the_readers_draw_them():
    """At a rate of 5e-3 it misses by 0.1: logits grow until no draw lies between the modes, and their shares freeze."""
    torch.manual_seed(0)
    made = Ssn(SsnSettings(net=ConvUnetSettings(widths=(16, 32, 32), convolutions=1)))
    assert toy.mode_share(toy.fit(made, steps=1500)) == toy.known()


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"draws": 7}, "an even number of draws, not 7"),
        ({"draws": 0}, "greater than or equal to 2"),
        ({"rank": 0}, "greater than or equal to 1"),
        ({"raters": "mean"}, "Input should be 'one' or 'all'"),
    ],
)
def test_settings_that_make_no_method_are_refused(wrong, match):
    with pytest.raises(ValidationError, match=match):
        SsnSettings(**wrong)
