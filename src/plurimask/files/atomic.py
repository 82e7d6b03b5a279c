"""Writing so that a file, or a folder of files, is either whole or not there."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from plurimask.errors import SettingsError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its name when the block ends well, and vanishes when it does not.

    The parent folder is made where it is missing. Raises OSError as the file system does (disk full, no permission).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _to_disk(temporary)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


Ours = Callable[[str], object]
"""Whether a file or folder of this name, right below, may be replaced."""


def check_free(folder: Path, ours: Ours = lambda name: False, that: str = "") -> None:
    """Refuse a folder that holds what nobody said may be replaced.

    Args:
        folder: that is to be written; it need not be there.
        ours: what may be in it.
        that: whose folder that makes it, for the error, such as "that of a panel".

    Raises:
        SettingsError: a folder that holds anything else, or a file.
        OSError: as the file system does.
    """
    if not folder.exists():
        return
    held = [f"{name} in it" for name in sorted(os.listdir(folder)) if not ours(name)] if folder.is_dir() else ["a file"]
    if held:
        expected = "a new or empty folder" + (f", or {that}" if that else "")
        raise SettingsError(folder, expected=expected, got=held[0], hint="name another --out")


@contextmanager
def atomic_folder(folder: Path, ours: Ours = lambda name: False, that: str = "") -> Iterator[Path]:
    """A temporary folder beside `folder` that takes its place when the block ends well, and vanishes when it does not.

    What `folder` held before is gone afterwards. Between two renames the name is absent for an instant.

    Args:
        folder: its parents are made where they are missing; of a link, the folder it leads to.
        ours, that: what may be replaced, as `check_free` has it.

    Raises:
        SettingsError: as `check_free`, before the block and once more after it; or the root of a file system.
        OSError: as the file system does (disk full, no permission).
    """
    check_free(folder, ours, that)
    if os.path.ismount(folder):
        got = "the root of a file system"
        raise SettingsError(folder, expected="one that can be renamed", got=got, hint="name a folder in it as --out")
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as place:
        fresh, former = Path(place, "new"), Path(place, "old")
        fresh.mkdir()
        yield fresh
        for path in fresh.rglob("*"):
            if path.is_file():
                _to_disk(path)
        check_free(folder, ours, that)
        _replace(folder, fresh, former)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write `content`, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def _replace(folder: Path, fresh: Path, former: Path) -> None:
    if folder.exists():
        folder.rename(former)
    try:
        fresh.rename(folder)
    except OSError:
        if former.exists():
            former.rename(folder)
        raise


def _to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
