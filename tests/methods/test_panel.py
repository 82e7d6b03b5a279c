"""The fast panel: ranks, emptiness, the loss by hand, one encoding an image, and masks in their proportions."""

import math

import numpy as np
import pytest
import torch
import toy
from pydantic import ValidationError
from scipy.stats import kstest
from small_batches import draw
from tiny import SIZE, image, stir
from torch.nn.functional import binary_cross_entropy_with_logits

from plurimask.datasets.batches import scale_intensity
from plurimask.diffusion.samplers import SamplerSettings
from plurimask.methods.draw import draw_masks
from plurimask.methods.panel import Panel, PanelSettings, draw_ranks
from plurimask.nets.image_encoder import ImageEncoderSettings
from plurimask.nets.mask_denoiser import MaskDenoiserSettings
from plurimask.records import Batch
from plurimask.training.recipe import load_recipe

EULER = SamplerSettings(name="ddim", steps=4)
ENCODER = ImageEncoderSettings(widths=(16, 24, 32), blocks=1)
DENOISER = MaskDenoiserSettings(patch=4, widths=(32, 32), blocks=1, basis=4, condition=32)


def method(**changed):
    """A small panel."""
    torch.manual_seed(0)
    return Panel(PanelSettings(encoder=ENCODER, denoiser=DENOISER, **changed))


def stirred(**changed):
    made = method(**changed)
    stir(made, 0.05)
    return made


def images(count):
    return scale_intensity(torch.from_numpy(np.stack([image(seed) for seed in range(count)])))


def batch(count=4):
    """Images with two to three readers each who all drew, the last slot of every other image unread."""
    readers = torch.rand((count, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(3)) > 0.7
    valid = torch.ones((count, 3), dtype=torch.bool)
    valid[::2, 2] = False
    return Batch(images(count), readers & valid[..., None, None], valid)


def loss(made, cases):
    torch.manual_seed(1)
    return made.loss(cases)


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


def test_the_only_reader_has_any_rank():
    torch.manual_seed(0)
    alone = draw_ranks(torch.full((5000, 1), 40), torch.ones((5000, 1), dtype=torch.bool))
    assert kstest(alone.flatten(), "uniform").pvalue > 0.001


def test_a_fresh_denoiser_costs_a_bit_a_pixel():
    assert loss(method(), batch()).terms["drawn"].item() == pytest.approx(math.log(2), rel=1e-6)


def test_the_loss_is_the_cross_entropy_at_every_reader_who_drew_at_the_mean_and_at_emptiness():
    """The denoiser is replaced by constants, so that what it is shown and what it is compared with can be told."""
    made, cases, shown = stirred(mean_weight=0.3, repeats=3), batch(), []
    cases.readers[1, :2] = False
    drew = cases.readers.any((2, 3))

    def denoise(x, look, time, rank):
        shown.append((x, time, rank))
        return torch.arange(len(x)).float()[:, None, None, None].expand_as(x) / 10

    made.denoiser.forward = denoise
    terms = loss(made, cases)
    masks = torch.cat([cases.readers[case][drew[case]] for case in range(4)]).repeat(3, 1, 1).double()
    x, time, rank = shown[0]
    assert x.shape == (24, 1, SIZE, SIZE)
    assert time.unique().numel() > 16
    assert rank.unique().numel() == 24
    inside = torch.sigmoid(torch.arange(24).double() / 10)[:, None, None]
    drawn = -(masks * inside.log() + (1 - masks) * (1 - inside).log()).mean((1, 2)).sum() / 30
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
    assert terms.total.item() == pytest.approx((drawn + 0.3 * mean + empty).item(), rel=1e-5)


def test_a_batch_in_which_nobody_drew_is_learned_from():
    made, cases = stirred(), batch()
    terms = loss(made, Batch(cases.image, torch.zeros_like(cases.readers), cases.valid))
    terms.total.backward()
    assert terms.terms["drawn"] == 0
    assert terms.terms["empty"] > 0
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in made.parameters())


def test_x_t_lies_between_noise_and_the_mask_of_its_own_reader():
    made, cases, shown = stirred(time_mean=5.0, time_scale=0.1, repeats=2), batch(), []
    made.denoiser.register_forward_pre_hook(lambda module, given: shown.append(given[0]))
    loss(made, cases)
    masks = torch.cat([cases.readers[case][cases.valid[case]] for case in range(4)]).repeat(2, 1, 1)
    assert ((shown[0][:, 0] > 0) == masks).all()


