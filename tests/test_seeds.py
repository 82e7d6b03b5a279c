"""Noise in NumPy is PyTorch's."""

import numpy as np
import pytest
import torch

from plurimask.seeds import normal_noise


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
