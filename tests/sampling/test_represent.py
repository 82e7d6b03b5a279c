"""Panels that represent: of a pool that a model draws, of studies plane by plane, and of anybody's masks."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_study import model, of, volume
from tiny import SIZE, image

from plurimask.errors import InputError, SettingsError
from plurimask.geometry import Grid
from plurimask.metrics.overlap import pairwise_distance
from plurimask.metrics.representative import select
from plurimask.records import MaskSet
from plurimask.sampling import parse_region, represent, sample_study
from plurimask.sampling.represent import pack, unpack

POOL = 24


def panel_of(masks, **more):
    return MaskSet("a", masks, Grid(masks.shape[1:]), **more)


def boxes(count=12, empty=4):
    rng = np.random.default_rng(0)
    masks = np.zeros((count, 9, 13), dtype=bool)
    for mask in masks[empty:]:
        top, left = rng.integers(0, 5, 2)
        mask[top : top + 3, left : left + 4] = True
    return masks


@pytest.fixture(scope="module")
def one_pass():
    made = model("one-pass")
    made.method.empty_head.last.bias.data.fill_(-1.0)
    return made


@pytest.mark.parametrize("name", ["cimd", "one-pass", "flow", "unet"])
def test_every_method_draws_representative_panels(name):
    made = model(name)
    panel = made.sample(image(), 3, panel="representative", pool=8)
    assert panel.masks.shape == (3, SIZE, SIZE)
    assert (sum(panel.weights), panel.settings["panel"], panel.settings["pool"]) == (8, "representative", 8)
    assert len(set(panel.seeds)) == 3
    again = made.sample(image(), 3, panel="representative", pool=8)
    assert np.array_equal(again.masks, panel.masks)
    assert again.weights == panel.weights


def test_a_pool_is_empty_as_often_as_the_model_says(one_pass):
    """To one mask: its quantiles are spread evenly."""
    pool = one_pass.sample(image(), POOL, panel="representative", pool=POOL)
    with torch.inference_mode():
        shown = torch.from_numpy((image() - image().min()) / np.ptp(image()))[None] * 2 - 1
        empty = one_pass.method.encode(shown).empty.item()
    assert abs((~pool.masks.any((1, 2))).mean() - empty) <= 1 / POOL
    assert pool.weights == (1,) * POOL


def test_a_panel_is_what_is_selected_of_its_pool(one_pass):
    """The pool as a panel of its own is in another order."""
    pool = one_pass.sample(image(), POOL, panel="representative", pool=POOL)
    chosen = one_pass.sample(image(), 4, panel="representative", pool=POOL)
    expected = represent(replace(pool, weights=None), 4)
    assert {mask.tobytes() for mask in chosen.masks} == {mask.tobytes() for mask in expected.masks}
    assert sorted(chosen.weights) == sorted(expected.weights)
    where = {seed: mask for seed, mask in zip(pool.seeds, pool.masks, strict=True)}
    assert all(np.array_equal(where[seed], mask) for seed, mask in zip(chosen.seeds, chosen.masks, strict=True))


@pytest.mark.parametrize(("region", "empty"), [(None, False), ("2:12,4:20,1:3", True)])
def test_a_volume_is_represented_as_a_whole(one_pass, region, empty):
    scan = of(volume((16, 24, 4)))
    where = {"whole": True} if region is None else {"region": parse_region(region)}
    pool = sample_study(one_pass, scan, 9, panel="representative", pool=9, **where)
    chosen = sample_study(one_pass, scan, 3, panel="representative", pool=9, **where)
    expected = represent(replace(pool, weights=None), 3)
    assert {mask.tobytes() for mask in chosen.masks} == {mask.tobytes() for mask in expected.masks}
    assert (chosen.masks[..., 0].any() or chosen.masks[..., 3].any()) != empty


def test_a_panel_is_chosen_by_the_distances_of_whole_masks():
    pool = panel_of(boxes(), seeds=tuple(range(12)), settings={"seed": 3})
    found = represent(pool, 4)
    stack = torch.from_numpy(pool.masks)[None]
    chosen = select(pairwise_distance(stack, stack)[0].numpy(), 4)
    assert found.seeds == tuple(chosen.indices.tolist())
    assert np.array_equal(found.masks, pool.masks[chosen.indices])
    assert found.weights == tuple(chosen.weights.tolist())
    assert found.settings == {"seed": 3, "panel": "representative", "pool": 12}


def test_one_mask_is_the_medoid():
    pool = panel_of(boxes(empty=0))
    stack = torch.from_numpy(pool.masks)[None]
    medoid = pairwise_distance(stack, stack)[0].mean(1).argmin()
    assert np.array_equal(represent(pool, 1).masks[0], pool.masks[medoid])
    assert represent(pool, 1).weights == (12,)


@pytest.mark.parametrize("masks", [np.zeros((6, 9, 13), bool), np.ones((6, 9, 13), bool)])
def test_equal_masks_are_shared_out(masks):
    assert represent(panel_of(masks), 3).weights == (2, 2, 2)


@pytest.mark.parametrize(
    ("pool", "count", "match"),
    [
        (panel_of(boxes()), 13, "a: expected at least 13 masks to choose from, got 12; draw more"),
        (panel_of(boxes(), weights=(2,) * 12), 4, "expected independent masks to choose from, got a representative"),
    ],
)
def test_what_cannot_be_a_pool_is_refused(pool, count, match):
    with pytest.raises(InputError, match=match):
        represent(pool, count)


@pytest.mark.parametrize(
    ("asked", "match"),
    [
        (
            {"panel": "representative", "pool": 3},
            "pool: expected at least 4 masks to choose from, got 3; give a larger",
        ),
        ({"pool": 3}, "pool: expected none for independent draws, got 3; add --panel representative"),
        ({"panel": "typical"}, "panel: expected independent or representative, got typical"),
    ],
)
def test_a_pool_that_does_not_fit_is_refused(one_pass, asked, match):
    with pytest.raises(SettingsError, match=match):
        one_pass.sample(image(), 4, **asked)


@pytest.mark.parametrize("shape", [(5, 3), (3, 7, 5)])
def test_masks_come_back_from_bits(shape):
    masks = np.random.default_rng(0).random((4, *shape)) > 0.5
    assert np.array_equal(unpack(pack(masks), shape), masks)
