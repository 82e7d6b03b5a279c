"""Cases spread over the workers of a Ray cluster. No other module knows Ray; it is imported when it is asked for.

A worker (an actor of Ray) makes its state once, such as a loaded model, and is then given one case at a time, so that
it is known what it died of. It writes what it makes itself: small answers alone come back. A case that fails, or whose
worker dies, is given out again after all others, until it was tried three times.
"""

import logging
import os
import signal
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from plurimask import __version__
from plurimask.errors import PlurimaskError, SettingsError, need, plural

Item = TypeVar("Item")
Result = TypeVar("Result")
Make = Callable[[], Callable[[Item], Result]]
"""Makes, once a worker, what works on a case. It is sent to the worker, as cases and results are sent."""
TRIES = 3
_STARTS = 10
"""Workers in a row that may die before they have begun."""
_STORE_BYTES = 100 * 2**20
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # else it reports to its makers
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # its lines about workers that died
    "GRPC_VERBOSITY": "NONE",
    "RAY_agent_register_timeout_ms": "300000",  # a machine at work starts its processes slowly
}
_SAME = "every node needs the same versions of Python, Ray and plurimask"
_LOOK_SECONDS, _GONE_SECONDS = 2.0, 15.0
"""How often the head of a cluster is looked for, and how long it may be away. After 60 s Ray would end the process."""


class ClusterError(PlurimaskError):
    """A cluster that cannot be used."""


class FailedCasesError(PlurimaskError):
    """Cases that failed as often as they were tried.

    Args:
        reasons: why, by the name of each.
        total: how many cases there were.
    """

    def __init__(self, reasons: Mapping[str, str], total: int) -> None:
        got, hint = f"{len(reasons)} that failed {TRIES} times", "mend them and run again; the others are done"
        super().__init__("the cluster", expected=f"{plural(total, 'case')} without a failure", got=got, hint=hint)
        self.reasons = reasons


@dataclass(eq=False)
class _Hand:
    """A worker, and the call and case that it is at: one alone, so that it is known what a worker died of."""

    actor: Any
    cases: dict[Any, str] = field(default_factory=dict)


class Cluster:
    """The workers of a Ray cluster. Without an address this machine's cores are one, which ends with the block.

    Args:
        address: `auto`, `HOST:PORT` or `ray://HOST:PORT`.
        workers: how many; None takes one a core, or one a GPU where `map` asks for these and the cluster has any.

    Attributes:
        head: where its head listens, as an address.

    Raises:
        ClusterError: no cluster at the address, or one of another version of Ray or Python.
        MissingPackageError: Ray is not installed.
    """

    def __init__(self, address: str | None = None, workers: int | None = None) -> None:
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        self._ray, self._workers = need("ray", "ray"), workers
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        own = {"num_cpus": max(cores, workers or 1), "object_store_memory": _STORE_BYTES, "include_dashboard": False}
        given = {"address": address} if address else {"address": "local", **own}
        handler = signal.getsignal(signal.SIGTERM)
        try:
            if address and ":" in address:
                _knock(address)  # Ray would knock for two minutes
            with _unheard() if address else nullcontext():
                self._ray.init(logging_level="ERROR", log_to_driver=False, **given)
        except Exception as error:
            got, hint = _cause(error), f"start one with ray start --head, or leave --address out; {_SAME}"
            if "AuthToken" in got:
                got, hint = "one that asks for a token", "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN on other machines"
            raise ClusterError(address or "ray", expected="a Ray cluster", got=got, hint=hint) from error
        finally:
            signal.signal(signal.SIGTERM, handler)  # Ray has set its own
        logging.getLogger("ray").setLevel(logging.CRITICAL + 1)  # of a head that goes; it is told by us
        inside = str(self._ray.get_runtime_context().gcs_address)
        self.head = address if address and address.startswith("ray://") else inside

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ray.shutdown()

    def map(self, make: Make[Item, Result], items: Mapping[str, Item], gpu: bool = False) -> Iterator[Result]:
        """What each case gives, as they get done.

        Args:
            make: see `Make`.
            items: what is given to a worker, by the name of each case.
            gpu: whether each worker takes a GPU, where the cluster has any.

        Raises:
            FailedCasesError: cases that failed; after all others are done.
            PlurimaskError: as `make` raises it.
            SettingsError: as the work on a case raises it, since it holds for all cases.
            ClusterError: workers that die before they have begun, or of another version of plurimask; or the head of
                the cluster is gone.
        """
        try:
            yield from _Work(self._ray, self.head, self._workers, make, items, gpu).run()
        except PlurimaskError:
            raise
        except Exception as error:
            raise _gone(self.head, _cause(error)) from error


