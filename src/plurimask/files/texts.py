"""Tables and trees of plain values as the text of CSV and JSON files."""

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV, each ended by a line feed; the first is the header. None and NaN are empty fields.

    Text that a spreadsheet would run as a formula stands behind an apostrophe, which `plain_cell` takes away.
    """
    lines = []
    for row in rows:
        line = io.StringIO(newline="")
        # It quotes cells that hold a character of its line's end, and a cell may hold either of the two.
        csv.writer(line, lineterminator="\r\n").writerow([_harmless(cell) for cell in _null_for_nan(row)])
        lines.append(line.getvalue().removesuffix("\r\n"))
    return "".join(f"{line}\n" for line in lines)


def _harmless(cell: object) -> object:
    if not (isinstance(cell, str) and _FORMULA.match(cell)):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def plain_cell(cell: str) -> str:
    """The text of a cell that `csv_text` wrote, as it was before."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def json_text(content: Mapping[str, object]) -> str:
    """A tree of plain values as indented JSON, ended by a line feed. NaN is null."""
    return json.dumps(_null_for_nan(content), indent=2, allow_nan=False) + "\n"


def _null_for_nan(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {key: _null_for_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_null_for_nan(value) for value in content]
    return None if isinstance(content, float) and math.isnan(content) else content
