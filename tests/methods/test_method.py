"""Whose masks a method learns: one rater, all, their mean, their majority."""

import pytest
import torch

from plurimask.methods.method import rater_masks
from plurimask.records import Batch


def batch():
    """Two images of three pixels; readers 2 of 3 and 1 of 2 agree; an unread slot holds rubbish."""
    raters = torch.tensor([[[1, 1, 0], [1, 0, 0], [0, 1, 0]], [[1, 0, 0], [0, 0, 0], [1, 1, 1]]]).bool()
    valid = torch.tensor([[True, True, True], [True, True, False]])
    return Batch(torch.arange(6.0).reshape(2, 1, 1, 3), raters[:, :, None], valid)


def test_the_mean_is_the_share_of_an_images_own_raters():
    image, mask = rater_masks(batch(), "mean")
    torch.testing.assert_close(mask[:, 0, 0], torch.tensor([[2 / 3, 2 / 3, 0], [0.5, 0, 0]]))
    assert torch.equal(image, batch().image)


def test_the_majority_is_more_than_half_of_an_images_own_raters():
    _, mask = rater_masks(batch(), "majority")
    assert mask[:, 0, 0].tolist() == [[1, 1, 0], [0, 0, 0]]


def test_all_raters_are_every_read_slot_with_its_image():
    image, mask = rater_masks(batch(), "all")
    assert mask[:, 0, 0].tolist() == [[1, 1, 0], [1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 0]]
    assert image[:, 0, 0, 0].tolist() == [0, 0, 0, 3, 3]


def test_one_rater_is_a_read_slot_drawn_anew():
    torch.manual_seed(0)
    drawn = {tuple(rater_masks(batch(), "one")[1][1, 0, 0].tolist()) for _ in range(40)}
    assert drawn == {(1, 0, 0), (0, 0, 0)}


@pytest.mark.parametrize("choice", ["one", "all", "mean", "majority"])
def test_masks_are_single_precision_with_one_channel(choice):
    image, mask = rater_masks(batch(), choice)
    assert mask.dtype == torch.float32
    assert mask.shape == (len(image), 1, 1, 3)


@pytest.mark.parametrize("choice", ["one", "mean"])
def test_with_one_rater_every_choice_is_that_rater(choice):
    alone = batch()
    alone = Batch(alone.image, alone.raters[:, :1], alone.valid[:, :1])
    assert torch.equal(rater_masks(alone, choice)[1].bool(), alone.raters)
