"""What a prepared dataset says of itself: manifest.json, of one form for all."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from plurimask.files.atomic import write_text
from plurimask.version import version

MANIFEST = "manifest.json"


def write_manifest(
    folder: Path,
    made_by: str,
    facts: Mapping[str, Any],
    *,
    counts: Mapping[str, int],
    sha256: str | Mapping[str, str],
    skipped: Iterable[tuple[str, str]],
) -> None:
    """Write the manifest of the dataset in `folder`, whole or not at all.

    Args:
        folder: of the dataset.
        made_by: the command.
        facts: its settings, its source, and what else it has to say; plain JSON values.
        counts: how much of what there is.
        sha256: (hex) of the whole, or by name of its files.
        skipped: what was passed over, and why.
    """
    manifest = {
        "made_by": made_by,
        "version": version(),
        **facts,
        "counts": counts,
        "sha256": sha256,
        "skipped": [{"what": what, "why": why} for what, why in skipped],
    }
    write_text(folder / MANIFEST, json.dumps(manifest, indent=2, allow_nan=False) + "\n")
