"""Sizes and surfaces of lesions, against the integral of CRPS and a slow distance."""

from itertools import pairwise
from math import dist, nan
from statistics import fmean

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics import compute_hausdorff_distance
from scipy import stats
from scipy.interpolate import interp1d
from scipy.ndimage import label
from slow_pairs import by_case, panels, row, slow_dice, voxels

from plurimask.errors import InputError
from plurimask.metrics.lesion import closest_surface, crps, curvas_crps, one_body, size_crps, size_ranks

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


@given(panels(least_readers=2))
def test_the_crps_of_curvas_is_that_of_its_code(panel):
    """By quadrature, as published."""

    def slow(samples, readers):
        sizes = [float(mask.sum()) for mask in readers]
        mean, spread = np.mean(sizes), np.std(sizes)
        if not spread:
            return nan
        places = np.linspace(*stats.norm.ppf([0.01, 0.99], mean, spread), 100)
        cdf = interp1d(places, stats.norm.cdf(places, mean, spread), bounds_error=False, fill_value=(0, 1))
        predicted = float(samples.double().mean(0).sum())
        t = np.linspace(mean - 3 * spread, mean + 3 * spread, 20001)
        return np.trapezoid((cdf(t) - (t > predicted)) ** 2, t)

    torch.testing.assert_close(curvas_crps(*panel), by_case(slow, *panel), rtol=2e-3, atol=2e-3, equal_nan=True)


def test_empty_masks_have_size_0():
    assert size_crps(row("000"), row("000")).item() == 0
    assert size_crps(row("000"), row("011")).item() == 2


def test_masks_of_two_sizes_are_refused():
    with pytest.raises(InputError, match="the same size on both sides"):
        size_crps(row("01"), row("011"))


SPACINGS = st.lists(st.sampled_from([0.5, 0.7, 1.0, 2.5]), min_size=3, max_size=3)


def edge(mask):
    """Voxels with a face neighbour that is not in the mask."""
    inside = voxels(mask)
    steps = np.eye(mask.ndim, dtype=int).tolist() + (-np.eye(mask.ndim, dtype=int)).tolist()
    return [v for v in inside if any(tuple(map(sum, zip(v, s, strict=True))) not in inside for s in steps)]


def slow_hausdorff(a, b, spacing):
    if not a.any() or not b.any():
        return nan if a.any() or b.any() else 0.0

    def directed(start, end):
        places = [[[x * h for x, h in zip(v, spacing, strict=True)] for v in edge(mask)] for mask in (start, end)]
        return np.percentile([min(dist(v, w) for w in places[1]) for v in places[0]], 95)

    return max(directed(a, b), directed(b, a))


def slow_closest(samples, readers, spacing):
    distances = []
    for reader in readers:
        dice = [slow_dice(sample, reader) for sample in samples]
        best = [sample for sample, value in zip(samples, dice, strict=True) if value == max(dice)]
        found = [slow_hausdorff(sample, reader, spacing) for sample in best]
        distances.append(min((value for value in found if value == value), default=nan))
    defined = [value for value in distances if value == value]
    return fmean(defined) if defined else nan


def ellipses(count, seed, size=(40, 40)):
    """(1, count, *size) ellipses and ellipsoids, some cut by the border."""
    generator = torch.manual_seed(seed)
    axes = torch.meshgrid(*map(torch.arange, size), indexing="ij")
    grid = torch.stack(axes)[None] - torch.rand(count, len(size), *[1] * len(size), generator=generator) * 40
    radii = 3 + 8 * torch.rand(count, len(size), *[1] * len(size), generator=generator)
    return ((grid / radii).square().sum(1) <= 1)[None]


