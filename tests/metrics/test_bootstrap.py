"""Patient bootstrap against a slow loop, scipy, the truth by simulation, and at its edges."""

import numpy as np
import pytest
from scipy import stats

from plurimask.errors import InputError, SettingsError
from plurimask.metrics.bootstrap import patient_bootstrap

RANDOM = np.random.default_rng(5)


def clustered(patients, cases, spread, generator):
    """(patients * cases, 1) values of mean 0: a normal effect of each patient and noise of each case; and names."""
    effects = generator.normal(scale=spread, size=(patients, 1))
    values = effects + generator.normal(size=(patients, cases))
    return values.reshape(-1, 1), [f"p{index}" for index in range(patients) for _ in range(cases)]


def slow_interval(values, patients, draws, seed):
    """By lists of cases, one draw at a time; the same stream of patients as a generator of numpy gives."""
    names = sorted(set(patients))
    picked = np.random.default_rng(seed).integers(len(names), size=(draws, len(names)))
    means = []
    for draw in picked:
        cases = [value for index in draw for value, name in zip(values, patients, strict=True) if name == names[index]]
        defined = [value for value in cases if not np.isnan(value)]
        means += [sum(defined) / len(defined)] if defined else []
    return np.quantile(means, [0.025, 0.975])


def width(values, patients):
    interval = patient_bootstrap(values, patients, draws=2000)
    return (interval.high - interval.low).item()


def test_interval_equals_that_of_a_slow_loop_without_the_missing_values():
    values = RANDOM.normal(size=(14, 3))
    values[[0, 3, 4], 1] = np.nan
    values[2:, 2] = np.nan
    patients = [f"p{index}" for index in RANDOM.integers(5, size=14)]
    patients[:2] = "p0", "p1"
    interval = patient_bootstrap(values, patients, draws=300, seed=3)
    for column in range(3):
        expected = slow_interval(values[:, column], patients, 300, 3)
        assert [interval.low[column], interval.high[column]] == pytest.approx(expected)


def test_with_one_case_a_patient_the_interval_is_that_of_scipy():
    values = RANDOM.exponential(size=(60, 1))
    interval = patient_bootstrap(values, [None] * 60, draws=20_000, level=0.9)
    by_scipy = stats.bootstrap(
        (values[:, 0],), np.mean, n_resamples=20_000, confidence_level=0.9, method="percentile", rng=1
    ).confidence_interval
    assert [interval.low.item(), interval.high.item()] == pytest.approx(list(by_scipy), abs=0.01)


def test_about_95_percent_of_intervals_hold_the_truth():
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        interval = patient_bootstrap(*clustered(60, 4, 1.0, generator), draws=400)
        hits += bool(interval.low < 0 < interval.high)
    # 3 standard errors of a share of 95% in 400 are 3.3%, and a percentile interval of 60 patients is a little narrow.
    assert 0.91 <= hits / 400 <= 0.985


def test_the_width_is_that_of_the_normal_theory_of_patient_means():
    values, patients = clustered(400, 5, 2.0, np.random.default_rng(1))
    means = values.reshape(400, 5).mean(1)
    assert width(values, patients) == pytest.approx(2 * 1.96 * means.std() / np.sqrt(400), rel=0.06)


def test_cases_of_one_patient_widen_the_interval():
    values, patients = clustered(50, 8, 2.0, np.random.default_rng(2))
    assert width(values, patients) > 2 * width(values, [None] * len(values))


def test_a_case_without_a_patient_is_a_patient_of_its_own():
    values = RANDOM.normal(size=(20, 1))
    assert width(values, [None] * 20) == width(values, [f"p{index:02}" for index in range(20)])


def test_one_seed_gives_one_interval_and_another_seed_another():
    values, patients = clustered(20, 2, 1.0, RANDOM)
    first, again, other = (patient_bootstrap(values, patients, draws=500, seed=seed) for seed in (1, 1, 2))
    assert first.low == again.low != other.low


def test_the_order_of_cases_with_patients_does_not_matter():
    values, patients = clustered(20, 3, 1.0, RANDOM)
    order = RANDOM.permutation(60)
    there = patient_bootstrap(values, patients, draws=500)
    back = patient_bootstrap(values[order], [patients[index] for index in order], draws=500)
    np.testing.assert_allclose([there.low, there.high], [back.low, back.high], rtol=1e-12)


def test_columns_see_the_same_draws_of_patients():
    values, patients = clustered(20, 3, 1.0, RANDOM)
    both = patient_bootstrap(np.hstack([values, values + 7]), patients, draws=500)
    assert both.low[1] - both.low[0] == pytest.approx(7)
    assert both.high[1] - both.high[0] == pytest.approx(7)


def test_a_constant_difference_has_an_interval_without_width():
    values, patients = clustered(20, 3, 1.0, RANDOM)
    interval = patient_bootstrap((values + 0.25) - values, patients, draws=500)
    assert [interval.low.item(), interval.high.item()] == pytest.approx([0.25, 0.25])


def test_a_higher_level_gives_a_wider_interval():
    values, patients = clustered(20, 3, 1.0, RANDOM)
    narrow, wide = (patient_bootstrap(values, patients, draws=500, level=level) for level in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_draws_beyond_one_chunk_are_drawn_from_the_same_stream(monkeypatch):
    values, patients = clustered(7, 3, 1.0, RANDOM)
    whole = patient_bootstrap(values, patients, draws=100)
    monkeypatch.setattr("plurimask.metrics.bootstrap._AT_ONCE", 30)
    chunked = patient_bootstrap(values, patients, draws=100)
    assert [chunked.low, chunked.high] == [whole.low, whole.high]


@pytest.mark.filterwarnings("error")
def test_there_is_no_interval_for_fewer_than_two_patients_with_a_value():
    values = np.array([[1.0, np.nan, 1.0], [2.0, np.nan, np.nan], [3.0, np.nan, 3.0]])
    interval = patient_bootstrap(values, ["a", "b", "a"], draws=50)
    assert np.isnan(interval.low).tolist() == np.isnan(interval.high).tolist() == [False, True, True]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("patients", [[], ["a"], ["a", "a"]])
def test_there_is_no_interval_for_one_patient_or_none(patients):
    interval = patient_bootstrap(np.ones((len(patients), 2)), patients, draws=50)
    assert np.isnan([interval.low, interval.high]).all()


@pytest.mark.parametrize("values", [np.ones(3), np.ones((2, 1))])
def test_values_that_do_not_fit_the_patients_are_refused(values):
    with pytest.raises(InputError, match=r"values: expected \(n, k\) and n patients"):
        patient_bootstrap(values, ["a", "b", "c"])


def test_no_draw_is_refused():
    with pytest.raises(SettingsError, match="draws: expected 1 or more, got 0"):
        patient_bootstrap(np.ones((2, 1)), ["a", "b"], draws=0)


@pytest.mark.parametrize("level", [0, 1, 95])
def test_a_level_that_is_no_share_is_refused(level):
    with pytest.raises(SettingsError, match="level: expected above 0 and below 1"):
        patient_bootstrap(np.ones((2, 1)), ["a", "b"], level=level)
