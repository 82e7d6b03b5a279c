"""Files and folders that are whole or not there, whatever happens meanwhile."""

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from plurimask.errors import InputError, SettingsError
from plurimask.files import atomic
from plurimask.files.atomic import (
    atomic_folder,
    atomic_path,
    check_free,
    check_room,
    files_together,
    read_together,
    write_text,
)


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


def test_old_file_is_replaced_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "run" / "cases" / "scores.csv"  # whose parents are made
    for text in ("old and longer", "Müller, ≥ 3"):
        write_text(path, text)
    assert path.read_bytes() == "Müller, ≥ 3".encode()
    assert [p.name for p in path.parent.iterdir()] == ["scores.csv"]


def test_temporary_stands_beside_the_file_and_keeps_its_suffix(tmp_path):
    """Beside it, or the last move would cross file systems; the suffix, because writers choose a format by it."""
    with atomic_path(tmp_path / "masks.npz") as temporary:
        assert (temporary.parent, temporary.suffix) == (tmp_path, ".npz")


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
    with pytest.raises(error, match="half way"):
        write_half(path, error)
    assert not list(tmp_path.iterdir())
    path.write_text("old")
    with pytest.raises(error, match="half way"):
        write_half(path, error)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


FULL = """
import resource, sys
from pathlib import Path
from plurimask.files import atomic
from plurimask.files.atomic import write_text
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    write_text(Path(sys.argv[1]), "x" * 100_000)
except OSError as error:
    print(error.filename, error.strerror)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")
def test_refused_space_names_the_path_and_leaves_the_old_file_and_no_other(tmp_path: Path):
    """The system's own limit on file size stops the write in the middle, as a full disk does."""
    path = tmp_path / "last.ckpt"
    path.write_text("old")
    assert run(FULL, path).stdout == f"{path} File too large\n"
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