class _Work:
    """One call of `map`."""

    def __init__(
        self, ray: Any, head: str, workers: int | None, make: Any, items: Mapping[str, Any], gpu: bool
    ) -> None:
        self._ray, self._head, self._items = ray, head, items
        self._is_there, self._looked, self._seen = True, 0.0, time.monotonic()
        there = ray.cluster_resources()
        kind = "GPU" if gpu and there.get("GPU") else "CPU"
        self._actor = ray.remote(num_cpus=1, num_gpus=int(kind == "GPU"), max_restarts=0)(_Worker)
        self._make = ray.put(ray.cloudpickle.dumps(make))
        self._lacking = min(workers or int(there.get(kind, 1)), len(items))
        self._waiting = deque(items)
        self._tries: Counter[str] = Counter()
        self._reasons: dict[str, str] = {}
        self._starting: dict[Any, _Hand] = {}
        self._hands: list[_Hand] = []
        self._died = 0

    def run(self) -> Iterator[Any]:
        try:
            while self._waiting or any(hand.cases for hand in self._hands):
                if self._lacking or time.monotonic() - self._looked > _LOOK_SECONDS:
                    self._look()
                self._give()
                calls = {call: hand for hand in self._hands for call in hand.cases}
                ready, _ = self._ray.wait([*calls, *self._starting], num_returns=1, timeout=_LOOK_SECONDS)
                for call in ready:
                    if call in self._starting:
                        self._begin(call)
                    else:
                        yield from self._take(call, calls[call])
        finally:
            for hand in (*self._hands, *self._starting.values()) if self._is_there else ():
                with suppress(Exception):  # it may be dead
                    self._ray.kill(hand.actor)
        if self._reasons:
            raise FailedCasesError(self._reasons, len(self._items))

    def _look(self) -> None:
        """Start the workers that are lacking, where the head is there: without it Ray would wait for it."""
        self._looked = time.monotonic()
        try:
            _knock(self._head)
        except OSError as error:
            self._is_there = False
            if self._looked - self._seen > _GONE_SECONDS:
                raise _gone(self._head, _cause(error)) from error
            time.sleep(_LOOK_SECONDS / 4)
            return
        self._is_there, self._seen = True, self._looked
        for _ in range(self._lacking):
            hand = _Hand(self._actor.remote(self._make))
            self._starting[hand.actor.begin.remote()] = hand
        self._lacking = 0

    def _begin(self, call: Any) -> None:
        hand = self._starting.pop(call)
        try:
            version, error = self._ray.get(call)
        except self._ray.exceptions.RayError as problem:
            self._died += 1
            if self._died == _STARTS:
                raise ClusterError("ray", expected="workers", got=f"'{problem}'", hint=_SAME) from problem
            self._lacking += 1
            return
        if error is not None:
            raise error
        if version != __version__:
            raise ClusterError("a worker", expected=f"plurimask {__version__}", got=version, hint=_SAME)
        self._died = 0
        self._hands.append(hand)

    def _give(self) -> None:
        """Give every idle worker a case."""
        for hand in self._hands:
            if self._waiting and not hand.cases:
                name = self._waiting.popleft()
                hand.cases[hand.actor.work.remote(self._items[name])] = name

    def _take(self, call: Any, hand: _Hand) -> Iterator[Any]:
        name = hand.cases.pop(call)
        try:
            result, error = self._ray.get(call)
        except self._ray.exceptions.RayError:
            self._hands.remove(hand)
            self._again(name, "its worker died")
            self._lacking += 1
            return
        if isinstance(error, SettingsError):
            raise error
        if error is None:
            yield result
        else:
            self._again(name, str(error))

    def _again(self, name: str, why: str) -> None:
        self._tries[name] += 1
        if self._tries[name] < TRIES:
            self._waiting.append(name)
        else:
            self._reasons[name] = why


class _Worker:
    """What runs in a process of the cluster. Errors come back as values, so that a lost call is a lost worker."""

    def __init__(self, make: bytes) -> None:
        self._make = make

    def begin(self) -> tuple[str, Exception | None]:
        try:
            self._work = need("ray", "ray").cloudpickle.loads(self._make)()
        except Exception as error:  # noqa: BLE001 (it is sent back)
            return __version__, _sendable(error)
        return __version__, None

    def work(self, item: Any) -> tuple[Any, Exception | None]:
        try:
            return self._work(item), None
        except Exception as error:  # noqa: BLE001 (it is sent back)
            return None, _sendable(error)


def _sendable(error: Exception) -> PlurimaskError:
    """An error that can be sent: our own as it is, and others', which may hold anything, by what they say."""
    if isinstance(error, PlurimaskError):
        return error
    got = f"{type(error).__name__}: {error}"
    return ClusterError("a worker", expected="work without an error", got=got, hint="mend what it names, and run again")


def _knock(address: str) -> None:
    """Raises OSError or ValueError where nothing listens at HOST:PORT or ray://HOST:PORT."""
    parts = urlsplit(address if "//" in address else f"//{address}")
    socket.create_connection((parts.hostname or "", parts.port or 0), timeout=_LOOK_SECONDS).close()


def _gone(head: str, got: str) -> ClusterError:
    hint = "start it again, and run this again: what is complete is left alone"
    return ClusterError(head, expected="the head of the Ray cluster, as before", got=got, hint=hint)


def _cause(error: BaseException) -> str:
    """What an error comes from, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"'{' '.join(str(error).split()) or type(error).__name__}'"


@contextmanager
def _unheard() -> Iterator[None]:
    """What Ray's C++ writes to the standard error while the block runs goes nowhere."""
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
