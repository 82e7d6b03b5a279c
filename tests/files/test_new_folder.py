"""A folder that appears whole or not at all."""

import pytest

from plurimask.errors import DatasetError
from plurimask.files.new_folder import new_folder


def break_off(path):
    with new_folder(path) as work:
        (work / "a").write_text("x")
        raise KeyboardInterrupt


def test_what_is_written_appears_under_its_name_at_the_end(tmp_path):
    with new_folder(tmp_path / "deep/out") as work:
        (work / "a").write_text("x")
        assert not (tmp_path / "deep/out").exists()
    assert (tmp_path / "deep/out/a").read_text() == "x"


def test_nothing_is_left_of_a_folder_that_was_broken_off(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        break_off(tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_an_empty_folder_is_taken(tmp_path):
    (tmp_path / "out").mkdir()
    with new_folder(tmp_path / "out") as work:
        (work / "a").write_text("x")
    assert (tmp_path / "out/a").exists()


@pytest.mark.parametrize("used", ["out/a", "out"])
def test_a_folder_in_use_and_a_file_are_refused(tmp_path, used):
    (tmp_path / used).parent.mkdir(exist_ok=True)
    (tmp_path / used).write_text("x")
    with (
        pytest.raises(DatasetError, match="expected a new or empty folder, got one in use"),
        new_folder(tmp_path / "out"),
    ):
        pass
