"""Training, read downwards: open, build, resume, step, validate, keep."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.multiprocessing.spawn import ProcessRaisedException
from torch.nn.utils import clip_grad_norm_
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from plurimask.datasets.batches import Batches, CropSettings
from plurimask.datasets.dataset import Dataset
from plurimask.datasets.splits import Split, check_disjoint, split_indices
from plurimask.datasets.store import open_store
from plurimask.diffusion.samplers import SamplerSettings
from plurimask.errors import DatasetError, PlurimaskError
from plurimask.evaluation import evaluate
from plurimask.methods.draw import draw_masks
from plurimask.methods.method import Method
from plurimask.records import Batch, Case, MaskSet
from plurimask.seeds import sample_seeds
from plurimask.training.checkpoint import build_method, find_weights, save_weights, start_from
from plurimask.training.recipe import Recipe, TrainingSettings
from plurimask.training.run import RunFolder, RunLog, RunState


class TrainingError(PlurimaskError):
    """A process of several that failed."""


class DivergedError(TrainingError):
    """A loss that is no longer finite, at `step`."""

    def __init__(self, step: int, terms: Mapping[str, float]) -> None:
        self.step = step
        super().__init__(
            f"step {step}",
            expected="a finite loss",
            got=" ".join(f"{name} {value:.4g}" for name, value in terms.items()),
            hint="lower training.learning_rate",
        )


@dataclass(frozen=True)
class _Data:
    """What a run trains and validates on."""

    batches: Batches
    validation: dict[str, Case]
    digest: str


class _Diverged(NamedTuple):
    """The step whose loss or gradient is not finite."""

    step: int
    terms: dict[str, float]


def train(recipe: Recipe, dataset: Dataset, out: Path, *, resume: bool = False) -> None:
    """Train a recipe's method on the train side of a dataset, into the run folder `out`.

    Everything random is a function of the recipe's seed, the step and the process, so a run that was broken off and
    resumed takes the same steps as an unbroken one.

    Raises:
        DatasetError: cases without a patient, of another size than the recipe's, or too few.
        CheckpointError: a run folder in use without `resume`, or nothing to resume there.
        DivergedError: a loss that is not finite.
        TrainingError: one of several processes failed otherwise.
    """
    folder = RunFolder(out)
    data, split = _open(recipe, dataset)
    if resume:
        folder.check_same(recipe, data.digest)
    else:
        if recipe.training.start is not None:
            find_weights(recipe.training.start)
        folder.start(recipe, split)
    settings = recipe.training
    fabric = Fabric(
        devices=settings.devices,
        precision=_precision(settings),
        strategy="ddp_spawn" if settings.devices > 1 else "auto",
    )
    try:
        # A divergence is handed back and raised here: an error does not pass whole from one process to another.
        diverged = fabric.launch(partial(_run, recipe=recipe, data=data, folder=folder, resume=resume))
    except ProcessRaisedException as error:
        raise TrainingError(
            out, expected="every process to train", got=str(error).strip().splitlines()[-1], hint="mend that, --resume"
        ) from error
    if diverged is not None:
        raise DivergedError(*diverged)


def _precision(settings: TrainingSettings) -> Literal["32-true", "bf16-mixed"]:
    if settings.precision != "auto":
        return settings.precision
    return "bf16-mixed" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "32-true"


def _open(recipe: Recipe, dataset: Dataset) -> tuple[_Data, dict[str, object]]:
    sides: tuple[Split, ...] = ("train", "val")
    chosen = {side: split_indices(dataset, side) for side in sides}
    # From the very cases that are used, so that the check would see a patient on two sides; test is all the rest.
    used = {index for indices in chosen.values() for index in indices}
    rest = [index for index in range(len(dataset)) if index not in used]
    patients: dict[Split, list[str]] = {
        side: sorted({str(dataset.patients[i]) for i in indices}) for side, indices in (chosen | {"test": rest}).items()
    }
    check_disjoint(patients)
    store = open_store(dataset)
    expected = (recipe.method.image_channels, recipe.image_size, recipe.image_size)
    if store.image_shape != expected:
        raise DatasetError(
            dataset.kind,
            expected=f"images of {expected} (channels, rows, columns), as the recipe says",
            got=str(store.image_shape),
            hint="choose the recipe for this data, or --set image_size and method.image_channels",
        )
    settings = recipe.training
    crop = CropSettings(settings.crop, settings.crop_steps, settings.crop_shift)
    batches = Batches(store, chosen["train"], settings.batch_size, settings.seed, crop, settings.intensity)
    picked = np.random.default_rng(0).permutation(chosen["val"])[: settings.validation_cases]
    validation = {dataset.names[i]: dataset[int(i)] for i in picked}
    split: dict[str, object] = {
        "rule": "blake2b of the patient, 80/10/10",
        "data": dataset.digest,
        "patients": patients,
    }
    return _Data(batches, validation, dataset.digest), split


def _run(fabric: Fabric, recipe: Recipe, data: _Data, folder: RunFolder, resume: bool) -> _Diverged | None:
    settings = recipe.training
    torch.manual_seed(settings.seed)
    # On its device before the state is loaded: the optimiser's moments follow the parameters.
    method = build_method(recipe).to(fabric.device)
    resumed = resume and folder.state.exists()
    if settings.start is not None and not resumed:
        start_from(method, settings.start)
    optimizer = torch.optim.AdamW(
        [p for p in method.parameters() if p.requires_grad], settings.learning_rate, weight_decay=settings.weight_decay
    )
    average = AveragedModel(method, multi_avg_fn=get_ema_multi_avg_fn(settings.ema))  # type: ignore[no-untyped-call]
    state = RunState(0, math.inf, method, average, optimizer)
    if resumed:
        state.load(folder.state)
    parallel, _ = fabric.setup(_Loss(method), optimizer)
    if fabric.is_global_zero:
        log = RunLog(folder.root, folder.metrics, state.step, settings.steps, data.batches.batch_size)
        with log:
            return _steps(fabric, recipe, data, folder, state, parallel, log)
    return _steps(fabric, recipe, data, folder, state, parallel, None)


class _Loss(nn.Module):
    """A method's loss as `forward`, tensors in and out: all that Fabric's precision and DDP look at."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, image: Tensor, raters: Tensor, valid: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        loss = self.method.loss(Batch(image, raters, valid))
        return loss.total, dict(loss.terms)


