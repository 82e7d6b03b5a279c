"""Recipes: the shipped ones, the paper's settings, and how wrong keys and values are refused."""

import json

import pytest

from plurimask.errors import SettingsError
from plurimask.methods.method import BUILT_IN, method_class
from plurimask.nets.denoiser import Denoiser
from plurimask.training.recipe import load_recipe, parse_recipe, recipe_names


def test_every_shipped_recipe_loads_with_its_method():
    methods = dict.fromkeys(
        ("cimd-bone-us", "cimd-fc", "cimd-lidc", "cimd-ms-mri", "cimd-phantom", "cimd-small"), "cimd"
    )
    methods |= {"ddpm-det": "cimd", "ddpm-prob": "cimd", "segdiff-cimd": "segdiff", "gen-prob-unet": "prob-unet"}
    methods |= {"flow-lidc": "flow", "flow-phantom": "flow"}
    methods |= {"one-pass-lidc": "one-pass", "one-pass-phantom": "one-pass", "one-pass-volume": "one-pass-volume"}
    methods |= {name: name for name in ("mose", "phiseg", "prob-unet", "ssn", "unet")}
    assert {name: load_recipe(name).method.name for name in recipe_names()} == methods


def differences(first, second, keys=()):
    """Dotted keys at which two tables of plain values differ."""
    if not (isinstance(first, dict) and isinstance(second, dict)):
        return set() if first == second else {".".join(keys)}
    return {where for key in first | second for where in differences(first.get(key), second.get(key), (*keys, key))}


@pytest.mark.parametrize(
    ("name", "differs"),
    [
        ("cimd-fc", {"method.ambiguity.encoder.covariance"}),
        ("ddpm-prob", {"method.ambiguity.mode"}),
        ("ddpm-det", {"method.ambiguity.mode", "method.raters"}),
        (
            "segdiff-cimd",
            {"method.name", *(f"method.denoiser.{key}" for key in ("features", "image_blocks"))},
        ),
    ],
)
def test_a_variant_differs_from_cimd_small_in_what_makes_it_one(name, differs):
    assert differences(load_recipe(name).model_dump(), load_recipe("cimd-small").model_dump()) == differs


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_recipe_says_what_its_base_does_not(tmp_path):
    own = load_recipe(
        write(tmp_path / "own.toml", 'base = "cimd-small"\n[training]\nsteps = 7\n[sampler]\nsteps = 3\n')
    )
    base = load_recipe("cimd-small")
    assert differences(own.model_dump(), base.model_dump()) == {"training.steps", "sampler.steps"}
    changed = load_recipe("cimd-small", ("training.steps=1", "training.steps=7"))  # later changes win
    assert differences(changed.model_dump(), base.model_dump()) == {"training.steps"}


def test_a_base_may_have_a_base(tmp_path):
    own = load_recipe(write(tmp_path / "own.toml", 'base = "ddpm-det"\nimage_size = 64\n'))
    assert differences(own.model_dump(), load_recipe("ddpm-det").model_dump()) == {"image_size"}


@pytest.mark.parametrize("base", ['"cimd-smal"', "3", '["cimd-small"]'])
def test_an_unknown_base_lists_the_shipped_recipes(tmp_path, base):
    path = write(tmp_path / "own.toml", f"base = {base}\n")
    with pytest.raises(SettingsError, match=r"own\.toml: base: expected a shipped recipe, got .*; shipped: cimd-bone"):
        load_recipe(path)


@pytest.mark.parametrize(
    ("name", "size", "channels"), [("cimd-lidc", 128, 1), ("cimd-bone-us", 256, 1), ("cimd-ms-mri", 64, 4)]
)
def test_sizes_process_loss_optimiser_and_sampler_are_the_papers(name, size, channels):
    recipe = load_recipe(name)
    assert (recipe.image_size, recipe.method.image_channels) == (size, channels)
    method, diffusion, training = recipe.method, recipe.method.diffusion, recipe.training
    assert (diffusion.schedule.name, diffusion.schedule.timesteps) == ("linear", 1000)
    assert (diffusion.predicts, diffusion.variance) == ("eps", "learned-range")
    assert (method.vlb_weight, method.ambiguity.beta, method.ambiguity.mode) == (0.001, 0.001, "trained")
    assert (training.learning_rate, training.weight_decay, training.decay) == (1e-4, 0, "constant")
    assert (recipe.sampler.name, len(recipe.sampler.times(1000))) == ("ddpm", 1001)


