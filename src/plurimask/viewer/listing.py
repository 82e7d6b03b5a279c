"""A page of the list of cases, in the order that is asked for."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

from plurimask.viewer.library import Library
from plurimask.viewer.places import name_id
from plurimask.viewer.summaries import Summaries
from plurimask.viewer.views import Summary

Sort = Literal["name", "disagreement", "size", "score"]
Order = Literal["asc", "desc"]

_FIELD = {"disagreement": "disagreement", "size": "size_mean", "score": "score"}
_PATIENCE = 0.3  # seconds that a page waits for its own cases
_MOST_BROKEN = 100


def list_cases(
    library: Library,
    summaries: Summaries,
    source: str,
    sort: Sort,
    order: Order,
    offset: int,
    limit: int,
    holding: str | None = None,
) -> dict[str, Any]:
    """A page of cases: total, offset, items, broken, and computing {done, total} while not all is known that it needs.

    With the name of a case in `holding`, the page of `limit` cases that holds it, if there is one, whatever `offset`.

    Broken cases are among the items too, with a reason and without values, so that places stay what they are as these
    are found.
    """
    names, odd = library.names(source)
    if sort != "name":
        summaries.ask_all((source, name) for name in names)
    ordered = _sorted(names, summaries, source, sort, order)
    if holding in ordered:
        offset = ordered.index(holding) // limit * limit
    shown = ordered[offset : offset + limit]
    summaries.ask([(source, name) for name in shown], _PATIENCE)
    wanted = names if sort != "name" else shown
    done = summaries.done([(source, name) for name in wanted])
    broken = [(name, what) for name in names if isinstance(what := summaries.get((source, name)), str)]
    broken += [(ascii(name), "its name cannot be shown; rename it") for name in odd]
    return {
        "total": len(names),
        "offset": offset,
        "items": [_item(source, name, summaries.get((source, name))) for name in shown],
        "broken": [{"name": name, "reason": reason} for name, reason in broken[:_MOST_BROKEN]],
        "broken_total": len(broken),
        "computing": None if done == len(wanted) else {"done": done, "total": len(wanted)},
    }


def plain(value: float) -> float | None:
    """A number as JSON has it: None where it is undefined."""
    return value if math.isfinite(value) else None


def _sorted(names: Sequence[str], summaries: Summaries, source: str, sort: Sort, order: Order) -> Sequence[str]:
    """Cases without a value, or not known yet, come last in either order."""
    if sort == "name":
        return names if order == "asc" else names[::-1]
    values = {}
    for name in names:
        found = summaries.get((source, name))
        values[name] = getattr(found, _FIELD[sort]) if isinstance(found, Summary) else math.nan
    known = sorted((name for name in names if not math.isnan(values[name])), key=values.__getitem__)
    return (known if order == "asc" else known[::-1]) + [name for name in names if math.isnan(values[name])]


def _item(source: str, name: str, found: Summary | str | None) -> dict[str, Any]:
    identifier = name_id(name)
    known = asdict(found) if isinstance(found, Summary) else dict.fromkeys(Summary.__dataclass_fields__)
    return {
        "id": identifier,
        "name": name,
        "reason": found if isinstance(found, str) else None,
        **{key: plain(value) if isinstance(value, float) else value for key, value in known.items()},
        "thumbnail": f"/api/v1/cases/{identifier}/thumbnail?source={source}",
    }
