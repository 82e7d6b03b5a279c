"""The emptiness head: what it says at first, where it looks, and what does not learn from it."""

import pytest
import torch
from tiny import stir

from plurimask.nets.emptiness import EmptinessHead

WIDTH = 4


def head():
    torch.manual_seed(0)
    made = EmptinessHead(WIDTH, patch=2)
    stir(made, 0.5)
    return made


def shown(count=3, side=16):
    """Features and shares."""
    torch.manual_seed(1)
    return torch.randn(count, WIDTH, side // 2, side // 2), torch.rand(count, 1, side, side)


def test_a_fresh_head_says_nothing():
    assert EmptinessHead(WIDTH, patch=2)(*shown()).tolist() == [0.0] * 3


def test_each_image_has_its_own_logit():
    made, (features, share) = head(), shown()
    together = made(features, share)
    assert together.shape == (3,)
    torch.testing.assert_close(together[1:2], made(features[1:2], share[1:2]))
    assert together.unique().numel() == 3


def test_it_does_not_matter_where_a_pixel_lies():
    made, (features, share) = head(), shown()
    turned = made(features.flip(2).mT, share.flip(2).mT)
    torch.testing.assert_close(turned, made(features, share))


def test_features_weigh_what_their_pixels_are_expected_to_be_marked():
    made, seen = head(), []
    made.hidden.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    features, share = torch.zeros(1, WIDTH, 2, 2), torch.zeros(1, 1, 4, 4)
    features[0, :, 0, 1], features[0, :, 1, 0] = 1.0, 7.0
    share[0, 0, 0, 2], share[0, 0, 1, 3], share[0, 0, 3, 0] = 0.5, 0.4, 0.3
    made(features, share)
    assert seen[0].squeeze(0).tolist() == pytest.approx([(0.9 * 1 + 0.3 * 7) / 1.2] * WIDTH, rel=1e-4)


def test_where_no_mask_is_expected_all_pixels_weigh_the_same():
    made, (features, share) = head(), shown()
    torch.testing.assert_close(made(features, 0 * share), made(features, torch.ones_like(share)))


def test_neither_features_nor_shares_learn_from_it():
    made, (features, share) = head(), shown()
    made(features.requires_grad_(), share.requires_grad_()).sum().backward()
    assert features.grad is None
    assert share.grad is None
    assert all(weight.grad.any() for weight in made.parameters())
