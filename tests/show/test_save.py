"""Saved figures are the same bytes at every run, whole, and safe to embed."""

from pathlib import Path
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure
from PIL import Image

from plurimask.show import charts


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
