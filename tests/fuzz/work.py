"""Commands at work in processes of their own, to be killed; and what of their files is whole."""

import contextlib
import csv
import gzip
import importlib
import io
import json
import os
import pkgutil
import signal
import sys
import time
import traceback
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import torch
from PIL import Image
from safetensors.torch import load_file

import plurimask
from plurimask.cli import main

for _module in pkgutil.walk_packages(plurimask.__path__, "plurimask."):  # once, so that a child is killed at its work
    importlib.import_module(_module.name)


def begin(work: Callable[[], object]) -> int:
    """Start some work in a process of its own, which ends with it; the process's number."""
    sys.stdout.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads
        child = os.fork()
    if child:
        return child
    code, terminal = 70, os.fdopen(os.dup(2), "w")
    try:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        sys.stdout = sys.stderr = os.fdopen(silence, "w")
        for signalled in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signalled, signal.default_int_handler if signalled == signal.SIGINT else signal.SIG_DFL)
        work()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:  # noqa: BLE001 (a child never goes on as its parent)
        traceback.print_exc(file=terminal)
        terminal.flush()
    finally:
        os._exit(code)


def command(*arguments: object) -> Callable[[], object]:
    """A command as the installed script runs it."""

    def run() -> None:
        sys.argv = ["plurimask", *map(str, arguments)]
        main()

    return run


def ended(child: int) -> int:
    """Wait for a process: its exit code, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def is_over(child: int) -> bool:
    """Whether a process has ended; it is waited for later."""
    found = os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT | os.WNOHANG)
    return found is not None


def kill(child: int, moment: Callable[[], bool], number: int = signal.SIGKILL) -> int:
    """End a process at a moment, unless it has ended by then; how it ended."""
    while not is_over(child) and not moment():
        time.sleep(0.003)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, number)
    return ended(child)


def hidden(folder: Path) -> list[Path]:
    """Temporary files and folders that were left."""
    return [path for path in folder.rglob("*") if path.name.startswith(".")]


def visible(folder: Path) -> dict[str, Path]:
    """Files that are not hidden, nor below a hidden folder, by their path."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path for name, path in found.items() if not any(part.startswith(".") for part in name.split("/"))}


_TIMES = ("images_per_second", "seconds", "time", "when", "minutes", "hours")


def content(path: Path) -> object:
    """What a whole file holds, without dates and times; an error for half a file."""
    return next(read for suffix, read in _READ.items() if path.name.endswith(suffix))(path)


def _npz(path):
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return sorted((name, archive.read(name)) for name in archive.namelist())


def _timeless(tree):
    if isinstance(tree, dict):
        return {key: _timeless(value) for key, value in tree.items() if not any(word in key for word in _TIMES)}
    return [_timeless(one) for one in tree] if isinstance(tree, list) else tree


def _json_lines(path):
    return [_timeless(json.loads(line)) for line in path.read_text().splitlines()]


def _page(path):
    text = path.read_text(encoding="utf-8")
    assert text.rstrip().endswith(("</html>", "</svg>")), f"half of {path}"


def _dicom(path):
    dataset = pydicom.dcmread(path)
    if "PixelData" in dataset:
        return dataset.SOPInstanceUID, dataset.pixel_array.tobytes()
    plain = [(one.tag, str(one.value)) for one in dataset.iterall() if one.VR not in ("SQ", "UI", "DA", "TM", "DT")]
    return dataset.SOPInstanceUID, plain


def _picture(path):
    with Image.open(path) as picture:
        return np.asarray(picture).tobytes()


def _text(path):
    text = path.read_text(encoding="utf-8")
    assert not text or text.endswith("\n"), f"half of {path}"
    return text


def _tensors(path):
    return {name: value.numpy().tobytes() for name, value in load_file(path).items()}


def _state(path):
    return torch.load(path, weights_only=True)["step"]


_READ = {
    ".npz": _npz,
    ".json": lambda path: _timeless(json.loads(path.read_bytes())),
    ".jsonl": _json_lines,
    ".nii.gz": lambda path: gzip.decompress(path.read_bytes()),
    ".html": _page,
    ".svg": _page,
    ".dcm": _dicom,
    ".png": _picture,
    ".csv": lambda path: list(csv.reader(io.StringIO(_text(path)))),
    ".txt": _text,
    ".md": _text,
    ".py": lambda path: compile(path.read_text(), path.name, "exec") and path.read_text(),
    ".safetensors": _tensors,
    ".pt": _state,
    ".onnx": lambda path: len(path.read_bytes()),
    ".toml": _text,
    "": lambda path: None,  # TensorBoard's, which is written on and on
}
