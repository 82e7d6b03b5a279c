"""A suite of methods on one dataset on equal terms.

`suite` says what is compared and puts it on a dataset; `run` trains, draws and scores; `results` gathers what there is,
`claims` tests it and `tables` writes it; `report` shows it in pictures and on a page. In the folder of a benchmark lie
records/NAME.json (how far each run has come), runs/NAME-seedK, masks/NAME-seedK, scores/NAME-seedK, and the tables and
figures. Every file is whole or not there, and every stage begins with a look at what is there, so that a benchmark that
was broken off goes on.
"""

from collections.abc import Callable
from pathlib import Path

from plurimask.benchmark.report import write_benchmark_report, write_figures
from plurimask.benchmark.results import Results, collect
from plurimask.benchmark.run import run_part
from plurimask.benchmark.suite import Suite, load_suite, open_bench, parse_shard, suite_names
from plurimask.benchmark.tables import render_results, write_tables
from plurimask.datasets.dataset import Dataset
from plurimask.files.atomic import check_room

__all__ = [
    "Results",
    "Suite",
    "load_suite",
    "parse_shard",
    "render_results",
    "run_benchmark",
    "suite_names",
]


def run_benchmark(
    suite: Suite,
    dataset: Dataset,
    out: Path,
    shard: tuple[int, int] | None = (1, 1),
    say: Callable[[str], object] = print,
) -> Results:
    """Do what is left of a suite, or of every n-th of its runs, then write tables, figures and page of what is there.

    Args:
        suite: what to compare.
        dataset: the data; it is split by patient.
        out: folder, new or of the same suite on the same data; shards may share it.
        shard: (i, n), from 1; None: nothing is trained, drawn or scored.
        say: called with a line at the start of every stage.

    Raises:
        SettingsError: an unknown recipe, results of other data or settings in `out`, or a file there.
        OSError: nothing can be written to `out`.
        DatasetError: data that the suite cannot use.
        CheckpointError: a damaged record or checkpoint, or results of an earlier version.
    """
    check_room(out)
    bench = open_bench(suite, dataset, out)
    if shard is not None:
        run_part(bench, shard, say)
    results = collect(bench)
    write_tables(results)
    write_figures(results)
    write_benchmark_report(results)
    return results
