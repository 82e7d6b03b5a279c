"""The command line: build, call, print. No logic lives here."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

import plurimask as pm
from plurimask.errors import PlurimaskError
from plurimask.files.stored import check_free

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)
prepare = typer.Typer(no_args_is_help=True, help="Make a dataset in the case-folder layout.")
app.add_typer(prepare, name="prepare")
# Names of files and methods are printed as they are, not read as markup.
console = Console(markup=False, highlight=False)
errors = Console(stderr=True, markup=False, highlight=False)


class Split(StrEnum):
    """Sides of the split by patient."""

    train = "train"
    val = "val"
    test = "test"
    all = "all"


class Sampler(StrEnum):
    """Ways from noise to mask."""

    ddpm = "ddpm"
    ddim = "ddim"
    dpm = "dpm++"


class Runtime(StrEnum):
    """What runs the nets."""

    torch = "torch"
    onnx = "onnx"


class ExportFormat(StrEnum):
    """What a model is written as."""

    onnx = "onnx"


class MaskFormat(StrEnum):
    """What the panel of a study is written as."""

    dicom_seg = "dicom-seg"
    nifti = "nifti"
    png = "png"
    npz = "npz"


Out = Annotated[Path, typer.Option(help="Folder to write to.")]
Limit = Annotated[
    int | None, typer.Option(min=1, help="At most this many cases, spread over the patients, or the first of --cases.")
]
CaseList = Annotated[
    str | None, typer.Option("--cases", help="Only these cases: lidc-eval-200, or a text file with a name a line.")
]


@app.callback()
def describe() -> None:
    """Draw, score and look at panels of plausible expert outlines for ambiguous medical images.

    Start with [bold]plurimask demo[/bold].
    """


@app.command()
def demo(out: Out = Path("demo")) -> None:
    """Draw 16 masks for each of 12 shipped cases, score them, and write one page to look at."""
    with _progress("drawing panels", 12) as tick:
        scores = pm.run_demo(out, progress=tick)
    console.print(pm.render_table(scores))
    console.print(f"\nOpen {out / 'report.html'} in a browser.", soft_wrap=True)


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe (cimd-small, cimd-lidc, ...) or a .toml file.")],
    data: Annotated[Path, typer.Option(help="The dataset's folder.")],
    out: Annotated[Path, typer.Option(help="The run's folder.")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run in --out stopped.")] = False,
    set: Annotated[list[str] | None, typer.Option(help="Change a setting: training.steps=200. Repeatable.")] = None,
) -> None:
    """Train a recipe's method on the train side of a dataset."""
    settings = pm.load_recipe(recipe, tuple(set or ()))
    dataset = pm.open_dataset(data)
    with _progress("decoding once", len(dataset)) as tick:
        pm.open_store(dataset, tick)
    pm.train(settings, dataset, out, resume=resume)
    console.print(f"Trained. Draw from it: plurimask sample {out} INPUT --out masks", soft_wrap=True)


