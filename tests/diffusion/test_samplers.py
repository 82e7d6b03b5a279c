"""The samplers against the exact answer: a Gaussian mixture, whose E[x_0 | x_t] is known in closed form."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import kstest, norm

from plurimask.diffusion.process import Diffusion, DiffusionSettings, Prediction, ScheduleSettings, gammas
from plurimask.diffusion.samplers import DDIMStep, DDPMStep, DPMSolverStep, Move, Noise, SamplerSettings, sample

CPU = torch.device("cpu")
SEEDS = torch.tensor([11, 12])
EVERY = pytest.mark.parametrize(
    "settings",
    [
        SamplerSettings(name="ddpm", steps=20),
        SamplerSettings(name="ddim"),
        SamplerSettings(name="dpm++"),
    ],
    ids=["ddpm", "ddim", "dpm++"],
)


@dataclass(frozen=True)
class Mixture:
    """Gaussians of one sd over the last axis of x (..., P); every position of the axes before it is a draw."""

    weights: tuple[float, ...]
    means: tuple[tuple[float, ...], ...]
    sd: float = 0.1

    def x_0_given(self, x_t, gamma):
        """Mean and variance of each pixel of x_0 given x_t, by Bayes: a mixture of each component's own posterior."""
        means, variance = torch.tensor(self.means), gamma * self.sd**2 + 1 - gamma
        away = x_t[..., None, :] - gamma**0.5 * means
        share = torch.softmax(torch.tensor(self.weights).log() - away.square().sum(-1) / (2 * variance), dim=-1)
        inside = means + gamma**0.5 * self.sd**2 / variance * away
        mean = (share[..., None] * inside).sum(-2)
        between = (share[..., None] * (inside - mean[..., None, :]) ** 2).sum(-2)
        return mean, between + self.sd**2 * (1 - gamma) / variance

    def denoiser(self, diffusion):
        """The perfect f_theta for this mixture, in the diffusion's parametrisation."""
        gamma_of, settings = gammas(diffusion.settings.schedule).tolist(), diffusion.settings

        def denoise(x_t, t):
            gamma, before = gamma_of[t[0]], gamma_of[t[0] - 1]
            x_0, spread = self.x_0_given(x_t, gamma)
            eps = (x_t - gamma**0.5 * x_0) / (1 - gamma) ** 0.5
            said = {"x_0": x_0, "eps": eps, "v": gamma**0.5 * eps - (1 - gamma) ** 0.5 * x_0}[settings.predicts]
            if settings.variance != "learned-range":
                return said
            return torch.cat([said, self.logit(spread, gamma, min(before, 1 - 1e-9))], dim=1)

        return denoise

    @staticmethod
    def logit(spread, gamma, before):
        """The interpolation that gives x_{t-1} its true variance: the posterior's, and that of its mean over x_0."""
        large = 1 - gamma / before
        small = (1 - before) * large / (1 - gamma)
        variance = small + before * (large / (1 - gamma)) ** 2 * spread
        return torch.logit((variance / small).log() / np.log(large / small), eps=1e-6)

    def cdf(self, x, gamma=1.0):
        """Distribution function of one pixel's x_t."""
        sd = np.sqrt(gamma * self.sd**2 + 1 - gamma)
        return sum(w * norm.cdf(x, gamma**0.5 * m, sd) for w, (m,) in zip(self.weights, self.means, strict=True))


ONE_PIXEL = Mixture((0.7, 0.3), ((0.5,), (-0.5,)))
TWO_PIXELS = Mixture((0.5, 0.3, 0.2), ((0.5, 0.5), (0.5, -0.5), (-0.5, -0.5)))


def diffusion(schedule="cosine", predicts="x_0", variance="fixed-small", timesteps=1000):
    schedule = ScheduleSettings(name=schedule, timesteps=timesteps)
    return Diffusion(DiffusionSettings(schedule=schedule, predicts=predicts, variance=variance))


def draw(settings, seeds=SEEDS, shape=(1, 6, 1), **process):
    process = diffusion(**process)
    return sample(ONE_PIXEL.denoiser(process), process, settings, seeds, shape)


@cache
def many(name, steps, variance="fixed-small"):
    """4096 draws of ONE_PIXEL, as float64."""
    settings = SamplerSettings(name=name, steps=steps)
    return draw(settings, shape=(1, 2048, 1), variance=variance).double().numpy().ravel()


MANY = pytest.mark.parametrize(
    "x",
    [
        pytest.param(lambda: many("ddpm", 1000, variance="learned-range"), id="ddpm"),
        pytest.param(lambda: many("ddim", 500), id="ddim"),
        pytest.param(lambda: many("dpm++", 100), id="dpm++"),
    ],
)


