"""The Gaussian diffusion against Bayes on a grid, numerical integration and the recursions it is derived from."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from plurimask.diffusion.process import Diffusion, DiffusionSettings, Prediction, ScheduleSettings, gammas

ALPHA = np.concatenate([[np.nan], 1 - np.linspace(1e-4, 0.02, 1000)])
GAMMA = np.concatenate([[1.0], np.cumprod(ALPHA[1:])])
ALL_TIMES = torch.arange(1, 1001)
SOME_TIMES = pytest.mark.parametrize("t", [1, 2, 30, 500, 999, 1000])
SOME_MOVES = pytest.mark.parametrize(("t", "s"), [(2, 1), (40, 39), (1000, 999), (500, 250), (1000, 1), (900, 20)])
PREDICTS = pytest.mark.parametrize("predicts", ["eps", "x_0", "v"])


def diffusion(schedule="linear", timesteps=1000, **settings):
    return Diffusion(DiffusionSettings(schedule=ScheduleSettings(name=schedule, timesteps=timesteps), **settings))


def time(*t):
    return torch.tensor(t)


def pixel(*values):
    """One image a value, of one pixel."""
    return torch.tensor(values, dtype=torch.float32)[:, None, None, None]


def random_pair(count=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x_0 = torch.randint(0, 2, (count, 1, 4, 4), generator=generator).float() * 2 - 1
    return x_0, torch.randn(x_0.shape, generator=generator)


@SOME_TIMES
def test_q_sample_has_the_moments_of_the_single_steps(t):
    """Eq. 1 applied t times from x_0 = 0.8, mean and variance carried along, gives Eq. 2."""
    mean, variance = 0.8, 0.0
    for alpha in ALPHA[1 : t + 1]:
        mean, variance = math.sqrt(alpha) * mean, alpha * variance + 1 - alpha
    process = diffusion()
    assert process.q_sample(pixel(0.8), time(t), pixel(0.0)).item() == pytest.approx(mean, rel=1e-5)
    assert process.q_sample(pixel(0.0), time(t), pixel(1.0)).item() == pytest.approx(math.sqrt(variance), rel=1e-5)


def bayes(t, s, x_0, x_t):
    """Mean and variance of x_s from q(x_s | x_0) q(x_t | x_s) on a grid, normalised by its sum."""
    x_s = np.linspace(-6, 6, 300_001)
    forward = GAMMA[t] / GAMMA[s]
    log_density = norm.logpdf(x_s, math.sqrt(GAMMA[s]) * x_0, math.sqrt(1 - GAMMA[s]))
    log_density += norm.logpdf(x_t, math.sqrt(forward) * x_s, math.sqrt(1 - forward))
    weight = np.exp(log_density - log_density.max())
    weight /= weight.sum()
    mean = (weight * x_s).sum()
    return mean, (weight * (x_s - mean) ** 2).sum()


@SOME_MOVES
@pytest.mark.parametrize(("x_0", "x_t"), [(1.0, 0.9), (-1.0, 1.3)])
def test_posterior_is_bayes_on_a_grid(t, s, x_0, x_t):
    mean, variance = bayes(t, s, x_0, x_t)
    process = diffusion()
    assert process.posterior_mean(pixel(x_0), pixel(x_t), time(t), time(s)).item() == pytest.approx(mean, abs=1e-5)
    assert process.posterior_variance(time(t), time(s)).item() == pytest.approx(variance, rel=2e-4)


@SOME_MOVES
def test_posterior_of_a_long_move_is_its_single_steps_composed(t, s):
    """Each step is Gaussian with a mean linear in x_t, so that means and variances compose exactly."""
    process, now = diffusion(), torch.arange(t, s, -1)
    one, nought = torch.ones(len(now), 1, 1, 1), torch.zeros(len(now), 1, 1, 1)
    slopes = process.posterior_mean(nought, one, now, now - 1).flatten().tolist()
    starts = process.posterior_mean(one, nought, now, now - 1).flatten().tolist()
    variances = process.posterior_variance(now, now - 1).flatten().tolist()
    mean, variance = -0.4, 0.0
    for slope, start, added in zip(slopes, starts, variances, strict=True):
        mean, variance = slope * mean + start, slope**2 * variance + added
    direct = process.posterior_mean(pixel(1.0), pixel(-0.4), time(t), time(s))
    assert mean == pytest.approx(direct.item(), abs=1e-4)
    assert variance == pytest.approx(process.posterior_variance(time(t), time(s)).item(), rel=3e-4)


def test_posterior_lands_on_x_0():
    process, x_0, x_t = diffusion(), torch.ones(1000, 1, 1, 1), torch.full((1000, 1, 1, 1), -2.0)
    nought = torch.zeros_like(ALL_TIMES)
    torch.testing.assert_close(process.posterior_mean(x_0, x_t, ALL_TIMES, nought), x_0)
    assert (process.posterior_variance(ALL_TIMES, nought) == 0).all()


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("jump", [1, 7, 100])
def test_single_precision_keeps_the_posterior_variance_at_every_time(schedule, jump):
    gamma = gammas(ScheduleSettings(name=schedule))
    t = torch.arange(jump + 1, 1001)
    exact = (1 - gamma[t - jump]) * (1 - gamma[t] / gamma[t - jump]) / (1 - gamma[t])
    variance = diffusion(schedule).posterior_variance(t, t - jump).flatten().double()
    torch.testing.assert_close(variance, exact, rtol=1e-4, atol=0)


@PREDICTS
@SOME_TIMES
def test_prediction_of_the_target_recovers_x_0_and_eps(predicts, t):
    process, (x_0, eps) = diffusion(predicts=predicts), random_pair()
    times = torch.full((8,), t)
    x_t = process.q_sample(x_0, times, eps)
    said = process.predict(process.target(x_0, eps, times), x_t, times)
    torch.testing.assert_close(said.x_0, x_0, rtol=0, atol=1e-4)
    torch.testing.assert_close(said.eps, eps, rtol=0, atol=1e-4)


@SOME_TIMES
def test_v_is_the_speed_of_x_t_along_its_angle(t):
    """Salimans and Ho 2022: x = cos(phi) x_0 + sin(phi) eps, v = dx / dphi, here by central differences."""
    x_0, eps, h = -1.0, 0.7, 1e-6
    phi = math.atan2(math.sqrt(1 - GAMMA[t]), math.sqrt(GAMMA[t]))
    ahead, behind = (math.cos(phi + d) * x_0 + math.sin(phi + d) * eps for d in (h, -h))
    v = diffusion(predicts="v").target(pixel(x_0), pixel(eps), time(t))
    assert v.item() == pytest.approx((ahead - behind) / (2 * h), abs=1e-6)


@PREDICTS
@SOME_TIMES
def test_x_0_is_clamped_and_eps_agrees_with_it(predicts, t):
    process, times = diffusion(predicts=predicts), torch.full((8,), t)
    output, x_t = torch.randn((2, 8, 1, 4, 4), generator=torch.Generator().manual_seed(5)) * 3
    said = process.predict(output, x_t, times)
    assert said.x_0.abs().max() <= 1
    torch.testing.assert_close(process.q_sample(said.x_0, times, said.eps), x_t, rtol=0, atol=1e-5)


@pytest.mark.parametrize("t", [2, 30, 500, 999])
def test_posterior_mean_at_the_predicted_x_0_is_equation_11(t):
    """1 / sqrt(alpha) (x_t - (1 - alpha) / sqrt(1 - gamma) f) where f's x_0 lies inside [-1, 1]."""
    process, x_0, eps = diffusion(), pixel(0.3), pixel(-1.1)
    x_t = process.q_sample(x_0, time(t), eps)
    said = process.predict(eps, x_t, time(t))
    mean = process.posterior_mean(said.x_0, x_t, time(t), time(t - 1)).item()
    printed = (x_t.item() - (1 - ALPHA[t]) / math.sqrt(1 - GAMMA[t]) * -1.1) / math.sqrt(ALPHA[t])
    assert mean == pytest.approx(printed, abs=1e-4)


