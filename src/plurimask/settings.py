"""Settings: typed, frozen, without unknown keys. A wrong one becomes one line: where, what was expected, what came."""

import difflib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from plurimask.errors import PlurimaskError, SettingsError

MOST = 2**31 - 1
Natural = Annotated[int, Field(ge=0, le=MOST)]
Positive = Annotated[int, Field(ge=1, le=MOST)]
Layers = Annotated[int, Field(ge=1, le=100)]
"""Of a net, which is built one by one."""
Patch = Annotated[int, Field(ge=1, le=16)]
Widths = Annotated[tuple[Positive, ...], Field(min_length=1, max_length=16)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]

AnyModel = TypeVar("AnyModel", bound=BaseModel)


class Settings(BaseModel):
    """Base of all settings.

    Attributes:
        removed: keys of earlier versions, and the hint that says what replaces each.
        fixed: keys of earlier versions, and the one value that each still has. Recipes and headers that say it are
            read; another value is refused.
        also: keys of the file that are no fields; whoever reads the file takes them out before `parse`.
        docs: where the keys are explained.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    removed: ClassVar[Mapping[str, str]] = {}
    fixed: ClassVar[Mapping[str, object]] = {}
    also: ClassVar[tuple[str, ...]] = ()
    docs: ClassVar[str] = "docs/recipes.md"

    @model_validator(mode="before")
    @classmethod
    def _without_fixed(cls, table: Any) -> Any:
        if not isinstance(table, dict):
            return table
        for key in cls.fixed.keys() & table.keys():
            if table[key] != cls.fixed[key]:
                expected = f"{json.dumps(cls.fixed[key])}, its only value in this version"
                raise wrong(expected, got=table[key], key=key, hint="leave it out")
        return {key: value for key, value in table.items() if key not in cls.fixed}

    @classmethod
    def variant(cls, table: object) -> "type[Settings]":
        """The class of a table where this one is declared; other than this one where classes are found by name."""
        return cls


def wrong(expected: str, got: object, key: str = "", hint: str = "correct it") -> PydanticCustomError:
    """What a validator raises: the parts of the line that `parse` makes of it; `key` is one of the validated table."""
    shown = got if isinstance(got, str) else _shown(got)
    context = {"expected": expected, "got": shown, "key": key, "hint": hint}
    return PydanticCustomError("wrong", f"{key} {{expected}}, not {{got}}".lstrip(), context)


def unknown(key: str, word: object, known: Sequence[str]) -> PydanticCustomError:
    """What a validator of a table raises where its `key` is none of the known words; the nearest of them is offered."""
    hint = _nearest(word, known) if isinstance(word, str) else None
    return wrong(f"one of {', '.join(known)}", word, key, hint or "")


def parse(
    model: type[AnyModel], tree: object, source: str | Path, refusal: type[PlurimaskError] = SettingsError
) -> AnyModel:
    """Settings from plain values; `source` names where they stand. Raises `refusal` for the first value that is wrong.

    A misspelt key comes first, since what it leaves unset is only its consequence.
    """
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
        raise _explain(model, tree, first, str(source), refusal) from None


def first_difference(before: object, now: object, keys: tuple[str, ...] = ()) -> tuple[str, Any, Any] | None:
    """The first key (dotted) at which two trees of plain values differ, with both values; None where none does."""
    if not (isinstance(before, Mapping) and isinstance(now, Mapping)):
        return None if before == now else (".".join(keys), before, now)
    parts = (first_difference(before.get(key), now.get(key), (*keys, key)) for key in dict.fromkeys([*before, *now]))
    return next(filter(None, parts), None)


@dataclass(frozen=True)
class Shipped:
    """The TOML files of one kind.

    Args:
        kind: as errors name one, `recipe` or `suite`; they lie in the package's folder of that name with an s.
        renamed: names of earlier versions, and those of today.
    """

    kind: str
    renamed: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Those that ship, sorted."""
        found = (entry.name for entry in self._folder.iterdir())
        return sorted(name.removesuffix(".toml") for name in found if name.endswith(".toml"))

    @property
    def known(self) -> str:
        """Their names, as a hint."""
        return f"shipped: {', '.join(self.names)}"

    def read(self, source: str) -> dict[str, Any]:
        """What one says, by its name or by the path of a .toml file. Raises SettingsError for none, or broken TOML."""
        try:
            return tomllib.loads(self._content(source).decode("utf-8-sig"))
        # Numbers of thousands of digits are a ValueError of their own, tables in tables without end a RecursionError.
        except (ValueError, RecursionError) as error:
            raise SettingsError(source, expected="TOML", got=str(error), hint="mend that line") from None
        except OSError as error:
            raise SettingsError(source, expected="a readable file", got=str(error), hint="check the path") from None

    def _content(self, source: str) -> bytes:
        path, name = Path(source), self.renamed.get(source, source)
        if path.suffix == ".toml":
            if not path.is_file():
                raise SettingsError(source, expected=f"a {self.kind} file", got="no such file", hint=self.known)
            return path.read_bytes()
        if name not in self.names:
            expected = f"a shipped {self.kind} or a .toml file"
            raise SettingsError(self.kind, expected=expected, got=source, hint=self.known)
        return bytes((self._folder / f"{name}.toml").read_bytes())

    @property
    def _folder(self) -> Any:
        return files("plurimask") / f"{self.kind}s"


