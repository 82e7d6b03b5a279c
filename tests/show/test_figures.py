"""Panels against truth: pictures and outlines share one frame, and figures show what they say.

The agreement figure draws the curves that measurements define, in the unit of the grid.
"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex

from plurimask.errors import InputError
from plurimask.geometry import Grid
from plurimask.records import Case, MaskSet
from plurimask.show import figures, raster
from plurimask.show.charts import BLUE, VERMILLION

SQUARE = np.zeros((8, 10), dtype=bool)
SQUARE[2:5, 3:7] = True


def make_pair(image: np.ndarray, readers: list[np.ndarray], samples: list[np.ndarray]) -> tuple[Case, MaskSet]:
    grid = Grid(image.shape)
    case = Case("a", image[None].astype(np.float32), np.array(readers, dtype=bool).reshape(-1, *image.shape), grid)
    return case, MaskSet("a", np.array(samples, dtype=bool), grid)


@pytest.fixture
def pair() -> tuple[Case, MaskSet]:
    image = np.arange(80, dtype=float).reshape(8, 10)
    return make_pair(image, [SQUARE, ~SQUARE & False], [SQUARE, SQUARE, np.roll(SQUARE, 1, axis=1), SQUARE & False])


def test_image_and_outline_share_one_frame(pair: tuple[Case, MaskSet]) -> None:
    """Voxel (r, c) of the image is drawn over [c, c + 1] x [r, r + 1], with row 0 on top, and the outline round it."""
    axes = figures.panel_figure(*pair).axes[1]
    picture, outline = axes.images[0], axes.collections[0].get_paths()[0]
    assert tuple(picture.get_extent()) == (0, 10, 8, 0)
    assert picture.origin == "upper"
    assert np.array_equal(outline.vertices[:4], [[3, 2], [7, 2], [7, 5], [3, 5]])


@pytest.mark.parametrize(("patient", "title"), [("LIDC-7", "image"), ("LIDC-8", "lidc-7-s3"), (None, "lidc-7-s3")])
def test_a_name_that_gives_the_patient_away_is_not_drawn(pair, patient, title) -> None:
    case, panel = (replace(one, name="lidc-7-s3") for one in pair)
    figure = figures.panel_figure(replace(case, patient=patient), panel)
    assert figure.axes[0].get_title() == title


def test_a_name_is_no_formula(pair) -> None:
    case, panel = (replace(one, name="a$_$b") for one in pair)
    figure = figures.panel_figure(case, panel)
    FigureCanvasAgg(figure).draw()
    assert figure.axes[0].get_title() == "a$_$b"


def test_rendered_outline_stands_on_the_border_of_the_rendered_voxels() -> None:
    """In pixels: image and reader are the same square, and the line's bounding box is the bright block's."""
    figure = figures.panel_figure(*make_pair(SQUARE.astype(float), [SQUARE], [SQUARE]))
    figure.set_dpi(200)
    axes = figure.axes[1]
    axes.get_legend().remove()
    axes.collections[0].set_edgecolor("red")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3].astype(int)
    box = axes.get_window_extent()
    part = pixels[round(len(pixels) - box.y1) : round(len(pixels) - box.y0), round(box.x0) : round(box.x1)]
    line = (part[..., 0] > 200) & (part[..., 1] < 60)
    bright = (part > 200).all(axis=2)
    middles = [(np.flatnonzero(found.any(axis=axis))[[0, -1]]).mean() for found in (line, bright) for axis in (0, 1)]
    assert middles[:2] == pytest.approx(middles[2:], abs=1.0)


def test_close_up_holds_every_mark_and_is_square_in_mm() -> None:
    marked = np.zeros((60, 120), dtype=bool)
    marked[20:35, 50:55] = True
    rows, columns = raster.close_up(marked, 2.0)
    assert marked[rows, columns].sum() == marked.sum()
    assert 2 * (rows.stop - rows.start) == pytest.approx(columns.stop - columns.start, abs=2)


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=20)), st.floats(0.3, 4))
def test_close_up_never_leaves_the_plane_nor_loses_a_mark(marked: np.ndarray, aspect: float) -> None:
    rows, columns = raster.close_up(marked, aspect)
    assert 0 <= rows.start < rows.stop <= marked.shape[0]
    assert 0 <= columns.start < columns.stop <= marked.shape[1]
    assert marked[rows, columns].sum() == marked.sum()


def test_close_up_of_nothing_is_the_whole_plane() -> None:
    assert raster.close_up(np.zeros((5, 6), dtype=bool), 1.0) == (slice(0, 5), slice(0, 6))


def test_view_of_a_volume_is_the_slice_with_most_marks() -> None:
    volume = np.zeros((6, 6, 3), dtype=bool)
    volume[2:4, 2:4, 1] = volume[0, 0, 2] = True
    case, panel = make_pair(np.random.default_rng(0).normal(size=(6, 6, 3)), [volume], [volume])
    view = raster.View.of(case, panel)
    assert view.slice_index == 1
    assert np.array_equal(view.samples[0], volume[..., 1])


def test_view_shows_voxels_at_their_true_proportions() -> None:
    grid = Grid((4, 4), np.diag([3.0, 1.5, 1.0, 1.0]))
    case = Case("a", np.zeros((1, 4, 4), np.float32), np.zeros((1, 4, 4), bool), grid)
    assert raster.View.of(case, MaskSet("a", np.zeros((2, 4, 4), bool), grid)).aspect == 2.0


def test_view_of_a_constant_image_is_mid_grey() -> None:
    view = raster.View.of(*make_pair(np.full((3, 3), 7.0), [], [np.zeros((3, 3))]))
    assert np.unique(view.image).tolist() == [127]


def test_a_panel_of_another_case_is_refused(pair: tuple[Case, MaskSet]) -> None:
    case, panel = pair
    with pytest.raises(InputError, match=r"expected the panel of case a .* got a panel of b"):
        figures.panel_figure(case, MaskSet("b", panel.masks, panel.grid))


def test_panel_figure_says_how_many_drew_nothing(pair: tuple[Case, MaskSet]) -> None:
    titles = [axes.get_title() for axes in figures.panel_figure(*pair).axes]
    assert titles[1:3] == ["readers, 1 of 2 drew nothing", "samples, 1 of 4 drew nothing"]


def test_panel_figure_counts_whole_volumes_as_drawn() -> None:
    """A reader whose mark lies on other slices than the one shown did draw."""
    volume, other = np.zeros((2, 4, 4, 2), dtype=bool)
    volume[1:3, 1:3, 0] = other[1, 1, 1] = True
    titles = [axes.get_title() for axes in figures.panel_figure(*make_pair(np.ones((4, 4, 2)), [other], [volume])).axes]
    assert titles[1] == "readers, 0 of 1 drew nothing"


def test_panel_figure_draws_an_outline_for_each_sample_that_is_not_empty(pair: tuple[Case, MaskSet]) -> None:
    assert len(figures.panel_figure(*pair).axes[2].collections[0].get_paths()) == 3


def test_frequency_map_is_coloured_by_the_count_of_samples(pair: tuple[Case, MaskSet]) -> None:
    shown = figures.panel_figure(*pair).axes[3].images[1].get_array()
    assert np.allclose(shown[3], raster.frequency_colours(4)[[0, 0, 0, 2, 3, 3, 3, 1, 0, 0]])


def test_samples_figure_has_a_row_a_case_and_a_tile_a_mask(pair: tuple[Case, MaskSet]) -> None:
    figure = figures.samples_figure([pair[0]] * 3, [pair[1]] * 3)
    assert [len(axes.images) for axes in figure.axes] == [1 + 2 + 4] * 3


def test_rows_of_one_case_show_one_close_up_round_the_marks_of_all() -> None:
    image, near, far = np.zeros((30, 30)), np.zeros((30, 30)), np.zeros((30, 30))
    near[10:12, 10:12] = far[24:26, 24:26] = 1
    case, small = make_pair(image, [near], [near])
    _, large = make_pair(image, [near], [near + far])
    figure = figures.samples_figure([case, case], [small, large])
    first, second = (axes.images[0].get_array().shape for axes in figure.axes)
    assert first == second


def test_samples_figure_takes_cases_that_nobody_read() -> None:
    figure = figures.samples_figure(*([record] for record in make_pair(np.ones((4, 4)), [], [np.ones((4, 4))])))
    assert len(figure.axes[0].images) == 2


def test_samples_figure_wants_a_panel_a_case(pair: tuple[Case, MaskSet]) -> None:
    with pytest.raises(InputError, match="expected one panel a case, got 1 cases, 0 panels"):
        figures.samples_figure([pair[0]], [])


# Of four voxels, two are held by every sample, one by two of them and one by a single one.
ROW_SAMPLES = np.array([[[1, 1, 1, 1]], [[1, 1, 1, 0]], [[1, 1, 0, 0]]], dtype=bool)
ROW_READERS = np.array([[[0, 0, 0, 0]], [[1, 1, 1, 0]]], dtype=bool)
ROW_GRID = Grid((1, 4), np.diag([2.0, 1.0, 1.0, 1.0]))


def curve_axes(samples: np.ndarray = ROW_SAMPLES, readers: np.ndarray = ROW_READERS, grid: Grid = ROW_GRID) -> Axes:
    case = Case("a", np.zeros((1, *grid.shape), np.float32), readers, grid)
    return figures.agreement_figure(case, MaskSet("a", samples, grid)).axes[0]


def markers(axes: Axes, line: int) -> list[list[float]]:
    """The points of a line that bear a marker."""
    return axes.lines[line].get_xydata()[axes.lines[line].get_markevery()].tolist()


def test_samples_stand_at_their_shares() -> None:
    assert markers(curve_axes(), 0) == [[pytest.approx(1 / 3), 8.0], [pytest.approx(2 / 3), 6.0], [1.0, 4.0]]


def test_readers_stand_at_their_own_shares() -> None:
    assert markers(curve_axes(), 1) == [[0.5, 6.0], [1.0, 0.0]]


def test_area_under_a_curve_is_the_mean_size_of_its_masks() -> None:
    line = curve_axes().lines[0]
    x, y = line.get_xydata().T
    assert line.get_drawstyle() == "steps-pre"
    assert (np.diff(x) * y[1:]).sum() == pytest.approx(2 * (4 + 3 + 2) / 3)


def test_each_axis_counts_its_own_masks_in_the_colour_of_their_curve() -> None:
    axes = curve_axes()
    (above,) = axes.child_axes
    assert (axes.get_xlabel(), above.get_xlabel()) == (
        "held by at least k of 3 samples",
        "held by at least k of 2 readers",
    )
    labels = [axes.xaxis.label, above.xaxis.label]
    assert [to_hex(label.get_color()) for label in labels] == [BLUE, VERMILLION]
    assert [to_hex(line.get_color()) for line in axes.lines] == [BLUE, VERMILLION]


def test_ticks_name_the_first_and_the_last_level_at_their_shares() -> None:
    axes = curve_axes(np.repeat(ROW_SAMPLES[:1], 16, axis=0))
    ticks = dict(zip([text.get_text() for text in axes.get_xticklabels()], axes.get_xticks().tolist(), strict=True))
    assert (ticks["1"], ticks["16"], len(ticks)) == (1 / 16, 1.0, 5)


def test_a_case_that_nobody_read_has_one_curve_and_one_axis() -> None:
    axes = curve_axes(readers=ROW_READERS[:0])
    assert (len(axes.lines), len(axes.child_axes)) == (1, 0)


@pytest.mark.parametrize(
    ("shape", "affine", "label"),
    [
        ((1, 4), np.eye(4), "area in mm²"),
        ((1, 4), None, "area in pixels"),
        ((1, 4, 1), np.eye(4), "volume in mm³"),
        ((1, 4, 1), None, "volume in voxels"),
    ],
)
def test_the_unit_is_that_of_the_grid(shape, affine, label) -> None:
    grid = Grid(shape, affine)
    assert curve_axes(ROW_SAMPLES.reshape(3, *shape), ROW_READERS.reshape(2, *shape), grid).get_ylabel() == label


def test_masks_that_are_all_empty_lie_at_zero_on_an_axis_that_has_some_height() -> None:
    axes = curve_axes(ROW_SAMPLES & False, ROW_READERS & False)
    assert (axes.lines[0].get_ydata().max(), axes.get_ylim()) == (0.0, (0.0, 1.0))


def test_markers_of_many_levels_are_left_out() -> None:
    assert curve_axes(np.repeat(ROW_SAMPLES, 20, axis=0)).lines[0].get_marker() == "None"


def test_agreement_of_a_panel_of_another_case_is_refused() -> None:
    case = Case("a", np.zeros((1, 1, 4), np.float32), ROW_READERS, ROW_GRID)
    with pytest.raises(InputError, match="expected the panel of case a"):
        figures.agreement_figure(case, MaskSet("b", ROW_SAMPLES, ROW_GRID))
