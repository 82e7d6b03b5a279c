"""The agreement figure draws the curves that measurements define, in the unit of the grid."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from plurimask.errors import InputError
from plurimask.geometry import Grid
from plurimask.records import Case, MaskSet
from plurimask.show import figures
from plurimask.show.charts import BLUE, VERMILLION

# Of four voxels, two are held by every sample, one by two of them and one by a single one.
SAMPLES = np.array([[[1, 1, 1, 1]], [[1, 1, 1, 0]], [[1, 1, 0, 0]]], dtype=bool)
READERS = np.array([[[0, 0, 0, 0]], [[1, 1, 1, 0]]], dtype=bool)
GRID = Grid((1, 4), np.diag([2.0, 1.0, 1.0, 1.0]))


def draw(samples: np.ndarray = SAMPLES, readers: np.ndarray = READERS, grid: Grid = GRID) -> Axes:
    case = Case("a", np.zeros((1, *grid.shape), np.float32), readers, grid)
    return figures.agreement_figure(case, MaskSet("a", samples, grid)).axes[0]


def marked(axes: Axes, line: int) -> list[list[float]]:
    """The points of a line that bear a marker."""
    return axes.lines[line].get_xydata()[axes.lines[line].get_markevery()].tolist()


def test_samples_stand_at_their_shares() -> None:
    assert marked(draw(), 0) == [[pytest.approx(1 / 3), 8.0], [pytest.approx(2 / 3), 6.0], [1.0, 4.0]]


def test_readers_stand_at_their_own_shares() -> None:
    assert marked(draw(), 1) == [[0.5, 6.0], [1.0, 0.0]]


def test_area_under_a_curve_is_the_mean_size_of_its_masks() -> None:
    line = draw().lines[0]
    x, y = line.get_xydata().T
    assert line.get_drawstyle() == "steps-pre"
    assert (np.diff(x) * y[1:]).sum() == pytest.approx(2 * (4 + 3 + 2) / 3)


def test_each_axis_counts_its_own_masks_in_the_colour_of_their_curve() -> None:
    axes = draw()
    (above,) = axes.child_axes
    assert (axes.get_xlabel(), above.get_xlabel()) == (
        "held by at least k of 3 samples",
        "held by at least k of 2 readers",
    )
    labels = [axes.xaxis.label, above.xaxis.label]
    assert [to_hex(label.get_color()) for label in labels] == [BLUE, VERMILLION]
    assert [to_hex(line.get_color()) for line in axes.lines] == [BLUE, VERMILLION]


def test_ticks_name_the_first_and_the_last_level_at_their_shares() -> None:
    axes = draw(np.repeat(SAMPLES[:1], 16, axis=0))
    ticks = dict(zip([text.get_text() for text in axes.get_xticklabels()], axes.get_xticks().tolist(), strict=True))
    assert (ticks["1"], ticks["16"], len(ticks)) == (1 / 16, 1.0, 5)


def test_a_case_that_nobody_read_has_one_curve_and_one_axis() -> None:
    axes = draw(readers=READERS[:0])
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
    assert draw(SAMPLES.reshape(3, *shape), READERS.reshape(2, *shape), grid).get_ylabel() == label


def test_masks_that_are_all_empty_lie_at_zero_on_an_axis_that_has_some_height() -> None:
    axes = draw(SAMPLES & False, READERS & False)
    assert (axes.lines[0].get_ydata().max(), axes.get_ylim()) == (0.0, (0.0, 1.0))


def test_markers_of_many_levels_are_left_out() -> None:
    assert draw(np.repeat(SAMPLES, 20, axis=0)).lines[0].get_marker() == "None"


def test_a_panel_of_another_case_is_refused() -> None:
    case = Case("a", np.zeros((1, 1, 4), np.float32), READERS, GRID)
    with pytest.raises(InputError, match="expected the panel of case a"):
        figures.agreement_figure(case, MaskSet("b", SAMPLES, GRID))
