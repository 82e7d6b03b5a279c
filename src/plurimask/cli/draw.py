"""Draw masks, choose among them, draw in another runtime: `plurimask sample`, `select` and `export`."""

from collections.abc import Callable
from functools import partial
from itertools import product
from math import prod
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
    at_hand,
    cluster_at,
    errors,
    first_given,
    progress,
    say,
    store_panels,
)
from plurimask.errors import SettingsError, plural

if TYPE_CHECKING:
    from plurimask.files.locate import Study
    from plurimask.records import MaskSet
    from plurimask.sampling import Model
    from plurimask.sampling.region import Region

_KEPT_BYTES = 2**30


def sample(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="A built-in name (lidc, phantom), a .safetensors file or a run folder.")],
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Studies (DICOM series, NIfTI, NRRD, MHA, PNG, JPEG, TIFF, NPY, folders of a case), datasets, or "
            "addresses of series in a DICOMweb archive."
        ),
    ],
    out: Out,
    count: Annotated[int, typer.Option(min=1, help="Masks a case.")] = 16,
    seed: Annotated[int, typer.Option(help="Same seed, same masks.")] = 0,
    sampler: Annotated[
        Literal["ddpm", "ddim", "dpm++"] | None, typer.Option(help="Other than the model's own.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Network evaluations a mask.")] = None,
    roi: Annotated[
        list[str] | None,
        typer.Option(
            help="The part of a study to draw; given several times, each into OUT/region-1 and so on. In voxels from 0 "
            "in the order row,column,slice (NIfTI: i,j,k) or in mm, RAS+. A point, for the model's field around it on "
            "its slice: 240,260,31 or mm:-35.5,12,-210. A box, which ends before its last voxels: "
            "200:328,210:338,20:40 or mm:-80:-10,-40:30,-240:-190. A field on several slices: 240,260,20:40."
        ),
    ] = None,
    panel: Annotated[
        Literal["independent", "representative"],
        typer.Option(help="representative: the masks of a pool that stand for it best, for people who look at a few."),
    ] = "independent",
    pool: Annotated[
        int | None, typer.Option(min=1, help="Masks of that pool: 256, or 64 where a mask takes several evaluations.")
    ] = None,
    reader: Annotated[
        str | None, typer.Option(help="Draw as this reader, one whom the model was trained on; else as any of them.")
    ] = None,
    whole: Annotated[
        bool, typer.Option("--whole", help="All of a study larger than the model's field, empty tissue too.")
    ] = False,
    format: Annotated[
        Literal["dicom-seg", "nifti", "png", "npz"] | None,
        typer.Option(help="Other than the study's own: DICOM SEG, NIfTI or PNG, and NPZ for NPY."),
    ] = None,
    store: Annotated[
        str | None, typer.Option(help="A DICOMweb archive to store the objects in too: https://HOST/dicom-web.")
    ] = None,
    native: Annotated[
        bool, typer.Option("--native", help="At the study's own spacing, where the model was trained at another one.")
    ] = False,
    split: Annotated[Split, typer.Option(help="Which side of a dataset.")] = "all",
    split_file: SplitFile = None,
    case_list: CaseList = None,
    limit: Limit = None,
    device: Device = "auto",
    runtime: Annotated[
        Literal["torch", "onnx"], typer.Option(help="onnx: MODEL is a folder of plurimask export.")
    ] = "torch",
    engine: Engine = None,
    address: Address = None,
) -> None:
    """Draw plausible masks of studies, or of a dataset's cases, into OUT/CASE.

    A study's are written in its own format, with measurements. Cases of a dataset, and planes of just the model's size
    that are not DICOM, give masks.npz and set.json, unless you choose a format.
    """
    from plurimask.datasets.splits import read_case_list
    from plurimask.files.atomic import check_outside, check_room
    from plurimask.files.dicomweb import open_archive
    from plurimask.files.locate import open_study
    from plurimask.files.mask_sets import check_case_folder
    from plurimask.files.remote import Remote
    from plurimask.sampling import (
        CaseDrawer,
        case_study,
        check_study,
        inputs_at,
        load,
        parse_region,
        sample_case,
        sample_study,
    )

    for place in inputs:
        check_outside(out, Path(place))
    drawer = load(model, device, runtime, reader)
    settings = drawer.sampler(sampler, steps)
    regions = [parse_region(text) for text in roi or []]
    parts: list[tuple[Path, Region | None]] = [(out, regions[0] if regions else None)]
    if len(regions) > 1:
        parts = [(out / f"region-{number}", one) for number, one in enumerate(regions, start=1)]
    archive = open_archive(store) if store else None
    format = "dicom-seg" if store and not format else format
    names = read_case_list(case_list) if case_list else None
    found = inputs_at(context.with_resource(at_hand(inputs)), split, limit, names, split_file, Path(model))
    found.check(bool(regions), format, engine)
    chosen = {"--split": split != "all", "--split-file": split_file, "--cases": case_list, "--limit": limit}
    if not found.cases and (option := first_given(chosen)):
        raise SettingsError(option, expected="a dataset", got="studies alone", hint="leave it out")
    drawer.pool(panel, pool, count)
    # All outputs are checked before the model is asked once. Studies are kept as long as they are small together.
    kept: dict[str, Study] = {}
    voxels = len(found.cases) * drawer.recipe.image_size**2
    for name in found.cases:
        check_case_folder(out / name)
    for name, path in found.studies.items():
        study = open_study(path)
        if not kept or sum(one.case.image.nbytes for one in (study, *kept.values())) <= _KEPT_BYTES:
            kept[name] = study
        _tell_spacing(drawer, name, study, native)
        for folder, region in parts:
            voxels += prod(span.stop - span.start for span in check_study(drawer, study, region, whole, native))
            if _is_plain(drawer, study, format):
                check_case_folder(folder / name)
            else:
                from plurimask.panel_files import rehearse  # brings pictures, and what measures masks

                rehearse(folder / name, study, format)
    check_room(out, count * voxels // 8)  # as bits
    total = len(found.cases) + len(found.studies) * len(parts)
    with cluster_at(engine, address, out) as cluster, progress("drawing panels", total) as tick:
        if cluster is not None:
            brought, places = partial(load, model, device, runtime, reader), {panel: Remote.at(out) or out}
            work = CaseDrawer(brought, found.cases, places, count, seed, settings, pool, whole, native)
            work.spread(cluster, device != "cpu", tick)
        for done, (name, read) in enumerate({} if cluster else found.cases.items(), start=1):
            study = case_study(read())
            _tell_spacing(drawer, name, study, native)
            watch = _watch(drawer, name, panel, study if whole else None, tick, done - 1)
            drawn = sample_case(drawer, study.case, count, seed, settings, panel, pool, watch, whole, native)
            _write(out / name, drawn, study, format, plain=format is None)
            tick(done)
        done = len(found.cases)
        for name, path in found.studies.items():
            study = kept.pop(name) if name in kept else open_study(path)
            for folder, region in parts:
                watch = _watch(drawer, name, panel, study if whole else None, tick, done)
                drawn = sample_study(
                    drawer,
                    study,
                    count,
                    seed,
                    settings,
                    region,
                    whole,
                    watch,
                    panel=panel,
                    pool=pool,
                    native=native,
                )
                if cut := drawn.settings.get("at_region_edge"):
                    where = f"{count} samples reach the edge of {folder.name if regions[1:] else 'the region'}"
                    why = "which may cut the lesion; give a larger one with --roi"
                    errors.print(f"{name}: {cut} of {where}, {why}", soft_wrap=True)
                _write(folder / name, drawn, study, format, plain=_is_plain(drawer, study, format))
                done += 1
                tick(done)
    say(f"{plural(total, 'panel')} of {plural(count, 'mask')} in {out}")
    if archive:
        store_panels(archive, [folder / name for name, (folder, _) in product(found.studies, parts)])


def _tell_spacing(drawer: "Model", name: str, study: "Study", native: bool) -> None:
    """Say where a study's pixels are far off those that the model was trained on, or unknown."""
    from plurimask.sampling.spacing import apart
    from plurimask.sampling.study import is_brought

    trained = drawer.recipe.spacing_mm
    own = apart(study, trained)
    if trained is not None and study.case.grid.spacing_mm is None:
        errors.print(
            f"{name}: spacing unknown, drawn as it is; {drawer.name} was trained at {trained:.3g} mm", soft_wrap=True
        )
    elif own is not None and ((brought := is_brought(drawer, study, native)) or native):
        done = "resampled to it and back" if brought else "drawn as it is (--native)"
        steps = " x ".join(f"{step:.3g}" for step in own)
        errors.print(f"{name}: {steps} mm, {drawer.name} was trained at {trained:.3g} mm; {done}", soft_wrap=True)


def _is_plain(drawer: "Model", study: "Study", format: str | None) -> bool:
    """Whether a study is drawn as a case of a dataset is: a plane of just the model's size that is not DICOM."""
    return format is None and study.format != "dicom" and drawer.fits(study.case)


def _write(folder: Path, panel: "MaskSet", study: "Study", format: str | None, *, plain: bool) -> None:
    """Masks and settings alone where it is `plain`, else the files of a study's panel."""
    if plain:
        from plurimask.files.mask_sets import write_mask_set

        write_mask_set(folder, panel)
    else:
        from plurimask.panel_files import write_panel

        write_panel(folder, panel, study, format)


def select(
    masks: Annotated[Path, typer.Argument(help="Folder of masks by any program, CASE/masks.npz or as docs/masks.md.")],
    out: Annotated[Path, typer.Option(help="New folder.")],
    count: Annotated[int, typer.Option(min=1, help="Masks a case.")] = 4,
) -> None:
    """Choose of each case the masks that represent all of them, into OUT/CASE."""
    from plurimask.files.atomic import atomic_folder, check_outside
    from plurimask.files.locate import mask_sets_at
    from plurimask.files.mask_sets import write_mask_set
    from plurimask.sampling.represent import represent

    check_outside(out, masks)
    found = mask_sets_at(masks)
    with atomic_folder(out) as fresh, progress("choosing", len(found)) as tick:
        for done, (name, pool) in enumerate(found.items(), start=1):
            write_mask_set(fresh / name, represent(pool, count))
            tick(done)
    say(f"{count} representative masks of {len(found)} {'case' if len(found) == 1 else 'cases'} in {out}")


def _watch(
    drawer: "Model", name: str, panel: str, whole: "Study | None", tick: Callable[[float], None], before: int
) -> Callable[[int, int], None]:
    """Progress within a case, and what has to be said of a whole study, or of the first pool that takes long."""
    from plurimask.sampling import TimeLeft, needs_region

    def look(done: int, total: int) -> None:
        tick(before + done / total)

    def warn(left: str) -> None:
        errors.print(f"{name}: about {left}{why}", soft_wrap=True)

    if whole and needs_region(drawer, whole):
        why = f"; empty tissue will be outlined, since {drawer.name} saw lesions alone"
        return TimeLeft(warn, look)
    why = " for the pool that is drawn for each panel"
    return TimeLeft(warn, look, least=_LONG) if panel == "representative" and not before else look


_LONG = 20.0
"""Seconds of drawing a pool that are worth saying."""


def export(
    model: Annotated[
        str, typer.Argument(help="A name, .safetensors file or run folder; for onnx, of the method one-pass or flow.")
    ],
    out: Annotated[Path, typer.Option(help="New folder.")],
    format: Annotated[
        Literal["onnx", "monai-bundle", "hub"],
        typer.Option(help="onnx: for another runtime. monai-bundle: for MONAI. hub: a folder for a model hub."),
    ] = "onnx",
    licence: Annotated[
        Path | None, typer.Option(help="Text of the licence of your weights, for monai-bundle and hub.")
    ] = None,
) -> None:
    """Write a model for another runtime, checked against PyTorch, or for another ecosystem."""
    if format != "onnx":
        from plurimask.bundle import write_hub_folder, write_monai_bundle

        write = write_hub_folder if format == "hub" else write_monai_bundle
        write(model, out, licence)
        say(f"{format} in {out}")
        return
    from plurimask.export import export_onnx
    from plurimask.sampling import load

    differing = export_onnx(load(model, "cpu"), out)
    say(f"{format} in {out}; {differing:.2%} of pixels differ from PyTorch's")
    say(f"Draw from it: plurimask sample {out} INPUT --out masks --runtime onnx")
