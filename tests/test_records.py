"""The records: what each refuses, and how readers are drawn from a batch."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from plurimask.errors import InputError
from plurimask.geometry import Grid
from plurimask.records import Batch, Case, MaskSet

GRID = Grid((4, 5))


def case(**changed):
    given = {"image": np.zeros((1, 4, 5), np.float32), "readers": np.zeros((3, 4, 5), bool), "grid": GRID}
    return Case("A", **(given | changed))


def mask_set(**changed):
    return MaskSet("A", **({"masks": np.zeros((3, 4, 5), bool), "grid": GRID} | changed))


def image_with(value):
    image = np.zeros((1, 4, 5), np.float32)
    image[0, 1, 2] = value
    return image


@pytest.mark.parametrize("readers", [0, 1, 7])
def test_case_takes_any_number_of_readers(readers):
    assert case(readers=np.zeros((readers, 4, 5), bool)).readers.shape[0] == readers


def test_case_takes_a_volume():
    volume = case(image=np.zeros((2, 4, 5, 6), np.float32), readers=np.zeros((1, 4, 5, 6), bool), grid=Grid((4, 5, 6)))
    assert volume.image.shape == (2, 4, 5, 6)


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"image": np.zeros((1, 4, 5))}, "A: expected image of type float32, got float64"),
        ({"image": [[0.0]]}, "A: expected image of type float32, got list"),
        ({"image": np.zeros((1, 5, 4), np.float32)}, "A: expected image of size 4x5, got 5x4"),
        ({"image": np.zeros((4, 5), np.float32)}, "A: expected image of size 4x5, got 5;"),
        ({"image": np.zeros(4, np.float32)}, "A: expected image of size 4x5, got no size"),
        ({"image": np.zeros((0, 4, 5), np.float32)}, "A: expected at least one image channel, got none"),
        ({"image": image_with(np.nan)}, "A: expected a finite image, got 1 NaN or infinite values"),
        ({"image": image_with(-np.inf)}, "A: expected a finite image, got 1 NaN or infinite values"),
        ({"readers": np.zeros((3, 4, 5), np.uint8)}, "A: expected reader masks of type bool, got uint8"),
        ({"readers": np.zeros((3, 4, 6), bool)}, "A: expected reader masks of size 4x5, got 4x6"),
        ({"grid": Grid((4, 6))}, "A: expected image of size 4x6, got 4x5"),
    ],
)
def test_case_refuses(changed, match):
    with pytest.raises(InputError, match=match):
        case(**changed)


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"masks": np.zeros((3, 4, 5), np.float32)}, "A: expected masks of type bool, got float32"),
        ({"masks": np.zeros((3, 5, 4), bool)}, "A: expected masks of size 4x5, got 5x4"),
        ({"masks": np.zeros((0, 4, 5), bool)}, "A: expected at least one mask, got none"),
        ({"seeds": (1, 2)}, "A: expected 3 seeds, one a mask, got 2"),
        ({"weights": (1, 2)}, "A: expected 3 weights above 0, one a mask, got 1, 2"),
        ({"weights": (1, 2, 0)}, "A: expected 3 weights above 0, one a mask, got 1, 2, 0"),
    ],
)
def test_mask_set_refuses(changed, match):
    with pytest.raises(InputError, match=match):
        mask_set(**changed)


def test_frequency_is_the_share_of_samples():
    masks = np.zeros((4, 4, 5), bool)
    masks[0, 1, 2] = masks[:3, 3, 4] = masks[:, 0, 0] = True
    expected = np.zeros((4, 5))
    expected[1, 2], expected[3, 4], expected[0, 0] = 0.25, 0.75, 1
    np.testing.assert_array_equal(mask_set(masks=masks).frequency, expected)


@pytest.mark.parametrize("byte", [2, 255])
def test_booleans_of_other_bytes_than_one_become_one(byte):
    foreign = np.full((3, 4, 5), byte, np.uint8).view(bool)
    assert (mask_set(masks=foreign).masks.view(np.uint8) == 1).all()
    assert (case(readers=foreign[..., ::-1]).readers.view(np.uint8) == 1).all()
    assert mask_set(masks=foreign).frequency.max() == 1


def test_clean_booleans_are_not_copied():
    masks = np.ones((3, 4, 5), bool)
    assert mask_set(masks=masks).masks is masks
    assert case(readers=masks).readers is masks


def test_frequency_is_float32_and_exact_for_many_samples():
    frequency = mask_set(masks=np.ones((1000, 4, 5), bool)).frequency
    assert (frequency.dtype, frequency.min()) == (np.float32, 1)


VALID = torch.tensor([[True, True, True, True], [True, False, True, False], [False, False, False, True]])


def batch(copies=1):
    """Three cases, repeated; the image of case b is b everywhere, and reader r has pixel (b, r) alone."""
    image = torch.arange(3.0)[:, None, None, None].expand(3, 2, 3, 4).repeat(copies, 1, 1, 1)
    readers = torch.zeros(3, 4, 3, 4, dtype=torch.bool)
    for b, r in VALID.nonzero().tolist():
        readers[b, r, b, r] = True
    return Batch(image, readers.repeat(copies, 1, 1, 1), VALID.repeat(copies, 1))


def drawn_slots(copies):
    """(copies, 3) slot that was drawn for each case; -1 where the mask is no reader's."""
    torch.manual_seed(0)
    _, mask = batch(copies).one_reader()
    rows = torch.stack([mask[b::3, 0, b] for b in range(3)], dim=1)
    return torch.where(rows.any(-1), rows.int().argmax(-1), -1)


def test_one_reader_has_one_mask_an_image_in_order():
    image, mask = batch().one_reader()
    assert (image.shape, mask.shape, mask.dtype) == ((3, 2, 3, 4), (3, 1, 3, 4), torch.bool)
    assert torch.equal(image, batch().image)


def test_one_reader_never_draws_a_slot_that_nobody_read():
    slots = drawn_slots(2000)
    assert VALID[torch.arange(3), slots].all()
    assert (slots >= 0).all()


@pytest.mark.parametrize(("row", "readers"), [(0, [0, 1, 2, 3]), (1, [0, 2])])
def test_one_reader_is_uniform_over_the_readers(row, readers):
    counts = [(drawn_slots(4000)[:, row] == slot).sum().item() for slot in readers]
    assert chisquare(counts).pvalue > 0.01


def test_one_reader_draws_cases_independently():
    """The slots of two neighbours that both have readers 0 and 2 agree half of the time."""
    slots = drawn_slots(4000)[:, 1]
    assert (slots[::2] == slots[1::2]).float().mean().item() == pytest.approx(0.5, abs=0.05)


def test_all_readers_are_every_reader_once_with_their_image():
    image, mask = batch().all_readers()
    drew = [(int(b[0, 0, 0]), *m[0].nonzero().tolist()) for b, m in zip(image, mask, strict=True)]
    assert drew == [(b, [b, r]) for b, r in VALID.nonzero().tolist()]
    assert (image.shape, mask.shape, mask.dtype) == ((7, 2, 3, 4), (7, 1, 3, 4), torch.bool)


def test_batch_moves_as_a_whole():
    moved = batch().to(torch.device("meta"))
    assert {moved.image.device.type, moved.readers.device.type, moved.valid.device.type} == {"meta"}
