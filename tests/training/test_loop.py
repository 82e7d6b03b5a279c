"""Training: it learns, it goes on exactly where it stopped, it stops when it diverges, and two processes act as one."""

import json
import platform
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny import SMALL, TREE, recipe, small, write_cases
from torch import nn
from torch.nn.modules.module import register_module_forward_hook
from torch.nn.utils import clip_grad_norm_

from plurimask.datasets.batches import Batches
from plurimask.datasets.open import open_dataset
from plurimask.datasets.splits import split_indices, split_of
from plurimask.datasets.store import open_store
from plurimask.diffusion.samplers import SamplerSettings
from plurimask.errors import CheckpointError, DatasetError
from plurimask.evaluation import evaluate
from plurimask.geometry import Grid
from plurimask.methods.draw import draw_masks
from plurimask.methods.method import Method, build
from plurimask.methods.unet import UnetSettings
from plurimask.nets.denoiser import Denoiser
from plurimask.records import Case, MaskSet
from plurimask.training.checkpoint import load_weights, save_weights, start_from
from plurimask.training.loop import DivergedError, _step_seed, learning_rate, train, validate
from plurimask.training.recipe import TrainingSettings, parse_recipe
from plurimask.training.run import RunFolder


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("loop")


@pytest.fixture(scope="module")
def data(home):
    return open_dataset(write_cases(home / "cases"))


@pytest.fixture(autouse=True)
def cache(home, monkeypatch):
    monkeypatch.setenv("PLURIMASK_CACHE", str(home / "cache"))


NOISY = {"diffusion": TREE["method"]["diffusion"] | {"predicts": "eps"}}
"""A fresh network that predicts eps draws noise, so that validations of a few steps differ; of x_0, nothing."""


def made(method=NOISY, **training):
    own = {"learning_rate": 1e-3, "steps": 6, "validate_every": 3, "ema": 0.5}
    return recipe(method=TREE["method"] | method, training=TREE["training"] | own | training)


TIMES = ("images_per_second", "minutes", "core_minutes")


def lines(out, split="train"):
    """The lines of one split, without speed and times."""
    read = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in TIMES} for line in read if line["split"] == split]


def flat(tree):
    if isinstance(tree, dict):
        return [leaf for key in tree for leaf in flat(tree[key])]
    return [leaf for part in tree for leaf in flat(part)] if isinstance(tree, list) else [tree]


def assert_same_end(one, two):
    """Same lines, same averaged weights, same weights and optimiser, to the last bit."""
    assert lines(one) == lines(two)
    assert lines(one, "val") == lines(two, "val")
    for read in (lambda out: load_file(out / "last.safetensors"), lambda out: torch.load(out / "last.pt")):
        pairs = zip(flat(read(one)), flat(read(two)), strict=True)
        assert all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in pairs)


class _Stop:
    """Ends a step in its middle: at the n-th use of any denoiser while training."""

    def __init__(self, count, act):
        self.count, self.act = count, act

    def __call__(self, module, inputs, output):
        if isinstance(module, Denoiser) and module.training:
            self.count -= 1
            if self.count == 0:
                self.act()


def interrupt():
    raise KeyboardInterrupt


@pytest.fixture(scope="module")
def unbroken(home, data, request):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLURIMASK_CACHE", str(home / "cache"))
        train(made(), data, home / "unbroken")
    return home / "unbroken"


def test_a_run_logs_every_step_and_leaves_all_its_files(unbroken):
    assert [line["step"] for line in lines(unbroken)] == [1, 2, 3, 4, 5, 6]
    assert [line["step"] for line in lines(unbroken, "val")] == [3, 6]
    names = {path.name for path in unbroken.iterdir()}
    assert names == {
        *("recipe.json", "split.json", "metrics.jsonl", "tensorboard"),
        *("last.pt", "last.safetensors", "best.safetensors"),
    }


