"""Training, read downwards: open, build, resume, step, validate, keep."""

import ctypes
import logging
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import active_children
from pathlib import Path
from typing import cast

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.multiprocessing.spawn import ProcessRaisedException
from torch.nn.utils import clip_grad_norm_
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from plurimask.datasets.batches import Batches, CropSettings, FieldSettings, WarpSettings
from plurimask.datasets.changed import cut_case
from plurimask.datasets.dataset import Dataset
from plurimask.datasets.intensity import Intensity
from plurimask.datasets.splits import Split, check_disjoint, split_indices
from plurimask.datasets.store import check_planes, open_store
from plurimask.diffusion.samplers import SamplerSettings
from plurimask.errors import DatasetError, PlurimaskError
from plurimask.evaluation.scores import mean_of_defined
from plurimask.files.atomic import check_room
from plurimask.methods.draw import draw_masks
from plurimask.methods.method import Method, build
from plurimask.metrics.calibration import empty_share
from plurimask.metrics.ci_score import collective_insight, dice_max
from plurimask.metrics.ged import ged, reader_diversity, sample_diversity
from plurimask.records import Batch, Case
from plurimask.seeds import sample_seeds
from plurimask.training.checkpoint import save_weights, start_from
from plurimask.training.recipe import Recipe, TrainingSettings
from plurimask.training.run import RunFolder, RunLog, RunState

logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # which tells the precision at every start


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


Validation = Callable[[Method], Mapping[str, float]]
"""What is scored now and then: averaged weights -> figures to log, of which the lowest `ged_v` is the best."""
Diverged = tuple[int, dict[str, float]]
"""The step whose loss or gradient is not finite, and its terms."""


@dataclass(frozen=True)
class _Run:
    """What every process of a run is given."""

    recipe: Recipe
    batches: Batches
    validation: Validation
    data: str
    folder: RunFolder
    resume: bool


def train(
    recipe: Recipe, dataset: Dataset, out: str | Path, *, resume: bool = False, validation: Validation | None = None
) -> None:
    """Train a recipe's method on the train split of a dataset, into the run folder `out`.

    Everything random depends on the recipe's seed, the step and the process alone. So a run that was stopped and
    resumed takes the same steps as an unbroken one.

    Args:
        recipe: the method, and how it is trained.
        dataset: split by patient.
        out: the run folder.
        resume: go on with the run that lies there.
        validation: other than `validate` on cases of the validation side; several processes need one that pickles.

    Raises:
        DatasetError: cases without a patient, of another size than the recipe's, or too few.
        CheckpointError: a run folder in use without `resume`, nothing to resume there, or another process that trains
            into it.
        DivergedError: a loss that is not finite.
        TrainingError: one of several processes failed otherwise.
    """
    folder, settings = RunFolder(Path(out)), recipe.training
    sides = sides_of(dataset)
    batches = _batches(recipe, dataset, sides["train"])
    if recipe.spacing_mm is None:
        recipe = recipe.model_copy(update={"spacing_mm": batches.store.usual_spacing(sides["train"])})
    clipped: Intensity | None = getattr(dataset, "intensity", None)  # which not every layout has
    if recipe.intensity not in (None, clipped):
        expected = f"images clipped as the recipe says, {recipe.intensity.model_dump_json(exclude_none=True)}"
        got = clipped.model_dump_json(exclude_none=True) if clipped else "images as they are"
        hint = "prepare them with plurimask prepare folder --window or --percentiles"
        raise DatasetError(dataset.root, expected=expected, got=got, hint=hint)
    recipe = recipe.model_copy(update={"intensity": clipped})
    validation = validation or validation_of(recipe, dataset)
    if resume:
        folder.check()
    elif settings.start is not None:
        start_from(build(recipe.method), settings.start)
    precision = settings.precision
    if precision == "auto":
        gpu = torch.cuda.is_available()
        half = torch.cuda.is_bf16_supported() if gpu else torch.cpu._is_amx_tile_supported()
        precision = "bf16-mixed" if half else "32-true"
    strategy = "ddp_spawn" if settings.devices > 1 else "auto"
    fabric = Fabric(devices=settings.devices, precision=precision, strategy=strategy)
    run = _Run(recipe, batches, validation, dataset.digest, folder, resume)
    others = active_children()
    with folder.alone():
        if resume:
            folder.resume(recipe, dataset.digest)
        else:
            split = {"rule": dataset.split_by, "data": dataset.digest, "patients": _patients(dataset, sides)}
            folder.start(recipe, split)
        try:
            # A divergence is handed back and raised here: an error does not pass whole from one process to another.
            diverged = fabric.launch(partial(_train, run=run))
        except ProcessRaisedException as error:
            got = str(error).strip().splitlines()[-1]
            raise TrainingError(out, expected="every process to train", got=got, hint="mend that, --resume") from error
        finally:
            # Of several processes those that are left: a signal may have come to this one alone.
            for process in active_children():
                if process not in others:
                    process.terminate()
    if diverged is not None:
        raise DivergedError(*diverged)


