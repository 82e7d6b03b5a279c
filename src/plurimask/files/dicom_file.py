"""DICOM files as such: known by their content, and read by pydicom without a word that could name a patient."""

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from plurimask.errors import InputError
from plurimask.files.stored import unreadable
from plurimask.optional import need

_DAMAGE = (
    *(OSError, EOFError, ValueError, TypeError, LookupError, AttributeError, NotImplementedError, RuntimeError),
    *(OverflowError, MemoryError, UnboundLocalError, struct.error, zlib.error),
)


def damage() -> tuple[type[Exception], ...]:
    """What pydicom raises on damage, from reading bytes over converting values to decoding pixels (in Python or C)."""
    return (*_DAMAGE, need("pydicom.errors", "dicom").BytesLengthException)


@contextmanager
def quiet() -> Iterator[None]:
    """pydicom without its own checks and warnings, both of which quote what a file says, a patient's name included."""
    with need("pydicom.config", "dicom").disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def is_dicom(path: Path) -> bool:
    """Whether a file starts as DICOM does, with or without the preamble that it should have.

    Raises:
        InputError: a file that cannot be read.
    """
    try:
        with path.open("rb") as file:
            start = file.read(132)
    except OSError as error:
        raise unreadable(path, "file", error) from error
    return start[128:] == b"DICM" or _starts_bare(start)


def _starts_bare(start: bytes) -> bool:
    """Without preamble: the first element is of group 2 or 8 and names its type, or a length below 64 KiB."""
    little = start[:2] in (b"\x02\x00", b"\x08\x00") and (start[4:6].isalpha() or start[6:8] == b"\x00\x00")
    big = start[:2] in (b"\x00\x02", b"\x00\x08") and start[4:6].isalpha()
    return len(start) >= 8 and (little or big)


def not_dicom(path: Path) -> InputError:
    """The error for a file that does not start as DICOM does."""
    return InputError(
        path,
        expected="a DICOM file",
        got="one without DICOM's mark" if path.stat().st_size else "an empty file",
        hint="fetch it again, or unpack or decrypt it first; if it is of another kind, move it out of the folder",
    )
