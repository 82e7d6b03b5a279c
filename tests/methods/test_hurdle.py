"""Emptiness is decided before anything is drawn, by every method that is built so."""

import math

import numpy as np
import pytest
import torch
from small_batches import draw, images
from tiny import SIZE, small

from plurimask.diffusion.samplers import SamplerSettings
from plurimask.methods.draw import draw_area, encode, tile
from plurimask.methods.hurdle import View, of_one_lesion

HURDLED = pytest.mark.parametrize(
    ("name", "drawer", "sampler"),
    [("flow", "denoiser", SamplerSettings(name="ddim", steps=1)), ("one-pass", "generator", None)],
)


@HURDLED
@pytest.mark.parametrize("logit", [-1.0, 0.5])
def test_masks_are_empty_as_often_as_the_head_says(name, drawer, sampler, logit):
    """What draws fills everything; of 2,000 masks the share has a standard deviation of 0.011."""
    made = small(name, std=0)
    torch.nn.init.constant_(made.empty_head.last.bias, logit)
    torch.nn.init.constant_(getattr(made, drawer).head.bias, 9.0)
    drawn = draw(made, images(1), list(range(2000)), sampler).any((1, 2))
    assert drawn.float().mean().item() == pytest.approx(1 / (1 + math.exp(logit)), abs=0.04)


@HURDLED
def test_a_panel_that_is_surely_empty_draws_nothing(name, drawer, sampler):
    made, asked = small(name), []
    torch.nn.init.constant_(made.empty_head.last.bias, 30.0)
    getattr(made, drawer).register_forward_hook(lambda *_: asked.append(1))
    assert not draw(made, images(1), [1, 2, 3], sampler).any()
    assert not asked


def test_emptiness_of_a_lesion_is_that_of_its_planes_weighted_by_how_sure_they_are():
    """0.2857 of 0.2, 0.6 and 0.4 where at most 0.8, 0.4 and 0.2 of the readers mark a pixel; emptier planes stay so."""
    one = View(None, torch.tensor(0.0), (...,), torch.Size((4, 4)), torch.tensor(0.0))
    planes = [
        one._replace(empty=torch.tensor(e), peak=torch.tensor(peak)) for e, peak in ((0.2, 0.8), (0.6, 0.4), (0.4, 0.2))
    ]
    assert torch.stack([view.empty for view in of_one_lesion(planes)]).tolist() == pytest.approx(
        [0.24 / 0.84, 0.6, 0.4]
    )
    assert of_one_lesion(planes[:1])[0].empty == planes[0].empty


@HURDLED
def test_a_sample_of_a_lesion_is_empty_throughout_or_ends_where_planes_are_emptier(name, drawer, sampler):
    """What draws fills everything, so that emptiness alone decides: of 300 samples the standard deviation is 0.029."""
    made = small(name, std=0).eval()
    torch.nn.init.constant_(getattr(made, drawer).head.bias, 9.0)
    view = encode(made, images(1))[0][0]
    said = [(0.2, 0.8), (0.4, 0.4), (0.7, 0.2)]
    views = of_one_lesion([view._replace(empty=torch.tensor(e), peak=torch.tensor(peak)) for e, peak in said])
    tiling = tile((slice(0, SIZE), slice(0, SIZE)), (SIZE, SIZE), SIZE, 8)
    drawn = np.stack([draw_area(made, tiling, [[one]], range(300), sampler, 300).any((1, 2)) for one in views])
    assert drawn.mean(1) == pytest.approx(1 - np.array([0.262, 0.4, 0.7]), abs=0.09)
    assert (drawn[0] >= drawn[1]).all()
    assert (drawn[1] >= drawn[2]).all()
