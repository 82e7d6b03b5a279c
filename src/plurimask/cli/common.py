"""What the commands share: options, what is printed where, and a bar."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

# Names of files and methods are printed as they are, not read as markup.
console = Console(markup=False, highlight=False)
errors = Console(stderr=True, markup=False, highlight=False)

Split = Literal["train", "val", "test", "all"]
Out = Annotated[Path, typer.Option(help="Folder to write to.")]
Limit = Annotated[
    int | None, typer.Option(min=1, help="At most this many cases, spread over the patients, or the first of --cases.")
]
CaseList = Annotated[
    str | None, typer.Option("--cases", help="Only these cases: lidc-eval-200, or a text file with a name a line.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]


class Stopped(Exception):
    """Ctrl-C, with what is left of the work in one line."""


def say(line: str) -> None:
    """Print one line, however long, without wrapping it."""
    console.print(line, soft_wrap=True)


def fail(line: str) -> NoReturn:
    """Print one line as an error and exit with code 2."""
    errors.print(f"plurimask: {line}", style="bold red", soft_wrap=True)
    sys.exit(2)


@contextmanager
def progress(text: str, total: int | None = None) -> Iterator[Callable[..., None]]:
    """A bar on a terminal; yields what moves it to `done` of `total`."""
    columns = (TextColumn(text), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task("", total=total)
        yield lambda done, total=None: bar.update(task, completed=done, total=total)
