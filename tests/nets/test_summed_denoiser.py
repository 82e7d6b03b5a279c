"""SegDiff's denoiser: image and mask meet only in a sum, and the image's encoder has the layout of an RRDB stack."""

import pytest
import torch
from tiny import stir
from torch import nn

from plurimask.nets.summed_denoiser import SummedDenoiser, SummedDenoiserSettings

SMALL = {"channels": (32, 32), "attention": (False, False), "residual_blocks": 1, "head_channels": 32}


def net(image_channels=1, output_channels=2, **changed):
    torch.manual_seed(0)
    settings = SummedDenoiserSettings(**SMALL | {"features": 16, "image_blocks": 2, "growth": 4} | changed)
    made = SummedDenoiser(image_channels, output_channels, settings)
    stir(made, 0.05)
    return made.eval()


def inputs(image_channels=1, size=(16, 24), count=2):
    generator = torch.Generator().manual_seed(1)
    x_t = torch.randn((count, 1, *size), generator=generator)
    image = torch.randn((count, image_channels, *size), generator=generator)
    return x_t, image, torch.arange(1, count + 1)


def features(made, *given):
    """What the U-Net is given."""
    kept = []
    with made.net.register_forward_hook(lambda module, args, output: kept.append(args[0])), torch.no_grad():
        made(*given)
    return kept[0]


@pytest.mark.parametrize("patch", [1, 2, 4])
@pytest.mark.parametrize("image_channels", [1, 4])
@pytest.mark.parametrize("output_channels", [1, 2])
def test_output_has_the_size_of_the_input(patch, image_channels, output_channels):
    made = net(image_channels, output_channels, patch=patch)
    assert made(*inputs(image_channels)).shape == (2, output_channels, 16, 24)


def test_image_and_mask_meet_only_in_a_sum():
    made = net()
    (first, second), (one, other), _ = inputs()
    t = torch.tensor([5])
    corners = [features(made, x[None], b[None], t) for x in (first, second) for b in (one, other)]
    torch.testing.assert_close(corners[0] + corners[3], corners[1] + corners[2])
    assert (corners[0] - corners[1]).abs().max() > 0.1
    assert (corners[0] - corners[2]).abs().max() > 0.1


def test_the_mask_is_encoded_by_one_3x3_convolution():
    made, (x_t, image, t) = net(), inputs()
    moved = features(made, x_t, image, t) - features(made, torch.zeros_like(x_t), image, t)
    expected = nn.functional.conv2d(x_t, made.mask_encoder.weight, padding=1)
    torch.testing.assert_close(moved, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("which", [0, 1, 2], ids=["x_t", "image", "t"])
def test_every_input_reaches_the_output(which):
    made, given = net(), list(inputs())
    before = made(*given)
    given[which] = given[which].flip(0)
    assert (made(*given) - before).abs().max() > 1e-3


def test_the_image_encoder_has_the_layout_of_rrdb():
    """Three dense blocks of five 3x3 convolutions each, a first and a last convolution around them."""
    width, growth, blocks = 16, 4, 2
    ins = [width + k * growth for k in range(5)]
    outs = [growth] * 4 + [width]
    dense = sum(9 * i * o + o for i, o in zip(ins, outs, strict=True))
    expected = (9 * width + width) + blocks * 3 * dense + (9 * width * width + width)
    assert sum(weight.numel() for weight in net().image_encoder.parameters()) == expected


def test_without_residual_branches_the_image_encoder_is_its_two_convolutions():
    """A dense block whose last convolution says 0 is the identity, so an RRDB is x + 0.2 x; one more residual goes
    around the whole stack."""
    made, (_, image, _) = net(), inputs()
    encoder = made.image_encoder
    for block in encoder.blocks:
        for dense in block.blocks:
            nn.init.zeros_(dense.layers[-1].weight)
            nn.init.zeros_(dense.layers[-1].bias)
    shallow = encoder.start(image)
    torch.testing.assert_close(encoder(image), shallow + encoder.end(1.2**2 * shallow), rtol=1e-4, atol=1e-4)


def test_every_parameter_learns():
    made = net()
    made(*inputs()).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in made.parameters())
