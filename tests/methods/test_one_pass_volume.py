"""One evaluation a mask of a volume: one decision a lesion, all planes in one mask, through the house of planes."""

from functools import partial

import numpy as np
import pytest
import torch
import toy
from scipy.ndimage import label
from small_batches import PLANES, batch, images
from tiny import SIZE, small

from plurimask.datasets.open import open_dataset
from plurimask.errors import InputError, SettingsError
from plurimask.files.images import write_nifti
from plurimask.files.locate import Study
from plurimask.geometry import Grid
from plurimask.methods.draw import draw_masks
from plurimask.methods.one_pass import joined, likeliest_body, scores
from plurimask.records import Case
from plurimask.sampling.model import load
from plurimask.sampling.region import parse_region
from plurimask.sampling.study import sample_study
from plurimask.training.loop import train
from plurimask.training.recipe import load_recipe, parse_recipe

volume_method = partial(small, "one-pass-volume")


def draw(made, count, image=None, **more):
    """Masks (S, H, W, D) of one volume (C, H, W, D)."""
    shown = images(1, volume=True)[0].movedim(1, 3).numpy() if image is None else image
    return draw_masks(made.eval(), shown, tuple(range(count)), None, SIZE, **more)


def test_the_score_is_that_of_the_planar_method_over_all_voxels():
    made, cases, shown = volume_method(draws=3).eval(), batch(volume=True), []
    made.generator.register_forward_hook(lambda module, given, output: shown.append(output))
    terms = made.loss(cases).terms
    logits = shown[0] + (made.settings.lift - shown[0].amax((1, 2, 3, 4), keepdim=True)).clamp(min=0)
    expected = scores(logits.sigmoid().reshape(4, 3, -1), cases.readers.flatten(2).float(), cases.valid, 0.1)
    assert (terms["score"].item(), terms["pixel"].item()) == pytest.approx([one.item() for one in expected], rel=1e-4)


def test_a_volume_that_is_drawn_has_to_hold_something():
    with pytest.raises(SettingsError, match=r"method\.lift: expected a number above 0, got -10"):
        load_recipe("one-pass-volume", ["method.lift=-10"])


def test_sample_k_is_the_same_at_any_count_and_in_any_chunk():
    made = volume_method()
    many = draw(made, 9, chunk=4)
    assert many.shape == (9, SIZE, SIZE, PLANES)
    assert np.array_equal(draw(made, 3), many[:3])


def test_a_lesion_is_drawn_on_all_planes_or_on_none():
    """Of 64 samples about half are empty as a whole; none of the others is, whatever the generator says."""
    made = volume_method()
    torch.nn.init.zeros_(made.empty_head.last.weight)
    torch.nn.init.zeros_(made.empty_head.last.bias)
    torch.nn.init.constant_(made.generator.head.bias, -9.0)
    empty = ~draw(made, 64).any((1, 2, 3))
    assert 20 <= empty.sum() <= 44


def test_onto_the_mean_a_generator_that_says_nothing_draws_the_mean_mask():
    made = volume_method(std=0, onto_mean=True).eval()
    torch.nn.init.normal_(made.mean_head[0].weight)
    torch.nn.init.constant_(made.empty_head.last.bias, -30.0)
    with torch.no_grad():
        shares, _ = made.expected(made.encoder(images(1, volume=True)))
    drawn = (shares > 0.5) & likeliest_body(shares, made.settings.visible)
    assert np.array_equal(draw(made, 2), drawn[0].movedim(1, 3).expand(2, -1, -1, -1).numpy())


def test_nothing_is_drawn_outside_of_the_one_body_around_the_likeliest_voxel():
    """Two boxes are visible, which touch by no corner, and the smaller one holds the likeliest voxel."""
    made = volume_method(std=0)
    logits = torch.full((1, 1, PLANES, SIZE, SIZE), -9.0)
    logits[..., 0:2, 2:4, 2:4], logits[..., 3:5, 8:14, 4:12] = 1.0, 0.0
    made.mean_head.forward = lambda features: logits
    torch.nn.init.constant_(made.empty_head.last.bias, -30.0)
    torch.nn.init.constant_(made.generator.head.bias, 9.0)
    assert np.array_equal(draw(made, 2), np.broadcast_to((logits[0] == 1).movedim(1, 3), (2, SIZE, SIZE, PLANES)))


def test_bodies_are_joined_over_the_voxels_that_lack_least():
    logits = np.full((3, 5, 7), -5.0, dtype=np.float32)
    logits[1, 2, 0], logits[1, 2, 2], logits[2, 4, 6] = 2.0, 1.0, 1.0
    logits[2, 3, 1] = -0.1  # beside the straight way from the first to the second
    logits[2, 3, 3], logits[2, 4, 4], logits[2, 3, 5] = -1.0, -1.0, -1.0
    ways = [(1, 2, 0), (1, 2, 2), (2, 3, 1), (2, 3, 3), (2, 3, 5), (2, 4, 4), (2, 4, 6)]
    assert sorted(map(tuple, np.argwhere(joined(logits)))) == sorted(ways)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_joined_is_one_body_by_scipy_and_holds_all_that_was_there(seed):
    logits = np.random.default_rng(seed).normal(-1.5, 1, (4, 9, 8)).astype(np.float32)
    bodies, touching = label(logits > 0, np.ones((3, 3, 3)))[1], joined(logits)
    assert bodies > 1
    assert label(touching, np.ones((3, 3, 3)))[1] == 1
    assert touching[logits > 0].all()


