"""Simulated CT: what the ratings do to the picture, and what the picture tells of the readers."""

from dataclasses import replace

import numpy as np
import pytest

from plurimask.prepare.lidc_contours import Ratings
from plurimask.prepare.phantom_ct import simulate_ct

ROW, COLUMN = np.indices((128, 128)) - 64
SOLID = Ratings(5, 5, 5)


def disc(radius):
    return np.hypot(ROW, COLUMN) < radius


def panel(*radii):
    return np.stack([disc(radius) for radius in radii])


def pictures(masks, ratings, count=12):
    return np.stack([simulate_ct(masks, [ratings], 0.7, 2.5, np.random.default_rng(seed)) for seed in range(count)])


def test_values_are_whole_hounsfield_units_in_range():
    images = pictures(panel(9, 9, 8, 10), SOLID)
    assert images.dtype == np.float32
    assert np.array_equal(images, np.rint(images))
    assert images.min() >= -1024
    assert images.max() <= 3071


def test_the_generator_alone_decides():
    assert np.array_equal(pictures(panel(9, 0, 0, 8), SOLID, 3), pictures(panel(9, 0, 0, 8), SOLID, 3))


def test_a_solid_nodule_is_as_dense_as_soft_tissue():
    assert -150 < np.median(pictures(panel(9, 9, 9, 9), SOLID)[:, disc(5)]) < 100


def test_ground_glass_lies_between_lung_and_soft_tissue():
    glass = pictures(panel(9, 9, 9, 9), replace(SOLID, texture=1))
    assert -750 < np.median(glass[:, disc(5)]) < -400


@pytest.mark.parametrize("rating", ["subtlety", "texture"])
def test_a_higher_rating_makes_the_nodule_denser(rating):
    low, middle, high = (
        pictures(panel(9, 9, 9, 9), replace(SOLID, **{rating: value}))[:, disc(9)].mean() for value in (1, 3, 5)
    )
    assert low + 50 < middle < high - 50


def test_a_poor_margin_makes_the_edge_wider():
    ring = disc(12) & ~disc(10)
    sharp, poor = (pictures(panel(9, 9, 9, 9), replace(SOLID, margin=m))[:, ring].mean() for m in (5, 1))
    assert poor > sharp + 50


def test_more_readers_tend_to_see_a_denser_nodule():
    one, four = (pictures(panel(*radii), SOLID)[:, disc(5)].mean() for radii in ((9, 0, 0, 0), (9, 9, 9, 9)))
    assert four > one + 50


def test_one_picture_does_not_tell_how_many_readers_drew():
    one, four = (pictures(panel(*radii), SOLID)[:, disc(5)].mean(axis=1) for radii in ((9, 0, 0, 0), (9, 9, 9, 9)))
    assert one.max() > four.min()


def test_what_all_outlined_is_denser_than_what_some_did_and_that_than_the_lung_around():
    images = pictures(panel(6, 10, 14, 14), SOLID)
    agreed, disputed, around = (np.median(images[:, m]) for m in (disc(6), disc(14) & ~disc(6), disc(24) & ~disc(18)))
    assert agreed > disputed + 100
    assert disputed > around + 100


def test_the_edge_is_not_the_readers_mean():
    """Over pictures of one panel the density in the disputed ring varies far more than noise alone would make it."""
    images = pictures(panel(6, 10, 14, 14), SOLID, 24)
    ring = images[:, disc(13) & ~disc(7)].mean(axis=1)
    core = images[:, disc(5)].mean(axis=1)
    assert np.std(ring) > 50
    assert np.corrcoef(ring, core)[0, 1] < 0.9


def test_the_chest_wall_never_covers_an_outline():
    """Ground glass stays darker than any tissue of the wall, wherever the nodule lies."""
    glass = pictures(panel(20, 20, 20, 20), replace(SOLID, texture=1), 40)
    assert np.median(glass[:, disc(15)], axis=1).max() < -300


def test_thin_slices_are_noisier():
    def roughness(thickness_mm):
        images = [
            simulate_ct(panel(3, 3, 3, 3), [SOLID], 0.7, thickness_mm, np.random.default_rng(s)) for s in range(8)
        ]
        return np.median([np.median(np.abs(np.diff(image, axis=0))) for image in images])

    assert roughness(0.6) > 1.5 * roughness(5.0)
