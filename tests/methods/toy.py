"""A task with a known answer: the image is noise, and of ten readers seven draw one box and three another.

Whatever the image, a panel that is right holds the first box with probability 0.7 and the second with 0.3.
"""

import pytest
import torch
from small_batches import draw
from tiny import SIZE, recipe

from plurimask.diffusion.samplers import SamplerSettings
from plurimask.methods.method import build
from plurimask.records import Batch

SHARES = {"first": 0.7, "second": 0.3, "neither": 0.0}
MARGIN = 0.07
SAMPLER = SamplerSettings(name="ddim", steps=10)
"""For the diffusion models."""
DENOISER = {"channels": [32], "attention": [False], "residual_blocks": 1, "head_channels": 32, "patch": 4}
ENCODER = {"widths": [8, 16], "convolutions": 1, "latent": 4}


def _boxes():
    first, second = (torch.zeros((SIZE, SIZE), dtype=torch.bool) for _ in range(2))
    first[2:9, 2:8] = True
    second[8:14, 8:15] = True
    return torch.stack([first, second])


BOXES = _boxes()
"""(2, SIZE, SIZE) bool."""


def images(count, shape=(SIZE, SIZE), generator=None):
    """(count, 1, *shape) standard normal noise, as scaled images are."""
    return torch.randn((count, 1, *shape), generator=generator)


def read_by_ten(count, boxes=BOXES, drew=(7, 3)):
    """`count` images, each read by ten: so many of them drew the first of two boxes, or the second, the others none."""
    drawn = torch.zeros((10, *boxes.shape[1:]), dtype=torch.bool)
    drawn[: drew[0]], drawn[drew[0] : sum(drew)] = boxes
    return Batch(images(count, boxes.shape[1:]), drawn.expand(count, *drawn.shape), torch.ones((count, 10)).bool())


def fit(method, steps=400, learning_rate=2e-3, count=32, cases=read_by_ten):
    """Train by Adam on `cases` of `count` fresh images a step, the rate falling along a cosine; returns the method."""
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(method.parameters(), learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        method.loss(cases(count)).total.backward()
        torch.nn.utils.clip_grad_norm_(method.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return method.eval()


def mode_share(method, sampler=None, draws=1000, boxes=BOXES):
    """Share of draws, ten of each image, that agree with a box at an IoU above 0.5, or with neither."""
    shown = images(draws // 10, boxes.shape[1:], torch.Generator().manual_seed(1))
    masks = torch.cat([draw(method, each[None], range(10 * k, 10 * k + 10), sampler) for k, each in enumerate(shown)])
    inside = (masks[:, None] & boxes).flatten(2).sum(2)
    either = (masks[:, None] | boxes).flatten(2).sum(2)
    first, second = (inside / either > 0.5).float().mean(0).tolist()
    return {"first": first, "second": second, "neither": 1 - first - second}


def known():
    """What `mode_share` must equal."""
    return pytest.approx(SHARES, abs=MARGIN)


def diffusion(denoiser=None, encoder=None, ambiguity=None, **settings):
    """A small diffusion model of masks; `settings` are the method's, the tables are changed key by key."""
    tables = {
        "diffusion": {"schedule": {"timesteps": 100}, "predicts": "x_0"},
        "denoiser": DENOISER | (denoiser or {}),
        "ambiguity": {"encoder": ENCODER | (encoder or {})} | (ambiguity or {}),
    }
    torch.manual_seed(0)
    return build(recipe(method=tables | settings).method)
