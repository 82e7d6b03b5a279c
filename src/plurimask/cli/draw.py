"""Draw masks, here or in another runtime: `plurimask sample` and `export`."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from plurimask.cli.common import CaseList, Device, Limit, Out, Split, errors, progress, say

if TYPE_CHECKING:
    from plurimask.files.locate import Study
    from plurimask.sampling import Model


def sample(
    model: Annotated[str, typer.Argument(help="A built-in name (lidc, phantom), a .safetensors file or a run folder.")],
    inputs: Annotated[
        list[Path], typer.Argument(help="Studies (DICOM series, NIfTI, PNG, JPEG, NPY, folders of a case) or datasets.")
    ],
    out: Out,
    count: Annotated[int, typer.Option(min=1, help="Masks a case.")] = 16,
    seed: Annotated[int, typer.Option(help="Same seed, same masks.")] = 0,
    sampler: Annotated[
        Literal["ddpm", "ddim", "dpm++"] | None, typer.Option(help="Other than the model's own.")
    ] = None,
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
        Literal["dicom-seg", "nifti", "png", "npz"] | None,
        typer.Option(help="Other than the study's own: DICOM SEG, NIfTI or PNG, and NPZ for NPY."),
    ] = None,
    split: Annotated[Split, typer.Option(help="Which side of a dataset.")] = "all",
    case_list: CaseList = None,
    limit: Limit = None,
    device: Device = "auto",
    runtime: Annotated[
        Literal["torch", "onnx"], typer.Option(help="onnx: MODEL is a folder of plurimask export.")
    ] = "torch",
) -> None:
    """Draw plausible masks of studies, or of a dataset's cases, into OUT/CASE.

    A study's are written in its own format, with measurements. Cases of a dataset, and planes of just the model's size
    that are not DICOM, give masks.npz and set.json.
    """
    from plurimask.datasets.splits import read_case_list
    from plurimask.files.locate import open_study
    from plurimask.files.mask_sets import write_mask_set
    from plurimask.sampling import inputs_at, load, parse_region, sample_study

    drawer = load(model, device, runtime)
    settings = drawer.sampler(sampler, steps)
    region = parse_region(roi) if roi is not None else None
    found = inputs_at(inputs, split, limit, read_case_list(case_list) if case_list else None)
    found.check(region is not None, whole, format)
    with progress("drawing panels", len(found)) as tick:
        for done, (name, read) in enumerate(found.cases.items(), start=1):
            write_mask_set(out / name, drawer.sample(read(), count, seed, settings))
            tick(done)
        for done, (name, path) in enumerate(found.studies.items(), start=len(found.cases)):
            study = open_study(path)
            watch = _watch(drawer, study, whole, tick, done)
            draw = partial(sample_study, drawer, study, count, seed, settings, region, whole, watch)
            if format is None and study.format != "dicom" and drawer.fits(study.case):
                write_mask_set(out / name, draw())
            else:
                from plurimask.panel_files import (  # brings pictures, and what measures masks
                    check_writable,
                    write_panel,
                )

                check_writable(out / name, study, format)
                write_panel(out / name, draw(), study, format)
            tick(done + 1)
    panels = "1 panel" if len(found) == 1 else f"{len(found)} panels"
    say(f"{panels} of {count} masks in {out}")


def _watch(
    drawer: "Model", study: "Study", whole: bool, tick: Callable[[float], None], before: int
) -> Callable[[int, int], None]:
    """Progress within a study, and what has to be said of a whole one."""
    from plurimask.sampling import TimeLeft, needs_region

    def look(done: int, total: int) -> None:
        tick(before + done / total)

    def warn(left: str) -> None:
        line = f"{study.case.name}: about {left}; empty tissue will be outlined, since {drawer.name} saw lesions alone"
        errors.print(line, soft_wrap=True)

    return TimeLeft(warn, look) if whole and needs_region(drawer, study) else look


def export(
    model: Annotated[str, typer.Argument(help="A model of the method panel: name, .safetensors file or run folder.")],
    out: Annotated[Path, typer.Option(help="New folder.")],
    format: Annotated[Literal["onnx"], typer.Option(help="What to write.")] = "onnx",
) -> None:
    """Write a model for another runtime: encoder and denoiser as ONNX, checked against PyTorch."""
    from plurimask.export import export_onnx
    from plurimask.sampling import load

    differing = export_onnx(load(model, "cpu"), out)
    say(f"{format} in {out}; {differing:.2%} of pixels differ from PyTorch's")
    say(f"Draw from it: plurimask sample {out} INPUT --out masks --runtime onnx")