def test_the_logged_loss_is_the_sum_of_its_terms(unbroken):
    method = made().method
    for line in lines(unbroken):
        total = line["simple"] + method.vlb_weight * 20 * line["vlb"] + method.ambiguity.beta * line["amb"]
        assert line["loss"] == pytest.approx(total, rel=1e-5)


def test_the_averaged_weights_load_and_say_where_they_come_from(unbroken, data):
    loaded = load_weights(unbroken / "last.safetensors")
    assert (loaded.recipe, loaded.step, loaded.data) == (made(), 6, data.digest)
    average = torch.load(unbroken / "last.pt", weights_only=True)["average"]
    for name, weight in load_file(unbroken / "last.safetensors").items():
        assert torch.equal(weight, average[f"module.{name}"])


def test_the_split_is_written_with_the_run_and_shares_no_patient(unbroken, data):
    split = json.loads((unbroken / "split.json").read_text())
    for side in ("train", "val", "test"):
        assert split["patients"][side] == sorted({p for p in data.patients if split_of(p) == side})
    assert (split["data"], split["rule"]) == (data.digest, "blake2b of the patient, 80/10/10")


# Checkpoints are written at 2, 4 and 6: before the first, right after one, and between two with a validation.
# The first of these starts anew, so it says too that the same recipe gives the same run.
@pytest.mark.parametrize("step", [1, 3, 4])
def test_a_run_broken_off_in_a_step_goes_on_exactly(unbroken, data, tmp_path, step):
    handle = register_module_forward_hook(_Stop(step, interrupt))
    try:
        with pytest.raises(KeyboardInterrupt, match=r"^$"):
            train(made(), data, tmp_path / "run")
    finally:
        handle.remove()
    train(made(), data, tmp_path / "run", resume=True)
    assert_same_end(unbroken, tmp_path / "run")


_KILLED = """
import os, signal, sys
sys.path[:0] = sys.argv[3:]
from test_loop import _Stop, made, open_dataset, register_module_forward_hook, train
register_module_forward_hook(_Stop(6, lambda: os.kill(os.getpid(), signal.SIGKILL)))
train(made(), open_dataset(sys.argv[1]), sys.argv[2])
"""


