"""A suite of methods on one dataset on equal terms.

`suite` says what is compared; `bench` puts it on a dataset and refuses what is wrong; `prepare` decides steps and
learning rate; `run` trains, draws and scores; `results`, `tables` and `figures` show what there is. In the folder of a
benchmark lie terms.json, paces/NAME.json, prepared/NAME.json, probes/, runs/NAME-seedK, masks/NAME-seedK,
scores/NAME-seedK, and the tables and figures. Every file is whole or not there, and every stage begins with a look at
what is there, so that a benchmark that was broken off goes on.
"""

from collections.abc import Callable
from pathlib import Path

from plurimask.benchmark.bench import open_bench
from plurimask.benchmark.figures import write_figures
from plurimask.benchmark.results import Results, collect
from plurimask.benchmark.run import run_part
from plurimask.benchmark.suite import Suite, load_suite, parse_shard, suite_names
from plurimask.benchmark.tables import render_results, write_tables
from plurimask.datasets.dataset import Dataset

__all__ = ["Results", "Suite", "load_suite", "parse_shard", "render_results", "run_benchmark", "suite_names"]


def run_benchmark(
    suite: Suite, dataset: Dataset, out: Path, shard: tuple[int, int] = (1, 1), say: Callable[[str], object] = print
) -> Results:
    """Do what is left of a suite, or of every n-th of its runs, then write tables and figures of all that is there.

    Args:
        suite: what to compare.
        dataset: the data; it is split by patient.
        out: folder, new or of the same suite on the same data; shards may share it.
        shard: (i, n), from 1.
        say: called with a line at the start of every stage.

    Raises:
        SettingsError: an unknown recipe, a budget that pays for no step, or results of other data or settings in `out`.
        DatasetError: data that the suite cannot use.
        CheckpointError: a damaged record or checkpoint.
    """
    bench = open_bench(suite, dataset, out)
    run_part(bench, shard, say)
    results = collect(bench)
    write_tables(results)
    write_figures(results)
    return results
