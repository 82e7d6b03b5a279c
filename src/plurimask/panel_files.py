"""A panel written for other programs, on the grid of the study that it was drawn for.

A folder a panel, which appears as a whole or not at all. In every format it holds set.json (what drew the masks), one
row a sample in measurements.csv, and their summary in measurements-summary.csv. Samples are counted from 1; slices, of
which diameters and pictures are, from 0 across the axis that planes lie across.

    dicom-seg   samples.dcm, agreement.dcm, frequency.dcm, votes.dcm, frequency-map.dcm, consensus.dcm, report.dcm
    nifti       masks.nii.gz, and in maps/ frequency, consensus-50 and entropy
    png         a plane: sample01.png ... and in pictures/ outlines and frequency; a volume: pictures/ alone
    npz         masks.npz
"""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from plurimask.dicom_findings import write_consensus, write_report
from plurimask.errors import InputError, SettingsError
from plurimask.files.atomic import atomic_folder, check_free
from plurimask.files.dicom_seg import write_dicom_seg
from plurimask.files.images import Format, write_nifti
from plurimask.files.locate import Study
from plurimask.files.mask_sets import DESCRIPTION, MEASUREMENTS, REPLACEABLE, STACK, SUMMARY, check_bears_name, describe
from plurimask.files.texts import csv_text
from plurimask.geometry import Grid, same_grid
from plurimask.metrics.measurements import measure, summarise
from plurimask.records import Case, MaskSet
from plurimask.sampling.region import slicing_axis
from plurimask.show import figures as pictures
from plurimask.show.charts import save_picture


def write_panel(
    folder: str | Path, panel: MaskSet, study: Study, format: str | None = None, agreement: float = 0.5
) -> tuple[Path, ...]:
    """Write `panel` to `folder`, which must have its name; a panel that was there is replaced.

    Args:
        folder: where to write.
        panel: of the study's case.
        study: the image that the masks were drawn for.
        format: dicom-seg, nifti, png or npz; None: the study's own.
        agreement: share of the samples that must contain a voxel of the consensus.

    Returns:
        The paths of all files, sorted.

    Raises:
        SettingsError: another format, DICOM SEG for a study that is not DICOM, an agreement outside (0, 1], or a folder
            of other files.
        InputError: the panel of another case or grid, or a name that cannot be a folder's.
        MissingPackageError: DICOM SEG without highdicom.
        OSError: as the file system does (disk full, no permission); the folder is then as it was.
    """
    folder = Path(folder)
    chosen = check_writable(folder, study, format)
    if not 0 < agreement <= 1:
        raise SettingsError("agreement", expected="a share above 0, at most 1", got=str(agreement), hint="try 0.5")
    hint = "pair each study with its own panel"
    if panel.name != study.case.name:
        raise InputError(panel.name, expected=f"the panel of {study.case.name}", got=f"that of {panel.name}", hint=hint)
    same_grid(panel.name, panel.grid, study.case.grid, "its case", hint)
    check_bears_name(folder, panel.name)
    with atomic_folder(folder, *REPLACEABLE) as fresh:
        _, sliced = _sliced_last(study, panel)
        quantities = measure(sliced.masks, sliced.grid)
        WRITERS[chosen].write(fresh, panel, study, agreement, quantities)
        (fresh / DESCRIPTION).write_text(describe(panel), encoding="utf-8")
        (fresh / MEASUREMENTS).write_text(_measurements(panel, quantities), encoding="utf-8")
        (fresh / SUMMARY).write_text(_summary(quantities), encoding="utf-8")
    return tuple(sorted(path for path in folder.rglob("*") if path.is_file()))


def rehearse(folder: Path, study: Study, format: str | None = None) -> None:
    """Refuse, before anything is drawn, whatever `write_panel` would refuse of the study or its folder.

    Of a series, of its first slices. Raises as that.
    """
    chosen = check_writable(folder, study, format)
    check_bears_name(folder, study.case.name)
    if WRITERS[chosen].alone:  # it may refuse what the source says of itself: an empty mask is written and removed
        grid, few = study.case.grid, study.sources[:_REHEARSED]
        if len(few) > 1:
            grid = Grid((*grid.shape[:2], len(few)), grid.affine, grid.placed)
        empty = MaskSet(study.case.name, np.zeros((1, *grid.shape), dtype=bool), grid, "rehearsal", (0,), None, {})
        with tempfile.TemporaryDirectory() as place:
            quantities = measure(empty.masks, grid)
            WRITERS[chosen].write(Path(place), empty, replace(study, sources=few), 1.0, quantities)


_REHEARSED = 3
"""Slices of a series, all of which were compared when they were read."""


