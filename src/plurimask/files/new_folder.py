"""A folder of many files that is either whole or not there."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from plurimask.errors import DatasetError


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to write into that becomes `path` when the block ends well, and vanishes when it does not.

    Raises DatasetError where `path` holds something already, and OSError as the file system does.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise DatasetError(path, expected="a new or empty folder", got="one in use", hint="name another --out")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as temporary:
        work = Path(temporary) / "whole"
        work.mkdir()
        yield work
        work.replace(path)
