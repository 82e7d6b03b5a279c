"""What lists say of cases, worked out by one thread: first what a page waits for, then the rest."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from threading import Condition, Thread

from plurimask.viewer.library import UNREADABLE
from plurimask.viewer.views import Summary

Key = tuple[str, str]
"""Source and name."""


class Summaries:
    """Summaries by key, kept for good: a few numbers each.

    Args:
        read: works one out; what it raises of `UNREADABLE` is kept as the reason.
    """

    def __init__(self, read: Callable[[str, str], Summary]) -> None:
        self._read = read
        self._known: dict[Key, Summary | str] = {}
        self._urgent: deque[Key] = deque()
        self._rest: deque[Key] = deque()
        self._looked_at: Key | None = None
        self._change = Condition()
        self._thread: Thread | None = None

    def get(self, key: Key) -> Summary | str | None:
        """A summary, the reason why there is none, or None where it has not been worked out."""
        return self._known.get(key)

    def ask(self, keys: Sequence[Key], seconds: float) -> None:
        """Work these out before others, and wait for them as long as that."""
        with self._change:
            self._urgent.extend(key for key in keys if key not in self._known and key not in self._urgent)
            self._start()
            self._change.wait_for(lambda: all(key in self._known for key in keys), seconds)

    def ask_all(self, keys: Iterable[Key]) -> None:
        """Work these out when there is time. They are all of what is wanted; what was asked for before is let go."""
        with self._change:
            self._rest = deque(key for key in keys if key not in self._known)
            self._start()

    def forget(self, key: Key) -> None:
        """Work it out anew when it is asked for."""
        with self._change:
            self._known.pop(key, None)
            if self._looked_at == key:
                self._looked_at = None

    def done(self, keys: Sequence[Key]) -> int:
        """How many of these are worked out."""
        return sum(key in self._known for key in keys)

    def _start(self) -> None:
        if self._thread is None:
            self._thread = Thread(target=self._work, daemon=True)
            self._thread.start()
        self._change.notify_all()

    def _work(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._urgent or self._rest)
                key = (self._urgent or self._rest).popleft()
                if key in self._known:
                    continue
                self._looked_at = key
            found = self._look(key)
            with self._change:
                if self._looked_at == key:
                    self._known[key] = found
                else:
                    self._urgent.append(key)
                self._change.notify_all()

    def _look(self, key: Key) -> Summary | str:
        try:
            return self._read(*key)
        except UNREADABLE as error:
            return str(error) or type(error).__name__