def validation_of(recipe: Recipe, dataset: Dataset) -> Validation:
    """`validate` on cases of the validation side, the same few at any time. Raises as `sides_of`."""
    settings, side = recipe.training, sides_of(dataset)["val"]
    picked = np.random.default_rng(0).permutation(side)[: settings.validation_cases]
    cases = [_part(dataset[int(index)], 2 * recipe.image_size) for index in picked]
    count, field = settings.validation_samples, recipe.image_size
    return partial(validate, cases=cases, sampler=recipe.sampler, count=count, field=field)


def sides_of(dataset: Dataset) -> dict[Split, list[int]]:
    """Positions of the cases of each side. Raises DatasetError for one without cases, or a patient on two."""
    sides: dict[Split, list[int]] = {"train": split_indices(dataset, "train"), "val": split_indices(dataset, "val")}
    # From the very cases that are used, so that the check would see a patient on two sides; test is all the rest.
    used = {index for indices in sides.values() for index in indices}
    sides["test"] = [index for index in range(len(dataset)) if index not in used]
    check_disjoint(_patients(dataset, sides))
    return sides


def _patients(dataset: Dataset, sides: Mapping[Split, list[int]]) -> dict[Split, list[str]]:
    return {side: sorted({str(dataset.patients[i]) for i in indices}) for side, indices in sides.items()}


def _batches(recipe: Recipe, dataset: Dataset, indices: list[int]) -> Batches:
    store, settings = open_store(dataset), recipe.training
    field, side = None, recipe.image_size
    check_planes(dataset, store, recipe.method.volumes)
    expected = (recipe.method.image_channels, side, side)
    if recipe.images == "any-place":
        field = FieldSettings(side, settings.drawn)
        fits = store.shapes[:, 0] == recipe.method.image_channels
    else:
        fits = (store.shapes[:, [0, -2, -1]] == expected).all(1)
    if not fits.all():
        other = int(fits.argmin())
        raise DatasetError(
            dataset.root,
            expected=f"images of {expected} (channels, rows, columns), as the recipe says",
            got=f"{tuple(store.shapes[other].tolist())} in {dataset.names[other]}",
            hint="plurimask plan writes a recipe for this data; --set images=any-place cuts fields from larger images",
        )
    crop = CropSettings(settings.crop, settings.crop_steps, settings.crop_shift, settings.planes)
    warp = WarpSettings(settings.warp, settings.turn, settings.zoom)
    known: tuple[str, ...] = getattr(recipe.method, "readers", ())  # which not every method tells apart
    masks = Counter(store.who(known)[indices].ravel().tolist())
    few = next((number for number in range(len(known)) if masks[number] < LEAST_MASKS), None)
    if few is not None:
        raise DatasetError(
            dataset.root,
            expected=f"at least {LEAST_MASKS} masks by reader {known[few]} on the train side",
            got=str(masks[few] or "none"),
            hint=f"leave {known[few]} out of method.readers, or correct readers.csv",
        )
    return Batches(
        store,
        indices,
        settings.batch_size,
        settings.seed,
        crop,
        settings.intensity,
        warp,
        field,
        settings.symmetries,
        settings.gamma,
        known,
    )


def _train(fabric: Fabric, run: _Run) -> Diverged | None:
    """One process of a run."""
    recipe, settings, folder = run.recipe, run.recipe.training, run.folder
    keep_freed_memory()
    torch.manual_seed(settings.seed)
    # On its device before the state is loaded: the optimiser's moments follow the parameters.
    method = build(recipe.method).to(fabric.device)
    resumed = run.resume and folder.state.exists()
    if settings.start is not None and not resumed:
        start_from(method, settings.start)
    if not resumed:
        method.settle(run.batches[number].to(fabric.device) for number in range(min(_LOOKED_AT, len(run.batches))))
    optimizer = torch.optim.AdamW(
        [p for p in method.parameters() if p.requires_grad], settings.learning_rate, weight_decay=settings.weight_decay
    )
    average = AveragedModel(method, multi_avg_fn=get_ema_multi_avg_fn(settings.ema))  # type: ignore[no-untyped-call]
    state = RunState(0, math.inf, method, average, optimizer)
    # Weights, their average and two moments, beside what they replace; and the two files to draw from.
    check_room(folder.root, 40 * sum(weight.numel() for weight in method.parameters()))
    if resumed:
        state.load(folder.state)
    parallel, _ = fabric.setup(_Loss(method), optimizer)
    if not fabric.is_global_zero:
        return _steps(fabric, run, state, parallel, None)
    with RunLog(folder, state.step, settings.steps, run.batches.batch_size) as log:
        return _steps(fabric, run, state, parallel, log)