def moves_everywhere():
    """Every t with s = t - 1, then with the s of a ten-step sampler and of a single step."""
    t = ALL_TIMES
    return torch.cat([t, t, t]), torch.cat([t - 1, (t - 100).clamp(min=0), torch.zeros_like(t)])


def log_variance(variance, logit=None):
    t, s = moves_everywhere()
    interpolation = None if logit is None else torch.full((len(t), 1, 1, 1), float(logit))
    return diffusion(variance=variance).reverse_log_variance(interpolation, t, s)


@pytest.mark.parametrize("logit", [-1e30, -50, -3, 0, 0.2, 7, 1e30])
def test_learned_variance_lies_between_its_bounds_for_any_output(logit):
    learned = log_variance("learned-range", logit)
    assert (learned >= log_variance("fixed-small") - 1e-5).all()
    assert (learned <= log_variance("fixed-large") + 1e-5).all()


@pytest.mark.parametrize(("logit", "bound"), [(-1e4, "fixed-small"), (1e4, "fixed-large")])
def test_learned_variance_reaches_its_bounds(logit, bound):
    torch.testing.assert_close(log_variance("learned-range", logit), log_variance(bound))


def test_learned_variance_is_the_geometric_mean_of_its_bounds_at_logit_0():
    middle = (log_variance("fixed-small") + log_variance("fixed-large")) / 2
    torch.testing.assert_close(log_variance("learned-range", 0.0), middle)


