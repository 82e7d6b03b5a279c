"""Mixture of stochastic experts: transport against a linear program, and the loss by hand."""

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.optimize import linprog
from scipy.stats import norm
from small_batches import batch, draw

from plurimask.methods.mose import Mose, MoseSettings, distance, transport
from plurimask.nets.conv_unet import ConvUnetSettings
from plurimask.seeds import OWN, generator


def method(**changed):
    """A small mixture of three experts."""
    torch.manual_seed(0)
    small = {"experts": 3, "draws": 2, "combining": 1, "start": 2}
    return Mose(MoseSettings(net=ConvUnetSettings(widths=(8, 12), convolutions=1), **small | changed))


def least(cost, capacity):
    """Value of (4) for a matrix of draws and readers, by a linear program."""
    draws, readers = cost.shape
    every_reader = np.kron(np.ones(draws), np.eye(readers))
    every_draw = np.kron(np.eye(draws), np.ones(readers))
    equal = np.full(readers, 1 / readers)
    return linprog(cost.ravel(), every_draw, np.full(draws, capacity), every_reader, equal).fun


@pytest.mark.parametrize(("readers", "capacity"), [(4, 0.25), (4, 0.5), (4, 1.0), (6, 0.5), (10, 0.3), (1, 0.5)])
def test_transport_is_that_of_the_linear_program(readers, capacity):
    """A capacity of whole readers; a lone reader is one more than the half that a draw may take, and is taken whole."""
    cost = torch.rand((5, 6, readers), generator=torch.Generator().manual_seed(0))
    plan = transport(cost, torch.ones((5, readers), dtype=torch.bool), capacity)
    torch.testing.assert_close(plan.sum(1), torch.full((5, readers), 1 / readers))
    whole = max(capacity, 1 / readers)
    assert plan.sum(2).max() <= whole + 1e-6
    for one, matrix in zip(plan, cost, strict=True):
        assert (one * matrix).sum().item() == pytest.approx(least(matrix.double().numpy(), whole), abs=1e-6)


def test_a_capacity_is_rounded_up_to_whole_readers():
    plan = transport(torch.tensor([[[0.0] * 3, [1.0] * 3]]), torch.ones((1, 3), dtype=torch.bool), 0.5)
    assert plan.sum(2).tolist() == [[pytest.approx(2 / 3), pytest.approx(1 / 3)]]


def test_without_a_capacity_each_reader_goes_to_the_nearest_draw():
    cost = torch.rand((4, 6, 3), generator=torch.Generator().manual_seed(0))
    plan = transport(cost, torch.ones((4, 3), dtype=torch.bool), 1.0)
    assert torch.equal(plan.argmax(1), cost.argmin(1))


def test_slots_that_were_not_read_are_left_out():
    cost = torch.rand((1, 6, 3), generator=torch.Generator().manual_seed(0))
    plan = transport(cost, torch.tensor([[True, False, True]]), 0.5)
    assert plan[0, :, 1].eq(0).all()
    alone = transport(cost[:, :, [0, 2]], torch.ones((1, 2), dtype=torch.bool), 0.5)
    assert torch.equal(plan[0][:, [0, 2]], alone[0])


def test_a_cost_that_is_not_finite_reaches_the_loss():
    cost = torch.full((1, 4, 2), float("nan"))
    assert (transport(cost, torch.ones((1, 2), dtype=torch.bool), 0.5) * cost).sum().isnan()


def test_distance_of_hard_masks_is_one_less_the_iou_but_for_the_constant():
    x = torch.tensor([[[1.0, 1, 0, 0], [0, 0, 0, 0]]])
    y = torch.tensor([[[1.0, 0, 1, 0], [0, 0, 0, 0]]])
    torch.testing.assert_close(distance(x, y, 0.0)[0, 0], torch.tensor([2 / 3, 1.0]))
    torch.testing.assert_close(distance(x, y, 1.0), torch.tensor([[[1 - 2 / 4, 1 - 1 / 3], [1 - 1 / 3, 0.0]]]))


def test_distance_of_soft_masks_counts_products():
    x, y = torch.tensor([[[0.5, 0.25]]]), torch.tensor([[[1.0, 0.0]]])
    assert distance(x, y, 1.0).item() == pytest.approx(1 - (0.5 + 1) / (0.75 + 1 - 0.5 + 1))


