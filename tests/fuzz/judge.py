"""What becomes of a spoiled file: each is opened in a process of its own, so that nothing can take the test with it.

A mutant is right (the values are what a plain reading of its bytes gives), or refused by name in one line of four
parts, without anything else on the terminal and without much memory; and then the command refuses it too, with exit
code 2, and writes nothing. Everything else is a fault.
"""

import contextlib
import functools
import importlib
import json
import logging
import os
import pkgutil
import re
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
from damage import damage_bytes
from dicom_series import PATIENT_ID, PATIENT_NAME

import plurimask
from plurimask.cli import main
from plurimask.errors import PlurimaskError
from plurimask.files.stored import digest_file
from plurimask.sampling import model
from plurimask.training.checkpoint import Checkpoint, load_weights

for _module in pkgutil.walk_packages(plurimask.__path__, "plurimask."):  # once, and not in every child
    importlib.import_module(_module.name)

SEED = 20261129
FOUR_PARTS = re.compile(r".+: expected .+, got .*; .+")
MOST_MIB = 200
"""What a refused file may take of memory."""
_SPACE_GIB, _CPU_SECONDS, _SECONDS = 3, 15, 200  # so that a fault costs neither the machine nor the night

Damage = Callable[[np.random.Generator, bytes], bytes]


@dataclass(frozen=True, eq=False)
class Subject:
    """What is opened, the file of it that is spoiled, and what says whether the result is right.

    Args:
        family: of the format, for counting.
        path: what is opened.
        file: what is spoiled.
        is_right: opens it, and compares it with a plain reading.
        command: that must refuse what `is_right` refuses; its --out comes last.
        structured: damage that knows the format, for every other mutant.
        replaced: instead of damage, what puts something else in the place of the file, of which a copy lies elsewhere.
    """

    family: str
    path: Path
    file: Path
    is_right: Callable[[Path], bool]
    command: Sequence[object] = ()
    structured: Damage | None = None
    replaced: Sequence[Callable[[Path, Path], object]] = ()

    @property
    def name(self) -> str:
        """What it is called, and its mutants are drawn by."""
        return f"{self.family}/{self.path.name}/{self.file.name}"

    def spoil(self, number: int, whole: bytes) -> None:
        """Put the mutant of a number in the place of the file; it is always the same."""
        clear(self.file)
        if self.replaced:
            copy = Path(tempfile.mkdtemp()) / self.file.name
            copy.write_bytes(whole)
            self.replaced[number](self.file, copy)
            return
        rng = np.random.default_rng([SEED, crc32(self.name.encode()), number])
        damage = self.structured if self.structured and number % 2 else damage_bytes
        self.file.write_bytes(damage(rng, whole))


