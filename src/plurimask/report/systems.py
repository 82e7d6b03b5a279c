"""What several systems drew for one case, beside its readers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from plurimask.evaluation import CaseScores
from plurimask.metrics.measurements import sizes
from plurimask.pixels.colours import reader_colour
from plurimask.pixels.frame import close_up
from plurimask.plot import View
from plurimask.records import Case, MaskSet, public_name
from plurimask.report.card import frequency_map, picture_of, scale_bar
from plurimask.report.marks import Group, group_of
from plurimask.report.strip import Strip, strip_of

MOST_TILES = 16
"""Samples shown of each panel, the first ones; the paper shows as many."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """What one system, or the readers, drew for a case.

    Args:
        title: whose masks they are.
        strip: the first of them.
        frequency: how many of all of them hold each voxel of the close-up, as a data URI.
        count: of all of them.
        empty: how many of them hold nothing.
        scores: of the case at the larger N; None for readers.
    """

    title: str
    strip: Strip
    frequency: str
    count: int
    empty: int
    scores: CaseScores | None = None


@dataclass(frozen=True, eq=False)
class Shown:
    """One case with its readers and what systems drew for it.

    Args:
        number: on the page, from 1.
        title: its name, or its number where the name gives the patient away.
        reason: why it is shown.
        view: the plane and the close-up that all its pictures share; its samples are the first system's.
        picture: the image as a data URI.
        readers: their marks.
        read: what the readers drew, as a system's; None where nobody read it.
        scale_bar: mm and columns of its length; None without spacing.
        systems: what each drew.
    """

    number: int
    title: str
    reason: str
    view: View
    picture: str
    readers: Group
    read: Drawn | None
    scale_bar: tuple[int, float] | None
    systems: tuple[Drawn, ...]

    @property
    def full(self) -> int:
        """Columns of the widest strip."""
        return max(drawn.strip.width for drawn in self.systems)


def shown_case(
    number: int,
    case: Case,
    reason: str,
    panels: Sequence[tuple[str, MaskSet, CaseScores]],
    first: int,
) -> Shown:
    """A case with the panels of systems: title, masks and scores of each.

    Args:
        number: on the page, from 1.
        case: the case.
        reason: why it is shown.
        panels: one a system.
        first: behind so many samples is a gap.

    Raises:
        InputError: a panel of another case or grid.
    """
    views = [View.of(case, panel) for _, panel, _ in panels]
    window = close_up(np.logical_or.reduce([view.marked for view in views]), views[0].aspect)
    view = replace(views[0], window=window)
    reader_sizes, _ = sizes(case.raters, case.grid)
    drawn = (
        replace(_drawn(title, each.samples, view, first), scores=scores)
        for (title, _, scores), each in zip(panels, views, strict=True)
    )
    return Shown(
        number=number,
        title=public_name(case.name, case.patient, f"case {number}"),
        reason=reason,
        view=view,
        picture=picture_of(view),
        readers=group_of(view.raters, reader_sizes, [reader_colour(k) for k in range(len(view.raters))]),
        read=_drawn("readers", view.raters, view, len(view.raters)) if len(view.raters) else None,
        scale_bar=scale_bar(case, window),
        systems=tuple(drawn),
    )


def _drawn(title: str, masks: np.ndarray, view: View, first: int) -> Drawn:
    return Drawn(
        title=title,
        strip=strip_of(masks[:MOST_TILES], view.raters, view.window, view.aspect, first),
        frequency=frequency_map(masks[:, *view.window]),
        count=len(masks),
        empty=int((~masks.any(axis=(1, 2))).sum()),
    )
