"""The runs of a suite, one after the other: train, draw, score, weigh the costs. Whatever is done is not done again."""

import time
from collections.abc import Callable
from pathlib import Path

import torch

from plurimask.benchmark.bench import Bench
from plurimask.benchmark.costs import gflop_a_mask, parameters, seconds_a_mask
from plurimask.benchmark.places import (
    Diversity,
    DiversityPoint,
    Finished,
    Prepared,
    Sittings,
    check_same,
    fingerprint,
    key_of,
    read_record,
    write_record,
)
from plurimask.benchmark.prepare import prepare, time_steps, train_on
from plurimask.benchmark.suite import RunSettings
from plurimask.diffusion.samplers import SamplerSettings
from plurimask.evaluation import evaluate, write_scores
from plurimask.files.mask_sets import MaskSets, read_mask_set, write_mask_set
from plurimask.records import Case, MaskSet
from plurimask.sampling import Model, load
from plurimask.training.loop import DivergedError
from plurimask.training.recipe import Recipe
from plurimask.training.run import RunFolder

Say = Callable[[str], object]


def run_part(bench: Bench, shard: tuple[int, int], say: Say) -> None:
    """Do all runs of a shard that are not over yet.

    Raises:
        SettingsError: a budget that pays for no step, or results under other settings.
        CheckpointError: a damaged record or checkpoint.
    """
    part = bench.suite.part(shard)
    # All first, so that all are timed under the load of the same minute.
    for run in part:
        time_steps(bench, run, say)
    # A table of all runs comes before a second seed of any.
    for seed in bench.suite.seeds:
        for run in part:
            prepared = prepare(bench, run, say)
            finished = finish(bench, run, seed, prepared, say)
            if finished.diverged is None:
                _vary_noise(bench, run, seed, say)


def finish(bench: Bench, run: RunSettings, seed: int, prepared: Prepared, say: Say) -> Finished:
    """One run to its end, or as recorded where it is over."""
    key = key_of(run.name, seed)
    path = bench.places.finished(key)
    settings = {"terms": bench.terms, "prepared": prepared.model_dump(mode="json", exclude={"tried"}), "seed": seed}
    mark = fingerprint(settings)
    before = read_record(path, Finished)
    if before is not None:
        check_same(path, {"settings": before.settings}, {"settings": mark})
        return before
    finished = _diverged_or_scored(bench, run, seed, prepared, mark, say)
    write_record(path, finished)
    say(f"{key}: scored" if finished.diverged is None else f"{key}: diverged at {finished.diverged}")
    return finished


def _diverged_or_scored(bench: Bench, run: RunSettings, seed: int, prepared: Prepared, mark: str, say: Say) -> Finished:
    key = key_of(run.name, seed)
    if prepared.learning_rate is None:
        where = ", ".join(f"{one.diverged} with rate {one.learning_rate:g}" for one in prepared.tried)
        return Finished(settings=mark, diverged=where)
    recipe = bench.recipe(run, prepared.steps, prepared.learning_rate, seed)
    say(f"{key}: training {prepared.steps} steps at rate {prepared.learning_rate:g}")
    try:
        seconds = _train(bench, run, recipe, key)
    except DivergedError as error:
        return Finished(settings=mark, diverged=f"step {error.step}")
    model = load(str(RunFolder(bench.places.run(key)).last))
    say(f"{key}: drawing {bench.suite.scoring.samples} masks for each of {len(bench.cases)} cases")
    _draw(bench, model, key)
    _score(bench, key, mark)
    case, count = bench.cases[next(iter(bench.cases))], bench.suite.scoring.samples
    return Finished(
        settings=mark,
        steps=prepared.steps,
        images=prepared.steps * bench.suite.batch_size,
        minutes=seconds / 60,
        parameters=parameters(model.method),
        gflop_a_mask=gflop_a_mask(model, case, count),
        seconds_a_mask=seconds_a_mask(model, case, count),
        threads=torch.get_num_threads(),
        device=str(model.method.device),
        weights=model.checkpoint.digest,
    )


def _train(bench: Bench, run: RunSettings, recipe: Recipe, key: str) -> float:
    """Train to the end; seconds over all sittings."""
    path, folder = bench.places.sittings(key), bench.places.run(key)
    before = read_record(path, Sittings) or Sittings()
    if before.whole:
        return before.seconds
    seconds = before.seconds + _broken_off(before, RunFolder(folder).state)
    started = time.time()
    write_record(path, Sittings(seconds=seconds, started=started))
    train_on(bench, run, recipe, folder)
    seconds += time.time() - started
    write_record(path, Sittings(seconds=seconds, whole=True))
    return seconds


def _broken_off(before: Sittings, state: Path) -> float:
    """Seconds of a sitting that was broken off, up to its last checkpoint: what came after is done again."""
    if before.started is None or not state.exists():
        return 0.0
    return max(0.0, state.stat().st_mtime - before.started)


def _draw(bench: Bench, model: Model, key: str) -> None:
    scoring = bench.suite.scoring
    for name, case in bench.cases.items():
        folder = bench.places.masks(key) / name
        if not _drawn(folder, model, scoring.samples):
            write_mask_set(folder, model.sample(case, scoring.samples, scoring.seed))


def _drawn(folder: Path, model: Model, count: int) -> bool:
    """Whether the masks are there, from these very weights."""
    if not (folder / "masks.npz").exists():
        return False
    panel = read_mask_set(folder)
    return panel.checkpoint == model.checkpoint.digest and len(panel.masks) == count


def _score(bench: Bench, key: str, mark: str) -> None:
    """Scores at both numbers of samples, from the same masks."""
    panels = MaskSets.under(bench.places.masks(key)).among(bench.cases, bench.data.names)
    facts = {"digest": bench.data.digest, "split": "test", "split_digest": bench.terms["split"], "settings": mark}
    for count in counts(bench):
        write_scores(evaluate(panels.values(), bench.cases, count), bench.places.scores(key, count), facts)


def counts(bench: Bench) -> tuple[int, ...]:
    """The numbers of samples that are scored, the smaller first."""
    scoring = bench.suite.scoring
    return tuple(sorted({scoring.first, scoring.samples}))


def _vary_noise(bench: Bench, run: RunSettings, seed: int, say: Say) -> None:
    """Scores of the suite's one run against the noise scale, unless they are there."""
    chosen = bench.suite.diversity
    if chosen is None or (run.name, seed) != (chosen.run, bench.suite.seeds[0]):
        return
    key = key_of(run.name, seed)
    path, settings = bench.places.diversity(key), chosen.model_dump(mode="json")
    before = read_record(path, Diversity)
    if before is not None and before.settings == settings:
        return
    model = load(str(RunFolder(bench.places.run(key)).last))
    cases = {name: bench.cases[name] for name in list(bench.cases)[: chosen.cases]}
    points = []
    for scale in chosen.scales:
        say(f"{key}: noise scale {scale:g}")
        sampler = SamplerSettings(name="ddpm", steps=chosen.steps, noise_scale=scale)
        panels = [model.sample(case, chosen.samples, bench.suite.scoring.seed, sampler) for case in cases.values()]
        points.append(_point(scale, panels, cases))
    write_record(path, Diversity(settings=settings, points=tuple(points)))


def _point(scale: float, panels: list[MaskSet], cases: dict[str, Case]) -> DiversityPoint:
    mean = evaluate(panels, cases).mean
    return DiversityPoint(noise_scale=scale, **{key: mean[key] for key in ("d_ss", "d_yy", "ged_u", "dice_max")})
