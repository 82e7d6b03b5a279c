"""Values that are kept while they fit: the least recently used ones go first."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from threading import Lock
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Cache(Generic[Value]):
    """Makes each value once, whichever threads ask for it, and keeps the latest up to `limit` bytes; always the last.

    Args:
        limit: bytes.
        weigh: the bytes of a value.
    """

    def __init__(self, limit: int, weigh: Callable[[Value], int]) -> None:
        self._limit, self._weigh = limit, weigh
        self._lock = Lock()
        self._values: OrderedDict[Hashable, Future[Value]] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of a key, made where it is not there. Whatever `make` raises is raised, and not kept."""
        with self._lock:
            known = self._values.get(key)
            future = known or self._values.setdefault(key, Future())
            self._values.move_to_end(key)
        if known is not None:
            return known.result()
        try:
            value = make()
        except BaseException as error:
            with self._lock:
                self._values.pop(key, None)
            future.set_exception(error)
            raise
        future.set_result(value)
        self._shrink()
        return value

    def known(self, key: Hashable) -> Value | None:
        """The value of a key where it is there already."""
        with self._lock:
            future = self._values.get(key)
        return future.result() if future and future.done() and not future.exception() else None

    def _shrink(self) -> None:
        with self._lock:
            done = [(key, self._weigh(one.result())) for key, one in self._values.items() if one.done()]
            total = sum(weight for _, weight in done)
            for key, weight in done[:-1]:
                if total <= self._limit:
                    return
                del self._values[key]
                total -= weight