@pytest.mark.parametrize("ranked", [True, False])
def test_ranks_follow_sizes_only_where_asked_to(ranked):
    made, shown = stirred(ranked=ranked, repeats=2), []
    made.denoiser.register_forward_pre_hook(lambda module, given: shown.append(given[3]))
    readers = torch.zeros((50, 2, SIZE, SIZE), dtype=torch.bool)
    readers[:, 0, 2:5, 2:5] = True
    readers[:, 1, 2:9, 2:9] = True
    loss(made, Batch(torch.randn(50, 1, SIZE, SIZE), readers, torch.ones((50, 2), dtype=torch.bool)))
    small, large = shown[0].reshape(2, 50, 2).permute(2, 0, 1).flatten(1)
    assert ((small < 0.5).all() and (large > 0.5).all()) == ranked


def corner(side=40):
    """Images of `side` pixels whose two readers drew 3 x 4 pixels at a place of each image's own."""
    readers = torch.zeros((8, 2, side, side), dtype=torch.bool)
    for number, each in enumerate(readers):
        each[:, 4 * number : 4 * number + 3, 36 - 4 * number : 40 - 4 * number] = True
    return Batch(torch.randn(8, 1, side, side), readers, torch.ones((8, 2), dtype=torch.bool))


def test_the_denoiser_learns_in_windows_that_hold_the_masks():
    made, shown = stirred(windows=(16, 24), time_mean=5.0, time_scale=0.1), []
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


def test_an_image_smaller_than_every_window_is_its_own():
    made, shown = stirred(windows=(64,)), []
    made.denoiser.register_forward_pre_hook(lambda module, given: shown.append(given[0]))
    loss(made, batch())
    assert shown[0].shape[2:] == (SIZE, SIZE)


def test_unread_slots_hold_rubbish():
    made, cases = stirred(), batch()
    filled = cases.readers | ~cases.valid[..., None, None]
    assert loss(made, Batch(cases.image, filled, cases.valid)).total == loss(made, cases).total


def test_all_readers_and_times_share_one_encoding():
    made, rows = stirred(), []
    made.encoder.register_forward_hook(lambda module, given, output: rows.append(len(given[0])))
    loss(made, batch())
    assert rows == [4]


def test_every_weight_learns():
    made = stirred()
    loss(made, batch()).total.backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in made.parameters())


def test_terms_carry_no_gradient():
    assert not any(term.requires_grad for term in loss(method(), batch()).terms.values())


def panel(made, seeds, shown=None, sampler=EULER):
    return draw(made, images(1) if shown is None else shown, seeds, sampler)


@pytest.mark.parametrize("steps", [1, 8])
def test_a_panel_costs_one_encoding(steps):
    made, rows = stirred(), []
    made.encoder.register_forward_hook(lambda module, given, output: rows.append(len(given[0])))
    masks = panel(made, list(range(7)), sampler=SamplerSettings(name="ddim", steps=steps))
    assert (rows, masks.shape, masks.dtype) == ([1], (7, SIZE, SIZE), torch.bool)


def test_a_panel_of_many_chunks_costs_one_encoding():
    made, rows = stirred().eval(), []
    made.encoder.register_forward_hook(lambda module, given, output: rows.append(len(given[0])))
    masks = draw_masks(made, image(0), tuple(range(40)), EULER, chunk=16)
    assert (rows, len(masks)) == ([1], 40)


def always(made):
    """The same, but never empty."""
    torch.nn.init.constant_(made.empty_head.last.bias, -30.0)
    return made


def shares(made, **places):
    """Makes the encoder see a share of 0.5 at one pixel of a 40 x 40 image and 1e-4 at all others."""
    logits = torch.full((1, 1, 40, 40), -9.2)
    logits[..., places["row"], places["column"]] = 0.0
    made.mean_head.forward = lambda features: logits.expand(len(features), -1, -1, -1)


@pytest.mark.parametrize(("row", "column", "top", "left"), [(20, 20, 8, 8), (0, 39, 0, 16), (3, 9, 0, 0)])
def test_masks_are_drawn_in_the_window_of_what_is_visible_alone(row, column, top, left):
    """A cell has 8 pixels: the visible one and a margin of one on either side are 24 pixels."""
    made = always(method(windows=(16,)))
    shares(made, row=row, column=column)
    torch.nn.init.constant_(made.denoiser.head.bias[:16], 9.0)
    mask = panel(made, [1], torch.randn(1, 1, 40, 40))[0]
    assert mask.sum() == 24**2
    assert mask[top : top + 24, left : left + 24].all()


def test_an_image_where_nothing_is_visible_has_a_window_too():
    made = always(method(windows=(16,), visible=0.9))
    shares(made, row=20, column=20)
    torch.nn.init.constant_(made.denoiser.head.bias[:16], 9.0)
    assert panel(made, [1], torch.randn(1, 1, 40, 40)).sum() == 24**2


