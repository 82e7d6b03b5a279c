"""The runs of a suite: choose a learning rate, train, draw, score, weigh the costs.

A run's record says how far it has come, so that a benchmark that was broken off goes on and nothing is done twice.
"""

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import scipy  # its parts are imported when they are first asked for
import torch
from pydantic import Field
from torch.utils.flop_counter import FlopCounterMode

from plurimask.benchmark.suite import Bench, Json, RunSettings, ScoringSettings, definition_of
from plurimask.datasets.batches import Batches
from plurimask.datasets.splits import split_indices
from plurimask.datasets.store import open_store
from plurimask.diffusion.samplers import SamplerSettings
from plurimask.errors import CheckpointError, SettingsError
from plurimask.evaluation import evaluate, write_scores
from plurimask.evaluation.store import Known
from plurimask.files.atomic import write_text
from plurimask.files.mask_sets import MaskSets, read_mask_set, write_mask_set
from plurimask.files.stored import readable
from plurimask.methods.method import Method, build
from plurimask.records import Batch, Case, MaskSet
from plurimask.sampling import Model, load
from plurimask.settings import Natural, Rate, Settings, Weight, first_difference, parse
from plurimask.training.loop import DivergedError, train
from plurimask.training.recipe import Recipe, parse_recipe
from plurimask.training.run import RunFolder

LATENTS = ("amb", "amn_spread", "acn_spread")
"""Terms of a run's log: L_amb, and the standard deviation over a batch of each encoder's means."""
MEDIANS = 3, 5
"""Pixels a side of the median filters after which masks are scored once more."""
REPEATS = 3
"""Panels whose median time is taken."""

Say = Callable[[str], object]


class Tried(Settings):
    """A learning rate that was tried, or the only one.

    Args:
        learning_rate: the rate.
        ged_u: mean U-GED on validation cases at the end; None where it diverged or is the only one.
        diverged: where, in words.
    """

    learning_rate: Rate
    ged_u: Annotated[float, Field(allow_inf_nan=False)] | None = None
    diverged: str | None = None


class Finished(Settings):
    """A seed of a run that is over, scored or diverged.

    Args:
        diverged: where, in words; then there is nothing else.
        steps, images: of its training, or of that for each fold.
        minutes, core_minutes: its trainings took, and of processor time, validations counted.
        parameters, gflop_a_mask, seconds_a_mask: its costs; a multiply-add counts as two operations.
        threads, device: of the timing.
        filtered: U-GED at the larger N of masks after a median filter, by pixels a side.
        weights: sha256 of what its masks were drawn from, of each fold.
    """

    diverged: str | None = None
    steps: Natural = 0
    images: Natural = 0
    minutes: Weight = 0.0
    core_minutes: Weight = 0.0
    parameters: Natural = 0
    gflop_a_mask: Weight = 0.0
    seconds_a_mask: Weight = 0.0
    threads: Natural = 0
    device: str = ""
    filtered: dict[int, Known] = Field(default_factory=dict)
    weights: str = ""


class DiversityPoint(Settings):
    """Mean scores at one factor on the sampler's noise."""

    noise_scale: Weight
    d_ss: Known
    d_yy: Known
    ged_u: Known
    dice_max: Known


class Diversity(Settings):
    """Scores against the noise scale, and the settings that they were drawn with."""

    settings: Json
    points: tuple[DiversityPoint, ...]


class Record(Settings):
    """How far a run has come.

    Args:
        terms: what all runs of the benchmark share.
        definition: the run's recipe on these terms, and its readers.
        gflop_a_step: 1e9 operations of a training step.
        tried: learning rates; None as long as none is chosen.
        learning_rate: the chosen one; None where every rate diverged.
        finished: by seed.
        diversity: where the suite asks for it of this run.
    """

    terms: Json
    definition: Json
    gflop_a_step: Weight = 0.0
    tried: tuple[Tried, ...] | None = None
    learning_rate: Rate | None = None
    finished: dict[int, Finished] = Field(default_factory=dict)
    diversity: Diversity | None = None


