"""Files and folders written whole or not at all.

What is being written lies beside its target under a hidden name, with this host's name in it, and is locked as long as
its process lives. Whoever writes into the same folder later removes what processes of this host left there, and names
what lies there from other hosts.
"""

import ctypes
import fcntl
import logging
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TypeVar

from plurimask.errors import PlurimaskError, SettingsError
from plurimask.files.stored import left_by_system


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its name when the block ends well, and vanishes when it does not.

    The parent folder is made where it is missing. Raises OSError, which names a path, as the file system does (disk
    full, no permission).
    """
    with _beside(path, path.suffix) as temporary:
        yield temporary
        _to_disk(temporary)
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)


_TRIES = 100
Found = TypeVar("Found")
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
    names = [name for name in sorted(os.listdir(folder)) if not left_by_system(name)] if folder.is_dir() else []
    held = [f"{name} in it" for name in names if not ours(name)] if folder.is_dir() else ["a file"]
    if held:
        expected = "a new or empty folder" + (f", or {that}" if that else "")
        raise SettingsError(folder, expected=expected, got=held[0], hint="name another --out")


def check_outside(out: Path, root: Path) -> None:
    """Raises SettingsError for an `out` inside the folder that is read: the next run would read it as data."""
    if root.is_dir() and out.resolve().is_relative_to(root.resolve()):
        got, hint = "one inside it", "name another --out; what is written there would be read as data"
        raise SettingsError(out, expected=f"a place outside {root}, which is read", got=got, hint=hint)


def check_room(folder: Path, needed: int = 0) -> None:
    """Refuse, before the work, a folder that nothing can be written into, or a disk with less than `needed` bytes left.

    The folder need not be there, and is not made. What a killed process of this host left in it goes.

    Raises:
        SettingsError: too little room, or a file where a folder has to be.
        OSError: as the file system does (no permission, read-only); it names a path.
    """
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists() or place.is_symlink())
    if not there.is_dir():
        got = f"{'a file' if there.exists() else 'a link to nothing'}, {there}"
        raise SettingsError(folder, expected="a folder", got=got, hint="name another --out")
    try:
        with _beside(there / "room", None) as temporary:
            free = shutil.disk_usage(temporary).free
    except OSError as error:
        error.filename = str(there)
        raise
    if free < needed:
        got = f"{free / 2**20:,.1f} MiB free"
        raise SettingsError(
            folder,
            expected=f"room for {needed / 2**20:,.1f} MiB",
            got=got,
            hint="free some, draw less, or name another --out",
        )


@contextmanager
def atomic_folder(folder: Path, ours: Ours = lambda name: False, that: str = "") -> Iterator[Path]:
    """A temporary folder beside `folder` that takes its place when the block ends well, and vanishes when it does not.

    What `folder` held before is gone afterwards. Where the file system can exchange two names, the name is never
    absent; elsewhere it is for an instant.

    Args:
        folder: its parents are made where they are missing; of a link, the folder it leads to.
        ours, that: what may be replaced, as `check_free` has it.

    Raises:
        SettingsError: as `check_free`, before the block and once more after it; a folder that another process wrote or
            changed while the block ran; or the root of a file system.
        OSError: as the file system does (disk full, no permission); it names a path.
    """
    check_free(folder, ours, that)
    if os.path.ismount(folder):
        got = "the root of a file system"
        raise SettingsError(folder, expected="one that can be renamed", got=got, hint="name a folder in it as --out")
    folder = folder.resolve()
    before = _identity(folder)
    with _beside(folder, None) as temporary:
        fresh = temporary / "new"
        fresh.mkdir()
        yield fresh
        for path in fresh.rglob("*"):
            if path.is_file():
                _to_disk(path)
        with _alone_in(folder.parent):
            check_free(folder, ours, that)
            if _identity(folder) != before:
                raise SettingsError(
                    folder,
                    expected="the folder as it was when this began",
                    got="what another process wrote there",
                    hint="name another --out, or run again",
                )
            _replace(folder, fresh, temporary / "old")


@contextmanager
def files_together(folder: Path, former: Iterable[str] = ()) -> Iterator[Path]:
    """A temporary folder whose files take their places in `folder` right after each other when the block ends well.

    So a folder that was filled before is never half of one run and half of another. What else it holds stays.

    Args:
        folder: made where it is missing.
        former: names that an earlier run may have written; those that this one did not write go.

    Raises:
        OSError: as the file system does (disk full, no permission).
    """
    made = not folder.exists()
    try:
        with _beside(folder / "new", None) as temporary:
            fresh = temporary / "new"  # who writes a file locks the folder around it, and `temporary` is locked
            fresh.mkdir()
            yield fresh
            written = sorted(fresh.iterdir())
            for path in written:
                path.replace(folder / path.name)
            for name in set(former) - {path.name for path in written}:
                (folder / name).unlink(missing_ok=True)
    finally:
        if made and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def read_together(folder: Path, read: Callable[[], Found]) -> Found:
    """What `read` makes of the files of a folder, all of them of one run.

    It is called again where the folder was replaced meanwhile, whatever it gave or raised.
    """
    for _ in range(_TRIES):
        before = _identity(folder)
        try:
            found = read()
        except PlurimaskError:
            if _identity(folder) == before:
                raise
        else:
            if _identity(folder) == before:
                return found
    return read()


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write `content`, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def _identity(folder: Path) -> tuple[int, int] | None:
    found = folder.stat() if folder.exists() else None
    return found and (found.st_ino, found.st_mtime_ns)


def _replace(folder: Path, fresh: Path, former: Path) -> None:
    if not folder.exists() or not os.listdir(folder):
        fresh.rename(folder)  # which fails where another process has put anything there
    elif not _exchanged(folder, fresh):
        try:
            folder.rename(former)
            fresh.rename(folder)
        except BaseException:
            if former.exists() and not folder.exists():
                former.rename(folder)
            raise


def _exchanged(one: Path, other: Path) -> bool:
    """Exchange two names at once, where the system can."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)  # of Linux, which Python does not have
    here, exchange = -100, 2
    return rename is not None and rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0


