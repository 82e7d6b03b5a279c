"""One run of a benchmark against others of it, case by case: the paired patient bootstrap of their differences.

python benchmarks/suite_pairs.py runs/table1 panel gen-prob-unet ssn ddpm-prob --data lidc-slices-128 --out pairs.json
"""

import argparse
import json
from pathlib import Path
from typing import Any

from plurimask.benchmark.suite import load_suite
from plurimask.datasets.changed import CentreCrop
from plurimask.datasets.open import choose_cases, open_dataset
from plurimask.datasets.splits import read_case_list
from plurimask.evaluation import Scores, evaluate
from plurimask.evaluation.scores import compare
from plurimask.files.mask_sets import read_mask_set
from plurimask.files.stored import write_text

KEPT = ("ged_u", "ged_v", "dice_max", "hm_iou", "ci", "d_ss")


def main() -> None:
    """Print and keep the differences, at both numbers of samples of the suite."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of the benchmark; its name is the suite's")
    parser.add_argument("run")
    parser.add_argument("others", nargs="+")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    suite = load_suite(asked.folder.name)
    assert suite.scoring.cases is not None
    data = CentreCrop(open_dataset(asked.data), suite.image_size)
    cases = choose_cases(data, "test", None, read_case_list(suite.scoring.cases))

    def scores(run: str, count: int) -> Scores:
        folder = asked.folder / "masks" / f"{run}-seed{suite.seeds[0]}"
        return evaluate([read_mask_set(folder / name) for name in cases], cases, count)

    pairs: list[dict[str, Any]] = []
    for count in (suite.scoring.samples, suite.scoring.first):
        own = scores(asked.run, count)
        for other in asked.others:
            found = compare(own, scores(other, count))
            values = {key: [found.difference.values[key], *found.difference.intervals[key]] for key in KEPT}
            pairs.append({"less": other, "samples": count, "cases": found.cases, "patients": found.patients} | values)
            print(f"N = {count}, less {other}:", {key: [round(x, 3) for x in value] for key, value in values.items()})
    scored = {"data": data.digest, "split": "test", "cases": suite.scoring.cases, "seed": suite.scoring.seed}
    record = {"suite": suite.name, "run": asked.run, "of": scored, "pairs": pairs}
    write_text(asked.out, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
