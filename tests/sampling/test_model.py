"""From a checkpoint and an image to a mask set: what it says of itself, what it refuses, and where models come from."""

import pickle
import shutil
from hashlib import sha256

import numpy as np
import pytest
import torch
from tiny import SIZE, TREE, image, recipe, write_weights

from plurimask.diffusion.samplers import SamplerSettings
from plurimask.errors import CheckpointError, InputError, SettingsError
from plurimask.geometry import Grid
from plurimask.methods.method import method_class
from plurimask.records import Case
from plurimask.sampling import Model, load
from plurimask.seeds import sample_seeds
from plurimask.training.checkpoint import ALIASES, BUILT_IN, Checkpoint, build_method, built_in_names
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


def test_masks_are_bool_on_the_grid_of_the_case(model):
    grid = Grid.plane((SIZE, SIZE), 0.7)
    panel = model.sample(case(grid=grid), count=3)
    assert panel.masks.shape == (3, SIZE, SIZE)
    assert panel.grid is grid


def test_set_says_where_it_comes_from(model, weights):
    panel = model.sample(case("someone"), count=3, seed=5)
    assert (panel.name, panel.method) == ("someone", "cimd")
    assert panel.checkpoint == sha256(weights.read_bytes()).hexdigest()
    assert panel.seeds == sample_seeds(image(), 5, 3)
    assert panel.settings == {
        "name": "ddim",
        "steps": 3,
        "eta": 0.0,
        "noise_scale": 1.0,
        "model": "mine",
        "seed": 5,
    }


def test_settings_name_the_steps_that_were_taken(model):
    assert model.sample(image(), 1, sampler=SamplerSettings(name="ddpm")).settings["steps"] == 20  # T


def test_same_seed_same_masks(model):
    assert np.array_equal(model.sample(image(), 4, seed=1).masks, model.sample(image(), 4, seed=1).masks)


def test_first_masks_do_not_depend_on_the_count(model):
    few, many = (model.sample(image(), count).masks for count in (3, 20))
    assert (few != many[:3]).mean() < 0.002  # up to float rounding


def test_name_of_the_case_does_not_matter(model):
    first, second = (model.sample(case(name), 4).masks for name in ("one", "two"))
    assert np.array_equal(first, second)


def test_other_seed_other_masks(model):
    first, second = (model.sample(image(), 4, seed=seed).masks for seed in (0, 1))
    assert (first != second).mean() > 0.05


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


@pytest.mark.parametrize("size", [8, 24, (16, 24)])
def test_other_size_is_refused(model, size):
    rows, columns = size if isinstance(size, tuple) else (size, size)
    with pytest.raises(InputError, match=rf"expected an image of 16x16 pixels.*got {rows}x{columns}; cut 16x16"):
        model.sample(np.zeros((rows, columns)))


def test_other_channel_count_is_refused(model):
    with pytest.raises(InputError, match=r"expected 1 image channel\(s\), as mine was trained on, got 3"):
        model.sample(np.zeros((3, SIZE, SIZE)))


def test_volume_is_refused(model):
    with pytest.raises(InputError, match=r"expected an image of 16x16 pixels.*got 16x16x16"):
        model.sample(np.zeros((1, SIZE, SIZE, SIZE)))


def test_line_is_refused(model):
    with pytest.raises(InputError, match="expected two or three positive sizes"):
        model.sample(np.zeros(SIZE))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_image_that_is_not_finite_is_refused(model, value):
    broken = image()
    broken[0, 3, 3] = value
    with pytest.raises(InputError, match="expected a finite image, got 1 NaN or infinite values"):
        model.sample(broken)


@pytest.mark.parametrize("count", [0, -1])
def test_no_masks_is_refused(model, count):
    with pytest.raises(SettingsError, match=f"at least one mask, got {count}"):
        model.sample(image(), count)


