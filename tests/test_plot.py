"""Pictures against truth: outlines hold exactly their voxels, and figures show what they say."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.path import Path as Curve

from plurimask import plot
from plurimask.errors import InputError
from plurimask.geometry import Grid
from plurimask.records import Case, MaskSet

masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=9))
SQUARE = np.zeros((8, 10), dtype=bool)
SQUARE[2:5, 3:7] = True


def fill(polygons: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Voxels whose centre lies inside an odd number of the polygons."""
    rows, columns = np.indices(shape)
    centres = np.stack((columns.ravel() + 0.5, rows.ravel() + 0.5), axis=1)
    inside = np.zeros(len(centres), dtype=bool)
    for polygon in polygons:
        inside ^= Curve(np.vstack((polygon, polygon[:1])), closed=True).contains_points(centres)
    return inside.reshape(shape)


def make_pair(image: np.ndarray, readers: list[np.ndarray], samples: list[np.ndarray]) -> tuple[Case, MaskSet]:
    grid = Grid(image.shape)
    case = Case("a", image[None].astype(np.float32), np.array(readers, dtype=bool).reshape(-1, *image.shape), grid)
    return case, MaskSet("a", np.array(samples, dtype=bool), grid)


@pytest.fixture
def pair() -> tuple[Case, MaskSet]:
    image = np.arange(80, dtype=float).reshape(8, 10)
    return make_pair(image, [SQUARE, ~SQUARE & False], [SQUARE, SQUARE, np.roll(SQUARE, 1, axis=1), SQUARE & False])


def test_outline_of_a_square_is_its_four_corners_on_voxel_edges() -> None:
    (polygon,) = plot.outlines(SQUARE)
    assert polygon.tolist() == [[3, 2], [7, 2], [7, 5], [3, 5]]


@given(masks)
def test_outlines_hold_exactly_the_voxels_of_their_mask(mask: np.ndarray) -> None:
    assert np.array_equal(fill(plot.outlines(mask), mask.shape), mask)


@given(masks)
def test_outlines_are_as_long_as_the_border_of_their_mask(mask: np.ndarray) -> None:
    padded = np.pad(mask, 1).astype(int)
    border = np.abs(np.diff(padded, axis=0)).sum() + np.abs(np.diff(padded, axis=1)).sum()
    assert sum(np.abs(np.diff(p, axis=0, append=p[:1])).sum() for p in plot.outlines(mask)) == border


@given(masks)
def test_outlines_turn_at_every_corner(mask: np.ndarray) -> None:
    for polygon in plot.outlines(mask):
        steps = np.diff(polygon, axis=0, append=polygon[:1])
        assert (np.sum(steps * np.roll(steps, 1, axis=0), axis=1) == 0).all()


def test_voxels_that_touch_at_a_corner_have_outlines_of_their_own() -> None:
    assert len(plot.outlines(np.eye(2, dtype=bool))) == 2


def test_a_hole_is_walked_the_other_way_round() -> None:
    ring = np.pad(np.zeros((1, 1), dtype=bool), 1, constant_values=True)
    areas = [np.sum(p[:, 0] * np.roll(p[:, 1], -1) - p[:, 1] * np.roll(p[:, 0], -1)) / 2 for p in plot.outlines(ring)]
    assert areas == [9, -1]


def test_an_empty_mask_has_no_outline_and_no_path() -> None:
    empty = np.zeros((3, 4), dtype=bool)
    assert (plot.outlines(empty), plot.svg_path(empty)) == ([], "")


def test_svg_path_of_two_shapes() -> None:
    mask = np.zeros((4, 6), dtype=bool)
    mask[1, 1:3] = mask[3, 5] = True
    assert plot.svg_path(mask) == "M1 1h2v1h-2zM5 3h1v1h-1z"


def test_image_and_outline_share_one_frame(pair: tuple[Case, MaskSet]) -> None:
    """Voxel (r, c) of the image is drawn over [c, c + 1] x [r, r + 1], with row 0 on top, and the outline round it."""
    axes = plot.panel_figure(*pair).axes[1]
    picture, outline = axes.images[0], axes.collections[0].get_paths()[0]
    assert tuple(picture.get_extent()) == (0, 10, 8, 0)
    assert picture.origin == "upper"
    assert np.array_equal(outline.vertices[:4], [[3, 2], [7, 2], [7, 5], [3, 5]])


