"""Pairwise overlap against sets of voxels, the rule for empty masks, exact counts, refusals."""

import inspect
import tracemalloc
from importlib import import_module

import numpy as np
import pytest
import torch
from hypothesis import given
from monai.metrics import compute_dice, compute_iou
from slow_pairs import panels, row, slow_dice, slow_iou, voxels

from plurimask.errors import InputError, SettingsError
from plurimask.metrics.overlap import (
    any_mask,
    count_overlap,
    count_pairs,
    count_voxels,
    pairwise_dice,
    pairwise_distance,
    pairwise_iou,
)


@given(panels())
def test_iou_and_dice_equal_those_of_voxel_sets(panel):
    samples, readers, _ = panel
    for fast, slow in ((pairwise_iou, slow_iou), (pairwise_dice, slow_dice)):
        expected = [[[slow(a, b) for b in y] for a in x] for x, y in zip(samples, readers, strict=True)]
        torch.testing.assert_close(fast(samples, readers), torch.tensor(expected, dtype=torch.float64))


@given(panels())
def test_variance_is_that_of_the_two_values_of_each_voxel(panel):
    samples, readers, _ = panel
    values = torch.stack(torch.broadcast_tensors(samples[:, :, None], readers[:, None])).double()
    expected = values.var(0, correction=0).flatten(3).mean(3)
    torch.testing.assert_close(count_overlap(samples, readers).variance, expected)


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


def test_memory_beyond_the_input_is_768_kb_a_mask_of_one_case():
    masks = torch.ones(4, 3, 500, 500, dtype=torch.bool)
    count_overlap(masks, masks)  # what the first call loads is not counted
    tracemalloc.start()
    count_overlap(masks, masks)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 3 * 256 * 1024 < peak < 3 * 768 * 1024


@given(panels())
def test_one_count_of_all_pairs_gives_each_block_of_pairs(panel):
    samples, readers, valid = panel
    pairs = count_pairs(samples, readers, valid)
    for block, a, b in ((pairs.ss, samples, samples), (pairs.sy, samples, readers), (pairs.yy, readers, readers)):
        expected = count_overlap(a, b)
        assert torch.equal(block.shared, expected.shared)
        assert torch.equal(block.added, expected.added)
        assert block.voxels == expected.voxels
    assert torch.equal(pairs.read, valid)


def test_without_a_mask_of_slots_all_were_read():
    assert count_pairs(row("01"), row("01", "11")).read.tolist() == [[True, True]]


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (1, 2**16 + 8), (1, 2**16 + 3)])
def test_counts_are_those_of_all_voxels_at_sizes_with_and_without_whole_words(size):
    a, b = (torch.rand(2, 3, *size, generator=torch.manual_seed(seed)) > 0.9 for seed in (0, 1))
    x, y = (masks.flatten(2).double() for masks in (a, b))
    counted = count_overlap(a, b)
    assert torch.equal(counted.shared, x @ y.mT)
    assert torch.equal(counted.added, x.sum(2)[:, :, None] + y.sum(2)[:, None])


@pytest.mark.parametrize(
    "view",
    [
        lambda masks: masks.mT,
        lambda masks: masks[..., ::2],
        lambda masks: masks[:, :, 1:],
        lambda masks: masks[:, :1].expand(-1, 3, -1, -1),
        lambda masks: masks.flip(0),
    ],
)
def test_masks_that_are_views_count_as_their_copies_do(view):
    masks = view(torch.rand(2, 3, 8, 16, generator=torch.manual_seed(2)) > 0.5)
    copy = masks.clone(memory_format=torch.contiguous_format)
    assert torch.equal(count_overlap(masks, masks).shared, count_overlap(copy, copy).shared)


@given(panels())
def test_the_pairs_of_a_volume_share_what_its_slices_share(panel):
    samples, readers, _ = panel
    planes = [masks.flatten(2)[:, :, None] for masks in (samples, readers)]
    volume = [torch.stack([masks, masks.roll(1, 3)], -1) for masks in planes]
    slices = [count_overlap(*(masks[..., plane] for masks in volume)).shared for plane in (0, 1)]
    assert torch.equal(count_overlap(*volume).shared, slices[0] + slices[1])


@given(panels())
def test_any_mask_is_the_union_and_its_voxels_are_counted(panel):
    union = panel[0].any(1).flatten(1)
    assert torch.equal(any_mask(panel[0]), union)
    assert count_voxels(union).tolist() == union.sum(1).tolist()


def test_voxels_are_counted_by_the_word_too():
    masks = torch.rand(3, 4, 16, 8, generator=torch.manual_seed(0)) < 0.4
    assert count_voxels(any_mask(masks)).tolist() == masks.any(1).flatten(1).sum(1).tolist()


def test_monai_agrees_on_iou_and_dice_of_masks_that_are_not_both_empty():
    a, b = (torch.rand(4, 1, 16, 16, generator=torch.manual_seed(seed)) > 0.7 for seed in (3, 4))
    a[0] = False
    torch.testing.assert_close(pairwise_iou(a, b)[:, :, 0], compute_iou(a, b).double(), rtol=1e-6, atol=0)
    torch.testing.assert_close(pairwise_dice(a, b)[:, :, 0], compute_dice(a, b).double(), rtol=1e-6, atol=0)


def test_no_reader_gives_no_pairs():
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


@pytest.mark.parametrize(
    "valid", [torch.ones(1, 2), torch.ones(1, 2, dtype=torch.int64), torch.ones(1, 1, dtype=torch.bool)]
)
def test_flags_that_are_not_bool_or_not_one_a_reader_are_refused(valid):
    masks = row("10", "01")
    with pytest.raises(InputError, match=r"valid: expected bool of shape \(1, 2\)"):
        count_pairs(masks, masks, valid)


def test_masks_without_a_batch_axis_are_refused():
    masks = row("10", "01")[0]
    with pytest.raises(InputError, match=r"masks: expected \(B, n, H, W\)"):
        count_overlap(masks, masks)


MASKS = {"samples", "readers", "masks", "mask", "a", "b"}
"""Names of parameters that are masks."""


def masked_functions():
    """Every public function of the package that takes masks as tensors, with the names of its parameters."""
    modules = ("calibration", "ci_score", "conventions", "degenerate", "ged", "lesion", "overlap")
    for module in (import_module(f"plurimask.metrics.{name}") for name in modules):
        for name, function in inspect.getmembers(module, inspect.isfunction):
            parameters = list(inspect.signature(function).parameters)
            if function.__module__ == module.__name__ and name[0] != "_" and MASKS & set(parameters):
                yield pytest.param(function, parameters, id=name)


@pytest.mark.parametrize(("function", "parameters"), list(masked_functions()))
def test_numpy_masks_are_refused_with_the_way_to_give_them(function, parameters):
    """`hausdorff_95` is of NumPy masks."""
    others = {"valid": None, "count": 2, "name": "ccdm"}
    given = {key: others.get(key, np.zeros((1, 3, 4, 4), bool)) for key in parameters if key in MASKS | set(others)}
    if function.__name__ == "hausdorff_95":
        assert function(**given) == 0
    else:
        with pytest.raises(InputError, match=r"expected a torch tensor, got a NumPy array; give torch\.from_numpy"):
            function(**given)


def test_a_numpy_valid_is_refused_too():
    masks = torch.zeros(1, 2, 3, 3, dtype=torch.bool)
    with pytest.raises(InputError, match="expected a torch tensor, got a NumPy array"):
        count_pairs(masks, masks, np.ones((1, 2), bool))
