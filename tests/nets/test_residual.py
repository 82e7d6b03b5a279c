"""Residual blocks: each pixel has its own norm, a block says its input at first, and a crop is what it was."""

import pytest
import torch

from plurimask.nets.residual import ResidualBlock, ResidualStage, growing, normalise, shrinking


def stirred(module):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator), alpha=0.1)
    return module


def test_channels_of_a_pixel_have_a_mean_square_of_one():
    x = torch.randn((2, 8, 5, 7), generator=torch.Generator().manual_seed(1)) * 30
    torch.testing.assert_close(normalise(x).square().mean(1), torch.ones(2, 5, 7))


def test_a_pixel_of_zeros_stays_zero():
    assert not normalise(torch.zeros(1, 4, 2, 2)).any()


@pytest.mark.parametrize("condition", [None, 3])
def test_a_fresh_block_says_its_input(condition):
    x = torch.randn(2, 6, 4, 4)
    given = None if condition is None else torch.randn(2, condition)
    torch.testing.assert_close(ResidualBlock(6, condition)(x, given), x)


def test_a_condition_reaches_its_own_row():
    torch.manual_seed(0)
    block, x, condition = stirred(ResidualBlock(6, 3)), torch.randn(2, 6, 4, 4), torch.randn(2, 3)
    changed = block(x, condition + torch.tensor([[0.0], [1.0]])) != block(x, condition)
    assert [row.any().item() for row in changed] == [False, True]


def test_far_pixels_have_no_say():
    """Two blocks reach 8 pixels, so that the middle of a crop is that of the whole."""
    torch.manual_seed(0)
    stage, x = stirred(ResidualStage(6, 2)), torch.randn(1, 6, 32, 32)
    torch.testing.assert_close(stage(x)[..., 14:18, 14:18], stage(x[..., 6:26, 6:26])[..., 8:12, 8:12])


def test_down_and_up_again_keep_width_and_size():
    x = torch.randn(1, 4, 8, 12)
    coarse = shrinking((4, 6))[0](x)
    assert coarse.shape == (1, 6, 4, 6)
    assert growing((4, 6))[0](coarse).shape == x.shape
