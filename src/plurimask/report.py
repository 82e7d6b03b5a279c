"""Scores, cases and panels as one HTML file: no network, pictures inlined, no script but the page's own."""

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from matplotlib.colors import to_hex
from matplotlib.ticker import MaxNLocator
from PIL import Image

from plurimask import plot
from plurimask.errors import InputError
from plurimask.evaluation import COLUMNS, GENERAL_CONVENTIONS, HEADLINE, CaseScores, Scores
from plurimask.files.atomic import write_text
from plurimask.measurements import sizes
from plurimask.pixels.png import data_uri
from plurimask.records import Case, MaskSet, public_name

# More samples than this make a strip nobody reads; it then shows some, evenly spaced in order of size.
STRIP_LENGTH = 24
# Screens show no more of a picture in a card; outlines are drawn from the full mask whatever its size.
PICTURE_SIDE = 768
SCALE_BARS_MM = (1, 2, 5, 10, 20, 50, 100)


@dataclass(frozen=True)
class Mark:
    """One mask in a card: whose it is (numbered from 1), its SVG path, its size and its colour."""

    number: int
    path: str
    size: float
    colour: str


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
    """A mark on the axis of sizes: its place along it in percent, and its place in the pile there, from 0."""

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
class Card:
    """All that the page shows of one case."""

    number: int
    title: str
    view: plot.View
    slices: int | None
    readers: Group
    samples: Group
    unit: str
    scale_bar: tuple[int, float] | None
    scores: CaseScores | None

    @property
    def picture(self) -> str:
        """The image as the data URI of a PNG, no side longer than PICTURE_SIDE."""
        picture = Image.fromarray(self.view.image)
        picture.thumbnail((PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.LANCZOS)
        return data_uri(picture)

    @property
    def frequency(self) -> str:
        """The frequency map of the close-up, a pixel a voxel, as the data URI of a PNG."""
        colours = plot.frequency_colours(len(self.view.samples))
        return data_uri(Image.fromarray(np.round(colours * 255).astype(np.uint8)[self.view.counts[self.view.window]]))

    @property
    def opacity(self) -> float:
        """Of each sample's outline."""
        return plot.outline_opacity(len(self.view.samples))

    @property
    def axis(self) -> Axis:
        """Where samples and readers lie by size."""
        return _axis(self.samples, self.readers)


def write_report(
    path: Path,
    title: str,
    cases: Sequence[Case],
    panels: Sequence[MaskSet],
    scores: Scores,
    *,
    details: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
) -> None:
    """Write a page with the scores of all cases and a card for each of `cases`, whole or not at all.

    Patients are not named; a case whose name holds its patient's identity is shown by number.

    Args:
        path: the HTML file.
        title: the page's heading.
        cases: the cases to show, in this order; `scores` may hold more.
        panels: `panels[i]` belongs to `cases[i]`.
        scores: of these panels.
        details: what else the settings should list (version, data digest, ...).
        notes: paragraphs for the foot of the page (attribution, licence).

    Raises:
        InputError: not one panel a case, or a panel that belongs to another case or grid.
    """
    if len(cases) != len(panels):
        raise InputError(
            path, expected="one panel a case", got=f"{len(cases)} cases and {len(panels)} panels", hint="pair them"
        )
    rows = {row.name: row for row in scores.rows}
    cards = [
        _card(number, case, panel, rows.get(case.name))
        for number, (case, panel) in enumerate(zip(cases, panels, strict=True), start=1)
    ]
    environment = _environment()
    script = environment.get_template("report.js").render()
    html = environment.get_template("report.html.j2").render(
        title=title,
        cards=cards,
        shown={case.name: number for number, case in enumerate(cases, start=1)},
        scores=scores,
        columns=COLUMNS,
        headline=HEADLINE,
        conventions=GENERAL_CONVENTIONS,
        settings=_settings(panels) | dict(details or {}),
        notes=notes,
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    write_text(path, html)


def _environment() -> Environment:
    environment = Environment(
        loader=ChoiceLoader([PackageLoader("plurimask"), PackageLoader("plurimask", "style")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "score": _score,
        "size": _size,
        "symbol": _symbol,
        "public": _public_name,
        "frequency_hex": _frequency_hex,
    }
    return environment


def _card(number: int, case: Case, panel: MaskSet, scores: CaseScores | None) -> Card:
    view = plot.View.of(case, panel)
    reader_sizes, unit = sizes(case.raters, case.grid)
    sample_sizes, _ = sizes(panel.masks, case.grid)
    return Card(
        number=number,
        title=_public_name(case, f"case {number}"),
        view=view,
        slices=None if view.slice_index is None else case.grid.shape[2],
        readers=_group(view.raters, reader_sizes, [plot.reader_colour(k) for k in range(len(view.raters))]),
        samples=_group(view.samples, sample_sizes, [plot.SAMPLE_COLOUR] * len(view.samples)),
        unit=unit,
        scale_bar=_scale_bar(case, view),
        scores=scores,
    )


def _group(masks: np.ndarray, sizes: np.ndarray, colours: Sequence[str]) -> Group:
    entries = zip(masks, sizes.tolist(), colours, strict=True)
    return Group(tuple(Mark(k, plot.svg_path(mask), size, colour) for k, (mask, size, colour) in enumerate(entries, 1)))


def _public_name(named: Case | CaseScores, stand_in: str) -> str:
    return public_name(named.name, named.patient, stand_in)


def _scale_bar(case: Case, view: plot.View) -> tuple[int, float] | None:
    """Length in mm and in columns of a bar of up to two fifths of the close-up; None where spacing is unknown."""
    if case.grid.spacing_mm is None:
        return None
    columns = view.window[1]
    widest = 0.4 * (columns.stop - columns.start) * case.grid.spacing_mm[1]
    length = max((bar for bar in SCALE_BARS_MM if bar <= widest), default=None)
    return None if length is None else (length, length / case.grid.spacing_mm[1])


def _axis(samples: Group, readers: Group) -> Axis:
    largest = max(mark.size for mark in samples.marks + readers.marks)
    ticks = MaxNLocator(5).tick_values(0, largest or 1.0)
    place = {tick: 3 + 94 * tick / ticks[-1] for tick in ticks}
    above, below = (_piles(group, ticks[-1]) for group in (samples, readers))
    return Axis(tuple((x, f"{tick:g}") for tick, x in place.items()), above, below, max(dot.level for dot in above) + 1)


def _piles(group: Group, top: float) -> tuple[Dot, ...]:
    """Dots in 60 places along the axis; those that fall on one place are piled up. Empty masks have place 0 alone."""
    piles: dict[int, int] = {}
    dots = []
    for mark in sorted(group.marks, key=lambda mark: mark.size):
        place = math.ceil(60 * mark.size / top)
        level = piles[place] = piles.get(place, -1) + 1
        dots.append(Dot(3 + 94 * place / 60, level, mark))
    return tuple(dots)


def _settings(panels: Sequence[MaskSet]) -> dict[str, str]:
    """What the panels say of how they were drawn; values that differ by case are listed."""
    found: dict[str, list[str]] = {}
    for panel in panels:
        entries: dict[str, Any] = {"method": panel.method, "checkpoint (sha256)": panel.checkpoint}
        entries |= {"seeds": panel.seeds and _seeds(panel.seeds), **panel.settings}
        for key, value in entries.items():
            text = value if isinstance(value, str) else json.dumps(value)
            if value is not None and text not in found.setdefault(key, []):
                found[key].append(text)
    return {key: "; ".join(texts) for key, texts in found.items()}


def _seeds(seeds: tuple[int, ...]) -> str:
    if len(seeds) > 2 and seeds == tuple(range(seeds[0], seeds[0] + len(seeds))):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))


def _score(value: float | None) -> str:
    return "\N{EN DASH}" if value is None or math.isnan(value) else f"{value:z.3f}".replace("-", "\N{MINUS SIGN}")


def _symbol(name: str) -> Markup:
    """D_max with its index set below the line."""
    stem, _, index = name.partition("_")
    return Markup("{}<sub>{}</sub>").format(stem, index) if index else escape(stem)


def _size(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def _frequency_hex(samples: int) -> list[str]:
    return [to_hex(colour) for colour in plot.frequency_colours(samples)[1:]]
