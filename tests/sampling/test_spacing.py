"""Studies at the spacing of their model: what is resampled, that it stays in its place, and the way back."""

import numpy as np
import pytest
import torch
from tiny import SIZE, image, recipe, small

from plurimask.errors import SettingsError
from plurimask.files.locate import Study
from plurimask.geometry import Grid
from plurimask.records import Case, MaskSet
from plurimask.sampling import Model, check_study, parse_region, sample_study
from plurimask.sampling.spacing import apart, back, moved_region, resampled
from plurimask.sampling.study import sample_case
from plurimask.training.checkpoint import Checkpoint


def scan(shape, spacing, format="dicom", values=None):
    """A study whose axes run askew of the world's, so that exchanged ones show."""
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(spacing)
    affine[:3, 3] = 3, -20, 7
    pixels = np.random.default_rng(1).normal(size=(1, *shape)).astype(np.float32) if values is None else values
    return Study(Case("scan", pixels, np.zeros((0, *shape), dtype=bool), Grid(shape, affine)), format, ())


def model(spacing=None, images="any-place"):
    method = small("one-pass", 0.1)
    made = recipe(method=method.settings.model_dump(), sampler=None, images=images, spacing_mm=spacing)
    return Model("tiny", Checkpoint(method.eval(), made, 0, "", "0" * 64), torch.device("cpu"))


def middles(grid):
    """World coordinates of all voxels' middles: (..., 3)."""
    index = np.stack([*np.indices((*grid.shape, 1)[:3]), np.ones((*grid.shape, 1)[:3])], axis=-1)
    return index @ grid.affine[:3].T


@pytest.mark.parametrize(
    ("spacing", "far"),
    [((1, 1, 9), False), ((1.2, 0.81, 9), False), ((1.3, 1, 1), True), ((1, 0.79, 1), True), ((1, 1, 0.1), False)],
)
def test_planes_are_far_off_beyond_a_quarter_either_way_whatever_the_slices(spacing, far):
    assert (apart(scan((4, 5, 3), spacing), 1.0) is not None) == far
    assert apart(scan((4, 5, 3), spacing), None) is None


@pytest.mark.parametrize("spacing", [(2.0, 2.0, 5.0), (0.4, 0.5, 5.0)])
def test_what_is_linear_in_mm_stays_so_at_its_place(spacing):
    """But for the outermost pixels, beyond whose middles nothing is known."""
    shape = (40, 32, 3)
    study = scan(shape, spacing)
    way = np.array([0.3, -0.2, 0.9])
    values = (middles(study.case.grid) @ way).astype(np.float32)[None]
    near = resampled(scan(shape, spacing, values=values), 1.0).case
    assert near.grid.spacing_mm[:2] == pytest.approx((1, 1), rel=0.03)
    inner = np.s_[2:-2, 2:-2]
    assert np.allclose(near.image[0][inner], (middles(near.grid) @ way)[inner], atol=0.02)


def test_slices_along_another_axis_come_last_and_return():
    study = scan((5, 24, 30), (6.0, 0.5, 0.5), format="nifti")
    near = resampled(study, 1.0)
    assert near.case.image.shape == (1, 12, 15, 5)
    masks = np.zeros((1, 12, 15, 5), dtype=bool)
    masks[0, 3:6, 4:8, 2] = True
    panel = back(MaskSet("scan", masks, near.case.grid), study)
    assert panel.grid is study.case.grid
    wanted = np.zeros((5, 24, 30), dtype=bool)
    wanted[2, 6:12, 8:16] = True
    assert np.array_equal(panel.masks[0], wanted)
    assert panel.settings["resampled_mm"] == pytest.approx([1, 1])


@pytest.mark.parametrize("spacing", [0.31, 0.7, 1.9])
def test_a_disc_keeps_its_area_and_place_on_the_way_back(spacing):
    side = round(60 / spacing)
    study = scan((side, side), (spacing, spacing, 1))
    near = resampled(study, 1.0).case.grid
    rows, columns = np.indices(near.shape)
    disc = (rows - 28) ** 2 + (columns - 33) ** 2 < 15**2
    (mask,) = back(MaskSet("scan", disc[None], near), study).masks
    assert mask.shape == (side, side)
    assert mask.sum() * spacing**2 == pytest.approx(disc.sum() * near.voxel_size, rel=0.02)
    wanted, found = (
        np.mean(middles(grid)[..., 0, :][here], axis=0) for grid, here in ((near, disc), (study.case.grid, mask))
    )
    assert np.allclose(wanted, found, atol=0.3)


