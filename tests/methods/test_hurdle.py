"""Emptiness is decided before anything is drawn, by every method that is built so."""

import math

import pytest
import torch
from small_batches import draw, images
from tiny import small

from plurimask.diffusion.samplers import SamplerSettings

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
