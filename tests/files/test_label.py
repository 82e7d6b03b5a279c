"""The rule from stored values to a rater mask."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from plurimask.errors import InputError
from plurimask.files.images import binarise, read_label

ROW, COLUMN = np.mgrid[:64, :64]
DISC = (ROW - 30) ** 2 + (COLUMN - 33) ** 2 < 100
INTEGERS = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"]


def jpeg(mask, quality):
    buffer = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(buffer, "JPEG", quality=quality)
    return np.array(Image.open(buffer))


@pytest.mark.parametrize("dtype", ["bool", "f2", "f4", "f8", *INTEGERS])
def test_zero_and_one_are_taken_as_they_are(dtype):
    assert np.array_equal(binarise("a", DISC.astype(dtype)), DISC)


def test_the_booleans_of_a_one_bit_png_become_zero_and_one(tmp_path):
    Image.fromarray(DISC).save(tmp_path / "label0.png")
    for mask in (read_label(tmp_path / "label0.png")[0], binarise("a", np.array(Image.open(tmp_path / "label0.png")))):
        assert np.array_equal(mask.view(np.uint8), DISC)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_zero_and_the_maximum_are_empty_and_drawn(dtype):
    maximum = np.iinfo(dtype).max
    assert np.array_equal(binarise("a", np.where(DISC, maximum, 0).astype(dtype)), DISC)


@pytest.mark.parametrize(("dtype", "last_out"), [("u1", 127), ("u2", 32767), ("i2", 16383), ("u8", 2**63 - 1)])
def test_integers_count_above_half_their_maximum(dtype, last_out):
    values = np.array([0, 2, last_out, last_out + 1, np.iinfo(dtype).max], dtype=dtype)
    assert binarise("a", values).tolist() == [False, False, False, True, True]


def test_floats_count_above_one_half():
    assert binarise("a", np.array([0, 0.5, 0.51, 1])).tolist() == [False, False, True, True]


def test_a_float_may_miss_one_by_a_rounding():
    assert binarise("a", np.array([-1e-6, 1 + 1e-6])).tolist() == [False, True]


@pytest.mark.parametrize("quality", [95, 75, 50])
def test_jpeg_ringing_does_not_count(quality):
    values = jpeg(DISC, quality)
    assert (values > 0).sum() > 1.3 * DISC.sum()
    assert np.array_equal(binarise("a", values, lossy=True), DISC)


def test_an_empty_jpeg_that_decodes_to_one_everywhere_is_empty():
    values = jpeg(np.zeros_like(DISC), quality=70)
    assert (values == 1).all()
    assert not binarise("a", values, lossy=True).any()


def test_an_empty_jpeg_that_decodes_above_one_is_empty():
    values = jpeg(np.zeros_like(DISC), quality=15)
    assert (values > 1).all()
    assert not binarise("a", values, lossy=True).any()


@given(st.lists(st.integers(2, 127), min_size=1))
def test_integers_that_would_all_vanish_are_refused(values):
    with pytest.raises(InputError, match=f"got values up to {max(values)} in uint8; write one mask a file"):
        binarise("a", np.array([0, 1, *values], dtype=np.uint8))


@pytest.mark.parametrize(
    ("values", "got"),
    [
        (np.array([0, 255], dtype=np.uint16), "values up to 255 in uint16"),
        (np.array([0, -1], dtype=np.int16), "negative values, down to -1"),
        (np.array([0.0, 1.1]), "floats from 0 to 1.1"),
        (np.array([-0.5, 1.0]), "floats from -0.5 to 1"),
        (np.array([0.0, np.nan]), "NaN or infinite values"),
        (np.array([0.0, np.inf]), "NaN or infinite values"),
        (np.array([0j, 1j]), "values of type complex128"),
        (np.array(["0", "1"]), "values of type <U1"),
    ],
)
def test_anything_else_is_refused(values, got):
    with pytest.raises(InputError, match=f"label0: expected a label of 0 and 1, .* got {got};"):
        binarise("label0", values)


def test_the_mask_is_not_a_view_of_its_source():
    values = np.array([True, False])
    binarise("a", values)[0] = False
    assert values[0]
