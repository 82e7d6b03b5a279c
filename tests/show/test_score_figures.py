"""GED against CI: examples chosen as by hand, points where they belong; the figures of an evaluation as files."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from small_panels import CASES, case, panel

from plurimask.errors import InputError
from plurimask.evaluation import CaseScores, evaluate
from plurimask.geometry import Grid
from plurimask.records import Case, MaskSet
from plurimask.show import score_figures
from plurimask.show.charts import BLUE, VERMILLION
from plurimask.show.score_figures import write_score_figures

NAN = float("nan")
GED = np.array([0.1, 0.2, NAN, 0.3, 0.4, 0.5])
CI = np.array([0.1, 0.9, 0.5, 0.5, 0.6, 0.8])
NAMES = ["a", "b", "undefined", "c", "d", "e"]


def example(name: str, samples: int = 3) -> tuple[Case, MaskSet]:
    grid = Grid((8, 8))
    masks = np.zeros((samples, 8, 8), dtype=bool)
    masks[0, 2:5, 2:5] = True
    return Case(name, np.zeros((1, 8, 8), np.float32), masks[:2], grid), MaskSet(name, masks, grid)


def draw(ged: np.ndarray = GED, ci: np.ndarray = CI, examples: tuple[str, ...] = ("a", "e")) -> Figure:
    return score_figures.ged_ci_figure(ged, ci, NAMES, [example(name) for name in examples], samples=16)


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_disagreeing_takes_both_sides_by_the_difference_of_ranks() -> None:
    """Ranks by GED 1 2 - 3 4 5 and by CI 5 1 - 4 3 2: differences 4 -1 - 1 -1 -3."""
    assert score_figures.disagreeing(GED, CI).tolist() == [0, 3, 5, 1]


def test_disagreeing_gives_the_odd_one_to_the_cases_that_ged_ranks_better() -> None:
    assert score_figures.disagreeing(GED, CI, 3).tolist() == [0, 3, 5]


def test_disagreeing_takes_one_of_each_side_where_two_are_asked_for() -> None:
    assert score_figures.disagreeing(GED, CI, 2).tolist() == [0, 5]


def test_disagreeing_leaves_undefined_cases_out() -> None:
    assert score_figures.disagreeing(np.array([0.1, NAN, 0.9]), np.array([NAN, 0.9, 0.9])).tolist() == []


def test_disagreeing_ranks_equal_values_equally() -> None:
    """Ranks by GED 1.5 1.5 3 and by CI 3 1.5 1.5: the case in the middle differs by nothing and is not shown."""
    assert score_figures.disagreeing(np.array([0.1, 0.1, 0.9]), np.array([0.1, 0.9, 0.9])).tolist() == [0, 2]


def test_cases_on_which_both_agree_are_no_examples() -> None:
    assert score_figures.disagreeing(np.array([0.1, 0.2, 0.3]), np.array([0.9, 0.8, 0.7])).size == 0


def test_points_stand_at_ged_and_ci_of_the_defined_cases() -> None:
    shown = np.asarray(draw().axes[0].collections[0].get_offsets())
    assert shown.tolist() == [[0.1, 0.1], [0.2, 0.9], [0.3, 0.5], [0.4, 0.6], [0.5, 0.8]]


def test_title_says_how_many_cases_are_shown_and_left_out() -> None:
    assert draw().axes[0].get_title() == "5 cases, 1 more left out as undefined"


def test_axes_say_estimator_and_number_of_samples() -> None:
    axes = score_figures.ged_ci_figure(GED, CI, NAMES, [], samples=4, estimator="u").axes[0]
    assert axes.get_xlabel() == "U-GED of N = 4 samples (lower is better)"
    assert axes.get_ylabel() == "CI of N = 4 samples (higher is better)"


def test_lines_stand_at_both_medians_of_the_defined_cases() -> None:
    figure = draw()
    vertical, horizontal = figure.axes[0].lines
    assert (list(vertical.get_xdata()), list(horizontal.get_ydata())) == ([0.3, 0.3], [0.6, 0.6])
    assert {"median 0.30", "median\n0.60"} <= set(texts(figure))


def test_examples_are_coloured_by_which_score_ranks_them_better() -> None:
    marks = draw().axes[0].collections[1:]
    assert [np.asarray(mark.get_offsets()).tolist() for mark in marks] == [[[0.1, 0.1]], [[0.5, 0.8]]]
    assert [to_hex(mark.get_facecolor()[0]) for mark in marks] == [BLUE, VERMILLION]


def test_each_example_has_its_scores_in_words_and_three_tiles() -> None:
    figure = draw()
    words = "\n".join(texts(figure))
    assert "a\nV-GED 0.10, rank 1 of 5\nCI 0.10, rank 5 of 5\n1 of 2 readers drew\n1 of 3 samples not empty" in words
    assert "GED poor, CI good" in words
    assert [len(axes.images) for axes in figure.axes] == [0, 0, 1, 1, 1, 0, 1, 1, 1]


def test_letters_of_two_examples_of_one_side_stand_apart() -> None:
    figure = draw(examples=("a", "c"))
    figure.draw_without_rendering()
    first, second = (text.get_window_extent() for text in figure.axes[0].texts if text.get_text() in {"a", "b"})
    assert not first.overlaps(second)


def test_no_text_beside_the_points_runs_into_a_tile() -> None:
    figure = draw()
    figure.draw_without_rendering()
    words, image = figure.axes[1], figure.axes[2]
    assert max(text.get_window_extent().x1 for text in words.texts) < image.get_window_extent().x0


def test_an_example_without_scores_is_refused() -> None:
    with pytest.raises(InputError, match="undefined: expected one of the cases with both scores"):
        draw(examples=("undefined",))


def test_nothing_defined_is_refused() -> None:
    with pytest.raises(InputError, match="expected a case with both, got none"):
        draw(GED * NAN, examples=())


def test_unequal_lengths_are_refused() -> None:
    with pytest.raises(InputError, match=r"got \(5,\), \(6,\) and 6 names"):
        draw(GED[1:])


@pytest.mark.parametrize(("patient", "told"), [("A", False), ("P1", True), (None, True)])
def test_a_name_that_gives_the_patient_away_is_not_told(patient: str | None, told: bool) -> None:
    case, panel = example("a")
    figure = score_figures.ged_ci_figure(GED, CI, NAMES, [(replace(case, patient=patient), panel)], samples=16)
    assert any(text.split("\n")[0] == "a" for text in texts(figure) if "rank" in text) == told


FILES = {f"{name}.{suffix}" for name in ("ged-ci", "reliability", "ranks", "empty") for suffix in ("png", "svg")}


def written(out, cases, panels, count=None):
    scores = evaluate(panels.values(), cases, count)
    return {path.name for path in write_score_figures(scores, out, panels, cases)}


def test_cases_of_several_reader_counts_give_three_figures(tmp_path):
    panels = {name: panel(name) for name in CASES}
    assert written(tmp_path, CASES, panels) == FILES == {path.name for path in tmp_path.iterdir()}
    text = (tmp_path / "empty.svg").read_text()
    assert "3 cases" in text


def test_volumes_give_them_too(tmp_path):
    grid = Grid((6, 5, 4), np.diag([1.0, 1.0, 3.0, 1.0]))
    cases = {name: case(name, grid=grid) for name in "abc"}
    assert written(tmp_path, cases, {name: panel(name, grid=grid) for name in cases}) == FILES


@pytest.mark.parametrize("count", [1, 3])
def test_the_examples_show_the_samples_that_were_scored(tmp_path, count):
    cases = {name: case(name) for name in "abcdefgh"}
    written(tmp_path, cases, {name: panel(name) for name in cases}, count)
    assert f"of {count} samples not empty" in (tmp_path / "ged-ci.svg").read_text()


def test_nothing_is_written_where_nobody_read(tmp_path):
    assert written(tmp_path, {"unread": CASES["unread"]}, {"unread": panel("unread")}) == set()
    assert list(tmp_path.iterdir()) == []


def test_on_a_page_cases_with_a_card_bear_its_number_where_their_point_is() -> None:
    rows = [
        CaseScores(name, None, 4, 4, 1.0, 8, {"ged_v": ged, "ci": ci})
        for name, ged, ci in zip(NAMES, GED.tolist(), CI.tolist(), strict=True)
    ]
    axes = score_figures.numbered_figure(rows, {"e": 1, "undefined": 2}, 8).axes[0]
    numbered = {text.get_gid(): (text.get_text(), text.get_position()) for text in axes.texts if text.get_gid()}
    assert numbered == {"#case-1": ("1", (0.5, 0.8))}
    assert len(axes.collections[0].get_offsets()) == 5
    assert score_figures.numbered_figure(rows[2:3], {}, 8) is None