def run_part(bench: Bench, shard: tuple[int, int], say: Say) -> None:
    """Do all runs of a shard that are not over yet.

    Raises:
        SettingsError: results of other data, another split or other settings.
        CheckpointError: a damaged record or checkpoint, or results of an earlier version.
    """
    for run in bench.suite.runs:
        read_record(bench, run)
    part = [Work(bench, run, say) for run in bench.suite.part(shard)]
    # A table of all runs comes before a second seed of any.
    for seed in bench.suite.seeds:
        for work in part:
            work.finish(seed)


def read_record(bench: Bench, run: RunSettings) -> Record | None:
    """A run's record, or None where nothing has been done. Raises as `run_part`."""
    if (bench.root / "terms.json").exists():
        raise CheckpointError(
            bench.root,
            expected="results of this version",
            got="terms.json of an earlier one",
            hint="choose another --out, or go on with the version that wrote them",
        )
    path = bench.record(run)
    if not path.exists():
        return None
    with readable(path, "a benchmark's record", "remove it", CheckpointError):
        record = parse(Record, json.loads(path.read_bytes()), path, CheckpointError)
        # With the settings that have come since, which it had without saying so, and without those that have gone.
        seen = {key: value for key, value in record.definition.items() if key != "recipe"}
        was = definition_of(parse_recipe(record.definition["recipe"], str(path)), seen)
        was |= {
            "scoring": parse(ScoringSettings, record.terms["scoring"], path, CheckpointError).model_dump(mode="json")
        }
    different = first_difference(record.terms | was, bench.terms | bench.definition(run))
    if different is not None:
        key, before, now = different
        raise SettingsError(
            path,
            expected=f"{key} {_short(before)}, as its results have it",
            got=_short(now),
            hint="go on with the same suite and data, or choose another --out",
        )
    return record


def log_lines(bench: Bench, run: RunSettings, seed: int, split: str) -> list[Json]:
    """What a training, of folds the first, has logged of `train` or of `val`; nothing where it has not begun.

    Raises:
        CheckpointError: a damaged log.
    """
    folder = RunFolder(bench.trained(run, seed))
    if not folder.metrics.exists():
        return []
    with readable(folder.metrics, "the log of a training", "train that run again", CheckpointError):
        return folder.lines(split)


def latent_lines(bench: Bench, run: RunSettings, seed: int) -> np.ndarray:
    """(n, 1 + 3) float64, step and LATENTS of every logged step; n = 0 for a method without AMN and ACN.

    Raises:
        CheckpointError: a damaged log.
    """
    log = RunFolder(bench.trained(run, seed)).metrics
    with readable(log, "the log of a training", "train that run again", CheckpointError):
        lines = [line for line in log_lines(bench, run, seed, "train") if LATENTS[0] in line]
        rows = [[line["step"], *(line[term] for term in LATENTS)] for line in lines]
        return np.array(rows, dtype=float).reshape(-1, 1 + len(LATENTS))


