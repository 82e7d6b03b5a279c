"""A benchmark of three systems that nobody trained: their masks are the readers' own, moved and cut in known ways."""

import numpy as np
from tiny import write_cases

from plurimask.benchmark.results import Results, RunResult, SeedResult, mean_over_seeds
from plurimask.benchmark.run import Finished, Record
from plurimask.benchmark.suite import Suite, open_bench
from plurimask.datasets.changed import CropLoss
from plurimask.datasets.open import open_dataset
from plurimask.evaluation import compare, evaluate
from plurimask.files.mask_sets import write_mask_set
from plurimask.records import MaskSet

COUNTS = (2, 4)
SMALL = {"recipe": "prob-unet", "set": ("method.net.widths=[4]", "method.net.convolutions=1")}
SUITE = {
    "name": "small",
    "purpose": "To test.",
    "image_size": 16,
    "batch_size": 2,
    "budget": {"images": 8},
    "probe": {"learning_rates": (1e-3,)},
    "scoring": {"samples": COUNTS[1], "first": COUNTS[0]},
    "reference": "near",
    "dataset": "lidc",
    "runs": (
        SMALL | {"name": "near", "label": "Near <b>", "group": "moved", "reported": "CIMD"},
        SMALL | {"name": "far"},
        SMALL | {"name": "nothing"},
        SMALL | {"name": "left"},
    ),
}
DRAW = {
    "near": lambda masks: masks,
    "far": lambda masks: np.roll(masks, 7, axis=(1, 2)),
    "nothing": lambda masks: np.zeros_like(masks),
}
"""By name of a run: what it makes of four masks (4, H, W) of the readers."""


def small_results(home) -> Results:
    """What the benchmark has come to: three runs of four are over, the first is the reference."""
    bench = open_bench(Suite.model_validate(SUITE), open_dataset(write_cases(home / "cases")), home / "out")
    done = [_result(bench, run) for run in bench.suite.runs[:3]]
    near, *others = done
    compared = [RunResult(r.run, r.record, r.seeds, r.mean, compare(r.mean[4], near.mean[4])) for r in others]
    left = RunResult(bench.suite.runs[3], None, (), {})
    return Results(bench, COUNTS, (near, *compared, left), CropLoss(10, 0.0125, 0.04, 0.0), None)


def _result(bench, run) -> RunResult:
    panels = [_panel(run.name, case) for case in bench.cases.values()]
    for panel in panels:
        write_mask_set(bench.masks(run, 0) / panel.name, panel)
    scores = {count: evaluate(panels, bench.cases, count) for count in COUNTS}
    mean = {count: mean_over_seeds([one], run.title) for count, one in scores.items()}
    record = Record(terms={}, definition={}, learning_rate=1e-3, tried=(), gflop_a_step=33.4)
    over = Finished(steps=4, parameters=790_000, gflop_a_mask=0.25, weights="f" * 64)
    return RunResult(run, record, (SeedResult(0, over, scores),), mean)


def _panel(name, case) -> MaskSet:
    return MaskSet(case.name, DRAW[name](np.resize(case.readers, (COUNTS[1], *case.grid.shape))), case.grid, name)
