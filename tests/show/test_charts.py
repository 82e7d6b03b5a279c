"""Charts: every point where its values say, undefined ones said; files that are the same bytes at every run."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from plurimask.errors import InputError
from plurimask.show import charts

NAN = float("nan")


def test_reliability_draws_filled_bins_at_predicted_and_drawn() -> None:
    curve, strip = charts.reliability_figure(
        np.array([0.0, 0.4, NAN, 1.0]), np.array([0.1, 0.4, NAN, 0.7]), np.array([60, 30, 0, 10])
    ).axes
    assert curve.lines[1].get_xydata().tolist() == [[0.0, 0.1], [0.4, 0.4], [1.0, 0.7]]
    assert [path[:, 0].tolist() for path in strip.collections[0].get_segments()] == [[0, 0], [0.4, 0.4], [1, 1]]
    assert [path[1, 1] for path in strip.collections[0].get_segments()] == [60, 30, 10]


def test_reliability_writes_the_error_weighted_by_the_bins() -> None:
    """(60 x 0.1 + 30 x 0 + 10 x 0.3) / 100 = 0.09."""
    curve, _ = charts.reliability_figure(
        np.array([0.0, 0.4, 1.0]), np.array([0.1, 0.4, 0.7]), np.array([60, 30, 10])
    ).axes
    assert curve.get_title() == "expected calibration error 0.0900, all cases pooled"


def test_reliability_draws_the_diagonal() -> None:
    curve, _ = charts.reliability_figure(*np.array([[0.5], [0.5], [1.0]])).axes
    assert curve.lines[0].get_xydata().tolist() == [[0, 0], [1, 1]]


def test_reliability_of_no_voxels_is_refused() -> None:
    with pytest.raises(InputError, match="expected voxels in some bin, got none"):
        charts.reliability_figure(np.array([NAN]), np.array([NAN]), np.array([0]))


def test_empty_figure_groups_cases_by_readers_who_drew_nothing() -> None:
    """Drew 4, 4, 1, 1 of 4; samples empty 0, 0.5, 0.5, 1."""
    figure = charts.empty_figure(np.array([4, 4, 1, 1]), np.array([0.0, 0.5, 0.5, 1.0]), np.full(4, 4))
    (axes,) = figure.axes
    assert axes.lines[1].get_xydata().tolist() == [[0.0, 0.25], [0.75, 0.75]]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0 of 4\nn = 2", "3 of 4\nn = 2"]


def test_empty_figure_draws_cases_of_one_place_as_one_circle_of_their_area() -> None:
    circles = (
        charts.empty_figure(np.array([2, 2, 2, 0]), np.array([0.5, 0.5, 0.5, 1.0]), np.full(4, 2))
        .axes[0]
        .collections[0]
    )
    assert np.asarray(circles.get_offsets()).tolist() == [[0.0, 0.5], [1.0, 1.0]]
    assert circles.get_sizes()[0] == pytest.approx(3 * circles.get_sizes()[1])


def test_empty_figure_says_how_many_cases_are_left_out() -> None:
    (axes,) = charts.empty_figure(np.array([2, 1, 1]), np.array([0.5, NAN, 0.5]), np.full(3, 2)).axes
    assert axes.get_title() == "2 cases, 1 more left out as undefined"


def test_empty_figure_of_nothing_defined_is_refused() -> None:
    with pytest.raises(InputError, match="expected a case with samples, got none"):
        charts.empty_figure(np.array([2]), np.array([NAN]), np.array([2]))


@pytest.mark.parametrize("lengths", [(2, 2, 1), (1, 2, 2)])
def test_unequal_lengths_are_refused(lengths: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="expected arrays of one length"):
        charts.empty_figure(*(np.ones(length) for length in lengths))


def draw() -> Figure:
    figure = Figure(figsize=(2, 1))
    axes = figure.subplots()
    axes.plot([0, 1], [1, 0], marker="o")
    axes.imshow([[0, 1], [1, 0]])
    return figure


def test_both_files_bear_the_name_with_their_suffix_even_where_it_holds_a_dot(tmp_path: Path) -> None:
    paths = charts.save_figure(draw(), tmp_path / "new" / "lidc.n16")
    assert paths == (tmp_path / "new" / "lidc.n16.png", tmp_path / "new" / "lidc.n16.svg")
    assert sorted(path.name for path in paths[0].parent.iterdir()) == ["lidc.n16.png", "lidc.n16.svg"]


def test_png_has_200_dots_an_inch(tmp_path: Path) -> None:
    png, _ = charts.save_figure(draw(), tmp_path / "a")
    assert Image.open(png).size == (400, 200)


def test_bytes_are_equal_on_a_second_run(tmp_path: Path) -> None:
    first, second = (charts.save_figure(draw(), tmp_path / name) for name in ("first", "second"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_svg_is_xml_without_script_or_date(tmp_path: Path) -> None:
    _, svg = charts.save_figure(draw(), tmp_path / "a")
    tags = {element.tag.rpartition("}")[2] for element in ElementTree.parse(svg).iter()}
    assert {"svg", "path", "image"} <= tags
    assert not {"script", "date", "foreignObject"} & tags


def test_a_figure_that_cannot_be_drawn_leaves_no_file(tmp_path: Path) -> None:
    figure = draw()
    figure.axes[0].set_title("$\\nosuchsymbol$")
    with pytest.raises(ValueError, match="nosuchsymbol"):
        charts.save_figure(figure, tmp_path / "a")
    assert not list(tmp_path.iterdir())


def write_metrics(path: Path, lines: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_training_figure_draws_every_logged_value_against_its_step(tmp_path: Path) -> None:
    lines = [{"step": step, "split": "train", "simple": 1 / (step + 1)} for step in range(5)]
    lines.append({"step": 4, "split": "val", "ged_v": 0.5})
    figure: Figure = charts.training_figure(write_metrics(tmp_path / "metrics.jsonl", lines))
    loss, score = figure.axes
    assert (loss.get_title(), score.get_title()) == ("simple", "ged_v")
    assert loss.lines[0].get_xydata().tolist() == [[step, 1 / (step + 1)] for step in range(5)]
    assert score.lines[0].get_xydata().tolist() == [[4, 0.5]]


def test_training_figure_leaves_undefined_values_out(tmp_path: Path) -> None:
    lines = [{"step": k, "split": "val", "ged_u": None, "ged_v": 0.5 * k} for k in (1, 2)]
    figure: Figure = charts.training_figure(write_metrics(tmp_path / "metrics.jsonl", lines))
    assert [axes.get_title() for axes in figure.axes if axes.get_title()] == ["ged_v"]


def test_training_figure_smooths_by_the_running_median(tmp_path: Path) -> None:
    values = np.ones(80)
    values[40] = 100.0
    lines = [{"step": step, "split": "train", "loss": value} for step, value in enumerate(values.tolist())]
    smooth = charts.training_figure(write_metrics(tmp_path / "metrics.jsonl", lines)).axes[0].lines[1]
    assert np.asarray(smooth.get_ydata()).tolist() == [1.0] * 80


@pytest.mark.parametrize(
    "line", ['{"step": 1', '{"split": "train"}', "[1, 2]", '{"step": 1, "split": "val", "a": "b"}']
)
def test_training_figure_names_the_line_it_cannot_read(tmp_path: Path, line: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 0, "split": "train", "loss": 1.0}\n' + line + "\n")
    with pytest.raises(InputError, match=r"expected lines such as .* on line 2; remove that line"):
        charts.training_figure(path)


def test_training_figure_of_an_empty_log_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected at least one logged value, got none"):
        charts.training_figure(write_metrics(tmp_path / "metrics.jsonl", []))


def test_a_chart_of_a_page_is_in_its_colours_links_and_says_what_it_shows() -> None:
    figure = Figure()
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=charts.BLUE)
    axes.text(0.5, 0.5, "<3>", gid="#case-3")
    svg = charts.svg_of(figure, 'A "line"')
    assert '<a href="#case-3">' in svg
    assert 'role="group" aria-label="A &quot;line&quot;"' in svg
    assert "var(--accent)" in svg
    assert "&lt;3&gt;" in svg
    assert not re.search(r"https?:|url\(|<metadata|0072b2|DejaVu", svg)


def test_two_charts_of_a_page_share_no_id() -> None:
    ids = [re.findall('id="(.*?)"', charts.svg_of(draw(), label)) for label in ("one", "other")]
    assert ids[0]
    assert not set(ids[0]) & set(ids[1])


def test_the_rank_histogram_says_how_many_stand_where_they_should_not() -> None:
    (axes,) = charts.ranks_figure(np.array([6.0, 1.0, 1.0])).axes
    assert [bar.get_height() for bar in axes.patches] == [0.75, 0.125, 0.125]
    assert axes.get_title().startswith("42% of the readers")
