"""Files as such: written whole or not at all, listed, hashed, and the error for one that cannot be read.

What is being written lies beside its target under a hidden name, with this host's name in it, and is locked as long as
its process lives. Whoever writes into the same folder later removes what processes of this host left there, and names
what lies there from other hosts.
"""

import ctypes
import fcntl
import hashlib
import logging
import math
import os
import platform
import re
import shutil
import tempfile
import textwrap
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from plurimask.errors import InputError, PlurimaskError, SettingsError

MOST_GIB, _USUAL_GIB = "PLURIMASK_MOST_GIB", 4.0


@dataclass(frozen=True, eq=False)
class Stored:
    """The values of one file.

    Args:
        values: (C, H, W[, D]) in the type of the file; a scale factor in its header is applied.
        affine: (4, 4), index (row, column, slice, 1) to RAS+ mm, or None where the file does not say.
        lossy: the file went through a compression that changes values (JPEG).
        placed: as of `Grid`.
    """

    values: np.ndarray
    affine: np.ndarray | None = None
    lossy: bool = False
    placed: bool = True


class OtherAxesError(InputError):
    """An array of other than two or three axes, of this `shape`."""

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        expected, hint = "one channel of size (H, W) or (H, W, D)", "write one file a channel: image0, image1, ..."
        super().__init__(path, expected=expected, got=f"size {shape}", hint=hint)
        self.shape = shape


def one_channel(path: Path, values: np.ndarray) -> np.ndarray:
    """An array (H, W) or (H, W, D) as (1, H, W[, D]); trailing axes of length one beyond the second are dropped.

    Raises:
        InputError: fewer than two axes, or more than three.
    """
    while values.ndim > 2 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim not in (2, 3):
        raise OtherAxesError(path, values.shape)
    return values[None]


def refuse_giant(path: str | Path, shape: Sequence[int], itemsize: int = 4) -> None:
    """THE bound on memory, asked before any is taken: a compressed file of a few MB may claim, and hold, far more.

    An array takes at most 4 GiB, or what the environment variable PLURIMASK_MOST_GIB says.

    Args:
        path: the file, for the error.
        shape, itemsize: of the array, in bytes an element.

    Raises:
        InputError: a larger array.
        SettingsError: a variable that is no number above 0.
    """
    said = os.environ.get(MOST_GIB, "")
    try:
        most = float(said or _USUAL_GIB)
    except ValueError:
        most = math.nan
    if not most > 0:
        raise SettingsError(MOST_GIB, expected="a number above 0", got=said, hint="correct it, or take it away")
    needed = math.prod(map(int, shape)) * itemsize / 2**30
    if needed > most:
        size = "x".join(map(str, shape))
        raise InputError(
            path,
            expected=f"at most {most:g} GiB of memory for an array",
            got=f"size {size}, which takes {needed:,.2f} GiB",
            hint=f"crop or resample it, or set {MOST_GIB}",
        )


@contextmanager
def readable(
    subject: str | Path,
    expected: str,
    hint: str = "check the path, or write the file again from its source",
    error: type[PlurimaskError] = InputError,
) -> Iterator[None]:
    """THE rule of what is damaged: whatever a library raises while it reads a file, which may be nearly anything.

    Nothing but reading belongs into the block. Our own errors pass as they are.

    Args:
        subject: the file.
        expected: such as "a readable NPY file".
        hint: what to do.
        error: raised in place of the library's, from it.
    """
    try:
        yield
    except PlurimaskError:
        raise
    except Exception as problem:
        got = f"'{reason(problem)}'"
        if isinstance(subject, Path) and _stands_for_another(subject):
            got, hint = "what only stands for it", "fetch it first: dvc pull, git annex get, or git lfs pull"
        raise error(subject, expected=expected, got=got, hint=hint) from problem


def _stands_for_another(path: Path) -> bool:
    """Whether a file is a link to nothing, or a few words in place of a link or of contents that are kept elsewhere."""
    try:
        if path.is_symlink() and not path.exists():
            return True
        with path.open("rb") as file:
            start = file.read(4096)
    except OSError:
        return False
    if len(start) > 1024 or not start.strip().isascii() or b"\0" in start:
        return False
    words = start.decode("ascii").strip()
    elsewhere = words.startswith(("version https://git-lfs.github.com", "/annex/objects/"))
    return elsewhere or ("/" in words and "\n" not in words and (path.parent / words).is_file())


def reason(error: Exception) -> str:
    """What a library said when it failed, in one line."""
    if isinstance(error, UnicodeDecodeError):
        return "no UTF-8 text"
    return textwrap.shorten(getattr(error, "strerror", None) or str(error) or type(error).__name__, 160)


