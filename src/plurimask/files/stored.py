"""Files as such: written whole or not at all, listed, hashed, and the error for one that cannot be read."""

import csv
import hashlib
import io
import json
import math
import os
import re
import tempfile
import textwrap
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from plurimask.errors import InputError, PlurimaskError, SettingsError

_MOST_VOXELS = 2**30  # 1024 cubed; a compressed file of a few MB can claim, and hold, far more


@dataclass(frozen=True, eq=False)
class Stored:
    """The values of one file.

    Args:
        values: (C, H, W[, D]) in the type of the file; a scale factor in its header is applied.
        affine: (4, 4), index (row, column, slice, 1) to RAS+ mm, or None where the file does not say.
        lossy: the file went through a compression that changes values (JPEG).
    """

    values: np.ndarray
    affine: np.ndarray | None = None
    lossy: bool = False


def one_channel(path: Path, values: np.ndarray) -> np.ndarray:
    """An array (H, W) or (H, W, D) as (1, H, W[, D]); trailing axes of length one beyond the second are dropped.

    Raises:
        InputError: fewer than two axes, or more than three.
    """
    while values.ndim > 2 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim not in (2, 3):
        raise InputError(
            path,
            expected="one channel of size (H, W) or (H, W, D)",
            got=f"size {values.shape}",
            hint="write one file a channel: image0, image1, ...",
        )
    return values[None]


def refuse_giant(path: Path, shape: tuple[int, ...]) -> None:
    """Before memory is taken: raises InputError for a size that its file may claim, but no study has."""
    if math.prod(shape) > _MOST_VOXELS:
        raise InputError(
            path, expected=f"at most {_MOST_VOXELS} voxels", got=f"size {shape}", hint="crop or resample the volume"
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
        raise error(subject, expected=expected, got=f"'{reason(problem)}'", hint=hint) from problem


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


def natural(text: str) -> list[str | int]:
    """A key to sort by, in which runs of digits compare as numbers: 2 before 10."""
    # They are at the odd positions, so that like is compared with like.
    return [int(part) if position % 2 else part for position, part in enumerate(re.split("([0-9]+)", text))]


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV, each ended by a line feed; the first is the header. None and NaN are empty fields."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(map(_null_for_nan, rows))
    return text.getvalue()


def json_text(content: Mapping[str, object]) -> str:
    """A tree of plain values as indented JSON, ended by a line feed. NaN is null."""
    return json.dumps(_null_for_nan(content), indent=2, allow_nan=False) + "\n"


def _null_for_nan(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {key: _null_for_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_null_for_nan(value) for value in content]
    return None if isinstance(content, float) and math.isnan(content) else content


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
    names = [name for name in sorted(os.listdir(folder)) if not left_by_system(name)] if folder.is_dir() else []
    held = [f"{name} in it" for name in names if not ours(name)] if folder.is_dir() else ["a file"]
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
