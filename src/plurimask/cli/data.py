"""`plurimask prepare`: make a dataset."""

from pathlib import Path
from typing import Annotated

import typer

from plurimask.cli.common import (
    Address,
    Engine,
    Folds,
    Out,
    SplitBy,
    Test,
    Val,
    cluster_at,
    console,
    progress,
    say,
    split_rule,
)
from plurimask.errors import plural

prepare = typer.Typer(no_args_is_help=True, help="Make a dataset in the case-folder layout.")


Nodules = Annotated[bool, typer.Option("--volumes", help="Whole nodules on CT in 3-D, one a case, as NIfTI.")]
_MOST_SIDE = 4096
"""Pixels of planes, which are brought to a size by matrices as long as their sides."""


@prepare.command()
def phantom(
    out: Out,
    count: Annotated[int, typer.Option(min=1, help="How many cases.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same cases.")] = 0,
    volumes: Nodules = False,
) -> None:
    """Real outlines of LIDC-IDRI's readers on simulated CT: a dataset with no download."""
    from plurimask.prepare.phantom import prepare_phantom

    with progress("making phantoms", count) as tick:
        prepare_phantom(out, count, seed, tick, volumes)
    say(f"{plural(count, 'case')} in {out}")


@prepare.command()
def lidc(
    out: Out,
    dicom: Annotated[Path | None, typer.Option(help="The folder of the TCIA download.")] = None,
    packing: Annotated[Path | None, typer.Option("--from", help="A packing: .pickle, .hdf5, a PNG tree, .npy.")] = None,
    preset: Annotated[str, typer.Option(help="v1 (128 pixels, scan's own grid) or 0.5mm.")] = "v1",
    size: Annotated[
        int | None, typer.Option(min=1, max=_MOST_SIDE, help="Pixels a side, other than the preset's.")
    ] = None,
    spacing: Annotated[float | None, typer.Option(help="mm a pixel, other than the preset's.")] = None,
    slices: Annotated[str | None, typer.Option(help="drawn or release, other than the preset's.")] = None,
    window: Annotated[str | None, typer.Option(help="HU for black and white, as -1000,400; else each slice's.")] = None,
    volumes: Nodules = False,
    engine: Engine = None,
    address: Address = None,
) -> None:
    """LIDC-IDRI with its four readers, from DICOM (goes on where it stopped) or from a packing."""
    if (dicom is None) == (packing is None):
        raise typer.BadParameter("give one of the two", param_hint="--dicom, --from")
    if packing is not None and engine is not None:
        raise typer.BadParameter("a packing is read by one process; leave it out", param_hint="--engine")
    if volumes and (dicom is None or (preset, spacing, slices, window, engine) != ("v1", None, None, None, None)):
        raise typer.BadParameter("of volumes give --dicom, --out and --size alone", param_hint="--volumes")
    if packing is not None:
        from plurimask.prepare.packings import import_packing

        with progress("writing cases") as tick:
            imported = import_packing(packing, out, tick)
        written = f"{plural(imported.cases, 'slice')} of {plural(imported.patients, 'patient')}"
        say(f"{written} in {out}, from {imported.kind}")
    elif dicom is not None and volumes:
        from plurimask.prepare.lidc_volumes import prepare_lidc_volumes

        with progress("cutting scans") as tick:
            counts = prepare_lidc_volumes(dicom, out, size or 128, tick)
        say(f"{plural(counts[0], 'nodule')} in {out}; {plural(counts[1], 'nodule')} passed over, why in manifest.json")
    elif dicom is not None:
        from plurimask.prepare.lidc import lidc_settings, prepare_lidc

        settings = lidc_settings(preset, size, spacing, slices, window)
        with cluster_at(engine, address, dicom, out) as cluster, progress("cutting scans") as tick:
            made = prepare_lidc(dicom, out, settings, tick, cluster=cluster)
        of = f"{plural(made.scans, 'scan')} of {plural(made.patients, 'patient')}"
        say(f"{plural(made.slices, 'slice')} of {of} in {out}")
        skipped = plural(len(made.skipped), "scan")
        say(f"{skipped} passed over, why in {out / 'manifest.json'}; run again when they are there")


