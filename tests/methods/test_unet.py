"""The deterministic control: its loss, one mask whatever the seed, and that it must fail where readers disagree."""

import numpy as np
import pytest
import torch
import toy
from small_batches import draw, learn_one_case, panel
from tiny import SIZE, image

from plurimask.datasets.batches import scale_intensity
from plurimask.methods.unet import Unet, UnetSettings
from plurimask.nets.conv_unet import ConvUnetSettings
from plurimask.records import Batch

NET = ConvUnetSettings(widths=(8, 12), convolutions=1)


def method(raters="one", seed=0):
    torch.manual_seed(seed)
    return Unet(UnetSettings(net=NET, raters=raters))


def batch(count=4):
    """Images with three readers each."""
    raters = torch.rand((count, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(3)) > 0.7
    images = torch.from_numpy(np.stack([image(seed) for seed in range(count)]))
    return Batch(scale_intensity(images), raters, torch.ones((count, 3), dtype=torch.bool))


@pytest.mark.parametrize("raters", ["one", "all", "mean", "majority"])
def test_loss_is_the_cross_entropy_summed_over_pixels(raters):
    made, cases = method(raters), batch()
    torch.manual_seed(1)
    loss = made.loss(cases)
    torch.manual_seed(1)
    chosen = {"one": cases.one_reader()[1], "all": cases.all_readers()[1]}
    share = cases.readers.double().mean(1, keepdim=True)
    mask = chosen.get(raters, share if raters == "mean" else share > 0.5).double()
    with torch.no_grad():
        shown = cases.image.repeat_interleave(3, 0) if raters == "all" else cases.image
        inside = torch.sigmoid(made.head(made.unet(shown)).double())
    surprise = -(mask * inside.log() + (1 - mask) * (1 - inside).log()).sum((1, 2, 3)).mean()
    assert loss.total.item() == pytest.approx(surprise.item(), rel=1e-5)
    assert loss.terms["cross_entropy"].item() == loss.total.item()


def test_every_seed_gives_the_same_mask():
    masks = panel(method(), range(5))
    assert masks.shape == (5, SIZE, SIZE)
    assert (masks == masks[:1]).all()


def test_one_case_with_one_reader_is_learned():
    made = method()
    shown, drawn = learn_one_case(made, 100)
    assert (draw(made, shown, [1]) == drawn).float().mean() > 0.99


@pytest.mark.slow
def test_one_mask_cannot_be_drawn_as_often_as_the_readers_draw_each():
    """The control must fail: at every image it draws what most readers drew."""
    torch.manual_seed(0)
    made = Unet(UnetSettings(net=ConvUnetSettings(widths=(16, 32, 32), convolutions=1)))
    share = toy.mode_share(toy.fit(made))
    assert share != toy.known()
    assert share["first"] == pytest.approx(1, abs=toy.MARGIN)
