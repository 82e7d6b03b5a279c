"""Suites: which methods are compared, on what terms, how they are scored; read from TOML, and put on a dataset."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import Field, field_validator, model_validator

from plurimask.datasets.changed import (
    CropLoss,
    Leaked,
    centre_crop,
    crop_loss,
    few,
    grown,
    one_reader,
    split_by_rule,
)
from plurimask.datasets.dataset import CasesByName, Dataset
from plurimask.datasets.open import choose_cases
from plurimask.datasets.splits import SplitRule, read_case_list, side_of, split_indices
from plurimask.errors import SettingsError
from plurimask.settings import Positive, Rate, Seed, Settings, Shipped, parse, wrong
from plurimask.training.recipe import Recipe, load_recipe, parse_recipe

_SUITES = Shipped("suite")
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]


Json = dict[str, Any]

REPORTED = {"ged": "ged_v", "ci": "ci", "dice_max": "dice_max"}
"""The paper's columns, and which of our values each is."""
VALIDATIONS, CHECKPOINTS = 10, 20
"""Of one training, evenly spread."""
DECIDED = (
    *("steps", "learning_rate", "seed", "warmup", "ema"),
    *("validate_every", "checkpoint_every", "validation_cases", "validation_samples"),
)
"""Of a recipe's training, what the suite decides."""


class Budget(Settings):
    """What one training may cost, the same for every method.

    Args:
        images: shown in all, each time that one is.
    """

    removed: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("minutes", "gflop"), "give images, which are the same on every machine; minutes and GFLOP are reported"
    )

    images: Positive


class ProbeSettings(Settings):
    """How each method comes by its learning rate.

    Args:
        learning_rates: one, or two of which the better by U-GED on validation cases is taken; none: each recipe's own.
        budget: of each short training that tries one; not needed for a single rate.
        cases, samples: of the validation at its end, and of all validations of the trainings.
    """

    learning_rates: Annotated[tuple[Rate, ...], Field(max_length=2)] = ()
    budget: Budget | None = None
    cases: Positive = 48
    samples: Annotated[int, Field(ge=2)] = 8

    @model_validator(mode="after")
    def _two_rates_cost(self) -> "ProbeSettings":
        if len(self.learning_rates) > 1 and self.budget is None:
            raise wrong("a budget to try two learning_rates with", got="none")
        return self


class ScoringSettings(Settings):
    """What is scored, on the test side.

    Args:
        cases: a case list, built in or a text file; None: all test cases.
        limit: at most so many of them.
        samples: masks drawn a case, N.
        first: a second N, the first so many of the same masks.
    """

    fixed: ClassVar[Mapping[str, object]] = {"seed": 0}

    cases: str | None = None
    limit: Positive | None = None
    samples: Annotated[int, Field(ge=2)] = 16
    first: Annotated[int, Field(ge=2)] = 4

    @field_validator("first")
    @classmethod
    def _among_the_drawn(cls, first: int, info: Any) -> int:
        if first > info.data.get("samples", first):
            raise wrong(f"first up to samples, {info.data['samples']}", got=first)
        return first


class RunSettings(Settings):
    """One method of the suite; it is trained once a seed.

    Args:
        name: unique; names its folders.
        label: as tables print it; the name where not given.
        recipe: a shipped recipe, or a path.
        set: changes to it, `key=value`.
        average: whether masks are drawn from weights that are averaged over the last tenth of the steps.
        group: tables put a group's runs together under this heading.
        readers: `all`, `one` reader kept of every training case, or all with masks `grown` by two pixels.
        few: how many training cases it sees, as many images as ever; all where not given.
        split: by `patients`, or by `cases`: trained on the other cases of the patients that are scored, in place of as
            many others.
        reported: the paper's name for it, whose figures are printed beside.
    """

    name: Name
    label: str = ""
    recipe: str
    set: tuple[str, ...] = ()
    group: str = ""
    readers: Literal["all", "one", "grown"] = "all"
    # Left out where it is the default, so that records of earlier runs stay the same.
    few: Annotated[Positive | None, Field(exclude_if=lambda few: few is None)] = None
    split: Annotated[Literal["patients", "cases"], Field(exclude_if=lambda split: split == "patients")] = "patients"
    average: Annotated[bool, Field(exclude_if=lambda average: average)] = True
    reported: str | None = None

    @property
    def title(self) -> str:
        """The label, or the name."""
        return self.label or self.name