@pytest.mark.parametrize("name", ["cimd-lidc", "flow-lidc"])
def test_json_gives_the_recipe_back(name):
    recipe = load_recipe(name)
    assert parse_recipe(json.loads(recipe.model_dump_json()), name) == recipe


def test_shipped_recipes_of_earlier_names_are_read(tmp_path):
    (tmp_path / "own.toml").write_text('base = "panel-lidc"\n[method]\nname = "panel"\n')
    assert load_recipe(str(tmp_path / "own.toml")) == load_recipe("panel-lidc") == load_recipe("flow-lidc")


@pytest.mark.parametrize(
    ("change", "read"),
    [
        ("training.steps=200", lambda r: r.training.steps == 200),
        ("training.learning_rate=3e-4", lambda r: r.training.learning_rate == 3e-4),
        ("training.decay=constant", lambda r: r.training.decay == "constant"),
        ('training.decay="constant"', lambda r: r.training.decay == "constant"),
        ("sampler.name=dpm++", lambda r: r.sampler.name == "dpm++"),
        ("method.ambiguity.mode = off", lambda r: r.method.ambiguity.mode == "off"),
        ("method.ambiguity.encoder.widths=[8, 16]", lambda r: r.method.ambiguity.encoder.widths == (8, 16)),
        ("image_size=64", lambda r: r.image_size == 64),
    ],
)
def test_a_change_has_its_type(change, read):
    assert read(load_recipe("cimd-small", (change,)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("training.steps", "--set: expected key=value, got training.steps; for instance training.steps=200"),
        ("=3", "expected key=value"),
        ("training..steps=3", "expected key=value"),
        ("image_size.x=3", "expected image_size to be a table"),
        ("training.steps=many", "training.steps: expected a whole number, got 'many'"),
        ("training.steps=", "training.steps: expected a whole number, got ''"),
        ("training.steps=" + "1" * 5000, "training.steps: expected a whole number, got '1"),
        ("training.steps=" + "[" * 5000, r"training.steps: expected a whole number, got '\["),
        (
            "training.steps=0x" + "f" * 5000,
            "training.steps: expected a number of at most 2.14748e.*, got one too large to",
        ),
        ("training.learning_rate=0x" + "f" * 5000, "training.learning_rate: expected .*, got one too large to show"),
        ("method.name=0x" + "f" * 5000, "method.name: expected one of cimd, .*, got one too large to show"),
        ("sampler.eta=0x" + "f" * 5000, r"sampler.eta: expected 0\.0, its only value in .*, got one too large to show"),
        ("base=0x" + "f" * 5000, "base: expected a shipped recipe, got no name"),
        ("training.steps=3000000000", "training.steps: expected a number of at most 2.14748e"),
        ("training.steps=0", "training.steps: expected a number of at least 1, got 0"),
        ("training.learning_rate=0", "training.learning_rate: expected a number above 0, got 0; correct it"),
        ("training.learning_rate=inf", "training.learning_rate: expected a finite number, got inf"),
        ("training.ema=1", "training.ema: expected a number below 1, got 1"),
        ("training.seed=18446744073709551616", "training.seed: expected a number below 9.22337e"),
        ("training.precision=16-mixed", "expected 'auto', '32-true' or 'bf16-mixed', got '16-mixed'"),
        ("training.devices=5", "training.batch_size in multiples of training.devices, got 24"),
        ("training.crop=66", "training.crop a multiple of 16 .* got 66"),
        ("training.crop=256", "training.crop at most image_size, 128, got 256"),
        ("image_size=605", r"image_size a multiple of 16 \(patch and levels\), for instance 592 or 608, got 605"),
        ("image_size=100", "image_size a multiple of 16 .* got 100"),
        ("method.denoiser.channels=[32]", "as many levels of attention as of channels, 1, got 3"),
    ],
)
def test_a_wrong_change_is_refused(change, said):
    with pytest.raises(SettingsError, match=said):
        load_recipe("cimd-small", (change,))


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("trainin.steps", "training"),
        ("training.step", "training.steps"),
        ("sampler.stesp", "sampler.steps"),
        ("method.ambiguity.encoder.latnet", "method.ambiguity.encoder.latent"),
        ("bas", "base"),
    ],
)
def test_a_misspelt_key_names_the_nearest_right_one(wrong, right):
    with pytest.raises(SettingsError, match=rf"did you mean {right}\?$"):
        load_recipe("cimd-small", (f"{wrong}=1",))


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_misspelt_key_of_any_method_names_its_own_right_one(name):
    with pytest.raises(SettingsError, match=r"own: method\.image_chanels: .* did you mean method\.image_channels\?$"):
        parse_recipe({"image_size": 128, "method": {"name": name, "image_chanels": 1}}, "own")