class Work:
    """A run of a suite that is being done, and its record."""

    def __init__(self, bench: Bench, run: RunSettings, say: Say) -> None:
        self.bench, self.run, self.say = bench, run, say
        before = read_record(bench, run)
        self.record = before or Record(terms=bench.terms, definition=bench.definition(run))

    def finish(self, seed: int) -> None:
        """Bring a seed to its end, unless it is over."""
        if self.record.tried is None:
            self._choose_rate()
        if seed not in self.record.finished:
            finished = self._diverged_or_scored(seed)
            self._note(finished=self.record.finished | {seed: finished})
            over = "scored" if finished.diverged is None else f"diverged at {finished.diverged}"
            self.say(f"{self._key(seed)}: {over}")
        if self.record.finished[seed].diverged is None:
            self._vary_noise(seed)

    def _note(self, **changed: Any) -> None:
        self.record = self.record.model_copy(update=changed)
        write_text(self.bench.record(self.run), self.record.model_dump_json(indent=2) + "\n")

    def _key(self, seed: int) -> str:
        return f"{self.run.name}-seed{seed}"

    def _choose_rate(self) -> None:
        """The rate of lowest U-GED, the first of equal ones; a single one is not tried."""
        rates = self.bench.suite.probe.learning_rates or (self.bench.recipes[self.run.name].training.learning_rate,)
        tried = tuple(Tried(learning_rate=rate) if len(rates) == 1 else self._try_rate(rate) for rate in rates)
        whole = [one for one in tried if one.diverged is None]
        best = min(whole, key=lambda one: math.inf if one.ged_u is None else one.ged_u, default=None)
        self._note(gflop_a_step=self._gflop_a_step(), tried=tried, learning_rate=best and best.learning_rate)

    def _try_rate(self, rate: float) -> Tried:
        """One short training with a whole schedule of its own, and its validation at the end."""
        probe, seed = self.bench.suite.probe, self.bench.suite.seeds[0]
        assert probe.budget is not None, "a suite of two rates has a budget to try them with"
        images, steps = probe.budget.images, probe.budget.images // self.bench.suite.batch_size
        recipe = self.bench.recipe(self.run, images, rate, seed, validate_every=steps)
        self.say(f"{self.run.name}: learning rate {rate:g}, {steps} steps")
        folder = self.bench.run_folder(self.run, f"rate-{rate:g}")
        try:
            train_on(self.bench, self.run, recipe, folder)
        except DivergedError as error:
            return Tried(learning_rate=rate, diverged=f"step {error.step}")
        return Tried(learning_rate=rate, ged_u=RunFolder(folder).lines("val")[-1]["ged_u"])

    def _gflop_a_step(self) -> float:
        data, size = self.bench.data_of(self.run), self.bench.suite.batch_size
        batch = Batches(open_store(data), split_indices(data, "train"), size, seed=0)[0]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return gflop_a_step(build(self.bench.recipes[self.run.name].method), batch)

    def _diverged_or_scored(self, seed: int) -> Finished:
        bench, rate = self.bench, self.record.learning_rate
        if rate is None:
            tried = self.record.tried or ()
            return Finished(diverged=", ".join(f"{one.diverged} with rate {one.learning_rate:g}" for one in tried))
        recipe = bench.recipe(self.run, bench.suite.budget.images, rate, seed)
        self.say(f"{self._key(seed)}: training {recipe.training.steps} steps at rate {rate:g}")
        count, ends, weights = bench.suite.scoring.samples, [], []
        for number, fold in enumerate(bench.folds):
            folder = RunFolder(bench.trained(self.run, seed, number))
            try:
                train_on(bench, self.run, recipe, folder.root, number)
            except DivergedError as error:
                return Finished(diverged=f"step {error.step}")
            model = load(str(folder.last))
            self.say(f"{self._key(seed)}: drawing {count} masks for each of {len(fold.cases)} cases")
            self._draw(model, seed, fold.cases)
            ends.append(folder.lines("val")[-1])
            weights.append(model.checkpoint.digest)
        filtered = self._score(seed)
        case = bench.cases[next(iter(bench.cases))]
        return Finished(
            steps=recipe.training.steps,
            images=recipe.training.steps * bench.suite.batch_size,
            minutes=sum(end.get("minutes", 0.0) for end in ends),
            core_minutes=sum(end.get("core_minutes", 0.0) for end in ends),
            parameters=sum(parameter.numel() for parameter in model.method.parameters()),
            gflop_a_mask=gflop_a_mask(model, case, count),
            seconds_a_mask=seconds_a_mask(model, case, count),
            threads=torch.get_num_threads(),
            device=str(model.method.device),
            filtered=filtered,
            weights=" ".join(weights),
        )

    def _draw(self, model: Model, seed: int, cases: Mapping[str, Case]) -> None:
        scoring = self.bench.suite.scoring
        for name, case in cases.items():
            folder = self.bench.masks(self.run, seed) / name
            if not _drawn(folder, model, scoring.samples):
                write_mask_set(folder, model.sample(case, scoring.samples))

    def _score(self, seed: int) -> dict[int, float]:
        """Scores at both numbers of samples, from the same masks; U-GED after each median filter."""
        bench = self.bench
        panels = MaskSets.under(bench.masks(self.run, seed)).among(bench.cases, bench.data.names)
        facts = {
            "digest": bench.data.digest,
            "split": "test",
            "split_digest": bench.terms["split"],
            "split_by": bench.split_by,
        }
        for count in bench.suite.counts:
            write_scores(evaluate(panels.values(), bench.cases, count), bench.scores(self.run, seed, count), facts)
        return {
            side: evaluate((median_filtered(panel, side) for panel in panels.values()), bench.cases).mean["ged_u"]
            for side in MEDIANS
        }

    def _vary_noise(self, seed: int) -> None:
        """Scores of the suite's one run against the noise scale, unless they are there."""
        bench, chosen = self.bench, self.bench.suite.diversity
        if chosen is None or (self.run.name, seed) != (chosen.run, bench.suite.seeds[0]):
            return
        settings = chosen.model_dump(mode="json")
        if self.record.diversity is not None and self.record.diversity.settings == settings:
            return
        model = load(str(RunFolder(bench.trained(self.run, seed)).last))
        cases = {name: bench.cases[name] for name in list(bench.cases)[: chosen.cases]}
        points = []
        for scale in chosen.scales:
            self.say(f"{self._key(seed)}: noise scale {scale:g}")
            sampler = SamplerSettings(name="ddpm", steps=chosen.steps, noise_scale=scale)
            panels = [model.sample(case, chosen.samples, sampler=sampler) for case in cases.values()]
            mean = evaluate(panels, cases).mean
            own = {key: mean[key] for key in ("d_ss", "d_yy", "ged_u", "dice_max")}
            points.append(DiversityPoint(noise_scale=scale, **own))
        self._note(diversity=Diversity(settings=settings, points=tuple(points)))