_LEFT_BY_SYSTEMS = {
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information"),
    *(".ds_store", ".localized", ".spotlight-v100", ".trashes", ".fseventsd", "__macosx", "icon\r", "@eadir"),
}


def left_by_system(name: str) -> bool:
    """Whether a file or folder is one that Windows, macOS or a file server leaves beside those of people."""
    return name.lower() in _LEFT_BY_SYSTEMS or name.startswith("._")


def list_visible(folder: Path) -> list[Path]:
    """What lies in a folder, is not hidden and was not left by a system, sorted.

    Raises:
        InputError: a folder that cannot be read.
    """
    with readable(folder, "a readable folder"):
        return sorted(folder / name for name in _visible(os.listdir(folder)))


def walk(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Every folder from `root` down with the names of its files, as `list_visible` has them.

    Links are followed, each folder comes once.

    Raises:
        InputError: a folder that cannot be read.
    """

    def refuse(error: OSError) -> None:
        with readable(error.filename, "a readable folder"):
            raise error

    seen: set[str] = set()
    for folder, inner, names in os.walk(root, onerror=refuse, followlinks=True):
        place = os.path.realpath(folder)
        inner[:] = [] if place in seen else sorted(_visible(inner))
        if place not in seen:
            yield Path(folder), sorted(_visible(names))
        seen.add(place)


def _visible(names: Iterable[str]) -> Iterator[str]:
    return (name for name in names if not name.startswith(".") and not left_by_system(name))


def one_form(text: str) -> str:
    """A name in THE Unicode form in which names are compared, NFC; some systems write é as e and an accent."""
    return unicodedata.normalize("NFC", text)


def look_alike(text: str) -> str:
    """What is the same for texts that people take for one: width, case, spaces and what is not seen do not count."""
    seen = (char for char in unicodedata.normalize("NFKC", text).casefold() if unicodedata.category(char) != "Cf")
    return " ".join("".join(seen).split())


def difference(one: str, other: str) -> str:
    """Where two texts that may look alike differ first: "character 1: U+0050 against U+0070"."""
    place = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    found, wanted = (f"U+{ord(text[place]):04X}" if place < len(text) else "the end" for text in (one, other))
    return f"character {place + 1}: {found} against {wanted}"


def other_spelling(text: str, others: Iterable[str]) -> str:
    """`difference` to the one among the others that looks alike, in brackets; nothing where none does."""
    near = next((other for other in others if look_alike(other) == look_alike(text)), None)
    return "" if near is None else f" ({difference(text, near)})"


def natural(text: str) -> list[str | int]:
    """A key to sort by, in which runs of digits compare as numbers: 2 before 10."""
    # They are at the odd positions, so that like is compared with like.
    return [int(part) if position % 2 else part for position, part in enumerate(re.split("([0-9]+)", text))]


def digest_files(root: Path, paths: Iterable[Path]) -> str:
    """sha256 (hex) over each file's name relative to `root` and its content, in the order given.

    Raises:
        InputError: a file that cannot be read.
    """
    whole = hashlib.sha256()
    for path in paths:
        whole.update(one_form(path.relative_to(root).as_posix()).encode("utf-8", "surrogateescape") + b"\0")
        whole.update(bytes.fromhex(digest_file(path)))
    return whole.hexdigest()


def digest_file(path: Path) -> str:
    """sha256 (hex) of one file. Raises InputError where it cannot be read."""
    with readable(path, "a readable file"), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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


def check_room(folder: Path, needed: int = 0) -> None:
    """Refuse, before the work, a folder that cannot be written, or a disk with less than `needed` bytes left.

    Raises:
        SettingsError: too little room, or a file where a folder has to be.
        OSError: as the file system does (no permission, read-only); it names a path.
    """
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir():
        raise SettingsError(folder, expected="a folder", got=f"a file, {there}", hint="name another --out")
    try:
        with tempfile.TemporaryDirectory(dir=there.parent if there == folder else there, prefix=".plurimask-"):
            free = shutil.disk_usage(there).free
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
        with _beside(folder / "new", None) as fresh:
            yield fresh
            written = sorted(fresh.iterdir())
            for path in written:
                path.replace(folder / path.name)
            for name in set(former) - {path.name for path in written}:
                (folder / name).unlink(missing_ok=True)
    finally:
        if made and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def check_usable(folder: Path) -> None:
    """Refuse, before any work, a folder that nothing can be written to.

    Raises:
        SettingsError: a file.
        OSError: as the file system does.
    """
    check_free(folder, ours=lambda name: True)
    with files_together(folder):
        pass


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