@MANY
def test_draws_follow_the_mixture(x):
    assert kstest(x(), ONE_PIXEL.cdf).pvalue > 0.01


def test_fixed_variances_enclose_the_truth():
    """Ho et al. 2020, section 3.2: they are the lower and upper bound on the entropy of a reverse step."""
    small, large = (np.abs(many("ddpm", 100, variance=f"fixed-{size}")) for size in ("small", "large"))
    assert small.std() < 0.095
    assert large.std() > 0.102


@pytest.mark.parametrize(
    "settings",
    [SamplerSettings(name="ddpm", steps=250), SamplerSettings(name="ddim"), SamplerSettings(name="dpm++", steps=6)],
    ids=["ddpm", "ddim", "dpm++"],
)
def test_modes_of_two_pixels_keep_together(settings):
    """The panel's point: of the four sign patterns only the three of the mixture come, in its proportions."""
    process = diffusion()
    x = sample(TWO_PIXELS.denoiser(process), process, settings, SEEDS, (1, 2048, 2)) > 0
    patterns = [(x == torch.tensor(p)).all(-1).float().mean().item() for p in ((1, 1), (1, 0), (0, 0), (0, 1))]
    assert patterns == pytest.approx([0.5, 0.3, 0.2, 0.0], abs=0.03)


def error_against_the_flow(name, steps):
    """Median distance from the exact end of the probability flow, which in one dimension keeps each draw's quantile."""
    first = Noise(SEEDS, CPU)((1, 2048, 1)).double().numpy().ravel()
    grid = np.linspace(-1.3, 1.3, 1_000_001)
    last_gamma = gammas(ScheduleSettings(name="cosine"))[-1].item()
    exact = np.interp(ONE_PIXEL.cdf(first, last_gamma), ONE_PIXEL.cdf(grid), grid)
    return np.median(np.abs(many(name, steps) - exact))


def test_ddim_is_of_first_order():
    """Twice the steps, about half the error."""
    assert 1.5 < error_against_the_flow("ddim", 40) / error_against_the_flow("ddim", 80) < 2.5


def test_dpm_solver_is_of_second_order():
    """Twice the steps, about a quarter of the error."""
    assert 3.3 < error_against_the_flow("dpm++", 40) / error_against_the_flow("dpm++", 80) < 5


@pytest.mark.parametrize("name", ["ddim", "dpm++"])
def test_few_steps_draw_the_masks_of_many(name):
    """At threshold 0, ten steps agree with the exact flow's masks on all but a few pixels."""
    assert ((many(name, 10) > 0) == (many("dpm++", 100) > 0)).mean() > 0.98


@EVERY
@pytest.mark.parametrize("predicts", ["eps", "v"])
def test_parametrisations_draw_the_same(settings, predicts):
    torch.testing.assert_close(draw(settings, predicts=predicts), draw(settings), rtol=0, atol=1e-3)


def state(logit=None):
    """A noisy pixel at t = 700 and a prediction that agrees with it."""
    gamma = gammas(ScheduleSettings(name="linear"))[700].item()
    x_t, x_0 = torch.full((1, 1, 1, 1), 1.3), torch.full((1, 1, 1, 1), -0.6)
    eps = (x_t - gamma**0.5 * x_0) / (1 - gamma) ** 0.5
    return x_t, Prediction(x_0, eps, None if logit is None else torch.full_like(x_t, logit))


def forbidden():
    raise AssertionError("noise was drawn")


def one_step(step, s, noise=1.0, scale=1.0, logit=None):
    """x_s from t = 700 where the drawn noise is `noise`; None: none may be drawn."""
    x_t, said = state(logit)
    drawn = forbidden if noise is None else lambda: torch.full_like(x_t, noise)
    return step(x_t, said, Move(torch.tensor([700]), torch.tensor([s]), drawn, scale)).item()


MOVES = pytest.mark.parametrize("s", [699, 500, 1])


@MOVES
def test_ddpm_step_is_mean_and_sd_of_the_posterior_and_its_noise_is_scaled(s):
    process, (x_t, said) = diffusion("linear"), state()
    t, at = torch.tensor([700]), torch.tensor([s])
    for scale in (0.0, 1.0, 3.0):
        added = 1.5 * scale * process.posterior_variance(t, at).sqrt()
        expected = process.posterior_mean(said.x_0, x_t, t, at) + added
        assert one_step(DDPMStep(process), s, 1.5, scale) == pytest.approx(expected.item(), abs=1e-5)


@MOVES
def test_ddpm_takes_its_variance_from_the_network_where_it_is_learned(s):
    step, gamma = DDPMStep(diffusion("linear", variance="learned-range")), gammas(ScheduleSettings(name="linear"))
    added = one_step(step, s, noise=1.0, logit=1e4) - one_step(step, s, noise=0.0, logit=1e4)
    assert added**2 == pytest.approx(1 - (gamma[700] / gamma[s]).item(), rel=1e-3)