@pytest.mark.parametrize("draw", [lambda m: m.sampler(steps=21), lambda m: m.sample(image(), 1, 0, TOO_MANY)])
def test_more_steps_than_the_process_has_are_refused(model, draw):
    with pytest.raises(SettingsError, match="at most 20 sampler steps, as the process has, got 21"):
        draw(model)


@pytest.mark.parametrize(
    ("changes", "settings"),
    [
        ({}, SamplerSettings(name="ddim", steps=3)),
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


def test_recipe_whose_sampler_outruns_its_process_is_refused():
    with pytest.raises(SettingsError, match="at most 20 sampler steps"):
        recipe(sampler={"name": "ddim", "steps": 21})


@pytest.mark.parametrize("present", [("best",), ("last",), ("best", "last")])
def test_run_folder_gives_its_best_weights_or_its_last(tmp_path, present):
    for name in present:
        write_weights(tmp_path / f"{name}.safetensors", training=TREE["training"] | {"seed": ord(name[0])})
    model = load(tmp_path, "cpu")
    assert model.name == tmp_path.name
    assert model.checkpoint.digest == sha256((tmp_path / f"{present[0]}.safetensors").read_bytes()).hexdigest()


def test_checkpoint_file_is_named_by_its_stem(model):
    assert model.name == "mine"


def test_weights_come_back_as_they_were_written(model):
    assert model.checkpoint.step == 7
    assert model.recipe == recipe()


def test_unknown_name_lists_what_there_is():
    with pytest.raises(
        CheckpointError, match=r"a built-in name, a \.safetensors file or a run folder, got.*built in: lidc"
    ):
        load("no-such-model")


def test_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="expected a checkpoint, got no such file"):
        load(tmp_path)


def test_truncated_file_is_refused(weights, tmp_path):
    part = tmp_path / "part.safetensors"
    part.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="expected a safetensors file"):
        load(part)


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize(
    "write", [lambda trap, file: pickle.dump(trap, file), lambda trap, file: torch.save(trap, file)]
)
def test_pickle_is_refused_and_not_run(tmp_path, write):
    path, sprung = tmp_path / "model.pt", tmp_path / "sprung"
    with path.open("wb") as file:
        write(Trap(sprung), file)
    with pytest.raises(CheckpointError, match="expected a safetensors file"):
        load(path)
    assert not sprung.exists()


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "meta", "cpu:x"])
def test_device_that_is_not_there_is_refused(weights, device):
    with pytest.raises(SettingsError, match=f"expected a device of this machine, got {device}; use auto or cpu"):
        load(weights, device)


def test_built_in_weights_are_there_and_small():
    assert {"phantom", *ALIASES.values()} <= set(built_in_names())
    assert sum(path.stat().st_size for path in BUILT_IN.glob("*.safetensors")) < 40e6


@pytest.mark.parametrize("name", ["phantom", "lidc-cimd", "lidc"])
def test_built_in_weights_draw(name):
    model = load(name, "cpu")
    assert model.name == ALIASES.get(name, name)
    assert model.sample(image(size=model.recipe.image_size), 2).masks.shape == (2, 128, 128)


def test_a_folder_does_not_hide_a_built_in_name(tmp_path, monkeypatch, weights):
    (tmp_path / "phantom").mkdir()
    shutil.copy(weights, tmp_path / "phantom/last.safetensors")
    monkeypatch.chdir(tmp_path)
    assert load("phantom", "cpu").recipe.image_size == 128


def test_naming_the_own_sampler_keeps_its_settings(weights):
    model = load(weights)
    assert model.sampler(model.recipe.sampler.name) == model.recipe.sampler


@pytest.fixture(scope="module")
def one_evaluation(tmp_path_factory):
    """A model that has no diffusion process."""
    settings = method_class("unet").Settings()
    made = Recipe(image_size=128, method=settings)
    torch.manual_seed(0)
    return Model("plain", Checkpoint(build_method(made).eval(), made, 0, "", "0" * 64), torch.device("cpu"))


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