@pytest.mark.parametrize(("name", "hint"), [("segdif", r"did you mean segdiff\?"), ("zzz", "see docs/recipes.md")])
def test_an_unknown_method_lists_the_known_ones(name, hint):
    with pytest.raises(
        SettingsError, match=rf"own: method\.name: expected one of cimd, segdiff.*, got {name}; {hint}$"
    ):
        parse_recipe({"image_size": 128, "method": {"name": name}}, "own")


def test_a_method_given_as_a_number_is_refused():
    with pytest.raises(SettingsError, match="own: method: expected a table, got 3"):
        parse_recipe({"image_size": 128, "method": 3}, "own")


WITHOUT_SAMPLER = [name for name in BUILT_IN if method_class(name).Settings().timesteps is None]


@pytest.mark.parametrize("name", WITHOUT_SAMPLER)
def test_a_method_that_draws_in_one_evaluation_has_no_sampler(name):
    recipe = parse_recipe({"image_size": 128, "method": {"name": name}}, "own")
    assert recipe.sampler is None
    assert parse_recipe(json.loads(recipe.model_dump_json()), "own") == recipe


@pytest.mark.parametrize("name", WITHOUT_SAMPLER)
def test_a_method_that_draws_in_one_evaluation_refuses_a_sampler(name):
    said = f"own: sampler: expected no sampler, since {name} draws a mask in one evaluation, got one"
    with pytest.raises(SettingsError, match=said):
        parse_recipe({"image_size": 128, "method": {"name": name}, "sampler": {"steps": 3}}, "own")


def test_volumes_are_learned_around_lesions_alone():
    with pytest.raises(SettingsError, match="expected images lesion-crops, since one-pass-volume sees one lesion"):
        load_recipe("one-pass-volume", ("images=any-place",))


def test_samples_are_drawn_in_no_orientation_that_training_does_not_show():
    said = "expected method.orientations 1, where training does not show images in all eight, got training.symmetries"
    with pytest.raises(SettingsError, match=said):
        load_recipe("one-pass-lidc", ("training.symmetries=flip-rows",))
    assert load_recipe("one-pass-lidc", ("training.symmetries=flip-rows", "method.orientations=1"))


def test_an_unknown_recipe_lists_the_shipped_ones():
    with pytest.raises(SettingsError, match=r"got cimd; shipped: cimd-bone-us, cimd-fc, .*, cimd-small"):
        load_recipe("cimd")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(SettingsError, match=r"absent\.toml: expected a recipe file, got no such file"):
        load_recipe(str(tmp_path / "absent.toml"))


def test_the_small_recipes_are_one_network_of_3_8_million_parameters():
    small, phantom = (load_recipe(name).method for name in ("cimd-small", "cimd-phantom"))
    assert small == phantom
    denoiser = Denoiser(small.image_channels, small.diffusion.output_channels, small.denoiser)
    assert sum(weight.numel() for weight in denoiser.parameters()) == pytest.approx(3.8e6, rel=0.01)


@pytest.mark.parametrize("changes", [("image_size=64", "training.crop_steps=0"), ("training.crop=64",)])
def test_single_images_whose_coarsest_maps_are_one_pixel_are_refused_where_batches_are_normalised(changes):
    with pytest.raises(SettingsError, match=r"batch_size of at least 2 for images of 64 pixels, since .*, got 1;"):
        load_recipe("phiseg", ("training.batch_size=1", *changes))


@pytest.mark.parametrize(("recipe", "size"), [("phiseg", 128), ("prob-unet", 64)])
def test_single_images_are_taken_where_something_is_left_of_them(recipe, size):
    changes = ("training.batch_size=1", f"image_size={size}", "training.crop_steps=0")
    assert load_recipe(recipe, changes).training.batch_size == 1
