"""Compressed pixels of DICOM and TIFF, decoded in a process of its own: what damage does to a decoder ends there.

CharLS (JPEG-LS), GDCM (lossless JPEG, JPEG of 12 bits) and LibTIFF are C and C++. Some damage makes one of them run
for ever, or end its process, or print to the terminal; Python can catch none of that. The process is started when it is
first needed and stays. This module is both sides: run as a program, it decodes the files whose paths it is sent.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from threading import Lock
from typing import IO, Any

import numpy as np
from PIL import Image

from plurimask.errors import need
from plurimask.files.dicom_headers import quiet

APART = ("pyjpegls", "gdcm")
"""Plugins of pydicom that are used in this way."""
TIFF = "tiff"
"""In the place of a plugin: Pillow, for the pages of a TIFF, (H, W) or (H, W, 4) as `pixels_of` gives them."""
_CPU_SECONDS = 20  # a frame of 4096 x 4096 takes one
_turn = Lock()


def frames_apart(path: Path, plugin: str, count: int) -> Iterator[np.ndarray]:
    """The frames of a file, (H, W[, 3]) each, as a plugin of pydicom decodes them, or the pages of a TIFF.

    Raises:
        ValueError: what the plugin said, that it ended, or that it had not come to an end after 20 seconds.
    """
    with _turn:
        process, in_step = _process(os.getpid()), False
        try:
            process.stdin.write(json.dumps([os.fspath(path.absolute()), plugin, count]).encode() + b"\n")
            process.stdin.flush()
            for _ in range(count):
                found = _next(process.stdout)
                if isinstance(found, str):
                    in_step = True
                    raise ValueError(found)
                yield found
            in_step = True
        finally:
            if not in_step:  # it has ended, or its other answers are for nobody
                process.kill()
                process.wait()
                _process.cache_clear()


@cache
def _process(parent: int) -> Any:
    """The process of this one; one that came of a fork has its own."""
    pipe, silence = subprocess.PIPE, subprocess.DEVNULL
    program = [sys.executable, "-m", "plurimask.files.decoding"]
    return subprocess.Popen(program, stdin=pipe, stdout=pipe, stderr=silence)  # noqa: S603 (our own, of this Python)


def _next(answers: IO[bytes]) -> np.ndarray | str:
    """A frame, or why there is none."""
    line = answers.readline()
    if not line:
        raise ValueError("damage by which its decoder ends, or comes to no end")
    said = json.loads(line)
    if isinstance(said, str):
        return said
    kind, shape = np.dtype(said[0]), tuple(said[1])
    content = answers.read(kind.itemsize * int(np.prod(shape)))
    return np.frombuffer(content, kind).reshape(shape)


def _answer(path: str, plugin: str, count: int, out: IO[bytes]) -> None:
    try:
        for values in _pages(path, count) if plugin == TIFF else _frames(path, plugin, count):
            plain = np.ascontiguousarray(values)
            out.write(json.dumps([plain.dtype.str, plain.shape]).encode() + b"\n" + plain.tobytes())
            signal.setitimer(signal.ITIMER_PROF, _CPU_SECONDS)
    except Exception as error:  # noqa: BLE001 (whatever a decoder raises is said by who asked)
        out.write(json.dumps(str(error) or type(error).__name__).encode() + b"\n")
    out.flush()


def _frames(path: str, plugin: str, count: int) -> Iterator[np.ndarray]:
    with quiet():
        dataset = need("pydicom", "dicom").dcmread(path, force=True)
        decoder = need("pydicom.pixels", "dicom").get_decoder(dataset.file_meta.TransferSyntaxUID)
        for values, _ in decoder.iter_array(dataset, indices=range(count), decoding_plugin=plugin):
            yield values


def _pages(path: str, count: int) -> Iterator[np.ndarray]:
    with Image.open(path, formats=["TIFF"]) as picture:
        for page in range(count):
            picture.seek(page)
            yield pixels_of(picture)


def pixels_of(picture: Image.Image) -> np.ndarray:
    """(H, W) grey as it is stored, or (H, W, 4) red, green, blue and alpha."""
    plain = picture.mode in ("1", "L", "I;16", "I;16B", "I", "F") and not picture.has_transparency_data
    return np.array(picture if plain else picture.convert("RGBA"))


def main() -> None:
    """Answer until nobody asks any more."""
    for line in sys.stdin.buffer:
        signal.setitimer(signal.ITIMER_PROF, _CPU_SECONDS)  # for one frame; its signal ends the process
        path, plugin, count = json.loads(line)
        _answer(path, plugin, count, sys.stdout.buffer)


if __name__ == "__main__":
    main()