def test_fixed_variances_are_one_minus_alpha_and_the_posteriors():
    """The posterior variance of the first step is 0: as improved DDPM does, that of the second is taken for it."""
    exact = (1 - GAMMA[1:-1]) * (1 - ALPHA[2:]) / (1 - GAMMA[2:])
    large, small = (log_variance(f"fixed-{size}").flatten()[:1000] for size in ("large", "small"))
    torch.testing.assert_close(large, torch.from_numpy(np.log(1 - ALPHA[1:])).float(), rtol=0, atol=1e-4)
    torch.testing.assert_close(small[1:], torch.from_numpy(np.log(exact)).float(), rtol=0, atol=1e-4)
    assert small[0] == small[1]


def test_the_second_output_channel_is_the_interpolation_where_the_variance_is_learned():
    output, x_t = torch.arange(64.0).reshape(2, 2, 4, 4), torch.zeros(2, 1, 4, 4)
    learned, fixed = diffusion(), diffusion(variance="fixed-small")
    assert (learned.settings.output_channels, fixed.settings.output_channels) == (2, 1)
    assert torch.equal(learned.predict(output, x_t, time(3, 4)).interpolation, output[:, 1:])
    assert fixed.predict(output[:, :1], x_t, time(3, 4)).interpolation is None


def interpolated_variance(t, share):
    """Nichol and Dhariwal 2021, Eq. 15, in double precision."""
    inner = max(t, 2)
    small = (1 - GAMMA[inner - 1]) * (1 - ALPHA[inner]) / (1 - GAMMA[inner])
    return (1 - ALPHA[t]) ** share * small ** (1 - share)


def posterior(t, x_0, x_t):
    mean = math.sqrt(GAMMA[t - 1]) * (1 - ALPHA[t]) * x_0 + math.sqrt(ALPHA[t]) * (1 - GAMMA[t - 1]) * x_t
    return mean / (1 - GAMMA[t]), math.sqrt((1 - GAMMA[t - 1]) * (1 - ALPHA[t]) / (1 - GAMMA[t]))


def vlb_of_pixel(t, x_0, x_t, said_x_0, share):
    logit = math.log(share / (1 - share))
    said = Prediction(pixel(said_x_0), pixel(0.0), pixel(logit))
    return diffusion().vlb_bits(pixel(x_0), pixel(x_t), time(t), said).item()


@pytest.mark.parametrize("t", [2, 10, 500, 1000])
@pytest.mark.parametrize(("said_x_0", "share"), [(1.0, 0.5), (0.7, 0.1), (-0.4, 0.9)])
def test_vlb_term_is_the_kl_by_numerical_integration(t, said_x_0, share):
    q_mean, q_sd = posterior(t, 1.0, 0.6)
    p_mean, p_sd = posterior(t, said_x_0, 0.6)[0], math.sqrt(interpolated_variance(t, share))

    def integrand(x):
        return norm.pdf(x, q_mean, q_sd) * (norm.logpdf(x, q_mean, q_sd) - norm.logpdf(x, p_mean, p_sd))

    kl, _ = quad(integrand, q_mean - 12 * q_sd, q_mean + 12 * q_sd, epsabs=1e-13)
    assert vlb_of_pixel(t, 1.0, 0.6, said_x_0, share) == pytest.approx(kl / math.log(2), rel=2e-3, abs=1e-6)


@pytest.mark.parametrize("x_0", [-1.0, 1.0])
@pytest.mark.parametrize("said_x_0", [-0.05, -0.004, 0.0, 0.01])
def test_first_vlb_term_is_the_probability_of_the_pixels_side(x_0, said_x_0):
    sd = math.sqrt(interpolated_variance(1, 0.3))
    background = norm.cdf(0, said_x_0, sd)
    probability = background if x_0 < 0 else norm.sf(0, said_x_0, sd)
    bits = vlb_of_pixel(1, x_0, 0.2, said_x_0, 0.3)
    assert bits == pytest.approx(-math.log2(probability), rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.7, 1.0])
def test_first_vlb_term_of_a_soft_pixel_is_expected_over_its_levels(share):
    """A pixel that this share of the readers drew."""
    low, high, soft = (vlb_of_pixel(1, x_0, 0.2, 0.006, 0.5) for x_0 in (-1.0, 1.0, 2 * share - 1))
    assert low != pytest.approx(high, rel=0.1)
    assert soft == pytest.approx(share * high + (1 - share) * low, rel=1e-5)


