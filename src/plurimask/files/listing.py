"""What lies in a folder, and the order of names that hold numbers."""

import re
from pathlib import Path

from plurimask.files.stored import unreadable


def list_visible(folder: Path) -> list[Path]:
    """What lies in a folder and is not hidden, sorted. Raises InputError for a folder that cannot be read."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise unreadable(folder, "folder", error) from error


def natural(text: str) -> list[str | int]:
    """A key to sort by, in which runs of digits compare as numbers: 2 before 10."""
    # They are at the odd positions, so that like is compared with like.
    return [int(part) if position % 2 else part for position, part in enumerate(re.split("([0-9]+)", text))]
