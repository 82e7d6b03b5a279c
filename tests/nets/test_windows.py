"""Windows: cut as plain slices, around what is inside or visible, within the image."""

import numpy as np
import pytest
import torch

from plurimask.nets.windows import Window, Windows, cells_of, panel_window, random_windows


def inside(*boxes, size=(10, 12)):
    """One map a box (first row, last row, first column, last column); None for an empty map."""
    maps = torch.zeros((len(boxes), *size), dtype=torch.bool)
    for each, box in zip(maps, boxes, strict=True):
        if box is not None:
            each[box[0] : box[1] + 1, box[2] : box[3] + 1] = True
    return maps


def starts_of(boxes, side, draws=500):
    torch.manual_seed(0)
    return torch.stack([random_windows(inside(*boxes), side).starts for _ in range(draws)])


def test_a_window_is_a_slice_of_its_own_image():
    x = torch.randn(2, 3, 8, 12)
    cut = Windows(torch.tensor([[0, 1], [2, 3]]), (2, 3)).cut(x, 2)
    assert torch.equal(cut, torch.stack([x[0, :, 0:4, 2:8], x[1, :, 4:8, 6:12]]))


def test_any_axes_may_stand_between_images_and_pixels():
    x = torch.randn(1, 2, 3, 4, 4)
    assert torch.equal(Windows(torch.tensor([[1, 0]]), (1, 2)).cut(x, 2), x[..., 2:4, 0:4])


def test_a_gradient_comes_back_to_the_pixels_of_the_window():
    x = torch.zeros(2, 1, 4, 4, requires_grad=True)
    Windows(torch.tensor([[0, 0], [2, 1]]), (2, 3)).cut(x, 1).sum().backward()
    expected = torch.zeros(2, 1, 4, 4)
    expected[0, 0, :2, :3], expected[1, 0, 2:, 1:] = 1, 1
    assert torch.equal(x.grad, expected)


def test_a_cell_is_inside_with_any_of_its_pixels():
    pixels = torch.zeros((1, 4, 6), dtype=torch.bool)
    pixels[0, 3, 2] = True
    assert cells_of(pixels, 2).tolist() == [[[False, False, False], [False, True, False]]]


def test_random_windows_hold_what_is_inside_and_lie_wherever_they_may():
    first_row, first_column = starts_of([(4, 5, 6, 6)], 4)[:, 0].unbind(1)
    assert set(first_row.tolist()) == {2, 3, 4}
    assert set(first_column.tolist()) == {3, 4, 5, 6}


def test_random_windows_stay_within_the_image():
    first_row, first_column = starts_of([(0, 0, 11, 11)], 4)[:, 0].unbind(1)
    assert set(first_row.tolist()) == {0}
    assert set(first_column.tolist()) == {8}


def test_of_what_is_larger_a_random_window_holds_part():
    rows = starts_of([(1, 8, 0, 0)], 4)[:, 0, 0]
    assert set(rows.tolist()) == {1, 2, 3, 4, 5}


def test_where_nothing_is_inside_a_random_window_lies_anywhere():
    rows = starts_of([None], 4)[:, 0, 0]
    assert set(rows.tolist()) == set(range(7))


def test_each_image_has_a_window_of_its_own():
    starts = starts_of([(0, 0, 0, 0), (9, 9, 11, 11)], 4)
    assert (starts[:, 0] == 0).all()
    assert (starts[:, 1] == torch.tensor([6, 8])).all()


def test_a_window_is_no_larger_than_the_image():
    assert random_windows(inside(None, size=(3, 12)), 5).size == (3, 5)


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
    assert panel_window(shares(box), visible=0.01, cell=CELL, least=4) == window


def test_all_that_is_visible_is_inside():
    rng = np.random.default_rng(0)
    for _ in range(200):
        share = rng.random((40, 48)) ** 200
        top, left, height, width = panel_window(share, 0.3, CELL, least=3).scaled(CELL)
        seen = share >= min(share.max(), 0.3)
        assert seen[top : top + height, left : left + width].sum() == seen.sum()


def test_where_nothing_is_visible_the_likeliest_pixel_is_inside():
    share = np.zeros((40, 48))
    share[21, 9] = 1e-6
    assert panel_window(share, 0.5, CELL, least=1) == (4, 1, 3, 3)


def test_a_window_in_pixels():
    window = Window(1, 2, 3, 4).scaled(8)
    assert window == (8, 16, 24, 32)
    assert np.zeros((5, 100, 100))[window.slices].shape == (5, 24, 32)
