"""Scores as tables: one `Table` for a terminal of 80 columns, for Markdown and for a page.

Every number is written by `number`. A terminal shows a number alone, or its interval and its star in columns of their
own; Markdown and pages show them in its cell. templates/tables.html.j2 writes a table into a page.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table as RichTable

from plurimask.evaluation import COLUMNS, HEADLINE, Comparison, DrawnAs, ReaderScores, Scores, TableRow
from plurimask.evaluation.columns import INDEPENDENT
from plurimask.evaluation.scores import LEVEL, Interval

STAR = r"\*"
ARROWS = {"lower": "↓", "higher": "↑", None: ""}
NOT_INDEPENDENT = f"no {' and no '.join(COLUMNS[key].label for key in INDEPENDENT)}, which need independent draws"
"""Why a representative panel has dashes."""
STRATUM_KEYS = ("ged_v", "ged_u", "hm_iou", "dice_max", "ci", "empty_samples", "empty_readers")
"""Columns of the table by readers who drew and by size."""


def number(value: float) -> str:
    """Three decimals, one where they would be four digits and more, four where three say too little; NaN: a dash."""
    if math.isnan(value):
        return "-"
    if abs(value) >= 100:
        return f"{value:.1f}"
    return f"{value:z.4f}" if 0 < abs(value) < 0.01 else f"{value:z.3f}"


@dataclass(frozen=True)
class Number:
    """A number of a table.

    Args:
        value: NaN where it is undefined.
        interval: of it; NaN where there is none.
        starred: whether the interval leaves 0 out; None where nobody asks.
    """

    value: float
    interval: Interval = (math.nan, math.nan)
    starred: bool | None = None

    @property
    def text(self) -> str:
        """The number with its interval in words."""
        return f"{number(self.value)}{f' ({self.ends})' if self.ends else ''}"

    @property
    def ends(self) -> str:
        """The interval in words; empty where there is none."""
        low, high = map(number, self.interval)
        return "" if low == "-" else f"{low} to {high}"


Cell = str | int | Number


@dataclass(frozen=True)
class Head:
    """What stands over a column or at the start of a row.

    Args:
        text: in words.
        note: what belongs to it in small print: N, a unit, a group of rows.
        better: which way is better.
        meaning: what a page tells who points at it, or says in place of no text.
        spread: a terminal shows the column's intervals too.
        words: the column holds no numbers.
        index: a number in front of it, by which pictures of a page call it.
        link: what it leads to in a page.
    """

    text: str
    note: str = ""
    better: Literal["lower", "higher"] | None = None
    meaning: str = ""
    spread: bool = False
    words: bool = False
    index: int | None = None
    link: str = ""

    def __str__(self) -> str:
        return f"{self.text} {ARROWS[self.better]}".strip()


@dataclass(frozen=True)
class Row:
    """A row: whose it is, a cell for each further column, and on pages its kind, a class of style."""

    head: Head
    cells: tuple[Cell, ...]
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """A table whose first column says whose each row is.

    Args:
        heads: of all columns.
        rows: each as long as the heads.
        title, caption: above and below it in a terminal.
    """

    heads: tuple[Head, ...]
    rows: tuple[Row, ...]
    title: str = ""
    caption: str = ""

    def to_rich(self, first: int | None = None, others: int | None = None, wrap: bool = True) -> RichTable:
        """For a terminal.

        Args:
            first, others: smallest widths of the first column and of all others.
            wrap: whether the first column may take several lines a row.
        """
        table = RichTable(title=self.title, caption=self.caption or None, box=SIMPLE_HEAD, padding=0, show_edge=False)
        table.add_column(self.heads[0].text, min_width=first, no_wrap=not wrap)
        starred = any(isinstance(cell, Number) and cell.starred is not None for row in self.rows for cell in row.cells)
        for head in self.heads[1:]:
            table.add_column(head.text, justify="right", min_width=others)
            if head.spread:
                table.add_column(f"{LEVEL:.0%} interval", justify="right")
                if starred:
                    table.add_column("")
        for row in self.rows:
            cells = zip(self.heads[1:], row.cells, strict=True)
            table.add_row(str(row.head), *(text for head, cell in cells for text in _spread(head, cell, starred)))
        return table

    def to_markdown(self) -> str:
        """For Markdown: intervals in brackets, save in rows of a kind; a line for each new note of a row."""
        heads = [", ".join(filter(None, (str(head), head.note))) for head in self.heads]
        lines = [heads, ["---", *("---" if head.words else "---:" for head in self.heads[1:])]]
        note = ""
        for row in self.rows:
            if row.head.note != note:
                note = row.head.note
                lines += [[f"*{note}*", *[""] * (len(heads) - 1)]] if note else []
            lines.append([str(row.head), *(_written(cell, bool(row.kind)) for cell in row.cells)])
        return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def plain_table(heads: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Table:
    """A table of plain heads, and of rows whose first cell says whose they are."""
    return Table(tuple(map(Head, heads)), tuple(Row(Head(str(first)), tuple(cells)) for first, *cells in rows))


def score_head(key: str, note: str = "") -> Head:
    """Over a column of scores."""
    column = COLUMNS[key]
    return Head(column.label, note, column.better, column.convention)


def score_cells(row: TableRow, keys: Iterable[str]) -> tuple[Number, ...]:
    """A row's means with their intervals; a dash where it has none."""
    return tuple(Number(row.values.get(key, math.nan), row.intervals.get(key, (math.nan, math.nan))) for key in keys)


