"""One evaluation a mask: the score by brute force, emptiness, windows, one encoding an image, masks in proportion."""

import itertools
from functools import partial

import numpy as np
import pytest
import torch
import toy
from small_batches import always, batch, corner, draw, images, loss, visible
from tiny import SIZE, small
from torch.nn.functional import binary_cross_entropy_with_logits

from plurimask.methods.one_pass import scores, soft_distance
from plurimask.metrics.ged import ged, reader_diversity
from plurimask.records import Batch


def panel(made, seeds, shown=None):
    return draw(made, images(1) if shown is None else shown, seeds)


def soft(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def hard(*shape):
    """Masks of which none is empty."""
    return soft(*shape) > 0.7


def distance(x, y, constant):
    """(3) as it is written."""
    both, apart = x.sum() + y.sum(), (x - y).abs().sum()
    return 1 - (both - apart + constant) / (both + apart + constant)


def test_scores_are_the_means_over_readers_and_distinct_pairs():
    x, y = soft(3, 4, 30), hard(3, 3, 30).double()
    drew = torch.tensor([[True, True, True], [True, False, True], [False, False, False]])
    score, pixel = [], []
    for image_number, reader in drew.nonzero().tolist():
        mine, sizes = x[image_number], y[image_number][drew[image_number]].sum(1)
        pairs = list(itertools.permutations(range(4), 2))
        score.append(
            np.mean([distance(s, y[image_number, reader], 0.5) for s in mine])
            - np.mean([distance(mine[s], mine[t], 0.5) for s, t in pairs]) / 2
        )
        apart = np.mean([(s - y[image_number, reader]).abs().sum() for s in mine])
        within = np.mean([(mine[s] - mine[t]).abs().sum() for s, t in pairs])
        pixel.append((apart - within / 2) / (sizes.mean() + 20))
    found = scores(x, y, drew, 0.5)
    assert found[0].item() == pytest.approx(np.mean(score), rel=1e-6)
    assert found[1].item() == pytest.approx(np.mean(pixel), rel=1e-6)


def test_on_hard_masks_the_score_is_half_of_u_ged_but_for_the_readers_own_part():
    x, y = hard(1, 6, 5, 9), hard(1, 4, 5, 9)
    flat = [masks.flatten(2).double() for masks in (x, y)]
    score, _ = scores(*flat, torch.ones((1, 4), dtype=torch.bool), 0.0)
    expected = ged(x, y, estimator="u") + reader_diversity(y)
    assert 2 * score.item() == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize(("pixels", "distance_at_1"), [(5, 10 / 11), (50, 100 / 101)])
def test_the_constant_brings_disjoint_masks_closer_the_smaller_they_are(pixels, distance_at_1):
    size = torch.tensor(float(pixels))
    assert soft_distance(size, size, 2 * size, 0.0) == 1
    assert soft_distance(size, size, 2 * size, 1.0).item() == pytest.approx(2 * distance_at_1 / (1 + distance_at_1))


def test_a_soft_mask_has_no_distance_to_itself():
    x = soft(40)
    assert soft_distance(x.sum(), x.sum(), (x - x).abs().sum(), 0.1) == 0


def test_the_gradient_is_that_of_finite_differences():
    y, drew = hard(2, 3, 5).double(), torch.tensor([[True, True, False], [True, True, True]])
    assert torch.autograd.gradcheck(lambda x: scores(x, y, drew, 0.1), soft(2, 3, 5).requires_grad_())


def test_one_reader_alone_leaves_the_samples_apart_from_each_other():
    """The score of two samples falls with their distance, whoever else reads."""
    y, drew = torch.zeros((1, 1, 20), dtype=torch.float64), torch.ones((1, 1), dtype=torch.bool)
    y[..., :10] = 1
    x = torch.zeros((1, 2, 20), dtype=torch.float64)
    x[0, 0, :8], x[0, 1, 2:10] = 1, 1
    alike = x[:, [0, 0]]
    assert scores(x, y, drew, 0.0)[0] < scores(alike, y, drew, 0.0)[0]


def energy_of(kernel, shares):
    """shares^T D shares over the sets of 4 pixels that are not empty, D the matrix of their distances."""
    return float(shares @ kernel @ shares)


def kernels():
    """Distances of the 15 sets, 1 - IoU and 1 - Dice."""
    sets = np.array([[(number >> pixel) & 1 for pixel in range(4)] for number in range(1, 16)])
    both, sizes = sets @ sets.T, sets.sum(1)
    total = sizes[:, None] + sizes
    return 1 - both / (total - both), 1 - 2 * both / total


def test_1_minus_dice_is_blind_to_a_difference_of_distributions_that_1_minus_iou_sees():
    """Their difference sums to 0; the energy distance between them is -difference^T D difference."""
    iou, dice = kernels()
    values, vectors = np.linalg.eigh(1 - dice)
    first, second = vectors.T[:2]
    assert np.abs(values[:2]).max() < 1e-9
    difference = first * second.sum() - second * first.sum()
    difference = difference / np.abs(difference).sum()
    assert abs(energy_of(dice, difference)) < 1e-9
    assert energy_of(iou, difference) < -1e-3
    assert np.linalg.eigvalsh(1 - iou).min() > 1e-3


def test_the_loss_is_the_sum_of_its_parts():
    """The generator is replaced by logits of its z, so that what it is compared with can be told."""
    weights = {"mean_weight": 3.0, "empty_weight": 0.2, "pixel_weight": 0.7, "region_weight": 0.4}
    made = small("one-pass", draws=3, **weights).eval()
    cases, shown = batch(), []
    cases.readers[1, :2] = False
    drew = cases.readers.any((2, 3))
    made.generator.register_forward_hook(lambda module, given, output: shown.append(output))
    terms = loss(made, cases)
    assert shown[0].shape == (12, 1, SIZE, SIZE)
    logits = shown[0] + (made.settings.lift - shown[0].amax((1, 2, 3), keepdim=True)).clamp(min=0)
    score, pixel = scores(
        logits.sigmoid().reshape(4, 3, -1), cases.readers.flatten(2).float(), drew, made.settings.constant
    )
    share = torch.stack([cases.readers[case][cases.valid[case]].float().mean(0) for case in range(4)])
    features = made.encoder(cases.image)
    expected = made.mean_head(features[0])
    mean = binary_cross_entropy_with_logits(expected[:, 0], share)
    e = made.empty_head(features, expected.sigmoid()).sigmoid()
    empty = -((1 - e[[0, 0, 2, 2, 1, 3, 3, 3]]).log().sum() + 2 * e[1].log()) / 10
    region = np.mean(
        [
            distance(expected[case, 0].sigmoid(), cases.readers[case, who].float(), 0.1).item()
            for case, who in drew.nonzero()
        ]
    )
    parts = {"score": score, "pixel": pixel, "mean": mean, "empty": empty}
    assert {name: value.item() for name, value in terms.terms.items()} == pytest.approx(
        {name: value.item() for name, value in parts.items()}, rel=1e-4
    )
    assert terms.total.item() == pytest.approx(
        (score + 0.7 * pixel + 3 * mean + 0.2 * empty).item() + 0.4 * region, rel=1e-4
    )


def test_the_first_steps_are_taken_on_mean_and_emptiness_alone():
    made = small("one-pass", start=2)
    asked = []
    made.generator.register_forward_hook(lambda *_: asked.append(1))
    for _ in range(2):
        assert loss(made, batch()).terms["score"] == 0
    assert not asked
    assert loss(made, batch()).terms["pixel"] > 0
    assert made.steps == 2


def test_steps_are_counted_in_training_alone():
    made = small("one-pass", start=2).eval()
    loss(made, batch())
    assert made.steps == 0


@pytest.mark.parametrize(("norms", "learn"), [(SIZE, True), (SIZE - 1, False)])
def test_norms_learn_from_images_up_to_a_size(norms, learn):
    made = small("one-pass", norms=norms)
    before = made.encoder.norms[0].running_mean.clone()
    loss(made, batch())
    assert torch.equal(made.encoder.norms[0].running_mean, before) != learn


def test_norms_learn_in_training_alone():
    made = small("one-pass").eval()
    before = made.encoder.norms[0].running_mean.clone()
    loss(made, batch())
    assert torch.equal(made.encoder.norms[0].running_mean, before)


def test_a_batch_in_which_nobody_drew_is_learned_from():
    made, cases = small("one-pass", region_weight=1.0), batch()
    terms = loss(made, Batch(cases.image, torch.zeros_like(cases.readers), cases.valid))
    terms.total.backward()
    assert (terms.terms["score"], terms.terms["pixel"]) == (0, 0)
    assert terms.terms["empty"] > 0
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in made.parameters())


