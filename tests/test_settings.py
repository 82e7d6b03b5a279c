"""Settings: how values, keys and files that are wrong become one line each."""

from typing import Annotated, ClassVar, Literal

import pytest
from pydantic import BeforeValidator, Field, model_validator

from plurimask.errors import InputError, SettingsError
from plurimask.settings import Natural, Positive, Rate, Settings, Share, Shipped, Widths, parse, unknown, wrong


class Window(Settings):
    kind: str

    @classmethod
    def variant(cls, table):
        return {"round": Round, "square": Square}.get(table["kind"], cls) if cls is Window else cls


class Round(Window):
    kind: Literal["round"] = "round"
    radius: Rate = 1.0


class Square(Window):
    removed: ClassVar[dict[str, str]] = {"edge": "give side"}
    fixed: ClassVar[dict[str, object]] = {"corners": 4}

    kind: Literal["square"] = "square"
    side: Positive = 1


def by_kind(table):
    if table["kind"] not in ("round", "square"):
        raise unknown("kind", table["kind"], ["round", "square"])
    return Window.variant(table).model_validate(table)


class Part(Settings):
    widths: Widths = (1,)
    share: Share = 0.0


class House(Settings):
    also: ClassVar[tuple[str, ...]] = ("base",)

    name: Annotated[str, Field(pattern="^[a-z]+$")]
    floors: Natural = 1
    open: bool = True
    window: Annotated[Window, BeforeValidator(by_kind)] = Round()
    roof: Part | None = None
    parts: tuple[Part, ...] = ()
    height: Rate | tuple[Rate, ...] = 1.0

    @model_validator(mode="after")
    def _stands(self) -> "House":
        if self.floors > 9:
            raise wrong("at most 9 floors", got=self.floors)
        return self


@pytest.mark.parametrize(
    ("tree", "line"),
    [
        ({}, "own: name: expected a value, got none; correct it"),
        ({"name": 3}, "own: name: expected text, got 3; correct it"),
        ({"name": "A"}, "own: name: expected text like ^[a-z]+$, got 'A'; correct it"),
        ({"name": "a", "floors": -1}, "own: floors: expected a number of at least 0, got -1; correct it"),
        ({"name": "a", "floors": 1.5}, "own: floors: expected a whole number, got 1.5; correct it"),
        ({"name": "a", "floors": 10}, "own: expected at most 9 floors, got 10; correct it"),
        ({"name": "a", "open": "who"}, "own: open: expected true or false, got 'who'; correct it"),
        ({"name": "a", "roof": 3}, "own: roof: expected a table, got 3; correct it"),
        ({"name": "a", "roof": {"share": 1}}, "own: roof.share: expected a number below 1, got 1; correct it"),
        ({"name": "a", "roof": {"widths": []}}, "own: roof.widths: expected 1 or more values, got []; correct it"),
        ({"name": "a", "roof": {"widths": 3}}, "own: roof.widths: expected a list, got 3; correct it"),
        (
            {"name": "a", "parts": [{}, {"widths": [1, 0]}]},
            "own: parts.1.widths.1: expected a number of at least 1, got 0; correct it",
        ),
        (
            {"name": "a", "window": {"kind": "round", "radius": 0}},
            "own: window.radius: expected a number above 0, got 0; correct it",
        ),
        (
            {"name": "a", "window": {"kind": "round", "radius": float("nan")}},
            "own: window.radius: expected a finite number, got nan; correct it",
        ),
        ({"name": "a", "height": 0}, "own: height: expected a number above 0, got 0; correct it"),
        (
            {"name": "a", "window": {"kind": "rond"}},
            "own: window.kind: expected one of round, square, got rond; did you mean round?",
        ),
        (
            {"name": "a", "window": {"kind": "square", "radius": 1}},
            "own: window.radius: expected one of kind, side, got radius; see docs/recipes.md",
        ),
        (
            {"name": "a", "parts": [{"width": 1}]},
            "own: parts.0.width: expected one of widths, share, got width; did you mean parts.0.widths?",
        ),
        (
            {"name": "a", "window": {"kind": "square", "edge": 1}},
            "own: window.edge: expected a setting of this version, got one that was removed; give side",
        ),
    ],
)
def test_a_wrong_value_is_one_line(tree, line):
    with pytest.raises(SettingsError) as error:
        parse(House, tree, "own")
    assert str(error.value) == line


def test_a_key_that_is_no_setting_any_more_may_say_what_it_now_always_is():
    tree = {"name": "a", "window": {"kind": "square", "corners": 4}}
    assert parse(House, tree, "own").window == Square()
    assert tree["window"] == {"kind": "square", "corners": 4}
    with pytest.raises(
        SettingsError,
        match=r"^own: window\.corners: expected 4, its only value in this version, got 5; leave it out$",
    ):
        parse(House, {"name": "a", "window": {"kind": "square", "corners": 5}}, "own")


def test_a_misspelt_key_comes_before_what_it_leaves_unset():
    with pytest.raises(SettingsError, match=r"own: nam: .* did you mean name\?$"):
        parse(House, {"nam": "a"}, "own")


def test_a_key_that_the_reader_of_the_file_takes_out_is_known_too():
    with pytest.raises(SettingsError, match=r"one of name, .*, height, base, got bas; did you mean base\?$"):
        parse(House, {"name": "a", "bas": "b"}, "own")


def test_a_long_value_is_cut():
    with pytest.raises(SettingsError, match=r"got 'x{96}\.\.\.; correct it$"):
        parse(House, {"name": "a", "floors": "x" * 1000}, "own")


def test_the_kind_of_error_is_the_callers():
    with pytest.raises(InputError, match="own: name"):
        parse(House, {}, "own", InputError)


def write(path, content):
    path.write_bytes(content)
    return str(path)


def test_toml_as_windows_saves_it_is_read(tmp_path):
    text = "a = 1\r\n[b]\r\nc = 'ä'\r\n"
    with_mark = write(tmp_path / "own.toml", text.encode("utf-8-sig"))
    assert Shipped("recipe").read(with_mark) == {"a": 1, "b": {"c": "ä"}}


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (b"a = 1\n[b\n", r".*line 2.*"),
        ("# Schädel\n".encode("latin-1"), "'utf-8' codec.*"),
        (b"a = " + b"1" * 5000, "Exceeds the limit.*"),
        (b"a = " + b"[" * 100_000, ".*recursion.*"),
    ],
)
def test_broken_toml_is_refused(tmp_path, content, got):
    with pytest.raises(SettingsError, match=rf"own\.toml: expected TOML, got {got}; mend that line"):
        Shipped("recipe").read(write(tmp_path / "own.toml", content))