@prepare.command("ms-mri")
def ms_mri(
    root: Annotated[Path, typer.Option(help="The download's folder, which holds training/training01/...")],
    out: Out,
    size: Annotated[int, typer.Option(min=1, max=_MOST_SIDE, help="Pixels a side.")] = 64,
    native: Annotated[bool, typer.Option("--native", help="Slices on the scans' own grid instead.")] = False,
    all_slices: Annotated[bool, typer.Option("--all-slices", help="Also those on which nobody drew.")] = False,
) -> None:
    """The longitudinal MS data of ISBI 2015: slices of PD, FLAIR, MP-RAGE and T2 with two readers, and its folds."""
    from plurimask.prepare.ms_mri import prepare_ms_mri

    with progress("cutting scans") as tick:
        made = prepare_ms_mri(root, out, None if native else size, every=all_slices, progress=tick)
    say(
        f"{plural(made.slices, 'slice')} of {plural(made.scans, 'scan')} of {plural(len(made.patients), 'patient')} "
        f"in {out}; {plural(made.unread, 'scan')} without masks passed over"
    )
    if made.folds:
        say(f"One patient held out: --data {out / 'fold-1.csv'} to fold-{made.folds}.csv")


@prepare.command()
def folder(
    root: Annotated[Path, typer.Option(help="The folder below which the files lie.")],
    image: Annotated[
        list[str] | None,
        typer.Option(
            help="Where images are: '{case}/ct.nii.gz'. Repeat it for each channel. Not needed for nnU-Net and BIDS."
        ),
    ] = None,
    reader: Annotated[
        list[str] | None, typer.Option(help="Where masks are: '{case}/reader_{reader}.nii.gz'. Repeatable.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write to.")] = None,
    patient: Annotated[str | None, typer.Option(help="The patient in a case's name: '{patient}_*'.")] = None,
    label: Annotated[
        str | None, typer.Option(help="The value that is drawn, nonzero, or half (above half of the maximum).")
    ] = None,
    persons: Annotated[
        bool, typer.Option("--persons", help="{reader} is the same person in every case: write readers.csv.")
    ] = False,
    structure: Annotated[
        str | None,
        typer.Option(help="The segment or structure to take of DICOM SEG and RTSTRUCT; else all are readers."),
    ] = None,
    window: Annotated[
        str | None, typer.Option(help="Clip images at two values: -1000,400. Kept in the weights, for sampling too.")
    ] = None,
    percentiles: Annotated[
        str | None,
        typer.Option(help="Clip each image or volume at two of its own percentiles: 0.5,99.5. Kept as well."),
    ] = None,
    volumes: Annotated[bool, typer.Option("--volumes", help="Keep volumes whole, for a method of volumes.")] = False,
    axis: Annotated[int, typer.Option(min=0, max=2, help="Along which volumes are cut into slices.")] = 2,
    all_slices: Annotated[bool, typer.Option("--all-slices", help="Also those on which nobody drew.")] = False,
    size: Annotated[
        int | None, typer.Option(min=1, max=_MOST_SIDE, help="Pixels a side of every slice; else as they are.")
    ] = None,
    grid_mm: Annotated[float, typer.Option(min=0, help="How far headers of a case may differ at a corner.")] = 0.0,
    split_by: SplitBy = None,
    val: Val = None,
    test: Test = None,
    folds: Folds = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is there and what looks wrong.")] = False,
    engine: Engine = None,
    address: Address = None,
) -> None:
    """Your own images with several readers each. Begin with --dry-run."""
    from plurimask.datasets.intensity import parse_intensity
    from plurimask.prepare.folder import FolderSettings, prepare_folder, survey_folder
    from plurimask.prepare.layouts import find_layout
    from plurimask.prepare.survey import render_survey, summarise_survey
    from plurimask.prepare.writer import refuse_none

    if bool(image) != bool(reader):
        raise typer.BadParameter("give both, or none for nnU-Net and BIDS", param_hint="--image, --reader")
    if volumes and (size is not None or all_slices or axis != 2):
        raise typer.BadParameter(
            "leave out --axis, --all-slices and --size, which are of slices", param_hint="--volumes"
        )
    images, readers = (image, reader) if image and reader else find_layout(root)
    settings = FolderSettings(
        images,
        readers,
        patient,
        label,
        axis,
        all_slices,
        size,
        grid_mm,
        split_rule(split_by, val, test, folds),
        structure,
        persons,
        parse_intensity(window, percentiles),
        volumes,
    )
    if dry_run:
        with cluster_at(engine, address, root) as cluster, progress("reading cases") as tick:
            survey = survey_folder(root, settings, tick, cluster)
        console.print(render_survey(survey), soft_wrap=True)
        if not survey.cases:
            refuse_none(survey.skipped)
        return
    if out is None:
        raise typer.BadParameter("name the folder to write to, or add --dry-run", param_hint="--out")
    with cluster_at(engine, address, root, out) as cluster, progress("writing cases") as tick:
        survey = prepare_folder(root, out, settings, tick, cluster)
    for line in summarise_survey(survey, most=20):
        say(line)
    if folds:
        say(f"The folds: --data {out / 'fold-1.csv'} to fold-{folds}.csv, or all with train --folds {folds}")
    say(f"{plural(survey.written, 'case')} in {out}, how they were made in {out / 'manifest.json'}")
