"""The distance of surfaces against sets of edge voxels, uncropped MONAI, by hand, and where a mask is empty."""

from math import dist, nan
from statistics import fmean

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics import compute_hausdorff_distance
from slow_pairs import by_case, panels, row, slow_dice, voxels

from plurimask.errors import InputError
from plurimask.metrics.surface import closest_surface

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
