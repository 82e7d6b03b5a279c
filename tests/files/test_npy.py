"""NPY: what comes back, and what is refused."""

import pickle

import numpy as np
import pytest

from plurimask.errors import InputError
from plurimask.files.images import read_npy


@pytest.mark.parametrize("dtype", ["bool", "u1", "<i2", ">i2", "<f4", ">f8", "f2"])
@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3)])
def test_round_trip_of_one_channel(tmp_path, dtype, shape):
    array = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    np.save(tmp_path / "a.npy", array)
    assert np.array_equal(read_npy(tmp_path / "a.npy").values, array[None])


def test_fortran_order(tmp_path):
    array = np.arange(6.0).reshape(2, 3)
    np.save(tmp_path / "a.npy", np.asfortranarray(array))
    assert np.array_equal(read_npy(tmp_path / "a.npy").values, array[None])


@pytest.mark.parametrize("shape", [(4, 5, 1), (1, 4, 5)])
def test_a_single_slice_is_a_plane(tmp_path, shape):
    plane = np.arange(20).reshape(4, 5)
    np.save(tmp_path / "a.npy", plane.reshape(shape))
    assert np.array_equal(read_npy(tmp_path / "a.npy").values, plane[None])


@pytest.mark.parametrize("shape", [(2, 9, 8), (9, 2, 8), (9, 1, 8)])
def test_slices_of_a_pixel_or_two_are_asked_about(tmp_path, shape):
    np.save(tmp_path / "a.npy", np.zeros(shape))
    with pytest.raises(InputError, match=r"a\.npy: expected rows, .* would be .*; move the axis of the slices last"):
        read_npy(tmp_path / "a.npy")


@pytest.mark.parametrize("shape", [(), (4,), (2, 3, 4, 5)])
def test_other_numbers_of_axes_are_refused(tmp_path, shape):
    np.save(tmp_path / "a.npy", np.zeros(shape))
    with pytest.raises(InputError, match=r"a\.npy: expected one channel .* got size \(.*write one file a channel"):
        read_npy(tmp_path / "a.npy")


def test_python_objects_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[{}]]), allow_pickle=True)
    with pytest.raises(InputError, match=r"a\.npy: expected a readable NPY file, got .*Python objects"):
        read_npy(tmp_path / "a.npy")


def test_a_bare_pickle_is_refused(tmp_path):
    (tmp_path / "a.npy").write_bytes(pickle.dumps(np.zeros((2, 2))))
    with pytest.raises(InputError, match="expected a readable NPY file, got 'the magic string is not correct"):
        read_npy(tmp_path / "a.npy")


def test_a_truncated_file_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((20, 20)))
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-1])
    with pytest.raises(InputError, match="expected a readable NPY file, got 'mmap length is greater than file size"):
        read_npy(tmp_path / "a.npy")


@pytest.mark.parametrize(
    "header",
    [
        "-" * 9000 + "1",
        "{[]: 1}",
        "{'descr': (), 'fortran_order': False, 'shape': (1, 2)}",
        f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({2**40}, {2**40})}}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 2)}",
        "{'descr': '|u1'",
    ],
    ids=["deep", "unhashable", "no type", "giant", "negative", "open"],
)
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_a_hostile_header_is_refused(tmp_path, header):
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode())
    with pytest.raises(InputError, match=r"a\.npy: expected a readable NPY file"):
        read_npy(tmp_path / "a.npy")
