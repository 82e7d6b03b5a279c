"""The errors a user may meet. Each is one line: what was expected, what came, what to do next.

`need` imports a package that only some users have installed, or says how to install it.
"""

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

_LONGEST = 600


def plural(count: int, noun: str) -> str:
    """`1 case`, `2 cases`."""
    return f"{count} {noun}{'s' * (count != 1)}"


class PlurimaskError(Exception):
    """Base of every error that plurimask raises on purpose; the command line prints it and exits with 2.

    The message reads ``subject: expected ..., got ...; hint``. Characters that cannot be printed stand as escapes, and
    of what came the middle is left out where it is long.
    """

    def __init__(self, subject: str | Path, *, expected: str, got: str, hint: str) -> None:
        shown = got if len(got) <= _LONGEST else f"{got[: _LONGEST - 100]} ... {got[-80:]}"
        line = " ".join(f"{subject}: expected {expected}, got {shown}; {hint}".split())
        # What a file says may not move the cursor of a terminal, or turn the direction of its text.
        super().__init__("".join(char if char.isprintable() else ascii(char)[1:-1] for char in line))

    def __reduce__(self) -> tuple[Any, ...]:
        """How it is sent to another process: as its line, and what else it holds."""
        return Exception.__new__, (type(self), str(self)), self.__dict__


class InputError(PlurimaskError):
    """An image, mask, record or file that cannot be taken as it is."""


class DatasetError(PlurimaskError):
    """A dataset, or a split of one, that cannot be used."""


class SettingsError(PlurimaskError):
    """A setting or recipe that is unknown or out of range."""


class CheckpointError(PlurimaskError):
    """Weights, a checkpoint or a run folder that cannot be loaded."""


class MissingPackageError(PlurimaskError):
    """An optional package that is not installed."""


def need(module: str, extra: str) -> ModuleType:
    """The module `module`, of a package that comes with `pip install "plurimask[extra]"`.

    Raises:
        MissingPackageError: the package is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            module, expected="its package", got="none installed", hint=f'run pip install "plurimask[{extra}]"'
        ) from error


def duration(seconds: float) -> str:
    """In the two largest units that matter: 40 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
