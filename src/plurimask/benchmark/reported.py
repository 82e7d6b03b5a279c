"""Figures that the paper reports, to stand beside ours; its split and conventions are not ours."""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

KEYS = {"ged": "ged_v", "ci": "ci", "dice_max": "dice_max"}
"""The paper's columns, and which of our values each is."""


def reported_figures(dataset: str | None) -> Mapping[str, Mapping[str, float]]:
    """By the paper's name of a method its `ged`, `ci` and `dice_max` on a dataset of the paper; empty for any other."""
    return {} if dataset is None else _tables().get(dataset, {})


@cache
def _tables() -> dict[str, Any]:
    return tomllib.loads((files("plurimask") / "benchmark" / "reported.toml").read_text(encoding="utf-8"))
