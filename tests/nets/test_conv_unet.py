"""The plain U-Net: its layout as published, an independent forward pass, and the start of its weights."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import avg_pool2d, conv2d, interpolate, relu

from plurimask.nets.conv_unet import ConvUnet, ConvUnetSettings, convolution, convolutions

SMALL = ConvUnetSettings(widths=(4, 6, 8), convolutions=2)


def net(seed=0, settings=SMALL):
    torch.manual_seed(seed)
    return ConvUnet(2, settings)


def shown(count=2, size=(16, 24)):
    return torch.randn((count, 2, *size), generator=torch.Generator().manual_seed(1))


def channels(module):
    return [(layer.in_channels, layer.out_channels) for layer in module.modules() if isinstance(layer, nn.Conv2d)]


def test_layers_are_those_of_the_released_code():
    made = net(settings=ConvUnetSettings())
    flat = [(192, 192)] * 3
    assert channels(made.down) == [
        *[(2, 32), (32, 32), (32, 32)],
        *[(32, 64), (64, 64), (64, 64)],
        *[(64, 128), (128, 128), (128, 128)],
        *[(128, 192), (192, 192), (192, 192)],
        *flat * 3,
    ]
    assert [channels(stage) for stage in reversed(made.up)] == [
        *[[(384, 192), (192, 192), (192, 192)]] * 3,
        [(320, 128), (128, 128), (128, 128)],
        [(192, 64), (64, 64), (64, 64)],
        [(96, 32), (32, 32), (32, 32)],
    ]


def test_forward_is_down_by_pooling_and_up_by_bilinear_upsampling_with_skips_behind():
    made, image = net(), shown()
    weights = [(layer.weight, layer.bias) for layer in made.modules() if isinstance(layer, nn.Conv2d)]

    def block(x, start):
        for weight, bias in weights[start : start + 2]:
            x = relu(conv2d(x, weight, bias, padding=1))
        return x

    fine = block(image, 0)
    middle = block(avg_pool2d(fine, 2), 2)
    coarse = block(avg_pool2d(middle, 2), 4)
    # The way up is listed from fine to coarse, after the way down.
    x = block(torch.cat([interpolate(coarse, (8, 12), mode="bilinear", align_corners=True), middle], 1), 8)
    x = block(torch.cat([interpolate(x, (16, 24), mode="bilinear", align_corners=True), fine], 1), 6)
    torch.testing.assert_close(made(image), x)


def test_one_stage_is_a_stack_of_convolutions():
    assert net(settings=ConvUnetSettings(widths=(4,)))(shown(size=(5, 7))).shape == (2, 4, 5, 7)


def test_a_relu_follows_every_convolution():
    layers = list(convolutions(3, 5, 3, 3))
    assert [type(layer) for layer in layers] == [nn.Conv2d, nn.ReLU] * 3


def test_weights_start_as_in_he_et_al_2015():
    torch.manual_seed(0)
    layer = convolution(64, 64, 3)
    assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / (64 * 9)), rel=0.02)
    assert 0 < layer.bias.abs().max() < 0.005
