"""Packages that only some users need, imported when they are first needed."""

from importlib import import_module
from types import ModuleType

from plurimask.errors import MissingPackageError


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