_HOST = re.sub(r"\W", "-", platform.node()) or "unknown"
_LEFT = re.compile(r"\.(?P<name>.+)\.(?P<host>[\w-]+)\.plurimask-\w{8}(\.\w+)?")


@contextmanager
def _beside(path: Path, suffix: str | None) -> Iterator[Path]:
    """A temporary file with this suffix, or a folder (None), locked until it vanishes at the end of the block."""
    prefix = f".{path.name}.{_HOST}.plurimask-"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone_in(path.parent):
            _clear(path.parent)
            if suffix is None:
                temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=prefix))
            else:
                handle, name = tempfile.mkstemp(dir=path.parent, prefix=prefix, suffix=suffix)
                os.close(handle)
                temporary = Path(name)
            lock = _lock(temporary)
        try:
            yield temporary
        finally:
            _remove(temporary)
            os.close(lock)
    except OSError as error:
        error.filename = error.filename or str(path)  # that a disk is full is said without one
        raise


def _lock(path: Path, how: int = fcntl.LOCK_EX | fcntl.LOCK_NB) -> int:
    """A handle that holds a lock as long as it is open, where the file system has locks."""
    handle = os.open(path, os.O_RDONLY)
    with suppress(OSError):
        fcntl.flock(handle, how)
    return handle


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """No other process of this host is in such a block of the same folder."""
    lock = _lock(folder, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(lock)


@cache  # once a process: folders may hold many cases
def _clear(folder: Path) -> None:
    """Remove what was being written by processes of this host that have ended, as their locks show."""
    for left in list(folder.iterdir()):
        match = _LEFT.fullmatch(left.name)
        if match is None:
            continue
        if match["host"] != _HOST:
            line = "%s: left by a process on %s; remove it if nothing is written from there"
            logging.getLogger("plurimask").warning(line, left, match["host"])
            continue
        with suppress(OSError):
            handle = os.open(left, os.O_RDONLY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                target = folder / match["name"]
                if (left / "old").exists() and not target.exists():  # ended between two renames
                    (left / "old").rename(target)
                _remove(left)
            finally:
                os.close(handle)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
