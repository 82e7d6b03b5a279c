"""Which of many scored cases a page shows: the ends of what there is, and what is known to be hard."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from plurimask.evaluation import CaseScores
from plurimask.plot import disagreeing

EACH = 2
"""Cases shown of each kind."""
FEW = 12
"""So many cases are all shown."""


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