def logits_of(made, features, z):
    """S of one image (2) by hand, in double precision, for one 1x1 convolution before the logit."""
    shift, scale = (
        (layer.weight @ z + layer.bias).detach().double()[:, None, None] for layer in (made.shift, made.scale)
    )
    inner, last = (layer for layer in made.combine.modules() if isinstance(layer, torch.nn.Conv2d))
    x = (features.double() + shift) * scale
    for layer in (inner, last):
        x = torch.einsum("oi,ihw->ohw", layer.weight[:, :, 0, 0].detach().double(), x)
        x = x + layer.bias.detach().double()[:, None, None]
        x = x.clamp(min=0) if layer is inner else x
    return x[0]


@pytest.mark.parametrize(("done", "capacity"), [(0, 0.5), (2, 1.0)])
def test_loss_by_hand(done, capacity):
    made, cases = method(beta=0.5, constant=0.1), batch(4)
    made.steps += done
    torch.manual_seed(1)
    loss = made.loss(cases)
    torch.manual_seed(1)
    noise = torch.randn(4, 2, 3, 1)
    fit = gate = 0.0
    with torch.no_grad():
        features, prior = made.encode(cases.image)
        for one in range(4):
            readers = cases.readers[one, cases.valid[one]].double()
            cost = np.zeros((6, len(readers)))
            for position in range(6):
                again, expert = divmod(position, 3)
                z = made.mean[expert] + made.log_scale[expert].exp() * noise[one, again, expert]
                x = torch.sigmoid(logits_of(made, features[one], z))
                for reader, y in enumerate(readers):
                    inside = (x * y).sum()
                    cost[position, reader] = 1 - (inside + 0.1) / (x.sum() + y.sum() - inside + 0.1)
            share = math.ceil(capacity * len(readers)) / len(readers)
            fit += least(cost, share) / 4
            plan = transport(torch.from_numpy(cost)[None], torch.ones((1, len(readers)), dtype=torch.bool), capacity)
            mass = plan[0].sum(1).reshape(2, 3).sum(0)
            gate += sum(t * (math.log(t) - p) for t, p in zip(mass, prior.logits.log_softmax(1)[one], strict=True) if t)
    assert loss.terms["transport"].item() == pytest.approx(fit, rel=1e-4)
    assert loss.terms["gate"].item() == pytest.approx(float(gate) / 4, rel=1e-4)
    assert loss.total.item() == pytest.approx(fit + 0.5 * float(gate) / 4, rel=1e-4)


def test_steps_are_counted_in_training_up_to_the_start():
    made = method()
    for mode, expected in ((False, 0), (True, 1), (True, 2), (True, 2)):
        made.train(mode).loss(batch(2))
        assert made.steps == expected


def test_experts_begin_evenly_apart():
    made = method(latent=2)
    assert made.mean.tolist() == [[0, 0], [0.5, 0.5], [1, 1]]
    assert made.log_scale.exp().unique().tolist() == [pytest.approx(1 / 8)]


def test_a_mask_is_where_the_logit_of_its_own_expert_is_positive():
    made, shown = method(), batch(1).image
    normals = torch.from_numpy(generator(11, OWN).standard_normal(2, dtype=np.float32))
    with torch.no_grad():
        features, prior = made.encode(shown)
        below = prior.logits.softmax(1)[0].cumsum(0)
        expert = int((norm.cdf(normals[1]) > below.numpy()).sum())
        z = made.mean[expert] + made.log_scale[expert].exp() * normals[0]
        logits = logits_of(made, features[0], z)
        made.combine[1].bias -= logits.median()
    assert ((logits > logits.median()) != draw(made, shown, [11])[0]).float().mean() < 0.004


def test_masks_do_not_depend_on_which_others_are_drawn():
    made, shown = method(), batch(1).image
    with torch.no_grad():
        made.log_scale += 3
        made.combine[1].bias -= made.predict(made.encode(shown), [torch.randn(8, 2)]).median()
    together = draw(made, shown, range(8))
    assert (together != together[:1]).float().mean() > 0.01
    alone = torch.cat([draw(made, shown, [seed]) for seed in range(8)])
    assert (together != alone).float().mean() < 0.004


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"experts": 1}, "greater than or equal to 2"),
        ({"capacity": 0}, "greater than 0"),
        ({"capacity": 0.05}, r"capacity of 1 / \(experts x draws\) or more, so that every reader is taken, not 0.05"),
        ({"constant": -1}, "greater than or equal to 0"),
    ],
)
def test_settings_that_make_no_method_are_refused(wrong, match):
    with pytest.raises(ValidationError, match=match):
        MoseSettings(**wrong)