def train_on(bench: Bench, run: RunSettings, recipe: Recipe, folder: Path, fold: int = 0) -> None:
    """Train into `folder`, or go on there. Raises DivergedError as `train`."""
    train(recipe, bench.data_of(run, fold), folder, resume=RunFolder(folder).recipe.exists())


def median_filtered(panel: MaskSet, side: int) -> MaskSet:
    """The panel whose every pixel is what most of the square of `side` pixels around it are, mirrored at the edges."""
    return replace(panel, masks=scipy.ndimage.median_filter(panel.masks, size=(1, side, side)))


def gflop_a_step(method: Method, batch: Batch) -> float:
    """1e9 operations of the loss of a batch and its gradient; convolutions and matrix products are counted."""
    with torch.random.fork_rng(devices=[]):
        return _gflop(lambda: torch.autograd.backward(method.loss(batch).total))


def gflop_a_mask(model: Model, case: Case, count: int) -> float:
    """1e9 operations of one of `count` masks of a case, with its share of what is done once an image."""
    return _gflop(lambda: model.sample(case, count)) / count


def seconds_a_mask(model: Model, case: Case, count: int) -> float:
    """Seconds of one of `count` masks of a case: the median of a few panels, after one that is not timed."""
    model.sample(case, count)
    times = [time.perf_counter()]
    for _ in range(REPEATS):
        model.sample(case, count)
        times.append(time.perf_counter())
    return float(np.median(np.diff(times))) / count


def _gflop(work: Callable[[], object]) -> float:
    with FlopCounterMode(display=False) as counter:
        work()
    return float(counter.get_total_flops()) / 1e9


def _drawn(folder: Path, model: Model, count: int) -> bool:
    """Whether the masks are there, from these very weights."""
    if not (folder / "masks.npz").exists():
        return False
    panel = read_mask_set(folder)
    return panel.checkpoint == model.checkpoint.digest and len(panel.masks) == count


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:12]}...{text[-4:]}"
