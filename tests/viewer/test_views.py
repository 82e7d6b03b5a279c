"""What a page shows, against truth by hand."""

import math

import numpy as np
import pytest
from served import SIZE, squares

from plurimask.geometry import Grid
from plurimask.records import MaskSet
from plurimask.viewer import marks, views
from plurimask.viewer.marks import Marks, Panel

PLANE = Grid.plane(SIZE, 0.5)
"""A pixel is a quarter of a mm²."""


def volume(*places, size=(6, 7, 5)):
    """One mask a list of voxels."""
    masks = np.zeros((len(places), *size), dtype=bool)
    for mask, voxels in zip(masks, places, strict=True):
        for voxel in voxels:
            mask[voxel] = True
    return masks


@pytest.mark.parametrize("masks", [squares(3, 0, 4), volume([(1, 2, 3)], [(4, 2, 0)]), squares(0, 0), squares()])
def test_marks_hold_all_and_give_it_back(masks):
    marks = Marks.of(masks)
    assert np.array_equal(marks.whole().reshape(masks.shape), masks)


def test_the_box_is_the_smallest_that_holds_all():
    marks = Marks.of(volume([(1, 2, 3)], [(4, 2, 0)]))
    assert (marks.box, marks.masks.shape) == ((slice(1, 5), slice(2, 3), slice(0, 4)), (2, 4, 1, 4))


def test_masks_in_any_order_of_memory_are_the_same():
    masks = np.random.default_rng(0).random((3, 4, 5, 6)) < 0.1
    turned = np.moveaxis(np.ascontiguousarray(np.moveaxis(masks, -1, 1)), 1, -1)
    assert np.array_equal(Marks.of(turned).whole(), masks)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_slice_is_that_of_the_volume(axis):
    masks = np.random.default_rng(0).random((3, 6, 7, 5)) < 0.02
    marks = Marks.of(masks)
    rows, columns = (span for place, span in enumerate(marks.box) if place != axis)
    for index in range(masks.shape[axis + 1]):
        wanted = np.moveaxis(masks, axis + 1, 0)[index]
        found = marks.plane(axis, index)
        assert np.array_equal(found, wanted[:, rows, columns] if wanted.any() else np.zeros((3, 0, 0), bool))


def test_marked_slices_are_those_with_a_mark():
    marks = Marks.of(volume([(1, 2, 3)], [(4, 2, 0)]))
    assert [marks.marked(axis) for axis in range(3)] == [[1, 4], [2], [0, 3]]


def test_stacks_are_joined_in_their_order_whatever_their_boxes():
    parts = [volume([(1, 2, 3)]), volume([]), volume([(4, 2, 0)], [(0, 0, 0)])]
    joined = marks.joined([Marks.of(part) for part in parts])
    assert np.array_equal(joined.whole(), np.concatenate(parts))


def test_a_panel_that_is_followed_keeps_its_seeds_in_order():
    first, second = (Panel.of(MaskSet("a", squares(2, 3), Grid(SIZE), seeds=seeds)) for seeds in ((7, 8), (9, 1)))
    assert first.followed_by(second).seeds == (7, 8, 9, 1)


def test_samples_of_one_size_are_one_group_and_the_empty_ones_another():
    groups = views.group(Marks.of(squares(4, 0, 4, 4, 0)), PLANE)
    assert groups == [([0, 2, 3], "3 of 5: 4 mm²"), ([1, 4], "2 of 5: nothing drawn")]


def test_samples_that_share_less_than_half_are_apart():
    """Squares of 4 and 3 share 9 of 16 pixels, of 2 and 4 only 4 of 16."""
    groups = views.group(Marks.of(squares(2, 4, 3)), PLANE)
    assert [one.text for one in groups] == ["2 of 3: 3.12 mm² (2.25 to 4)", "1 of 3: 1 mm²"]


def test_groups_are_joined_by_their_mean_distance():
    """6 and 4 are at 20/36, more than a half, but 4 and the group of 6 and 5 at the mean of 20/36 and 9/25."""
    assert len(views.group(Marks.of(squares(6, 4)), PLANE)) == 2
    assert len(views.group(Marks.of(squares(6, 5, 4)), PLANE)) == 1


