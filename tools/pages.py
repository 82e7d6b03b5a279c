"""Make the tables and pictures of docs/ from what programs wrote and what is kept of it.

    python tools/pages.py benchmark lidc runs/table1 runs/ablation   docs/benchmarks/lidc and lidc.md
    python tools/pages.py benchmark own-data runs/bu-bil --charts    the same, no picture that shows an image
    python tools/pages.py benchmark lidc-long RUN --part later       rows beside those that another folder had
    python tools/pages.py metrics SCORES                             docs/scores and metrics.md
    python tools/pages.py settings                                   docs/settings.md, from the types of the settings
    python tools/pages.py figures demo                               docs/figures/demo.png, of shipped cases
    python tools/pages.py figures lidc --data lidc-slices-128        docs/figures/lidc.png (LIDC-IDRI, see NOTICE)
    python tools/pages.py figures panels --data lidc-slices-128      docs/figures/panels.png (the same)
    python tools/pages.py figures bu-bil --data cells --model RUN    docs/figures/bu-bil.png, and cfos (see NOTICE)
    python tools/pages.py curve                                      docs/benchmarks/one-pass/curve.png

A table stands between `<!-- table: NAME -->` and `<!-- end -->`, and is made from the kept files alone.
"""

import inspect
import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

import annotated_types as limits
import numpy as np
import typer
from griffe import Docstring
from matplotlib.figure import Figure
from pydantic import BaseModel
from pydantic.fields import FieldInfo

import plurimask as pm
from plurimask.benchmark.report import courses_figure
from plurimask.datasets.changed import crop_case
from plurimask.datasets.demo_cases import demo_cases
from plurimask.datasets.open import choose_cases
from plurimask.datasets.splits import read_case_list
from plurimask.diffusion.samplers import SamplerSettings
from plurimask.evaluation import COLUMNS, HEADLINE
from plurimask.evaluation.scores import summarise
from plurimask.methods.method import BUILT_IN, method_class
from plurimask.prepare.folder import to_planes
from plurimask.settings import MOST
from plurimask.show.charts import BLUE, GREY, VERMILLION, in_style, save_figure, save_picture
from plurimask.show.figures import samples_figure
from plurimask.show.tables import STRATUM_KEYS, Cell, Head, Number, Row, Table, number, plain_table, score_head
from plurimask.training.recipe import Recipe, TrainingSettings