def test_rendered_outline_stands_on_the_border_of_the_rendered_voxels() -> None:
    """In pixels: image and reader are the same square, and the line's bounding box is the bright block's."""
    figure = plot.panel_figure(*make_pair(SQUARE.astype(float), [SQUARE], [SQUARE]))
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
    rows, columns = plot.close_up(marked, 2.0)
    assert marked[rows, columns].sum() == marked.sum()
    assert 2 * (rows.stop - rows.start) == pytest.approx(columns.stop - columns.start, abs=2)


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=20)), st.floats(0.3, 4))
def test_close_up_never_leaves_the_plane_nor_loses_a_mark(marked: np.ndarray, aspect: float) -> None:
    rows, columns = plot.close_up(marked, aspect)
    assert 0 <= rows.start < rows.stop <= marked.shape[0]
    assert 0 <= columns.start < columns.stop <= marked.shape[1]
    assert marked[rows, columns].sum() == marked.sum()


def test_close_up_of_nothing_is_the_whole_plane() -> None:
    assert plot.close_up(np.zeros((5, 6), dtype=bool), 1.0) == (slice(0, 5), slice(0, 6))


@pytest.mark.parametrize(
    ("affine", "shape", "expected"),
    [
        (None, (4, 4), (3.0, "pixels")),
        (np.diag([0.5, 2.0, 9.0, 1.0]), (4, 4), (3.0, "mm²")),
        (np.diag([0.5, 2.0, 3.0, 1.0]), (4, 4, 2), (9.0, "mm³")),
        (None, (4, 4, 2), (3.0, "voxels")),
    ],
)
def test_sizes(affine: np.ndarray | None, shape: tuple[int, ...], expected: tuple[float, str]) -> None:
    mask = np.zeros((1, *shape), dtype=bool)
    mask.reshape(-1)[:3] = True
    values, unit = plot.sizes(mask, Grid(shape, affine))
    assert (values.tolist(), unit) == ([expected[0]], expected[1])


def test_reader_colours_differ_for_six_readers() -> None:
    assert len({plot.reader_colour(index) for index in range(6)}) == 6


def test_frequency_colours_grow_lighter_with_the_count_and_are_clear_at_zero() -> None:
    colours = plot.frequency_colours(16)
    luminance = colours[1:, :3] @ (0.2126, 0.7152, 0.0722)
    assert colours[0, 3] == 0
    assert (np.diff(luminance) > 0).all()


def test_view_of_a_volume_is_the_slice_with_most_marks() -> None:
    volume = np.zeros((6, 6, 3), dtype=bool)
    volume[2:4, 2:4, 1] = volume[0, 0, 2] = True
    case, panel = make_pair(np.random.default_rng(0).normal(size=(6, 6, 3)), [volume], [volume])
    view = plot.View.of(case, panel)
    assert view.slice_index == 1
    assert np.array_equal(view.samples[0], volume[..., 1])


def test_view_shows_voxels_at_their_true_proportions() -> None:
    grid = Grid((4, 4), np.diag([3.0, 1.5, 1.0, 1.0]))
    case = Case("a", np.zeros((1, 4, 4), np.float32), np.zeros((1, 4, 4), bool), grid)
    assert plot.View.of(case, MaskSet("a", np.zeros((2, 4, 4), bool), grid)).aspect == 2.0


def test_view_of_a_constant_image_is_mid_grey() -> None:
    view = plot.View.of(*make_pair(np.full((3, 3), 7.0), [], [np.zeros((3, 3))]))
    assert np.unique(view.image).tolist() == [127]


def test_a_panel_of_another_case_is_refused(pair: tuple[Case, MaskSet]) -> None:
    case, panel = pair
    with pytest.raises(InputError, match=r"expected the panel of case a .* got a panel of b"):
        plot.panel_figure(case, MaskSet("b", panel.masks, panel.grid))


def test_panel_figure_says_how_many_drew_nothing(pair: tuple[Case, MaskSet]) -> None:
    titles = [axes.get_title() for axes in plot.panel_figure(*pair).axes]
    assert titles[1:3] == ["readers, 1 of 2 drew nothing", "samples, 1 of 4 drew nothing"]


