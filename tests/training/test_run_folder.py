"""Run folders: nothing is overwritten, nothing foreign is resumed, and the state comes back whole."""

import json
import os

import pytest
import torch
from tiny import TREE, recipe
from torch.optim.swa_utils import AveragedModel

from plurimask.errors import CheckpointError
from plurimask.training.checkpoint import build_method
from plurimask.training.run import RunFolder, RunState

SPLIT = {"data": "a" * 64, "patients": {"train": ["p"]}}


@pytest.fixture
def folder(tmp_path):
    made = RunFolder(tmp_path / "run")
    made.start(recipe(), SPLIT)
    return made


def state(seed=0, steps=2, **changed):
    """The state after some steps of a real optimiser on the sum of all weights' squares."""
    torch.manual_seed(seed)
    method = build_method(recipe(**changed))
    optimizer, average = torch.optim.AdamW(method.parameters(), 0.01), AveragedModel(method)
    for _ in range(steps):
        sum(weight.square().sum() for weight in method.parameters()).backward()
        optimizer.step()
        optimizer.zero_grad()
        average.update_parameters(method)
    return RunState(steps, 0.5, method, average, optimizer)


def contents(one):
    tensors = [*one.method.state_dict().values(), *one.average.state_dict().values()]
    return tensors + [value for entry in one.optimizer.state_dict()["state"].values() for value in entry.values()]


def test_start_writes_recipe_and_split(folder):
    assert json.loads(folder.recipe.read_text()) == json.loads(recipe().model_dump_json())
    assert json.loads(folder.split.read_text()) == SPLIT


def test_a_run_is_not_overwritten(folder):
    with pytest.raises(CheckpointError, match="expected an empty run folder, got a run; add --resume"):
        folder.start(recipe(), SPLIT)


def test_a_run_resumes_with_its_recipe_and_data(folder):
    folder.check_same(recipe(), SPLIT["data"])


def test_the_number_of_steps_may_change_and_is_written(folder):
    longer = recipe(training=TREE["training"] | {"steps": 99})
    folder.check_same(longer, SPLIT["data"])
    assert json.loads(folder.recipe.read_text())["training"]["steps"] == 99


@pytest.mark.parametrize(
    "changed",
    [
        {"training": TREE["training"] | {"seed": 1}},
        {"training": TREE["training"] | {"steps": 99, "learning_rate": 0.5}},
        {"sampler": {"name": "ddpm"}},
        {"image_size": 32},
    ],
)
def test_another_recipe_is_refused_and_not_written(folder, changed):
    before = folder.recipe.read_bytes()
    with pytest.raises(CheckpointError, match="expected the recipe of the run, got another"):
        folder.check_same(recipe(**changed), SPLIT["data"])
    assert folder.recipe.read_bytes() == before


def test_other_data_are_refused(folder):
    with pytest.raises(CheckpointError, match="expected data aaaaaaaaaaaa, got bbbbbbbbbbbb; resume on the data"):
        folder.check_same(recipe(), "b" * 64)


def test_nothing_to_resume_is_said(tmp_path):
    with pytest.raises(CheckpointError, match="expected a run to resume, got none; leave --resume out"):
        RunFolder(tmp_path).check_same(recipe(), SPLIT["data"])


@pytest.mark.parametrize("content", ["{", "3", ""])
@pytest.mark.parametrize("name", ["recipe", "split"])
def test_a_damaged_description_is_refused(folder, name, content):
    getattr(folder, name).write_text(content)
    with pytest.raises(CheckpointError, match=rf"{name}\.json: expected a table in JSON"):
        folder.check_same(recipe(), SPLIT["data"])


def test_the_state_comes_back_whole(tmp_path):
    saved, other = state(seed=0), state(seed=1, steps=1)
    saved.save(tmp_path / "last.pt")
    other.load(tmp_path / "last.pt")
    assert (other.step, other.best) == (2, 0.5)
    assert all(torch.equal(a, b) for a, b in zip(contents(saved), contents(other), strict=True))


def test_a_state_is_whole_or_not_there(tmp_path):
    saved = state()
    saved.save(tmp_path / "last.pt")
    before = (tmp_path / "last.pt").read_bytes()
    saved.best = lambda: None
    with pytest.raises(AttributeError, match="lambda"):
        saved.save(tmp_path / "last.pt")
    assert (tmp_path / "last.pt").read_bytes() == before
    assert os.listdir(tmp_path) == ["last.pt"]


def test_a_missing_state_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"last\.pt: expected the state of this run, got .*No such file"):
        state().load(tmp_path / "last.pt")


@pytest.mark.parametrize("share", [0, 0.3, 0.99])
def test_a_truncated_state_is_refused(tmp_path, share):
    state().save(tmp_path / "last.pt")
    content = (tmp_path / "last.pt").read_bytes()
    (tmp_path / "last.pt").write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match="expected the state of this run"):
        state().load(tmp_path / "last.pt")


@pytest.mark.parametrize("content", [{}, [1, 2], torch.zeros(3), {"method": 3}, {"method": {}}])
def test_another_programs_state_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match="expected the state of this run"):
        state().load(tmp_path / "last.pt")


def test_the_state_of_another_network_is_refused(tmp_path):
    state(method=TREE["method"] | {"ambiguity": {"mode": "off"}}).save(tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match="expected the state of this run, got Error"):
        state().load(tmp_path / "last.pt")


class _Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_loading_a_state_runs_no_code(tmp_path):
    torch.save({"step": _Bomb(tmp_path / "exploded")}, tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match="expected the state of this run"):
        state().load(tmp_path / "last.pt")
    assert not (tmp_path / "exploded").exists()
