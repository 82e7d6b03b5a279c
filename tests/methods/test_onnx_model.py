"""The window of a panel: what is visible, a margin, and never outside of the image."""

import numpy as np
import pytest

from plurimask.methods.onnx_model import Window, visible_window

CELL = 4


def shares(box, size=(40, 48)):
    """0.5 in a box of cells (first and last row, first and last column), 1e-4 elsewhere."""
    share = np.full(size, 1e-4)
    top, bottom, left, right = box
    share[top * CELL : (bottom + 1) * CELL, left * CELL : (right + 1) * CELL] = 0.5
    return share


@pytest.mark.parametrize(
    ("box", "window"),
    [
        ((4, 6, 5, 6), (3, 4, 5, 4)),  # three rows and two columns with a margin of one
        ((4, 4, 5, 5), (2, 3, 4, 4)),  # at least four
        ((0, 0, 11, 11), (0, 8, 4, 4)),  # pushed back into the image
        ((0, 9, 0, 11), (0, 0, 10, 12)),  # all of it
    ],
)
def test_the_window_is_what_is_visible_and_a_margin(box, window):
    assert visible_window(shares(box), visible=0.01, cell=CELL, least=4) == window


def test_all_that_is_visible_is_inside():
    rng = np.random.default_rng(0)
    for _ in range(200):
        share = rng.random((40, 48)) ** 200
        top, left, height, width = visible_window(share, 0.3, CELL, least=3).scaled(CELL)
        seen = share >= min(share.max(), 0.3)
        assert seen[top : top + height, left : left + width].sum() == seen.sum()


def test_where_nothing_is_visible_the_likeliest_pixel_is_inside():
    share = np.zeros((40, 48))
    share[21, 9] = 1e-6
    assert visible_window(share, 0.5, CELL, least=1) == (4, 1, 3, 3)


def test_a_window_in_pixels():
    window = Window(1, 2, 3, 4).scaled(8)
    assert window == (8, 16, 24, 32)
    assert np.zeros((5, 100, 100))[window.slices].shape == (5, 24, 32)