def _spread(head: Head, cell: Cell, starred: bool) -> list[str]:
    """What a terminal shows of a cell, a text a column."""
    if not isinstance(cell, Number):
        return [str(cell)]
    if not head.spread:
        return [number(cell.value)]
    return [number(cell.value), cell.ends or "-", *(["*" if cell.starred else ""] if starred else [])]


def _written(cell: Cell, alone: bool) -> str:
    """A cell in Markdown; `alone`: without interval and star."""
    if not isinstance(cell, Number):
        return str(cell)
    ends = f" ({cell.ends})" if cell.ends and not alone else ""
    return f"{number(cell.value)}{ends}{STAR if cell.starred else ''}"


def summary_table(scores: Scores) -> Table:
    """The method beside what needs no image, headline values only."""
    rests = {row.label: min(row.cases[key] for key in HEADLINE if key in row.cases) for row in scores.table}
    fewer = [f"{label} (rests on {cases})" for label, cases in rests.items() if cases < len(scores.rows)]
    left_out = f", {len(scores.missing)} without masks" if scores.missing else ""
    captions = [f"undefined in some cases: {', '.join(fewer)}"] if fewer else []
    captions += [f"{row.label}: {NOT_INDEPENDENT}" for row in scores.table if row.representative]
    kinds = {row.label: "method" for row in scores.table if row.representative}
    kinds |= {scores.table[0].label: "method", "calibrated": "calibrated"}
    return Table(
        heads=(Head("", meaning="predictor"), *map(score_head, HEADLINE)),
        rows=tuple(Row(Head(row.label), score_cells(row, HEADLINE), kinds.get(row.label, "")) for row in scores.table),
        title=f"N = {scores.samples} samples · {_cases(len(scores.rows), scores.patients)}{left_out}",
        caption="; ".join(captions),
    )


def values_table(scores: Scores) -> Table:
    """Every value with its interval, and in how many cases it is undefined."""
    rows = []
    for key, column in COLUMNS.items():
        unit = f" ({scores.units[key]})" if key in scores.units else ""
        head = Head(f"{column.label}{unit}", better=column.better, meaning=column.convention)
        rows.append(Row(head, (*score_cells(scores.table[0], [key]), scores.undefined[key] or "")))
    heads = Head("", meaning="score"), Head("mean", spread=True), Head("undefined")
    empties = Number(scores.empties.value, scores.empties.interval).text
    return Table(
        heads,
        tuple(rows),
        f"{scores.table[0].label}: every value, better where the arrow points",
        f"r of empties, samples against readers case by case: {empties}",
    )


def strata_table(scores: Scores) -> Table:
    """The method by readers who drew, and by size of what they drew."""
    return Table(
        heads=(Head("", meaning="part"), Head("cases"), *map(score_head, STRATUM_KEYS)),
        rows=tuple(
            Row(Head(stratum.part), (stratum.cases, *score_cells(stratum.row, STRATUM_KEYS)))
            for stratum in scores.strata
        ),
        title=f"{scores.table[0].label}: by readers who drew, and by size of what they drew",
    )


def conventions_table(scores: Scores) -> Table:
    """GED and HM-IoU of the same masks as other codes count them."""
    return Table(
        heads=(Head("", meaning="convention"), Head("GED", spread=True), Head("HM-IoU")),
        rows=tuple(Row(Head(row.label), score_cells(row, ("ged", "hm_iou"))) for row in scores.conventions),
        title="the same masks, as other codes count",
    )


