"""A decoder of DICOM that ends, or comes to no end, costs one file and not the program."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest

from plurimask.errors import InputError
from plurimask.files import decoding
from plurimask.files.dicom import read_series

SHIPPED = Path(pydicom.__file__).parent / "data" / "test_files"
COMPRESSED, PLAIN = SHIPPED / "MR_small_jpeg_ls_lossless.dcm", SHIPPED / "MR_small_implicit.dcm"
ENDS = "import sys; sys.stdin.readline()"
FOR_EVER = "import signal; signal.setitimer(signal.ITIMER_PROF, 0.1)\nwhile True: pass"


def broken(program):
    pipe = subprocess.PIPE
    return lambda _: subprocess.Popen([sys.executable, "-c", program], stdin=pipe, stdout=pipe)


@pytest.mark.parametrize("program", [ENDS, FOR_EVER])
def test_a_decoder_that_ends_or_does_not_is_one_refusal(monkeypatch, program):
    with monkeypatch.context() as patch:
        fake = broken(program)
        fake.cache_clear = lambda: None
        patch.setattr(decoding, "_process", fake)
        with pytest.raises(InputError, match=r"jpeg_ls_lossless\.dcm: .* decoder ends, or comes to no end"):
            read_series(COMPRESSED)
    assert np.array_equal(read_series(COMPRESSED).image, read_series(PLAIN).image)


def test_a_refused_file_leaves_the_decoder_for_the_next(tmp_path):
    whole = COMPRESSED.read_bytes()
    start = whole.index(b"\xff\xda")
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(whole[: start + 40] + bytes(len(whole) - start - 40))
    process = decoding._process(os.getpid())
    with pytest.raises(InputError, match=r"cut\.dcm"):
        read_series(cut)
    assert np.array_equal(read_series(COMPRESSED).image, read_series(PLAIN).image)
    assert process.poll() is None
