"""A suite on a dataset: everything that can be wrong is refused here, before anything runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from plurimask.benchmark.costs import gflop_a_step
from plurimask.benchmark.places import (
    Json,
    Pace,
    Places,
    Prepared,
    Terms,
    check_same,
    fingerprint,
    read_record,
    write_record,
)
from plurimask.benchmark.suite import Budget, RunSettings, Suite
from plurimask.datasets.batches import Batches
from plurimask.datasets.changed import CentreCrop, CropLoss, OneReader, crop_loss
from plurimask.datasets.dataset import CasesByName, Dataset
from plurimask.datasets.open import choose_cases
from plurimask.datasets.splits import read_case_list, side_of, split_indices
from plurimask.datasets.store import open_store
from plurimask.errors import SettingsError
from plurimask.training.checkpoint import build_method
from plurimask.training.recipe import Recipe, load_recipe, parse_recipe

VALIDATIONS, CHECKPOINTS = 4, 20
"""Of one training, evenly spread."""


@dataclass(frozen=True)
class Bench:
    """A suite, the data that it runs on, and where its files lie.

    Args:
        suite: the suite.
        whole: the dataset before the crop.
        data: the dataset that all runs see.
        cases: those to be scored.
        recipes: by name of a run, on the suite's terms but for steps, learning rate and seed.
        places: paths.
    """

    suite: Suite
    whole: Dataset
    data: CentreCrop
    cases: CasesByName
    recipes: Mapping[str, Recipe]
    places: Places

    @cached_property
    def terms(self) -> Json:
        """What all runs share, as plain values: results under other terms cannot stand beside them."""
        shared = self.suite.model_dump(mode="json", include={"image_size", "batch_size", "budget", "probe", "scoring"})
        return {
            "data": self.whole.digest,
            "split": split_digest(self.data),
            "scored": fingerprint({"names": list(self.cases)}),
            **shared,
        }

    def data_of(self, run: RunSettings) -> Dataset:
        """The dataset with the readers that the run may see."""
        return OneReader(self.data) if run.readers == "one" else self.data

    def definition(self, run: RunSettings) -> Json:
        """What the run is, as plain values."""
        return _definition(self.recipes[run.name], run.readers)

    def recipe(self, run: RunSettings, steps: int, learning_rate: float, seed: int, **training: Any) -> Recipe:
        """The run's recipe for so many steps; `training` are further changes.

        Warm-up is a twentieth of the steps, at most 100, and averaged weights look back over about their last tenth.
        """
        recipe = self.recipes[run.name]
        decided = {
            "steps": steps,
            "learning_rate": learning_rate,
            "seed": seed,
            "warmup": min(100, steps // 20),
            "ema": max(0.0, 1 - 10 / steps),
            "validate_every": -(-steps // VALIDATIONS),
            "checkpoint_every": -(-steps // CHECKPOINTS),
        }
        own = recipe.training.model_dump()
        return parse_recipe(recipe.model_dump() | {"training": own | decided | training}, run.recipe)

    def gflop_a_step(self, run: RunSettings) -> float:
        """1e9 operations of a step of the run."""
        data, size = self.data_of(run), self.suite.batch_size
        batch = Batches(open_store(data), split_indices(data, "train"), size, seed=0)[0]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return gflop_a_step(build_method(self.recipes[run.name]), batch)

    def crop_loss(self) -> CropLoss:
        """What the crop takes away of the masks of the cases that are scored."""
        position = {name: index for index, name in enumerate(self.whole.names)}
        return crop_loss((self.whole[position[name]] for name in self.cases), self.suite.image_size)


def open_bench(suite: Suite, dataset: Dataset, out: Path) -> Bench:
    """A suite on a dataset, into the folder `out`, new or of the same suite.

    Raises:
        SettingsError: an unknown recipe or setting, a budget that pays for no step, or a folder with results of other
            data, another split or other settings.
        CheckpointError: a damaged record of them.
        DatasetError: images smaller than the suite's, no patients, or scored cases that are not there.
        InputError: a list of cases that cannot be read.
    """
    data, scoring = CentreCrop(dataset, suite.image_size), suite.scoring
    names = read_case_list(scoring.cases) if scoring.cases else None
    cases = choose_cases(data, "test", scoring.limit, names)
    channels = len(data[0].image)
    recipes = {run.name: _on_terms(suite, run, channels) for run in suite.runs}
    bench = Bench(suite, dataset, data, cases, recipes, Places(out))
    _check_diversity(bench)
    _check_batch(bench)
    _check_results(bench)
    _check_budgets(bench)
    # Last, so that a refused suite leaves nothing behind.
    write_record(bench.places.terms, Terms(bench.terms))
    return bench


def split_digest(dataset: Dataset) -> str:
    """sha256 (hex) of the side of every patient."""
    return fingerprint({str(patient): side_of(dataset, str(patient)) for patient in dataset.patients})


def steps_within(budget: Budget, batch_size: int, seconds_a_step: float | None, gflop_a_step: float | None) -> int:
    """The optimiser steps that a budget pays for, rounded down; of the two costs, the one it is counted in is given.

    Raises SettingsError where that is less than one.
    """
    if budget.images is not None:
        steps = budget.images // batch_size
    elif budget.gflop is not None:
        assert gflop_a_step is not None
        steps = int(budget.gflop / gflop_a_step)
    else:
        assert budget.minutes is not None
        assert seconds_a_step is not None
        steps = int(60 * budget.minutes / seconds_a_step)
    if steps < 1:
        (unit, amount), *_ = budget.model_dump(exclude_none=True).items()
        raise SettingsError("budget", expected="one step's worth or more", got=f"{unit} {amount:g}", hint="raise it")
    return steps


def _on_terms(suite: Suite, run: RunSettings, channels: int) -> Recipe:
    """The run's recipe with what the suite and the data decide; steps and learning rate are decided later."""
    recipe = load_recipe(run.recipe, run.set)
    shared = {"batch_size": suite.batch_size, "decay": "cosine", "crop_steps": 0, "devices": 1, "start": None}
    changed = {
        "image_size": suite.image_size,
        "method": recipe.method.model_dump() | {"image_channels": channels},
        "training": recipe.training.model_dump() | shared,
    }
    return parse_recipe(recipe.model_dump() | changed, f"{suite.name}: {run.name}")


