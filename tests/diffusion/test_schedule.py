"""The schedules against the published figures and equations."""

import numpy as np
import pytest
from pydantic import ValidationError

from plurimask.diffusion.schedule import ScheduleSettings, gammas

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


def test_gamma_is_in_double_precision():
    assert gamma_of("linear").dtype == np.float64


def test_linear_is_that_of_ddpm():
    np.testing.assert_allclose(one_minus_alpha("linear"), np.linspace(1e-4, 0.02, 1000), rtol=1e-10)


@pytest.mark.parametrize(("t", "published"), [(1, 0.9999), (500, 0.0786), (1000, 4.0358e-5)])
def test_linear_gamma_at_known_times(t, published):
    assert gamma_of("linear")[t] == pytest.approx(published, rel=2e-3)


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


def test_fewer_than_two_steps_are_refused():
    with pytest.raises(ValidationError, match="greater than or equal to 2"):
        ScheduleSettings(timesteps=1)


def test_an_unknown_schedule_is_refused():
    with pytest.raises(ValidationError, match="'linear' or 'cosine'"):
        ScheduleSettings(name="quadratic")


def test_an_unknown_setting_is_refused():
    with pytest.raises(ValidationError, match="Extra inputs"):
        ScheduleSettings(steps=10)