@settings(deadline=None, max_examples=60)
@given(panels(), SPACINGS)
def test_distance_equals_the_slow_one_over_edge_voxels(panel, spacing):
    spacing_mm = spacing[: panel[0].ndim - 2]
    expected = by_case(lambda s, r: slow_closest(s, r, spacing_mm), *panel)
    torch.testing.assert_close(closest_surface(*panel, spacing_mm), expected, rtol=1e-12, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize(("size", "spacing"), [((40, 40), (0.6, 0.9)), ((24, 30, 8), (0.7, 0.7, 2.5))])
def test_larger_masks_equal_the_slow_one(size, spacing):
    samples, readers = ellipses(4, 1, size), ellipses(3, 2, size)
    expected = slow_closest(samples[0], readers[0], spacing)
    assert closest_surface(samples, readers, spacing_mm=spacing).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy")
@pytest.mark.parametrize("seed", range(10))
def test_distance_is_monai_s_of_the_whole_image(seed):
    a, b = ellipses(1, seed), ellipses(1, seed + 100)
    whole = compute_hausdorff_distance(a, b, include_background=True, percentile=95, spacing=[0.5, 2.0])
    assert closest_surface(a, b, spacing_mm=(0.5, 2.0)).item() == pytest.approx(whole.item(), rel=1e-6)  # float32


def test_distance_by_hand():
    # 0.95 of the way from the nearest to the farthest of two edge voxels, at distances 2 and 3.
    assert closest_surface(row("0001100"), row("0100000")).item() == pytest.approx(2.95)
    assert closest_surface(row("0001100"), row("0100000"), spacing_mm=(5, 0.5)).item() == pytest.approx(2.95 / 2)


def test_distance_is_symmetric_in_the_two_masks():
    a, b = row("0001100"), row("0100000")
    assert closest_surface(a, b).item() == closest_surface(b, a).item()


def test_the_sample_of_the_highest_dice_counts_even_where_another_lies_nearer():
    assert closest_surface(row("1110000001", "1100000000"), row("1110000000")).item() > 5


@pytest.mark.parametrize("samples", [("0100", "0001", "0000"), ("0000", "0001", "0100")])
def test_the_nearest_of_equally_good_samples_counts_in_any_order(samples):
    assert closest_surface(row(*samples), row("1000")).item() == 1


def test_the_mean_runs_over_the_readers_who_read():
    samples, readers = row("1000"), row("0100", "0010", "0001")
    assert closest_surface(samples, readers, torch.tensor([[True, True, False]])).item() == 1.5


def test_equal_masks_and_empty_ones_among_them_have_distance_0():
    assert closest_surface(row("000", "010"), row("010", "000")).item() == 0


@pytest.mark.filterwarnings("error")
def test_a_reader_is_left_out_where_exactly_one_mask_is_empty():
    assert closest_surface(row("100"), row("000", "001")).item() == 2
    assert closest_surface(row("000"), row("010", "000")).item() == 0


@pytest.mark.filterwarnings("error")
def test_distance_is_undefined_where_no_reader_is_left():
    assert closest_surface(row("000"), row("010")).isnan().item()
    assert closest_surface(row("010"), row("010"), torch.tensor([[False]])).isnan().item()
    assert closest_surface(row("010"), row("010")[:, :0]).isnan().item()


@pytest.mark.parametrize("spacing", [(1.0,), (1.0, 1.0, 1.0), (1.0, 0.0), (-1.0, 1.0)])
def test_a_spacing_of_other_axes_or_not_above_0_is_refused(spacing):
    with pytest.raises(InputError, match="spacing_mm: expected 2 sizes above 0"):
        closest_surface(row("01"), row("01"), spacing_mm=spacing)


def test_one_body_counts_the_samples_that_scipy_finds_connected():
    masks = torch.from_numpy(np.random.default_rng(0).random((1, 12, 3, 4, 2)) < 0.2)
    masks[0, :2] = False
    whole = torch.zeros((1, 2, 3, 4, 2), dtype=torch.bool)
    whole[:, :, 1:] = True
    counts = [label(mask.numpy(), np.ones((3, 3, 3)))[1] for mask in masks[0, 2:]]
    assert set(counts) > {1}
    assert one_body(masks, whole).item() == pytest.approx(np.mean(np.array(counts) == 1))
    at_corners = torch.eye(4, dtype=torch.bool)
    assert one_body(at_corners[None, None], at_corners[None, None]).item() == 1


def test_one_body_is_undefined_without_samples_or_where_a_reader_drew_several():
    one, two = torch.tensor([[[1, 1, 0], [0, 0, 0]]]).bool(), torch.tensor([[[1, 0, 1], [0, 0, 0]]]).bool()
    assert one_body(torch.zeros_like(one)[None], one[None]).isnan()
    assert one_body(one[None], torch.cat([one, two])[None]).isnan()
    assert one_body(one[None], torch.cat([one, two])[None], torch.tensor([[True, False]])).item() == 1


def test_ranks_by_hand():
    """Two samples below 5 and one of its size; a size of two samples stands at three ranks; the last slot is unread."""
    sizes, readers = torch.tensor([[0.0, 0.0, 5.0, 9.0]]), torch.tensor([[5.0, 0.0, 10.0, 3.0]])
    got = size_ranks(sizes, readers, torch.tensor([[True, True, True, False]]))
    torch.testing.assert_close(got, torch.tensor([[1 / 3, 1 / 3, 1 / 3 + 1 / 2, 1 / 2, 1.0]], dtype=torch.float64))


def test_ranks_are_alike_where_readers_and_samples_are_of_one_distribution():
    """Of few distinct sizes, so that many are equal."""
    drawn = torch.randint(0, 4, (20_000, 7), generator=torch.Generator().manual_seed(0)).double()
    shares = size_ranks(drawn[:, :4], drawn[:, 4:], torch.ones(20_000, 3, dtype=torch.bool)).mean(0) / 3
    torch.testing.assert_close(shares, torch.full((5,), 0.2, dtype=torch.float64), atol=0.005, rtol=0)
