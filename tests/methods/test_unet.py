"""The deterministic control: its loss, one mask whatever the seed, and that it must fail where readers disagree."""

import pytest
import torch
from small_batches import batch, panel
from tiny import SIZE, small


@pytest.mark.parametrize("raters", ["one", "all", "mean", "majority"])
def test_loss_is_the_cross_entropy_summed_over_pixels(raters):
    made, cases = small("unet", raters=raters), batch()
    torch.manual_seed(1)
    loss = made.loss(cases)
    torch.manual_seed(1)
    chosen = {"one": cases.one_reader()[1], "all": cases.all_readers()[1]}
    share = cases.readers.sum(1, keepdim=True) / cases.valid.sum(1)[:, None, None, None].double()
    mask = chosen.get(raters, share if raters == "mean" else share > 0.5).double()
    with torch.no_grad():
        shown = cases.all_readers()[0] if raters == "all" else cases.image
        inside = torch.sigmoid(made.head(made.unet(shown)).double())
    surprise = -(mask * inside.log() + (1 - mask) * (1 - inside).log()).sum((1, 2, 3)).mean()
    assert loss.total.item() == pytest.approx(surprise.item(), rel=1e-5)
    assert loss.terms["cross_entropy"].item() == loss.total.item()


def test_every_seed_gives_the_same_mask():
    masks = panel(small("unet"), range(5))
    assert masks.shape == (5, SIZE, SIZE)
    assert (masks == masks[:1]).all()
