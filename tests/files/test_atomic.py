"""Atomic writing: a file is whole or not there, also when the block fails, the disk refuses or the process dies."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from plurimask.files.stored import atomic_path, write_text


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `code` in a process of its own, which may die or be limited."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)


def test_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "scores.csv"
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"


def test_old_file_is_replaced(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("old and longer")
    write_text(path, "new")
    assert path.read_text() == "new"


def test_nothing_but_the_file_is_left(tmp_path):
    write_text(tmp_path / "scores.csv", "new")
    assert [p.name for p in tmp_path.iterdir()] == ["scores.csv"]


def test_parents_are_made(tmp_path):
    write_text(tmp_path / "run" / "cases" / "set.json", "{}")
    assert (tmp_path / "run" / "cases" / "set.json").read_text() == "{}"


def test_temporary_stands_beside_the_file_and_keeps_its_suffix(tmp_path):
    """Beside it, or the last move would cross file systems; the suffix, because writers choose a format by it."""
    with atomic_path(tmp_path / "masks.npz") as temporary:
        assert (temporary.parent, temporary.suffix) == (tmp_path, ".npz")


def test_text_is_utf_8(tmp_path):
    write_text(tmp_path / "report.html", "Müller, ≥ 3")
    assert (tmp_path / "report.html").read_bytes() == "Müller, ≥ 3".encode()


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_permissions_are_those_of_an_ordinary_new_file(tmp_path, umask):
    before = os.umask(umask)
    try:
        write_text(tmp_path / "ours", "x")
        (tmp_path / "ordinary").write_text("x")
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("ours", "ordinary")]
    assert modes[0] == modes[1]


def write_half(path, error=ValueError):
    with atomic_path(path) as temporary:
        temporary.write_text("ne")
        raise error("half way")


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failing_block_leaves_the_old_file_and_no_other(tmp_path, error):
    path = tmp_path / "last.ckpt"
    path.write_text("old")
    with pytest.raises(error, match="half way"):
        write_half(path, error)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


def test_failing_block_makes_no_file(tmp_path):
    with pytest.raises(ValueError, match="half way"):
        write_half(tmp_path / "last.ckpt")
    assert not list(tmp_path.iterdir())


FULL = """
import resource, sys
from pathlib import Path
from plurimask.files.stored import write_text
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    write_text(Path(sys.argv[1]), "x" * 100_000)
except OSError as error:
    print(type(error).__name__, error.strerror)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")
def test_refused_space_leaves_the_old_file_and_no_other(tmp_path: Path):
    """The system's own limit on file size stops the write in the middle, as a full disk does."""
    path = tmp_path / "last.ckpt"
    path.write_text("old")
    assert run(FULL, path).stdout == "OSError File too large\n"
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


DIES = """
import os, sys
from pathlib import Path
from plurimask.files.stored import atomic_path
with atomic_path(Path(sys.argv[1])) as temporary:
    temporary.write_text("ne")
    os.kill(os.getpid(), 9)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_killed_process_leaves_the_old_file_whole(tmp_path: Path):
    path = tmp_path / "last.ckpt"
    path.write_text("old")
    assert run(DIES, path).returncode == -9
    assert path.read_text() == "old"


def test_folder_in_the_way_is_an_os_error_and_leaves_nothing(tmp_path):
    (tmp_path / "scores.csv" / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match=r"scores\.csv"):
        write_text(tmp_path / "scores.csv", "new")
    assert [p.name for p in tmp_path.iterdir()] == ["scores.csv"]