def _steps(
    fabric: Fabric,
    recipe: Recipe,
    data: _Data,
    folder: RunFolder,
    state: RunState,
    parallel: nn.Module,
    log: RunLog | None,
) -> _Diverged | None:
    settings = recipe.training
    while state.step < settings.steps:
        torch.manual_seed(_step_seed(settings.seed, state.step, fabric.global_rank))
        batch = data.batches.share(state.step, fabric.global_rank, fabric.world_size).to(fabric.device)
        for group in state.optimizer.param_groups:
            group["lr"] = learning_rate(settings, state.step)
        total, parts = parallel(batch.image, batch.raters, batch.valid)
        fabric.backward(total)
        norm = clip_grad_norm_(parallel.parameters(), settings.clip)
        terms = _mean_over_processes(fabric, {"loss": total.detach(), **parts, "gradient": norm})
        if not math.isfinite(terms["loss"]) or not math.isfinite(terms["gradient"]):
            return _Diverged(state.step + 1, terms)
        state.optimizer.step()
        state.optimizer.zero_grad()
        state.average.update_parameters(state.method)
        state.step += 1
        if log is not None:
            log.train(state.step, terms)
            _keep(recipe, data, folder, state, log)
        fabric.barrier()
    return None


def _mean_over_processes(fabric: Fabric, terms: dict[str, Tensor]) -> dict[str, float]:
    mean = torch.as_tensor(fabric.all_reduce(torch.stack(list(terms.values()))))
    return dict(zip(terms, mean.tolist(), strict=True))


def _keep(recipe: Recipe, data: _Data, folder: RunFolder, state: RunState, log: RunLog) -> None:
    """Validate and write checkpoints when it is time, and at the end."""
    settings = recipe.training
    last = state.step == settings.steps
    averaged = cast(Method, state.average.module)
    if last or state.step % settings.validate_every == 0:
        scores = validate(averaged, data.validation, recipe.sampler, settings.validation_samples)
        log.validation(state.step, scores)
        if scores["ged_v"] < state.best:
            state.best = scores["ged_v"]
            save_weights(folder.best, averaged, recipe, state.step, data.digest)
    if last or state.step % settings.checkpoint_every == 0:
        log.flush()
        save_weights(folder.last, averaged, recipe, state.step, data.digest)
        state.save(folder.state)


def validate(method: Method, cases: dict[str, Case], sampler: SamplerSettings | None, count: int) -> dict[str, float]:
    """Mean scores of `count` masks a case, with the share of empty masks among samples and among readers."""
    training = method.training
    method.eval()
    panels = [
        MaskSet(case.name, draw_masks(method, case.image, sample_seeds(case.image, 0, count), sampler), case.grid)
        for case in cases.values()
    ]
    method.train(training)
    means = evaluate(panels, cases).mean
    kept = {key: means[key] for key in ("ged_v", "ged_u", "d_ss", "d_yy", "dice_max", "ci")}
    return kept | {"empty": means["empty_samples"], "empty_raters": means["empty_readers"]}


def learning_rate(settings: TrainingSettings, step: int) -> float:
    """Rate of step number `step` (from 0): warm-up, then constant or cosine."""
    if step < settings.warmup:
        return settings.learning_rate * (step + 1) / settings.warmup
    if settings.decay == "constant":
        return settings.learning_rate
    done = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def _step_seed(seed: int, step: int, rank: int) -> int:
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> 1)
