"""The denoiser of the panel: how its logits are put together, and what they depend on."""

import pytest
import torch
from pydantic import ValidationError
from tiny import stir

from plurimask.nets.image_encoder import ImageEncoder, ImageEncoderSettings
from plurimask.nets.mask_denoiser import MaskDenoiser, MaskDenoiserSettings
from plurimask.nets.windows import Windows

ENCODER = ImageEncoderSettings(widths=(4, 6, 8), blocks=1)
SMALL = MaskDenoiserSettings(patch=4, widths=(6, 8), blocks=1)


def denoiser(std=0.1, **changed):
    torch.manual_seed(0)
    made = MaskDenoiser(ENCODER, SMALL.model_copy(update=changed))
    stir(made, std)
    return made


def features(count=1, size=16):
    torch.manual_seed(1)
    return ImageEncoder(1, ENCODER)(torch.randn(count, 1, size, size))


def inputs(count=3, size=16):
    torch.manual_seed(2)
    return torch.randn(count, 1, size, size), torch.rand(count), torch.rand(count)


def test_a_fresh_denoiser_says_nothing():
    made = denoiser(std=0)
    x, time, rank = inputs()
    assert not made(x, made.features(features()), time, rank).any()


def test_logits_are_its_own_and_the_weighted_basis_of_the_image():
    """By hand at every pixel, from the outputs of the head."""
    made, outputs = denoiser(), []
    made.head.register_forward_hook(lambda module, given, output: outputs.append(output.detach()))
    x, time, rank = inputs(1)
    fine = []
    made.basis.register_forward_hook(lambda module, given, output: fine.append(output.detach()))
    logits = made(x, made.features(features()), time, rank)[0, 0]
    for row, column in [(0, 0), (5, 10), (15, 3)]:
        said = outputs[0][0, :, row // 4, column // 4]
        own = said[(row % 4) * 4 + column % 4]
        folded = fine[0][0].reshape(8, 2, 2, 8, 8)  # each map as 2x2 pixels of the encoder's stem
        basis = folded[:, row % 2, column % 2, row // 2, column // 2]
        torch.testing.assert_close(logits[row, column], own + said[16:] @ basis)


def test_features_of_one_image_serve_every_mask():
    made = denoiser()
    x, time, rank = inputs()
    given = made.features(features())
    torch.testing.assert_close(made(x, given, time, rank), made(x, given.rows(torch.zeros(3).long()), time, rank))


def test_a_mask_meets_the_features_of_its_row():
    made, shown = denoiser(), features(2)
    x, time, rank = inputs()
    rows = torch.tensor([1, 0, 1])
    together = made(x, made.features(shown).rows(rows), time, rank)
    alone = made(x[:1], made.features([level[1:] for level in shown]), time[:1], rank[:1])
    torch.testing.assert_close(together[:1], alone)


def test_a_window_of_features_lies_under_the_window_of_the_image():
    """Where the net looks at a cell alone, its logits in a window are those of the whole."""
    made, shown = denoiser(), features(2, size=32)
    for layer in made.modules():
        if isinstance(layer, torch.nn.Conv2d) and layer.kernel_size == (3, 3):
            layer.weight.data[:, :, [0, 0, 0, 1, 1, 2, 2, 2], [0, 1, 2, 0, 2, 0, 1, 2]] = 0
    x, time, rank = inputs(2, size=32)
    windows = Windows(torch.tensor([[1, 0], [2, 2]]), (2, 1))
    given = made.features(shown)
    whole = made(x, given, time, rank)
    torch.testing.assert_close(made(windows.cut(x, 8), given.cut(windows), time, rank), windows.cut(whole, 8))


@pytest.mark.parametrize("scalar", ["time", "rank"])
def test_both_scalars_have_a_say_in_their_own_row(scalar):
    made = denoiser()
    x, time, rank = inputs()
    given, moved = made.features(features()), torch.tensor([0.0, 0.3, 0.0])
    after = made(x, given, time + moved * (scalar == "time"), rank + moved * (scalar == "rank"))
    changed = (after - made(x, given, time, rank)).abs().amax((1, 2, 3)) > 1e-5
    assert changed.tolist() == [False, True, False]


def test_a_patch_that_is_no_power_of_2_is_refused():
    with pytest.raises(ValidationError, match="a power of 2, not 3"):
        MaskDenoiserSettings(patch=3)
