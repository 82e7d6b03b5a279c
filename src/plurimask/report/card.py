"""All that a page shows of one case: image, readers, samples, how often each voxel is held, sizes, scores."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image

from plurimask.evaluation import CaseScores
from plurimask.metrics.measurements import sizes
from plurimask.pixels.colours import SAMPLE_COLOUR, frequency_colours, outline_opacity, reader_colour
from plurimask.pixels.held import count_held
from plurimask.pixels.png import data_uri
from plurimask.plot import View
from plurimask.records import Case, MaskSet, public_name
from plurimask.report.marks import Axis, Group, axis_of, group_of

# Screens show no more of a picture in a card; outlines are drawn from the full mask whatever its size.
PICTURE_SIDE = 768
SCALE_BARS_MM = (1, 2, 5, 10, 20, 50, 100)


@dataclass(frozen=True, eq=False)
class Card:
    """All that the page shows of one case.

    Args:
        number: its place on the page, from 1.
        name: of the case, which the page shows only as `title`.
        title: the name, or the number where the name gives the patient away.
        reason: why it is shown; empty where all are.
        view: the plane that is shown.
        slices: of the volume that the plane is from; None for an image.
        readers, samples: their marks.
        unit: of sizes.
        scale_bar: mm and columns of its length; None without spacing.
        scores: of the case; None where it has none.
    """

    number: int
    name: str
    title: str
    reason: str
    view: View
    slices: int | None
    readers: Group
    samples: Group
    unit: str
    scale_bar: tuple[int, float] | None
    scores: CaseScores | None

    @cached_property
    def picture(self) -> str:
        """The image as the data URI of a PNG, no side longer than PICTURE_SIDE."""
        return picture_of(self.view)

    @cached_property
    def frequency(self) -> str:
        """The frequency map of the close-up, a pixel a voxel, as the data URI of a PNG."""
        return frequency_map(self.view.samples[:, *self.view.window])

    @property
    def opacity(self) -> float:
        """Of each sample's outline."""
        return outline_opacity(len(self.view.samples))

    @property
    def axis(self) -> Axis:
        """Where samples and readers lie by size."""
        return axis_of(self.samples, self.readers)


def card_of(number: int, case: Case, panel: MaskSet, scores: CaseScores | None, reason: str = "") -> Card:
    """The card of a case; it keeps one plane of the case and its masks.

    Raises:
        InputError: the panel is another case's, or lies on another grid.
    """
    view = View.of(case, panel)
    reader_sizes, unit = sizes(case.raters, case.grid)
    sample_sizes, _ = sizes(panel.masks, case.grid)
    return Card(
        number=number,
        name=case.name,
        title=public_name(case.name, case.patient, f"case {number}"),
        reason=reason,
        view=view,
        slices=None if view.slice_index is None else case.grid.shape[2],
        readers=group_of(view.raters, reader_sizes, [reader_colour(k) for k in range(len(view.raters))]),
        samples=group_of(view.samples, sample_sizes, [SAMPLE_COLOUR] * len(view.samples)),
        unit=unit,
        scale_bar=scale_bar(case, view.window),
        scores=scores,
    )


def picture_of(view: View) -> str:
    """The image of a view as the data URI of a PNG, no side longer than PICTURE_SIDE."""
    picture = Image.fromarray(view.image)
    picture.thumbnail((PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.LANCZOS)
    return data_uri(picture)


def frequency_map(masks: np.ndarray) -> str:
    """How many of the masks (n, h, w) hold each voxel as the data URI of a PNG, a pixel a voxel, clear for none."""
    colours = np.round(frequency_colours(len(masks)) * 255).astype(np.uint8)
    return data_uri(Image.fromarray(colours[count_held(masks)]))


def scale_bar(case: Case, window: tuple[slice, slice]) -> tuple[int, float] | None:
    """Length in mm and in columns of a bar of up to two fifths of a close-up; None where spacing is unknown."""
    if case.grid.spacing_mm is None:
        return None
    columns = window[1]
    widest = 0.4 * (columns.stop - columns.start) * case.grid.spacing_mm[1]
    length = max((bar for bar in SCALE_BARS_MM if bar <= widest), default=None)
    return None if length is None else (length, length / case.grid.spacing_mm[1])
