"""Representatives of a pool: the best choice on small pools, in any order, with weights that sum to the pool."""

import itertools

import numpy as np
import pytest
import torch

from plurimask.errors import InputError
from plurimask.metrics import representative
from plurimask.metrics.ged import ged
from plurimask.metrics.overlap import pairwise_distance
from plurimask.metrics.representative import energy, pool_distances, select


def masks(seed, count, empty=0):
    """Boxes of 12 x 12 pixels, the first `empty` without a pixel."""
    rng = np.random.default_rng(seed)
    drawn = np.zeros((count, 12, 12), dtype=bool)
    for mask in drawn[empty:]:
        top, left = rng.integers(0, 6, 2)
        mask[top : top + rng.integers(1, 7), left : left + rng.integers(1, 7)] = True
    return drawn


def distances(drawn):
    return pairwise_distance(torch.from_numpy(drawn)[None], torch.from_numpy(drawn)[None], "iou")[0].numpy()


def best(d, count):
    return min(energy(d, np.array(chosen)) for chosen in itertools.combinations(range(len(d)), count))


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_the_choice_is_close_to_the_best_of_all(count):
    """Exchanges may end where no single one helps: most pools give the best choice, and none one that is far off."""
    found = []
    for seed in range(20):
        d = distances(masks(seed, 10, empty=seed % 4))
        found.append(energy(d, select(d, count).indices) - best(d, count))
    assert min(found) >= -1e-9
    assert np.mean(np.array(found) < 1e-9) >= 0.8
    assert max(found) < 0.01


def test_energy_is_v_ged_to_the_pool_but_for_a_constant():
    drawn, chosen = masks(0, 12, empty=3), np.array([0, 5, 7])
    d = distances(drawn)
    expected = ged(torch.from_numpy(drawn[chosen])[None], torch.from_numpy(drawn)[None]).item()
    assert energy(d, chosen) - d.mean() == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_the_pool_does_not_matter(seed):
    drawn = masks(seed, 24, empty=5)
    mixed = drawn[np.random.default_rng(seed).permutation(24)]
    one, two = (select(distances(pool), 4) for pool in (drawn, mixed))
    assert {mask.tobytes() for mask in drawn[one.indices]} == {mask.tobytes() for mask in mixed[two.indices]}
    assert sorted(one.weights) == sorted(two.weights)


def test_empty_masks_are_chosen_in_their_share():
    drawn = masks(1, 64, empty=16)
    chosen = drawn[select(distances(drawn), 16).indices]
    assert abs((~chosen.any((1, 2))).sum() - 4) <= 1


def test_a_choice_is_nearer_to_the_pool_than_independent_draws_are():
    d = distances(masks(2, 96, empty=30))
    random = [energy(d, np.random.default_rng(seed).choice(96, 4, replace=False)) for seed in range(50)]
    assert energy(d, select(d, 4).indices) < min(random)


def test_weights_count_those_of_the_pool_that_are_nearest():
    drawn = np.concatenate([masks(3, 1)] * 4 + [masks(4, 1)] * 3 + [np.zeros((2, 12, 12), dtype=bool)])
    chosen = select(distances(drawn), 3)
    assert {drawn[index].tobytes(): weight for index, weight in zip(*chosen, strict=True)} == {
        drawn[0].tobytes(): 4,
        drawn[4].tobytes(): 3,
        drawn[7].tobytes(): 2,
    }


def test_the_mask_that_stands_for_most_comes_first():
    chosen = select(distances(masks(5, 40, empty=10)), 6)
    assert (np.diff(chosen.weights) <= 0).all()
    assert chosen.weights.sum() == 40


@pytest.mark.parametrize("pool", [masks(0, 1), np.zeros((5, 12, 12), dtype=bool), np.repeat(masks(3, 1), 5, axis=0)])
def test_equal_masks_are_shared_out_evenly(pool):
    chosen = select(distances(pool), min(3, len(pool)))
    assert len(set(chosen.indices.tolist())) == len(chosen.indices)
    assert chosen.weights.max() - chosen.weights.min() <= 1


def test_all_of_a_pool_stand_for_themselves():
    assert select(distances(masks(0, 7)), 7).weights.tolist() == [1] * 7


@pytest.mark.parametrize("at_once", [1, 2**13])
def test_distances_of_bits_in_parts_are_those_of_whole_masks(at_once, monkeypatch):
    monkeypatch.setattr(representative, "_BYTES_AT_ONCE", at_once)
    drawn = masks(0, 9, empty=2)
    parts = [np.packbits(part.reshape(9, -1), axis=1) for part in (drawn[:, :5], drawn[:, 5:6], drawn[:, 6:])]
    np.testing.assert_allclose(pool_distances(parts), distances(drawn), atol=1e-12)


@pytest.mark.parametrize("count", [0, 8])
def test_a_pool_that_is_too_small_is_refused(count):
    with pytest.raises(InputError, match="pool: expected at least"):
        select(distances(masks(0, 7)), count)


@pytest.mark.parametrize("wrong", [np.zeros((3, 4)), np.full((3, 3), np.nan), np.triu(np.ones((3, 3)), 1)])
def test_what_is_no_matrix_of_distances_is_refused(wrong):
    with pytest.raises(InputError, match="a symmetric finite matrix"):
        select(wrong, 2)
