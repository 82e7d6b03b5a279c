"""The denoisers: figures of the paper-size network, the patch stem, and SegDiff's sum of image and mask."""

import pytest
import torch
from pydantic import ValidationError
from tiny import stir
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from plurimask.nets.denoiser import Denoiser, DenoiserSettings, SummedDenoiser, SummedDenoiserSettings

SMALL = DenoiserSettings(channels=(32, 32, 64), residual_blocks=1, attention=(False, False, True), head_channels=32)


def small(image_channels=1, output_channels=2, **changed):
    """A small denoiser in evaluation mode, away from its zero start so that inputs matter."""
    torch.manual_seed(0)
    net = Denoiser(image_channels, output_channels, SMALL.model_copy(update=changed)).eval()
    for weight in net.parameters():
        nn.init.normal_(weight, std=0.05)
    return net


PLAIN = {"channels": (32, 32), "attention": (False, False), "residual_blocks": 1, "head_channels": 32}


def summed(image_channels=1, output_channels=2, **changed):
    torch.manual_seed(0)
    settings = SummedDenoiserSettings(**PLAIN | {"features": 16, "image_blocks": 2} | changed)
    made = SummedDenoiser(image_channels, output_channels, settings)
    stir(made, 0.05)
    return made.eval()


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


@pytest.mark.parametrize("make", [small, summed], ids=["concatenated", "summed"])
@pytest.mark.parametrize("which", [0, 1, 2], ids=["x_t", "image", "t"])
def test_output_depends_on_every_input(make, which):
    net, given = make(), list(inputs())
    before = net(*given)
    given[which] = given[which].flip(0)
    assert (net(*given) - before).std() > 0.01 * before.std()


@pytest.mark.parametrize("make", [small, summed], ids=["concatenated", "summed"])
@pytest.mark.parametrize(("patch", "output_channels"), [(1, 1), (4, 2)])
def test_output_has_the_size_of_the_input_and_sees_every_image_channel(make, patch, output_channels):
    net, (x_t, image, t) = make(4, output_channels, patch=patch), inputs((16, 32), image_channels=4)
    before = net(x_t, image, t)
    assert before.shape == (2, output_channels, 16, 32)
    for channel in range(4):
        changed = image.clone()
        changed[:, channel] += 1
        assert not torch.allclose(net(x_t, changed, t), before, atol=1e-4)


def test_in_a_mix_of_precisions_maps_are_normalised_in_single():
    made, seen = small(), []
    norms = [part for part in made.modules() if isinstance(part, nn.GroupNorm)]
    for norm in norms:
        norm.register_forward_hook(lambda module, given, said: seen.append(said.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        assert made(*inputs()).dtype is torch.bfloat16
    assert seen == [torch.float32] * len(norms)


@pytest.mark.parametrize("channels", [32, 64, 96, 128])
def test_time_reaches_the_output_at_any_width(channels):
    """A group norm with one channel a group would take the time embedding out again."""
    net = small(channels=(channels,), attention=(False,))
    x_t, image, _ = inputs()
    early, late = (net(x_t, image, torch.full((2,), t)) for t in (3, 900))
    assert (late - early).std() > 0.01 * early.std()


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"channels": (32, 64)}, "as many levels of attention as of channels, 2, not 5"),
        ({"channels": (32, 48), "attention": (False, False)}, "multiples of 32"),
        ({"channels": (32, 96), "attention": (False, True), "head_channels": 64}, "multiples of head_channels"),
        ({"channels": (32,), "attention": (False,), "head_channels": 64}, "multiples of head_channels"),
        ({"patch": 17}, "less than or equal to 16"),
    ],
)
def test_settings_that_make_no_network_are_refused(wrong, match):
    with pytest.raises(ValidationError, match=match):
        DenoiserSettings(**wrong)


def features(made, *given):
    """What the U-Net is given."""
    kept = []
    with made.net.register_forward_hook(lambda module, args, output: kept.append(args[0])), torch.no_grad():
        made(*given)
    return kept[0]


def test_image_and_mask_meet_only_in_a_sum():
    made = summed()
    (first, second), (one, other), _ = inputs()
    t = torch.tensor([5])
    corners = [features(made, x[None], b[None], t) for x in (first, second) for b in (one, other)]
    torch.testing.assert_close(corners[0] + corners[3], corners[1] + corners[2])
    assert (corners[0] - corners[1]).abs().max() > 0.1
    assert (corners[0] - corners[2]).abs().max() > 0.1


def test_the_mask_is_encoded_by_one_3x3_convolution():
    made, (x_t, image, t) = summed(), inputs()
    moved = features(made, x_t, image, t) - features(made, torch.zeros_like(x_t), image, t)
    expected = nn.functional.conv2d(x_t, made.mask_encoder.weight, padding=1)
    torch.testing.assert_close(moved, expected, rtol=1e-4, atol=1e-4)


def test_the_image_encoder_has_the_layout_of_rrdb():
    """Three dense blocks of five 3x3 convolutions each, a first and a last convolution around them."""
    width, growth, blocks = 16, 32, 2
    ins = [width + k * growth for k in range(5)]
    outs = [growth] * 4 + [width]
    dense = sum(9 * i * o + o for i, o in zip(ins, outs, strict=True))
    expected = (9 * width + width) + blocks * 3 * dense + (9 * width * width + width)
    assert sum(weight.numel() for weight in summed().image_encoder.parameters()) == expected


def test_without_residual_branches_the_image_encoder_is_its_two_convolutions():
    """A dense block whose last convolution says 0 is the identity, so an RRDB is x + 0.2 x; one more residual goes
    around the whole stack."""
    made, (_, image, _) = summed(), inputs()
    encoder = made.image_encoder
    for block in encoder.blocks:
        for dense in block.blocks:
            nn.init.zeros_(dense.layers[-1].weight)
            nn.init.zeros_(dense.layers[-1].bias)
    shallow = encoder.start(image)
    torch.testing.assert_close(encoder(image), shallow + encoder.end(1.2**2 * shallow), rtol=1e-4, atol=1e-4)
