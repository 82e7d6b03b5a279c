"""Files as such: listed, hashed, bounded in memory, and the error for one that cannot be read."""

import hashlib
import io
import math
import os
import re
import stat
import textwrap
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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


def refuse_unheld(path: Path, claimed: int, ratio: int = 1) -> None:
    """Refuse a header that claims more bytes of values than its file can hold, before memory is taken for them.

    Args:
        path: the file.
        claimed: bytes.
        ratio: what one byte of the file may stand for at most; `DEFLATED` where zlib wrote it.

    Raises:
        InputError: as above.
    """
    held, needed = path.stat().st_size, -(-claimed // ratio)
    if needed > held:
        expected, got = f"at least {needed:,} bytes, as its header says", f"a file of {held:,}"
        raise InputError(path, expected=expected, got=got, hint="it is cut off or damaged; fetch or write it again")


DEFLATED = 1032


class HeldFile(io.BufferedReader):
    """A file of which no more is asked than it holds.

    Libraries read as many bytes as a length in a file claims, and Python takes memory for all of them before it reads.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self._size = os.fstat(self.fileno()).st_size

    def __repr__(self) -> str:
        """What libraries call it in their messages."""
        return "of this name"

    def read(self, size: int | None = -1, /) -> bytes:
        """As of any file."""
        left = max(self._size - self.tell(), 0)
        return super().read(left if size is None or size < 0 else min(size, left))


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
        error: raised in place of the library's, from it, and for a pipe or a device, of which no end need come.
    """
    if is_endless(subject):
        raise error(subject, expected=expected, got="a pipe or a device", hint="put a plain file there, or remove it")
    try:
        yield
    except PlurimaskError:
        raise
    except Exception as problem:
        got = f"'{reason(problem)}'"
        if isinstance(subject, Path) and _stands_for_another(subject):
            got, hint = "what only stands for it", "fetch it first: dvc pull, git annex get, or git lfs pull"
        raise error(subject, expected=expected, got=got, hint=hint) from problem


def is_endless(path: str | Path) -> bool:
    """Whether a pipe or a device lies at a path."""
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):  # what opens it says why
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


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


def digest_files(root: Path, paths: Iterable[Path], digest: Callable[[Path], str] | None = None) -> str:
    """sha256 (hex) over each file's name relative to `root` and its content, in the order given.

    `digest` gives that of one file, in place of `digest_file`.

    Raises:
        InputError: a file that cannot be read.
    """
    whole = hashlib.sha256()
    for path in paths:
        whole.update(one_form(path.relative_to(root).as_posix()).encode("utf-8", "surrogateescape") + b"\0")
        whole.update(bytes.fromhex((digest or digest_file)(path)))
    return whole.hexdigest()


def digest_file(path: Path) -> str:
    """sha256 (hex) of one file. Raises InputError where it cannot be read."""
    with readable(path, "a readable file"), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
