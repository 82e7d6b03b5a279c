"""Case lists: what a file may hold, and the list that ships with the package against the dataset where it lies."""

import os
import runpy
from pathlib import Path

import pytest

from plurimask.datasets.open import choose_cases, open_dataset
from plurimask.datasets.splits import read_case_list, split_indices, split_of, spread
from plurimask.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
REAL = Path(os.environ.get("PLURIMASK_DATA", ROOT.parent / "shared" / "data")) / "lidc-slices-128"
BUILT_IN = ROOT / "src" / "plurimask" / "lists" / "lidc-eval-200.txt"


def write(tmp_path, content):
    path = tmp_path / "list.txt"
    path.write_bytes(content)
    return str(path)


def test_names_are_read_in_their_order(tmp_path):
    assert read_case_list(write(tmp_path, b"b\na\nc d\n")) == ("b", "a", "c d")


@pytest.mark.parametrize(
    "content",
    [b"# why\n\na\n  # and\n   \nb", b"\xef\xbb\xbfa\r\nb\r\n", b"  a  \n\tb\n"],
    ids=["comments and blank lines", "as Windows writes it", "spaces around"],
)
def test_what_is_no_name_is_ignored(tmp_path, content):
    assert read_case_list(write(tmp_path, content)) == ("a", "b")


def test_a_hash_within_a_name_belongs_to_it(tmp_path):
    assert read_case_list(write(tmp_path, b"a#1\n")) == ("a#1",)


def test_names_may_be_in_any_script(tmp_path):
    assert read_case_list(write(tmp_path, "läsion\n病変\n".encode())) == ("läsion", "病変")


def test_a_name_twice_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"list\.txt: expected every case once, got b 2 times"):
        read_case_list(write(tmp_path, b"a\nb\nc\nb\n"))


@pytest.mark.parametrize("content", [b"", b"# nothing\n\n"])
def test_a_list_without_names_is_refused(tmp_path, content):
    with pytest.raises(InputError, match=r"list\.txt: expected one case name a line, got none"):
        read_case_list(write(tmp_path, content))


def test_an_unknown_name_lists_the_built_in_ones():
    with pytest.raises(InputError, match=r"lidc-eval-20: .* built-in lists: lidc-eval-200, got 'No such file"):
        read_case_list("lidc-eval-20")


@pytest.mark.parametrize(("content", "got"), [(b"\xff\xfea\0", "no UTF-8 text"), (None, "Is a directory")])
def test_what_is_no_text_file_is_refused(tmp_path, content, got):
    source = str(tmp_path) if content is None else write(tmp_path, content)
    with pytest.raises(InputError, match=f"expected a text file, or one of the built-in lists.*, got '{got}'"):
        read_case_list(source)


def test_the_list_for_lidc_has_200_names_of_slices_on_the_test_side():
    names = read_case_list("lidc-eval-200")
    assert len(set(names)) == len(names) == 200
    assert {split_of(name.partition("-n")[0]) for name in names} == {"test"}


def test_the_list_for_lidc_takes_every_patient_before_any_second_slice():
    patients = [name.partition("-n")[0] for name in read_case_list("lidc-eval-200")]
    rounds = [patients[:position].count(patient) for position, patient in enumerate(patients)]
    assert rounds == sorted(rounds)


def test_the_list_for_lidc_names_its_source_and_licence():
    comment = [line for line in BUILT_IN.read_text().splitlines() if line.startswith("#")]
    assert "Armato" in "".join(comment)
    assert "CC BY 3.0" in "".join(comment)


@pytest.fixture(scope="module")
def real():
    if not REAL.is_dir():
        pytest.skip(f"no real slices at {REAL}; PLURIMASK_DATA names the folder that holds lidc-slices-128")
    return open_dataset(REAL)


def test_the_tool_makes_the_list_for_lidc_again(real):
    make_list = runpy.run_path(str(ROOT / "tools" / "make_eval_list.py"))["make_list"]
    assert make_list(real) == BUILT_IN.read_text()


@pytest.mark.parametrize("count", [1, 50, 200])
def test_the_first_of_the_list_for_lidc_are_a_spread_over_the_test_patients(real, count):
    expected = {real.names[index] for index in spread(real, split_indices(real, "test"), count)}
    assert set(choose_cases(real, "test", count, read_case_list("lidc-eval-200"))) == expected
