"""An archive over DICOMweb, and series that arrive: `plurimask fetch`, `store` and `watch`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plurimask.cli.common import Device, Out, progress, say, store_panels
from plurimask.errors import plural

if TYPE_CHECKING:
    from plurimask.files.locate import Study
    from plurimask.records import MaskSet


def fetch(
    address: Annotated[
        str,
        typer.Argument(
            help="A series, a study or a search: https://HOST/dicom-web/studies/UID/series/UID, .../studies/UID#3, "
            "'.../studies?PatientID=4711&StudyDate=20260101-'."
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Folder to write to.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list the series.")] = False,
) -> None:
    """Retrieve series from a DICOMweb archive into OUT/UID; goes on where it stopped."""
    from plurimask.files.dicomweb import Archive, fetch_series
    from plurimask.files.dicomweb_address import parse_address

    place = parse_address(address)
    archive = Archive(place.root)
    if dry_run:
        for one in archive.search(place):
            words = [one.number, one.modality, plural(one.images, "image"), one.description, str(one.address)]
            say("  ".join("".join(char for char in word or "-" if char.isprintable()) for word in words))
        return
    if out is None:
        raise typer.BadParameter("name the folder to write to, or add --dry-run", param_hint="--out")
    found = [] if place.series or place.chosen else [one for one in archive.search(place) if one.holds_images]
    found = found or [archive.one_series(place)]
    for one in found:
        with progress(f"retrieving {one.number or 'a series'}", one.images) as tick:
            fetch_series(archive, one, out, tick)
    say(f"{len(found)} series in {out}")


def store(
    address: Annotated[str, typer.Argument(help="The archive: https://HOST/dicom-web.")],
    panels: Annotated[list[Path], typer.Argument(help="Folders of panels of DICOM studies.")],
) -> None:
    """Store the DICOM objects of panels in a DICOMweb archive. What it has already is left alone."""
    from plurimask.files.dicomweb import open_archive

    store_panels(open_archive(address), panels)


def watch(
    place: Annotated[
        str, typer.Argument(help="A folder into which folders of DICOM series arrive, or an address in an archive.")
    ],
    out: Out,
    model: Annotated[str, typer.Option(help="A built-in name, a .safetensors file or a run folder.")] = "lidc",
    count: Annotated[int, typer.Option(min=1, help="Masks a series.")] = 16,
    seed: Annotated[int, typer.Option(help="Same seed, same masks.")] = 0,
    roi: Annotated[str | None, typer.Option(help="The part of each series to draw, as sample takes it.")] = None,
    whole: Annotated[bool, typer.Option("--whole", help="All of series larger than the model's field.")] = False,
    store: Annotated[str | None, typer.Option(help="A DICOMweb archive to store the objects in too.")] = None,
    every: Annotated[float, typer.Option(min=1, help="Seconds between two looks.")] = 60,
    settle: Annotated[float, typer.Option(min=0, help="Seconds for which a series must not have grown.")] = 60,
    once: Annotated[bool, typer.Option("--once", help="Look once, then end.")] = False,
    show_identity: Annotated[bool, typer.Option("--show-identity", help="Print names of folders and UIDs.")] = False,
    device: Device = "auto",
) -> None:
    """Draw new DICOM series as they arrive, each once, into OUT/HASH.

    Hashes of names are made with the secret in PLURIMASK_LEDGER_KEY.
    """
    from plurimask.files.dicomweb import open_archive
    from plurimask.sampling import load, parse_region, sample_study
    from plurimask.watch import Watch

    drawer, region = load(model, device), parse_region(roi) if roi is not None else None
    archive = open_archive(store) if store else None

    def draw(study: "Study") -> "MaskSet":
        return sample_study(drawer, study, count, seed, region=region, whole=whole)

    Watch(place, out, draw, archive, settle, say, show_identity).run(every, once)
