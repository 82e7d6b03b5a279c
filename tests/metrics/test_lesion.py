"""CRPS against the integral that defines it, by hand, and on masks in two and three dimensions."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from slow_pairs import by_case, panels, row, voxels

from plurimask.errors import InputError
from plurimask.metrics.lesion import crps, size_crps

SIZES = st.lists(st.floats(0, 1e4), min_size=1, max_size=6)


def integral(sizes, drawn):
    """Of (F(a) - 1{a >= drawn})^2 over a: between two neighbouring sizes the integrand is constant."""
    steps = sorted([*sizes, drawn])
    return sum(
        (high - low) * (sum(a <= low for a in sizes) / len(sizes) - (low >= drawn)) ** 2
        for low, high in pairwise(steps)
    )


def slow_crps(sizes, reader_sizes):
    return sum(integral(sizes, drawn) for drawn in reader_sizes) / len(reader_sizes)


def on_one_case(sizes, reader_sizes, read=None):
    read = [True] * len(reader_sizes) if read is None else read
    tables = (torch.tensor([numbers], dtype=torch.float64) for numbers in (sizes, reader_sizes))
    return crps(*tables, torch.tensor([read])).item()


@given(SIZES, SIZES)
def test_crps_is_the_integral_that_defines_it(sizes, reader_sizes):
    assert on_one_case(sizes, reader_sizes) == pytest.approx(slow_crps(sizes, reader_sizes), rel=1e-9, abs=1e-8)


@given(SIZES, SIZES, st.randoms(use_true_random=False))
def test_the_order_of_samples_and_readers_does_not_matter(sizes, reader_sizes, random):
    some, other = (random.sample(numbers, len(numbers)) for numbers in (sizes, reader_sizes))
    assert on_one_case(some, other) == pytest.approx(on_one_case(sizes, reader_sizes), rel=1e-9, abs=1e-8)


@given(SIZES, SIZES)
def test_every_sample_twice_scores_the_same(sizes, reader_sizes):
    assert on_one_case(sizes * 2, reader_sizes) == pytest.approx(on_one_case(sizes, reader_sizes), rel=1e-9, abs=1e-8)


def test_one_sample_scores_its_mean_absolute_error():
    assert on_one_case([3.0], [1.0, 7.0]) == 3


def test_crps_by_hand():
    # E|a - y| = (2 + 0) / 2, E|a - a'| = (0 + 2 + 2 + 0) / 4.
    assert on_one_case([0.0, 2.0], [2.0]) == 1 - 1 / 2


@pytest.mark.parametrize("rubbish", [1e9, float("nan"), float("inf")])
def test_the_size_in_a_slot_that_was_not_read_does_not_matter(rubbish):
    assert on_one_case([1.0, 4.0], [2.0, rubbish], [True, False]) == on_one_case([1.0, 4.0], [2.0])


def test_crps_is_undefined_where_nobody_read():
    assert torch.tensor(on_one_case([1.0], [1.0], [False])).isnan()
    assert size_crps(row("01"), row("01")[:, :0]).isnan().item()


@pytest.mark.parametrize("count", [100, 256])
def test_many_samples_agree_with_the_integral(count):
    sizes = torch.rand(count, generator=torch.manual_seed(count), dtype=torch.float64).mul(500).tolist()
    assert on_one_case(sizes, [100.0, 480.0]) == pytest.approx(slow_crps(sizes, [100.0, 480.0]))


@given(panels())
def test_size_crps_counts_the_voxels_of_masks(panel):
    def slow(samples, readers):
        return slow_crps(*([len(voxels(mask)) for mask in masks] for masks in (samples, readers)))

    torch.testing.assert_close(size_crps(*panel), by_case(slow, *panel))


@given(panels())
def test_size_crps_of_the_readers_themselves_is_half_their_mean_gap(panel):
    _, readers, _ = panel
    sizes = readers.flatten(2).sum(2).double()
    gaps = (sizes[:, :, None] - sizes[:, None, :]).abs().mean((1, 2))
    torch.testing.assert_close(size_crps(readers, readers), gaps / 2)


@given(panels(), st.floats(0.1, 10))
def test_size_crps_is_in_the_unit_of_the_voxel_size(panel, size):
    torch.testing.assert_close(size_crps(*panel, voxel_size=size), size * size_crps(*panel))


def test_each_case_may_have_a_voxel_size_of_its_own():
    samples, readers = row("110").expand(2, -1, -1, -1), row("100").expand(2, -1, -1, -1)
    assert size_crps(samples, readers, voxel_size=torch.tensor([0.5, 3.0])).tolist() == [0.5, 3]


def test_empty_masks_have_size_0():
    assert size_crps(row("000"), row("000")).item() == 0
    assert size_crps(row("000"), row("011")).item() == 2


def test_masks_of_two_sizes_are_refused():
    with pytest.raises(InputError, match="the same size on both sides"):
        size_crps(row("01"), row("011"))
