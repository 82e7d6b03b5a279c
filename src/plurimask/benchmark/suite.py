"""Suites: which methods are compared, on what terms, how they are scored; typed, validated, read from TOML."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from plurimask.benchmark.reported import reported_figures
from plurimask.errors import SettingsError
from plurimask.settings import Positive, Rate, Seed, Settings, Shipped, parse, wrong

_SUITES = Shipped("suite")
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]


class Budget(Settings):
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
            raise wrong("one of minutes, images and gflop", got=", ".join(given) or "none")
        return self


class ProbeSettings(Settings):
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
            raise wrong("a budget to try two learning_rates with", got="none")
        return self


class ScoringSettings(Settings):
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
            raise wrong(f"first up to samples, {info.data['samples']}", got=first)
        return first


class RunSettings(Settings):
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

    docs: ClassVar[str] = "docs/benchmarks"

    name: Name
    purpose: str
    image_size: Positive
    batch_size: Positive
    budget: Budget
    probe: ProbeSettings
    scoring: ScoringSettings = ScoringSettings()
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0,)
    reference: str
    dataset: str | None = None
    diversity: DiversitySettings | None = None
    runs: Annotated[tuple[RunSettings, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _names_agree(self) -> "Suite":
        names = [run.name for run in self.runs]
        if len(set(names)) < len(names) or len(set(self.seeds)) < len(self.seeds):
            raise wrong("runs of different names and seeds that differ", got="one of them twice")
        named = {"reference": self.reference} | ({"diversity.run": self.diversity.run} if self.diversity else {})
        for key, name in named.items():
            if name not in names:
                raise wrong(f"{key} among the runs ({', '.join(names)})", got=name)
        known = reported_figures(self.dataset)
        for run in self.runs:
            if run.reported is not None and run.reported not in known:
                raise wrong(f"reported figures of {', '.join(known) or 'no method'}", got=run.reported)
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
    return parse(Suite, _SUITES.read(source), source)


def parse_shard(text: str) -> tuple[int, int]:
    """`2/3` as (2, 3). Raises SettingsError where it is not I/N with 1 <= I <= N."""
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise SettingsError("--shard", expected="I/N with I from 1 to N", got=text, hint="for instance 1/2 and 2/2")
    return int(index), int(count)