def test_the_generator_learns_in_windows_of_the_sizes_given():
    made, shown = small("one-pass", windows=(16, 24)), []
    made.generator.register_forward_hook(lambda module, given, output: shown.append(output.shape[2:]))
    for seed in range(6):
        torch.manual_seed(seed)
        made.loss(corner())
    assert set(shown) == {(16, 16), (24, 24)}


def test_masks_are_compared_in_the_window_that_the_generator_sees():
    """A generator that draws all of the window is as far off in a window of any place: 12 of 256 pixels are right."""
    made = small("one-pass", std=0, windows=(16,), constant=0.0)
    torch.nn.init.constant_(made.generator.head.bias, 30.0)
    assert loss(made, corner()).terms["score"].item() == pytest.approx(1 - 12 / 256, rel=1e-4)


def test_a_mask_that_is_to_hold_something_does():
    made = always(small("one-pass"))
    torch.nn.init.constant_(made.generator.head.bias, -9.0)
    assert panel(made, list(range(8))).flatten(1).any(1).all()


def test_with_a_low_lift_a_field_stays_empty():
    made = always(small("one-pass", lift=-10))
    torch.nn.init.constant_(made.generator.head.bias, -9.0)
    assert not panel(made, list(range(8))).any()


def test_onto_the_mean_a_generator_that_says_nothing_draws_the_mean_mask():
    made, shown = always(small("one-pass", std=0, onto_mean=True)).eval(), images(1)
    with torch.no_grad():
        shares, _ = made.expected(made.encoder(shown))
    assert torch.equal(panel(made, [1, 2], shown), (shares[0] > 0.5).expand(2, -1, -1))


