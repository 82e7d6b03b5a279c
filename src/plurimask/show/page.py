"""From a template to a file: styles and scripts inside, a policy that lets nothing else run, numbers as people read."""

import base64
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from matplotlib.colors import to_hex

from plurimask.evaluation import COLUMNS, GENERAL_CONVENTIONS, HEADLINE
from plurimask.evaluation.scores import LEVEL
from plurimask.files.atomic import write_text
from plurimask.records import MaskSet
from plurimask.show.raster import frequency_colours
from plurimask.show.tables import number


def write_page(path: Path, template: str, **content: Any) -> None:
    """Fill a template and write the page, whole or not at all. Raises OSError as the file system does."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader("plurimask.show"), PackageLoader("plurimask", "style")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "score": _score,
        "minus": _minus,
        "size": lambda value: f"{value:.0f}" if value >= 10 else f"{value:.2g}",
        "symbol": _symbol,
        "frequency_hex": lambda samples: [to_hex(colour) for colour in frequency_colours(samples)[1:]],
    }
    script = environment.get_template("report.js").render()
    html = environment.get_template(template).render(
        columns=COLUMNS,
        headline=HEADLINE,
        conventions=GENERAL_CONVENTIONS,
        level=f"{LEVEL:.0%}",
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        **content,
    )
    write_text(path, html)


def origin_of(panel: MaskSet) -> dict[str, Any]:
    """What a panel says of how it was drawn."""
    entries = {"method": panel.method, "checkpoint (sha256)": panel.checkpoint}
    return entries | {"seeds": panel.seeds and _seeds(panel.seeds), **panel.settings}


def settings_of(origins: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """How panels were drawn, as text by key; values that differ by case are listed."""
    found: dict[str, list[str]] = {}
    for key, value in (entry for origin in origins for entry in origin.items()):
        text = value if isinstance(value, str) else json.dumps(value)
        if value is not None and text not in found.setdefault(key, []):
            found[key].append(text)
    return {key: "; ".join(texts) for key, texts in found.items()}


def _seeds(seeds: tuple[int, ...]) -> str:
    if len(seeds) > 2 and seeds == tuple(range(seeds[0], seeds[0] + len(seeds))):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))


def _score(value: float | None) -> str:
    return "\N{EN DASH}" if value is None or math.isnan(value) else _minus(number(value))


def _minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")


def _symbol(name: str) -> Markup:
    """D_max with its index set below the line."""
    stem, _, index = name.partition("_")
    return Markup("{}<sub>{}</sub>").format(stem, index) if index else escape(stem)
