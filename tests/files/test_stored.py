"""Files as such: what a digest covers, what is listed, how much memory may be taken."""

import csv
import hashlib
import io
import math
import os

import pytest

from plurimask.errors import InputError, SettingsError
from plurimask.files import stored
from plurimask.files.atomic import check_free
from plurimask.files.images import read_image
from plurimask.files.stored import digest_file, digest_files, list_visible
from plurimask.files.texts import csv_text, plain_cell

FORMULAS = ("=1+1", "+x", "-x", "@x", "\tx", "\rx", "'=x", "''-x", "-", "--5")


def write_files(root, **files):
    root.mkdir(exist_ok=True)
    for name, content in files.items():
        (root / name).write_bytes(content)
    return [root / name for name in files]


def test_of_files_is_as_documented_wherever_they_lie(tmp_path):
    for root in (tmp_path / "here", tmp_path / "there"):
        paths = write_files(root, a=b"abc", b=b"two")
        # The example of FIPS 180-4.
        abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        assert digest_file(paths[0]) == abc
        whole = hashlib.sha256(b"a\0" + bytes.fromhex(abc) + b"b\0" + hashlib.sha256(b"two").digest())
        assert digest_files(root, paths) == whole.hexdigest()


@pytest.mark.parametrize(
    "other", [{"a": b"two", "b": b"one"}, {"a": b"one", "c": b"two"}, {"a": b"onetwo", "b": b""}, {"a": b"one"}]
)
def test_content_names_and_borders_all_count(tmp_path, other):
    first, second = tmp_path / "first", tmp_path / "second"
    one = digest_files(first, write_files(first, a=b"one", b=b"two"))
    assert one != digest_files(second, write_files(second, **other))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="absent: expected a readable file, got 'No such file"):
        digest_files(tmp_path, [tmp_path / "absent"])


def test_what_a_system_leaves_is_not_listed_and_is_nothing_to_keep(tmp_path):
    for name in ("Thumbs.db", ".DS_Store", "._a.png", "desktop.ini"):
        (tmp_path / name).touch()
    check_free(tmp_path)
    (tmp_path / "a.png").touch()
    assert list_visible(tmp_path) == [tmp_path / "a.png"]


def test_a_digest_does_not_depend_on_the_unicode_form_of_names(tmp_path):
    digests = set()
    for name in ("\u00e9", "e\u0301"):
        (tmp_path / name).write_bytes(b"x")
        digests.add(digest_files(tmp_path, [tmp_path / name]))
    assert len(digests) == 1


@pytest.mark.parametrize("said", ["all", "0", "nan"])
def test_the_bound_on_memory_is_one_number_that_can_be_set(monkeypatch, said):
    stored.refuse_giant("a", (2**15, 2**15))
    with pytest.raises(InputError, match=r"^a: expected at most 4 GiB .*, got size 32769x32768, which takes 4\.00 GiB"):
        stored.refuse_giant("a", (2**15 + 1, 2**15))
    monkeypatch.setenv(stored.MOST_GIB, "0.5")
    with pytest.raises(InputError, match=r"expected at most 0\.5 GiB .* takes 1\.00 GiB; .* set PLURIMASK_MOST_GIB"):
        stored.refuse_giant("a", (1024, 1024, 1024), 1)
    monkeypatch.setenv(stored.MOST_GIB, said)
    with pytest.raises(SettingsError, match=f"PLURIMASK_MOST_GIB: expected a number above 0, got {said}"):
        stored.refuse_giant("a", (1,))


def test_text_that_a_spreadsheet_would_run_stands_behind_an_apostrophe_and_comes_back():
    others = ["'x", "x=1", "", "-5", "+1e-3", "a"]
    (cells,) = csv.reader(io.StringIO(csv_text([[*FORMULAS, *others]]), newline=""))
    assert cells == [*(f"'{text}" for text in FORMULAS), *others]
    assert [plain_cell(cell) for cell in cells] == [*FORMULAS, *others]


def test_numbers_of_a_table_stay_numbers():
    assert csv_text([[-1, -0.25, math.nan, None, 1e-9, True]]) == "-1,-0.25,,,1e-09,True\n"


@pytest.mark.parametrize(
    "stand_in",
    [
        lambda path: path.symlink_to("../store/nothing.png"),
        lambda path: path.write_text("../store/there.png"),
        lambda path: path.write_text("/annex/objects/SHA256E-s3065--08f2.png\n"),
        lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:08f2\nsize 3065\n"),
    ],
    ids=["a link to nothing", "a link as text", "git-annex", "git LFS"],
)
def test_what_only_stands_for_a_file_is_refused_with_how_to_fetch_it(tmp_path, stand_in):
    for name in ("data", "store"):
        (tmp_path / name).mkdir()
    (tmp_path / "store/there.png").touch()
    stand_in(tmp_path / "data/image.png")
    with pytest.raises(
        InputError, match=r"image\.png: expected a readable PNG file, got what only stands for it; fetch"
    ):
        read_image(tmp_path / "data/image.png")


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_what_has_no_end_is_refused_unread(tmp_path, make):
    make(tmp_path / "set.json")
    said = r"set\.json: expected text, got a pipe or a device; put a plain file there"
    with pytest.raises(InputError, match=said), stored.readable(tmp_path / "set.json", "text"):
        pytest.fail("it was read")