def test_the_mean_mask_does_not_learn_from_what_is_drawn_onto_it():
    made, cases = small("one-pass", onto_mean=True, mean_weight=0.0, empty_weight=0.0), corner()
    loss(made, cases).total.backward()
    assert not any(weight.grad.any() for weight in made.mean_head.parameters())
    assert made.generator.head.weight.grad.any()


@pytest.mark.parametrize(("row", "column", "top", "left"), [(20, 20, 12, 12), (0, 39, 0, 24), (3, 9, 0, 0)])
def test_masks_are_drawn_in_the_window_of_what_is_visible_alone(row, column, top, left):
    """A cell has 4 pixels, and no window less than 16."""
    made = always(small("one-pass", std=0, windows=(16,)))
    visible(made, row, column)
    torch.nn.init.constant_(made.generator.head.bias, 9.0)
    mask = panel(made, [1], torch.randn(1, 1, 40, 40))[0]
    assert mask.sum() == 16**2
    assert mask[row, column]
    assert abs(mask.nonzero()[0] - torch.tensor([top, left])).max() <= 4


@pytest.mark.slow
def test_both_modes_of_a_known_task_are_drawn_at_their_shares():
    made = toy.fit(small("one-pass", std=0))
    assert toy.mode_share(made) == pytest.approx(toy.SHARES, abs=0.05)


@pytest.mark.slow
def test_modes_and_emptiness_of_a_known_task_are_drawn_together():
    """Of ten readers, four draw nothing, four the first box and two the second."""
    found = toy.mode_share(toy.fit(small("one-pass", std=0), cases=partial(toy.read_by_ten, drew=(4, 2))))
    assert found == pytest.approx({"first": 0.4, "second": 0.2, "neither": 0.4}, abs=0.05)
