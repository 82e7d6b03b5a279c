"""A folder of many files that appears whole or not at all, and replaces nothing that anyone misses."""

import os
from pathlib import Path

import pytest

from plurimask.errors import SettingsError
from plurimask.files.stored import atomic_folder, check_free


def write(folder, text="x", ours=lambda name: False):
    with atomic_folder(folder, ours) as fresh:
        (fresh / "a").write_text(text)


def break_off(folder, ours=lambda name: False):
    with atomic_folder(folder, ours) as fresh:
        (fresh / "a").write_text("new")
        raise KeyboardInterrupt


def write_beside_another(folder):
    with atomic_folder(folder) as fresh:
        (fresh / "a").write_text("ours")
        write(folder, "theirs")


def test_what_is_written_appears_under_its_name_at_the_end(tmp_path):
    with atomic_folder(tmp_path / "deep/out") as fresh:
        (fresh / "a").write_text("x")
        assert not (tmp_path / "deep/out").exists()
    assert (tmp_path / "deep/out/a").read_text() == "x"


def test_nothing_is_left_of_a_folder_that_was_broken_off(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        break_off(tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_what_may_be_replaced_stays_where_the_new_folder_is_broken_off(tmp_path):
    write(tmp_path / "out", "old")
    with pytest.raises(KeyboardInterrupt):
        break_off(tmp_path / "out", "a".__eq__)
    assert (tmp_path / "out/a").read_text() == "old"


def test_what_may_be_replaced_is_gone_afterwards(tmp_path):
    write(tmp_path / "out")
    (tmp_path / "out/b").write_text("old")
    write(tmp_path / "out", "new", "ab".__contains__)
    assert {path.name: path.read_text() for path in tmp_path.rglob("*") if path.is_file()} == {"a": "new"}


def test_an_empty_folder_is_taken(tmp_path):
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


def test_the_root_of_a_file_system_is_refused_before_anything_is_written():
    mounted = next(path for path in ("/dev/shm", "/proc", "/") if os.path.ismount(path))
    with pytest.raises(SettingsError, match="got the root of a file system; name a folder in it"):
        write(Path(mounted), ours=lambda name: True)


def test_a_free_folder_need_not_be_there(tmp_path):
    check_free(tmp_path / "out")
    assert not list(tmp_path.iterdir())
