"""What a sample's seed depends on; noise in NumPy is PyTorch's."""

import numpy as np
import pytest
import torch
from tiny import image

from plurimask.seeds import normal_noise, sample_seeds


@pytest.mark.parametrize("shape", [(16,), (17,), (1, 5, 7), (1, 64, 64), (1, 61, 67)])
@pytest.mark.parametrize("seed", [0, 7, 2**31 + 3, 2**40 + 5, 2**63 - 1])
def test_noise_is_that_of_pytorch(seed, shape):
    expected = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).numpy()
    drawn = normal_noise(seed, shape)
    assert drawn.dtype == np.float32
    np.testing.assert_allclose(drawn, expected, rtol=0, atol=2e-6)


def test_fewer_numbers_than_pytorch_draws_together_are_refused():
    with pytest.raises(AssertionError):
        normal_noise(0, (15,))


def test_first_seeds_do_not_depend_on_the_count():
    assert sample_seeds(image(), 3, 4) == sample_seeds(image(), 3, 100)[:4]


def test_seeds_depend_on_the_image():
    changed = image()
    changed[0, 0, 0] += 1
    assert not set(sample_seeds(image(), 0, 16)) & set(sample_seeds(changed, 0, 16))


def test_seeds_depend_on_the_seed():
    assert not set(sample_seeds(image(), 0, 16)) & set(sample_seeds(image(), 1, 16))


@pytest.mark.parametrize("same", [np.asfortranarray, lambda array: array.astype(np.float64)])
def test_seeds_depend_on_values_and_not_on_their_storage(same):
    assert sample_seeds(same(image()), 0, 4) == sample_seeds(image(), 0, 4)


def test_seeds_fit_torch_and_do_not_repeat():
    seeds = sample_seeds(image(), 0, 10_000)
    assert len(set(seeds)) == 10_000
    assert min(seeds) >= 0
    assert max(seeds) < 2**63


def test_seeds_are_the_same_on_every_machine():
    plane = np.arange(4, dtype=np.float32).reshape(1, 2, 2)
    assert sample_seeds(plane, 0, 2) == (862042055108943696, 7655022759606326662)