@app.command()
def sample(
    model: Annotated[str, typer.Argument(help="A built-in name (lidc, phantom), a .safetensors file or a run folder.")],
    inputs: Annotated[
        list[Path], typer.Argument(help="Studies (DICOM series, NIfTI, PNG, JPEG, NPY, folders of a case) or datasets.")
    ],
    out: Out,
    count: Annotated[int, typer.Option(min=1, help="Masks a case.")] = 16,
    seed: Annotated[int, typer.Option(help="Same seed, same masks.")] = 0,
    sampler: Annotated[Sampler | None, typer.Option(help="Other than the model's own.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Network evaluations a mask.")] = None,
    roi: Annotated[
        str | None,
        typer.Option(
            help="The part of a study to draw, in voxels from 0 in the order row,column,slice (NIfTI: i,j,k) or in mm, "
            "RAS+. A point, for the model's field around it on its slice: 240,260,31 or mm:-35.5,12,-210. A box, which "
            "ends before its last voxels: 200:328,210:338,20:40 or mm:-80:-10,-40:30,-240:-190. A field on several "
            "slices: 240,260,20:40."
        ),
    ] = None,
    whole: Annotated[
        bool, typer.Option("--whole", help="All of a study larger than the model's field, empty tissue too.")
    ] = False,
    format: Annotated[
        MaskFormat | None,
        typer.Option(help="Other than the study's own: DICOM SEG, NIfTI or PNG, and NPZ for NPY."),
    ] = None,
    split: Annotated[Split, typer.Option(help="Which side of a dataset.")] = Split.all,
    case_list: CaseList = None,
    limit: Limit = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    runtime: Annotated[Runtime, typer.Option(help="onnx: MODEL is a folder of plurimask export.")] = Runtime.torch,
) -> None:
    """Draw plausible masks of studies, or of a dataset's cases, into OUT/CASE.

    A study's are written in its own format, with measurements. Cases of a dataset, and planes of just the model's size
    that are not DICOM, give masks.npz and set.json.
    """
    drawer = pm.load(model, device, runtime.value)
    settings = drawer.sampler(sampler and sampler.value, steps)
    region = pm.parse_region(roi) if roi is not None else None
    found = pm.inputs_at(inputs, split.value, limit, pm.read_case_list(case_list) if case_list else None)
    found.check(region is not None, whole, format and format.value)
    with _progress("drawing panels", len(found)) as tick:
        for done, (name, read) in enumerate(found.cases.items(), start=1):
            pm.write_mask_set(out / name, drawer.sample(read(), count, seed, settings))
            tick(done)
        for done, (name, path) in enumerate(found.studies.items(), start=len(found.cases)):
            study = pm.open_study(path)
            as_case = format is None and study.format != "dicom" and drawer.fits(study.case)
            if not as_case:
                pm.check_place(out / name, study, format and format.value)
            watch = _watch(drawer, study, whole, tick, done)
            panel = pm.sample_study(drawer, study, count, seed, settings, region, whole, watch)
            if as_case:
                pm.write_mask_set(out / name, panel)
            else:
                pm.write_panel(out / name, panel, study, format and format.value)
            tick(done + 1)
    console.print(f"{len(found)} panels of {count} masks in {out}", soft_wrap=True)


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="A model of the method panel: name, .safetensors file or run folder.")],
    out: Annotated[Path, typer.Option(help="New folder.")],
    format: Annotated[ExportFormat, typer.Option(help="What to write.")] = ExportFormat.onnx,
) -> None:
    """Write a model for another runtime: encoder and denoiser as ONNX, checked against PyTorch."""
    differing = pm.export_onnx(pm.load(model, "cpu"), out)
    console.print(f"{format.value} in {out}; {differing:.2%} of pixels differ from PyTorch's", soft_wrap=True)
    console.print(f"Draw from it: plurimask sample {out} INPUT --out masks --runtime onnx", soft_wrap=True)


@app.command()
def evaluate(
    masks: Annotated[Path, typer.Argument(help="Folder of masks by any program, CASE/masks.npz or as docs/masks.md.")],
    data: Annotated[Path, typer.Option(help="The dataset with the readers' masks.")],
    out: Out,
    split: Annotated[Split, typer.Option(help="Which side of the dataset to score.")] = Split.test,
    case_list: CaseList = None,
    limit: Limit = None,
    count: Annotated[int | None, typer.Option(min=1, help="Score the first N masks of each case.")] = None,
    compare: Annotated[Path | None, typer.Option(help="Other masks of these cases: a paired comparison.")] = None,
) -> None:
    """Score masks against the readers: tables, OUT/report.html, OUT/scores.csv, OUT/summary.json and figures."""
    check_free(out, ours=lambda name: True)
    dataset = pm.open_dataset(data)
    cases = pm.choose_cases(dataset, split.value, limit, pm.read_case_list(case_list) if case_list else None)
    scores, panels, passed = _score(masks, dataset, cases, count)
    comparison = None
    if compare:
        try:
            comparison = pm.compare(scores, _score(compare, dataset, cases, count)[0])
        except PlurimaskError as error:
            _fail(f"--compare {compare}: {error}")
    chosen = {"digest": dataset.digest, "split": split.value, "cases": case_list, "limit": limit}
    pm.write_scores(scores, out, chosen, comparison)
    pm.write_score_figures(scores, out, panels, cases)
    pm.write_evaluation_report(scores, out / "report.html", panels, cases, chosen, comparison)
    console.print(pm.render_scores(scores))
    if comparison:
        console.print()
        console.print(pm.render_comparison(comparison))
    if passed:
        console.print(f"\n{passed} mask sets of cases that were not to be scored are passed over")
    console.print(f"\nA row a case in {out / 'scores.csv'}, every convention in {out / 'summary.json'}", soft_wrap=True)
    console.print(f"Open {out / 'report.html'} in a browser.", soft_wrap=True)


