"""Planes of volumes and squares of planes: which values they hold, and where they lie."""

import numpy as np
import pytest

from plurimask.geometry import Grid
from plurimask.prepare.folder import fit_square, to_planes
from plurimask.records import Case

AFFINE = np.array([[0, -0.9, 0.1, 5], [1.1, 0, 0, -7], [0, 0.1, 2.5, 11], [0, 0, 0, 1.0]])


def volume(shape=(4, 5, 6), affine=AFFINE):
    image = np.arange(2 * np.prod(shape), dtype=np.float32).reshape(2, *shape)
    raters = np.zeros((2, *shape), dtype=bool)
    raters[0, 1, 2, 3] = True
    return Case("a", image, raters, Grid(shape, affine), "p")


def plane(shape=(4, 6), masks=1):
    rng = np.random.default_rng(0)
    image = rng.normal(size=(2, *shape)).astype(np.float32)
    return Case("a", image, rng.random((masks, *shape)) < 0.5, Grid.plane(shape, 0.7))


@pytest.mark.parametrize(("axis", "number"), [(0, 1), (1, 2), (2, 3)])
def test_the_marked_plane_holds_the_volumes_values_where_they_lie(axis, number):
    case = volume()
    (cut,), lost = to_planes(case, axis, None)
    assert (cut.name, cut.patient, lost) == (f"a-s00{number}", "p", [])
    np.testing.assert_array_equal(cut.image, case.image.take(number, axis + 1))
    index = [1, 2, 3]
    index.pop(axis)
    assert cut.raters[0][tuple(index)]
    np.testing.assert_allclose(cut.grid.affine @ (*index, 0, 1), AFFINE @ (1, 2, 3, 1))


def test_every_plane_where_all_are_wanted():
    cut, _ = to_planes(volume(), 2, None, every=True)
    assert [case.name for case in cut] == [f"a-s00{i}" for i in range(6)]


def test_a_volume_without_affine_gives_planes_without():
    (cut,), _ = to_planes(volume(affine=None), 1, None)
    assert cut.grid.affine is None


def test_a_plane_stays_a_plane_whoever_drew():
    case = plane(masks=0)
    assert to_planes(case, 0, None) == ([case], [])


def test_a_plane_of_a_volume_whose_marks_vanish_is_named():
    kept, lost = to_planes(volume(), 2, 1)
    assert (kept, lost) == ([], ["a-s003"])


def test_a_small_plane_is_padded_with_the_least_value_and_never_enlarged():
    case = plane((4, 6))
    fitted = fit_square(case, 8)
    assert fitted.image.shape == (2, 8, 8)
    np.testing.assert_array_equal(fitted.image[:, 2:6, 1:7], case.image)
    np.testing.assert_array_equal(fitted.raters[:, 2:6, 1:7], case.raters)
    assert fitted.raters.sum() == case.raters.sum()
    assert (fitted.image[:, 0] == case.image.min((1, 2))[:, None]).all()


def test_a_large_plane_keeps_its_mean():
    case = plane((7, 7))
    np.testing.assert_allclose(fit_square(case, 3).image.mean((1, 2)), case.image.mean((1, 2)), rtol=1e-5)


def test_halving_averages_four_pixels_each():
    case = plane((4, 4))
    expected = case.image.reshape(2, 2, 2, 2, 2).mean((2, 4))
    np.testing.assert_allclose(fit_square(case, 2).image, expected, rtol=1e-6)


@pytest.mark.parametrize(("drawn", "kept"), [(4, False), (5, True)])
def test_a_pixel_is_drawn_where_half_of_its_area_was(drawn, kept):
    raters = np.zeros((1, 9), dtype=bool)
    raters[0, :drawn] = True
    case = Case("a", np.zeros((1, 3, 3), np.float32), raters.reshape(1, 3, 3), Grid((3, 3)))
    assert fit_square(case, 1).raters.item() is kept


def test_exactly_half_is_drawn():
    raters = np.array([[[True, False], [True, False]]])
    assert fit_square(Case("a", np.zeros((1, 2, 2), np.float32), raters, Grid((2, 2))), 1).raters.item()


@pytest.mark.parametrize("size", [3, 6, 8])
def test_the_middle_stays_where_it_is(size):
    case = plane((6, 6))
    fitted = fit_square(case, size)
    np.testing.assert_allclose(
        fitted.grid.affine @ ((size - 1) / 2, (size - 1) / 2, 0, 1), case.grid.affine @ (2.5, 2.5, 0, 1), atol=1e-9
    )
    assert fitted.grid.spacing_mm == pytest.approx((0.7 * max(6 / size, 1),) * 2)