def test_a_process_killed_in_a_step_goes_on_exactly(unbroken, data, tmp_path):
    here = Path(__file__).parent
    command = [sys.executable, "-c", _KILLED, data.root, tmp_path / "run", here, here.parent, *sys.path]
    killed = subprocess.run([str(word) for word in command], check=False, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert load_weights(tmp_path / "run" / "last.safetensors").step == 4
    train(made(), data, tmp_path / "run", resume=True)
    assert_same_end(unbroken, tmp_path / "run")


def test_a_line_that_was_cut_off_is_passed_over(data, tmp_path):
    train(made(steps=2), data, tmp_path / "run")
    log, before = tmp_path / "run" / "metrics.jsonl", RunFolder(tmp_path / "run").lines("train")
    log.write_text(log.read_text() + '{"step": 3, "sp')
    assert RunFolder(tmp_path / "run").lines("train") == before


def test_a_run_that_is_lengthened_takes_the_steps_of_a_long_one(unbroken, data, tmp_path):
    train(made(steps=3), data, tmp_path / "run")
    train(made(), data, tmp_path / "run", resume=True)
    assert_same_end(unbroken, tmp_path / "run")


def test_a_finished_run_resumes_to_nothing_new(data, tmp_path):
    train(made(steps=2), data, tmp_path / "run")
    before = lines(tmp_path / "run")
    train(made(steps=2), data, tmp_path / "run", resume=True)
    assert lines(tmp_path / "run") == before


def test_a_run_in_use_is_not_overwritten(unbroken, data):
    with pytest.raises(CheckpointError, match="add --resume"):
        train(made(), data, unbroken)


def test_it_learns(data, tmp_path):
    train(made({}, steps=40, batch_size=4, learning_rate=3e-3, validate_every=500), data, tmp_path / "run")
    simple = [line["simple"] for line in lines(tmp_path / "run")]
    assert simple[0] == pytest.approx(1, abs=0.02)  # a fresh network says x_0 = 0
    assert np.mean(simple[-10:]) < 0.35


def test_frozen_and_switched_off_networks_train(data, tmp_path):
    for mode in ("frozen", "acn_only", "anchored", "off"):
        changed = {"ambiguity": TREE["method"]["ambiguity"] | {"mode": mode}}
        train(made(changed, steps=1), data, tmp_path / mode)
        assert len(lines(tmp_path / mode)) == 1


def test_the_gradient_is_clipped_and_logged_before(data, tmp_path):
    train(made(steps=1, clip=0.125), data, tmp_path / "run")
    moments = torch.load(tmp_path / "run" / "last.pt")["optimizer"]["state"].values()
    first = torch.cat([moment["exp_avg"].flatten() for moment in moments])  # (1 - beta_1) times the gradient
    assert first.norm().item() == pytest.approx(0.1 * 0.125, rel=1e-3)
    assert lines(tmp_path / "run")[0]["gradient"] > 0.125


def test_every_step_and_process_has_noise_of_its_own():
    seeds = {_step_seed(seed, step, rank) for seed in range(3) for step in range(50) for rank in range(3)}
    assert len(seeds) == 3 * 50 * 3


def test_an_absurd_rate_is_said_at_the_step_that_diverges(data, tmp_path):
    with pytest.raises(DivergedError, match=r"step 2: expected a finite loss, got loss (nan|inf) .*; lower training"):
        train(made(learning_rate=1e30, clip=1e30, validate_every=1000), data, tmp_path / "run")


def computed_in(recipe, data, out):
    """Types of what convolutions gave in a training."""
    seen = set()

    def note(module, inputs, output):
        if isinstance(module, nn.Conv2d):
            seen.add(output.dtype)

    handle = register_module_forward_hook(note)
    try:
        train(recipe, data, out)
    finally:
        handle.remove()
    return seen


def test_mixed_precision_computes_in_half_precision_and_keeps_weights_in_single(data, tmp_path):
    assert torch.bfloat16 in computed_in(made(precision="bf16-mixed", steps=1), data, tmp_path / "run")
    state = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    assert {weight.dtype for weight in state["method"].values()} == {torch.float32}


@pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU, that decides")
@pytest.mark.parametrize("amx", [True, False])
def test_auto_computes_in_half_precision_where_a_processor_has_amx(data, tmp_path, monkeypatch, amx):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert (torch.bfloat16 in computed_in(made(precision="auto", steps=1), data, tmp_path / "run")) == amx


def test_images_of_another_size_are_refused_and_nothing_is_written(data, tmp_path):
    with pytest.raises(
        DatasetError, match=r"expected images of \(1, 32, 32\) .*, got \(1, 16, 16\) in case-00; plurimask plan writes"
    ):
        train(recipe(image_size=32), data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


class Larger:
    """The cases in images of several sizes, above, around and below a field of 16 pixels; drawn in the first corner."""

    root, digest, sides, split_by = "larger", "c" * 64, {}, "hash"

    def __init__(self, data):
        self.names, self.patients, self._data = data.names, data.patients, data

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        case, (rows, columns) = self._data[index], [(60, 45), (16, 16), (10, 50)][index % 3]
        image = np.resize(case.image, (1, rows, columns))
        readers = np.zeros((len(case.readers), rows, columns), dtype=np.bool_)
        readers[:, :5, : 4 + index % 6] = True
        return Case(case.name, image, readers, Grid.plane((rows, columns), 0.7), case.patient)


def test_images_of_any_size_are_learned_in_fields_and_validated_as_they_are_drawn(data, tmp_path, monkeypatch):
    drawn = []

    def recorded(method, image, seeds, sampler, field):
        drawn.append((image.shape[1:], field))
        return np.ones((len(seeds), *image.shape[1:]), dtype=np.bool_)

    monkeypatch.setattr("plurimask.training.loop.draw_masks", recorded)
    tree = TREE | {"images": "any-place", "training": TREE["training"] | {"steps": 2, "validation_cases": 40}}
    train(parse_recipe(tree, "any"), Larger(data), tmp_path / "run")
    assert len(lines(tmp_path / "run")) == 2
    # At most two fields a side, around what is drawn.
    assert set(drawn) == {((32, 32), 16), ((16, 16), 16), ((10, 32), 16)}
    assert lines(tmp_path / "run", "val")[0]["empty_raters"] == 0
    assert load_weights(tmp_path / "run" / "last.safetensors").recipe.spacing_mm == pytest.approx(0.7)
    train(parse_recipe(tree, "any"), Larger(data), tmp_path / "run", resume=True)  # whose recipe names no spacing


def test_cases_without_patients_are_refused(tmp_path):
    root = write_cases(tmp_path / "cases", count=3)
    (root / "patients.csv").unlink()
    with pytest.raises(DatasetError, match=r"case-00: expected a patient, .*patients\.csv"):
        train(made(), open_dataset(root), tmp_path / "run")


def two_processes_by_hand(settings, data, steps):
    """Losses and weights of a step that averages the gradients of two halves of the batch, each with its own noise."""
    torch.manual_seed(settings.training.seed)
    method = build(settings.method)
    optimizer = torch.optim.Adam(method.parameters(), settings.training.learning_rate)
    batches = Batches(open_store(data), split_indices(data, "train"), settings.training.batch_size, 0)
    losses = []
    for step in range(steps):
        totals = []
        for rank in range(2):
            torch.manual_seed(_step_seed(0, step, rank))
            totals.append(method.loss(batches.share(step, rank, 2)).total)
        loss = sum(totals) / 2
        loss.backward()
        clip_grad_norm_(method.parameters(), settings.training.clip)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses, method.state_dict()


def test_two_processes_average_their_gradients(data, tmp_path):
    settings = made(devices=2, steps=4, validate_every=1000)
    train(settings, data, tmp_path / "run")
    losses, weights = two_processes_by_hand(settings, data, 4)
    assert [line["loss"] for line in lines(tmp_path / "run")] == pytest.approx(losses, rel=1e-4)
    trained = torch.load(tmp_path / "run" / "last.pt", weights_only=True)["method"]
    moved = 4 * settings.training.learning_rate
    for name, weight in weights.items():
        torch.testing.assert_close(trained[name], weight, rtol=0, atol=0.05 * moved, msg=name)


class Bright(Method):
    """Every sample is where the image is bright."""

    def __init__(self):
        super().__init__(UnetSettings())
        self.level = nn.Parameter(torch.tensor(0.0))

    def loss(self, batch):
        raise NotImplementedError

    def predict(self, encoded, noise):
        return encoded - self.level


def test_validation_scores_as_evaluate_does(data):
    cases = [data[number] for number in range(4)]
    method = Bright().train()
    scores = validate(method, cases, SamplerSettings(), 3, 16)
    assert method.training
    panels = [
        MaskSet(case.name, draw_masks(Bright(), case.image, (1, 2, 3), SamplerSettings(), 16), case.grid)
        for case in cases
    ]
    mean = evaluate(panels, {case.name: case for case in cases}).mean
    same = {"empty": "empty_samples", "empty_raters": "empty_readers"}
    assert scores == {key: mean[same.get(key, key)] for key in scores}


def test_another_validation_can_be_given(data, tmp_path):
    given = {1: 0.5, 2: 0.25, 3: 0.75}
    seen = []

    def validation(method):
        seen.append(method)
        return {"ged_v": given[len(seen)], "loss": 1.0}

    train(made(steps=3, validate_every=1), data, tmp_path / "run", validation=validation)
    assert [line["ged_v"] for line in lines(tmp_path / "run", "val")] == [0.5, 0.25, 0.75]
    assert load_weights(tmp_path / "run" / "best.safetensors").step == 2


def test_the_rate_rises_linearly_over_the_warm_up():
    settings = TrainingSettings(learning_rate=0.8, warmup=4, steps=10)
    assert [learning_rate(settings, step) for step in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8])


def test_the_cosine_starts_at_the_rate_halves_in_the_middle_and_ends_at_0():
    settings = TrainingSettings(learning_rate=0.8, warmup=10, steps=110, decay="cosine")
    assert [learning_rate(settings, step) for step in (10, 60, 110)] == pytest.approx([0.8, 0.4, 0.0])


def test_training_can_start_from_the_weights_of_another_run(unbroken, data, tmp_path):
    train(made(start=str(unbroken / "last.safetensors"), steps=1, learning_rate=1e-9), data, tmp_path / "run")
    there, here = (load_file(out / "last.safetensors") for out in (unbroken, tmp_path / "run"))
    assert all(torch.allclose(there[name], here[name], atol=1e-7) for name in there)


def test_a_start_survives_a_stop_before_the_first_checkpoint(unbroken, data, tmp_path):
    begun = made(start=str(unbroken / "last.safetensors"), steps=3)
    train(begun, data, tmp_path / "whole")
    handle = register_module_forward_hook(_Stop(1, interrupt))
    try:
        with pytest.raises(KeyboardInterrupt, match=r"^$"):
            train(begun, data, tmp_path / "broken")
    finally:
        handle.remove()
    train(begun, data, tmp_path / "broken", resume=True)
    assert_same_end(tmp_path / "whole", tmp_path / "broken")


def test_a_start_of_another_shape_is_refused(unbroken, data, tmp_path):
    wider = {"denoiser": TREE["method"]["denoiser"] | {"channels": [64]}}
    with pytest.raises(CheckpointError, match=r"training.start: expected weights of the recipe's own network"):
        train(made(wider, start=str(unbroken)), data, tmp_path / "run")


def test_a_start_of_another_method_is_refused_by_name(data, tmp_path):
    said = "expected weights of cimd, the recipe's method, got lidc-one-pass, which is of one-pass"
    with pytest.raises(CheckpointError, match=said):
        train(made(start="lidc-one-pass"), data, tmp_path / "run")


def test_a_reader_of_too_few_masks_is_refused_by_name(data, tmp_path):
    """The data of these tests names nobody."""
    method = {"name": "one-pass"} | SMALL["one-pass"] | {"readers": ["ann"]}
    with pytest.raises(
        DatasetError, match="expected at least 2 masks by reader ann on the train side, got none; leave"
    ):
        train(recipe(method=method, sampler=None), data, tmp_path / "run")


def test_known_readers_of_a_start_are_others_unless_they_have_the_same_names(tmp_path):
    written = tmp_path / "start.safetensors"
    start = build(
        recipe(method={"name": "one-pass"} | SMALL["one-pass"] | {"readers": ["ann", "bob"]}, sampler=None).method
    )
    save_weights(written, start, recipe(method=start.settings.model_dump(), sampler=None), 1, "0" * 64)
    for names, same in ((["ann", "bob"], True), (["bob", "ann"], False), (["cleo"], False), ([], None)):
        method = small("one-pass", readers=names)
        means = method.known.means.clone() if names else None
        start_from(method, str(written))
        assert torch.equal(method.mean_head[0].weight, start.mean_head[0].weight)
        assert names == [] or torch.equal(method.known.means, start.known.means if same else means)


def test_an_unknown_start_begins_no_run(data, tmp_path):
    with pytest.raises(CheckpointError, match=r"expected a built-in name, a \.safetensors file"):
        train(made(start="nobody"), data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


FAULTS = """
import resource, torch
from plurimask.training.loop import keep_freed_memory

def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.zeros(16_777_216)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

pages()
free = pages()
keep_freed_memory()
print(free, min(pages() for _ in range(3)))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc maps large memory anew")
def test_memory_that_was_freed_is_not_mapped_anew():
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    free, kept = map(int, done.stdout.split())
    assert kept < free / 100