def test_samples_are_one_body_each():
    made = volume_method()
    torch.nn.init.constant_(made.empty_head.last.bias, -30.0)
    drawn = draw(made, 8)
    assert [label(mask, np.ones((3, 3, 3)))[1] for mask in drawn] == [1] * 8


@pytest.mark.parametrize(
    "turned",
    [lambda x: np.rot90(x, 1, (1, 2)), lambda x: x[..., ::-1], lambda x: x[:, ::-1]],
    ids=["turn", "planes", "rows"],
)
def test_drawing_commutes_with_turns_and_flips_of_a_net_that_does(turned):
    """Kernels of which only the middle is left see no direction."""
    made = volume_method(
        encoder={"widths": (12,), "blocks": 1, "patch": 1}, generator={"widths": (12,), "condition": 16}
    )
    for module in made.modules():
        if isinstance(module, torch.nn.Conv3d):
            middle = (..., *(side // 2 for side in module.kernel_size))
            kept = module.weight.data[middle].clone()
            module.weight.data.zero_()
            module.weight.data[middle] = kept
    shown = images(1, volume=True)[0].movedim(1, 3).numpy()
    assert np.array_equal(draw(made, 4, np.ascontiguousarray(turned(shown))), turned(draw(made, 4, shown)))


def write_volumes(root):
    """A case folder of 40 patients: volumes of 16 x 16 pixels and 5 to 7 planes, 3 mm apart, read by two."""
    lines, rng = ["case,patient"], np.random.default_rng(0)
    for number in range(40):
        folder, planes = root / f"case-{number:02d}", 5 + number % 3
        folder.mkdir(parents=True)
        grid = Grid.plane((SIZE, SIZE, planes), 0.7, 3.0)
        write_nifti(folder / "image.nii.gz", rng.integers(-900, 100, grid.shape).astype(np.int16), grid)
        for reader in range(2):
            mask = np.zeros(grid.shape, dtype=np.uint8)
            mask[4 : 8 + reader, 4:9, 1:4] = number % 4 > reader
            write_nifti(folder / f"label{reader}.nii.gz", mask, grid)
        lines.append(f"case-{number:02d},patient-{number}")
    (root / "patients.csv").write_text("\n".join(lines) + "\n")
    return open_dataset(root)


def test_volumes_are_trained_on_and_drawn_as_planes_are(tmp_path, monkeypatch):
    """By the same train, load, sample and sample_study; of one case they draw the same masks."""
    monkeypatch.setenv("PLURIMASK_CACHE", str(tmp_path / "cache"))
    data, tree = write_volumes(tmp_path / "data"), volume_method().settings.model_dump() | {"norms": SIZE}
    training = {"steps": 2, "batch_size": 4, "planes": 4, "validation_cases": 2, "validation_samples": 2, "warp": 0.5}
    train(parse_recipe({"image_size": SIZE, "method": tree, "training": training}, "volumes"), data, tmp_path / "run")
    model = load(tmp_path / "run", device="cpu")
    assert model.recipe.spacing_mm == 0.7
    case = data[2]
    drawn = model.sample(case, 3).masks
    assert drawn.shape == (3, SIZE, SIZE, 7)
    study = Study(case, "nifti", ())
    assert np.array_equal(sample_study(model, study, 3).masks, drawn)
    part = sample_study(model, study, 3, region=parse_region("0:16,0:16,2:5")).masks
    assert not part[..., :2].any()
    assert not part[..., 5:].any()
    with pytest.raises(InputError, match="a volume with planes of 16x16 pixels"):
        model.sample(np.zeros((SIZE, SIZE), dtype=np.float32))
    wide = Case(
        "wide", np.zeros((1, 40, 40, 3), dtype=np.float32), np.zeros((0, 40, 40, 3), dtype=bool), Grid((40, 40, 3))
    )
    with pytest.raises(InputError, match="at most 16 pixels a side of a plane"):
        sample_study(model, Study(wide, "npy", ()), 2, region=parse_region("0:32,0:32,0:3"))


@pytest.mark.slow
@pytest.mark.parametrize("solid", [True, False])
def test_modes_along_the_planes_and_emptiness_of_a_known_task_are_drawn_at_their_shares(solid):
    """Of ten readers, four draw a box on the first three planes, two the same on the last three, four nothing."""
    boxes = torch.zeros((2, PLANES, SIZE, SIZE), dtype=torch.bool)
    boxes[0, :3, 4:11, 5:12] = boxes[1, 2:, 4:11, 5:12] = True
    made = toy.fit(
        volume_method(std=0, solid=solid), cases=partial(toy.read_by_ten, boxes=boxes, drew=(4, 2)), count=16
    )
    found = toy.mode_share(made, boxes=boxes)
    assert found == pytest.approx({"first": 0.4, "second": 0.2, "neither": 0.4}, abs=0.05)