def check_writable(folder: Path, study: Study, format: str | None = None) -> str:
    """The format that `write_panel` will write.

    Raises:
        SettingsError: another format, DICOM SEG for a study that is not DICOM, or a folder of other files.
    """
    own = "nifti" if study.format == "picture" and len(study.case.grid.shape) == 3 else study.format
    chosen = format or next((name for name, writer in WRITERS.items() if writer.studies == own), "nifti")
    if chosen not in WRITERS:
        raise SettingsError("format", expected=" or ".join(WRITERS), got=chosen, hint="choose one of them")
    if WRITERS[chosen].alone and study.format != WRITERS[chosen].studies:
        raise SettingsError(
            study.case.name,
            expected="a DICOM study for DICOM SEG, which refers to patient, study and images of its source",
            got=f"one in format {study.format}",
            hint="give the DICOM series, or choose nifti",
        )
    check_free(folder, *REPLACEABLE)
    return chosen


Quantities = Mapping[str, np.ndarray]


def _write_dicom(folder: Path, panel: MaskSet, study: Study, agreement: float, quantities: Quantities) -> None:
    written = write_dicom_seg(folder, panel, study.sources)
    if written.source.positions is not None:  # else there is nowhere in space that contours could lie
        write_consensus(folder, panel, written, study.sources, agreement)
    write_report(folder, panel, written, quantities)


def _write_nifti(folder: Path, panel: MaskSet, study: Study, agreement: float, _: Quantities) -> None:
    like = study.sources[0] if study.format == "nifti" and study.sources else None
    share = panel.frequency
    # In bits, of whether a sample holds a voxel: 0 where all agree, 1 where half of them do.
    entropy = sum(-part * np.log2(part, where=part > 0, out=np.zeros_like(part)) for part in (share, 1 - share))
    maps = {
        f"maps/consensus-{100 * agreement:g}": (share >= np.float32(agreement)).view(np.uint8),
        "maps/frequency": share,
        "maps/entropy": entropy,
        STACK: np.moveaxis(panel.masks.view(np.uint8), 0, -1),
    }
    (folder / "maps").mkdir()
    for name, values in maps.items():
        write_nifti(folder / f"{name}.nii.gz", values, panel.grid, like)


def _write_png(folder: Path, panel: MaskSet, study: Study, *_: object) -> None:
    case, sliced = _sliced_last(study, panel)
    figures = {
        "outlines": pictures.outlines_picture(case, sliced),
        "frequency": pictures.frequency_picture(case, sliced),
    }
    if len(panel.grid.shape) == 3:
        figures["slices"] = pictures.contact_sheet(case, sliced)
    else:
        digits = len(str(len(panel.masks)))
        for number, mask in enumerate(panel.masks, start=1):
            Image.fromarray(mask.view(np.uint8) * 255).save(folder / f"sample{number:0{digits}}.png")
    for name, figure in figures.items():
        save_picture(figure, folder / "pictures" / f"{name}.png")


class Writer(NamedTuple):
    """How a panel is written in one format.

    Args:
        write: folder, panel, study, share of the samples that must hold a voxel of the consensus, what was measured of
            the samples -> files.
        studies: the format of the studies whose own it is, or None.
        alone: no other study can have it.
    """

    write: Callable[[Path, MaskSet, Study, float, Quantities], None]
    studies: Format | None = None
    alone: bool = False


WRITERS: Mapping[str, Writer] = {
    "dicom-seg": Writer(_write_dicom, "dicom", alone=True),
    "nifti": Writer(_write_nifti, "nifti"),
    "png": Writer(_write_png, "picture"),
    "npz": Writer(lambda folder, panel, *_: np.savez_compressed(folder / f"{STACK}.npz", masks=panel.masks), "npy"),
}
"""THE table of formats that panels are written in."""


def _sliced_last(study: Study, panel: MaskSet) -> tuple[Case, MaskSet]:
    """Case and panel with the axis that their planes lie across as the third, whose slices are measured and shown."""
    slicing = slicing_axis(study)
    if slicing == 2:
        return study.case, panel
    image, readers, masks = (
        np.moveaxis(stack, slicing + 1, -1) for stack in (study.case.image, study.case.readers, panel.masks)
    )
    grid = panel.grid.across(slicing)
    case = replace(study.case, image=image, readers=readers, grid=grid, padding=None)
    return case, replace(panel, masks=masks, grid=grid)


def _measurements(panel: MaskSet, quantities: Quantities) -> str:
    seeds = panel.seeds or [None] * len(panel.masks)
    shares = {} if panel.shares is None else {"share_of_readers": panel.shares}
    columns = shares | dict(quantities)
    values = zip(*columns.values(), strict=True)
    rows = [
        [number, "" if seed is None else seed, *map(_number, row)]
        for number, (seed, row) in enumerate(zip(seeds, values, strict=True), start=1)
    ]
    return csv_text([["sample", "seed", *columns], *rows])


def _summary(quantities: Quantities) -> str:
    rows: list[list[object]] = [["quantity", "samples", "mean", "median", "p5", "p95"]]
    for name, values in quantities.items():
        found = summarise(values)
        rows.append([name, found.samples, *map(_number, (found.mean, found.median, found.low, found.high))])
    return csv_text(rows)


def _number(value: float) -> str:
    """Six significant digits; empty where it is undefined."""
    return "" if np.isnan(value) else f"{value:.6g}"
