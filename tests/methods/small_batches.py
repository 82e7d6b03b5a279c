"""Batches of 16x16 pixels that the tests of several methods learn from, and masks drawn of one image."""

import numpy as np
import torch
from tiny import SIZE, image

from plurimask.datasets.batches import scale_intensity
from plurimask.methods.draw import Tiling, draw_area, encode
from plurimask.records import Batch


def draw(made, shown, seeds, sampler=None):
    """Masks (n[, D], H, W), one a seed, of one scaled square image (1, C[, D], H, W), which is a field."""
    rows, columns = shown.shape[-2:]
    tiling = Tiling(rows, ((0, 0),), (0, 0), (rows, columns), (rows, columns), tuple(shown.shape[2:-2]))
    encoded = encode(made.eval(), shown)
    return torch.from_numpy(draw_area(made, tiling, encoded, tuple(seeds), sampler, len(seeds)))


def panel(made, seeds, sampler=None):
    """Masks of an image of noise."""
    return draw(made, images(1), seeds, sampler)


PLANES = 5
"""Of volumes."""


def images(count, volume=False):
    """(count, 1, SIZE, SIZE), scaled; volumes are (count, 1, PLANES, SIZE, SIZE)."""
    shown = torch.from_numpy(np.stack([image(seed) for seed in range(count * (PLANES if volume else 1))]))
    return scale_intensity(shown.reshape(count, 1, PLANES, SIZE, SIZE) if volume else shown, 3 if volume else 2)


def batch(count=4, volume=False):
    """Images with two to three readers each who all drew, the last slot of every other image unread."""
    shown, valid = images(count, volume), torch.ones((count, 3), dtype=torch.bool)
    valid[::2, 2] = False
    shape = (count, 3, *shown.shape[2:])
    readers = torch.rand(shape, generator=torch.Generator().manual_seed(3)) > 0.7
    return Batch(shown, readers & beside(valid, readers), valid)


def beside(valid, readers):
    """Slots (B, R), with an axis of 1 for each of the pixels of `readers`."""
    return valid.reshape(*valid.shape, *[1] * (readers.dim() - 2))


def corner(side=40):
    """Images of `side` pixels whose two readers drew 3 x 4 pixels at a place of each image's own."""
    readers = torch.zeros((8, 2, side, side), dtype=torch.bool)
    for number, each in enumerate(readers):
        each[:, 4 * number : 4 * number + 3, 36 - 4 * number : 40 - 4 * number] = True
    return Batch(torch.randn(8, 1, side, side), readers, torch.ones((8, 2), dtype=torch.bool))


def loss(made, cases):
    torch.manual_seed(1)
    return made.loss(cases)


def always(made):
    """The same, but never empty."""
    torch.nn.init.constant_(made.empty_head.last.bias, -30.0)
    return made


def visible(made, row, column):
    """Makes the encoder see a share of 0.5 at one pixel of a 40 x 40 image and 1e-4 at all others."""
    logits = torch.full((1, 1, 40, 40), -9.2)
    logits[..., row, column] = 0.0
    made.mean_head.forward = lambda features: logits.expand(len(features), -1, -1, -1)


def learn_one_case(made, steps, learning_rate=1e-2, copies=8):
    """Train on copies of one image, whose one reader drew a box; the image (1, 1, SIZE, SIZE) and the box (1, ...)."""
    drawn = torch.zeros((1, 1, SIZE, SIZE), dtype=torch.bool)
    drawn[..., 3:9, 5:13] = True
    shown = images(1)
    valid = torch.ones((copies, 1), dtype=torch.bool)
    cases = Batch(shown.repeat(copies, 1, 1, 1), drawn.repeat(copies, 1, 1, 1), valid)
    optimizer = torch.optim.Adam(made.parameters(), learning_rate)
    for _ in range(steps):
        optimizer.zero_grad()
        made.loss(cases).total.backward()
        optimizer.step()
    return shown, drawn[0]
