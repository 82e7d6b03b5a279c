"""Errors in one line; optional packages: there, or the line that installs them."""

import json

import pytest

from plurimask.errors import InputError, MissingPackageError, need


def test_an_installed_module_is_given():
    assert need("json", "dicom") is json


def test_a_missing_one_says_how_to_install_it():
    with pytest.raises(MissingPackageError, match=r'^no_such_package\.x: .*; run pip install "plurimask\[dicom\]"$'):
        need("no_such_package.x", "dicom")


def test_an_error_is_one_line_of_four_parts():
    error = InputError("file.nii", expected="a\nheader", got="[1,\n  2]", hint="repair\tit")
    assert str(error) == "file.nii: expected a header, got [1, 2]; repair it"


def test_what_cannot_be_printed_stands_as_an_escape():
    error = InputError("a\x1b[31m.nii", expected="a name", got="'\u202egp.exe\x7f'", hint="rename it")
    assert str(error) == r"a\x1b[31m.nii: expected a name, got '\u202egp.exe\x7f'; rename it"


def test_of_something_long_the_ends_are_shown():
    said = str(InputError("a.csv", expected="a number", got="1" * 5000 + "2", hint="correct it"))
    assert len(said) < 700
    assert said.endswith("12; correct it")
