"""From a checkpoint and an image to a mask set: what it says of itself, what it refuses, and where models come from."""

import shutil
from hashlib import sha256

import numpy as np
import pytest
import torch
from tiny import SIZE, TREE, image, write_weights

from plurimask.diffusion.samplers import SamplerSettings
from plurimask.errors import CheckpointError, InputError, SettingsError
from plurimask.geometry import Grid
from plurimask.methods.method import build, method_class
from plurimask.records import Case
from plurimask.sampling import Model, load
from plurimask.seeds import content_of, sample_seeds
from plurimask.training.checkpoint import ALIASES, BUILT_IN, RETIRED, Checkpoint, built_in_names
from plurimask.training.recipe import Recipe

TOO_MANY = SamplerSettings(name="ddim", steps=21)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_weights(tmp_path_factory.mktemp("weights") / "mine.safetensors")


@pytest.fixture(scope="module")
def model(weights):
    return load(weights, "cpu")


def case(name="someone", grid=None, pixels=None):
    pixels = image() if pixels is None else pixels
    grid = grid or Grid(pixels.shape[1:])
    return Case(name, pixels, np.zeros((0, *grid.shape), dtype=bool), grid)


def test_masks_depend_on_the_seed_and_the_image_alone(model):
    first = model.sample(case("one"), 4, seed=1).masks
    assert np.array_equal(first, model.sample(case("two"), 4, seed=1).masks)
    assert (first != model.sample(case(), 4, seed=0).masks).mean() > 0.05
    assert (first[:3] != model.sample(image(), 20, seed=1).masks[:3]).mean() < 0.002  # up to float rounding


def test_set_says_where_it_comes_from(model, weights):
    grid = Grid.plane((SIZE, SIZE), 0.7)
    panel = model.sample(case("someone", grid), count=3, seed=5)
    assert (panel.masks.shape, panel.grid) == ((3, SIZE, SIZE), grid)
    assert (panel.name, panel.method) == ("someone", "cimd")
    assert panel.checkpoint == sha256(weights.read_bytes()).hexdigest()
    assert panel.seeds == sample_seeds(content_of(image()), 5, 3)
    assert panel.settings == {"name": "ddim", "steps": 3, "noise_scale": 1.0, "model": "mine", "seed": 5}
    assert model.sample(image(), 1, sampler=SamplerSettings(name="ddpm")).settings["steps"] == 20  # T


@pytest.mark.parametrize(
    "same", [lambda a: a, lambda a: a[0], lambda a: a.astype(np.uint8), lambda a: a.tolist(), torch.from_numpy]
)
def test_image_may_come_in_any_array(model, same):
    assert np.array_equal(model.sample(same(image()), 2).masks, model.sample(case(), 2).masks)


def test_global_random_state_is_left_alone(model):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    model.sample(image(), 2)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((16, 24), r"expected an image of 16x16 pixels.*got 16x24; cut 16x16"),
        (
            (1, SIZE, SIZE, SIZE),
            r"expected an image of 16x16 pixels.*got 16x16x16; it is a volume: draw it as a study",
        ),
        ((20, 30, 3), r"expected \(1, 16, 16\), channels first, .*got \(20, 30, 3\); move the last axis"),
        ((3, SIZE, SIZE), r"expected 1 image channel\(s\), as mine was trained on, got 3"),
        ((SIZE,), "expected two or three positive sizes"),
    ],
)
def test_other_shapes_are_refused(model, shape, said):
    with pytest.raises(InputError, match=said):
        model.sample(np.zeros(shape))


def test_a_model_of_any_place_draws_images_of_any_size_on_their_own_grid(tmp_path):
    made, seen = load(write_weights(tmp_path / "any.safetensors", images="any-place"), "cpu"), []
    for shape in ((40, 25), (9, 50), (SIZE, SIZE)):
        wide = np.resize(image(), (1, *shape))
        drawn = made.sample(wide, 2, progress=lambda done, total: seen.append(done / total))
        assert drawn.masks.shape == (2, *shape)
        assert seen[-1] == max(seen) == 1
    with pytest.raises(InputError, match="it is a volume: draw it as a study"):
        made.sample(np.zeros((1, 40, 40, 3)))


def test_image_that_is_not_finite_is_refused(model):
    broken = image()
    broken[0, 3, 3] = np.inf
    with pytest.raises(InputError, match="expected a finite image, got 1 NaN or infinite values"):
        model.sample(broken)


def test_what_is_no_array_of_numbers_is_refused(model):
    with pytest.raises(InputError, match=r"expected an array of numbers, got str; open a file with pm\.open_study"):
        model.sample("slice.png")


@pytest.mark.parametrize(
    "wrong", [image()[0] * 1j, image().astype("U"), torch.from_numpy(image()).requires_grad_(), np.array([["a", "b"]])]
)
def test_numbers_that_single_precision_cannot_hold_are_refused(model, wrong):
    with pytest.raises(InputError, match=r"expected an array of numbers, got (ndarray|Tensor) of "):
        model.sample(wrong)


@pytest.mark.parametrize("value", [1.0, "1", None])
@pytest.mark.parametrize("name", ["count", "seed"])
def test_what_is_no_whole_number_is_refused(model, name, value):
    with pytest.raises(SettingsError, match=f"{name}: expected a whole number, got "):
        model.sample(image(), **{name: value})
    drawn = [model.sample(image(), **{name: kind(2)}) for kind in (int, np.int16)]
    assert np.array_equal(drawn[0].masks, drawn[1].masks)


