"""Case lists: text, one case name a line; blank lines and lines that start with # are ignored.

Lists in src/plurimask/lists ship with the package and are known by their names.
"""

from collections import Counter
from importlib.resources import files
from pathlib import Path

from plurimask.errors import InputError


def read_case_list(source: str) -> tuple[str, ...]:
    """The names of a built-in list (`lidc-eval-200`) or of a text file, in their order.

    Raises:
        InputError: neither a built-in list nor a readable text file, no name at all, or a name twice.
    """
    lines = (line.strip() for line in _read(source).splitlines())
    names = tuple(line for line in lines if line and not line.startswith("#"))
    if not names:
        raise InputError(source, expected="one case name a line", got="none", hint="list at least one case")
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        raise InputError(source, expected="every case once", got=f"{name} {times} times", hint="remove the others")
    return names


def _read(source: str) -> str:
    built_in = {Path(file.name).stem: file for file in (files("plurimask") / "lists").iterdir()}
    if source in built_in:
        return built_in[source].read_text(encoding="utf-8")
    try:
        return Path(source).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise InputError(
            source,
            expected=f"a text file, or one of the built-in lists: {', '.join(sorted(built_in))}",
            got=getattr(error, "strerror", None) or "no UTF-8 text",
            hint="check the name",
        ) from error
