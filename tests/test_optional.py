"""Optional packages: there, or the line that installs them."""

import json

import pytest

from plurimask.errors import MissingPackageError
from plurimask.optional import need


def test_an_installed_module_is_given():
    assert need("json", "dicom") is json


def test_a_missing_one_says_how_to_install_it():
    with pytest.raises(MissingPackageError, match=r'^no_such_package\.x: .*; run pip install "plurimask\[dicom\]"$'):
        need("no_such_package.x", "dicom")
