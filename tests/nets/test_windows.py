"""Windows: cut as plain slices, around what is inside, within the image."""

import torch

from plurimask.nets.windows import Windows, training_windows


def inside(*boxes, size=(10, 12)):
    """One map a box (first row, last row, first column, last column); None for an empty map."""
    maps = torch.zeros((len(boxes), *size), dtype=torch.bool)
    for each, box in zip(maps, boxes, strict=True):
        if box is not None:
            each[box[0] : box[1] + 1, box[2] : box[3] + 1] = True
    return maps


def starts_of(boxes, side, draws=500, cell=1):
    torch.manual_seed(0)
    return torch.stack([training_windows(inside(*boxes), cell, (side,)).starts for _ in range(draws)])


def test_a_window_is_a_slice_of_its_own_image():
    x = torch.randn(2, 3, 5, 8, 12)
    cut = Windows(torch.tensor([[0, 1], [2, 3]]), (2, 3)).cut(x, 2)
    assert torch.equal(cut, torch.stack([x[0, ..., 0:4, 2:8], x[1, ..., 4:8, 6:12]]))


def test_a_gradient_comes_back_to_the_pixels_of_the_window():
    x = torch.zeros(2, 1, 4, 4, requires_grad=True)
    Windows(torch.tensor([[0, 0], [2, 1]]), (2, 3)).cut(x, 1).sum().backward()
    expected = torch.zeros(2, 1, 4, 4)
    expected[0, 0, :2, :3], expected[1, 0, 2:, 1:] = 1, 1
    assert torch.equal(x.grad, expected)


def test_random_windows_hold_what_is_inside_and_lie_wherever_they_may():
    first_row, first_column = starts_of([(4, 5, 6, 6)], 4)[:, 0].unbind(1)
    assert set(first_row.tolist()) == {2, 3, 4}
    assert set(first_column.tolist()) == {3, 4, 5, 6}


def test_a_cell_is_inside_with_any_of_its_pixels():
    """Cells of 2 x 2 pixels: row 4, column 3 is in cell (2, 1)."""
    starts = starts_of([(4, 4, 3, 3)], 2, cell=2)[:, 0]
    assert set(map(tuple, starts.tolist())) == {(2, 1)}


def test_random_windows_stay_within_the_image_and_hold_part_of_what_is_larger():
    first_row, first_column = starts_of([(1, 8, 11, 11)], 4)[:, 0].unbind(1)
    assert set(first_row.tolist()) == {1, 2, 3, 4, 5}
    assert set(first_column.tolist()) == {8}


def test_where_nothing_is_inside_a_random_window_lies_anywhere():
    rows = starts_of([None], 4)[:, 0, 0]
    assert set(rows.tolist()) == set(range(7))


def test_each_image_has_a_window_of_its_own():
    starts = starts_of([(0, 0, 0, 0), (9, 9, 11, 11)], 4)
    assert (starts[:, 0] == 0).all()
    assert (starts[:, 1] == torch.tensor([6, 8])).all()


def test_a_window_is_no_larger_than_the_image():
    assert training_windows(inside(None, size=(3, 12)), 1, (5,)).size == (3, 5)