def test_masks_of_one_spacing_come_back_to_the_pixel():
    study = scan((13, 17), (1, 1, 1))
    masks = np.random.default_rng(0).random((3, 13, 17)) < 0.5
    assert np.array_equal(back(MaskSet("scan", masks, study.case.grid), study).masks, masks)


def test_a_study_is_drawn_at_the_spacing_of_its_model_and_lies_on_its_own_grid():
    study, trained = scan((48, 40, 2), (0.5, 0.5, 3)), model(1.0)
    panel = sample_study(trained, study, 3)
    assert panel.masks.shape == (3, 48, 40, 2)
    assert panel.grid is study.case.grid
    assert panel.settings["resampled_mm"] == pytest.approx([1, 1])
    near = sample_study(trained, resampled(study, 1.0), 3)
    assert np.array_equal(back(near, study).masks, panel.masks)
    assert "resampled_mm" not in sample_study(trained, study, 3, native=True).settings


def test_a_study_is_checked_on_the_grid_that_it_is_drawn_on_before_it_is_resampled(monkeypatch):
    study = scan((5, 24, 30), (6.0, 0.5, 0.5), format="nifti")
    size = resampled(study, 1.0).case.grid.shape
    monkeypatch.delattr("plurimask.sampling.study.resampled")
    assert check_study(model(1.0), study) == tuple(slice(0, side) for side in size)
    assert check_study(model(1.0), study, parse_region("2:4,6:12,8:16")) == (slice(3, 6), slice(4, 8), slice(2, 4))


@pytest.mark.parametrize("spacing", [None, 0.5, 0.6])
def test_nothing_is_resampled_where_spacings_are_near_or_unknown(spacing):
    study = scan((16, 20), (0.5, 0.5, 3))
    plain, same = sample_study(model(), study, 2), sample_study(model(spacing), study, 2)
    assert np.array_equal(plain.masks, same.masks)
    unknown = Study(Case("a", image(), np.zeros((0, 16, 16), dtype=bool), Grid((16, 16))), "npy", ())
    assert "resampled_mm" not in sample_study(model(9.0), unknown, 1).settings


def test_a_region_in_voxels_is_that_of_the_study_and_one_in_mm_stays():
    study = scan((5, 24, 30), (6.0, 0.5, 0.5), format="nifti")
    grid = resampled(study, 1.0).case.grid
    assert moved_region(parse_region("2:4,6:12,8:16"), study, grid).axes == ((3, 6), (4, 8), (2, 4))
    assert moved_region(parse_region("3,7,9"), study, grid).axes == (3, 4, 3)
    in_mm = parse_region("mm:1,2,3")
    assert moved_region(in_mm, study, grid) is in_mm
    with pytest.raises(SettingsError, match="a region inside the image"):
        check_study(model(1.0), study, parse_region("3,7,90"))
    box = parse_region("2:4,6:12,8:16")
    drawn = sample_study(model(1.0), study, 2, region=box).masks
    assert drawn.any()
    outside = drawn.copy()
    outside[:, 2:4, 6:12, 8:16] = False
    assert not outside.any()


@pytest.mark.parametrize("step", [0.5, 2.0])
def test_a_crop_of_the_models_own_size_is_drawn_as_those_it_was_trained_on(step):
    """Slices cut at their scanners' own spacings: brought to the usual one they would have another size."""
    made = model(1.0, images="lesion-crops")
    crop = Case(
        "crop", image()[:1], np.zeros((0, SIZE, SIZE), dtype=bool), Grid((SIZE, SIZE), np.diag([step, step, 1, 1]))
    )
    drawn = sample_case(made, crop, 3)
    assert np.array_equal(drawn.masks, made.sample(crop, 3).masks)
    assert "resampled_mm" not in drawn.settings
