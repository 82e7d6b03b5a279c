"""Where the fields of a region lie, and what they show."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from plurimask.datasets.batches import scale_intensity
from plurimask.sampling.tiles import tile

PIXELS = np.random.default_rng(0).normal(size=(2, 100, 90)).astype(np.float32)


def fields(region, image=PIXELS, field=32, multiple=8):
    made = tile(region, image.shape[1:], field, multiple)
    return made, made.fields(image, torch.device("cpu"), lambda: None)


def rows(first, last):
    return slice(first, last), slice(40, 50)


@pytest.mark.parametrize(("first", "last", "top"), [(40, 50, 29), (30, 62, 30), (0, 3, 0), (95, 100, 68)])
def test_a_small_region_is_in_the_middle_of_one_field_inside_the_image(first, last, top):
    made, shown = fields(rows(first, last))
    assert made.starts == ((0, 0),)
    assert torch.equal(shown.images[0, 0], scale_intensity(torch.from_numpy(PIXELS[:, top : top + 32, 29:61])))


@pytest.mark.parametrize(("first", "last"), [(10, 90), (0, 100), (0, 33), (60, 100), (7, 72)])
def test_a_large_region_is_covered_by_fields_that_overlap_by_half(first, last):
    made, shown = fields(rows(first, last))
    tops = sorted({row for row, _ in made.starts})
    assert all(top % 8 == 0 for top in tops)
    assert all(below - top <= 16 for top, below in pairwise(tops))
    assert tops[-1] + 32 == made.size[0] == shown.size[0]
    assert made.first[0] <= first
    assert last <= made.first[0] + made.size[0]
    assert made.size[0] < last - first + 8


def test_coarse_nets_overlap_as_far_as_they_can():
    made, _ = fields((slice(0, 100), slice(0, 90)), field=32, multiple=32)
    assert sorted({row for row, _ in made.starts}) == [0, 32, 64, 96]


def test_every_field_is_scaled_on_its_own():
    _, shown = fields((slice(0, 100), slice(0, 90)))
    assert shown.images.amin(dim=(3, 4)).eq(-1).all()
    assert shown.images.amax(dim=(3, 4)).eq(1).all()


def test_an_image_smaller_than_a_field_is_mirrored_around_its_middle():
    small = PIXELS[:, :20, :6]
    made, shown = fields((slice(0, 20), slice(0, 6)), small)
    around = np.pad(small, [(0, 0), (6, 6), (13, 13)], mode="symmetric")
    assert torch.equal(shown.images[0, 0], scale_intensity(torch.from_numpy(around)))
    assert made.inside((slice(0, 20), slice(0, 6))) == (slice(6, 26), slice(13, 19))


def test_what_juts_out_of_the_image_is_mirrored():
    made, shown = fields((slice(0, 100), slice(40, 50)))
    assert (made.first[0], made.size[0]) == (-2, 104)
    around = np.pad(PIXELS, [(0, 0), (2, 2), (0, 0)], mode="symmetric")
    last = scale_intensity(torch.from_numpy(around[:, 72:104, 29:61]))
    assert torch.equal(shown.images[-1, 0], last)


@pytest.mark.parametrize(
    ("region", "plane", "place"),
    [((slice(40, 50), slice(40, 50)), (100, 90), (29, 29)), ((slice(0, 100), slice(40, 50)), (104, 90), (0, 29))],
)
def test_noise_belongs_to_the_plane_of_the_image(region, plane, place):
    _, shown = fields(region)
    assert (shown.plane, shown.place) == (plane, place)


def test_the_region_is_found_in_its_area():
    made, _ = fields((slice(40, 50), slice(3, 9)))
    top, left = made.first
    inside = made.inside((slice(40, 50), slice(3, 9)))
    assert [(span.start, span.stop) for span in inside] == [(40 - top, 50 - top), (3 - left, 9 - left)]