def clear(path: Path) -> None:
    """Take away whatever lies there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


class Outcome(NamedTuple):
    """What became of a mutant: `right`, `refused`, or the kind of a fault; and what was said."""

    subject: str
    number: int
    kind: str
    said: str
    mib: float


def judged(subject: Subject, numbers: Sequence[int]) -> Iterator[Outcome]:
    """The outcomes of some mutants. A process that dies of one is a fault, and the next begins after it."""
    whole = subject.file.read_bytes()
    left = [number for number in numbers if not subject.replaced or number < len(subject.replaced)]
    while left:
        done, end = _in_child(subject, whole, left)
        yield from done
        left = left[len(done) :]
        if left:
            how = (
                signal.Signals(os.WTERMSIG(end)).name
                if os.WIFSIGNALED(end)
                else f"exit {os.waitstatus_to_exitcode(end)}"
            )
            yield Outcome(subject.name, left.pop(0), "died", how, 0)
    clear(subject.file)
    subject.file.write_bytes(whole)


def _in_child(subject: Subject, whole: bytes, numbers: Sequence[int]) -> tuple[list[Outcome], int]:
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads; the child starts none
        child = os.fork()
    if not child:
        try:
            os.close(reading)
            _lower_limits()
            with os.fdopen(writing, "w") as pipe:
                for number in numbers:
                    signal.alarm(_SECONDS)
                    signal.setitimer(signal.ITIMER_PROF, _CPU_SECONDS)
                    outcome = _outcome(subject, number, whole)
                    pipe.write(json.dumps(outcome) + "\n")
                    pipe.flush()
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        done = [Outcome(*json.loads(line)) for line in pipe]
    return done, os.waitpid(child, 0)[1]


def _lower_limits() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    space = pages * resource.getpagesize() + _SPACE_GIB * 2**30
    resource.setrlimit(resource.RLIMIT_AS, (space, space))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # As in a command, which takes what libraries log and warn of off the terminal; nothing else here does.
    logging.root.handlers.clear()
    with _terminal(), contextlib.suppress(SystemExit):
        sys.argv = ["plurimask", "--version"]
        main()
    model.load_weights = lambda path: _load(path, digest_file(path))


@functools.cache
def _load(path: Path, digest: str) -> Checkpoint:
    """The model that draws of what is spoiled is the same for thousands of mutants."""
    return load_weights(path)


def _outcome(subject: Subject, number: int, whole: bytes) -> Outcome:
    try:
        subject.spoil(number, whole)
    except Exception:  # noqa: BLE001 (of the libraries that write formats)
        return Outcome(subject.name, number, "no mutant", traceback.format_exc()[-1500:], 0)
    kind, said, mib = judge(subject)
    if kind == "refused" and subject.command:
        kind, said = _by_command(subject, said)
    return Outcome(
        subject.name, number, kind, said if len(said) < 2000 else f"{said[:500]} ... {said[-1400:]}", round(mib, 1)
    )


def judge(subject: Subject) -> tuple[str, str, float]:
    """Whether a file is right, refused or a fault; what was said of it; the MiB that it took."""
    with _terminal() as shown:
        before = _peak_mib(start=True)
        try:
            kind, said = ("right", "") if subject.is_right(subject.path) else ("wrong", "values other than the file's")
        except PlurimaskError as error:
            mib = _peak_mib() - before
            kind, said = _refusal(subject, error, mib)
            return (kind, said, mib) if kind != "refused" or not shown() else ("noisy", shown(), mib)
        except BaseException:  # noqa: BLE001 (anything but our errors is a fault)
            kind, said = "raised", traceback.format_exc()
    return kind, said, 0


def _refusal(subject: Subject, error: PlurimaskError, mib: float) -> tuple[str, str]:
    said, cause = str(error), error.__cause__ or error.__context__
    if not FOUR_PARTS.fullmatch(said) or not said.isprintable():
        return "not four parts", ascii(said)
    if subject.file.name not in said and subject.path.name not in said:
        return "not by name", said
    if PATIENT_NAME in said or PATIENT_ID in said:
        return "names a patient", said
    if len(said) > 1000:
        return "too long", f"{len(said)} characters: {said[:300]}"
    if mib > MOST_MIB or isinstance(cause, MemoryError):
        return "memory", f"{mib:.0f} MiB, {cause!r:.200}: {said}"
    return "refused", said


def _by_command(subject: Subject, before: str) -> tuple[str, str]:
    out = Path(tempfile.mkdtemp()) / "out"
    with _terminal() as shown:
        sys.argv = ["plurimask", *map(str, subject.command), "--out", str(out)]
        try:
            main()
            code: Any = "none"
        except SystemExit as stop:
            code = stop.code
        except BaseException:  # noqa: BLE001 (as above)
            code = traceback.format_exc()
        left = [path for path in out.rglob("*") if path.is_file()]
        shutil.rmtree(out.parent)
        lines = shown().splitlines()
    line = lines[0].removeprefix("plurimask: ") if lines else ""
    if code != 2 or len(lines) != 1 or line == lines[0] or not FOUR_PARTS.fullmatch(line):
        return "command", f"exit {code}: {shown()}; the reader said: {before}"
    return ("left files", str(left)) if left else ("refused", before)


@contextlib.contextmanager
def _terminal() -> Iterator[Callable[[], str]]:
    """All that reaches a terminal, from Python or from a library."""
    with tempfile.TemporaryFile("w+") as file:
        kept = [os.dup(number) for number in (1, 2)]
        streams = sys.stdout, sys.stderr
        sys.stdout = sys.stderr = file
        for number in (1, 2):
            os.dup2(file.fileno(), number)

        def shown() -> str:
            file.flush()
            return os.pread(file.fileno(), 2**20, 0).decode("utf-8", "replace")

        try:
            yield shown
        finally:
            file.flush()
            sys.stdout, sys.stderr = streams
            for number, copy in zip((1, 2), kept, strict=True):
                os.dup2(copy, number)
                os.close(copy)


def _peak_mib(*, start: bool = False) -> float:
    """The most memory since the last start; at a start, what is in use."""
    if start:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
