"""Suites: which methods are compared, on what terms, how they are scored; typed, validated, read from TOML."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from plurimask.benchmark.reported import reported_figures
from plurimask.errors import SettingsError
from plurimask.training.recipe import Shipped, expected_and_got, first_error

Positive = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_SUITES = Shipped("suite")
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Budget(_Settings):
    """What one training may cost; exactly one of the three is given.

    Args:
        minutes: of training steps on this machine; turned into steps by timing some at the start.
        images: shown in all, each time that one is.
        gflop: 1e9 floating point operations of forward and backward passes, a multiply-add counted as two.
    """

    minutes: Rate | None = None
    images: Positive | None = None
    gflop: Rate | None = None

    @model_validator(mode="after")
    def _one_of_three(self) -> "Budget":
        given = self.model_dump(exclude_none=True)
        if len(given) != 1:
            raise ValueError(f"one of minutes, images and gflop, not {', '.join(given) or 'none'}")
        return self


class ProbeSettings(_Settings):
    """How each method comes by its learning rate.

    Args:
        learning_rates: one, or two of which the better by U-GED on validation cases is taken.
        budget: of each short training that tries one; not needed for a single rate.
        cases, samples: of the validation at its end.
    """

    learning_rates: Annotated[tuple[Rate, ...], Field(min_length=1, max_length=2)]
    budget: Budget | None = None
    cases: Positive = 48
    samples: Annotated[int, Field(ge=2)] = 8

    @model_validator(mode="after")
    def _two_rates_cost(self) -> "ProbeSettings":
        if len(self.learning_rates) > 1 and self.budget is None:
            raise ValueError("a budget to try two learning_rates with, not none")
        return self


class ScoringSettings(_Settings):
    """What is scored, on the test side.

    Args:
        cases: a case list, built in or a text file; None: all test cases.
        limit: at most so many of them.
        samples: masks drawn a case, N.
        first: a second N, the first so many of the same masks.
        seed: of the drawing.
    """

    cases: str | None = None
    limit: Positive | None = None
    samples: Annotated[int, Field(ge=2)] = 16
    first: Annotated[int, Field(ge=2)] = 4
    seed: int = 0

    @field_validator("first")
    @classmethod
    def _among_the_drawn(cls, first: int, info: Any) -> int:
        if first > info.data.get("samples", first):
            raise ValueError(f"first up to samples, {info.data['samples']}, not {first}")
        return first


class RunSettings(_Settings):
    """One method of the suite; it is trained once a seed.

    Args:
        name: unique; names its folders.
        label: as tables print it; the name where not given.
        recipe: a shipped recipe, or a path.
        set: changes to it, `key=value`.
        group: tables put a group's runs together under this heading.
        readers: `all`, or `one` reader kept of every training case.
        reported: the paper's name for it, whose figures are printed beside.
    """

    name: Name
    label: str = ""
    recipe: str
    set: tuple[str, ...] = ()
    group: str = ""
    readers: Literal["all", "one"] = "all"
    reported: str | None = None

    @property
    def title(self) -> str:
        """The label, or the name."""
        return self.label or self.name


class DiversitySettings(_Settings):
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


class Suite(_Settings):
    """A benchmark.

    Args:
        name, purpose: what it is called, and what it is for in one sentence.
        image_size: the middle so many pixels of every case are used.
        batch_size: images a step, of every method.
        budget: of one training, the same for every run.
        probe: learning rates.
        scoring: what is scored.
        seeds: every run is trained once with each.
        reference: the run that all others are compared with, case by case.
        dataset: whose reported figures are printed (a key of the reported figures); None: none are.
        diversity: see there.
        runs: the methods.
    """

    name: Name
    purpose: str
    image_size: Positive
    batch_size: Positive
    budget: Budget
    probe: ProbeSettings
    scoring: ScoringSettings = ScoringSettings()
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0,)
    reference: str
    dataset: str | None = None
    diversity: DiversitySettings | None = None
    runs: Annotated[tuple[RunSettings, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _names_agree(self) -> "Suite":
        names = [run.name for run in self.runs]
        if len(set(names)) < len(names) or len(set(self.seeds)) < len(self.seeds):
            raise ValueError("runs of different names and seeds that differ, not one of them twice")
        named = {"reference": self.reference} | ({"diversity.run": self.diversity.run} if self.diversity else {})
        for key, name in named.items():
            if name not in names:
                raise ValueError(f"{key} among the runs ({', '.join(names)}), not {name}")
        known = reported_figures(self.dataset)
        for run in self.runs:
            if run.reported is not None and run.reported not in known:
                raise ValueError(f"reported figures of {', '.join(known) or 'no method'}, not {run.reported}")
        return self

    def part(self, shard: tuple[int, int]) -> tuple[RunSettings, ...]:
        """The runs of shard i of n (from 1): every n-th, so that the shards share none and leave none out."""
        index, count = shard
        return self.runs[index - 1 :: count]


def suite_names() -> list[str]:
    """Suites that ship with the package."""
    return _SUITES.names


def load_suite(source: str) -> Suite:
    """A suite by name or by path of a .toml file.

    Raises:
        SettingsError: an unknown suite, broken TOML, or the first key that is wrong.
    """
    try:
        return Suite.model_validate(_SUITES.read(source))
    except ValidationError as error:
        raise _explain(error, source) from None


def parse_shard(text: str) -> tuple[int, int]:
    """`2/3` as (2, 3). Raises SettingsError where it is not I/N with 1 <= I <= N."""
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise SettingsError("--shard", expected="I/N with I from 1 to N", got=text, hint="for instance 1/2 and 2/2")
    return int(index), int(count)


def _explain(error: ValidationError, source: str) -> SettingsError:
    first = first_error(error)
    where = ".".join([f"{source}:", *map(str, first["loc"])]).replace(":.", ": ").rstrip(":")
    if first["type"] == "extra_forbidden":
        return SettingsError(where, expected="a key of a suite", got="an unknown one", hint="see docs/benchmarks")
    expected, got = expected_and_got(first)
    return SettingsError(where, expected=expected, got=got, hint="correct it")