def readers_table(readers: ReaderScores) -> Table:
    """Known readers: how well each is met, beside the others, and the matrix of how alike each two are."""
    heads = ("", "masks", "Dice", "others", "size", *(str(number) for number in range(1, len(readers.names) + 1)))
    rows = [
        Row(
            Head(f"{place + 1} {name}"),
            (
                readers.masks[place],
                *(Number(one.value, one.interval) for one in (readers.met[place], readers.others[place])),
                Number(readers.size[place].value, readers.size[place].interval),
                *(Number(value) for value in readers.alike[place].tolist()),
            ),
        )
        for place, name in enumerate(readers.names)
    ]
    between, chance = readers.between, readers.by_chance
    says = [
        f"between persons {Number(between.value, between.interval).text} of the disagreement about size; "
        f"names permuted {number(chance[0])} to {number(chance[1])}, p {number(readers.chance)}"
    ]
    if readers.asked:
        says.append(
            f"Dice with the reader asked for less others {Number(readers.asked.value, readers.asked.interval).text}"
        )
    meanings = (
        *("reader", "masks of the reader", "samples and the reader", "the other readers and the reader"),
        *("size to the other readers' in the same cases", *readers.names),
    )
    return Table(
        heads=tuple(Head(text, meaning=meaning) for text, meaning in zip(heads, meanings, strict=True)),
        rows=tuple(rows),
        title="each reader: Dice of the samples, of the other readers, size to theirs, Dice with each",
        caption="; ".join(says),
    )


def drawn_as_table(drawn: DrawnAs) -> Table:
    """Masks drawn as each reader: Dice with their own, that less what else would be, and the matrix."""
    columns = (drawn.less_others, drawn.less_any, drawn.less_as_others, drawn.less_resized)
    rows = []
    for place, name in enumerate(drawn.names):
        own = drawn.own[place]
        less = [
            Number(one[place].value, one[place].interval, one[place].interval[0] > 0 or one[place].interval[1] < 0)
            for one in columns
        ]
        matrix = (Number(value) for value in drawn.dice[place].tolist())
        rows.append(Row(Head(f"{place + 1} {name}"), (Number(own.value, own.interval), *less, *matrix)))
    heads = {
        "": "drawn as",
        "Dice": "with the reader's own masks",
        "- others'": "less the Dice of these masks with the other readers'",
        "- as any": "less the Dice of masks drawn as any reader with the reader's own",
        "- as others": "less the Dice of masks drawn as the other readers with the reader's own",
        "- by size": "Dice of their majority, less that of the majority drawn as any at the reader's usual size",
    } | {str(number): f"with masks of {name}" for number, name in enumerate(drawn.names, start=1)}
    return Table(
        heads=tuple(Head(text, meaning=meaning) for text, meaning in heads.items()),
        rows=tuple(rows),
        title="masks drawn as each reader: Dice with their own, that less other Dice, Dice with the masks of each",
        caption="* 0 is outside; others' masks, or own with masks drawn as any, as others, or by usual size alone",
    )


def people_tables(scores: Scores) -> list[Table]:
    """What is said of known readers: how well each is met, and what is drawn as each."""
    met = [readers_table(scores.readers)] if scores.readers else []
    return met + ([drawn_as_table(scores.drawn_as)] if scores.drawn_as else [])


def comparison_table(comparison: Comparison) -> Table:
    """A, B and their difference; a star where the interval of the difference leaves 0 out."""
    rows = []
    for key, column in COLUMNS.items():
        a, b = (score_cells(row, [key]) for row in (comparison.a, comparison.b))
        difference = comparison.difference
        less = Number(difference.values[key], difference.intervals[key], comparison.outside_zero(key))
        head = Head(column.label, better=column.better, meaning=column.convention)
        rows.append(Row(head, (*a, *b, less, difference.cases[key])))
    left_out = f"{len(comparison.left_out)} cases of one side only left out; " if comparison.left_out else ""
    who = f"A: {comparison.a.label} · B: {comparison.b.label}"
    return Table(
        heads=(Head("", meaning="score"), Head("A"), Head("B"), Head("A - B", spread=True), Head("cases")),
        rows=tuple(rows),
        title=f"{who} · N = {comparison.a.samples} · {_cases(comparison.cases, comparison.patients)}",
        caption=f"{left_out}* 0 is outside",
    )


def render_table(scores: Scores) -> RichTable:
    """`summary_table` for a terminal; a value that is undefined is a dash."""
    return summary_table(scores).to_rich(first=12, others=6)


def render_scores(scores: Scores) -> Group:
    """Every value with its interval, the method by strata, and GED as other codes count it."""
    values, strata, conventions = values_table(scores), strata_table(scores), conventions_table(scores)
    own = [table.to_rich() for table in people_tables(scores)]
    parts = values.to_rich(), strata.to_rich(wrap=False), conventions.to_rich(), *own, render_table(scores)
    return Group(parts[0], *(part for table in parts[1:] for part in ("", table)))


def render_comparison(comparison: Comparison) -> RichTable:
    """`comparison_table` for a terminal."""
    return comparison_table(comparison).to_rich()


def _cases(cases: int, patients: int) -> str:
    return f"{cases} cases · {patients} patients"
