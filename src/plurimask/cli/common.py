"""What the commands share: options, what is printed where, and a bar."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from plurimask.errors import InputError, SettingsError

if TYPE_CHECKING:
    from plurimask.cluster import Cluster
    from plurimask.datasets.dataset import Dataset
    from plurimask.datasets.splits import SplitRule
    from plurimask.files.dicomweb import Archive

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
SplitFile = Annotated[
    Path | None,
    typer.Option(
        help="A CSV file, patient,side, that says which patients are train, val and test, or a run whose sides are "
        "taken; else their hashes."
    ),
]
SplitBy = Annotated[
    Literal["hash", "rank"] | None,
    typer.Option(
        help="hash: of the patient's id, 80/10/10. rank: exact shares of the patients, for few of them; so where --val "
        "or --test is given."
    ),
]
Val = Annotated[float | None, typer.Option(help="Share of the patients to validate on (0.1).")]
Test = Annotated[float | None, typer.Option(help="Share of the patients to test on (0.1).")]
Folds = Annotated[int | None, typer.Option(help="So many splits, in which each patient is tested on once.")]
Engine = Annotated[
    Literal["ray"] | None, typer.Option(help="ray: spread the cases over a Ray cluster; else one after the other.")
]
Address = Annotated[
    str | None,
    typer.Option(
        help="Of a Ray cluster that runs: auto, HOST:PORT, ray://HOST:PORT; else this machine's cores are one."
    ),
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


@contextmanager
def at_hand(places: Sequence[str]) -> Iterator[list[Path]]:
    """Paths as they are; what lies at an address in an archive as a folder that goes when the block ends."""
    from plurimask.files.dicomweb import at_hand
    from plurimask.files.dicomweb_address import is_address

    if not any(map(is_address, places)):
        yield [Path(place) for place in places]
        return
    with TemporaryDirectory(prefix="plurimask-") as folder:
        with progress("retrieving") as tick:
            paths = at_hand(places, Path(folder), tick)
        yield paths


@contextmanager
def cluster_at(engine: str | None, address: str | None, *paths: Path | None) -> "Iterator[Cluster | None]":
    """The cluster that --engine and --address name, or None. What failed in the block is listed, a line a case.

    Without one, `paths` have to be on a disk.
    """
    if engine is None:
        from plurimask.files.remote import Remote

        for remote in filter(None, map(Remote.at, filter(None, paths))):
            raise SettingsError(remote.url, expected="--engine ray", got="none", hint="add it, or name a folder here")
        if address is not None:
            raise SettingsError("--address", expected="--engine ray", got="none", hint="add it, or leave this out")
        yield None
        return
    from plurimask.cluster import Cluster, FailedCasesError

    with Cluster(address) as cluster:
        try:
            yield cluster
        except FailedCasesError as failed:
            for name, why in failed.reasons.items():
                errors.print(f"{name}: {why}", soft_wrap=True)
            raise


def store_panels(archive: "Archive", folders: Sequence[Path]) -> None:
    """Store the DICOM objects of some panels, and say how many were accepted."""
    files = []
    for folder in folders:
        found = sorted(folder.glob("*.dcm"))
        if not found:
            hint = "name the folder of one panel of a DICOM study"
            raise InputError(folder, expected="DICOM objects", got="none", hint=hint)
        files += found
    with progress("storing", len(files)) as tick:
        accepted, there = archive.store(files, tick)
    say(f"{accepted} objects stored in {archive.root}; {there} were there already")


def first_given(options: Mapping[str, object]) -> str | None:
    """Of options by name, the first that says something."""
    return next((option for option, is_given in options.items() if is_given), None)


def open_data(path: Path, split_file: Path | None, out: Path) -> "Dataset":
    """The dataset at a path, outside of which `out` has to lie.

    Where a file says the sides, how much of what it lists is not there is printed.
    """
    from plurimask.datasets.open import open_dataset
    from plurimask.files.atomic import check_outside

    check_outside(out, path)
    dataset = open_dataset(path, split_file)
    if split_file is not None:
        there = frozenset(dataset.patients)
        lacking = Counter(side for patient, side in dataset.sides.items() if patient not in there)
        if lacking:
            counts = ", ".join(f"{count} of {side}" for side, count in lacking.items())
            first = next(number for number, patient in enumerate(dataset.sides, start=1) if patient not in there)
            say(f"{split_file}: the data lacks {lacking.total()} of its patients ({counts}), first its number {first}")
    return dataset


def split_rule(
    by: Literal["hash", "rank"] | None, val: float | None, test: float | None, folds: int | None
) -> "SplitRule":
    """The rule that options name; shares go by rank unless told otherwise."""
    from plurimask.datasets.splits import USUAL, SplitRule

    if folds and (test is not None or by == "hash"):
        got, hint = "--test" if test is not None else "--split-by hash", "leave it out: folds are equal parts, by rank"
        raise SettingsError("--folds", expected="no other rule of the test side", got=got, hint=hint)
    chosen = by or ("hash" if val is test is folds is None else "rank")
    return SplitRule(chosen, USUAL.val if val is None else val, USUAL.test if test is None else test, folds)


def fold_runs(path: Path) -> list[Path]:
    """The runs that train --folds has left in a folder, in their order; none in any other folder."""
    from plurimask.files.stored import natural

    runs = (folder for folder in path.glob("fold-*") if (folder / "split.json").is_file())
    return sorted(runs, key=lambda folder: natural(folder.name))
