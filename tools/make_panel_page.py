"""Put the tables of the fast panel into docs/benchmarks/panel.md, and draw its quality against its cost beside others'.

    python tools/make_panel_page.py

From docs/benchmarks/lidc/table1.json and, of docs/benchmarks/panel, quality.json, emptiness.json
(`benchmarks/panel_quality.py`; emptiness.json by revision d032475) and training.json, which is quality by core-minutes.
"""

import json
import re
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from plurimask.show.charts import BLUE, VERMILLION, plain_axes

PAGES = Path(__file__).parents[1] / "docs/benchmarks"
PAGE = PAGES / "panel.md"
MARKED = re.compile(r"(<!-- (quality|emptiness) -->\n).*?(<!-- end -->)", re.DOTALL)


def main() -> None:
    """Tables and figures."""
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    table1 = json.loads((PAGES / "lidc/table1.json").read_text(encoding="utf-8"))
    frontier_figure(_records(), table1["runs"]).savefig(PAGES / "panel/frontier.png", dpi=120)
    course = json.loads((PAGES / "panel/training.json").read_text(encoding="utf-8"))
    training_figure(course).savefig(PAGES / "panel/training.png", dpi=120)


def filled(text: str) -> str:
    """The page with its tables made anew from what is kept."""
    emptiness = json.loads((PAGES / "panel/emptiness.json").read_text(encoding="utf-8"))
    tables = {"quality": quality_table(_records()), "emptiness": emptiness_table(emptiness)}
    return MARKED.sub(lambda found: f"{found[1]}{tables[found[2]]}\n{found[3]}", text)


def _records() -> list[dict[str, Any]]:
    """By model, most steps first."""
    records = json.loads((PAGES / "panel/quality.json").read_text(encoding="utf-8"))
    return sorted(records, key=lambda record: (record["model"], -_steps(record)))


def quality_table(records: list[dict[str, Any]]) -> str:
    """A row a model and number of steps."""
    heads = [
        "model",
        "steps",
        "U-GED",
        "V-GED",
        "HM-IoU",
        "D_max",
        "D_max, N = 4",
        "d_SS",
        "empty",
        "r",
        "GFLOP a mask",
    ]
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *map(_row, records)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def emptiness_table(record: dict[str, Any]) -> str:
    """A row for each thing that e may be read from."""
    lines = ["| read from | numbers | nats a mask | r |", "| --- | ---: | ---: | ---: |"]
    lines.append(f"| nothing: always the mean | 0 | {record['always_the_mean_nats']:.3f} | - |")
    for row in record["rows"]:
        lines.append(f"| {row['shown']} | {row['numbers']} | {row['nats']:.3f} | {row['r']:.3f} |")
    return "\n".join(lines)


def _row(record: dict[str, Any]) -> list[str]:
    found = record["n16"]
    value, low, high = found["ged_u"]
    means = [found[key][0] for key in ("ged_v", "hm_iou", "dice_max")]
    means += [record["n4"]["dice_max"][0], found["d_ss"][0], found["empty_samples"][0]]
    return [
        f"`{record['model']}`",
        str(_steps(record)),
        f"{value:.3f} ({low:.3f} to {high:.3f})",
        *(f"{mean:.3f}" for mean in means),
        f"{record['empty_correlation']:.2f}",
        f"{record['gflop_a_mask']:.2f}",
    ]


def _steps(record: dict[str, Any]) -> int:
    return int((record["of"]["sampler"] or {"steps": 1})["steps"])


def frontier_figure(records: list[dict[str, Any]], runs: list[dict[str, Any]]) -> Figure:
    """U-GED at N = 16 with its interval against GFLOP a mask: built-in models by steps, and the runs of table1."""
    figure = Figure(figsize=(7.6, 4.6), layout="constrained")
    axes = figure.subplots()
    for (x, y), labels in _places(runs).items():
        axes.plot(x, y, "o", color="0.6", markersize=5)
        axes.annotate(", ".join(labels), (x, y), fontsize=6.5, color="0.4", xytext=(5, 3), textcoords="offset points")
    for model, colour in zip(sorted({record["model"] for record in records}), (VERMILLION, BLUE), strict=False):
        course = [record for record in records if record["model"] == model]
        x = [record["gflop_a_mask"] for record in course]
        label = f"{model}, {', '.join(str(_steps(one)) for one in course)} steps"
        _with_intervals(axes, x, course, "ged_u", colour, label)
    axes.set_xscale("log")
    axes.set_xlim(right=60)
    _finish(axes, "GFLOP a mask, in panels of 16", "mean U-GED, N = 16 (lower is better)")
    return figure


def training_figure(records: list[dict[str, Any]]) -> Figure:
    """U-GED and V-GED at N = 16, with their intervals, against the core-minutes that went into the weights."""
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    minutes = [record["core_minutes"] for record in records]
    for key, label, colour in (("ged_v", "V-GED", BLUE), ("ged_u", "U-GED", VERMILLION)):
        _with_intervals(axes, minutes, records, key, colour, label)
    axes.set_ylim(bottom=0)
    _finish(axes, "core-minutes of training", "N = 16, 60 validation slices")
    return figure


def _with_intervals(
    axes: Axes, x: list[float], records: list[dict[str, Any]], key: str, colour: str, label: str
) -> None:
    y, low, high = zip(*(record["n16"][key] for record in records), strict=True)
    axes.vlines(x, low, high, color=colour, alpha=0.5)
    axes.plot(x, y, marker="o", color=colour, label=label)


def _finish(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    plain_axes(axes)
    axes.legend(fontsize=8, frameon=False)


def _places(runs: list[dict[str, Any]]) -> dict[tuple[float, float], list[str]]:
    """Labels by GFLOP a mask and U-GED, which is rounded, so that those of one place share a label."""
    found: dict[tuple[float, float], list[str]] = {}
    for run in runs:
        seed = run["seeds"][0]
        place = seed["gflop_a_mask"], round(seed["scores"]["16"]["mean"]["ged_u"], 2)
        found.setdefault(place, []).append(run["label"])
    return found


if __name__ == "__main__":
    main()
