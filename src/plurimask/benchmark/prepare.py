"""What is decided for a run before its seeds are trained: how many steps its budget pays for, and its learning rate."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path

from plurimask.benchmark.bench import Bench, steps_within
from plurimask.benchmark.places import Pace, Prepared, Tried, read_record, write_record
from plurimask.benchmark.suite import Budget, RunSettings
from plurimask.training.loop import DivergedError, train
from plurimask.training.recipe import Recipe
from plurimask.training.run import RunFolder

TIMED_STEPS, UNTIMED_STEPS = 20, 2
"""Steps whose mean time is taken for all, and steps before them."""


def prepare(bench: Bench, run: RunSettings, say: Callable[[str], object]) -> Prepared:
    """How a run is to be trained: as recorded, or decided now and recorded.

    Raises:
        SettingsError: a budget that pays for no step.
    """
    path = bench.places.prepared(run.name)
    before = read_record(path, Prepared)
    if before is not None:
        return before
    gflop, pace = bench.gflop_a_step(run), time_steps(bench, run, say)

    def steps_of(budget: Budget) -> int:
        return steps_within(budget, bench.suite.batch_size, pace.seconds_a_step, gflop)

    tried = _try_rates(bench, run, steps_of, say) if pace.diverged is None else _none_tried(bench, pace.diverged)
    prepared = Prepared(
        definition=bench.definition(run),
        steps=steps_of(bench.suite.budget) if pace.diverged is None else 0,
        learning_rate=_better(tried),
        tried=tried,
        seconds_a_step=pace.seconds_a_step,
        gflop_a_step=gflop,
    )
    write_record(path, prepared)
    return prepared


def time_steps(bench: Bench, run: RunSettings, say: Callable[[str], object]) -> Pace:
    """Time a run's training steps on this machine as it is now, once; not at all where no budget is in minutes."""
    path = bench.places.pace(run.name)
    before = read_record(path, Pace)
    if before is not None:
        return before
    definition, budgets = bench.definition(run), (bench.suite.budget, bench.suite.probe.budget)
    if all(budget is None or budget.minutes is None for budget in budgets):
        return Pace(definition=definition)
    say(f"{run.name}: timing {TIMED_STEPS} steps")
    try:
        pace = Pace(definition=definition, seconds_a_step=_seconds_a_step(bench, run))
    except DivergedError as error:
        pace = Pace(definition=definition, diverged=f"step {error.step}")
    write_record(path, pace)
    return pace


def train_on(bench: Bench, run: RunSettings, recipe: Recipe, folder: Path) -> None:
    """Train into `folder`, or go on there. Raises DivergedError as `train`."""
    train(recipe, bench.data_of(run), folder, resume=RunFolder(folder).recipe.exists())


def _try_rates(
    bench: Bench, run: RunSettings, steps_of: Callable[[Budget], int], say: Callable[[str], object]
) -> tuple[Tried, ...]:
    probe = bench.suite.probe
    if len(probe.learning_rates) == 1 or probe.budget is None:
        return tuple(Tried(learning_rate=rate) for rate in probe.learning_rates)
    steps = steps_of(probe.budget)
    tried = []
    for rate in probe.learning_rates:
        say(f"{run.name}: learning rate {rate:g}, {steps} steps")
        tried.append(_try_rate(bench, run, rate, steps))
    return tuple(tried)


def _none_tried(bench: Bench, diverged: str) -> tuple[Tried, ...]:
    return tuple(Tried(learning_rate=rate, diverged=diverged) for rate in bench.suite.probe.learning_rates)


def _try_rate(bench: Bench, run: RunSettings, rate: float, steps: int) -> Tried:
    """One short training with a whole schedule of its own, and its validation at the end."""
    probe, seed = bench.suite.probe, bench.suite.seeds[0]
    validation = {"validate_every": steps, "validation_cases": probe.cases, "validation_samples": probe.samples}
    folder = bench.places.probe(run.name, f"rate-{rate:g}")
    try:
        train_on(bench, run, bench.recipe(run, steps, rate, seed, **validation), folder)
    except DivergedError as error:
        return Tried(learning_rate=rate, diverged=f"step {error.step}")
    return Tried(learning_rate=rate, ged_u=RunFolder(folder).lines("val")[-1]["ged_u"])


def _better(tried: tuple[Tried, ...]) -> float | None:
    """The rate of lowest U-GED, the first of equal ones; a single one was not tried and is taken as it is."""
    kept = [one for one in tried if one.diverged is None]
    best = min(kept, key=lambda one: math.inf if one.ged_u is None else one.ged_u, default=None)
    return None if best is None else best.learning_rate


def _seconds_a_step(bench: Bench, run: RunSettings) -> float:
    """Mean seconds of a step, as the trainer itself logs them."""
    # Too small a rate to diverge by; it takes as long as any.
    steps, rate = UNTIMED_STEPS + TIMED_STEPS, 1e-12
    quiet = {"validate_every": steps, "validation_cases": 1, "validation_samples": 2, "checkpoint_every": steps}
    folder = bench.places.probe(run.name, "pace")
    shutil.rmtree(folder, ignore_errors=True)
    train_on(bench, run, bench.recipe(run, steps, rate, bench.suite.seeds[0], **quiet), folder)
    # The log has images a second since the start.
    lines = RunFolder(folder).lines("train")
    seconds = [line["step"] * bench.suite.batch_size / line["images_per_second"] for line in lines]
    return (seconds[-1] - seconds[UNTIMED_STEPS - 1]) / TIMED_STEPS
