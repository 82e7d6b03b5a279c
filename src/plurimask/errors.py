"""The errors a user may meet. Each is one line: what was expected, what came, what to do next.

`need` imports a package that only some users have installed, or says how to install it.
"""

from importlib import import_module
from pathlib import Path
from types import ModuleType


class PlurimaskError(Exception):
    """Base of every error that plurimask raises on purpose; the command line prints it and exits with 2.

    The message reads ``subject: expected ..., got ...; hint``.
    """

    def __init__(self, subject: str | Path, *, expected: str, got: str, hint: str) -> None:
        line = f"{subject}: expected {expected}, got {got}; {hint}"
        super().__init__(" ".join(line.split()))


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
