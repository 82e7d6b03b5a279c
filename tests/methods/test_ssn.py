"""Stochastic Segmentation Networks: the loss against a direct computation, and the covariance of what is drawn."""

import math

import numpy as np
import pytest
import torch
from small_batches import batch, draw, learn_one_case
from tiny import SIZE, small

from plurimask.methods.ssn import LogitGaussian, negative_log_likelihood
from plurimask.seeds import OWN, generator


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


def test_loss_stays_finite_where_a_likelihood_would_underflow():
    assert negative_log_likelihood(torch.full((20, 1, 128 * 128), -30.0), torch.ones(1, 128 * 128)).isfinite().all()


@pytest.mark.parametrize("raters", ["one", "all"])
def test_loss_of_a_batch_is_that_of_mirrored_draws(raters):
    made, cases = small("ssn", raters=raters), batch()
    torch.manual_seed(1)
    loss = made.loss(cases)
    torch.manual_seed(1)
    shown, reader = cases.all_readers() if raters == "all" else cases.one_reader()
    noise = torch.randn(10, len(shown), 10 + SIZE**2).double()
    with torch.no_grad():
        said = made.gaussian(shown)
    total = 0.0
    for row, mask in enumerate(reader.flatten(1)):
        mean, factor, variance = (part[row].double() for part in said)
        scores = []
        for drawn in noise[:, row]:
            deviation = factor.T @ drawn[:10] + variance.sqrt() * drawn[10:]
            for logits in (mean + deviation, mean - deviation):
                scores.append(torch.log(torch.where(mask, torch.sigmoid(logits), torch.sigmoid(-logits))).sum())
        total += math.log(20) - torch.stack(scores).logsumexp(0).item()
    assert loss.total.item() == pytest.approx(total / len(shown), rel=1e-5)


def test_draws_have_the_covariance_of_the_low_rank_and_the_diagonal():
    made = gaussian()
    torch.manual_seed(0)
    deviation = made.deviations(torch.randn(200_000, 7))
    expected = made.factor[0].T @ made.factor[0] + made.variance[0].diag()
    torch.testing.assert_close(torch.cov(deviation.T), expected, rtol=0.03, atol=0.03)
    torch.testing.assert_close(deviation.mean(0), torch.zeros(5), rtol=0, atol=0.02)


def test_a_row_of_noise_meets_its_own_image():
    made = gaussian(rows=3)
    noise = torch.randn(4, 3, 7)
    second = LogitGaussian(*(part[1:2] for part in made))
    torch.testing.assert_close(made.deviations(noise)[2, 1], second.deviations(noise[2, 1:2])[0])


def test_heads_are_mean_log_variance_and_factor():
    made = small("ssn")
    torch.nn.init.zeros_(made.head.weight)
    made.head.bias.data = torch.tensor([0.5, math.log(0.25), *range(1, 11)])
    said = made.gaussian(batch().image)
    assert said.mean.unique().tolist() == [0.5]
    assert said.variance.unique().tolist() == pytest.approx([0.25 + 1e-5])
    assert said.factor[0, :, 7].tolist() == [*range(1, 11)]


def test_terms_tell_shared_from_diagonal_variance():
    made = small("ssn")
    torch.nn.init.zeros_(made.head.weight)
    made.head.bias.data = torch.tensor([0.0, 0.0, 1.0, 2.0, 3.0, *[0.0] * 7])
    terms = made.loss(batch()).terms
    assert {name: round(term.item(), 3) for name, term in terms.items()} == {"shared": 14.0, "diagonal": 1.0}


def test_a_mask_is_where_the_logit_drawn_under_its_seed_is_positive():
    made, shown = small("ssn"), batch(1).image
    noise = torch.from_numpy(generator(11, OWN).standard_normal(10 + SIZE**2, dtype=np.float32))
    with torch.inference_mode():
        mean, factor, variance = (part[0] for part in made.gaussian(shown))
        logits = mean + factor.T @ noise[:10] + variance.sqrt() * noise[10:]
        mask = draw(made, shown, [11])[0]
    assert ((logits.reshape(SIZE, SIZE) > 0) != mask).float().mean() < 0.004


def test_one_case_with_one_reader_is_learned():
    """By the mean of (1): in (2) it is enough that one of the draws fits, so that single masks may miss."""
    made = small("ssn", std=0)
    shown, drawn = learn_one_case(made, 200)
    with torch.inference_mode():
        mean = made.eval().gaussian(shown).mean.reshape(drawn.shape)
    assert ((mean > 0) == drawn).float().mean() > 0.99
