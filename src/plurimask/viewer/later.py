"""Parts that take seconds to import, imported when they are first needed, so that the first picture is there before."""

from importlib import import_module
from types import ModuleType


def sampling() -> ModuleType:
    """What draws."""
    return import_module("plurimask.sampling")


def evaluation() -> ModuleType:
    """What scores."""
    return import_module("plurimask.evaluation")
