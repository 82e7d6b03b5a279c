"""Flow matching: ranks, emptiness, the loss by hand, one encoding an image, and masks in their proportions."""

import math

import pytest
import torch
import toy
from scipy.stats import kstest
from small_batches import always, batch, corner, draw, images, loss, visible
from tiny import SIZE, small
from torch.nn.functional import binary_cross_entropy_with_logits

from plurimask.diffusion.samplers import SamplerSettings
from plurimask.methods.flow import draw_ranks
from plurimask.records import Batch

EULER = SamplerSettings(name="ddim", steps=4)
ONE_STEP = SamplerSettings(name="ddim", steps=1)


def method(**changed):
    return small("flow", std=0, **changed)


def panel(made, seeds, shown=None, sampler=EULER):
    return draw(made, images(1) if shown is None else shown, seeds, sampler)


SIZES = torch.tensor([[0, 30, 0, 7], [5, 5, 5, 5], [9, 2, 0, 0]])
READ = torch.tensor([[True] * 4, [True] * 4, [True, True, False, False]])


def ranks(draws=5000):
    torch.manual_seed(0)
    return draw_ranks(SIZES.expand(draws, -1, -1), READ)


def test_ranks_of_an_image_follow_sizes_in_equal_shares():
    drawn = ranks()[:, 0]
    empty = drawn[:, [0, 2]]
    assert ((empty > 0) & (empty < 0.5)).all()
    assert ((drawn[:, 3] > 0.5) & (drawn[:, 3] < 0.75)).all()
    assert ((drawn[:, 1] > 0.75) & (drawn[:, 1] < 1)).all()


def test_unread_slots_take_no_share():
    drawn = ranks()[:, 2, :2]
    assert ((drawn[:, 1] < 0.5) & (drawn[:, 0] > 0.5)).all()


def test_equal_sizes_are_ranked_in_random_order():
    assert all(kstest(of_reader, "uniform").pvalue > 0.001 for of_reader in ranks()[:, 1].T)


@pytest.mark.parametrize("row", [0, 1, 2])
def test_ranks_of_all_readers_together_are_uniform(row):
    assert kstest(ranks()[:, row, READ[row]].flatten(), "uniform").pvalue > 0.001


def test_a_fresh_denoiser_costs_a_bit_a_pixel():
    assert loss(method(), batch()).terms["drawn"].item() == pytest.approx(math.log(2), rel=1e-6)


def test_the_loss_is_the_cross_entropy_at_every_reader_who_drew_at_the_mean_and_at_emptiness():
    """The denoiser is replaced by constants, so that what it is shown and what it is compared with can be told."""
    made, cases, shown = small("flow"), batch(), []
    cases.readers[1, :2] = False
    drew = cases.readers.any((2, 3))

    def denoise(x, look, time, rank):
        shown.append((x, time, rank))
        return torch.arange(len(x)).float()[:, None, None, None].expand_as(x) / 10

    made.denoiser.forward = denoise
    terms = loss(made, cases)
    masks = torch.cat([cases.readers[case][drew[case]] for case in range(4)]).double()
    x, time, rank = shown[0]
    assert x.shape == (8, 1, SIZE, SIZE)
    assert time.unique().numel() > 4
    assert rank.unique().numel() == 8
    inside = torch.sigmoid(torch.arange(8).double() / 10)[:, None, None]
    drawn = -(masks * inside.log() + (1 - masks) * (1 - inside).log()).mean((1, 2)).sum() / 10
    share = torch.stack([cases.readers[case][cases.valid[case]].double().mean(0) for case in range(4)])
    with torch.no_grad():
        features = made.encoder(cases.image)
        expected = made.mean_head(features[0])
        mean = binary_cross_entropy_with_logits(expected[:, 0].double(), share)
        e = made.empty_head(features[0], expected.sigmoid()).double().sigmoid()
    empty = -(e[[0, 0, 2, 2, 1, 3, 3, 3]].negative() + 1).log().sum() - 2 * e[1].log()
    empty = empty / 10
    assert terms.terms["drawn"].item() == pytest.approx(drawn.item(), rel=1e-5)
    assert terms.terms["mean"].item() == pytest.approx(mean.item(), rel=1e-5)
    assert terms.terms["empty"].item() == pytest.approx(empty.item(), rel=1e-5)
    assert terms.total.item() == pytest.approx((drawn + mean + empty).item(), rel=1e-5)