DIES = """
import os, sys
from pathlib import Path
from plurimask.files import atomic
from plurimask.files.atomic import atomic_path
with atomic_path(Path(sys.argv[1])) as temporary:
    temporary.write_text("ne")
    os.kill(os.getpid(), 9)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_a_killed_process_leaves_the_old_file_whole_and_what_else_it_left_is_removed_later(tmp_path: Path):
    path = tmp_path / "last.ckpt"
    path.write_text("old")
    assert run(DIES, path).returncode == -9
    assert path.read_text() == "old"
    assert len(os.listdir(tmp_path)) == 2
    with atomic_path(tmp_path / "other") as temporary:
        assert set(tmp_path.iterdir()) == {path, temporary}


def test_what_a_living_process_or_another_host_writes_is_left_alone(tmp_path, caplog):
    other = tmp_path / ".out.elsewhere.plurimask-abcdefgh"
    other.mkdir()
    with atomic_folder(tmp_path / "here") as fresh:
        atomic._clear.cache_clear()
        write_text(tmp_path / "there", "x")
        assert fresh.is_dir()
    assert set(os.listdir(tmp_path)) == {other.name, "here", "there"}
    assert f"{other}: left by a process on elsewhere" in caplog.text


def test_folder_in_the_way_is_an_os_error_and_leaves_nothing(tmp_path):
    (tmp_path / "scores.csv" / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match=r"scores\.csv"):
        write_text(tmp_path / "scores.csv", "new")
    assert [p.name for p in tmp_path.iterdir()] == ["scores.csv"]


# --- A folder of many files that appears whole or not at all, and replaces nothing that anyone misses.


def write(folder, text="x", ours=lambda name: False):
    with atomic_folder(folder, ours) as fresh:
        (fresh / "a").write_text(text)


def break_off(folder, ours=lambda name: False):
    with atomic_folder(folder, ours) as fresh:
        (fresh / "a").write_text("new")
        raise KeyboardInterrupt


def write_beside_another(folder, ours=lambda name: False):
    with atomic_folder(folder, ours) as fresh:
        (fresh / "a").write_text("ours")
        write(folder, "theirs", ours)


def test_what_is_written_appears_under_its_name_at_the_end(tmp_path):
    with atomic_folder(tmp_path / "deep/out") as fresh:
        (fresh / "a").write_text("x")
        assert not (tmp_path / "deep/out").exists()
    assert (tmp_path / "deep/out/a").read_text() == "x"


def test_what_was_there_stays_where_the_new_folder_is_broken_off(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        break_off(tmp_path / "out")
    assert not list(tmp_path.iterdir())
    write(tmp_path / "out", "old")
    with pytest.raises(KeyboardInterrupt):
        break_off(tmp_path / "out", "a".__eq__)
    assert (tmp_path / "out/a").read_text() == "old"
    assert os.listdir(tmp_path) == ["out"]


def test_what_may_be_replaced_is_gone_afterwards(tmp_path):
    write(tmp_path / "out")
    (tmp_path / "out/b").write_text("old")
    write(tmp_path / "out", "new", "ab".__contains__)
    assert {path.name: path.read_text() for path in tmp_path.rglob("*") if path.is_file()} == {"a": "new"}


def test_an_empty_folder_is_free_and_so_is_none(tmp_path):
    check_free(tmp_path / "out")
    assert not list(tmp_path.iterdir())
    (tmp_path / "out").mkdir()
    write(tmp_path / "out")
    assert (tmp_path / "out/a").exists()


def test_of_a_link_the_folder_that_it_leads_to_is_written(tmp_path):
    (tmp_path / "large disk/here").mkdir(parents=True)
    (tmp_path / "out").symlink_to(tmp_path / "large disk/here")
    write(tmp_path / "out")
    assert (tmp_path / "out").is_symlink()
    assert os.listdir(tmp_path / "large disk/here") == ["a"]


@pytest.mark.parametrize(("used", "got"), [("out/a", "a in it"), ("out", "a file")])
def test_a_folder_in_use_and_a_file_are_refused(tmp_path, used, got):
    (tmp_path / used).parent.mkdir(exist_ok=True)
    (tmp_path / used).write_text("x")
    with pytest.raises(SettingsError, match=f"expected a new or empty folder, got {got}; name another --out"):
        write(tmp_path / "out")


def test_what_came_while_the_folder_was_written_is_not_replaced(tmp_path):
    with pytest.raises(SettingsError, match="got a in it"):
        write_beside_another(tmp_path / "out")
    assert (tmp_path / "out/a").read_text() == "theirs"


def test_what_came_in_place_of_what_may_be_replaced_is_not_replaced(tmp_path):
    write(tmp_path / "out", "old")
    with pytest.raises(SettingsError, match="got what another process wrote there; name another --out, or run again"):
        write_beside_another(tmp_path / "out", "a".__eq__)
    assert (tmp_path / "out/a").read_text() == "theirs"


def test_of_four_writers_none_loses_what_it_wrote(tmp_path):
    def save(writer):
        """The numbers that were free for 20 saves."""
        own = set()
        while len(own) < 20:
            number = sum(not name.startswith(".") for name in os.listdir(tmp_path))
            with suppress(OSError, SettingsError):
                write(tmp_path / str(number), writer)
                own.add(number)
        return own

    with ThreadPoolExecutor(4) as pool:
        numbers = list(pool.map(save, "abcd"))
    assert sum(map(len, numbers)) == 80
    for writer, own in zip("abcd", numbers, strict=True):
        assert all((tmp_path / str(number) / "a").read_text() == writer for number in own)


@pytest.mark.parametrize("damaged", [False, True])
def test_what_is_replaced_while_it_is_read_is_read_again(tmp_path, damaged):
    folder = tmp_path / "set"

    def write_both(text):
        with atomic_folder(folder, ours=lambda name: True) as fresh:
            for name in "ab":
                write_text(fresh / name, text)

    def read():
        first = (folder / "a").read_text()
        if first == "old":
            write_both("new")
            if damaged:
                raise InputError(folder, expected="one run", got="parts of two", hint="read it again")
        return first, (folder / "b").read_text()

    write_both("old")
    assert read_together(folder, read) == ("new", "new")


@pytest.mark.parametrize("renames", [1, 2])
def test_ctrl_c_between_two_renames_loses_nothing(tmp_path, monkeypatch, renames):
    """As on a file system that cannot exchange names; Ctrl-C comes after the first or the second of them."""
    write(tmp_path / "out", "old")
    rename, done = Path.rename, []

    def interrupted(self, target):
        rename(self, target)
        done.append(self)
        if len(done) == renames:
            raise KeyboardInterrupt

    monkeypatch.setattr(atomic, "_exchanged", lambda one, other: False)
    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "out", "new", "a".__eq__)
    assert (tmp_path / "out/a").read_text() == ("old" if renames == 1 else "new")
    assert os.listdir(tmp_path) == ["out"]


def test_a_process_that_died_between_two_renames_loses_nothing(tmp_path):
    left = tmp_path / f".out.{atomic._HOST}.plurimask-abcdefgh"
    (left / "old").mkdir(parents=True)
    (left / "old" / "a").write_text("old")
    write_text(tmp_path / "other", "x")
    assert (tmp_path / "out/a").read_text() == "old"
    assert set(os.listdir(tmp_path)) == {"out", "other"}


def test_the_root_of_a_file_system_is_refused_before_anything_is_written():
    mounted = next(path for path in ("/dev/shm", "/proc", "/") if os.path.ismount(path))
    with pytest.raises(SettingsError, match="got the root of a file system; name a folder in it"):
        write(Path(mounted), ours=lambda name: True)


# --- Digests against hashlib and against what must and must not change them.


def test_files_take_their_places_together_and_what_is_not_of_the_run_goes(tmp_path):
    for name in ("a", "b", "mine"):
        (tmp_path / name).write_text("old")
    with files_together(tmp_path, ("a", "b", "c")) as folder:
        write_text(folder / "a", "new")
        assert (tmp_path / "a").read_text() == "old"
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "new", "mine": "old"}


def test_a_block_that_fails_leaves_the_folder_as_it_was(tmp_path):
    for out in (tmp_path / "there", tmp_path / "none"):
        if out.name == "there":
            write_text(out / "a", "old")
        with pytest.raises(IsADirectoryError), files_together(out, ("a",)) as folder:
            folder.write_text("which is a folder")
    assert [path.name for path in tmp_path.rglob("*")] == ["there", "a"]
    assert (tmp_path / "there" / "a").read_text() == "old"


def test_a_folder_that_nothing_can_be_written_to_is_refused_and_a_usable_one_not_made(tmp_path):
    check_room(tmp_path / "new")
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "in"):
        with pytest.raises(SettingsError, match=r"expected a folder, got a file, .*file; name another --out"):
            check_room(out)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_a_killed_run_was_writing_goes_at_the_next_start(tmp_path):
    code = """
import os, sys
from pathlib import Path
from plurimask.files.atomic import files_together
with files_together(Path(sys.argv[1])) as folder:
    (folder / "a").write_text("half")
    os._exit(1)
"""
    assert run(code, tmp_path / "out").returncode == 1
    assert len(list((tmp_path / "out").iterdir())) == 1
    check_room(tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