DOCS = Path(__file__).parents[1] / "docs"
SUITES = DOCS / "benchmarks"
MARKED = re.compile(r"(<!-- (?:table: )?([a-z0-9-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
CHARTS = ("quality-cost", "validation", "latents", "diversity")
"""Pictures of a benchmark on which no image is seen."""
SUITE_KEYS = ("ged_u", "ged_v", "hm_iou", "dice_max", "ci", "d_ss")
RUNS = {"n4": "lidc-eval-200-n4", "n16": "lidc-eval-200-n16", "all": "lidc-test-n16"}
"""What the commands of docs/metrics.md wrote, and its name in docs/scores."""
BY_N = DOCS / "scores/lidc-by-n.json"
BY_N_KEYS = ("hm_iou", "dice_max", "ci", "d_ss")

Json = Mapping[str, Any]
app = typer.Typer()


@app.command()
def benchmark(
    dataset: str,
    folders: Annotated[list[Path], typer.Argument(help="Folders that benchmarks wrote.")],
    charts: Annotated[bool, typer.Option("--charts", help="Of pictures, those without images alone.")] = False,
    part: Annotated[str | None, typer.Option(help="Kept as SUITE-PART, beside other runs of the suite.")] = None,
) -> None:
    """Keep tables (SUITE.md, SUITE.csv), figures (SUITE.json) and pictures (SUITE/*.png); fill the page's tables.

    With a part, SUITE-validation.png has the validation curves of all parts.
    """
    kept = SUITES / dataset
    for folder in folders:
        name = "-".join(filter(None, (read(folder / "results.json")["suite"]["name"], part)))
        shutil.rmtree(kept / name, ignore_errors=True)
        (kept / name).mkdir(parents=True)
        for picture in sorted((folder / "figures").glob("*.png")):
            if picture.stem in CHARTS or not charts:
                shutil.copyfile(picture, kept / name / picture.name)
        for ending, source in (("csv", "table.csv"), ("json", "results.json"), ("md", "table.md")):
            shutil.copyfile(folder / source, kept / f"{name}.{ending}")
        if part is not None:
            suite = name.removesuffix(f"-{part}")
            save_picture(all_courses(parts_of(kept / f"{suite}.json")), kept / f"{suite}-validation.png")
    fill(kept.with_suffix(".md"), suite_tables(dataset))


@app.command()
def metrics(scores: Annotated[Path, typer.Argument(help="Folder with n16, n4, all, and n100-N for each N.")]) -> None:
    """Keep the summaries and figures of evaluations, and fill the page's tables."""
    for run, name in RUNS.items():
        shutil.copyfile(scores / run / "summary.json", DOCS / f"scores/{name}.json")
    for name in ("ged-ci", "reliability", "empty"):
        shutil.copyfile(scores / "n16" / f"{name}.png", DOCS / f"figures/{name}.png")
    by_n = sorted(map(read, scores.glob("n100-*/summary.json")), key=lambda one: one["samples"])
    kept = [
        {key: one[key] for key in ("samples", "cases", "patients", "data", "drawn")}
        | {"table": [one["table"][0], *(row for row in one["table"][1:] if row["label"] == "calibrated")]}
        for one in by_n
    ]
    BY_N.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    save_figure(by_n_figure(kept), DOCS / "figures/ged-by-n")
    fill(DOCS / "metrics.md", METRICS)


@app.command()
def figures(
    of: Literal["demo", "lidc", "panels", "phantom", "volumes", "bu-bil", "cfos"],
    data: Annotated[Path | None, typer.Option(help="A lidc-slices release, phantoms, or the dataset named.")] = None,
    model_of: Annotated[str | None, typer.Option("--model", help="Another than the built-in one.")] = None,
) -> None:
    """Readers beside eight samples: every second shipped case, or six test slices or phantoms, each of another patient.

    panels: beside the four masks that represent 256, of the first ten of lidc-eval-200. volumes: three phantom volumes,
    each in the three cuts that readers marked most. bu-bil, cfos: three test images by a `--model`, of cfos the middle.
    """
    if (of == "demo") != (data is None):
        raise typer.BadParameter("all but demo want --data")
    model = pm.load(model_of or {"phantom": "phantom", "volumes": "phantom-3d"}.get(of, "lidc"))
    if of == "panels":
        cases = list(choose_cases(pm.open_dataset(data), "test", 10, read_case_list("lidc-eval-200")).values())
        drawn = [model.sample(case, 4, panel="representative") for case in cases]
    else:
        count = 6 if of in ("demo", "lidc", "phantom") else 3
        cases = list(choose_cases(pm.open_dataset(data), "test", count).values()) if data else demo_cases()[::2]
        cases = [crop_case(case, 256) for case in cases] if of == "cfos" else cases
        drawn = [model.sample(case, 8) for case in cases]
    if of == "volumes":
        pairs = [cut(*one, axis) for one in zip(cases, drawn, strict=True) for axis in (2, 0, 1)]
        cases, drawn = [case for case, _ in pairs], [panel for _, panel in pairs]
    samples_figure(cases, drawn).savefig(DOCS / f"figures/{of}.png", dpi=110)


def cut(case: pm.Case, panel: pm.MaskSet, axis: int) -> tuple[pm.Case, pm.MaskSet]:
    """The plane of a volume across an axis that readers marked most, with its samples."""
    across = tuple(one + 1 for one in range(3) if one != axis)
    place = int(case.readers.sum(axis=(0, *across)).argmax())
    cut_of = partial(to_planes, axis=axis, size=None, every=True)
    shown, masks = (cut_of(one)[0][place] for one in (case, replace(case, readers=panel.masks)))
    name = f"{case.name}, {('row', 'column', 'slice')[axis]} {place}"
    return replace(shown, name=name), replace(panel, name=name, masks=masks.readers, grid=shown.grid)


@app.command()
def curve() -> None:
    """U-GED of the one-pass model on validation slices, against its training."""
    save_figure(curve_figure(read(SUITES / "one-pass/training.json")), SUITES / "one-pass/curve")


@in_style
def curve_figure(kept: Json) -> Figure:
    """Of docs/benchmarks/one-pass/training.json, beside the line of flow matching."""
    figure = Figure(figsize=(7.6, 3.2))
    flow, courses = kept["validation"]["lidc-panel"], kept["validation"]["one-pass"]
    titles = {"minutes": "minutes of one core", "images": "thousand images seen"}
    for axes, key in zip(figure.subplots(1, 2, sharey=True), titles, strict=True):
        for course, form in zip(courses, ("o-", "^-"), strict=True):
            values = [point[key] / (1 if key == "minutes" else 1000) for point in course["points"]]
            axes.plot(values, [point["ged_u"] for point in course["points"]], form, label=course["what"])
        axes.axhline(flow["ged_u"], color=GREY, linestyle="--", label=flow["what"])
        axes.set(xlabel=titles[key])
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
    figure.axes[0].set_ylabel("U-GED, 200 validation slices")
    figure.axes[0].legend(fontsize=8)
    return figure


Tables = Mapping[str, Callable[[], Table]]


@app.command()
def settings() -> None:
    """Fill the tables of docs/settings.md from the types."""
    fill(DOCS / "settings.md", SETTINGS)


def filled(page: str, tables: Tables) -> str:
    """The page with each of its tables made anew."""
    return MARKED.sub(lambda found: f"{found[1]}{tables[found[2]]().to_markdown()}\n{found[3]}", page)


def fill(path: Path, tables: Tables) -> None:
    """Write the page with its tables made anew."""
    path.write_text(filled(path.read_text(encoding="utf-8"), tables), encoding="utf-8")


def suite_tables(dataset: str) -> Tables:
    """A table of each kept suite and its parts."""
    return {path.stem: lambda path=path: suite_table(parts_of(path)) for path in (SUITES / dataset).glob("*.json")}


def parts_of(path: Path) -> Sequence[Json]:
    """The results of a kept suite, SUITE.json, and of its later parts beside it."""
    return [*map(read, (path, *sorted(path.parent.glob(f"{path.stem}-*.json"))))]


def all_courses(parts: Sequence[Json]) -> Figure:
    """Validation curves of the runs of all parts, those of later parts in the place of their namesakes."""
    runs = {run["name"]: run for one in parts for run in one["runs"] if run.get("validation")}
    courses = {run["label"]: tuple(run["validation"].values()) for run in runs.values()}
    suite = parts[0]["suite"]
    return courses_figure(courses, suite["batch_size"], suite["probe"]["cases"])


def suite_table(parts: Sequence[Json]) -> Table:
    """The scored runs at the larger N, each beside its difference from the reference, case by case.

    A run of a later part stands in the place of its namesake. Raises ValueError for parts on different terms.
    """
    results = parts[0]
    if any(one["terms"] != results["terms"] for one in parts):
        raise ValueError(f"parts of {results['suite']['name']} on different terms")
    suite = results["suite"]
    count = str(suite["scoring"]["samples"])
    reference = next(run["label"] for run in suite["runs"] if run["name"] == suite["reference"])
    shown = {run["name"]: (run, one) for one in parts for run in one["runs"] if run["mean"]}
    rows = [
        Row(Head(run["label"]), _suite_cells(run, _less(run, one, shown.get(suite["reference"])), count))
        for run, one in shown.values()
    ]
    for one in results["references"].get(count, []):
        rows.append(Row(Head(one["label"]), (*cells(one, SUITE_KEYS), "", "", "")))
    others = f"U-GED less {reference}", "U-GED of each seed", "GFLOP a mask"
    return Table((Head(f"N = {count}"), *map(score_head, SUITE_KEYS), *map(Head, others)), tuple(rows))


def _less(run: Json, part: Json, reference: tuple[Json, Json] | None) -> Json | None:
    """A run of a part less the reference, of whatever part.

    None where the cases of one of them are not kept, or where the parts have other seeds.
    """
    other, others = reference or (run, part)
    replaced = others is not part and any(one["name"] == other["name"] for one in part["runs"] if one["mean"])
    if run["less_reference"] and not replaced:
        return cast(Json, run["less_reference"])
    seeds, known = ([seed["seed"] for seed in one["seeds"] if seed["scores"]] for one in (run, other))
    if run is other or seeds != known or not (run.get("cases") and other.get("cases")):
        return None
    difference = np.array(run["cases"], dtype=float) - np.array(other["cases"], dtype=float)
    patients = [f"{number:06}" for number in part["patients"]]
    (row,) = summarise([""], [{"ged_u": difference}], 0, patients)
    return {"mean": row.values, "interval": row.intervals}


def _suite_cells(run: Json, less_reference: Json | None, count: str) -> tuple[Cell, ...]:
    seeds = [seed for seed in run["seeds"] if seed["scores"]]
    less: tuple[Cell, ...] = with_interval(less_reference, "ged_u") if less_reference else ("",)
    of_seeds = ", ".join(number(cells(seed["scores"][count], ["ged_u"])[0].value) for seed in seeds)
    own = run["mean"][count]
    return (
        *with_interval(own, "ged_u"),
        *cells(own, SUITE_KEYS[1:]),
        *less,
        of_seeds,
        f"{seeds[0]['gflop_a_mask']:.3g}",
    )


def references() -> Table:
    """The predictors that need no image, on the same cases."""
    keys = [*HEADLINE, "brier", "ece"]
    own, *others = kept_scores("n16")["table"]
    rows = [("`lidc-one-pass`", *cells(own, keys)), *((row["label"], *cells(row, keys)) for row in others)]
    return plain_table(["", *labels(keys)], rows)


def by_n() -> Table:
    """The same masks at each N."""
    rows = []
    for one in read(BY_N):
        own, calibrated = one["table"]
        level = cells(own, ["ged_v"]) + cells(calibrated, ["ged_v"])
        rows.append((one["samples"], *level, *with_interval(own, "ged_u"), *cells(own, BY_N_KEYS)))
    return plain_table(["N", "V-GED", "calibrated", "U-GED (95% interval)", *labels(BY_N_KEYS)], rows)


def conventions() -> Table:
    """The same masks as other codes count them."""
    heads = (
        Head("convention"),
        Head("GED"),
        Head("HM-IoU"),
        Head("what differs", words=True),
        Head("source", words=True),
    )
    rows = (
        Row(Head(f"`{one['label']}`"), (*cells(one, ["ged", "hm_iou"]), one["differs"], one["source"]))
        for one in kept_scores("n16")["as_counted_by_others"]
    )
    return Table(heads, tuple(rows))


def model() -> Table:
    """The built-in model with intervals."""
    runs = [kept_scores(name) for name in ("n4", "n16", "all")]
    units = kept_scores("n16")["units"]
    rows: list[tuple[Cell, ...]] = []
    for key, column in COLUMNS.items():
        if not all(key in one["mean"] for one in runs):
            continue  # scored by an earlier version
        label = f"{column.label} ({units[key]})" if key in units else column.label
        rows.append((label, *(cell for one in runs for cell in with_interval(one["table"][0], key))))
    levels = (
        cell for one in runs for row in one["table"] if row["label"] == "calibrated" for cell in cells(row, ["ged_v"])
    )
    undefined = (
        "; ".join(f"{COLUMNS[key].label} {count}" for key, count in one["undefined"].items() if count) or "none"
        for one in runs
    )
    heads = (f"N = {one['samples']}, {one['cases']} slices" for one in runs)
    return plain_table(
        ["", *heads], [("V-GED, calibrated", *levels), *rows, ("undefined in so many cases", *undefined)]
    )


def strata() -> Table:
    """The built-in model by kinds of cases."""
    rows = [(part["part"], part["all_cases"], *cells(part, STRATUM_KEYS)) for part in kept_scores("n16")["strata"]]
    return plain_table(["", "cases", *labels(STRATUM_KEYS)], rows)


METRICS: Tables = {"references": references, "by-n": by_n, "conventions": conventions, "model": model, "strata": strata}


SIGNS = {limits.Ge: "at least", limits.Gt: "above", limits.Le: "at most", limits.Lt: "below"}
KINDS = {int: "a whole number", float: "a number", str: "a name", bool: "`true` or `false`"}


def setting_table(prefix: str, settings: type[BaseModel]) -> Table:
    """Every setting of a class: defaults and values from its types, meanings from its docstrings."""
    heads = (Head("setting"), *(Head(text, words=True) for text in ("default", "values", "meaning")))
    return Table(heads, tuple(_setting_rows(prefix, settings)))


SETTINGS: Tables = {
    name: partial(setting_table, prefix, kind)
    for name, prefix, kind in (
        ("recipe", "", Recipe),
        ("training", "training.", TrainingSettings),
        ("sampler", "sampler.", SamplerSettings),
        *((name, "method.", method_class(name).Settings) for name in BUILT_IN),
    )
}


def _setting_rows(prefix: str, settings: type[BaseModel]) -> Iterator[Row]:
    words = _words(settings)
    for name, field in settings.model_fields.items():
        inner = [one for one in _parts(field.annotation) if inspect.isclass(one) and issubclass(one, BaseModel)]
        if name == "name" and prefix == "method.":  # which the heading says
            continue
        if inner and settings is not Recipe:  # whose tables have their own headings
            yield from _setting_rows(f"{prefix}{name}.", inner[0])
        elif not inner:
            default = _value(field.get_default()) if not field.is_required() else "none"
            values = ", ".join([_kind(field.annotation), *_limits(field)])
            yield Row(Head(f"`{prefix}{name}`"), (default, values, words[name].replace("|", "\\|")))


def _words(settings: type[BaseModel]) -> dict[str, str]:
    """What the docstrings of a class and of those above it say of each field; one entry may name several."""
    words: dict[str, str] = {}
    for above in reversed(settings.__mro__):
        for section in Docstring(inspect.getdoc(above) or "").parse("google", warnings=False):
            if section.kind.value == "parameters":
                words |= {
                    name: " ".join(one.description.split()) for one in section.value for name in one.name.split(", ")
                }
    return words


def _parts(annotation: Any) -> list[Any]:
    if get_origin(annotation) in (Union, UnionType):
        return [part for one in get_args(annotation) for part in _parts(one)]
    return _parts(get_args(annotation)[0]) if hasattr(annotation, "__metadata__") else [annotation]


def _kind(annotation: Any) -> str:
    kinds = []
    for part in _parts(annotation):
        if get_origin(part) is Literal:
            kinds += [f"`{one}`" for one in get_args(part)]
        elif get_origin(part) is tuple:
            kinds.append("a list")
        elif part is not NoneType:
            kinds.append(KINDS[part])
    return ", ".join(kinds)


def _limits(field: FieldInfo) -> list[str]:
    return [
        f"{sign} {getattr(one, kind.__name__.lower())}"
        for one in field.metadata
        for kind, sign in SIGNS.items()
        if isinstance(one, kind) and getattr(one, kind.__name__.lower()) != MOST  # which is no limit in practice
    ]


def _value(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, tuple | list):
        return f"`[{', '.join(_value(one).strip('`') for one in value)}]`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def cells(row: Json, keys: Iterable[str]) -> tuple[Number, ...]:
    """Kept means."""
    found = (row["mean"].get(key) for key in keys)
    return tuple(Number(float("nan") if value is None else value) for value in found)


def with_interval(row: Json, key: str) -> tuple[Number]:
    """A kept mean with its interval."""
    (own,) = cells(row, [key])
    ends = row["interval"][key]
    return (own if ends[0] is None else Number(own.value, tuple(ends)),)


def labels(keys: Iterable[str]) -> list[str]:
    """Of columns."""
    return [COLUMNS[key].label for key in keys]


def kept_scores(run: str) -> Json:
    """A summary of docs/scores."""
    return read(DOCS / f"scores/{RUNS[run]}.json")


def read(path: Path) -> Any:
    """A JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


@in_style
def by_n_figure(kept: list[Json]) -> Figure:
    """Mean GED of one model against the number of samples N, beside the V-GED of a calibrated panel."""
    figure = Figure(figsize=(5.6, 3.9))
    axes = figure.subplots()
    counts = [one["samples"] for one in kept]
    courses = ("V-GED", 0, "ged_v", VERMILLION, "o-"), ("U-GED", 0, "ged_u", BLUE, "^-")
    for label, row, key, colour, form in (*courses, ("V-GED of a calibrated panel", 1, "ged_v", GREY, "s--")):
        values = np.array([one["table"][row]["mean"][key] for one in kept], dtype=float)
        axes.plot(counts, values, form, color=colour, label=label, markersize=5)
    axes.set_xscale("log")
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.set_xticks([], minor=True)
    axes.set_ylim(bottom=0)
    axes.set(xlabel="N, samples a case", ylabel="mean GED (lower is better)")
    axes.legend()
    return figure


if __name__ == "__main__":
    app()
