"""Put the figures of evaluations into docs/metrics.md, between its markers.

    python tools/make_metrics_page.py SCORES

SCORES holds what the page's commands wrote: n16, n4, all, and n100-N for each N. Their summaries are kept in
docs/scores, and the tables are made from what is kept there.
"""

import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import typer

from plurimask.evaluation import COLUMNS, HEADLINE
from plurimask.show.charts import ged_by_count_figure, save_figure
from plurimask.show.tables import number

ROOT = Path(__file__).parents[1]
PAGE, KEPT = ROOT / "docs/metrics.md", ROOT / "docs/scores"
RUNS = {"n4": "lidc-eval-200-n4", "n16": "lidc-eval-200-n16", "all": "lidc-test-n16"}
FIGURES = ("ged-ci", "reliability", "empty")
BY_N = "lidc-by-n"
PLAIN = ("ged_v", "ged_u", "hm_iou", "dice_max", "ci")

Summary = Mapping[str, Any]
Row = Sequence[str]


def main(scores: Path) -> None:
    """Keep the summaries and figures of `scores` and write the page's tables."""
    for run, name in RUNS.items():
        shutil.copyfile(scores / run / "summary.json", KEPT / f"{name}.json")
    for name in FIGURES:
        shutil.copyfile(scores / "n16" / f"{name}.png", ROOT / f"docs/figures/{name}.png")
    by_n = sorted(map(read, scores.glob("n100-*/summary.json")), key=lambda one: one["samples"])
    kept = [{key: one[key] for key in ("samples", "cases", "patients", "data", "drawn")} | _own(one) for one in by_n]
    (KEPT / f"{BY_N}.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    rows = [table_rows(one) for one in kept]
    model, calibrated = [next(iter(row.values())) for row in rows], [row["calibrated"] for row in rows]
    figure = ged_by_count_figure(
        np.array([one["samples"] for one in kept]),
        *(np.array([row[key] for row in model], dtype=float) for key in ("ged_v", "ged_u")),
        np.array([row["ged_v"] for row in calibrated], dtype=float),
    )
    save_figure(figure, ROOT / "docs/figures/ged-by-n")
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def _own(summary: Summary) -> dict[str, Any]:
    """The method's own row and the calibrated one."""
    own, *others = summary["table"]
    return {"table": [own, *(row for row in others if row["label"] == "calibrated")]}


def filled(page: str) -> str:
    """The page with each of its tables made anew from docs/scores."""
    for name, make in TABLES.items():
        table = "\n".join(make())
        page = re.sub(rf"(<!-- table: {name} -->\n).*?(<!-- end -->)", rf"\g<1>{table}\n\g<2>", page, flags=re.DOTALL)
    return page


def references() -> list[str]:
    """The predictors that need no image, on the same cases."""
    rows = table_rows(read_kept("n16"))
    heads = [column.label for column in HEADLINE.values()] + ["Brier", "ECE"]
    keys = [*HEADLINE, "brier", "ece"]
    first = next(iter(rows))
    labels = {label: "`lidc-cimd`" if label == first else label for label in rows}
    return markdown(["", *heads], [[labels[label], *numbers(values, keys)] for label, values in rows.items()])


def by_n() -> list[str]:
    """The same masks at each N."""
    kept = json.loads((KEPT / f"{BY_N}.json").read_text(encoding="utf-8"))
    rows = []
    for one in kept:
        own, calibrated = one["table"][0], table_rows(one)["calibrated"]
        values = [*numbers(own["mean"], PLAIN[:1]), *numbers(calibrated, ["ged_v"]), with_interval(own, "ged_u")]
        rows.append([str(one["samples"]), *values, *numbers(own["mean"], [*PLAIN[2:], "d_ss"])])
    heads = ["N", "V-GED", "calibrated", "U-GED (95% interval)", *(COLUMNS[key].label for key in (*PLAIN[2:], "d_ss"))]
    return markdown(heads, rows)


def conventions() -> list[str]:
    """The same masks as other codes count them."""
    rows = [
        [f"`{one['label']}`", *numbers(one["mean"], ["ged", "hm_iou"]), one["differs"], one["source"]]
        for one in read_kept("n16")["as_counted_by_others"]
    ]
    return markdown(["convention", "GED", "HM-IoU", "what differs", "source"], rows, words=2)


def model() -> list[str]:
    """The built-in model with intervals."""
    runs = {name: read_kept(name) for name in ("n4", "n16", "all")}
    heads = [f"N = {one['samples']}, {one['cases']} slices" for one in runs.values()]
    rows = [
        [named(key, runs["n16"]), *(with_interval(one["table"][0], key) for one in runs.values())] for key in COLUMNS
    ]
    levels = [numbers(table_rows(one)["calibrated"], ["ged_v"])[0] for one in runs.values()]
    undefined = ["; ".join(undefined_of(one)) or "none" for one in runs.values()]
    return markdown(["", *heads], [["V-GED, calibrated", *levels], *rows, ["undefined in so many cases", *undefined]])


def strata() -> list[str]:
    """The built-in model by kinds of cases."""
    one = read_kept("n16")
    keys = ("ged_v", "ged_u", "hm_iou", "dice_max", "ci", "empty_samples", "empty_readers")
    rows = [[part["part"], str(part["all_cases"]), *numbers(part["mean"], keys)] for part in one["strata"]]
    return markdown(["", "cases", *(COLUMNS[key].label for key in keys)], rows)


TABLES: Mapping[str, Callable[[], list[str]]] = {
    "references": references,
    "by-n": by_n,
    "conventions": conventions,
    "model": model,
    "strata": strata,
}


def markdown(heads: Row, rows: Sequence[Row], words: int = 0) -> list[str]:
    """A table whose first column and last `words` columns hold words, the others numbers."""
    numeric = len(heads) - 1 - words
    rule = ["---", *["---:"] * numeric, *["---"] * words]
    return ["| " + " | ".join(cells) + " |" for cells in (heads, rule, *rows)]


def numbers(values: Mapping[str, float | None], keys: Sequence[str]) -> list[str]:
    """The values as the terminal shows them."""
    return [number(float("nan") if values.get(key) is None else float(values[key] or 0)) for key in keys]


def with_interval(row: Summary, key: str) -> str:
    """A mean with its interval."""
    low, high = row["interval"][key]
    mean = numbers(row["mean"], [key])[0]
    return mean if low is None else f"{mean} ({number(low)} to {number(high)})"


def table_rows(summary: Summary) -> dict[str, Mapping[str, float | None]]:
    """Label -> means."""
    return {row["label"]: row["mean"] for row in summary["table"]}


def named(key: str, summary: Summary) -> str:
    """A column's label with its unit."""
    unit = summary["units"].get(key)
    return f"{COLUMNS[key].label} ({unit})" if unit else COLUMNS[key].label


def undefined_of(summary: Summary) -> list[str]:
    """Which values are undefined, and in how many cases."""
    return [f"{COLUMNS[key].label} {count}" for key, count in summary["undefined"].items() if count]


def read_kept(run: str) -> Summary:
    """A summary of docs/scores."""
    return read(KEPT / f"{RUNS[run]}.json")


def read(path: Path) -> Summary:
    """A summary."""
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    typer.run(main)
