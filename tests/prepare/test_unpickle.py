"""Pickles of arrays come back as they were; whatever names anything else is refused, and nothing of it runs."""

import copyreg
import operator
import os
import pickle
import random
import re
import subprocess

import numpy as np
import pytest

from plurimask.errors import InputError
from plurimask.prepare.unpickle import as_array, load_plain

PYTHON_2 = (
    b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x02K\x02\x86"
    b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
    b"U\x04\x00\x80\xff\x01tb."
)
ARRAYS = {
    "float64": np.random.default_rng(0).random((3, 4)),
    "bool": np.eye(3, dtype=bool),
    "columns first": np.asfortranarray(np.arange(6, dtype=np.uint8).reshape(2, 3)),
    "big-endian": np.arange(6, dtype=">i2").reshape(3, 2),
    "a part of another": np.arange(24, dtype=np.float32).reshape(4, 6)[::2, 1:4],
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.pickle"


def load(path, content):
    path.write_bytes(content)
    return load_plain(path)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_comes_back_with_values_and_type(path, name, protocol):
    array = as_array(load(path, pickle.dumps(ARRAYS[name], protocol)))
    assert array.dtype == ARRAYS[name].dtype
    np.testing.assert_array_equal(array, ARRAYS[name])


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_come_back(path, protocol):
    plain = {"a": [1, 2.5, None, True, ("x", b"\xff\x00")], "b": {"c": np.str_("1.2.3"), "d": np.int64(7)}}
    assert load(path, pickle.dumps(plain, protocol)) == plain


def test_arrays_of_older_numpy_come_back(path):
    old = pickle.dumps(ARRAYS["float64"], 2).replace(b"cnumpy._core.", b"cnumpy.core.")
    assert b"numpy._core" not in old
    np.testing.assert_array_equal(as_array(load(path, old)), ARRAYS["float64"])


def test_arrays_of_python_2_come_back(path):
    assert as_array(load(path, PYTHON_2)).tolist() == [[0, 128], [255, 1]]


def test_a_list_of_arrays_of_one_shape_is_a_stack(path):
    assert as_array(load(path, pickle.dumps([np.zeros((2, 3)), np.ones((2, 3))]))).shape == (2, 2, 3)


@pytest.mark.parametrize("value", [[np.zeros(2), np.zeros(3)], [], "text", {"a": np.zeros(2)}])
def test_anything_else_is_no_array(path, value):
    assert as_array(load(path, pickle.dumps(value))) is None


class Runs:
    """Pickles to a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def text(program, mark):
    return program.replace(b"MARK", str(mark).encode())


def hostile(mark):
    """Programs that would make the file `mark`, or reach for what would."""
    touch = f"touch {mark}"
    evil = Runs(os.system, touch)
    state = (1, (1,), np.dtype("u1"), False, evil)
    calls = {
        "os.system": evil,
        "subprocess.Popen": Runs(subprocess.Popen, ["touch", str(mark)]),
        "builtins.eval": Runs(eval, f"open({str(mark)!r}, 'w')"),
        "builtins.exec": Runs(exec, f"open({str(mark)!r}, 'w')"),
        "builtins.open": Runs(open, str(mark), "w"),
        "builtins.getattr": Runs(getattr, "text", "upper"),
        "numpy.load": Runs(np.load, str(mark), None, True),
        "an array's method": Runs(np.ndarray.tofile, np.zeros(2), str(mark)),
        "operator": Runs(operator.attrgetter, "system"),
        "copyreg": Runs(copyreg._reconstructor, Runs, object, None),
        "deep in a dict": {"a": {"image": np.zeros((2, 2)), "masks": [evil]}},
        "in an array's state": state,
        "an array of objects": np.array([evil, None], dtype=object),
        "a compound type": np.zeros(2, dtype=[("a", "u1"), ("b", "f4")]),
        "a class of this module": Runs(Runs, os.system, touch),
    }
    dtype, array = b"cnumpy\ndtype\n(S'u1'\nI00\nI01\ntR", PYTHON_2
    written = {
        "REDUCE by hand": b"cos\nsystem\n(S'touch MARK'\ntR.",
        "INST": b"(S'touch MARK'\nios\nsystem\n.",
        "OBJ": b"(cos\nsystem\nS'touch MARK'\no.",
        "a name within a name": b"\x80\x04\x8c\x16numpy._core.multiarray\x8c\x18_reconstruct.__globals__\x93.",
        "an attribute of numpy": b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.",
        "BUILD of a type with objects": dtype + b"(I3\nS'|'\nNN(dS'a'\ncos\nsystem\nstb.",
        "BUILD of a type with fields": dtype + b"(I3\nS'|'\nN(S'a'\nt(dS'a'\nI1\nsI1\nI1\nI0\ntb.",
        "BUILD of a name": b"cnumpy\ndtype\n(dS'__call__'\nI1\nsb.",
        "BUILD of an array beyond its bytes": (
            b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I999999\nt"
            + dtype
            + b"I00\nS'x'\ntb."
        ),
        "an array's type called": b"cnumpy\nndarray\n((I999999999999\ntS'u1'\ntR.",
        "NEWOBJ": b"\x80\x02cnumpy\nndarray\nK\x02\x85\x81.",
        "a persistent id": b"Pmark\n.",
        "an extension": b"\x80\x02\x82\x01.",
        "a codec that is none": b"c_codecs\nencode\n(S'x'\nS'zlib_codec'\ntR.",
        "a memo beyond the file": b"\x80\x02Nr\xff\xff\xff\x7f.",
        "an array that begins as a number": array.replace(b"cnumpy\nndarray\n", b"K\x07"),
        "an array that begins as a dtype": array.replace(b"cnumpy\nndarray\n", b"cnumpy\ndtype\n"),
        "an array that begins in a shape of text": array.replace(b"K\x00\x85", b"U\x01x\x85"),
        "an array whose version is text": array.replace(b"R(K\x01K\x02", b"R(U\x01xK\x02"),
        "an array whose version is 2": array.replace(b"R(K\x01K\x02", b"R(K\x02K\x02"),
        "a type whose version is 5": array.replace(b"R(K\x03U", b"R(K\x05U"),
        "an array whose order is None": array.replace(b"tb\x89", b"tbN"),
        "a type whose length is text": array.replace(b"NNNJ\xff\xff\xff\xff", b"NNNU\x01x"),
        "no pickle": b"not a pickle",
        "nothing": b"",
        "cut short": pickle.dumps(np.zeros((9, 9)))[:-20],
    }
    programs = {
        f"{name}, {protocol}": pickle.dumps(value, protocol) for name, value in calls.items() for protocol in (0, 2, 5)
    }
    return programs | {name: text(program, mark) for name, program in written.items()}


HOSTILE = list(hostile("MARK"))


@pytest.mark.parametrize("name", HOSTILE)
def test_refused_without_running_anything(path, tmp_path, name):
    mark = tmp_path / "mark"
    with pytest.raises(
        InputError, match=r"expected a pickle of plain containers and NumPy arrays, got .+; nothing of it"
    ):
        load(path, hostile(mark)[name])
    assert not mark.exists()


def test_these_programs_would_run_in_the_usual_reader(path, tmp_path):
    for name in ("os.system, 2", "builtins.eval, 5", "INST", "deep in a dict, 0"):
        mark = tmp_path / re.sub(r"\W", "", name)
        pickle.loads(hostile(mark)[name])
        assert mark.exists(), name


def test_a_missing_file_is_refused(path):
    with pytest.raises(InputError, match="got 'No such file or directory"):
        load_plain(path)


def test_a_damaged_pickle_gives_values_or_our_error(path):
    rng, whole = random.Random(0), pickle.dumps({"a": {"image": ARRAYS["float64"], "masks": [ARRAYS["bool"]]}}, 2)
    refused = 0
    for _ in range(300):
        content = bytearray(whole)
        content[rng.randrange(len(content))] = rng.randrange(256)
        try:
            load(path, bytes(content))
        except InputError:
            refused += 1
    assert 0 < refused < 300


@pytest.mark.parametrize(
    "doubled",
    [b"(2\x86" * 1 + b"2\x86" * 60, b"K\x01\x85\x94" + b"".join(b"h%ch%c\x86\x94" % (n, n) for n in range(60))],
    ids=["the top of the stack", "the memo"],
)
def test_tuples_that_double_by_a_few_bytes_are_refused_before_they_are_hashed(path, doubled):
    path.write_bytes(b"\x80\x04}" + doubled + b"K\x01s.")
    with pytest.raises(InputError, match="got 'a value that doubles'"):
        load_plain(path)