@MOVES
def test_ddim_step_keeps_the_marginal_of_x_s_without_noise(s):
    """Song et al. 2021, Lemma 1: the slope on eps has variance 1 - gamma_s."""
    gamma = gammas(ScheduleSettings(name="linear"))[s].item()
    _, said = state()
    moved = one_step(DDIMStep(diffusion("linear")), s, noise=None)
    assert ((moved - gamma**0.5 * said.x_0.item()) / said.eps.item()) ** 2 == pytest.approx(1 - gamma, rel=1e-3)


@MOVES
def test_first_dpm_solver_step_is_ddim(s):
    """Lu et al. 2022, section 4: at first order the two agree."""
    process = diffusion("linear")
    first = one_step(DPMSolverStep(process), s, noise=None)
    assert first == pytest.approx(one_step(DDIMStep(process), s), abs=2e-5)


@pytest.mark.parametrize("make", [DDPMStep, DDIMStep, DPMSolverStep])
def test_last_step_lands_on_x_0_without_noise(make):
    assert one_step(make(diffusion("linear")), 0, noise=None) == pytest.approx(-0.6)


@pytest.mark.parametrize("at", [0, 1, 2])
def test_each_scale_belongs_to_its_own_step(at):
    """With one step's noise left on, the path is quiet before that step and not after it."""
    seen = []
    process = diffusion()
    exact = ONE_PIXEL.denoiser(process)

    def denoise(x_t, t):
        seen.append(x_t)
        return exact(x_t, t)

    scales = tuple(float(k == at) for k in range(4))
    for noise_scale in (scales, 0.0):
        sample(denoise, process, SamplerSettings(steps=4, noise_scale=noise_scale), SEEDS, (1, 6, 1))
    assert [torch.equal(a, b) for a, b in zip(seen[:4], seen[4:], strict=True)] == [k <= at for k in range(4)]


@EVERY
def test_draw_k_is_the_same_at_any_batch_size_and_that_of_its_own_seed(settings):
    seeds = torch.tensor([*range(40, 47), 40])
    parts = torch.cat([draw(settings, part, shape=(1, 5, 1)) for part in seeds.split(3)])
    whole = draw(settings, seeds, shape=(1, 5, 1))
    assert torch.equal(parts, whole)
    assert torch.equal(whole[0], whole[-1])
    assert not torch.equal(whole[0], whole[1])


def test_noise_of_a_window_is_part_of_that_of_the_plane():
    window = (..., slice(2, 5), slice(1, 3))
    assert torch.equal(Noise(SEEDS, CPU)((1, 8, 6), window), Noise(SEEDS, CPU)((1, 8, 6))[window])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (SamplerSettings(name="ddpm"), 60),
        (SamplerSettings(name="ddim"), 10),
        (SamplerSettings(name="dpm++"), 10),
        (SamplerSettings(name="dpm++", steps=7), 7),
    ],
)
def test_network_is_evaluated_once_a_step(settings, expected):
    calls = []
    process = diffusion(timesteps=60)
    exact = ONE_PIXEL.denoiser(process)

    def denoise(x_t, t):
        calls.append(t)
        return exact(x_t, t)

    sample(denoise, process, settings, SEEDS, (1, 6, 1))
    assert len(calls) == expected


@given(timesteps=st.integers(2, 2000), share=st.floats(0, 1))
def test_times_fall_evenly_from_the_last_to_0(timesteps, share):
    steps = 1 + round(share * (timesteps - 1))
    times = SamplerSettings(steps=steps).times(timesteps)
    assert (times[0], times[-1], len(times)) == (timesteps, 0, steps + 1)
    gaps = -np.diff(times)
    assert gaps.min() >= 1
    assert gaps.max() - gaps.min() <= 2


def test_more_steps_than_the_process_has_are_refused():
    with pytest.raises(ValueError, match="at most 60 sampler steps, as the process has, not 61"):
        draw(SamplerSettings(steps=61), timesteps=60)


@pytest.mark.parametrize("steps", [2, None])
def test_not_one_scale_a_step_is_refused(steps):
    with pytest.raises(ValidationError, match=f"one noise_scale a step, not 3 for steps = {steps}"):
        SamplerSettings(steps=steps, noise_scale=(1.0, 1.0, 1.0))


def test_noise_scale_is_refused_where_no_noise_is_added():
    with pytest.raises(ValidationError, match=r"a sampler that adds noise \(ddpm\) for noise_scale, not ddim"):
        SamplerSettings(name="ddim", noise_scale=0.5)


def test_a_scale_below_0_is_refused():
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        SamplerSettings(noise_scale=-1.0)
