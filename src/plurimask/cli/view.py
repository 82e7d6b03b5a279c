"""Look at panels: `plurimask demo` and `view`."""

from pathlib import Path
from typing import Annotated

import typer

from plurimask.cli.common import Device, Out, at_hand, console, progress, say


def demo(out: Out = Path("demo")) -> None:
    """Draw 16 masks for each of 12 slices of LIDC-IDRI, score them, and write one page to look at."""
    from plurimask.demo import SEEN, run_demo
    from plurimask.show.tables import render_table

    with progress("drawing panels", 12) as tick:
        scores = run_demo(out, progress=tick)
    console.print(render_table(scores))
    say(SEEN)
    say(f"\nOpen {out / 'report.html'} in a browser.")


def view(
    context: typer.Context,
    path: Annotated[
        str,
        typer.Argument(
            help="Mask sets, a study, a dataset, the folder of a demo or a benchmark, or the address of a series in a "
            "DICOMweb archive."
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option(
            help="The images and readers of the mask sets: a dataset, a study, a folder of DICOM series, or an address."
        ),
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
    follow_links: Annotated[
        bool, typer.Option("--follow-links", help="Also out of the named folders, as DVC and git-annex need it.")
    ] = False,
    device: Device = "auto",
) -> None:
    """Look at panels in a browser: a server of this machine alone."""
    from plurimask.files.dicomweb import Archive
    from plurimask.files.dicomweb_address import is_address, parse_address
    from plurimask.viewer import serve

    places = [path] if data is None else [path, data]
    place, *images = context.with_resource(at_hand(places))
    serve(
        place,
        images[0] if images else None,
        model,
        out,
        host=host,
        port=port,
        token=token,
        browser=not no_browser,
        show_identity=show_identity,
        follow_links=follow_links,
        device=device,
        say=say,
        archive=next((Archive(parse_address(one).root) for one in places if is_address(one)), None),
    )
