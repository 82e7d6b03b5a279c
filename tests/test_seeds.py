"""What a sample's seed depends on; the streams of its noise."""

import numpy as np
import pytest
from scipy.stats import kstest
from tiny import image

from plurimask.seeds import OWN, PROCESS, content_of, generator, pool_ranks, sample_seeds


def numbers(seed, stream, count=40_000):
    return generator(seed, stream).standard_normal(count, dtype=np.float32)


def test_noise_is_the_same_on_every_machine():
    drawn = generator(7, PROCESS).standard_normal(3, dtype=np.float32)
    assert drawn.tolist() == pytest.approx([-0.293339, 1.703831, 1.539192], abs=1e-5)


@pytest.mark.parametrize("seed", [0, 2**63 - 1])
def test_noise_is_standard_normal_and_its_streams_are_unrelated(seed):
    process, own, other = numbers(seed, PROCESS), numbers(seed, OWN), numbers(seed ^ 1, PROCESS)
    assert kstest(process, "norm").pvalue > 0.001
    assert np.abs(np.corrcoef([process, own, other]) - np.eye(3)).max() < 0.02


def test_ranks_of_a_pool_are_spread_evenly_in_an_order_of_their_own():
    ranks = pool_ranks(content_of(image()), 3, 40)
    apart = np.diff(np.sort(ranks))
    assert np.allclose(apart, 1 / 40)
    assert 0 <= ranks.min() < 1 / 40
    assert abs(np.corrcoef(ranks, np.arange(40))[0, 1]) < 0.5
    assert not np.allclose(np.sort(ranks), np.sort(pool_ranks(content_of(image()), 4, 40)))


def test_seeds_depend_on_the_image_and_the_seed_and_not_on_the_count():
    changed = image()
    changed[0, 0, 0] += 1
    seeds = sample_seeds(content_of(image()), 3, 16)
    assert seeds == sample_seeds(content_of(image()), 3, 100)[:16]
    assert not set(seeds) & set(sample_seeds(content_of(changed), 3, 16))
    assert not set(seeds) & set(sample_seeds(content_of(image()), 1, 16))


@pytest.mark.parametrize("same", [np.asfortranarray, lambda array: array.astype(np.float64)])
def test_seeds_depend_on_values_and_not_on_their_storage(same):
    assert sample_seeds(content_of(same(image())), 0, 4) == sample_seeds(content_of(image()), 0, 4)


def test_seeds_fit_torch_and_do_not_repeat():
    seeds = sample_seeds(content_of(image()), 0, 10_000)
    assert len(set(seeds)) == 10_000
    assert min(seeds) >= 0
    assert max(seeds) < 2**63


def test_seeds_are_the_same_on_every_machine():
    plane = np.arange(4, dtype=np.float32).reshape(1, 2, 2)
    assert sample_seeds(content_of(plane), 0, 2) == (862042055108943696, 7655022759606326662)
