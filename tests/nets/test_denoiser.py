"""The denoiser: the paper-size network's figures, the patch stem, sizes, and what its settings refuse."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from plurimask.nets.denoiser import Denoiser, DenoiserSettings

SMALL = DenoiserSettings(channels=(32, 32, 64), residual_blocks=1, attention=(False, False, True), head_channels=32)


def small(image_channels=1, output_channels=2, **changed):
    """A small denoiser in evaluation mode, away from its zero start so that inputs matter."""
    torch.manual_seed(0)
    net = Denoiser(image_channels, output_channels, SMALL.model_copy(update=changed)).eval()
    for weight in net.parameters():
        nn.init.normal_(weight, std=0.05)
    return net


def inputs(size=(16, 24), image_channels=1, seed=1):
    generator = torch.Generator().manual_seed(seed)
    x_t = torch.randn((2, 1, *size), generator=generator)
    return x_t, torch.randn((2, image_channels, *size), generator=generator), torch.tensor([3, 700])


@pytest.fixture(scope="module")
def paper_size():
    """The default network without storage: shapes alone."""
    with torch.device("meta"):
        return Denoiser(1, 2, DenoiserSettings())


def test_paper_size_has_the_parameters_of_the_released_network(paper_size):
    assert sum(weight.numel() for weight in paper_size.parameters()) == 85_600_386


def test_paper_size_costs_132_gflop_at_128(paper_size):
    plane, t = torch.zeros(1, 1, 128, 128, device="meta"), torch.zeros(1, dtype=torch.int64, device="meta")
    with FlopCounterMode(display=False) as counter:
        paper_size(plane, plane, t)
    assert counter.get_total_flops() / 1e9 == pytest.approx(132.06, abs=0.01)


class FirstChannels(nn.Module):
    """Stands for the U-Net: hands on the channels that the stem made of x_t."""

    def __init__(self, count):
        super().__init__()
        self.count = count

    def forward(self, folded, t):
        return folded[:, : self.count]


@pytest.mark.parametrize("patch", [1, 2, 4])
def test_stem_and_head_undo_each_other(patch):
    net = small(output_channels=1, patch=patch)
    net.net = FirstChannels(patch**2)
    x_t, image, t = inputs()
    assert torch.equal(net(x_t, image, t), x_t)


@pytest.mark.parametrize("patch", [1, 2, 4])
@pytest.mark.parametrize("multiples", [(1, 1), (3, 5)])
@pytest.mark.parametrize("output_channels", [1, 2])
def test_output_has_the_size_of_the_input(patch, multiples, output_channels):
    net = small(output_channels=output_channels, patch=patch)
    multiple = SMALL.model_copy(update={"patch": patch}).multiple
    size = tuple(m * multiple for m in multiples)
    assert net(*inputs(size)).shape == (2, output_channels, *size)


@pytest.mark.parametrize(("channels", "patch", "multiple"), [((32,), 1, 1), ((32,) * 3, 2, 8), ((32,) * 5, 1, 16)])
def test_multiple_is_the_patch_times_the_halvings(channels, patch, multiple):
    settings = DenoiserSettings(channels=channels, attention=(False,) * len(channels), head_channels=32, patch=patch)
    assert settings.multiple == multiple


def test_patch_costs_less():
    """What the stem is for: four times fewer positions at every level."""

    def flops(patch):
        with FlopCounterMode(display=False) as counter:
            small(patch=patch)(*inputs((32, 32)))
        return counter.get_total_flops()

    assert flops(2) < flops(1) / 3


@pytest.mark.parametrize("which", [0, 1, 2], ids=["x_t", "image", "t"])
def test_output_depends_on_every_input(which):
    net, given = small(), list(inputs())
    before = net(*given)
    given[which] = given[which].flip(0)
    assert (net(*given) - before).std() > 0.01 * before.std()


@pytest.mark.parametrize("channels", [32, 64, 96, 128])
def test_time_reaches_the_output_at_any_width(channels):
    """A group norm with one channel a group would take the time embedding out again."""
    net = small(channels=(channels,), attention=(False,))
    x_t, image, _ = inputs()
    early, late = (net(x_t, image, torch.full((2,), t)) for t in (3, 900))
    assert (late - early).std() > 0.01 * early.std()


def test_every_image_channel_is_used():
    net, (x_t, image, t) = small(image_channels=4), inputs(image_channels=4)
    before = net(x_t, image, t)
    for channel in range(4):
        changed = image.clone()
        changed[:, channel] += 1
        assert not torch.allclose(net(x_t, changed, t), before, atol=1e-4)


def test_images_of_a_batch_do_not_mix():
    net, (x_t, image, t) = small(), inputs()
    torch.testing.assert_close(net(x_t[1:], image[1:], t[1:]), net(x_t, image, t)[1:], rtol=1e-4, atol=1e-4)


def test_every_parameter_learns():
    net = small().train()
    net(*inputs()).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in net.parameters())


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"channels": (32, 64)}, "as many levels of attention as of channels, 2, not 5"),
        ({"channels": (32, 48), "attention": (False, False)}, "multiples of 32"),
        ({"channels": (32, 96), "attention": (False, True), "head_channels": 64}, "multiples of head_channels"),
        ({"channels": (32,), "attention": (False,), "head_channels": 64}, "multiples of head_channels"),
        ({"channels": (0, 32), "attention": (False, False)}, "greater than or equal to 1"),
        ({"residual_blocks": 0}, "greater than or equal to 1"),
        ({"patch": 0}, "greater than or equal to 1"),
        ({"patch": 17}, "less than or equal to 16"),
        ({"filters": (32,)}, "Extra inputs"),
    ],
)
def test_settings_that_make_no_network_are_refused(wrong, match):
    with pytest.raises(ValidationError, match=match):
        DenoiserSettings(**wrong)
