"""Pickles of plain containers and NumPy arrays, read without running anything that they name.

A pickle is a program: it names callables and has them called. Here every name outside a short list is refused, and
those on it stand for code of this module, not for what they are in NumPy: an array is made from its bytes, shape and
type, all checked. What NumPy itself would refuse is refused too. So nothing is imported, no attribute is set, and
NumPy's own decoding sees no foreign state.
"""

import math
import pickle
import pickletools
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from plurimask.files.stored import HeldFile, readable

_PLAIN_TYPE = re.compile(r"b1|[iu][1248]|f[248]|[SU][0-9]{1,5}")
_TYPE_VERSION, _ARRAY_VERSION = 4, 1  # of what NumPy writes today; of types there were earlier ones
_MEMO = {"PUT", "BINPUT", "LONG_BINPUT"}


def load_plain(path: Path) -> Any:
    """What a pickle holds: dicts, lists, tuples, numbers, text, bytes, and arrays as `as_array` takes them.

    The file is read twice, and held in memory whole. Pickles of Python 2 and 3 and of all versions of NumPy.

    Raises:
        InputError: a file that is missing, damaged, or holds anything else; nothing of it has been run.
    """
    hint = "nothing of it was run; write it again from such values, or take another packing"
    with readable(path, "a pickle of plain containers and NumPy arrays", hint), HeldFile(path) as file:
        _check_opcodes(file)
        file.seek(0)
        return _Plain(file, encoding="latin1").load()


def _check_opcodes(file: BinaryIO) -> None:
    """A place in the memo beyond the file's length would have the reader take memory for all before it.

    A tuple that holds a tuple twice, and is held twice itself, doubles with every few bytes where it is hashed. No
    writer repeats the top of the stack, and of fetched tuples none holds one that holds a fetched one.
    """
    depths: dict[int, int] = {}
    depth, deepest, count = 0, 0, 0
    for opcode, argument, position in pickletools.genops(file):
        if opcode.name in _MEMO and int(argument or 0) > (position or 0):
            raise pickle.UnpicklingError("a memo larger than the file")
        if opcode.name in (*_MEMO, "MEMOIZE"):
            depths[count if opcode.name == "MEMOIZE" else int(argument or 0)] = depth
            count += 1
        elif "GET" in opcode.name:
            deepest = max(deepest, depths.get(int(argument or 0), 0))
        if opcode.name == "DUP" or deepest > _DEEPEST:
            raise pickle.UnpicklingError("a value that doubles")
        depth = deepest + 1 if opcode.name.startswith("TUPLE") else 0


_DEEPEST = 3


def as_array(value: Any) -> np.ndarray | None:
    """An array of a pickle, or several of one shape in a list, as NumPy's; None where it is neither."""
    if isinstance(value, _Array):
        return value.values
    if isinstance(value, list | tuple) and value and all(isinstance(one, _Array) for one in value):
        arrays = [one.values for one in value]
        return np.stack(arrays) if len({array.shape for array in arrays}) == 1 else None
    return None


class _Type:
    """The type of an array's elements."""

    __slots__ = ("_code", "_order")

    def __init__(self, code: object, align: object = False, copy: object = False) -> None:
        text = code.decode("latin1") if isinstance(code, bytes) else code
        if not isinstance(text, str):
            raise pickle.UnpicklingError("an array of a compound type")
        if not _PLAIN_TYPE.fullmatch(text):
            raise pickle.UnpicklingError(f"an array of type {text[:20]!a}")
        self._code, self._order = text, "="

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or any(part is not None for part in state[2:5]):
            raise pickle.UnpicklingError("an array of a compound type")
        if any(type(part) is not int for part in (state[0], *state[5:])) or not 0 <= state[0] <= _TYPE_VERSION:
            raise pickle.UnpicklingError("a type of an unknown state")
        order = state[1].decode("latin1") if isinstance(state[1], bytes) else state[1]
        if order not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError("an unknown order of bytes")
        self._order = order

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self._order + self._code)


class _Array:
    """An array; made empty, then given its state, as NumPy's own pickles do it."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values = np.zeros(0)

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise pickle.UnpicklingError("an array of an unknown state")
        version, shape, kind, by_columns, content = state
        if type(version) is not int or version != _ARRAY_VERSION or not isinstance(by_columns, int):
            raise pickle.UnpicklingError("an array of an unknown state")
        self.values = _values(content, kind, shape, "F" if by_columns else "C")


class _Name:
    """What a name on the list stands for; it can be called, and nothing else."""

    __slots__ = ("make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self.make = make

    def __call__(self, *arguments: Any) -> Any:
        return self.make(*arguments)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("a state for a name")


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for a name on the list. Raises UnpicklingError for any other."""
        make = _NAMES.get((module.replace("numpy._core.", "numpy.core."), name))
        if make is None:
            raise pickle.UnpicklingError(f"the name {f'{module}.{name}'[:80]!a}")
        return _Name(make)


def _values(content: object, kind: object, shape: object, order: object) -> np.ndarray:
    raw = content.encode("latin1") if isinstance(content, str) else content
    if not isinstance(kind, _Type) or not isinstance(raw, bytes | bytearray) or order not in ("C", "F"):
        raise pickle.UnpicklingError("an array of Python objects")
    if not isinstance(shape, tuple) or len(shape) > 8 or any(type(size) is not int or size < 0 for size in shape):
        raise pickle.UnpicklingError("an array without a plain shape")
    if math.prod(shape) * kind.dtype.itemsize != len(raw):
        raise pickle.UnpicklingError(f"{len(raw)} bytes for an array of shape {shape}")
    return np.frombuffer(raw, kind.dtype).reshape(shape, order="F" if order == "F" else "C")


def _reconstruct(subtype: object, shape: object, kind: object) -> _Array:
    if (
        not isinstance(subtype, _Name)
        or subtype.make is not _no_call
        or (shape, kind) not in (((0,), b"b"), ((0,), "b"))
    ):
        raise pickle.UnpicklingError("an array that begins as no NumPy writes it")
    return _Array()


def _from_buffer(content: object, kind: object, shape: object, order: object) -> _Array:
    array = _Array()
    array.values = _values(content, kind, shape, order)
    return array


def _scalar(kind: object, content: object = b"") -> Any:
    return _values(content, kind, (), "C").item()


def _bytes(content: object = b"", *encoding: object) -> bytes:
    if isinstance(content, bytes) and not encoding:
        return content
    if not isinstance(content, str) or encoding not in (("latin1",), ("latin-1",)):
        raise pickle.UnpicklingError("bytes in another encoding than latin1")
    return content.encode("latin1")


def _no_call(*arguments: object) -> None:
    raise pickle.UnpicklingError("a type where a value belongs")


_NAMES: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _no_call,
    ("numpy", "dtype"): _Type,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    ("_codecs", "encode"): _bytes,
    ("builtins", "bytes"): _bytes,
    ("builtins", "bytearray"): _bytes,
    ("collections", "OrderedDict"): dict,
}
