"""The command line: build, call, print. No logic lives here.

One file a family. A command imports what it needs when it runs, so that help and usage errors come at once.
"""

import logging
import signal
import sys
import warnings
from typing import Annotated, cast

import typer

from plurimask import __version__
from plurimask.cli import archive, data, draw, score, train, view
from plurimask.cli.common import Stopped, console, errors, fail
from plurimask.errors import PlurimaskError

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)
for _command in (
    view.demo,
    train.plan,
    train.train,
    draw.sample,
    draw.select,
    draw.export,
    score.evaluate,
    score.benchmark,
    view.view,
    archive.fetch,
    archive.store,
    archive.watch,
):
    app.command()(_command)
app.add_typer(data.prepare, name="prepare")


def _print_version(wanted: bool) -> None:
    if wanted:
        console.print(f"plurimask {__version__}")
        raise typer.Exit


@app.callback()
def describe(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Show the version and exit.")
    ] = False,
) -> None:
    """Draw, score and look at panels of plausible expert outlines for ambiguous medical images.

    Start with [bold]plurimask demo[/bold].
    """


_UsageError = cast(type[typer.BadParameter], typer.BadParameter.__base__)
"""Click's, of which Typer has a copy of its own; Typer would tell of it in a box."""


def main() -> None:
    """Run a command; whatever is wrong with the input is said in one line, with exit code 2.

    SIGTERM, as schedulers send it, ends a command as Ctrl-C does. What libraries log of files is not shown, since our
    own line says it.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for library in ("nibabel", "pydicom", "PIL", "highdicom", "h5py"):
        logging.getLogger(library).setLevel(logging.CRITICAL + 1)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    try:
        sys.exit(app(prog_name="plurimask", standalone_mode=False) or 0)
    except _UsageError as error:
        told = error.format_message()
        if told:
            fail(f"{told.rstrip('.?')}; see {error.ctx.command_path if error.ctx else 'plurimask'} --help")
        sys.exit(error.exit_code)  # Nothing was given, and the help is printed.
    except PlurimaskError as error:
        fail(str(error))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        fail(f"{where}{error.strerror or error}; check the path, free space and permissions, then run again")
    except MemoryError as error:
        fail(f"memory: expected enough for the work, got too little ({error}); draw fewer masks, or a region")
    except Stopped as stopped:
        errors.print(str(stopped), soft_wrap=True)
        sys.exit(130)
    except SystemExit as stop:
        if stop.code == 130:  # what Typer makes of Ctrl-C
            errors.print("stopped; what was written whole is kept")
        raise
