"""Known readers: shares with a known answer, the control, and what each reader is told of."""

import math

import numpy as np
import pytest

from plurimask.evaluation import evaluate
from plurimask.evaluation.readers import ReadCase, resize, score_drawn_as, score_readers, usual_sizes
from plurimask.geometry import Grid
from plurimask.records import Case, MaskSet

NAMES = ("ann", "bob", "cleo")


def read(sizes, patient, drawn_by=NAMES, **more):
    count = len(sizes)
    return ReadCase(
        patient, drawn_by, np.array(sizes, dtype=float), np.full(count, 0.5), np.full((count, count), 0.8), **more
    )


def cases(style, noise, count=200, patients=None, seed=0):
    """Sizes of which the logarithm is a case's own, a reader's own, and noise."""
    rng = np.random.default_rng(seed)
    logs = 6 + rng.normal(size=(count, 1)) + np.array(style) + noise * rng.normal(size=(count, 3))
    return [read(np.exp(row), f"p{number % (patients or count)}") for number, row in enumerate(logs)]


def test_all_disagreement_of_readers_who_always_do_the_same_is_between_them():
    scores = score_readers(cases((-0.2, 0, 0.2), 0.0, count=6))
    assert scores.between.value == pytest.approx(1)
    assert scores.between.interval == pytest.approx((1, 1))
    assert scores.chance < 0.01
    assert [one.value for one in scores.size] == pytest.approx(np.exp([-0.3, 0, 0.3]))


def test_the_share_is_that_of_the_variances():
    style, noise = (-0.2, 0.0, 0.2), 0.25
    between = np.mean([0.2**2, 0.2**2, 0.4**2])
    scores = score_readers(cases(style, noise, count=2000))
    assert scores.between.value == pytest.approx(between / (between + 2 * noise**2), abs=0.03)
    low, high = scores.between.interval
    assert low < scores.between.value < high


def test_readers_without_a_style_have_a_share_that_chance_gives_too():
    found = [score_readers(cases((0, 0, 0), 0.3, count=12, seed=seed)) for seed in range(12)]
    assert abs(np.mean([one.between.value for one in found])) < 0.1  # unbiased, where a plain mean would give 1/12 more
    assert sum(one.chance < 0.05 for one in found) <= 2


def test_cases_of_one_patient_are_no_sign_of_a_style():
    """What a reader does in all slices of a patient is of the patient, as far as one patient can tell."""
    rng = np.random.default_rng(0)
    of_patient = rng.normal(size=(4, 3))
    many = [read(np.exp(of_patient[number % 4]), f"p{number % 4}") for number in range(80)]
    few = [read(np.exp(row), f"p{number}") for number, row in enumerate(of_patient)]
    assert score_readers(many).between.value == pytest.approx(score_readers(few).between.value)
    alone = score_readers([read([1, 2, 3], "p"), read([1, 2, 3], "p")])
    assert math.isnan(alone.between.value)


def test_readers_are_matched_by_name_whatever_their_place_and_empty_masks_have_no_size():
    scores = score_readers(
        [
            ReadCase(
                "p", ("bob", "ann", None), np.array([4.0, 2, 9]), np.array([0.1, 0.3, 0.9]), symmetric(0.5, 0.9, 0.9)
            ),
            ReadCase("q", ("ann", "bob"), np.array([2.0, 0]), np.array([0.5, 0.2]), symmetric(0.7)),
        ]
    )
    assert (scores.names, scores.masks) == (("ann", "bob"), (2, 2))
    assert [one.value for one in scores.met] == pytest.approx([0.4, 0.15])
    assert [one.value for one in scores.others] == pytest.approx([0.6, 0.6])
    assert [one.value for one in scores.size] == pytest.approx([0.5, 2])
    assert scores.alike[0, 1] == scores.alike[1, 0] == pytest.approx(0.6)


def symmetric(*values):
    size = 2 if len(values) == 1 else 3
    matrix = np.eye(size)
    matrix[np.triu_indices(size, 1)] = values
    return np.maximum(matrix, matrix.T)


def test_samples_as_one_reader_are_told_from_the_others():
    one = [read([3, 3, 3], f"p{number}", asked="bob") for number in range(3)]
    near = [ReadCase(c.patient, c.drawn_by, c.sizes, np.array([0.4, 0.8, 0.6]), c.alike, c.asked) for c in one]
    assert score_readers(near).asked.value == pytest.approx(0.3)
    assert score_readers([read([3, 3, 3], "p")]).asked is None


