"""What lies in a run folder: the one state that survives a restart, and the log (metrics.jsonl, TensorBoard, a bar)."""

import fcntl
import io
import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column
from tensorboardX import SummaryWriter
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from plurimask.errors import CheckpointError, duration
from plurimask.files.atomic import write_bytes, write_text
from plurimask.files.stored import readable
from plurimask.methods.method import Method
from plurimask.settings import first_difference
from plurimask.training.checkpoint import BEST, LAST
from plurimask.training.recipe import Recipe, parse_recipe


class RunFolder:
    """What lies in the folder of a run.

    Attributes:
        root: the folder.
        recipe: as it was run.
        split: patients a side, and the data's digest.
        state: what to resume from.
        best, last: averaged weights to sample from, of the best validation and of the last checkpoint.
        metrics: one line a step.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.recipe, self.split = root / "recipe.json", root / "split.json"
        self.state, self.metrics = root / "last.pt", root / "metrics.jsonl"
        self.best, self.last = root / BEST, root / LAST

    @property
    def done(self) -> int:
        """Steps up to the last checkpoint. Raises CheckpointError for a damaged one."""
        if not self.state.exists():
            return 0
        with readable(self.state, "the state of this run", "start a new run", CheckpointError):
            return int(torch.load(self.state, map_location="cpu", weights_only=True, mmap=True)["step"])

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else trains into the folder meanwhile: a lock, which ends with the process and leaves nothing.

        Raises CheckpointError where somebody does.
        """
        # That of the folder itself is taken for every file that is written whole.
        board = self.root / "tensorboard"
        board.mkdir(parents=True, exist_ok=True)
        handle = os.open(board, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CheckpointError(
                self.root,
                expected="a run folder that nobody trains into",
                got="one that another process is training into",
                hint="wait for it or stop it, or choose another --out",
            ) from None
        else:
            yield
        finally:
            os.close(handle)

    def lines(self, split: str) -> list[dict[str, Any]]:
        """The log's lines of one split, `train` or `val`, in their order."""
        return [line for line in map(json.loads, _whole(self.metrics)) if line["split"] == split]

    def check_new(self) -> None:
        """Raises CheckpointError where there is a run already."""
        if self.recipe.exists():
            raise CheckpointError(
                self.root, expected="an empty run folder", got="a run", hint="add --resume, or choose another --out"
            )

    def start(self, recipe: Recipe, split: dict[str, Any]) -> None:
        """Begin a new run. Raises CheckpointError as `check_new`."""
        self.check_new()
        write_text(self.split, json.dumps(split, indent=2) + "\n")
        write_text(self.recipe, recipe.model_dump_json(indent=2) + "\n")

    def check(self) -> None:
        """Raises CheckpointError where there is no run."""
        if not self.recipe.exists() or not self.split.exists():
            raise CheckpointError(self.root, expected="a run to resume", got="none", hint="leave --resume out")

    def resume(self, recipe: Recipe, data: str) -> None:
        """Go on with a run; only its number of steps may change, and to no fewer than are done.

        Raises:
            CheckpointError: no run, another recipe or other data; then nothing of the run is written.
        """
        self.check()
        saved = parse_recipe(_read_json(self.recipe), str(self.recipe)).model_dump(mode="json")
        now, steps = recipe.model_dump(mode="json"), recipe.training.steps
        for either in (saved, now):
            either.pop("spacing_mm", None)  # which follows from the data, and which earlier runs do not know
        different = first_difference(saved | {"training": saved["training"] | {"steps": steps}}, now)
        if different is not None:
            key, before, got = different
            raise CheckpointError(
                self.root,
                expected=f"{key} {json.dumps(before)}, as the run has it",
                got=json.dumps(got),
                hint="resume with the same recipe and --set, or choose another --out",
            )
        trained_on = str(_read_json(self.split).get("data"))
        if trained_on != data:
            raise CheckpointError(
                self.root, expected=f"data {trained_on[:12]}", got=data[:12], hint="resume on the data of the run"
            )
        if steps < self.done:
            raise CheckpointError(
                self.root,
                expected=f"training.steps of {self.done} or more, which are done",
                got=str(steps),
                hint="raise it, or choose another --out",
            )
        write_text(self.recipe, recipe.model_dump_json(indent=2) + "\n")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_bytes()))
    except (ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(path, expected="a table in JSON", got=str(error), hint="start a new run") from error


@dataclass
class RunState:
    """Everything that survives a restart. All randomness is a function of the seed and the step."""

    step: int
    best: float
    method: Method
    average: AveragedModel
    optimizer: Optimizer

    def save(self, path: Path) -> None:
        """Write the state, whole or not at all."""
        content = {
            "step": self.step,
            "best": self.best,
            "method": self.method.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        # Not by torch's own writer: on a full disk it raises a RuntimeError and not the system's error.
        buffer = io.BytesIO()
        torch.save(content, buffer)
        write_bytes(path, buffer.getbuffer())

    def load(self, path: Path) -> None:
        """Take up a saved state; loading runs no code. Raises CheckpointError where there is none that fits."""
        with readable(path, "the state of this run", "start a new run", CheckpointError):
            content = torch.load(path, map_location="cpu", weights_only=True)
            self.method.load_state_dict(content["method"])
            self.average.load_state_dict(content["average"])
            self.optimizer.load_state_dict(content["optimizer"])
            self.step, self.best = content["step"], content["best"]


class RunLog:
    """Writes one JSON line a step: {"step", "split": "train" | "val", name: value, ...}; NaN is written as null.

    Every line has `minutes` and `core_minutes`: the time and this process's processor time of all sittings so far.
    Lines after `first_step` from an earlier, broken sitting are cut, so that a resumed run reads like an unbroken one,
    and steps that are done twice count once.
    """

    def __init__(self, folder: RunFolder, first_step: int, steps: int, batch_size: int) -> None:
        last = _cut(folder.metrics, first_step)
        self._before = [last.get(name, 0.0) for name in ("minutes", "core_minutes")]
        # A line at a time, so that whoever follows the file sees every step.
        self._file = folder.metrics.open("a", encoding="utf-8", buffering=1)
        self._board = SummaryWriter(str(folder.root / "tensorboard"), purge_step=first_step + 1)
        self._batch_size, self._steps, self._first = batch_size, steps, first_step
        self._started = self._told = time.monotonic()
        self._core_started = time.process_time()
        self._console = Console()
        self._bar = Progress(
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(20),
            TimeRemainingColumn(),
            TextColumn("{task.fields[rate]}"),
            # The terms take what is left of the line: a narrow terminal cuts them and nothing else.
            TextColumn("{task.fields[terms]}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
            console=self._console,
            expand=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("", total=steps, completed=first_step, rate="", terms="")

    def __enter__(self) -> "RunLog":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        self._file.close()
        self._board.close()

    def train(self, step: int, terms: Mapping[str, float]) -> None:
        """Loss terms of one step."""
        now = time.monotonic()
        took = (now - self._started) / (step - self._first)
        rate = self._batch_size / took
        self._write(now, step, "train", {**terms, "images_per_second": float(f"{rate:.6g}")})
        text, speed = " ".join(f"{name} {value:.4g}" for name, value in terms.items()), f"{rate:.1f} images/s"
        self._bar.update(self._task, completed=step, rate=speed, terms=text)
        if self._bar.disable and (now - self._told >= _A_MINUTE or step in (self._first + 1, self._steps)):
            self._told = now
            left = duration(took * (self._steps - step))
            line = f"step {step} of {self._steps} {text} · {speed} · {left} left"
            self._console.print(line, soft_wrap=True, highlight=False)

    def validation(self, step: int, values: Mapping[str, float]) -> None:
        """Scores of one validation."""
        self._write(time.monotonic(), step, "val", values)
        text = " ".join(f"{name} {value:.3f}" for name, value in values.items())
        self._console.print(f"step {step} validation {text}", soft_wrap=True, highlight=False)

    def _write(self, now: float, step: int, split: str, values: Mapping[str, float]) -> None:
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        spent = now - self._started, time.process_time() - self._core_started
        minutes, core_minutes = (round(b + s / 60, 4) for b, s in zip(self._before, spent, strict=True))
        times = {"minutes": minutes, "core_minutes": core_minutes}
        self._file.write(json.dumps({"step": step, "split": split, **finite, **times}) + "\n")
        for name, value in finite.items():
            if value is not None:
                self._board.add_scalar(f"{split}/{name}", value, step)


_A_MINUTE = 60.0
"""Seconds from one printed line to the next where there is no terminal."""


def _whole(metrics: Path) -> list[str]:
    """The lines of a log, less a last one that was cut off."""
    lines = metrics.read_text(encoding="utf-8").splitlines()
    is_cut = bool(lines) and lines[-1].startswith("{") and not lines[-1].endswith("}")
    return lines[:-1] if is_cut else lines


def _cut(metrics: Path, last_step: int) -> dict[str, Any]:
    """Keep the lines up to a step; the last of them, or an empty one."""
    with readable(metrics, "the log of this run", "remove it, or start a new run", CheckpointError):
        kept = [line for line in _whole(metrics) if json.loads(line)["step"] <= last_step] if metrics.exists() else []
        last = dict(json.loads(kept[-1])) if kept else {}
    write_text(metrics, "".join(f"{line}\n" for line in kept))
    return last
