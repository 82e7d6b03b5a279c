"""Which plurimask this is."""

from importlib import metadata


def version() -> str | None:
    """The version of the installed package; None when it is run from a source tree."""
    try:
        return metadata.version("plurimask")
    except metadata.PackageNotFoundError:
        return None