@app.command()
def benchmark(
    suite: Annotated[str, typer.Argument(help="A shipped suite (table1, ablation, smoke, ...) or a .toml file.")],
    data: Annotated[Path, typer.Option(help="The dataset's folder.")],
    out: Annotated[Path, typer.Option(help="Folder to write to, or to go on in.")],
    shard: Annotated[
        str, typer.Option(help="I/N: only every N-th run from the I-th on; processes share --out.")
    ] = "1/1",
) -> None:
    """Train, draw and score a suite of methods on equal terms; what is done already is not done again."""
    chosen, part = pm.load_suite(suite), pm.parse_shard(shard)
    results = pm.run_benchmark(chosen, pm.open_dataset(data), out, part, _say)
    pm.write_benchmark_report(results)
    console.print(pm.render_results(results))
    console.print(f"\nTables in {out / 'table.md'}, pictures in {out / 'figures'}", soft_wrap=True)
    if results.scored:
        console.print(f"Open {out / 'report.html'} in a browser.", soft_wrap=True)


@app.command()
def view(
    path: Annotated[
        Path, typer.Argument(help="Mask sets, a study, a dataset, or the folder of a demo or a benchmark.")
    ],
    data: Annotated[
        Path | None, typer.Option(help="The dataset or study with the images and readers of the mask sets.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Draws more samples: a name, .safetensors file or run folder.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for masks that a person chose or corrected.")] = Path("saved"),
    host: Annotated[str, typer.Option(help="Where to listen; others than this machine need --token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where to listen; 0: any free one.")] = 8765,
    token: Annotated[str | None, typer.Option(help="Demanded of everyone who opens the page.")] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
    show_identity: Annotated[
        bool, typer.Option("--show-identity", help="Show names and numbers of patients too.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
) -> None:
    """Look at panels in a browser: a server of this machine alone."""
    pm.serve(
        path,
        data,
        model,
        out,
        host=host,
        port=port,
        token=token,
        browser=not no_browser,
        show_identity=show_identity,
        device=device,
        say=_say,
    )


@prepare.command()
def phantom(
    out: Out,
    count: Annotated[int, typer.Option(min=1, help="How many cases.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same cases.")] = 0,
) -> None:
    """Real outlines of LIDC-IDRI's readers on simulated CT: a dataset with no download."""
    with _progress("making phantoms", count) as tick:
        pm.prepare_phantom(out, count, seed, tick)
    console.print(f"{count} cases in {out}", soft_wrap=True)


@prepare.command()
def lidc(
    out: Out,
    dicom: Annotated[Path | None, typer.Option(help="The folder of the TCIA download.")] = None,
    packing: Annotated[Path | None, typer.Option("--from", help="A packing: .pickle, .hdf5, a PNG tree, .npy.")] = None,
    preset: Annotated[str, typer.Option(help="v1 (128 pixels, scan's own grid) or 0.5mm.")] = "v1",
    size: Annotated[int | None, typer.Option(min=1, help="Pixels a side, other than the preset's.")] = None,
    spacing: Annotated[float | None, typer.Option(help="mm a pixel, other than the preset's.")] = None,
    slices: Annotated[str | None, typer.Option(help="drawn or release, other than the preset's.")] = None,
    window: Annotated[str | None, typer.Option(help="HU for black and white, as -1000,400; else each slice's.")] = None,
) -> None:
    """LIDC-IDRI with its four readers, from DICOM (goes on where it stopped) or from a packing."""
    if (dicom is None) == (packing is None):
        raise typer.BadParameter("give one of the two", param_hint="--dicom, --from")
    if packing is not None:
        with _progress("writing cases") as tick:
            imported = pm.import_packing(packing, out, tick)
        _say(f"{imported.cases} slices of {imported.patients} patients in {out}, from {imported.kind}")
    elif dicom is not None:
        settings = pm.lidc_settings(preset, size, spacing, slices, window)
        with _progress("cutting scans") as tick:
            made = pm.prepare_lidc(dicom, out, settings, tick)
        _say(f"{made.slices} slices of {made.scans} scans of {made.patients} patients in {out}")
        _say(f"{len(made.skipped)} scans passed over, why in {out / 'manifest.json'}; run again when they are there")


@prepare.command("ms-mri")
def ms_mri(
    root: Annotated[Path, typer.Option(help="The download's folder, which holds training/training01/...")],
    out: Out,
    size: Annotated[int, typer.Option(min=1, help="Pixels a side.")] = 64,
    native: Annotated[bool, typer.Option("--native", help="Slices on the scans' own grid instead.")] = False,
    all_slices: Annotated[bool, typer.Option("--all-slices", help="Also those on which nobody drew.")] = False,
) -> None:
    """The longitudinal MS data of ISBI 2015: slices of PD, FLAIR, MP-RAGE and T2 with two readers, and its folds."""
    with _progress("cutting scans") as tick:
        made = pm.prepare_ms_mri(root, out, None if native else size, every=all_slices, progress=tick)
    console.print(
        f"{made.slices} slices of {made.scans} scans of {len(made.patients)} patients in {out}; "
        f"{made.unread} scans without masks passed over",
        soft_wrap=True,
    )
    if made.folds:
        console.print(f"One patient held out: --data {out / 'fold-1.csv'} to fold-{made.folds}.csv", soft_wrap=True)


@prepare.command("folder")
def prepare_folder(
    root: Annotated[Path, typer.Option(help="The folder below which the files lie.")],
    image: Annotated[list[str], typer.Option(help="Where images are: '{case}/ct.nii.gz'. Repeat it for each channel.")],
    reader: Annotated[list[str], typer.Option(help="Where masks are: '{case}/reader_{reader}.nii.gz'. Repeatable.")],
    out: Annotated[Path | None, typer.Option(help="Folder to write to.")] = None,
    patient: Annotated[str | None, typer.Option(help="The patient in a case's name: '{patient}_*'.")] = None,
    label: Annotated[str | None, typer.Option(help="The value that is drawn, or nonzero.")] = None,
    axis: Annotated[int, typer.Option(min=0, max=2, help="Along which volumes are cut into slices.")] = 2,
    all_slices: Annotated[bool, typer.Option("--all-slices", help="Also those on which nobody drew.")] = False,
    size: Annotated[int | None, typer.Option(min=1, help="Pixels a side of every slice; else as they are.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is there and what looks wrong.")] = False,
) -> None:
    """Your own images with several readers each. Begin with --dry-run."""
    settings = pm.FolderSettings(image, reader, patient, label, axis, all_slices, size)
    if dry_run:
        with _progress("reading cases") as tick:
            survey = pm.survey_folder(root, settings, tick)
        console.print(pm.render_survey(survey), soft_wrap=True)
        return
    if out is None:
        raise typer.BadParameter("name the folder to write to, or add --dry-run", param_hint="--out")
    with _progress("writing cases") as tick:
        survey = pm.prepare_folder(root, out, settings, tick)
    for line in pm.summarise_survey(survey, most=20):
        console.print(line, soft_wrap=True)
    console.print(f"{survey.written} cases in {out}, how they were made in {out / 'manifest.json'}", soft_wrap=True)


def _watch(
    drawer: "pm.Model", study: "pm.Study", whole: bool, tick: Callable[[float], None], before: int
) -> Callable[[int, int], None]:
    """Progress within a study, and what has to be said of a whole one."""

    def look(done: int, total: int) -> None:
        tick(before + done / total)

    def warn(left: str) -> None:
        line = f"{study.case.name}: about {left}; empty tissue will be outlined, since {drawer.name} saw lesions alone"
        errors.print(line, soft_wrap=True)

    return pm.Pace(warn, look) if whole and pm.needs_region(drawer, study) else look


def _say(line: str) -> None:
    console.print(line, soft_wrap=True)


def _score(
    masks: Path, dataset: "pm.Dataset", cases: "Mapping[str, pm.Case]", count: int | None
) -> "tuple[pm.Scores, pm.MaskSets, int]":
    """Scores and mask sets of the cases, and how many sets of other cases there are."""
    found = pm.mask_sets_at(masks)
    panels = found.among(cases, dataset.names)
    with _progress("scoring", len(panels)) as tick:
        scores = pm.evaluate(_ticking(panels.values(), tick), cases, count, unnamed=masks.resolve().name)
    return scores, panels, len(found) - len(panels)


def _ticking(items: "Iterable[pm.MaskSet]", tick: Callable[[int], None]) -> "Iterator[pm.MaskSet]":
    for done, item in enumerate(items, start=1):
        yield item
        tick(done)


@contextmanager
def _progress(text: str, total: int | None = None) -> Iterator[Callable[..., None]]:
    columns = (TextColumn(text), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task("", total=total)
        yield lambda done, total=None: bar.update(task, completed=done, total=total)


def main() -> None:
    """Run a command; whatever is wrong with the input is said in one line, with exit code 2."""
    try:
        app()
    except PlurimaskError as error:
        _fail(str(error))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{error.strerror or error}; check the path, free space and permissions, then run again")
    except MemoryError as error:
        _fail(f"memory: expected enough for the work, got too little ({error}); draw fewer masks, or a region")
    except SystemExit as stop:
        if stop.code == 130:  # what Typer makes of Ctrl-C
            errors.print("stopped; whatever was being written has been taken away")
        raise


def _fail(line: str) -> None:
    errors.print(f"plurimask: {line}", style="bold red", soft_wrap=True)
    sys.exit(2)
