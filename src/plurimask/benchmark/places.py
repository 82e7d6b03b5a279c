"""Where a benchmark's files lie, and the records that say how far it has come."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, RootModel, ValidationError

from plurimask.errors import CheckpointError, SettingsError
from plurimask.files.stored import write_text

Json = dict[str, Any]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


AnyRecord = TypeVar("AnyRecord", bound=BaseModel)


class Terms(RootModel[Json]):
    """What all runs share: `Bench.terms`."""


class Tried(_Record):
    """A learning rate that was tried.

    Args:
        learning_rate: the rate.
        ged_u: mean U-GED on validation cases at the end; None where it diverged.
        diverged: where, in words.
    """

    learning_rate: float
    ged_u: float | None = None
    diverged: str | None = None


class _Decided(_Record):
    """What was found for a run, and for which definition of it."""

    definition: Json


class Pace(_Decided):
    """How fast a run's steps are on this machine.

    Args:
        definition: the run's recipe on the suite's terms, and its readers.
        seconds_a_step: mean of those that were timed; None where it diverged meanwhile.
        diverged: where, in words.
    """

    seconds_a_step: float | None = None
    diverged: str | None = None


class Prepared(_Decided):
    """How a run is to be trained, decided once for all its seeds.

    Args:
        definition: what was decided for: the run's recipe on the suite's terms, and its readers.
        steps: optimiser steps that the budget pays for.
        learning_rate: the chosen one; None where every rate diverged.
        tried: all that were tried.
        seconds_a_step: as timed, where the budget is in minutes.
        gflop_a_step: operations of a step.
    """

    steps: int
    learning_rate: float | None
    tried: tuple[Tried, ...]
    seconds_a_step: float | None
    gflop_a_step: float


class Sittings(_Record):
    """How long a training has taken so far.

    Args:
        seconds: of the sittings that are over.
        started: when the present one began, in seconds since 1970; None between sittings.
        whole: whether the training is over.
    """

    seconds: float = 0.0
    started: float | None = None
    whole: bool = False


class DiversityPoint(_Record):
    """Mean scores at one factor on the sampler's noise."""

    noise_scale: float
    d_ss: float
    d_yy: float
    ged_u: float
    dice_max: float


class Diversity(_Record):
    """Scores of one run against the noise scale, and the settings that they were drawn with."""

    settings: Json
    points: tuple[DiversityPoint, ...]


class Finished(_Record):
    """A run that is over, scored or diverged.

    Args:
        settings: hash of all that it followed from.
        diverged: where, in words; then there is nothing else.
        steps, images: of its training.
        minutes: its training took, validations counted.
        parameters, gflop_a_mask, seconds_a_mask: its costs.
        threads, device: of the timing.
        weights: sha256 of what its masks were drawn from.
    """

    settings: str
    diverged: str | None = None
    steps: int = 0
    images: int = 0
    minutes: float = 0.0
    parameters: int = 0
    gflop_a_mask: float = 0.0
    seconds_a_mask: float = 0.0
    threads: int = 0
    device: str = ""
    weights: str = ""


@dataclass(frozen=True)
class Places:
    """Paths under a benchmark's folder; a `key` is NAME-seedK."""

    root: Path

    @property
    def terms(self) -> Path:
        """What all runs share."""
        return self.root / "terms.json"

    def prepared(self, name: str) -> Path:
        """How a run is to be trained."""
        return self.root / "prepared" / f"{name}.json"

    def pace(self, name: str) -> Path:
        """How fast a run's steps are."""
        return self.root / "paces" / f"{name}.json"

    def probe(self, name: str, what: str) -> Path:
        """Run folder of a short training."""
        return self.root / "probes" / name / what

    def run(self, key: str) -> Path:
        """Run folder."""
        return self.root / "runs" / key

    def masks(self, key: str) -> Path:
        """A folder a case."""
        return self.root / "masks" / key

    def scores(self, key: str, samples: int) -> Path:
        """Scores at one N."""
        return self.root / "scores" / key / f"n{samples}"

    def sittings(self, key: str) -> Path:
        """How long the training has taken."""
        return self.run(key) / "sittings.json"

    def finished(self, key: str) -> Path:
        """Written last; a run that has it is over."""
        return self.root / "scores" / key / "run.json"

    def diversity(self, key: str) -> Path:
        """Scores against the noise scale."""
        return self.root / "scores" / key / "diversity.json"


def key_of(name: str, seed: int) -> str:
    """The name of a run's folders."""
    return f"{name}-seed{seed}"


def read_record(path: Path, kind: type[AnyRecord]) -> AnyRecord | None:
    """The record at `path`, or None where there is none. Raises CheckpointError for a damaged one."""
    if not path.exists():
        return None
    try:
        return kind.model_validate_json(path.read_bytes())
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise CheckpointError(path, expected="a benchmark's record", got=reason, hint="remove it") from None


def write_record(path: Path, record: BaseModel) -> None:
    """Write a record, whole or not at all."""
    write_text(path, record.model_dump_json(indent=2) + "\n")


def fingerprint(content: Json) -> str:
    """sha256 (hex) of plain values, whatever their order."""
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def check_same(what: str | Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to go on under other settings than before. Raises SettingsError that names the first that differs."""
    for key, old, new in _differences("", before, now):
        raise SettingsError(
            what,
            expected=f"{key} {_short(old)}, as its results have it",
            got=_short(new),
            hint="go on with the same suite and data, or choose another --out",
        )


def _differences(prefix: str, before: Any, now: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in [*before, *(key for key in now if key not in before)]:
            yield from _differences(f"{prefix}.{key}".lstrip("."), before.get(key), now.get(key))
    elif before != now:
        yield prefix, before, now


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:12]}...{text[-4:]}"
