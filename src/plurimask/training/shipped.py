"""Settings in TOML that ship with the package or lie in a file, and what is wrong with them in a few words."""

import tomllib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from plurimask.errors import SettingsError


@dataclass(frozen=True)
class Shipped:
    """The TOML files of one kind.

    Args:
        kind: as errors name one, `recipe` or `suite`; they lie in the package's folder of that name with an s.
    """

    kind: str

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
            return tomllib.loads(self._content(source).decode())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(source, expected="TOML", got=str(error), hint="mend that line") from None

    def _content(self, source: str) -> bytes:
        path = Path(source)
        if path.suffix == ".toml":
            if not path.is_file():
                raise SettingsError(source, expected=f"a {self.kind} file", got="no such file", hint=self.known)
            return path.read_bytes()
        if source not in self.names:
            expected = f"a shipped {self.kind} or a .toml file"
            raise SettingsError(self.kind, expected=expected, got=source, hint=self.known)
        return bytes((self._folder / f"{source}.toml").read_bytes())

    @property
    def _folder(self) -> Any:
        return files("plurimask") / f"{self.kind}s"


def first_error(error: ValidationError) -> ErrorDetails:
    """The one to tell. A misspelt key comes first: what it leaves unset is only its consequence."""
    return min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")


def expected_and_got(error: ErrorDetails) -> tuple[str, str]:
    """Our own validators say "expected, not what came"; pydantic's say the first half, and the input is the second."""
    expected, _, got = error["msg"].removeprefix("Value error, ").rpartition(", not ")
    if expected:
        return expected, got
    return got.replace("Field required", "a value"), "none" if error["type"] == "missing" else repr(error["input"])