def test_a_batch_in_which_nobody_drew_is_learned_from():
    made, cases = small("flow"), batch()
    terms = loss(made, Batch(cases.image, torch.zeros_like(cases.readers), cases.valid))
    terms.total.backward()
    assert terms.terms["drawn"] == 0
    assert terms.terms["empty"] > 0
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in made.parameters())


def test_the_denoiser_learns_in_windows_that_hold_the_masks():
    made, shown = small("flow", windows=(16, 24)), []
    made.process.draw_times = lambda count: torch.ones(count, dtype=torch.int64)  # x_t is all but the mask
    made.denoiser.register_forward_pre_hook(lambda module, given: shown.append(given[0]))
    for seed in range(6):
        torch.manual_seed(seed)
        made.loss(corner())
    assert {x.shape[2:] for x in shown} == {(16, 16), (24, 24)}
    assert all(((x > 0).sum((1, 2, 3)) == 12).all() for x in shown)


def test_windows_of_any_size_weigh_the_same():
    """A denoiser that is sure of the background pays for the 12 pixels of the mask alone."""
    made = method(windows=(16,)), method(windows=(40,))
    for each in made:
        torch.nn.init.constant_(each.denoiser.head.bias[:16], -20.0)
    small, large = (loss(each, corner()).terms["drawn"].item() for each in made)
    assert small == pytest.approx(20 * 12 / 40**2, rel=1e-4)
    assert large == pytest.approx(small, rel=1e-4)


@pytest.mark.parametrize(("row", "column", "top", "left"), [(20, 20, 8, 8), (0, 39, 0, 16), (3, 9, 0, 0)])
def test_masks_are_drawn_in_the_window_of_what_is_visible_alone(row, column, top, left):
    """A cell has 8 pixels: the visible one and a margin of one on either side are 24 pixels."""
    made = always(method(windows=(16,)))
    visible(made, row, column)
    torch.nn.init.constant_(made.denoiser.head.bias[:16], 9.0)
    mask = panel(made, [1], torch.randn(1, 1, 40, 40))[0]
    assert mask.sum() == 24**2
    assert mask[top : top + 24, left : left + 24].all()


def test_ranks_of_samples_are_uniform_and_unrelated_to_their_noise():
    made, given = small("flow"), []
    torch.nn.init.constant_(made.empty_head.last.bias, -1.0)
    made.denoiser.register_forward_pre_hook(lambda module, inputs: given.append((inputs[0][:, 0, 0, 0], inputs[3])))
    panel(made, list(range(2000)), sampler=ONE_STEP)
    noise, rank = given[0]
    assert 1300 < len(rank) < 1600
    assert kstest(rank, "uniform").pvalue > 0.001
    assert abs(torch.corrcoef(torch.stack([noise, rank]))[0, 1]) < 0.08


def empties(made, draws=1000):
    """Share of empty masks, ten of each image."""
    shown = toy.images(draws // 10, torch.Generator().manual_seed(1))
    masks = torch.cat([panel(made, range(10 * k, 10 * k + 10), each[None]) for k, each in enumerate(shown)])
    return (~masks.any((1, 2))).float().mean().item()


@pytest.mark.slow
def test_nothing_is_drawn_as_often_as_readers_drew_nothing():
    made, readers = method(), toy.BOXES[0] & (torch.arange(10) >= 3)[:, None, None]
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(made.parameters(), 2e-3)
    for _ in range(200):
        cases = Batch(toy.images(16), readers.expand(16, -1, -1, -1), torch.ones((16, 10), dtype=torch.bool))
        optimizer.zero_grad()
        made.loss(cases).total.backward()
        optimizer.step()
    assert empties(made) == pytest.approx(0.3, abs=0.05)


def test_each_mask_is_learned_at_its_own_rank_and_from_its_own_noise():
    made, shown = small("flow"), []
    made.process.draw_times = lambda count: torch.ones(count, dtype=torch.int64)
    made.denoiser.register_forward_pre_hook(lambda module, given: shown.append((given[0], given[3])))
    readers = torch.zeros((50, 2, SIZE, SIZE), dtype=torch.bool)
    readers[:, 0, 2:5, 2:5] = True
    readers[:, 1, 2:9, 2:9] = True
    loss(made, Batch(torch.randn(50, 1, SIZE, SIZE), readers, torch.ones((50, 2), dtype=torch.bool)))
    (x_t, rank) = shown[0]
    assert torch.equal(x_t[:, 0] > 0, readers.flatten(0, 1))
    small_ones, large_ones = rank.reshape(50, 2).T
    assert (small_ones < 0.5).all()
    assert (large_ones > 0.5).all()
