"""A page of the list of cases, in the order that is asked for, and the values that it shows and sorts by."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import asdict
from queue import Empty, Queue
from threading import Condition, Thread
from typing import Any, Literal

from plurimask.viewer.library import Library, name_id, told
from plurimask.viewer.views import Summary

Sort = Literal["name", "disagreement", "size", "score"]
Order = Literal["asc", "desc"]
Key = tuple[str, str]
"""Source and name."""

_FIELD = {"disagreement": "disagreement", "size": "size_mean", "score": "score"}
_PATIENCE = 0.3  # seconds that a page waits for its own cases
_MOST_BROKEN = 100


class Summaries:
    """Summaries by key, kept for good: a few numbers each. One is worked out at a time, each once.

    Args:
        read: works one out; what it raises is kept as the reason.
        pool: in which this happens.
        most: seconds that are waited for one; a file may be of no end, and the next case is to be read.
    """

    def __init__(self, read: Callable[[str, str], Summary], pool: Executor, most: float = 120) -> None:
        self._read, self._pool, self._most = read, pool, most
        self._known: dict[Key, Summary | str] = {}
        self._waiting: deque[Key] = deque()
        self._current: Key | None = None
        self._is_working = False
        self._change = Condition()

    def get(self, key: Key) -> Summary | str | None:
        """A summary, the reason why there is none, or None where it has not been worked out."""
        return self._known.get(key)

    def ask(self, keys: Sequence[Key], seconds: float) -> None:
        """Work these out before others, and wait for them as long as that."""
        with self._change:
            self._waiting = deque(dict.fromkeys((*keys, *self._waiting)))
            self._go_on()
            self._change.wait_for(lambda: all(key in self._known for key in keys), seconds)

    def ask_all(self, keys: Iterable[Key]) -> None:
        """Work these out when there is time. They are all of what is wanted; what was asked for before is let go."""
        with self._change:
            self._waiting = deque(keys)
            self._go_on()

    def forget(self, key: Key) -> None:
        """Work it out anew when it is asked for."""
        with self._change:
            self._known.pop(key, None)
            if self._current == key:
                self._current = None

    def done(self, keys: Sequence[Key]) -> int:
        """How many of these are worked out."""
        return sum(key in self._known for key in keys)

    def _go_on(self) -> None:
        """Give the pool the next one, unless it has one."""
        while self._waiting and not self._is_working:
            key = self._waiting.popleft()
            if key not in self._known:
                self._is_working, self._current = True, key
                self._pool.submit(self._work, key)

    def _work(self, key: Key) -> None:
        looked: Queue[Summary | str] = Queue()
        # A thread of its own can be left behind, and holds up neither the pool nor the server's end.
        Thread(target=lambda: looked.put(self._summary(key)), daemon=True).start()
        try:
            found = looked.get(timeout=self._most)
        except Empty:
            found = f"it was not read within {self._most:g} seconds"
        with self._change:
            if self._current == key:
                self._known[key] = found
            else:  # it was forgotten meanwhile
                self._waiting.appendleft(key)
            self._is_working = False
            self._change.notify_all()
            self._go_on()

    def _summary(self, key: Key) -> Summary | str:
        try:
            return self._read(*key)
        except BaseException as error:  # noqa: BLE001  # a library may raise anything, and the next case is to be read
            return told(error, "it cannot be read")


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
        **known,
        "thumbnail": f"/api/v1/cases/{identifier}/thumbnail?source={source}",
    }
