"""Pairwise overlap against sets of voxels, the rule for empty masks, exact counts, refusals."""

from typing import Any

import pytest
import torch
from hypothesis import given
from slow_pairs import panels, row, slow_dice, slow_iou, voxels
from torch.utils._python_dispatch import TorchDispatchMode

from plurimask.errors import InputError, SettingsError
from plurimask.metrics.overlap import count_overlap, pairwise_dice, pairwise_distance, pairwise_iou


@given(panels())
def test_iou_and_dice_equal_those_of_voxel_sets(panel):
    samples, raters, _ = panel
    for fast, slow in ((pairwise_iou, slow_iou), (pairwise_dice, slow_dice)):
        expected = [[[slow(a, b) for b in y] for a in x] for x, y in zip(samples, raters, strict=True)]
        torch.testing.assert_close(fast(samples, raters), torch.tensor(expected, dtype=torch.float64))


@given(panels())
def test_variance_is_that_of_the_two_values_of_each_voxel(panel):
    samples, raters, _ = panel
    values = torch.stack(torch.broadcast_tensors(samples[:, :, None], raters[:, None])).double()
    expected = values.var(0, correction=0).flatten(3).mean(3)
    torch.testing.assert_close(count_overlap(samples, raters).variance, expected)


def test_one_stack_with_itself_counts_as_two_equal_stacks_do():
    masks = torch.rand(2, 3, 5, 7, generator=torch.manual_seed(0)) > 0.5
    assert torch.equal(count_overlap(masks, masks).shared, count_overlap(masks, masks.clone()).shared)


@pytest.mark.parametrize("distance", ["iou", "dice"])
def test_two_empty_masks_agree_and_an_empty_one_agrees_with_no_other(distance):
    masks = row("000", "010")
    assert pairwise_distance(masks, masks, distance)[0].tolist() == [[0, 1], [1, 0]]


def test_counts_beyond_the_whole_numbers_of_float32_are_exact():
    full = torch.ones(1, 1, 4097, 4097, dtype=torch.bool)
    assert count_overlap(full, full).shared.item() == 4097**2 > 2**24


def test_counts_are_exact_across_chunks():
    a, b = torch.rand(2, 1, 1, 300, 300, generator=torch.manual_seed(1)) > 0.5
    assert count_overlap(a[None], b[None]).shared.item() == len(voxels(a[0]) & voxels(b[0]))


def test_memory_beyond_the_input_is_256_kb_a_mask():
    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor) and out.is_floating_point():
                largest = max(largest, out.nbytes)
            return out

    masks = torch.zeros(1, 3, 1000, 1000, dtype=torch.bool)
    with Watch():
        count_overlap(masks, masks)
    assert largest == 3 * 256 * 1024


def test_no_rater_gives_no_pairs():
    assert pairwise_iou(row("01"), row("01")[:, :0]).shape == (1, 1, 0)


def test_masks_that_are_not_bool_are_refused():
    with pytest.raises(InputError, match=r"expected bool, got torch\.float32 and torch\.bool"):
        pairwise_iou(row("01").float(), row("01"))


def test_masks_of_two_sizes_are_refused_even_with_equally_many_voxels():
    with pytest.raises(InputError, match=r"got \(1, 1, 1, 2\) and \(1, 1, 2, 1\)"):
        pairwise_iou(row("01"), row("01").mT)


def test_an_unknown_distance_is_refused():
    with pytest.raises(SettingsError, match=r"distance: expected iou or dice, got 'jaccard'"):
        pairwise_distance(row("01"), row("01"), "jaccard")
