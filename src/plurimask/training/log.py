"""The log of a run: metrics.jsonl, TensorBoard, and a progress bar."""

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column
from tensorboardX import SummaryWriter

from plurimask.files.atomic import write_text


class RunLog:
    """Writes one JSON line a step: {"step", "split": "train" | "val", name: value, ...}; NaN is written as null.

    Lines after `first_step` from an earlier, broken sitting are cut, so that a resumed run reads like an unbroken one.
    """

    def __init__(self, root: Path, metrics: Path, first_step: int, steps: int, batch_size: int) -> None:
        _cut(metrics, first_step)
        self._file = metrics.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(root / "tensorboard"), purge_step=first_step + 1)
        self._batch_size, self._started, self._first = batch_size, time.monotonic(), first_step
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
        rate = (step - self._first) * self._batch_size / (time.monotonic() - self._started)
        self._write(step, "train", {**terms, "images_per_second": float(f"{rate:.6g}")})
        text, speed = " ".join(f"{name} {value:.4g}" for name, value in terms.items()), f"{rate:.1f} images/s"
        self._bar.update(self._task, completed=step, rate=speed, terms=text)
        if self._bar.disable and (step % 50 == 0 or step == self._first + 1):
            self._console.print(f"step {step} {text} · {speed}", soft_wrap=True, highlight=False)

    def validation(self, step: int, values: Mapping[str, float]) -> None:
        """Scores of one validation."""
        self._write(step, "val", values)
        self._file.flush()
        text = " ".join(f"{name} {value:.3f}" for name, value in values.items())
        self._console.print(f"step {step} validation {text}", soft_wrap=True, highlight=False)

    def _write(self, step: int, split: str, values: Mapping[str, float]) -> None:
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._file.write(json.dumps({"step": step, "split": split, **finite}) + "\n")
        for name, value in finite.items():
            if value is not None:
                self._board.add_scalar(f"{split}/{name}", value, step)

    def flush(self) -> None:
        """Bring all lines to disk; called with every checkpoint."""
        self._file.flush()


def _cut(metrics: Path, last_step: int) -> None:
    lines = metrics.read_text(encoding="utf-8").splitlines() if metrics.exists() else []
    whole = [line for line in lines if line.endswith("}")]
    kept = [line for line in whole if json.loads(line)["step"] <= last_step]
    write_text(metrics, "".join(f"{line}\n" for line in kept))