class DiversitySettings(Settings):
    """Diversity of one diffusion method against the factor on the noise that each ancestral step adds.

    Args:
        run: which run, at its first seed.
        scales: the factors.
        steps: network evaluations a mask.
        cases, samples: how many, the first of those scored.
    """

    run: str
    scales: Annotated[tuple[Annotated[float, Field(ge=0, le=10)], ...], Field(min_length=2)] = (
        0.5,
        0.75,
        1.0,
        1.25,
        1.5,
    )
    steps: Positive = 10
    cases: Positive = 50
    samples: Annotated[int, Field(ge=2)] = 8


class Suite(Settings):
    """A benchmark.

    Args:
        name, purpose: what it is called, and what it is for in one sentence.
        image_size: the middle so many pixels of every case are used.
        field: pixels a side that methods see at once, if fewer: of larger cases they are trained and draw by fields.
        set: changes to every run's recipe, `key=value`, before its own.
        batch_size: images a step, of every method.
        budget: of one training, the same for every run.
        probe: learning rates.
        scoring: what is scored.
        seeds: every run is trained once with each.
        folds: for few patients. They are divided into so many parts, and every run is trained once for each, on the
            other parts, so that each patient is scored once. None: one training, sides as the data has them.
        reference: the run that all others are compared with, case by case.
        dataset: whose reported figures are printed (a key of the reported figures); None: none are.
        margin: of U-GED, stated before the runs: systems that differ by less count as equivalent to the reference.
        diversity: see there.
        runs: the methods.
    """

    docs: ClassVar[str] = "docs/benchmarks"

    name: Name
    purpose: str
    image_size: Positive
    field: Positive | None = None
    set: tuple[str, ...] = ()
    batch_size: Positive
    budget: Budget
    probe: ProbeSettings
    scoring: ScoringSettings = ScoringSettings()
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0,)
    folds: Annotated[int, Field(ge=2)] | None = None
    reference: str
    dataset: str | None = None
    margin: Rate | None = None
    diversity: DiversitySettings | None = None
    runs: Annotated[tuple[RunSettings, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _budgets_pay(self) -> "Suite":
        budgets = {"budget": self.budget} | ({"probe.budget": self.probe.budget} if self.probe.budget else {})
        for key, budget in budgets.items():
            if budget.images < self.batch_size:
                raise wrong(f"{key}.images of {self.batch_size} or more, which make a step", got=budget.images)
        return self

    @model_validator(mode="after")
    def _names_agree(self) -> "Suite":
        names = [run.name for run in self.runs]
        if len(set(names)) < len(names) or len(set(self.seeds)) < len(self.seeds):
            raise wrong("runs of different names and seeds that differ", got="one of them twice")
        named = {"reference": self.reference} | ({"diversity.run": self.diversity.run} if self.diversity else {})
        for key, name in named.items():
            if name not in names:
                raise wrong(f"{key} among the runs ({', '.join(names)})", got=name)
        if self.folds and (self.scoring.cases or any(run.split == "cases" for run in self.runs)):
            raise wrong("no choice of cases beside folds, which score all", got="scoring.cases or a split by cases")
        known = reported_figures(self.dataset)
        for run in self.runs:
            if run.reported is not None and run.reported not in known:
                raise wrong(f"reported figures of {', '.join(known) or 'no method'}", got=run.reported)
        return self

    def part(self, shard: tuple[int, int]) -> tuple[RunSettings, ...]:
        """The runs of shard i of n (from 1): every n-th, so that the shards share none and leave none out."""
        index, count = shard
        return self.runs[index - 1 :: count]

    @property
    def counts(self) -> tuple[int, ...]:
        """The numbers of samples that are scored, the smaller first."""
        return tuple(sorted({self.scoring.first, self.scoring.samples}))


class Fold(NamedTuple):
    """One training's share of a benchmark.

    Args:
        data: the dataset with the sides of this fold.
        cases: those of its test side that are scored.
    """

    data: Dataset
    cases: CasesByName


@dataclass(frozen=True)
class Bench:
    """A suite, the data that it runs on, and where its files lie.

    Args:
        suite: the suite.
        whole: the dataset before the crop.
        data: the dataset that all runs see.
        folds: what each training sees and is scored on; without folds one, of the data's own sides.
        cases: those to be scored, of all folds.
        recipes: by name of a run, on the suite's terms but for steps, learning rate and seed.
        root: the benchmark's folder.
    """

    suite: Suite
    whole: Dataset
    data: Dataset
    folds: tuple[Fold, ...]
    cases: CasesByName
    recipes: Mapping[str, Recipe]
    root: Path

    @cached_property
    def terms(self) -> Json:
        """What all runs share, as plain values: results under other terms cannot stand beside them."""
        return {
            "data": self.whole.digest,
            "split": split_digest(*(fold.data for fold in self.folds)),
            "scored": _fingerprint({"names": list(self.cases)}),
            **self.suite.model_dump(mode="json", include={"image_size", "batch_size", "budget", "probe", "scoring"}),
        }

    @property
    def split_by(self) -> str:
        """What says the sides, in words."""
        return f"{self.suite.folds} folds" if self.suite.folds else self.data.split_by

    def data_of(self, run: RunSettings, fold: int = 0) -> Dataset:
        """The dataset with what the run may see in its training for a fold, counted from 0."""
        data = Leaked(self.data, self.cases) if run.split == "cases" else self.folds[fold].data
        data = few(data, run.few) if run.few else data
        change = {"one": one_reader, "grown": grown}.get(run.readers)
        return change(data) if change else data

    def definition(self, run: RunSettings) -> Json:
        """What the run is, as plain values."""
        return definition_of(self.recipes[run.name], run.model_dump(include={"readers", "split", "average", "few"}))

    def recipe(self, run: RunSettings, images: int, learning_rate: float, seed: int, **training: Any) -> Recipe:
        """The run's recipe for so many images; `training` are further changes.

        Warm-up is a twentieth of the steps, at most 100, and averaged weights look back over about their last tenth.
        """
        recipe, steps = self.recipes[run.name], images // self.suite.batch_size
        decided = {
            "steps": steps,
            "learning_rate": learning_rate,
            "seed": seed,
            "warmup": min(100, steps // 20),
            "ema": max(0.0, 1 - 10 / steps) if run.average else 0.0,
            "validate_every": -(-steps // VALIDATIONS),
            "checkpoint_every": -(-steps // CHECKPOINTS),
            "validation_cases": self.suite.probe.cases,
            "validation_samples": self.suite.probe.samples,
        }
        own = recipe.training.model_dump()
        return parse_recipe(recipe.model_dump() | {"training": own | decided | training}, run.recipe)

    def crop_loss(self) -> CropLoss:
        """What the crop takes away of the masks of the cases that are scored."""
        position = {name: index for index, name in enumerate(self.whole.names)}
        return crop_loss((self.whole[position[name]] for name in self.cases), self.suite.image_size)

    def record(self, run: RunSettings) -> Path:
        """The one file that says how far a run has come."""
        return self.root / "records" / f"{run.name}.json"

    def run_folder(self, run: RunSettings, what: str) -> Path:
        """Run folder of a training: of a seed, or of a learning rate that is tried."""
        return self.root / "runs" / f"{run.name}-{what}"

    def trained(self, run: RunSettings, seed: int, fold: int = 0) -> Path:
        """Run folder of a seed and a fold, counted from 0."""
        return self.run_folder(run, f"seed{seed}" + (f"-fold{fold + 1}" if self.suite.folds else ""))

    def masks(self, run: RunSettings, seed: int) -> Path:
        """A folder a case."""
        return self.root / "masks" / f"{run.name}-seed{seed}"

    def scores(self, run: RunSettings, seed: int, samples: int) -> Path:
        """Scores at one N."""
        return self.root / "scores" / f"{run.name}-seed{seed}" / f"n{samples}"


def suite_names() -> list[str]:
    """Suites that ship with the package."""
    return _SUITES.names


def load_suite(source: str) -> Suite:
    """A suite by name or by path of a .toml file.

    Raises:
        SettingsError: an unknown suite, broken TOML, or the first key that is wrong.
    """
    return parse(Suite, _SUITES.read(source), source)


def open_bench(suite: Suite, dataset: Dataset, out: Path) -> Bench:
    """A suite on a dataset, into the folder `out`; nothing is written yet.

    Raises:
        SettingsError: an unknown recipe or setting, or more images a step than there are cases.
        DatasetError: images smaller than the suite's, no patients, or scored cases that are not there.
        InputError: a list of cases that cannot be read.
    """
    data, scoring = centre_crop(dataset, suite.image_size), suite.scoring
    names = read_case_list(scoring.cases) if scoring.cases else None
    rule = SplitRule("rank", folds=suite.folds)
    divided = [split_by_rule(data, rule, fold) for fold in rule.files] if suite.folds else [data]
    folds = tuple(Fold(one, choose_cases(one, "test", scoring.limit, names)) for one in divided)
    position = {name: index for index, name in enumerate(data.names)}
    cases = CasesByName(data, [position[name] for fold in folds for name in fold.cases])
    channels = len(data[0].image)
    recipes = {run.name: _on_terms(suite, run, channels) for run in suite.runs}
    _check_diversity(suite, recipes)
    trained = min(len(split_indices(fold.data, "train")) for fold in folds)
    if trained < suite.batch_size:
        raise SettingsError(
            f"{suite.name}: batch_size",
            expected=f"at most the {trained} training cases",
            got=str(suite.batch_size),
            hint="lower it, or add cases",
        )
    return Bench(suite, dataset, data, folds, cases, recipes, out)


def definition_of(recipe: Recipe, seen: Json) -> Json:
    """What a run is, without what the suite decides, as plain values; `seen` says what it sees of the data."""
    tree = recipe.model_dump(mode="json")
    for decided in DECIDED:
        del tree["training"][decided]
    return {"recipe": tree, **seen}


def split_digest(*folds: Dataset) -> str:
    """sha256 (hex) of the side of every patient, in one dataset or in each of several folds."""
    sides = [{str(patient): side_of(fold, str(patient)) for patient in fold.patients} for fold in folds]
    return _fingerprint(sides[0] if len(sides) == 1 else {"folds": sides})


@cache
def reported_figures(dataset: str | None) -> Mapping[str, Mapping[str, float]]:
    """By the paper's name of a method the figures that it reports on a dataset, under the keys of REPORTED.

    Its split and conventions are not ours. Empty for a dataset that is not the paper's.
    """
    figures: dict[str, dict[str, dict[str, float]]] = tomllib.loads(
        (files("plurimask") / "benchmark" / "reported.toml").read_text(encoding="utf-8")
    )
    return figures.get(dataset or "", {})


def _fingerprint(content: Json) -> str:
    """sha256 (hex) of plain values, whatever their order."""
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _on_terms(suite: Suite, run: RunSettings, channels: int) -> Recipe:
    """The run's recipe with what the suite and the data decide; steps and learning rate are decided later."""
    recipe = load_recipe(run.recipe, (*suite.set, *run.set))
    shared = {"batch_size": suite.batch_size, "decay": "cosine", "crop_steps": 0, "devices": 1, "start": None}
    changed = {
        "image_size": suite.field or suite.image_size,
        "method": recipe.method.model_dump() | {"image_channels": channels},
        "training": recipe.training.model_dump() | shared,
    }
    return parse_recipe(recipe.model_dump() | changed, f"{suite.name}: {run.name}")


def _check_diversity(suite: Suite, recipes: Mapping[str, Recipe]) -> None:
    settings = suite.diversity
    if settings is None:
        return
    timesteps = recipes[settings.run].method.timesteps
    if timesteps is None or settings.steps > timesteps:
        raise SettingsError(
            f"{suite.name}: diversity",
            expected="a diffusion method, and no more steps than its process has",
            got=f"{settings.run}, {settings.steps} steps",
            hint="name another run, or fewer steps",
        )


def parse_shard(text: str) -> tuple[int, int]:
    """`2/3` as (2, 3). Raises SettingsError where it is not I/N with 1 <= I <= N."""
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise SettingsError("--shard", expected="I/N with I from 1 to N", got=text, hint="for instance 1/2 and 2/2")
    return int(index), int(count)