def all_terms(said_x_0):
    """Every vlb term of mask +1 under a predictor that always says `said_x_0`, with the posterior's variance, (T,)."""
    x_0 = torch.ones(1000, 1, 1, 1)
    process = diffusion(variance="fixed-small")
    x_t = process.q_sample(x_0, ALL_TIMES, torch.zeros_like(x_0))
    said = Prediction(torch.full_like(x_0, said_x_0), torch.zeros_like(x_0), None)
    return process.vlb_bits(x_0, x_t, ALL_TIMES, said).double()


def test_vlb_sums_to_the_drop_in_signal_to_noise():
    """Kingma et al. 2021, Eq. 13: L_{t-1} = (SNR(s) - SNR(t)) / 2 |x_0 - x_hat|^2 nats, which telescopes over t > 1."""
    snr = GAMMA[[1, 1000]] / (1 - GAMMA[[1, 1000]])
    expected = 0.5 * (snr[0] - snr[1]) * (1 - 0.4) ** 2 / math.log(2)
    assert all_terms(0.4)[1:].sum().item() == pytest.approx(expected, rel=1e-4)


def test_vlb_is_a_mean_over_pixels_for_each_image():
    process, (x_0, eps) = diffusion(), random_pair()
    t = torch.arange(1, 801, 100)
    x_t = process.q_sample(x_0, t, eps)
    said = process.predict(torch.cat([eps * 0.5, eps], dim=1), x_t, t)
    whole = process.vlb_bits(x_0, x_t, t, said)

    def alone(row, column):
        part = slice(row, row + 1), slice(column, column + 1)
        crop = Prediction(said.x_0[:, :, *part], said.eps[:, :, *part], said.interpolation[:, :, *part])
        return process.vlb_bits(x_0[:, :, *part], x_t[:, :, *part], t, crop)

    pixels = torch.stack([alone(row, column) for row in range(4) for column in range(4)])
    assert whole.shape == (8,)
    torch.testing.assert_close(whole, pixels.mean(0))


def test_vlb_has_a_finite_gradient_at_every_time():
    process, x_0 = diffusion(), torch.ones(1000, 1, 1, 1)
    output = (1e4 * torch.randn((1000, 2, 1, 1), generator=torch.Generator().manual_seed(1))).requires_grad_()
    x_t = process.q_sample(x_0, ALL_TIMES, -torch.ones_like(x_0))
    process.vlb_bits(x_0, x_t, ALL_TIMES, process.predict(output, x_t, ALL_TIMES)).sum().backward()
    assert output.grad.isfinite().all()


def test_the_schedule_is_no_part_of_a_checkpoint():
    assert not diffusion().state_dict()


EVERY = pytest.mark.parametrize("name", ["linear", "cosine"])


def gamma_of(name, timesteps=1000):
    return gammas(ScheduleSettings(name=name, timesteps=timesteps)).numpy()


def one_minus_alpha(name, timesteps=1000):
    gamma = gamma_of(name, timesteps)
    return 1 - gamma[1:] / gamma[:-1]


@EVERY
@pytest.mark.parametrize("timesteps", [2, 10, 100, 1000, 4000])
def test_gamma_falls_from_one_and_stays_positive(name, timesteps):
    gamma = gamma_of(name, timesteps)
    assert gamma.shape == (timesteps + 1,)
    assert gamma[0] == 1
    assert (np.diff(gamma) < 0).all()
    assert gamma[-1] > 0


@EVERY
@pytest.mark.parametrize("timesteps", [2, 10, 1000])
def test_no_step_removes_more_than_its_limit(name, timesteps):
    assert one_minus_alpha(name, timesteps).max() <= 0.999 + 1e-12


def test_linear_is_that_of_ddpm():
    np.testing.assert_allclose(one_minus_alpha("linear"), np.linspace(1e-4, 0.02, 1000), rtol=1e-10)


@pytest.mark.parametrize("timesteps", [100, 250, 500, 4000])
def test_linear_ends_at_about_the_same_noise_for_any_number_of_steps(timesteps):
    assert np.log(gamma_of("linear", timesteps)[-1]) == pytest.approx(np.log(gamma_of("linear")[-1]), rel=0.12)


@pytest.mark.parametrize("timesteps", [100, 1000, 4000])
def test_cosine_is_equation_17(timesteps):
    time = np.arange(timesteps + 1) / timesteps
    f = np.cos((time + 0.008) / (1 + 0.008) * np.pi / 2) ** 2
    # The last step alone is cut to 0.999: the equation would end at exactly 0.
    np.testing.assert_allclose(gamma_of("cosine", timesteps)[:-1], (f / f[0])[:-1], rtol=1e-9)


def test_cosine_ends_on_the_cut_step():
    assert one_minus_alpha("cosine")[-1] == pytest.approx(0.999)
