"""A command at work: what it is given and what it leaves, on a full disk and when it is stopped."""

import resource
import signal
import time
from contextlib import contextmanager

import numpy as np
from PIL import Image
from said import Said
from tiny import SIZE, image


def files(folder):
    """Every file under a folder, hidden ones too, relative to it."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def write_image(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def grey(size=SIZE):
    return image(size=size)[0].astype(np.uint8)


@contextmanager
def full_disk(size):
    """A disk that is full after so many bytes of a file: writing on fails with EFBIG.

    No longer than the block, since what tells of the tests may be such a file too.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def interrupt(process, ready, by=signal.SIGINT):
    """Ctrl-C, or another signal, once `ready` says that the work has begun."""
    until = time.monotonic() + 300
    while not ready():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(by)
    out, err = process.communicate(timeout=300)
    return Said(process.returncode, out, err)


def truncated(folder):
    path = write_image(folder / "cut.png", grey())
    path.write_bytes(path.read_bytes()[:100])
    return path


def text_as_png(folder):
    path = folder / "text.png"
    path.write_text("not a picture")
    return path


SCORES = {"scores.csv", "summary.json", "report.html"} | {
    f"{name}.{suffix}" for name in ("ged-ci", "reliability", "ranks", "empty") for suffix in ("png", "svg")
}
