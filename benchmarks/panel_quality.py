"""Scores and cost of models at several numbers of steps, on the same cases from the same seed.

python benchmarks/panel_quality.py lidc lidc-cimd --data lidc-slices-128 --steps 1 2 4 8 --out quality.json

Records are added to those that the file holds; one that is there is not measured again.
"""

import argparse
import json
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from plurimask.benchmark.run import gflop_a_mask
from plurimask.datasets.open import choose_cases, open_dataset
from plurimask.datasets.splits import read_case_list
from plurimask.evaluation import Scores, evaluate
from plurimask.files.stored import write_text
from plurimask.sampling import Model, load

SAMPLES, FIRST = 16, 4
COUNTED = 10  # cases whose operations are counted: they depend on how large a lesion may be
KEPT = ("ged_u", "ged_v", "hm_iou", "dice_max", "d_ss", "d_yy", "ci", "empty_samples", "empty_readers", "size_crps")


def measure(model: Model, cases: Any, steps: int | None) -> dict[str, Any]:
    """Scores at N = 16 and, of the first 4 of the same masks, at N = 4; what a mask costs."""
    sampler = model.sampler(steps=steps)
    panels = [model.sample(case, SAMPLES, seed=0, sampler=sampler) for case in cases.values()]
    scores = {count: evaluate(panels, cases, count) for count in (SAMPLES, FIRST)}
    return {
        "patients": len({row.patient for row in scores[SAMPLES].rows}),
        "step": model.checkpoint.step,
        "empty_correlation": _empty_correlation(scores[SAMPLES]),
        "gflop_a_mask": fmean(gflop_a_mask(model, case, SAMPLES, sampler) for case in islice(cases.values(), COUNTED)),
        **{f"n{count}": _means(found) for count, found in scores.items()},
    }


def _means(scores: Scores) -> dict[str, Any]:
    row = scores.table[0]
    return {key: [row.values[key], *row.intervals[key]] for key in KEPT}


def _empty_correlation(scores: Scores) -> float:
    """Over cases, between the shares of empty samples and of empty readers."""
    shares = [[row.values[key] for row in scores.rows] for key in ("empty_samples", "empty_readers")]
    return float(np.corrcoef(shares)[0, 1])


def main() -> None:
    """Measure what is asked for and not yet known."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--cases", help="a case list, such as lidc-eval-200")
    parser.add_argument("--steps", type=int, nargs="+", default=[None])
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    names = read_case_list(asked.cases) if asked.cases else None
    data = open_dataset(asked.data)
    cases = choose_cases(data, asked.split, asked.limit, names)
    records = json.loads(asked.out.read_text(encoding="utf-8")) if asked.out.exists() else []
    known = {json.dumps(record["of"]) for record in records}
    for name in asked.models:
        model = load(name, "cpu")
        for steps in asked.steps:
            sampler = model.sampler(steps=steps)
            of = {
                "weights": model.checkpoint.digest,
                "sampler": sampler and sampler.model_dump(),
                "cases": [asked.split, asked.cases, asked.limit, len(cases), data.digest],
            }
            if json.dumps(of) in known:
                continue
            records.append(
                {"model": name, "method": model.recipe.method.name, "of": of, **measure(model, cases, steps)}
            )
            write_text(asked.out, json.dumps(records, indent=1) + "\n")
            print(_line(records[-1]), flush=True)


def _line(record: dict[str, Any]) -> str:
    of_16 = ", ".join(f"{key} {record['n16'][key][0]:.3f}" for key in KEPT)
    steps = (record["of"]["sampler"] or {}).get("steps", 1)
    return (
        f"{record['model']} step {record['step']}, {steps} steps: {of_16}, D_max4 {record['n4']['dice_max'][0]:.3f}, "
        f"r {record['empty_correlation']:.2f}, {record['gflop_a_mask']:.3f} GFLOP"
    )


if __name__ == "__main__":
    main()
