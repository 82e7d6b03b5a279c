"""What is shown and where it lies: the choice of cases, scales and charts, strips of masks."""

import base64
import io
import math

import numpy as np
import pytest
from PIL import Image

from plurimask.evaluation import CaseScores
from plurimask.geometry import Grid
from plurimask.records import Case, MaskSet
from plurimask.show.cases import EACH, FEW, card_of, cases_to_show
from plurimask.show.chart import Chart, linear, logarithmic
from plurimask.show.systems import strip_of

WHOLE = slice(0, 6), slice(0, 8)


def row(name, ged_v, ci=0.5, d_yy=0.5, drawn=4, size=50.0, readers=4):
    return CaseScores(name, "p", readers, drawn, size, 16, {"ged_v": ged_v, "ci": ci, "d_yy": d_yy})


MANY = [row(f"plain-{k:02d}", 0.5 + 0.001 * k) for k in range(30)]


def square(rows, columns):
    mask = np.zeros((6, 8), dtype=bool)
    mask[rows, columns] = True
    return mask


def pixels(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def test_few_cases_are_all_shown_without_a_reason():
    rows = MANY[:FEW]
    assert cases_to_show(rows) == {one.name: "" for one in rows}


@pytest.mark.parametrize(
    ("special", "reason"),
    [
        (row("x", 1.9), "largest V-GED"),
        (row("x", 0.01), "lowest V-GED where most readers drew"),
        (row("x", 0.52, d_yy=0.9), "readers differ most"),
        (row("x", 0.52, drawn=0, size=math.nan), "nobody or a single reader drew"),
        (row("x", 0.52, size=2.0), "smallest lesion that most readers drew"),
        (row("x", 0.503, ci=0.0), "V-GED and CI rank it most differently"),
    ],
)
def test_a_case_of_each_kind_is_found_among_many(special, reason):
    assert cases_to_show([*MANY, special])["x"] == reason


def test_so_many_of_a_kind_are_shown_and_each_once():
    shown = cases_to_show([*MANY, row("empty", 1.9, drawn=0, size=math.nan)])
    assert next(iter(shown)) == "empty"
    assert max(list(shown.values()).count(reason) for reason in shown.values()) == EACH
    assert len(shown) <= 6 * EACH


def test_cases_that_nobody_read_do_not_disturb_the_choice():
    unread = [row(f"unread-{k}", math.nan, math.nan, math.nan, 0, math.nan, 0) for k in range(20)]
    assert cases_to_show(unread) == {}
    assert not [name for name in cases_to_show([*unread, *MANY]) if name.startswith("unread")]


def test_linear_scale_ends_at_ticks_around_both_values():
    scale = linear(0.03, 0.94)
    assert (scale.low, scale.high) == (scale.ticks[0][0], scale.ticks[-1][0])
    assert scale.low <= 0.03 < 0.94 <= scale.high
    assert scale.place((scale.low + scale.high) / 2) == pytest.approx(0.5)


def test_linear_scale_of_one_value_has_a_length():
    assert linear(2.0, 2.0).place(2.0) < 1


def test_logarithmic_scale_has_equal_ratios_at_equal_lengths():
    scale = logarithmic([0.01, 10.0])
    assert scale.place(1.0) - scale.place(0.1) == pytest.approx(scale.place(0.1) - scale.place(0.01))
    assert [label for _, label in scale.ticks] == ["0.01", "0.1", "1", "10"]


def test_ticks_are_written_with_a_true_minus_sign():
    assert linear(-1.0, 0.0).ticks[0][1] == "\N{MINUS SIGN}1"


def test_chart_goes_to_the_right_and_up():
    chart = Chart("", linear(0.0, 1.0), linear(0.0, 1.0), ("", ""))
    assert chart.across(0.0) < chart.across(1.0) < chart.width
    assert 0 < chart.down(1.0) < chart.down(0.0) < chart.height


def test_strip_shows_each_mask_voxel_for_voxel_and_nothing_between():
    masks = np.stack([square(slice(0, 2), slice(0, 3)), square(slice(4, 6), slice(5, 8))])
    strip = strip_of(masks, masks, WHOLE, 1.0, first=1)
    picture = pixels(strip.picture)
    for start, mask in zip(strip.starts, masks, strict=True):
        assert np.array_equal(picture[:, start : start + 8, 0] > 0, mask)
    clear = np.ones(strip.width, dtype=bool)
    clear[[c for start in strip.starts for c in range(start, start + 8)]] = False
    assert clear.any()
    assert np.array_equal(picture[..., 1] == 0, np.broadcast_to(clear, (6, strip.width)))


def test_gap_behind_the_first_masks_is_wider():
    strip = strip_of(np.stack([square(0, 0)] * 4), np.zeros((0, 6, 8), bool), WHOLE, 1.0, first=2)
    gaps = np.diff(strip.starts)
    assert gaps[1] > gaps[0] == gaps[2]


def test_masks_without_a_voxel_in_common_with_any_reader_stand_alone():
    raters = np.stack([square(slice(0, 2), slice(0, 3)), square(slice(0, 3), slice(0, 3))])
    masks = np.stack([square(2, 2), square(5, 5), square(slice(0, 0), 0)])
    assert strip_of(masks, raters, WHOLE, 1.0, 3).alone == (1, 2)


def test_empty_mask_agrees_with_a_reader_who_drew_nothing():
    raters = np.stack([square(slice(0, 2), slice(0, 3)), square(slice(0, 0), 0)])
    strip = strip_of(np.stack([square(slice(0, 0), 0)]), raters, WHOLE, 1.0, 1)
    assert (strip.alone, strip.empty) == ((), 1)


def test_without_readers_no_mask_is_said_to_stand_alone():
    assert strip_of(np.stack([square(1, 1)]), np.zeros((0, 6, 8), bool), WHOLE, 1.0, 1).alone == ()


def test_card_of_a_volume_keeps_a_plane_of_it_alone():
    grid = Grid((8, 8, 50))
    masks = np.zeros((3, *grid.shape), dtype=bool)
    masks[:, 2:5, 2:5, 20:22] = True
    case = Case("v", np.random.default_rng(0).normal(size=(1, *grid.shape)).astype(np.float32), masks[:2], grid)
    view = card_of(1, case, MaskSet("v", masks, grid), None).view
    assert view.samples.base is None or view.samples.base.nbytes <= view.samples.nbytes
    assert view.raters.base is None or view.raters.base.nbytes <= view.raters.nbytes
