"""Figures as files that are the same at every run."""

from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from plurimask.files.stored import atomic_path

_DPI = 200
# Without a date and the version of matplotlib, and with names of SVG elements that do not change from run to run.
_METADATA: dict[str, dict[str, None]] = {".png": {"Software": None}, ".svg": {"Date": None, "Creator": None}}
_SETTINGS = {"svg.hashsalt": "plurimask"}


def save_figure(figure: Figure, path: Path) -> tuple[Path, Path]:
    """Write `figure` as PNG (200 dpi) and as SVG; `path` is the name of both without their suffix.

    Each file is whole or not there, and holds the same bytes for the same figure. Returns both paths. Raises OSError as
    the file system does.
    """
    png, svg = (path.with_name(path.name + suffix) for suffix in _METADATA)
    for target in (png, svg):
        save_picture(figure, target)
    return png, svg


def save_picture(figure: Figure, path: Path) -> None:
    """Write `figure` as the suffix of `path` says, .png or .svg, as `save_figure` does."""
    with rc_context(_SETTINGS), atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=_DPI, metadata=_METADATA[path.suffix])