def test_the_name_of_a_sampler_is_no_sampler(model):
    with pytest.raises(SettingsError, match=r"expected SamplerSettings, got 'ddim'; give model\.sampler"):
        model.sample(image(), sampler="ddim")


def test_no_masks_is_refused(model):
    with pytest.raises(SettingsError, match="at least one mask, got 0"):
        model.sample(image(), 0)


@pytest.mark.parametrize("draw", [lambda m: m.sampler(steps=21), lambda m: m.sample(image(), 1, 0, TOO_MANY)])
def test_more_steps_than_the_process_has_are_refused(model, draw):
    with pytest.raises(SettingsError, match="at most 20 sampler steps, as the process has, got 21"):
        draw(model)


@pytest.mark.parametrize(
    ("changes", "settings"),
    [
        ({}, SamplerSettings(name="ddim", steps=3)),
        ({"name": "ddim"}, SamplerSettings(name="ddim", steps=3)),
        ({"steps": 5}, SamplerSettings(name="ddim", steps=5)),
        ({"name": "ddpm"}, SamplerSettings(name="ddpm")),
        ({"name": "dpm++", "steps": 4}, SamplerSettings(name="dpm++", steps=4)),
    ],
)
def test_sampler_is_the_own_one_changed(model, changes, settings):
    assert model.sampler(**changes) == settings


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"name": "euler"}, "'ddpm', 'ddim' or 'dpm\\+\\+'"), ({"steps": 0}, "a number of at least 1, got 0")],
)
def test_sampler_out_of_range_is_refused(model, changes, said):
    with pytest.raises(SettingsError, match=rf"mine: sampler.*{said}"):
        model.sampler(**changes)


def test_steps_that_do_not_fit_the_scales_are_refused(tmp_path):
    scaled = {"name": "ddpm", "steps": 3, "noise_scale": (1.0, 0.5, 0.5)}
    model = load(write_weights(tmp_path / "mine.safetensors", sampler=scaled), "cpu")
    with pytest.raises(SettingsError, match="one noise_scale a step, got 3 for steps = 5"):
        model.sampler(steps=5)


@pytest.mark.parametrize("present", [("best",), ("last",), ("best", "last")])
def test_run_folder_gives_its_best_weights_or_its_last(tmp_path, present):
    for name in present:
        write_weights(tmp_path / f"{name}.safetensors", training=TREE["training"] | {"seed": ord(name[0])})
    model = load(tmp_path, "cpu")
    assert (model.name, model.checkpoint.step) == (tmp_path.name, 7)
    assert model.checkpoint.digest == sha256((tmp_path / f"{present[0]}.safetensors").read_bytes()).hexdigest()


def test_unknown_name_lists_what_there_is():
    with pytest.raises(
        CheckpointError, match=r"a built-in name, a \.safetensors file or a run folder, got.*built in: lidc"
    ):
        load("no-such-model")


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "meta", "cpu:x"])
def test_device_that_is_not_there_is_refused(weights, device):
    with pytest.raises(SettingsError, match=f"expected a device of this machine, got {device}; use auto or cpu"):
        load(weights, device)


def test_built_in_weights_are_there_and_small():
    assert {"phantom", *ALIASES.values()} <= set(built_in_names())
    assert sum(path.stat().st_size for path in BUILT_IN.glob("*.safetensors")) < 25e6


@pytest.mark.parametrize("name", RETIRED)
def test_weights_that_do_not_ship_any_more_are_refused_by_name(name):
    with pytest.raises(CheckpointError, match=f"{name}: expected weights that ship.*; use {RETIRED[name]}"):
        load(name, "cpu")


@pytest.mark.parametrize("name", ["phantom", "lidc-cimd", "lidc"])
def test_built_in_weights_draw(name):
    model = load(name, "cpu")
    assert model.name == ALIASES.get(name, name)
    assert model.sample(image(size=model.recipe.image_size), 2).masks.shape == (2, 128, 128)


def test_built_in_weights_draw_volumes():
    masks = load("phantom-3d", "cpu").sample(np.random.default_rng(0).normal(size=(1, 128, 128, 3)), 2).masks
    assert masks.shape == (2, 128, 128, 3)


def test_a_folder_does_not_hide_a_built_in_name(tmp_path, monkeypatch, weights):
    (tmp_path / "phantom").mkdir()
    shutil.copy(weights, tmp_path / "phantom/last.safetensors")
    monkeypatch.chdir(tmp_path)
    assert load("phantom", "cpu").recipe.image_size == 128


@pytest.fixture(scope="module")
def one_evaluation(tmp_path_factory):
    """A model that has no diffusion process."""
    settings = method_class("unet").Settings()
    made = Recipe(image_size=128, method=settings)
    torch.manual_seed(0)
    return Model("plain", Checkpoint(build(settings).eval(), made, 0, "", "0" * 64), torch.device("cpu"))


def test_a_method_of_one_evaluation_draws_without_a_sampler(one_evaluation):
    panel = one_evaluation.sample(image(size=128), 2, seed=5)
    assert panel.masks.shape == (2, 128, 128)
    assert panel.settings == {"model": "plain", "seed": 5}
    assert one_evaluation.sampler() is None


@pytest.mark.parametrize(
    "choose",
    [lambda m: m.sampler("ddim"), lambda m: m.sampler(steps=4), lambda m: m.sample(image(size=128), 1, 0, TOO_MANY)],
)
def test_a_method_of_one_evaluation_refuses_a_sampler(one_evaluation, choose):
    with pytest.raises(
        SettingsError, match=r"plain: sampler: expected no sampler, since .* in one evaluation, got one"
    ):
        choose(one_evaluation)
