"""SegDiff: the same loss as CIMD on another denoiser, with the ambiguity loss attached or not."""

import numpy as np
import pytest
import torch
import toy
from small_batches import learn_one_case, panel
from tiny import SIZE, TREE, image, recipe, stir

from plurimask.datasets.batches import scale_intensity
from plurimask.diffusion.samplers import SamplerSettings
from plurimask.methods.cimd import Cimd
from plurimask.methods.method import build
from plurimask.methods.segdiff import Segdiff
from plurimask.records import Batch

DDIM = SamplerSettings(name="ddim", steps=3)


def method(**ambiguity):
    torch.manual_seed(0)
    table = TREE["method"]
    denoiser = table["denoiser"] | {"features": 32, "image_blocks": 1, "growth": 8}
    ambiguity = table["ambiguity"] | ambiguity
    return build(recipe(method=table | {"name": "segdiff", "denoiser": denoiser, "ambiguity": ambiguity}).method)


def stirred(**ambiguity):
    made = method(**ambiguity)
    stir(made, 0.05)
    return made


def batch(count=8):
    generator = torch.Generator().manual_seed(3)
    readers = torch.rand((count, 2, SIZE, SIZE), generator=generator) > 0.7
    images = torch.from_numpy(np.stack([image(seed) for seed in range(count)]))
    return Batch(scale_intensity(images), readers, torch.ones((count, 2), dtype=torch.bool))


def test_its_loss_is_that_of_cimd_with_its_denoiser():
    made = stirred(beta=0.3)
    cimd = Cimd(recipe().method.model_copy(update={"ambiguity": made.settings.ambiguity}))
    cimd.denoiser, cimd.ambiguity = made.denoiser, made.ambiguity
    losses = []
    for each in (made, cimd):
        torch.manual_seed(1)
        losses.append(each.loss(batch()))
    assert losses[0].terms.keys() == {"simple", "vlb", "amb", "amn_spread", "acn_spread"}
    assert losses[0].terms == losses[1].terms
    assert losses[0].total == losses[1].total


@pytest.mark.parametrize("mode", ["trained", "frozen", "acn_only", "anchored"])
def test_the_denoiser_learns_from_the_attached_loss(mode):
    grads = []
    for beta in (0.0, 10.0):
        made = stirred(mode=mode, beta=beta)
        torch.manual_seed(1)
        made.loss(batch()).total.backward()
        grads.append(made.denoiser.image_encoder.start.weight.grad)
    assert (grads[0] - grads[1]).abs().max() > 1e-6


def test_off_has_neither_amn_nor_acn():
    made = stirred(mode="off")
    assert isinstance(made, Segdiff)
    assert not [name for name in made.state_dict() if not name.startswith("denoiser.")]
    assert made.loss(batch()).terms.keys() == {"simple", "vlb"}


def test_one_case_with_one_reader_is_learned():
    made = method()
    _, drawn = learn_one_case(made, 80, 3e-3)
    assert (panel(made, [1, 2, 3, 4], DDIM) == drawn).all()


@pytest.mark.slow
def test_both_modes_of_a_known_task_are_drawn_at_their_shares():
    made = toy.fit(toy.diffusion(name="segdiff", denoiser={"features": 32, "image_blocks": 1, "growth": 8}))
    assert toy.mode_share(made, toy.SAMPLER) == toy.known()