def test_a_reader_of_one_mask_is_told():
    scores = score_readers([read([3, 3, 3], "p"), read([3, 3], "q", drawn_by=("ann", "bob"))])
    assert scores.questions() == ["cleo: one mask, which tells no style from chance"]
    assert score_readers([read([3, 3], "p", drawn_by=(None, None))]) is None


def box(*sizes):
    """Masks (n, 12, 12), squares of these sides from one corner."""
    masks = np.zeros((len(sizes), 12, 12), dtype=bool)
    for mask, side in zip(masks, sizes, strict=True):
        mask[:side, :side] = True
    return masks


def test_masks_drawn_as_each_are_held_against_what_else_could_be():
    """Ann draws squares of 4, Bob of 8; the model draws so as each, and squares of 6 as any."""
    grid, image = Grid((12, 12)), np.zeros((1, 12, 12), dtype=np.float32)
    cases = {f"c{n}": Case(f"c{n}", image, box(8, 4), grid, f"p{n}", drawn_by=("bob", "ann")) for n in range(3)}
    cases["nobody"] = Case("nobody", image, box(2), grid, "q")

    def drawn(*sides, names=cases):
        return {name: MaskSet(name, box(*sides), grid) for name in names}

    as_ann, as_bob = drawn(4, 4), drawn(8, 8, names=["c0", "c1"])
    usual = {name: {"ann": 16 / 36, "bob": 64 / 36} for name in cases}
    scores = score_drawn_as(cases, {"bob": as_bob, "ann": as_ann}, drawn(6, 6), usual)
    small_large, small_any, large_any = 2 * 16 / 80, 2 * 16 / 52, 2 * 36 / 100
    assert scores.names == ("ann", "bob")
    assert scores.dice == pytest.approx(np.array([[1, small_large], [small_large, 1]]))
    for key, found in {
        "own": (1, 1),
        "less_others": (1 - small_large, 1 - small_large),
        "less_any": (1 - small_any, 1 - large_any),
        "less_as_others": (1 - small_large, 1 - small_large),
    }.items():
        assert [one.value for one in getattr(scores, key)] == pytest.approx(found), key
    assert all(-0.01 < one.value < 0.15 for one in scores.less_resized)  # squares that grow round off


def test_a_mask_is_resized_along_its_whole_outline():
    mask = box(12)[0]
    mask[:, 6:] = False
    assert np.array_equal(resize(mask, 0.5), np.broadcast_to(np.arange(12) < 3, (12, 12)))
    assert resize(mask, 1.0).sum() == 72
    assert np.array_equal(resize(mask, 1.0), mask)
    assert not resize(np.zeros((3, 3), dtype=bool), 2.0).any()


def test_usual_sizes_are_those_to_the_majority():
    grid, image = Grid((12, 12)), np.zeros((1, 12, 12), dtype=np.float32)
    cases = [
        Case("a", image, box(6, 6, 3), grid, drawn_by=("ann", None, "bob")),
        Case("b", image, box(4, 4, 8), grid, drawn_by=("ann", "cleo", "bob")),
        Case("c", image, box(0, 0, 5), grid, drawn_by=("ann", "cleo", "bob")),
    ]
    assert usual_sizes(cases) == pytest.approx({"ann": 1.0, "cleo": 1.0, "bob": 1.0})


def test_an_evaluation_knows_readers_by_their_cases_and_only_then():
    grid, rng = Grid((6, 6)), np.random.default_rng(0)
    masks = rng.random((4, 6, 6)) < 0.5
    image = np.zeros((1, 6, 6), dtype=np.float32)
    known = {"a": Case("a", image, masks[:2], grid, "p", drawn_by=("ann", "bob"))}
    scores = evaluate([MaskSet("a", masks[2:], grid)], known)
    dice = [[2 * (one & other).sum() / (one.sum() + other.sum()) for other in masks] for one in masks]
    assert [one.value for one in scores.readers.met] == pytest.approx([np.mean(dice[0][2:]), np.mean(dice[1][2:])])
    assert scores.readers.alike[0, 1] == pytest.approx(dice[0][1])
    assert evaluate([MaskSet("a", masks[2:], grid)], {"a": Case("a", image, masks[:2], grid, "p")}).readers is None