def test_panel_figure_counts_whole_volumes_as_drawn() -> None:
    """A reader whose mark lies on other slices than the one shown did draw."""
    volume, other = np.zeros((2, 4, 4, 2), dtype=bool)
    volume[1:3, 1:3, 0] = other[1, 1, 1] = True
    titles = [axes.get_title() for axes in plot.panel_figure(*make_pair(np.ones((4, 4, 2)), [other], [volume])).axes]
    assert titles[1] == "readers, 0 of 1 drew nothing"


def test_panel_figure_draws_an_outline_for_each_sample_that_is_not_empty(pair: tuple[Case, MaskSet]) -> None:
    assert len(plot.panel_figure(*pair).axes[2].collections[0].get_paths()) == 3


def test_frequency_map_is_coloured_by_the_count_of_samples(pair: tuple[Case, MaskSet]) -> None:
    shown = plot.panel_figure(*pair).axes[3].images[1].get_array()
    assert np.allclose(shown[3], plot.frequency_colours(4)[[0, 0, 0, 2, 3, 3, 3, 1, 0, 0]])


def test_strip_holds_each_sample_alone(pair: tuple[Case, MaskSet]) -> None:
    tiles = plot.panel_figure(*pair, strip=True).axes[-1].images
    rows, columns = plot.View.of(*pair).window
    assert [np.array_equal(t.get_array(), m[rows, columns]) for t, m in zip(tiles, pair[1].masks, strict=True)] == [
        True
    ] * 4


def test_samples_figure_has_a_row_a_case_and_a_tile_a_mask(pair: tuple[Case, MaskSet]) -> None:
    figure = plot.samples_figure([pair[0]] * 3, [pair[1]] * 3)
    assert [len(axes.images) for axes in figure.axes] == [1 + 2 + 4] * 3


def test_samples_figure_takes_cases_that_nobody_read() -> None:
    figure = plot.samples_figure(*([record] for record in make_pair(np.ones((4, 4)), [], [np.ones((4, 4))])))
    assert len(figure.axes[0].images) == 2


def test_samples_figure_wants_a_panel_a_case(pair: tuple[Case, MaskSet]) -> None:
    with pytest.raises(InputError, match="expected one panel a case, got 1 cases, 0 panels"):
        plot.samples_figure([pair[0]], [])


def write_metrics(path: Path, lines: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_training_figure_draws_every_logged_value_against_its_step(tmp_path: Path) -> None:
    lines = [{"step": step, "split": "train", "simple": 1 / (step + 1)} for step in range(5)]
    lines.append({"step": 4, "split": "val", "ged_v": 0.5})
    figure: Figure = plot.training_figure(write_metrics(tmp_path / "metrics.jsonl", lines))
    loss, score = figure.axes
    assert (loss.get_title(), score.get_title()) == ("simple", "ged_v")
    assert loss.lines[0].get_xydata().tolist() == [[step, 1 / (step + 1)] for step in range(5)]
    assert score.lines[0].get_xydata().tolist() == [[4, 0.5]]


def test_training_figure_leaves_undefined_values_out(tmp_path: Path) -> None:
    lines = [{"step": k, "split": "val", "ged_u": None, "ged_v": 0.5 * k} for k in (1, 2)]
    figure: Figure = plot.training_figure(write_metrics(tmp_path / "metrics.jsonl", lines))
    assert [axes.get_title() for axes in figure.axes if axes.get_title()] == ["ged_v"]


def test_training_figure_smooths_by_the_running_median(tmp_path: Path) -> None:
    values = np.ones(80)
    values[40] = 100.0
    lines = [{"step": step, "split": "train", "loss": value} for step, value in enumerate(values.tolist())]
    smooth = plot.training_figure(write_metrics(tmp_path / "metrics.jsonl", lines)).axes[0].lines[1]
    assert np.asarray(smooth.get_ydata()).tolist() == [1.0] * 80


@pytest.mark.parametrize(
    "line", ['{"step": 1', '{"split": "train"}', "[1, 2]", '{"step": 1, "split": "val", "a": "b"}']
)
def test_training_figure_names_the_line_it_cannot_read(tmp_path: Path, line: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 0, "split": "train", "loss": 1.0}\n' + line + "\n")
    with pytest.raises(InputError, match=r"expected lines such as .* on line 2; remove that line"):
        plot.training_figure(path)


def test_training_figure_of_an_empty_log_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected at least one logged value, got none"):
        plot.training_figure(write_metrics(tmp_path / "metrics.jsonl", []))
