"""The image encoder: sizes of its features, what they reach; the emptiness head, and what does not learn from it."""

import math

import pytest
import torch
from tiny import stir

from plurimask.nets.image_encoder import EmptinessHead, ImageEncoder, ImageEncoderSettings, closeness

SMALL = ImageEncoderSettings(widths=(4, 6, 8), blocks=1)


def encoder(channels=1, settings=SMALL):
    torch.manual_seed(0)
    return ImageEncoder(channels, settings)


@pytest.mark.parametrize("channels", [1, 4])
def test_features_halve_from_the_stem_on(channels):
    features = encoder(channels)(torch.randn(2, channels, 16, 24))
    assert [tuple(level.shape) for level in features] == [(2, 4, 8, 12), (2, 6, 4, 6), (2, 8, 2, 3)]


@pytest.mark.parametrize(("patch", "multiple"), [(1, 4), (2, 8), (4, 16)])
def test_sides_are_multiples_of_the_coarsest_pixel(patch, multiple):
    settings = ImageEncoderSettings(patch=patch, widths=(4, 6, 8), blocks=1)
    assert settings.multiple == multiple
    assert encoder(settings=settings)(torch.randn(1, 1, multiple, multiple))[-1].shape[2:] == (1, 1)


def test_the_finest_features_see_what_is_far_away():
    made = encoder(settings=ImageEncoderSettings(widths=(4, 6, 8, 8), blocks=1))
    image = torch.zeros(1, 1, 32, 32, requires_grad=True)
    torch.nn.init.normal_(made.stem.bias)
    made(image)[0][0, :, 0, 0].sum().backward()
    assert image.grad[0, 0, 16:, 16:].any()


def test_closeness_falls_from_the_middle_on():
    close = closeness(torch.Size((5, 3)), torch.device("cpu"))
    assert close.shape == (1, 2, 5, 3)
    assert close[0, :, 2, 1].tolist() == [1, 1]
    expected = [math.exp(-(2**2 + 1**2) / reach**2) for reach in (8, 32)]
    for row, column in [(0, 0), (4, 0), (0, 2)]:
        assert close[0, :, row, column].tolist() == pytest.approx(expected)


def test_closeness_is_no_number_that_a_processor_is_slow_with():
    close = closeness(torch.Size((256, 256)), torch.device("cpu"))
    assert close.min() == 0
    assert close[close > 0].min() >= 1e-20


def test_closeness_of_a_centred_crop_is_that_of_the_whole():
    whole, crop = (closeness(torch.Size((side, side)), torch.device("cpu")) for side in (32, 16))
    torch.testing.assert_close(whole[..., 8:24, 8:24], crop)


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
