"""Weights on disk: the same outputs after a round trip, and everything else refused without running any of it."""

import os
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import SIZE, TREE, recipe, stir, write_weights

from plurimask.errors import CheckpointError
from plurimask.files.stored import digest_file
from plurimask.training.checkpoint import (
    FORMAT,
    build_method,
    built_in_names,
    find_weights,
    load_weights,
    save_weights,
)


def output(method):
    generator = torch.Generator().manual_seed(1)
    x_t, image = (torch.randn(2, 1, SIZE, SIZE, generator=generator) for _ in range(2))
    with torch.inference_mode():
        return method.denoiser(x_t, image, torch.tensor([3, 17]))


@pytest.fixture
def method():
    torch.manual_seed(3)
    made = build_method(recipe())
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


def test_outputs_are_the_same_to_the_last_bit(tmp_path, method):
    save_weights(tmp_path / "w", method, recipe(), step=5, data="d")
    assert torch.equal(output(load_weights(tmp_path / "w").method), output(method))


def test_outputs_of_half_precision_are_close(tmp_path, method):
    save_weights(tmp_path / "w", method, recipe(), step=5, data="d", dtype=torch.float16)
    torch.testing.assert_close(output(load_weights(tmp_path / "w").method), output(method), rtol=0.01, atol=0.01)


def test_half_precision_takes_half_the_room(tmp_path, method):
    save_weights(tmp_path / "half", method, recipe(), step=5, data="d", dtype=torch.float16)
    save_weights(tmp_path / "full", method, recipe(), step=5, data="d")
    sizes = [(tmp_path / name).stat().st_size for name in ("half", "full")]
    assert 0.5 <= sizes[0] / sizes[1] < 0.55


def test_recipe_step_and_data_come_back(tmp_path, method):
    save_weights(tmp_path / "w", method, recipe(image_size=32), step=5, data="da7a")
    loaded = load_weights(tmp_path / "w")
    assert (loaded.recipe, loaded.step, loaded.data) == (recipe(image_size=32), 5, "da7a")


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


def test_the_digest_is_the_files(path):
    assert load_weights(path).digest == digest_file(path)


def test_the_method_is_in_evaluation_mode_and_single_precision(tmp_path, method):
    save_weights(tmp_path / "w", method.train(), recipe(), step=5, data="d", dtype=torch.bfloat16)
    loaded = load_weights(tmp_path / "w").method
    assert not loaded.training
    assert {weight.dtype for weight in loaded.parameters()} == {torch.float32}


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


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, 0.999])
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
    with pytest.raises(CheckpointError, match=r"weights that fit their recipe, got .*size mismatch"):
        load_weights(path)


def test_weights_without_one_tensor_are_refused(path):
    content = load_file(path)
    content.popitem()
    save_file(content, path, metadata={"format": FORMAT, "recipe": recipe().model_dump_json(), "step": "7"})
    with pytest.raises(CheckpointError, match=r"weights that fit their recipe, got .*Missing key"):
        load_weights(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
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


def test_an_error_is_one_line_of_readable_length(tmp_path, method):
    save_file({"a": torch.zeros(2)}, tmp_path / "w", metadata={"format": FORMAT, "recipe": recipe().model_dump_json()})
    with pytest.raises(CheckpointError, match="Missing key") as caught:
        load_weights(tmp_path / "w")
    assert len(str(caught.value)) < 600
    assert "\n" not in str(caught.value)