def keep_freed_memory() -> None:
    """Have glibc keep what is freed, for the next step asks for the same again, and new pages have to be cleared."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # of glibc alone
    if mallopt is not None:
        trim_threshold, mmap_max, never, none = -1, -4, -1, 0
        mallopt(trim_threshold, never)
        mallopt(mmap_max, none)


class _Loss(nn.Module):
    """A method's loss as `forward`, tensors in and out: all that Fabric's precision and DDP look at."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(
        self, image: Tensor, readers: Tensor, valid: Tensor, spacing: Tensor | None, who: Tensor | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        loss = self.method.loss(Batch(image, readers, valid, spacing, who))
        return loss.total, dict(loss.terms)


def _steps(fabric: Fabric, run: _Run, state: RunState, parallel: nn.Module, log: RunLog | None) -> Diverged | None:
    settings = run.recipe.training
    while state.step < settings.steps:
        torch.manual_seed(_step_seed(settings.seed, state.step, fabric.global_rank))
        batch = run.batches.share(state.step, fabric.global_rank, fabric.world_size).to(fabric.device)
        for group in state.optimizer.param_groups:
            group["lr"] = learning_rate(settings, state.step)
        total, parts = parallel(batch.image, batch.readers, batch.valid, batch.spacing, batch.who)
        fabric.backward(total)
        norm = clip_grad_norm_(parallel.parameters(), settings.clip)
        own = {"loss": total.detach(), **parts, "gradient": norm}
        mean = torch.as_tensor(fabric.all_reduce(torch.stack(list(own.values()))))  # over processes
        terms = dict(zip(own, mean.tolist(), strict=True))
        if not math.isfinite(terms["loss"]) or not math.isfinite(terms["gradient"]):
            return state.step + 1, terms
        state.optimizer.step()
        state.optimizer.zero_grad()
        state.average.update_parameters(state.method)
        state.step += 1
        if log is not None:
            log.train(state.step, terms)
            _validate_and_save(run, state, log)
        fabric.barrier()
    return None


def _validate_and_save(run: _Run, state: RunState, log: RunLog) -> None:
    """When it is time, and at the end."""
    settings, folder = run.recipe.training, run.folder
    last = state.step == settings.steps
    averaged = cast(Method, state.average.module)
    if last or state.step % settings.validate_every == 0:
        scores = run.validation(averaged)
        log.validation(state.step, scores)
        if scores["ged_v"] < state.best:
            state.best = scores["ged_v"]
            save_weights(folder.best, averaged, run.recipe, state.step, run.data)
    if last or state.step % settings.checkpoint_every == 0:
        save_weights(folder.last, averaged, run.recipe, state.step, run.data)
        state.save(folder.state)


def _part(case: Case, most: int) -> Case:
    """Of a larger case a square of `most` pixels a side, around the middle of what its readers drew."""
    places = np.argwhere(case.readers.any(0))
    middle = places.mean(0) if len(places) else np.array(case.grid.shape) / 2
    firsts = [
        int(min(max(at - most / 2, 0), max(side - most, 0))) for at, side in zip(middle, case.grid.shape, strict=True)
    ]
    spans = (slice(first, min(first + most, side)) for first, side in zip(firsts, case.grid.shape, strict=True))
    return cut_case(case, tuple(spans))


def validate(
    method: Method, cases: Sequence[Case], sampler: SamplerSettings | None, count: int, field: int
) -> dict[str, float]:
    """Mean scores of `count` masks a case, with the share of empty masks among samples and among readers.

    Images larger than a field are drawn as they are in sampling.
    """
    training = method.training
    method.eval()
    values = [
        _values(draw_masks(method, case.image, sample_seeds(case.content, 0, count), sampler, field), case.readers)
        for case in cases
    ]
    method.train(training)
    return {key: mean_of_defined(np.array([of_case[key] for of_case in values])) for key in values[0]}


def _values(drawn: np.ndarray, read: np.ndarray) -> dict[str, float]:
    """Of one case: masks drawn (S, H, W[, D]) and read (R, H, W[, D])."""
    samples, readers = torch.from_numpy(drawn)[None], torch.from_numpy(read)[None]
    values = {
        "ged_v": ged(samples, readers, estimator="v"),
        "ged_u": ged(samples, readers, estimator="u"),
        "d_ss": sample_diversity(samples),
        "d_yy": reader_diversity(readers),
        "dice_max": dice_max(samples, readers),
        "ci": collective_insight(samples, readers),
        "empty": empty_share(samples),
        "empty_raters": empty_share(readers),
    }
    return {key: value.item() for key, value in values.items()}


def learning_rate(settings: TrainingSettings, step: int) -> float:
    """Rate of step number `step` (from 0): warm-up, then constant or cosine."""
    if step < settings.warmup:
        return settings.learning_rate * (step + 1) / settings.warmup
    if settings.decay == "constant":
        return settings.learning_rate
    done = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


LEAST_MASKS = 2
"""Of a reader on the train side, for what they do in all cases to be told from what they did in one."""
_LOOKED_AT = 16
"""Batches, or those of one epoch, that say what the training images have on average."""


def _step_seed(seed: int, step: int, rank: int) -> int:
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> 1)