def test_ranks_of_samples_are_uniform_and_unrelated_to_their_noise():
    made, given = stirred(), []
    torch.nn.init.constant_(made.empty_head.last.bias, -1.0)
    made.denoiser.register_forward_pre_hook(lambda module, inputs: given.append((inputs[0][:, 0, 0, 0], inputs[3])))
    panel(made, list(range(2000)), sampler=SamplerSettings(name="ddim", steps=1))
    noise, rank = given[0]
    assert 1300 < len(rank) < 1600
    assert kstest(rank, "uniform").pvalue > 0.001
    assert abs(torch.corrcoef(torch.stack([noise, rank]))[0, 1]) < 0.08


@pytest.mark.parametrize("logit", [-1.0, 0.5])
def test_masks_are_empty_as_often_as_the_head_says(logit):
    """A denoiser that fills everything; of 2,000 masks the share has a standard deviation of 0.011."""
    made = method()
    torch.nn.init.constant_(made.empty_head.last.bias, logit)
    torch.nn.init.constant_(made.denoiser.head.bias[:16], 9.0)
    drawn = panel(made, list(range(2000)), sampler=SamplerSettings(name="ddim", steps=1)).any((1, 2))
    assert drawn.float().mean().item() == pytest.approx(1 / (1 + math.exp(logit)), abs=0.04)


def test_a_panel_that_is_surely_empty_asks_no_denoiser():
    made, asked = stirred(), []
    torch.nn.init.constant_(made.empty_head.last.bias, 30.0)
    made.denoiser.register_forward_hook(lambda *_: asked.append(1))
    assert not panel(made, [1, 2, 3]).any()
    assert not asked


@pytest.mark.parametrize("name", ["ddpm", "dpm++"])
def test_any_sampler_will_do(name):
    masks = panel(stirred(), [1, 2], sampler=SamplerSettings(name=name, steps=3))
    assert (masks[0] != masks[1]).any()


def test_one_case_with_one_reader_is_learned():
    made = method()
    drawn = torch.zeros((1, 1, SIZE, SIZE), dtype=torch.bool)
    drawn[..., 3:9, 5:13] = True
    cases = Batch(images(1), drawn, torch.ones((1, 1), dtype=torch.bool))
    optimizer = torch.optim.Adam(made.parameters(), 3e-3)
    for _ in range(80):
        optimizer.zero_grad()
        made.loss(cases).total.backward()
        optimizer.step()
    assert (panel(made, [1, 2, 3, 4]) == drawn[0]).all()


def empties(made, draws=1000):
    """Share of empty masks, ten of each image."""
    shown = toy.images(draws // 10, torch.Generator().manual_seed(1))
    masks = torch.cat([panel(made, range(10 * k, 10 * k + 10), each[None]) for k, each in enumerate(shown)])
    return (~masks.any((1, 2))).float().mean().item()


@pytest.mark.slow
def test_both_modes_of_a_known_task_are_drawn_at_their_shares():
    """The boxes are of one size, so that ranks say nothing and the flow alone decides."""
    made = toy.fit(method())
    assert toy.mode_share(made, SamplerSettings(name="ddim", steps=10)) == toy.known()


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


@pytest.mark.parametrize(("name", "millions"), [("panel-lidc", 7.5), ("panel-phantom", 1.3)])
def test_shipped_recipes_have_the_size_they_say(name, millions):
    recipe = load_recipe(name)
    with torch.device("meta"):
        made = Panel(recipe.method)
    assert sum(weight.numel() for weight in made.parameters()) / 1e6 == pytest.approx(millions, rel=0.02)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        (
            {"encoder": ImageEncoderSettings(patch=4, widths=(4, 4)), "denoiser": {"patch": 2, "widths": (4,)}},
            r"an encoder stage at 1/2 of the size, not \[4, 8\] alone",
        ),
        (
            {"denoiser": {"patch": 4, "widths": (4, 4, 4, 4)}},
            r"an encoder stage at 1/32 of the size, not \[2, 4, 8, 16\] alone",
        ),
        ({"windows": (32, 36)}, r"windows in multiples of 8 \(patch and stages\), not \(32, 36\)"),
        ({"repeats": 0}, "greater than or equal to 1"),
        ({"time_scale": 0.0}, "greater than 0"),
    ],
)
def test_settings_that_make_no_method_are_refused(wrong, match):
    with pytest.raises(ValidationError, match=match):
        PanelSettings(**wrong)
