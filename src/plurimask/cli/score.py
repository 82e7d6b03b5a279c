"""Score masks and methods: `plurimask evaluate` and `benchmark`."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from plurimask.cli.common import (
    Address,
    CaseList,
    Device,
    Engine,
    Limit,
    Out,
    Split,
    SplitFile,
    cluster_at,
    console,
    fail,
    first_given,
    fold_runs,
    open_data,
    progress,
    say,
)
from plurimask.errors import InputError, PlurimaskError, SettingsError, plural

if TYPE_CHECKING:
    from plurimask.cluster import Cluster
    from plurimask.datasets.dataset import Dataset
    from plurimask.evaluation import Scores
    from plurimask.files.mask_sets import MaskSets
    from plurimask.records import Case, MaskSet
    from plurimask.sampling import Model, PanelKind

_WRITTEN = (
    "scores.csv",
    "summary.json",
    "comparison.json",
    "report.html",
    *(f"{name}.{suffix}" for name in ("ged-ci", "reliability", "ranks", "empty") for suffix in ("png", "svg")),
)
"""What `evaluate` may write."""


def evaluate(
    context: typer.Context,
    data: Annotated[Path, typer.Option(help="The dataset with the readers' masks.")],
    out: Out,
    masks: Annotated[
        Path | None, typer.Argument(help="Folder of masks by any program, CASE/masks.npz or as docs/masks.md.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="In place of MASKS: a model, whose masks are drawn into OUT/masks.")
    ] = None,
    split: Annotated[Split, typer.Option(help="Which side of the dataset to score.")] = "test",
    split_file: SplitFile = None,
    case_list: CaseList = None,
    limit: Limit = None,
    count: Annotated[
        int | None, typer.Option(min=1, help="Score the first N masks of each case; of a model, draw N (16).")
    ] = None,
    panel: Annotated[
        Literal["independent", "representative"],
        typer.Option(help="representative: also draw representative panels of the model, and show both rows."),
    ] = "independent",
    pool: Annotated[int | None, typer.Option(min=1, help="Masks that a representative panel is chosen from.")] = None,
    each_reader: Annotated[
        bool,
        typer.Option(
            "--each-reader", help="Also draw as each reader whom the model knows, and compare with their masks."
        ),
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the model's masks.")] = 0,
    native: Annotated[
        bool, typer.Option("--native", help="Draw at the cases' own spacing, where the model was trained at another.")
    ] = False,
    device: Device = "auto",
    compare: Annotated[Path | None, typer.Option(help="Other masks of these cases: a paired comparison.")] = None,
    engine: Engine = None,
    address: Address = None,
) -> None:
    """Score masks against the readers: tables, OUT/report.html, OUT/scores.csv, OUT/summary.json and figures."""
    from plurimask.datasets.changed import split_as, split_as_trained
    from plurimask.datasets.dataset import CasesByName
    from plurimask.datasets.open import choose_cases
    from plurimask.datasets.splits import read_case_list
    from plurimask.files.atomic import check_outside, check_room, files_together
    from plurimask.files.case_folder import check_name
    from plurimask.files.locate import mask_sets_at
    from plurimask.files.remote import Remote

    _check_drawn(masks, model, panel, pool, each_reader, native, seed, device)
    check_room(out)
    cluster = context.with_resource(cluster_at(engine, address, out, masks))
    for folder in filter(None, (masks, compare)):
        check_outside(out, folder)
    if compare is not None:
        mask_sets_at(compare)
    dataset, beside = open_data(data, split_file, out), None
    names = read_case_list(case_list) if case_list else None
    choose = partial(choose_cases, limit=limit, names=names, asked=True)
    if model is not None and (folds := fold_runs(Path(model))):
        _check_folds(model, split, split_file, case_list)
        parts = {str(run): choose(split_as(dataset, run), "test") for run in folds}
        tested = frozenset(chain.from_iterable(parts.values()))
        cases = CasesByName(dataset, [place for place, name in enumerate(dataset.names) if name in tested])
        split_by = f"{plural(len(folds), 'fold')} of {Path(model).name}"
        say(f"{plural(len(cases), 'case')}, each drawn by the one of {plural(len(folds), 'run')} that is tested on it")
    else:
        if model is not None and split_file is None:
            dataset = split_as_trained(dataset, Path(model))
        cases, split_by = choose(dataset, split), dataset.split_by
        parts = {model: cases} if model is not None else {}
    known: dict[str, Path] = {}
    usual: dict[str, Mapping[str, float]] = {}
    for one, of_one in parts.items():
        masks, beside = _draw(one, device, of_one, out, count or 16, seed, panel, pool, cluster, native)
        if each_reader:
            from plurimask.evaluation import usual_sizes
            from plurimask.sampling import load

            for reader in _known(load(one, device)):
                known[reader] = out / "as" / check_name(out, reader)
                _draw(
                    one, device, of_one, known[reader], count or 16, seed, "independent", None, cluster, native, reader
                )
            learned = choose_cases(dataset if one == model else split_as(dataset, Path(one)), "train", None)
            usual |= dict.fromkeys(of_one, usual_sizes(learned.values()))
    assert masks is not None, "there are masks or a model"
    scores, panels, passed = _score(masks, dataset, cases, count, cluster)
    if beside is not None:
        scores = scores.beside(_score(beside, dataset, cases, None, cluster)[0])
    if known:
        from plurimask.evaluation import score_drawn_as

        drawn_as = {reader: mask_sets_at(folder / "masks") for reader, folder in known.items()}
        scores = replace(scores, drawn_as=score_drawn_as(cases, drawn_as, panels, usual))
    # After the bar has shown: these bring PyTorch and matplotlib.
    from plurimask.evaluation import compare as compare_scores
    from plurimask.evaluation import write_scores
    from plurimask.show.cases import write_report
    from plurimask.show.score_figures import write_score_figures
    from plurimask.show.tables import render_comparison, render_scores

    comparison = None
    if compare:
        try:
            comparison = compare_scores(scores, _score(compare, dataset, cases, count, cluster)[0])
        except PlurimaskError as error:
            fail(f"--compare {compare}: {error}")
    chosen = {
        "digest": dataset.digest,
        "split": split,
        "split_by": split_by,
        "cases": case_list,
        "limit": limit,
    }
    remote = Remote.at(out)
    with files_together(remote.root if remote else out, _WRITTEN) as folder:
        write_scores(scores, folder, chosen, comparison)
        write_score_figures(scores, folder, panels, cases)
        write_report(scores, folder / "report.html", panels, cases, chosen, comparison)
    if remote:
        remote.send(remote.root)
    console.print(render_scores(scores))
    if comparison:
        console.print()
        console.print(render_comparison(comparison))
    for question in scores.questions:
        say(f"\nlook at: {question}")
    if passed:
        sides = f" (only the {split} side is scored; --split all scores every side)"
        why = "" if case_list or split == "all" else sides
        say(f"\n{passed} mask sets of cases that were not to be scored are passed over{why}")
    say(f"\nA row a case in {out / 'scores.csv'}, every convention in {out / 'summary.json'}")
    say(f"Open {out / 'report.html'} in a browser.")


def benchmark(
    suite: Annotated[str, typer.Argument(help="A shipped suite (table1, ablation, smoke, ...) or a .toml file.")],
    data: Annotated[Path, typer.Option(help="The dataset's folder.")],
    out: Annotated[Path, typer.Option(help="Folder to write to, or to go on in.")],
    split_file: SplitFile = None,
    shard: Annotated[
        str, typer.Option(help="I/N: only every N-th run from the I-th on; processes share --out.")
    ] = "1/1",
    tables: Annotated[bool, typer.Option("--tables", help="Only write tables of what is there so far.")] = False,
) -> None:
    """Train, draw and score a suite of methods on equal terms; what is done already is not done again."""
    from plurimask.benchmark import load_suite, parse_shard, render_results, run_benchmark

    chosen, part = load_suite(suite), None if tables else parse_shard(shard)
    if split_file is not None and chosen.folds:
        got, hint = f"{plural(chosen.folds, 'fold')} of {chosen.name}", "leave it out, or take a suite without folds"
        raise SettingsError("--split-file", expected="a suite without folds of its own", got=got, hint=hint)
    results = run_benchmark(chosen, open_data(data, split_file, out), out, part, say)
    console.print(render_results(results))
    say(f"\nTables in {out / 'table.md'}, pictures in {out / 'figures'}")
    if results.scored:
        say(f"Open {out / 'report.html'} in a browser.")


def _check_folds(model: str, split: str, split_file: Path | None, case_list: str | None) -> None:
    given = {f"--split {split}": split != "test", "--split-file": split_file, "--cases": case_list}
    if option := first_given(given):
        hint = "leave it out: each patient is scored by the run that was not trained on them"
        raise SettingsError(model, expected="no choice of a side for folds", got=option, hint=hint)


def _known(drawer: "Model") -> tuple[str, ...]:
    if not drawer.method.readers:
        expected, hint = "a model that was trained on known readers", "leave it out"
        raise SettingsError("--each-reader", expected=expected, got=drawer.name, hint=hint)
    return drawer.method.readers


def _check_drawn(
    masks: Path | None,
    model: str | None,
    panel: str,
    pool: int | None,
    each_reader: bool,
    native: bool,
    seed: int,
    device: str,
) -> None:
    if (masks is None) == (model is None):
        got = "neither" if masks is None else "both"
        raise SettingsError("evaluate", expected="a folder of masks, or --model", got=got, hint="give one of them")
    given = {"--pool": pool is not None, "--each-reader": each_reader, "--native": native}
    given |= {"--panel": panel != "independent", "--seed": seed != 0, "--device": device != "auto"}
    if model is None and (option := first_given(given)):
        raise SettingsError(option, expected="--model", got="masks", hint="leave it out: mask sets say what they are")


def _draw(
    model: str,
    device: str,
    cases: "Mapping[str, Case]",
    out: Path,
    count: int,
    seed: int,
    panel: Literal["independent", "representative"],
    pool: int | None,
    cluster: "Cluster | None",
    native: bool,
    reader: str | None = None,
) -> tuple[Path, Path | None]:
    """Draw a model's panels of the cases: the folder of independent ones, and that of representative ones, if any.

    Panels that are complete already are left alone.
    """
    from plurimask.files.remote import Remote
    from plurimask.sampling import CaseDrawer, load

    drawer = load(model, device, reader=reader)
    drawer.pool(panel, pool, count)
    masks, beside = out / "masks", out / "representative" if panel == "representative" else None
    places: dict[PanelKind, Path | Remote] = {"independent": Remote.at(masks) or masks}
    if beside is not None:
        places["representative"] = Remote.at(beside) or beside
    read = {name: partial(cases.__getitem__, name) for name in cases}
    fresh = partial(load, model, device, reader=reader) if cluster else lambda: drawer
    work = CaseDrawer(fresh, read, places, count, seed, pool=pool, native=native)
    with progress("drawing panels", len(cases)) as tick:
        if cluster:
            work.spread(cluster, device != "cpu", tick)
        else:
            draw = work()
            for done, name in enumerate(cases, start=1):
                draw(name)
                tick(done)
    return masks, beside


def _score(
    masks: Path, dataset: "Dataset", cases: "Mapping[str, Case]", count: int | None, cluster: "Cluster | None"
) -> "tuple[Scores, MaskSets, int]":
    """Scores and mask sets of the cases, and how many sets of other cases there are."""
    from plurimask.files.locate import mask_sets_at

    found = mask_sets_at(masks)
    panels = found.among(cases, dataset.names)
    with progress("scoring", len(panels)) as tick:
        from plurimask.evaluation import evaluate as evaluate_panels
        from plurimask.evaluation import evaluate_on

        unnamed = f"masks in {'/'.join(masks.resolve().parts[-2:])}"
        if cluster is not None:
            scores = evaluate_on(cluster, panels, cases, count, unnamed, tick)
        else:
            scores = evaluate_panels(_ticking(panels.values(), tick), cases, count, unnamed)
    if not any(row.readers for row in scores.rows):
        hint = "name the data that their masks are in"
        raise InputError(dataset.root, expected="readers' masks, of one case at least", got="none", hint=hint)
    return scores, panels, len(found) - len(panels)


def _ticking(items: "Iterable[MaskSet]", tick: Callable[[int], None]) -> "Iterator[MaskSet]":
    for done, item in enumerate(items, start=1):
        yield item
        tick(done)
