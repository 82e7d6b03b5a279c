"""Digests against hashlib and against what must and must not change them."""

import hashlib

import pytest

from plurimask.errors import InputError
from plurimask.files.stored import digest_file, digest_files


def write(root, **files):
    root.mkdir(exist_ok=True)
    for name, content in files.items():
        (root / name).write_bytes(content)
    return [root / name for name in files]


def test_of_one_file_is_the_sha256_of_its_content(tmp_path):
    (path,) = write(tmp_path, a=b"abc")
    # The example of FIPS 180-4.
    assert digest_file(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_of_files_is_as_documented(tmp_path):
    paths = write(tmp_path, a=b"one", b=b"two")
    expected = hashlib.sha256(
        b"a\0" + hashlib.sha256(b"one").digest() + b"b\0" + hashlib.sha256(b"two").digest()
    ).hexdigest()
    assert digest_files(tmp_path, paths) == expected


def test_does_not_depend_on_where_the_root_lies(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    assert digest_files(here, write(here, a=b"one")) == digest_files(there, write(there, a=b"one"))


@pytest.mark.parametrize(
    "other", [{"a": b"two", "b": b"one"}, {"a": b"one", "c": b"two"}, {"a": b"onetwo", "b": b""}, {"a": b"one"}]
)
def test_content_names_and_borders_all_count(tmp_path, other):
    first, second = tmp_path / "first", tmp_path / "second"
    one = digest_files(first, write(first, a=b"one", b=b"two"))
    assert one != digest_files(second, write(second, **other))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="absent: expected a readable file, got 'No such file"):
        digest_files(tmp_path, [tmp_path / "absent"])
