"""Weights on disk: the same outputs after a round trip, and everything else refused without running any of it."""

import json
import os
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import SIZE, TREE, recipe, stir, write_weights

from plurimask.errors import CheckpointError
from plurimask.files.stored import digest_file
from plurimask.methods.method import build
from plurimask.training.checkpoint import (
    FORMAT,
    built_in_names,
    find_weights,
    load_weights,
    save_weights,
)
from plurimask.training.recipe import parse_recipe


def output(method):
    generator = torch.Generator().manual_seed(1)
    x_t, image = (torch.randn(2, 1, SIZE, SIZE, generator=generator) for _ in range(2))
    with torch.inference_mode():
        return method.denoiser(x_t, image, torch.tensor([3, 17]))


@pytest.fixture
def method():
    torch.manual_seed(3)
    made = build(recipe().method)
    stir(made)
    return made.eval()


@pytest.fixture
def path(tmp_path):
    return write_weights(tmp_path / "best.safetensors")


def rewrite(path, header=None, **tensors):
    """The file with other tensors or another header."""
    content = load_file(path)
    known = {"format": FORMAT, "recipe": recipe().model_dump_json(), "step": "7", "data": "0" * 64}
    save_file(content | tensors, path, metadata=known if header is None else header)


def test_all_comes_back_to_the_last_bit(tmp_path, method):
    save_weights(tmp_path / "w", method.train(), recipe(image_size=32), step=5, data="da7a")
    loaded = load_weights(tmp_path / "w")
    assert torch.equal(output(loaded.method), output(method))
    assert (loaded.recipe, loaded.step, loaded.data) == (recipe(image_size=32), 5, "da7a")
    assert (loaded.digest, loaded.method.training) == (digest_file(tmp_path / "w"), False)


def test_half_precision_takes_half_the_room_and_is_close(tmp_path, method):
    save_weights(tmp_path / "half", method, recipe(), step=5, data="d", dtype=torch.float16)
    save_weights(tmp_path / "full", method, recipe(), step=5, data="d")
    half, full = ((tmp_path / name).stat().st_size for name in ("half", "full"))
    assert 0.5 <= half / full < 0.55
    loaded = load_weights(tmp_path / "half").method
    assert {weight.dtype for weight in loaded.parameters()} == {torch.float32}
    torch.testing.assert_close(output(loaded), output(method), rtol=0.01, atol=0.01)


@pytest.mark.parametrize(("start", "told"), [("/home/someone/runs/a.safetensors", "a.safetensors"), ("lidc", "lidc")])
def test_a_header_names_no_path_of_its_authors_disk(tmp_path, method, start, told):
    started = recipe(training=TREE["training"] | {"start": start})
    save_weights(tmp_path / "w", method, started, step=5, data="d")
    assert load_weights(tmp_path / "w").recipe.training.start == told


def test_the_weights_that_ship_name_no_path():
    for name in built_in_names():
        start = load_weights(find_weights(name)[1]).recipe.training.start
        assert start is None or "/" not in start


def test_a_value_too_large_for_half_precision_stays(tmp_path, method):
    with torch.no_grad():
        next(method.parameters())[:1] = 3e5
    save_weights(tmp_path / "w", method, recipe(), step=5, data="d", dtype=torch.float16)
    assert (next(load_weights(tmp_path / "w").method.parameters())[:1] == 3e5).all()


def test_loading_leaves_the_global_generator(path):
    torch.manual_seed(11)
    expected = torch.rand(1)
    torch.manual_seed(11)
    load_weights(path)
    assert torch.equal(torch.rand(1), expected)


def test_a_failed_write_leaves_the_old_file(path, method):
    before = path.read_bytes()
    method.register_buffer("odd", torch.empty(2, device="meta"))
    with pytest.raises(NotImplementedError, match="meta"):
        save_weights(path, method, recipe(), step=9, data="d")
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="absent: expected a checkpoint, got no such file"):
        load_weights(tmp_path / "absent")


@pytest.mark.parametrize("keep", [0, 100, 0.999])
def test_a_truncated_file_is_refused(path, keep):
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(CheckpointError, match="expected a safetensors file"):
        load_weights(path)


class _Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("write", [torch.save, lambda bomb, path: path.write_bytes(pickle.dumps(bomb))])
def test_a_pickle_under_this_name_is_refused_and_not_run(tmp_path, write):
    path = tmp_path / "best.safetensors"
    write(_Bomb(tmp_path / "exploded"), path)
    with pytest.raises(CheckpointError, match="expected a safetensors file"):
        load_weights(path)
    assert not (tmp_path / "exploded").exists()


def test_another_programs_weights_are_refused(tmp_path):
    save_file({"a": torch.zeros(2)}, tmp_path / "w")
    with pytest.raises(CheckpointError, match="expected format plurimask-1, got another program's weights"):
        load_weights(tmp_path / "w")


def test_a_later_format_is_refused(path):
    rewrite(path, {"format": "plurimask-2"})
    with pytest.raises(CheckpointError, match=r"expected format plurimask-1, got plurimask-2; .*install the version"):
        load_weights(path)


