"""Learn from readers: `plurimask plan` and `train`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from plurimask.cli.common import (
    Folds,
    SplitBy,
    SplitFile,
    Stopped,
    Test,
    Val,
    open_data,
    progress,
    say,
    split_rule,
)
from plurimask.errors import SettingsError

if TYPE_CHECKING:
    from plurimask.datasets.dataset import Dataset

_USUAL_MINUTES, _MOST_MINUTES = 15.0, 100_000


def plan(
    data: Annotated[Path, typer.Option(help="The dataset's folder.")],
    minutes: Annotated[float, typer.Option(min=0.1, help="Time for the training, on this machine.")] = _USUAL_MINUTES,
    out: Annotated[Path, typer.Option(help="The recipe to write.")] = Path("plan.toml"),
    split_file: SplitFile = None,
    split_by: SplitBy = None,
    val: Val = None,
    test: Test = None,
    folds: Folds = None,
) -> None:
    """Look at a dataset, time 20 steps, and write a recipe with its reasons: plurimask train RECIPE needs no --set."""
    from plurimask.files.atomic import check_room, write_text

    if out.exists() or out.suffix.lower() != ".toml":
        hint = "remove it, or choose another --out"
        raise SettingsError("--out", expected="a new file with the ending .toml", got=str(out), hint=hint)
    _check_minutes(minutes)
    check_room(out.parent)
    text = _planned(_sides(data, out, split_file, split_by, val, test, folds), minutes)
    write_text(out, text)
    say(text)
    say(f"Written to {out}. Train: plurimask train {out} --data {data} --out runs/{out.stem}")


def train(
    data: Annotated[Path, typer.Option(help="The dataset's folder.")],
    out: Annotated[Path, typer.Option(help="The run's folder.")],
    recipe: Annotated[
        str | None,
        typer.Argument(
            help="A .toml file, as plurimask plan writes it, or a shipped recipe (cimd-small, cimd-lidc, ...). Without "
            "one, it is planned first."
        ),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.1, help="Without RECIPE: time for the training, on this machine (15).")
    ] = None,
    split_file: SplitFile = None,
    split_by: SplitBy = None,
    val: Val = None,
    test: Test = None,
    folds: Folds = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run in --out stopped.")] = False,
    set: Annotated[list[str] | None, typer.Option(help="Change a setting: training.steps=200. Repeatable.")] = None,
) -> None:
    """Train a recipe's method on the train side of a dataset.

    With --folds, one run a fold, OUT/fold-1, OUT/fold-2, ...: plurimask evaluate --model OUT scores every patient once.
    """
    from plurimask.datasets.splits import describe_sides
    from plurimask.files.atomic import check_room, write_text
    from plurimask.training.loop import train as train_method
    from plurimask.training.recipe import load_recipe
    from plurimask.training.run import RunFolder

    own = out / "plan.toml"
    if minutes is not None and (recipe is not None or resume):
        what = "a recipe, which says its steps" if recipe is not None else "--resume"
        raise SettingsError("--minutes", expected="it alone", got=what, hint="leave one of them out")
    if recipe is None and resume and not own.exists():
        raise SettingsError("RECIPE", expected="one, to go on", got="none", hint="name the recipe of the run")
    settings = load_recipe(recipe, tuple(set or ())) if recipe is not None else None
    _check_minutes(minutes or _USUAL_MINUTES)
    check_room(out)
    runs = _sides(data, out, split_file, split_by, val, test, folds)
    if settings is None:
        if not resume:
            for folder in runs:
                RunFolder(folder).check_new()
            write_text(own, _planned(runs, minutes or _USUAL_MINUTES))
        settings = load_recipe(str(own), tuple(set or ()))
        say(own.read_text(encoding="utf-8"))
    for folder, dataset in runs.items():
        run = RunFolder(folder)
        say(describe_sides(dataset.patients, dataset.sides, dataset.split_by))
        try:
            train_method(settings, dataset, folder, resume=resume and (folds is None or run.recipe.exists()))
        except KeyboardInterrupt as stop:
            if not run.state.exists():
                every = f"training.checkpoint_every={settings.training.checkpoint_every}"
                raise Stopped(f"stopped before the first checkpoint in {folder} ({every})") from stop
            raise Stopped(f"stopped; go on from the last checkpoint in {folder} with --resume") from stop
    score = f"Score them: plurimask evaluate --model {out} --data {data} --out scores"
    say(f"Trained. {score if folds else f'Draw from it: plurimask sample {out} INPUT --out masks'}")


def _check_minutes(minutes: float) -> None:
    if minutes > _MOST_MINUTES:
        got, hint = f"{minutes:g}", "give the time that the training may take"
        raise SettingsError("--minutes", expected=f"at most {_MOST_MINUTES:,}", got=got, hint=hint)


def _planned(runs: "dict[Path, Dataset]", minutes: float) -> str:
    """The text of a recipe for the first of the runs."""
    from plurimask.training.plan import plan as plan_recipe

    with progress("timing 20 steps"):
        return plan_recipe(next(iter(runs.values())), minutes)


def _sides(
    data: Path,
    out: Path,
    split_file: Path | None,
    split_by: Literal["hash", "rank"] | None,
    val: float | None,
    test: float | None,
    folds: int | None,
) -> "dict[Path, Dataset]":
    """The dataset, decoded, with the sides of each run, by the run's folder: one, or one a fold."""
    from plurimask.datasets.changed import split_by_rule
    from plurimask.datasets.store import open_store

    rule = split_rule(split_by, val, test, folds)
    if split_file is not None and not rule.usual:
        raise SettingsError("--split-file", expected="it, or a rule", got="both", hint="give one of them")
    whole = open_data(data, split_file, out)
    runs = {out / name if folds else out: split_by_rule(whole, rule, fold) for fold, name in rule.files.items()}
    with progress("decoding once", len(whole)) as tick:
        open_store(whole, tick)
    return runs