def _explain(
    model: type[BaseModel], tree: object, error: ErrorDetails, source: str, refusal: type[PlurimaskError]
) -> PlurimaskError:
    keys, table = _walk(model, tree, error["loc"])
    docs = f"see {getattr(model, 'docs', 'the documentation')}"
    parts = error["ctx"] if error["type"] == "wrong" else {}
    keys = [*keys, *filter(None, [parts.get("key")])]
    where = f"{source}: {'.'.join(keys)}" if keys else source
    if parts:
        return refusal(where, expected=parts["expected"], got=parts["got"], hint=parts["hint"] or docs)
    if error["type"] == "extra_forbidden":
        *above, key = keys
        if key in getattr(table, "removed", {}):
            return refusal(
                where, expected="a setting of this version", got="one that was removed", hint=table.removed[key]
            )
        fields = [*table.model_fields, *getattr(table, "also", ())]
        hint = _nearest(key, fields, "".join(f"{part}." for part in above)) or docs
        return refusal(where, expected=f"one of {', '.join(fields)}", got=key, hint=hint)
    got = "none" if error["type"] == "missing" else _shown(error["input"])
    return refusal(where, expected=_expected(error), got=got, hint="correct it")


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a whole number of thousands of digits, tables in tables without end
        return "one too large to show"
    return text if len(text) <= 100 else f"{text[:97]}..."


def _nearest(word: str, known: Sequence[str], above: str = "") -> str | None:
    nearest = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {above}{nearest[0]}?" if nearest else None


_EXPECTED = {
    "missing": "a value",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "string_pattern_mismatch": "text like {pattern}",
    "greater_than": "a number above {gt:g}",
    "greater_than_equal": "a number of at least {ge:g}",
    "less_than": "a number below {lt:g}",
    "less_than_equal": "a number of at most {le:g}",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "dict_type": "a table",
    "list_type": "a list",
    "tuple_type": "a list",
    "too_short": "{min_length} or more values",
    "too_long": "at most {max_length} values",
    "literal_error": "{expected}",
}
"""In our words what pydantic calls by these types."""


def _expected(error: ErrorDetails) -> str:
    template = _EXPECTED.get(error["type"])
    return error["msg"].removeprefix("Value error, ") if template is None else template.format(**error.get("ctx", {}))


def _walk(model: type[BaseModel], tree: Any, place: tuple[int | str, ...]) -> tuple[list[str], Any]:
    """The keys as a file has them, and the class of the table that the last one stands in.

    Between them pydantic names the types of unions, which no file has.
    """
    keys: list[str] = []
    table: type[BaseModel] = model
    here: type[BaseModel] | None = model
    for number, part in enumerate(place):
        field = here.model_fields.get(str(part)) if here else None
        if here and (field or (isinstance(part, str) and number == len(place) - 1)):
            keys, table = [*keys, str(part)], here
        elif isinstance(part, int):
            keys.append(str(part))
        if field:
            tree = tree.get(part) if isinstance(tree, dict) else None
            here = next(iter(_models(field.annotation)), None)
            here = here.variant(tree) if here and issubclass(here, Settings) else here
    return keys, table


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The classes of settings in an annotation: that of `Model | None`, or of a tuple of one."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]
