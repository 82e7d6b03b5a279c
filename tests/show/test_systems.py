"""What several systems drew for a case: strips of masks, gaps, and masks that agree with no reader."""

import base64
import io

import numpy as np
from PIL import Image

from plurimask.show.systems import strip_of

WHOLE = slice(0, 6), slice(0, 8)


def square(rows, columns):
    mask = np.zeros((6, 8), dtype=bool)
    mask[rows, columns] = True
    return mask


def pixels(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def test_strip_shows_each_mask_voxel_for_voxel_and_nothing_between():
    masks = np.stack([square(slice(0, 2), slice(0, 3)), square(slice(4, 6), slice(5, 8))])
    strip = strip_of(masks, masks, WHOLE, 1.0, first=1)
    picture = pixels(strip.picture)
    for start, mask in zip(strip.starts, masks, strict=True):
        assert np.array_equal(picture[:, start : start + 8, 0] > 0, mask)
    clear = np.ones(strip.width, dtype=bool)
    clear[[c for start in strip.starts for c in range(start, start + 8)]] = False
    assert clear.any()
    assert np.array_equal(picture[..., 1] == 0, np.broadcast_to(clear, (6, strip.width)))


def test_gap_behind_the_first_masks_is_wider():
    strip = strip_of(np.stack([square(0, 0)] * 4), np.zeros((0, 6, 8), bool), WHOLE, 1.0, first=2)
    gaps = np.diff(strip.starts)
    assert gaps[1] > gaps[0] == gaps[2]


def test_masks_without_a_voxel_in_common_with_any_reader_stand_alone():
    readers = np.stack([square(slice(0, 2), slice(0, 3)), square(slice(0, 3), slice(0, 3))])
    masks = np.stack([square(2, 2), square(5, 5), square(slice(0, 0), 0)])
    assert strip_of(masks, readers, WHOLE, 1.0, 3).alone == (1, 2)


def test_empty_mask_agrees_with_a_reader_who_drew_nothing():
    readers = np.stack([square(slice(0, 2), slice(0, 3)), square(slice(0, 0), 0)])
    strip = strip_of(np.stack([square(slice(0, 0), 0)]), readers, WHOLE, 1.0, 1)
    assert (strip.alone, strip.empty) == ((), 1)


def test_without_readers_no_mask_is_said_to_stand_alone():
    assert strip_of(np.stack([square(1, 1)]), np.zeros((0, 6, 8), bool), WHOLE, 1.0, 1).alone == ()
