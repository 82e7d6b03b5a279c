"""Put a table of every setting into docs/settings.md, between its markers: python tools/make_settings_page.py.

Defaults and values come from the types of the settings, the words from the docstrings of their classes.
"""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import annotated_types as limits
from griffe import Docstring
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from plurimask.diffusion.samplers import SamplerSettings
from plurimask.methods.method import BUILT_IN, method_class
from plurimask.training.recipe import Recipe, TrainingSettings

PAGE = Path(__file__).parents[1] / "docs/settings.md"
TABLES: dict[str, tuple[str, type[BaseModel]]] = {
    "recipe": ("", Recipe),
    "training": ("training.", TrainingSettings),
    "sampler": ("sampler.", SamplerSettings),
} | {name: ("method.", method_class(name).Settings) for name in BUILT_IN}
"""For each table of the page, how its keys begin, and the class of the settings."""
_SIGNS = {limits.Ge: "at least", limits.Gt: "above", limits.Le: "at most", limits.Lt: "below"}
_KINDS = {int: "a whole number", float: "a number", str: "a name", bool: "`true` or `false`"}


def main() -> None:
    """Write the page anew."""
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def filled(page: str) -> str:
    """The page with each of its tables made anew."""
    return re.sub(
        r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)",
        lambda found: found[1] + _table(*TABLES[found[2]]) + found[3],
        page,
        flags=re.DOTALL,
    )


def _table(prefix: str, settings: type[BaseModel]) -> str:
    return "| setting | default | values | meaning |\n| --- | --- | --- | --- |\n" + "".join(_rows(prefix, settings))


def _rows(prefix: str, settings: type[BaseModel]) -> Iterator[str]:
    words = _words(settings)
    for name, field in settings.model_fields.items():
        inner = [one for one in _parts(field.annotation) if inspect.isclass(one) and issubclass(one, BaseModel)]
        if name == "name" and prefix == "method.":  # which the heading says
            continue
        if inner and settings is not Recipe:  # whose tables have their own headings
            yield from _rows(f"{prefix}{name}.", inner[0])
        elif not inner:
            default = _value(field.get_default()) if not field.is_required() else "none"
            values = ", ".join([_kind(field.annotation), *_limits(field)])
            yield f"| `{prefix}{name}` | {default} | {values} | {words[name].replace('|', chr(92) + '|')} |\n"


def _words(settings: type[BaseModel]) -> dict[str, str]:
    """What the docstrings of a class and of those above it say of each field; one entry may name several."""
    words: dict[str, str] = {}
    for above in reversed(settings.__mro__):
        for section in Docstring(inspect.getdoc(above) or "").parse("google", warnings=False):
            if section.kind.value == "parameters":
                words |= {
                    name: " ".join(one.description.split()) for one in section.value for name in one.name.split(", ")
                }
    return words


def _parts(annotation: Any) -> list[Any]:
    if get_origin(annotation) in (Union, UnionType):
        return [part for one in get_args(annotation) for part in _parts(one)]
    return _parts(get_args(annotation)[0]) if hasattr(annotation, "__metadata__") else [annotation]


def _kind(annotation: Any) -> str:
    kinds = []
    for part in _parts(annotation):
        if get_origin(part) is Literal:
            kinds += [f"`{one}`" for one in get_args(part)]
        elif get_origin(part) is tuple:
            kinds.append("a list")
        elif part is not NoneType:
            kinds.append(_KINDS[part])
    return ", ".join(kinds)


def _limits(field: FieldInfo) -> list[str]:
    return [
        f"{sign} {getattr(one, kind.__name__.lower())}"
        for one in field.metadata
        for kind, sign in _SIGNS.items()
        if isinstance(one, kind)
    ]


def _value(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, tuple | list):
        return f"`[{', '.join(_value(one).strip('`') for one in value)}]`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


if __name__ == "__main__":
    main()
