"""The page of a demo or an evaluation: scores of all cases, and a card for some.

Of many scored cases a page shows the ends of what there is, and what is known to be hard. A card shows image, readers,
samples, frequency, sizes and scores of one case.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from plurimask.evaluation import HEADLINE, CaseScores, Comparison, Scores
from plurimask.metrics.measurements import sizes
from plurimask.records import Case, MaskSet, public_name
from plurimask.show.charts import svg_of
from plurimask.show.outline import svg_path
from plurimask.show.page import origin_of, settings_of, write_page
from plurimask.show.raster import SAMPLE_COLOUR, View, frequency_map, outline_opacity, picture_of, reader_colour
from plurimask.show.score_figures import disagreeing, numbered_figure, pooled_figure
from plurimask.show.tables import (
    NOT_INDEPENDENT,
    Head,
    Number,
    Row,
    Table,
    comparison_table,
    people_tables,
    score_head,
    strata_table,
    summary_table,
)

EACH = 2
"""Cases shown of each kind."""
FEW = 12
"""So many cases are all shown."""

SCALE_BARS_MM = (1, 2, 5, 10, 20, 50, 100)

# More samples than this make a strip nobody reads; it then shows some, evenly spaced in order of size.
STRIP_LENGTH = 24
# Along the axis of sizes; dots that fall on one place are piled up.
_PLACES = 60


@dataclass(frozen=True)
class Mark:
    """One mask in a card: whose it is (numbered from 1), its SVG path, its size and its colour.

    In a representative panel also the share of readers who would draw about this.
    """

    number: int
    path: str
    size: float
    colour: str
    share: float | None = None


@dataclass(frozen=True)
class Group:
    """The marks of all readers or of all samples: how many drew nothing, and how large the others are."""

    marks: tuple[Mark, ...]

    @property
    def drawn(self) -> list[Mark]:
        """The marks that are not empty."""
        return [mark for mark in self.marks if mark.size > 0]

    @property
    def empty(self) -> int:
        """How many drew nothing."""
        return len(self.marks) - len(self.drawn)

    @property
    def extent(self) -> tuple[float, float, float] | None:
        """Smallest, median and largest of the marks that are not empty."""
        drawn = [mark.size for mark in self.drawn]
        return (min(drawn), float(np.median(drawn)), max(drawn)) if drawn else None

    @property
    def strip(self) -> list[Mark]:
        """At most STRIP_LENGTH marks from the largest to the smallest."""
        ranked = sorted(self.marks, key=lambda mark: (-mark.size, mark.number))
        chosen = np.linspace(0, len(ranked) - 1, min(len(ranked), STRIP_LENGTH)).round().astype(int)
        return [ranked[index] for index in chosen]


@dataclass(frozen=True)
class Dot:
    """A mark on the axis of sizes: how far along it in percent, and how high in the pile there, from 0."""

    x: float
    level: int
    mark: Mark


@dataclass(frozen=True)
class Axis:
    """The axis of sizes of a card: ticks (percent, label), and a dot for every sample and reader."""

    ticks: tuple[tuple[float, str], ...]
    samples: tuple[Dot, ...]
    readers: tuple[Dot, ...]
    height: int


@dataclass(frozen=True, eq=False)
class Pictured:
    """What any page shows of one case.

    Args:
        number: its place on the page, from 1.
        title: its name, or its number where the name gives the patient away.
        reason: why it is shown; empty where all are.
        view: the plane that is shown, and the close-up that all its pictures share.
        readers: their marks.
        unit: of sizes.
        scale_bar: mm and columns of its length; None without spacing.
    """

    number: int
    title: str
    reason: str
    view: View
    readers: Group
    unit: str
    scale_bar: tuple[int, float] | None

    @classmethod
    def of(cls, number: int, case: Case, view: View, reason: str, **more: Any) -> Self:
        """A case as `view` shows it; `more` are what subclasses have besides."""
        reader_sizes, unit = sizes(case.readers, case.grid)
        return cls(
            number=number,
            title=public_name(case.name, case.patient, f"case {number}"),
            reason=reason,
            view=view,
            readers=group_of(view.readers, reader_sizes, [reader_colour(k) for k in range(len(view.readers))]),
            unit=unit,
            scale_bar=scale_bar(case, view.window),
            **more,
        )

    @cached_property
    def picture(self) -> str:
        """The image as the data URI of a PNG, no side longer than PICTURE_SIDE."""
        return picture_of(self.view)


@dataclass(frozen=True, eq=False)
class Card(Pictured):
    """All that the page of an evaluation shows of one case.

    Args:
        slices: of the volume that the plane is from; None for an image.
        samples: their marks.
        scores: of the case.
    """

    slices: int | None
    samples: Group
    scores: CaseScores

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


def write_report(
    scores: Scores,
    path: Path,
    panels: Mapping[str, MaskSet],
    cases: Mapping[str, Case],
    data: Mapping[str, Any] | None = None,
    comparison: Comparison | None = None,
    *,
    title: str | None = None,
    notes: Sequence[str] = (),
) -> None:
    """Write a page with the scores of all cases and a card for at most a dozen, chosen by `cases_to_show`.

    It is written whole or not at all. Patients are not named; a case whose name holds its patient's identity is shown
    by number.

    Args:
        scores: of these panels.
        path: the HTML file.
        panels, cases: by name; only those that are shown are read, one at a time.
        data: what was scored (digest of the dataset, split, list of cases), as far as it is known.
        comparison: with another method on the same cases.
        title: the page's heading; None: the method against the readers.
        notes: paragraphs for the foot of the page (attribution, licence).

    Raises:
        InputError: a panel of another case or grid, or a panel or a case that cannot be read any more.
        OSError: as the file system does.
    """
    rows = {row.name: row for row in scores.rows}
    cards, origins, chosen = [], [], cases_to_show(scores.rows)
    for number, (name, reason) in enumerate(chosen.items(), start=1):
        panel = panels[name].first(scores.samples)
        cards.append(card_of(number, cases[name], panel, rows[name], reason))
        origins.append(origin_of(panel))
    shown = {name: number for number, name in enumerate(chosen, start=1)}
    write_page(
        path,
        "report.html.j2",
        title=title or f"{scores.table[0].label} against the readers",
        cards=cards,
        scores=scores,
        summary=summary_table(scores),
        not_independent=NOT_INDEPENDENT,
        comparison=comparison,
        compared=comparison and comparison_table(comparison),
        strata=strata_table(scores),
        people=people_tables(scores),
        all_cases=_all_cases(scores, shown),
        charts=_charts(scores, shown),
        settings=settings_of(origins) | {f"data, {key}": str(v) for key, v in (data or {}).items() if v is not None},
        notes=notes,
    )


def _all_cases(scores: Scores, shown: Mapping[str, int]) -> Table:
    """A row a case; those that have a card lead to it, and no name gives its patient away."""
    rows = []
    for place, row in enumerate(scores.rows, start=1):
        number = shown.get(row.name)
        name = public_name(row.name, row.patient, f"case {number}, row {place}" if number else f"row {place}")
        values = (Number(row.values.get(key, math.nan)) for key in HEADLINE)
        rows.append(Row(Head(name, link=f"#case-{number}" if number else ""), (row.readers, row.drawn, *values)))
    return Table((Head("case"), Head("readers"), Head("drew"), *map(score_head, HEADLINE)), tuple(rows))


def _charts(scores: Scores, shown: Mapping[str, int]) -> dict[str, Markup]:
    """SVG by what it shows; nothing where no case was read."""
    figures = {
        "V-GED against CI, a point a case; numbers are those of the cases below": numbered_figure(
            scores.rows, shown, scores.samples
        ),
        "Share of readers who drew a voxel against the share of samples that hold it": pooled_figure(scores)
        if any(row.readers for row in scores.rows)
        else None,
    }
    return {label: svg_of(figure, label) for label, figure in figures.items() if figure}


def cases_to_show(rows: Sequence[CaseScores]) -> dict[str, str]:
    """Names of the cases to show, each with why; without a reason where there are so few that all are shown.

    Two of each kind: the largest V-GED, the lowest where most readers drew, the readers who differ most, the fewest
    readers who drew, the smallest lesion that most readers drew, and the ranks by V-GED and CI furthest apart. A case
    of several kinds counts as the first of them, and the next of the other takes its place.
    """
    if len(rows) <= FEW:
        return dict.fromkeys((row.name for row in rows), "")
    shown: dict[str, str] = {}
    for reason, ranked in _rankings(rows):
        fresh = [row.name for row in ranked if row.name not in shown]
        shown |= dict.fromkeys(fresh[:EACH], reason)
    return shown


def _rankings(rows: Sequence[CaseScores]) -> Iterator[tuple[str, list[CaseScores]]]:
    """Each kind in words, and its cases, the foremost first."""
    most_drew = [row for row in rows if row.drawn > row.readers / 2]
    few_drew = [row for row in rows if row.drawn <= 1 < row.readers]
    sized = [row for row in most_drew if not math.isnan(row.size)]
    ged, ci = (np.array([row.values[key] for row in rows]) for key in ("ged_v", "ci"))
    yield "largest V-GED", _sorted(rows, "ged_v", -1)
    yield "lowest V-GED where most readers drew", _sorted(most_drew, "ged_v", 1)
    yield "readers differ most", _sorted(rows, "d_yy", -1)
    yield "nobody or a single reader drew", sorted(few_drew, key=lambda row: row.drawn)
    yield "smallest lesion that most readers drew", sorted(sized, key=lambda row: row.size)
    yield "V-GED and CI rank it most differently", [rows[place] for place in disagreeing(ged, ci, len(rows)).tolist()]


def _sorted(rows: Sequence[CaseScores], key: str, sign: int) -> list[CaseScores]:
    """The rows where a value is defined, lowest first, or largest where `sign` is -1; equal ones in their order."""
    return sorted((row for row in rows if not math.isnan(row.values[key])), key=lambda row: sign * row.values[key])


def card_of(number: int, case: Case, panel: MaskSet, scores: CaseScores, reason: str = "") -> Card:
    """The card of a case; it keeps one plane of the case and its masks.

    Raises:
        InputError: the panel is another case's, or lies on another grid.
    """
    view = View.of(case, panel)
    sample_sizes, _ = sizes(panel.masks, case.grid)
    slices = None if view.slice_index is None else case.grid.shape[2]
    samples = group_of(view.samples, sample_sizes, [SAMPLE_COLOUR] * len(view.samples), panel.shares)
    return Card.of(number, case, view, reason, slices=slices, samples=samples, scores=scores)


def scale_bar(case: Case, window: tuple[slice, slice]) -> tuple[int, float] | None:
    """Length in mm and in columns of a bar of up to two fifths of a close-up; None where spacing is unknown."""
    if case.grid.spacing_mm is None:
        return None
    columns = window[1]
    widest = 0.4 * (columns.stop - columns.start) * case.grid.spacing_mm[1]
    length = max((bar for bar in SCALE_BARS_MM if bar <= widest), default=None)
    return None if length is None else (length, length / case.grid.spacing_mm[1])


def group_of(masks: np.ndarray, sizes: np.ndarray, colours: Sequence[str], shares: np.ndarray | None = None) -> Group:
    """The marks of masks (n, H, W) on the plane that is shown; `sizes` (n,) are of the whole masks."""
    of_readers = [None] * len(masks) if shares is None else shares.tolist()
    entries = enumerate(zip(map(svg_path, masks), sizes.tolist(), colours, of_readers, strict=True), 1)
    return Group(tuple(Mark(number, *entry) for number, entry in entries))


def axis_of(samples: Group, readers: Group) -> Axis:
    """Where samples and readers lie by size."""
    largest = max(mark.size for mark in samples.marks + readers.marks) or 1.0
    values = list(MaxNLocator(5).tick_values(0.0, largest))
    ticks = tuple((_percent(value / values[-1]), f"{value:.6g}") for value in values)
    above, below = (_piles(group, values[-1]) for group in (samples, readers))
    return Axis(ticks, above, below, max(dot.level for dot in above) + 1)


def _piles(group: Group, top: float) -> tuple[Dot, ...]:
    """Dots by size; empty masks have place 0 alone."""
    piles: dict[int, int] = {}
    dots = []
    for mark in sorted(group.marks, key=lambda mark: mark.size):
        place = math.ceil(_PLACES * mark.size / top)
        level = piles[place] = piles.get(place, -1) + 1
        dots.append(Dot(_percent(place / _PLACES), level, mark))
    return tuple(dots)


def _percent(place: float) -> float:
    """Of the width of the picture, so that a dot at either end is whole."""
    return 3 + 94 * place