def test_a_tensor_of_another_shape_is_refused(path):
    name, tensor = next(iter(load_file(path).items()))
    rewrite(path, **{name: tensor[:1]})
    with pytest.raises(CheckpointError, match=r"weights that fit their recipe, got size \(.*\) of .*, not \("):
        load_weights(path)


def test_weights_without_one_tensor_are_refused(path):
    content = load_file(path)
    content.popitem()
    save_file(content, path, metadata={"format": FORMAT, "recipe": recipe().model_dump_json(), "step": "7"})
    with pytest.raises(CheckpointError, match=r"weights that fit their recipe, got no .*"):
        load_weights(path)


def test_weights_with_a_foreign_tensor_are_refused(path):
    rewrite(path, odd=torch.zeros(2))
    with pytest.raises(CheckpointError, match=r"weights that fit their recipe, got a tensor odd, which the method has"):
        load_weights(path)


@pytest.mark.parametrize("kind", [torch.float64, torch.int32, torch.uint8, torch.float8_e4m3fn])
def test_tensors_of_another_type_are_refused_by_name(path, kind):
    name, tensor = next(iter(load_file(path).items()))
    rewrite(path, **{name: tensor.to(kind)})
    with pytest.raises(CheckpointError, match=rf"got {name} of type \w+, not one of F32, F16, BF16"):
        load_weights(path)


@pytest.mark.parametrize(
    ("denoiser", "said"),
    [
        ({"channels": [32 * 2**20]}, r"size \(32, .*\) of denoiser\..*, not \(33554432, "),  # 5e15 bytes of one layer
        ({"residual_blocks": 10**9}, r"residual_blocks: expected a number of at most 100, got 1000000000"),
        ({"channels": [32] * 40, "attention": [False] * 40}, r"channels: expected at most 16 values"),
    ],
)
def test_a_header_that_claims_a_giant_net_is_refused_before_it_is_built(path, denoiser, said):
    tree = TREE | {"method": TREE["method"] | {"denoiser": TREE["method"]["denoiser"] | denoiser}}
    rewrite(path, {"format": FORMAT, "recipe": json.dumps(tree), "step": "7", "data": "d"})
    with pytest.raises(CheckpointError, match=rf"weights that fit their recipe, got .*{said}"):
        load_weights(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("recipe", "[" * 100_000),
        ("recipe", '{"image_size": ' + "1" * 5000 + "}"),
        ("recipe", '{"image_size": 16, "method": {"name": ["cimd"]}}'),
        ("step", "1" * 5000),
        ("recipe", None),
        ("recipe", "{"),
        ("recipe", "[]"),
        ("recipe", '{"image_size": 16, "colour": 3}'),
        ("step", "many"),
        ("step", None),
        ("data", None),
    ],
)
def test_a_damaged_header_is_refused(path, key, value):
    header = {"format": FORMAT, "recipe": recipe().model_dump_json(), "step": "7", "data": "d"}
    rewrite(path, {name: text for name, text in (header | {key: value}).items() if text is not None})
    with pytest.raises(CheckpointError, match="expected weights that fit their recipe"):
        load_weights(path)


@pytest.mark.parametrize(
    ("method", "sampler"),
    [
        ({"name": "prob-unet", "combining": 3, "latent": {"components": 4, "temperature": 0.1, "kl_draws": 100}}, None),
        ({"name": "phiseg", "growth": 4.0, "pyramid": {"latent_levels": 5}}, None),
        ({"name": "ssn", "rank": 10, "draws": 20}, None),
        ({"name": "segdiff", "denoiser": {"growth": 32}}, {"eta": 0.0}),
        (
            {
                **{"name": "panel", "visible": 0.01, "ranked": True, "shift": 8.0, "repeats": 1},
                **{"time_mean": -1.5, "time_scale": 1.4, "mean_weight": 1.0},
                "denoiser": {"basis": 8, "condition": 128},
            },
            {"eta": 0.0},
        ),
    ],
)
def test_a_header_of_an_earlier_version_is_read_where_its_settings_are_what_the_code_does(method, sampler):
    tree = {"image_size": 128, "method": method, "sampler": sampler}
    plain = {"image_size": 128, "method": {"name": method["name"]}}
    assert parse_recipe(tree, "old") == parse_recipe(plain, "new")


def test_a_header_with_another_value_of_a_setting_that_went_is_refused(path):
    old = json.loads(recipe().model_dump_json())
    old["sampler"]["eta"] = 0.5
    rewrite(path, {"format": FORMAT, "recipe": json.dumps(old), "step": "7", "data": "d"})
    said = r"sampler\.eta: expected 0\.0, its only value in this version, got 0\.5; leave it out; train with this"
    with pytest.raises(CheckpointError, match=rf"expected weights that fit their recipe, got .*{said}"):
        load_weights(path)


def test_an_error_is_one_line_of_readable_length(tmp_path, method):
    save_file({"a": torch.zeros(2)}, tmp_path / "w", metadata={"format": FORMAT, "recipe": recipe().model_dump_json()})
    with pytest.raises(CheckpointError, match="fit their recipe") as caught:
        load_weights(tmp_path / "w")
    assert len(str(caught.value)) < 600
    assert "\n" not in str(caught.value)
