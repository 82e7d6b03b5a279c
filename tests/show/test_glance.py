"""What a notebook shows of a case and of a panel: the right pixels, escaped text, no patient.

Colours that tell readers and counts apart.
"""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from plurimask.geometry import Grid
from plurimask.records import Case, MaskSet
from plurimask.show import raster
from plurimask.show.raster import READER_COLOURS, frequency_colours

SQUARE = np.zeros((12, 12), dtype=bool)
SQUARE[4:8, 5:9] = True
GRID = Grid.plane((12, 12), 0.5)


def case(name: str = "a", patient: str | None = None, readers: np.ndarray = SQUARE[None], grid: Grid = GRID) -> Case:
    return Case(name, np.zeros((1, *grid.shape), np.float32), readers, grid, patient)


def panel(masks: np.ndarray = SQUARE[None], grid: Grid = GRID, method: str | None = "mine") -> MaskSet:
    return MaskSet("a", masks, grid, method)


def pictures(html: str) -> list[np.ndarray]:
    """The pictures of a page, each (h, w, 3)."""
    encoded = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(one))).convert("RGB")) for one in encoded]


def coloured(picture: np.ndarray, colour: str) -> np.ndarray:
    """Where a picture has just this colour."""
    return (picture == [int(colour[i : i + 2], 16) for i in (1, 3, 5)]).all(axis=2)


def test_outline_of_a_reader_stands_on_the_edges_of_their_voxels() -> None:
    """The close-up is rows 3 to 8 and columns 4 to 9, 256 pixels for 6 voxels: edges lie at 1/6 and 5/6 of it."""
    found = coloured(pictures(case()._repr_html_())[1], READER_COLOURS[0])
    edges = [np.flatnonzero(found.any(axis=axis))[[0, -1]] for axis in (0, 1)]
    assert np.abs(edges - 256 * np.array([[1, 5], [1, 5]]) / 6).max() < 2


def test_readers_have_colours_of_their_own() -> None:
    shifted = np.stack((SQUARE, np.roll(SQUARE, 2, axis=0)))
    close = pictures(case(readers=shifted)._repr_html_())[1]
    assert [coloured(close, colour).any() for colour in READER_COLOURS[:3]] == [True, True, False]


@pytest.mark.parametrize("readers", [SQUARE[None][:0], SQUARE[None] & False])
def test_a_case_in_which_nothing_was_drawn_is_its_image(readers: np.ndarray) -> None:
    assert len(pictures(case(readers=readers)._repr_html_())) == 1


def test_frequency_has_the_colours_of_its_counts_and_is_black_elsewhere() -> None:
    shown = pictures(panel(np.stack((SQUARE, SQUARE, SQUARE & (np.arange(12) < 7))))._repr_html_())[0]
    expected = np.round(frequency_colours(3)[[0, 2, 3], :3] * 255).astype(int)
    assert {tuple(colour) for colour in shown.reshape(-1, 3).tolist()} == {tuple(c) for c in expected.tolist()}


def test_a_panel_shows_at_most_eight_tiles_and_says_so() -> None:
    html = panel(np.repeat(SQUARE[None], 9, axis=0))._repr_html_()
    assert pictures(html)[1].shape == (64, 8 * 66 - 2, 3)
    assert "the first 8 of 9 samples" in html


def test_voxels_are_shown_at_their_true_proportions() -> None:
    grid = Grid((12, 12), np.diag([2.0, 1.0, 1.0, 1.0]))
    assert pictures(case(grid=grid)._repr_html_())[0].shape == (256, 128, 3)


def test_of_a_volume_the_fullest_slice_is_shown() -> None:
    masks = np.zeros((1, 12, 12, 3), dtype=bool)
    masks[0, ..., 1] = SQUARE
    html = panel(masks, Grid((12, 12, 3)))._repr_html_()
    assert "slice 2 of 3" in html
    assert pictures(html)[1].max() == 255


def test_text_from_files_is_escaped() -> None:
    html = case("<script>x</script>")._repr_html_() + panel(method='<img src="x">')._repr_html_()
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert '<img src="x' not in html


@pytest.mark.parametrize("show", [repr, Case._repr_html_])
def test_a_name_that_holds_the_patient_is_not_shown(show) -> None:
    assert "p17" not in re.sub(r'src="[^"]*"', "", show(case("scan-p17-3", patient="P17"))).casefold()


@pytest.mark.parametrize("show", [repr, MaskSet._repr_html_])
def test_a_panel_does_not_name_its_case(show) -> None:
    named = MaskSet("scan-P17", SQUARE[None], GRID)
    assert "P17" not in re.sub(r'src="[^"]*"', "", show(named))


def test_words_of_a_case() -> None:
    both = np.stack((SQUARE, SQUARE & False))
    assert repr(case(readers=both)) == "Case a: 12x12 of 0.5x0.5 mm, 2 readers, 1 of whom drew nothing"


def test_words_of_a_panel() -> None:
    both = np.stack((SQUARE, SQUARE & False))
    assert repr(panel(both)) == "Panel by mine: 12x12 of 0.5x0.5 mm, 2 samples of 0 to 4 mm², 1 empty"


def test_reader_colours_differ_for_six_readers() -> None:
    assert len({raster.reader_colour(index) for index in range(6)}) == 6


def test_frequency_colours_grow_lighter_with_the_count_and_are_clear_at_zero() -> None:
    colours = raster.frequency_colours(16)
    luminance = colours[1:, :3] @ (0.2126, 0.7152, 0.0722)
    assert colours[0, 3] == 0
    assert (np.diff(luminance) > 0).all()