def test_the_representative_is_nearest_to_the_others():
    assert views.group(Marks.of(squares(6, 5, 4)), PLANE)[0].members[0] == 1


def test_without_spacing_sizes_are_counts():
    assert views.group(Marks.of(squares(4)), Grid(SIZE))[0].text == "1 of 1: 16 pixels"


def test_nothing_but_empty_samples_is_one_group():
    assert views.group(Marks.of(squares(0, 0)), PLANE) == [([0, 1], "2 of 2: nothing drawn")]


def test_a_summary_by_hand():
    """Samples of 4 and 2: d_SS = 3/4. Readers of 4 and 4: d_YY = 0. Between: (0 + 3/4) / 2, so U-GED is 3/4 - 3/4."""
    found = views.summarise(Marks.of(squares(4, 2)), Marks.of(squares(4, 4)), PLANE)
    assert (found.samples, found.readers, found.disagreement, found.size_mean, found.unit) == (2, 2, 0.75, 2.5, "mm²")
    assert found.score == pytest.approx(0.0)


def test_a_summary_of_readers_alone():
    found = views.summarise(Marks.of(squares()), Marks.of(squares(4, 2)), PLANE)
    assert (found.samples, found.readers, found.disagreement, found.size_mean) == (0, 2, 0.75, 2.5)
    assert math.isnan(found.score)


def test_a_summary_of_samples_alone():
    found = views.summarise(Marks.of(squares(4, 2, 0)), Marks.of(squares()), PLANE)
    assert found.disagreement == pytest.approx((0.75 + 1 + 1) / 3)
    assert math.isnan(found.score)


def test_a_summary_of_nothing():
    found = views.summarise(Marks.of(squares()), Marks.of(squares()), PLANE)
    assert math.isnan(found.disagreement)
    assert math.isnan(found.size_mean)


def test_the_first_slice_is_the_most_disputed_one():
    """On slice 3 two voxels are disputed, on slice 1 one."""
    samples = Marks.of(volume([(1, 2, 3), (2, 2, 3), (0, 0, 1)], []))
    assert views.start_slice(samples, Marks.of(volume()), 2) == 3


def test_where_all_agree_the_first_slice_has_the_largest_mark():
    samples = Marks.of(volume(*2 * [[(1, 2, 4), (2, 2, 4), (0, 0, 1)]]))
    assert views.start_slice(samples, Marks.of(volume()), 2) == 4


def test_without_samples_the_first_slice_is_the_readers():
    assert views.start_slice(Marks.of(volume()), Marks.of(volume([(5, 2, 4)])), 0) == 5


def test_without_a_mark_the_first_slice_is_the_middle_one():
    assert views.start_slice(Marks.of(volume([])), Marks.of(volume()), 0) == 3


@pytest.mark.parametrize("plane", [np.array([[-1024, 3071], [0, 1]]), np.full((2, 2), 7), np.array([[-32768, 32767]])])
def test_whole_numbers_are_sent_as_they_are(plane):
    raw, scale, offset = views.encode(plane.astype(np.float32))
    assert (raw.tolist(), raw.dtype.str, scale, offset) == (plane.tolist(), "<i2", 1.0, 0.0)


@pytest.mark.parametrize("values", [(0.0, 1.0), (-3.5e6, 2e6), (1e-9, 2e-9), (-1e38, 1e38), (0.25, 0.25)])
def test_other_numbers_come_back_within_half_a_step(values):
    plane = np.random.default_rng(0).uniform(*values, (20, 30)).astype(np.float32)
    raw, scale, offset = views.encode(plane)
    assert np.abs(raw * scale + offset - plane).max() <= 0.501 * (float(plane.max()) - float(plane.min())) / 65535


def test_the_window_leaves_out_the_outermost_values():
    low, high = views.window(np.arange(1001, dtype=np.float32).reshape(7, 11, 13))
    assert (low, high) == (5.0, 995.0)


def test_a_window_of_one_value_is_not_empty():
    assert views.window(np.full((4, 4), 3.0, np.float32)) == (3.0, 4.0)
