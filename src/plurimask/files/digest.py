"""One sha256 for a set of files: their names below a root, and their content."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from plurimask.files.stored import unreadable


def digest_files(root: Path, paths: Iterable[Path]) -> str:
    """sha256 (hex) over each file's name relative to `root` and its content, in the order given.

    Raises:
        InputError: a file that cannot be read.
    """
    whole = hashlib.sha256()
    for path in paths:
        whole.update(path.relative_to(root).as_posix().encode("utf-8", "surrogateescape") + b"\0")
        whole.update(bytes.fromhex(digest_file(path)))
    return whole.hexdigest()


def digest_file(path: Path) -> str:
    """sha256 (hex) of one file. Raises InputError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, "file", error) from error
