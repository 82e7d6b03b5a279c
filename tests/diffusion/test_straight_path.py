"""The straight path: its noise levels, its times, and its samplers against closed forms."""

from itertools import pairwise

import pytest
import torch
from scipy.stats import kstest

from plurimask.diffusion.samplers import Noise, SamplerSettings, sample
from plurimask.diffusion.straight_path import StraightPath

T = 1000


def tau_of(t, shift=1.0):
    s = t / (T + 1)
    return (1 - s) / (1 + (shift - 1) * s)


SHIFTS = pytest.mark.parametrize("shift", [1.0, 8.0])


@SHIFTS
def test_x_t_is_the_straight_path_over_its_scale(shift):
    torch.manual_seed(0)
    x_0, eps, t = torch.randn(3, 1, 4, 4), torch.randn(3, 1, 4, 4), torch.tensor([1, 400, 1000])
    tau = tau_of(t, shift)[:, None, None, None]
    expected = (tau * x_0 + (1 - tau) * eps) / (tau**2 + (1 - tau) ** 2).sqrt()
    torch.testing.assert_close(StraightPath(shift).q_sample(x_0, t, eps), expected)


def test_noise_grows_with_time_from_none():
    flow = StraightPath(1.0)
    assert flow.gamma[0] == 1
    assert (flow.gamma.diff() < 0).all()
    assert flow.gamma[-1].sqrt().item() == pytest.approx(1 / T, rel=1e-2)
    torch.testing.assert_close(flow.log_gamma.exp(), flow.gamma)
    torch.testing.assert_close(1 - flow.one_minus_gamma, flow.gamma)


@SHIFTS
def test_the_logit_of_a_drawn_time_is_normal(shift):
    torch.manual_seed(0)
    tau = tau_of(StraightPath(shift).draw_times(20_000, -0.5, 0.8), shift)
    # Rounded to a thousandth of the way, which moves a logit far less than the test can see.
    assert kstest(((tau / (1 - tau)).log() + 0.5) / 0.8, "norm").pvalue > 0.01


def test_drawn_times_are_those_of_the_process():
    torch.manual_seed(0)
    t = StraightPath(1.0).draw_times(20_000, 0.0, 20.0)
    assert (t.dtype, t.min().item(), t.max().item()) == (torch.int64, 1, T)


@SHIFTS
def test_ddim_is_eulers_method_on_the_straight_path(shift):
    """Of any denoiser: y moves at (D - y) / (1 - tau), here in double precision and by hand."""

    def clean(y, tau):
        return torch.tanh(3 * y + tau)

    def denoise(x_t, t):
        tau = tau_of(t.double(), shift)[:, None, None, None]
        return clean(x_t * (tau**2 + (1 - tau) ** 2).sqrt(), tau).float()

    seeds, settings = torch.tensor([3, 4]), SamplerSettings(name="ddim", steps=5)
    times = [tau_of(t, shift) for t in settings.times(T)]
    noise = Noise(seeds, torch.device("cpu"))((1, 4, 4))
    y = noise.double() * (times[0] ** 2 + (1 - times[0]) ** 2) ** 0.5
    for now, then in pairwise(times):
        y = y + (then - now) * (clean(y, now) - y) / (1 - now)
    got = sample(denoise, StraightPath(shift), settings, seeds, (1, 4, 4))
    torch.testing.assert_close(got.double(), y, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        SamplerSettings(name="ddim", steps=50),
        SamplerSettings(name="ddpm", steps=50),
        SamplerSettings(name="dpm++", steps=20),
    ],
    ids=["ddim", "ddpm", "dpm++"],
)
def test_independent_pixels_come_at_their_frequency(settings):
    """The best denoiser of a pixel that is +1 with probability p is known: tanh of half its log odds given x_t."""
    flow, p = StraightPath(1.0), 0.3
    prior = torch.tensor(p / (1 - p)).log()

    def denoise(x_t, t):
        signal, variance = flow.gamma[t].sqrt(), flow.one_minus_gamma[t]
        return torch.tanh((prior + 2 * x_t * (signal / variance)[:, None, None, None]) / 2)

    drawn = sample(denoise, flow, settings, torch.arange(4), (1, 64, 64))
    assert (drawn > 0).float().mean().item() == pytest.approx(p, abs=0.02)
    assert ((drawn.abs() - 1).abs() < 0.05).float().mean() > 0.98


@pytest.mark.parametrize(
    ("pixels", "shift", "share"), [(60, 1.0, 0.17), (60, 8.0, 0.23), (1000, 1.0, 0.02), (1000, 8.0, 0.21)]
)
def test_a_shift_draws_pixels_that_go_together_at_their_frequency(pixels, shift, share):
    """All pixels are +1 together with probability 0.25: the best denoiser sums the evidence of all."""
    flow, prior = StraightPath(shift), torch.tensor(0.25 / 0.75).log()

    def denoise(x_t, t):
        signal, variance = flow.gamma[t].sqrt(), flow.one_minus_gamma[t]
        evidence = 2 * (signal / variance)[:, None, None, None] * x_t.sum((2, 3), keepdim=True)
        return torch.tanh((prior + evidence) / 2).expand_as(x_t)

    drawn = sample(denoise, flow, SamplerSettings(name="ddim", steps=8), torch.arange(3000), (1, 1, pixels))
    assert (drawn.mean((1, 2, 3)) > 0).float().mean().item() == pytest.approx(share, abs=0.015)
