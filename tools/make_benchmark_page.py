"""Keep what a benchmark found in docs/benchmarks/DATASET, and put its figures into docs/benchmarks/DATASET.md.

    python tools/make_benchmark_page.py lidc runs/table1 runs/ablation

Of each benchmark's folder the tables (SUITE.md, SUITE.csv), all figures (SUITE.json) and the pictures (SUITE/*.png) are
kept. The tables between the page's markers are made from what is kept.
"""

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from plurimask.evaluation import COLUMNS
from plurimask.show.tables import ARROWS, number

PAGES = Path(__file__).parents[1] / "docs/benchmarks"
MARKED = re.compile(r"(<!-- table: ([a-z0-9-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
KEYS = ("ged_u", "ged_v", "hm_iou", "dice_max", "ci", "d_ss")


def main(dataset: str, folders: Annotated[list[Path], typer.Argument(help="Folders that benchmarks wrote.")]) -> None:
    """Keep the results and fill the page's tables."""
    kept = PAGES / dataset
    for folder in folders:
        name = json.loads((folder / "results.json").read_bytes())["suite"]["name"]
        pictures = kept / name
        shutil.rmtree(pictures, ignore_errors=True)
        pictures.mkdir(parents=True)
        for picture in sorted((folder / "figures").glob("*.png")):
            shutil.copyfile(picture, pictures / picture.name)
        for ending, source in (("csv", "table.csv"), ("json", "results.json"), ("md", "table.md")):
            shutil.copyfile(folder / source, kept / f"{name}.{ending}")
    page = PAGES / f"{dataset}.md"
    page.write_text(filled(page), encoding="utf-8")


def filled(page: Path) -> str:
    """The page with each of its tables made anew from what is kept beside it."""

    def make(found: re.Match[str]) -> str:
        results = json.loads((page.with_suffix("") / f"{found[2]}.json").read_bytes())
        return f"{found[1]}{scores_table(results)}\n{found[3]}"

    return MARKED.sub(make, page.read_text(encoding="utf-8"))


def scores_table(results: Mapping[str, Any]) -> str:
    """The scored runs at the larger N, each beside its difference from the reference, case by case."""
    suite = results["suite"]
    count = str(suite["scoring"]["samples"])
    reference = next(run for run in suite["runs"] if run["name"] == suite["reference"])
    heads = [
        f"N = {count}",
        *map(_head, KEYS),
        f"U-GED less {reference['label']}",
        "U-GED of each seed",
        "GFLOP a mask",
    ]
    rows = [_row(run, count) for run in results["runs"] if run["mean"]]
    rows += [
        [one["label"], *(_mean(one, key) for key in KEYS), "", "", ""] for one in results["references"].get(count, [])
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [heads, ["---", *["---:"] * (len(heads) - 1)], *rows])


def _head(key: str) -> str:
    return f"{COLUMNS[key].label} {ARROWS[COLUMNS[key].better]}".strip()


def _row(run: Mapping[str, Any], count: str) -> list[str]:
    own, less = run["mean"][count], run["less_reference"]
    seeds = [seed for seed in run["seeds"] if seed["scores"]]
    return [
        run["label"],
        _with_interval(own, "ged_u"),
        *(_mean(own, key) for key in KEYS[1:]),
        _with_interval(less, "ged_u") if less else "",
        ", ".join(_mean(seed["scores"][count], "ged_u") for seed in seeds),
        f"{seeds[0]['gflop_a_mask']:.3g}",
    ]


def _with_interval(row: Mapping[str, Any], key: str) -> str:
    low, high = map(_number, row["interval"][key])
    return f"{_mean(row, key)} ({low} to {high})"


def _mean(row: Mapping[str, Any], key: str) -> str:
    return _number(row["mean"].get(key))


def _number(value: float | None) -> str:
    return number(float("nan") if value is None else value)


if __name__ == "__main__":
    typer.run(main)