def _check_diversity(bench: Bench) -> None:
    settings = bench.suite.diversity
    if settings is None:
        return
    timesteps = bench.recipes[settings.run].method.timesteps
    if timesteps is None or settings.steps > timesteps:
        raise SettingsError(
            f"{bench.suite.name}: diversity",
            expected="a diffusion method, and no more steps than its process has",
            got=f"{settings.run}, {settings.steps} steps",
            hint="name another run, or fewer steps",
        )


def _check_batch(bench: Bench) -> None:
    cases = len(split_indices(bench.data, "train"))
    if cases < bench.suite.batch_size:
        raise SettingsError(
            f"{bench.suite.name}: batch_size",
            expected=f"at most the {cases} training cases",
            got=str(bench.suite.batch_size),
            hint="lower it, or add cases",
        )


def _check_results(bench: Bench) -> None:
    """Results that lie there already must be of the same data, split and settings."""
    places = bench.places
    terms = read_record(places.terms, Terms)
    if terms is not None:
        check_same(places.root, terms.root, bench.terms)
    for run in bench.suite.runs:
        pace, prepared = places.pace(run.name), places.prepared(run.name)
        for path, before in ((pace, read_record(pace, Pace)), (prepared, read_record(prepared, Prepared))):
            if before is not None:
                check_same(path, _as_now(before.definition), bench.definition(run))


def _definition(recipe: Recipe, readers: str) -> Json:
    tree = recipe.model_dump(mode="json")
    for decided in ("steps", "learning_rate", "seed", "warmup", "ema", "validate_every", "checkpoint_every"):
        del tree["training"][decided]
    return {"recipe": tree, "readers": readers}


def _as_now(definition: Json) -> Json:
    """A recorded definition with settings that have come since, which it had without saying so."""
    return _definition(parse_recipe(definition["recipe"], "results"), definition["readers"])


def _check_budgets(bench: Bench) -> None:
    """Of minutes nothing is known before steps are timed."""
    suite = bench.suite
    for run in suite.runs:
        for budget in filter(None, (suite.budget, suite.probe.budget)):
            if budget.minutes is None:
                gflop = None if budget.gflop is None else bench.gflop_a_step(run)
                steps_within(budget, suite.batch_size, None, gflop)
