"""Drawing: what a sample's seed depends on, and that chunks change nothing but memory."""

import numpy as np
import pytest
import torch
from tiny import SIZE, image, recipe, stir

from plurimask.methods.draw import draw_masks
from plurimask.seeds import sample_seeds
from plurimask.training.checkpoint import build_method


@pytest.fixture(scope="module")
def method():
    torch.manual_seed(0)
    made = build_method(recipe())
    stir(made)
    return made.eval()


def draw(method, count, **options):
    return draw_masks(method, image(), sample_seeds(image(), 0, count), recipe().sampler, **options)


@pytest.mark.parametrize("chunk", [1, 3, 7])
def test_chunks_give_what_one_chunk_gives(method, chunk):
    assert (draw(method, 7, chunk=chunk) != draw(method, 7, chunk=16)).mean() < 0.002  # float rounding


def test_no_more_than_a_chunk_is_in_work(method):
    sizes = []
    with method.denoiser.register_forward_hook(lambda module, inputs, output: sizes.append(len(output))):
        draw(method, 40)
    assert max(sizes) == 16


def test_masks_are_bool_one_a_seed(method):
    masks = draw(method, 5)
    assert masks.shape == (5, SIZE, SIZE)
    assert masks.dtype == np.bool_


def test_unit_and_offset_of_the_image_do_not_matter(method):
    seeds = sample_seeds(image(), 0, 4)
    other = image() * 4 - 1000
    first, second = (draw_masks(method, array, seeds, recipe().sampler) for array in (image(), other))
    assert (first != second).mean() < 0.002


def test_first_seeds_do_not_depend_on_the_count():
    assert sample_seeds(image(), 3, 4) == sample_seeds(image(), 3, 100)[:4]


def test_seeds_depend_on_the_image():
    changed = image()
    changed[0, 0, 0] += 1
    assert not set(sample_seeds(image(), 0, 16)) & set(sample_seeds(changed, 0, 16))


def test_seeds_depend_on_the_seed():
    assert not set(sample_seeds(image(), 0, 16)) & set(sample_seeds(image(), 1, 16))


@pytest.mark.parametrize("same", [np.asfortranarray, lambda array: array.astype(np.float64)])
def test_seeds_depend_on_values_and_not_on_their_storage(same):
    assert sample_seeds(same(image()), 0, 4) == sample_seeds(image(), 0, 4)


def test_seeds_fit_torch_and_do_not_repeat():
    seeds = sample_seeds(image(), 0, 10_000)
    assert len(set(seeds)) == 10_000
    assert min(seeds) >= 0
    assert max(seeds) < 2**63


def test_seeds_are_the_same_on_every_machine():
    plane = np.arange(4, dtype=np.float32).reshape(1, 2, 2)
    assert sample_seeds(plane, 0, 2) == (862042055108943696, 7655022759606326662)
