"""A benchmark from end to end: it goes on where it stopped, does nothing twice, and survives a method that diverges."""

import csv
import json

import numpy as np
import pytest
import torch
from small_suite import CIMD, PROB, silent, suite
from tiny import write_cases

from plurimask.benchmark import run, run_benchmark
from plurimask.benchmark.results import collect
from plurimask.benchmark.run import gflop_a_mask, gflop_a_step, read_record, run_part
from plurimask.benchmark.suite import open_bench
from plurimask.benchmark.tables import render_markdown
from plurimask.datasets.open import open_dataset
from plurimask.errors import CheckpointError, SettingsError
from plurimask.evaluation import evaluate
from plurimask.files.mask_sets import read_mask_set, write_mask_set
from plurimask.geometry import Grid
from plurimask.methods.unet import Unet, UnetSettings
from plurimask.records import Batch, MaskSet
from plurimask.sampling import load
from plurimask.training.recipe import load_recipe

DIVERSITY = {"run": "cimd", "scales": (0.5, 1.5), "steps": 2, "cases": 1, "samples": 2}


@pytest.fixture(scope="module")
def whole(home, data):
    """The small suite with two seeds, unbroken; not to be written to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLURIMASK_CACHE", str(home / "cache"))
        run_benchmark(suite(seeds=(0, 1), diversity=DIVERSITY), data, home / "whole", say=silent)
    return home / "whole"


def _interrupt(*given, **named):
    raise KeyboardInterrupt


def do(chosen, data, out, shard=(1, 1)):
    """All stages of a suite, without tables and figures."""
    bench = open_bench(chosen, data, out)
    run_part(bench, shard, silent)
    return bench


def record_of(out, name="prob"):
    """A run's record as plain values."""
    return json.loads((out / "records" / f"{name}.json").read_text())


def stop_at(monkeypatch, stage, chosen, data, out):
    """The same up to a stage that ends as by Ctrl-C."""
    with monkeypatch.context() as patch:
        patch.setattr(run, stage, _interrupt)
        with pytest.raises(KeyboardInterrupt):
            do(chosen, data, out)


def times(root):
    """When each file but tables and figures was written last."""
    kept = ("runs", "masks", "scores", "records")
    return {path: path.stat().st_mtime_ns for part in kept for path in (root / part).rglob("*") if path.is_file()}


def scores(root, key, count=4):
    return (root / "scores" / key / f"n{count}" / "scores.csv").read_text()


def test_every_run_leaves_weights_masks_and_scores(whole):
    for key in ("cimd-seed0", "cimd-seed1", "prob-seed0", "prob-seed1"):
        assert (whole / "runs" / key / "last.safetensors").exists()
        assert len(list((whole / "masks" / key).glob("*/masks.npz"))) == 2
    assert {path.name for path in (whole / "records").iterdir()} == {"cimd.json", "prob.json"}


def test_both_numbers_of_samples_come_from_the_same_masks(whole):
    for count in (2, 4):
        rows = list(csv.DictReader(scores(whole, "prob-seed0", count).splitlines()))
        assert {row["samples"] for row in rows} == {str(count)}


def test_masks_are_of_the_last_weights(whole):
    last = load(str(whole / "runs" / "prob-seed1" / "last.safetensors"))
    panels = [read_mask_set(folder) for folder in (whole / "masks" / "prob-seed1").iterdir()]
    assert {panel.checkpoint for panel in panels} == {last.checkpoint.digest}


def test_a_rate_is_taken_by_u_ged(whole):
    record = record_of(whole)
    best = min(record["tried"], key=lambda tried: tried["ged_u"])["learning_rate"]
    assert record["learning_rate"] == best
    trained = json.loads((whole / "runs" / "prob-seed0" / "recipe.json").read_text())["training"]
    assert (trained["learning_rate"], trained["steps"]) == (best, 4)


def test_tables_and_figures_are_written(whole):
    assert {"table.md", "table.csv", "results.json"} <= {path.name for path in whole.iterdir()}
    figures = {path.stem for path in (whole / "figures").glob("*.png")}
    assert {"agreed-n2", "agreed-n4", "failures", "quality-cost", "latents", "diversity"} <= figures


def test_the_record_tells_the_costs(whole):
    record = record_of(whole, "cimd")
    over = record["finished"]["0"]
    assert (over["steps"], over["images"], over["diverged"]) == (4, 8, None)
    assert set(over["filtered"]) == {"3", "5"}
    costs = ("minutes", "core_minutes", "parameters", "gflop_a_mask", "seconds_a_mask", "threads")
    assert min(record["gflop_a_step"], *(over[cost] for cost in costs)) > 0


def test_masks_are_scored_after_each_median_filter_by_itself(data, tmp_path):
    """Strips of 2 pixels outlive a square of 3, and not one of 5."""
    bench = open_bench(suite(), data, tmp_path)
    masks = np.zeros((4, 16, 16), dtype=bool)
    masks[:, 6:8] = True
    for name, case in bench.cases.items():
        write_mask_set(bench.masks(bench.suite.runs[1], 0) / name, MaskSet(name, masks, case.grid))
    filtered = run.Work(bench, bench.suite.runs[1], silent)._score(0)
    strips, none = (
        evaluate([MaskSet(name, shown, case.grid) for name, case in bench.cases.items()], bench.cases).mean["ged_u"]
        for shown in (masks, np.zeros_like(masks))
    )
    assert filtered == pytest.approx({3: strips, 5: none})
    assert strips != none


def test_a_validation_curve_per_training_is_there_before_it_is_over(whole, data, tmp_path, monkeypatch):
    one = suite(runs=(PROB,), probe={"learning_rates": (1e-3,), "cases": 2, "samples": 2})
    stop_at(monkeypatch, "load", one, data, tmp_path)
    results = run_benchmark(one, data, tmp_path, None, silent)
    assert (results.scored, [line["step"] for line in results.runs[0].courses[0]]) == ((), [1, 2, 3, 4])
    assert "| prob | 0 | 8 |" in (tmp_path / "table.md").read_text()
    assert (tmp_path / "figures" / "validation.png").exists()


def test_what_is_over_is_not_done_again(whole, data):
    before = times(whole)
    run_benchmark(suite(seeds=(0, 1), diversity=DIVERSITY), data, whole, say=silent)
    assert times(whole) == before


STAGES = {
    "training": "train_on",
    "drawing": "write_mask_set",
    "scoring": "write_scores",
    "timing": "seconds_a_mask",
    "noise": "DiversityPoint",
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_benchmark_broken_off_in_a_stage_ends_as_an_unbroken_one(whole, data, tmp_path, monkeypatch, stage):
    one = suite(seeds=(0,), diversity=DIVERSITY)
    stop_at(monkeypatch, STAGES[stage], one, data, tmp_path / "out")
    do(one, data, tmp_path / "out")
    for key in ("cimd-seed0", "prob-seed0"):
        assert scores(tmp_path / "out", key) == scores(whole, key)
    assert record_of(tmp_path / "out", "cimd")["diversity"] == record_of(whole, "cimd")["diversity"]


def test_drawing_goes_on_with_the_masks_that_are_there(data, tmp_path, monkeypatch):
    one = suite(runs=(PROB,))
    stop_at(monkeypatch, "evaluate", one, data, tmp_path)
    first, second = sorted((tmp_path / "masks" / "prob-seed0").glob("*/masks.npz"))
    second.unlink()
    before = first.stat().st_mtime_ns
    do(one, data, tmp_path)
    assert second.exists()
    assert first.stat().st_mtime_ns == before


def test_masks_of_other_weights_are_drawn_again(data, tmp_path, monkeypatch):
    one = suite(runs=(PROB,))
    stop_at(monkeypatch, "evaluate", one, data, tmp_path)
    told = next((tmp_path / "masks" / "prob-seed0").glob("*/set.json"))
    told.write_text(json.dumps(json.loads(told.read_text()) | {"checkpoint": "0" * 64}))
    do(one, data, tmp_path)
    assert json.loads(told.read_text())["checkpoint"] != "0" * 64


def test_shards_do_every_run_once_and_together_what_one_process_does(whole, data, tmp_path):
    first = collect(do(suite(), data, tmp_path, (2, 2)))
    assert [len(one.seeds) for one in first.runs] == [0, 1]
    before = times(tmp_path)
    second = collect(do(suite(), data, tmp_path, (1, 2)))
    assert [len(one.seeds) for one in second.runs] == [1, 1]
    after = times(tmp_path)
    assert {path: after[path] for path in before} == before
    assert scores(tmp_path, "cimd-seed0") == scores(whole, "cimd-seed0")


DIVERGING = CIMD | {"name": "wild", "set": (*CIMD["set"], "method.vlb_weight=1e300")}


def test_a_method_that_diverges_is_recorded_and_the_suite_goes_on(data, tmp_path):
    wild = suite(runs=(DIVERGING, PROB), probe={"learning_rates": (1e-3,)})
    results = collect(do(wild, data, tmp_path))
    assert record_of(tmp_path, "wild")["finished"]["0"]["diverged"] == "step 1"
    assert [bool(one.mean) for one in results.runs] == [False, True]
    assert "**CIMD**, seed 0: diverged at step 1" in render_markdown(results)


def test_a_run_that_diverged_is_not_tried_again(data, tmp_path):
    wild = suite(runs=(DIVERGING, PROB), probe={"learning_rates": (1e-3,)})
    do(wild, data, tmp_path)
    before = times(tmp_path)
    do(wild, data, tmp_path)
    assert times(tmp_path) == before


def test_a_method_that_diverges_at_every_rate_is_not_trained(data, tmp_path):
    bench = do(suite(runs=(DIVERGING, PROB)), data, tmp_path)
    record = record_of(tmp_path, "wild")
    assert record["learning_rate"] is None
    assert [one["diverged"] for one in record["tried"]] == ["step 1", "step 1"]
    assert "at step 1 with rate 0.001, step 1 with rate 0.0001" in render_markdown(collect(bench))
    assert not (tmp_path / "runs" / "wild-seed0").exists()


def test_of_folds_every_case_is_scored_once_by_a_run_that_never_saw_its_patient(data, tmp_path):
    chosen = suite(runs=(PROB,), folds=2, scoring={"samples": 4, "first": 2}, probe={"cases": 2, "samples": 2})
    bench = do(chosen, data, tmp_path / "out")
    assert sorted(bench.cases) == sorted(data.names)
    record = read_record(bench, chosen.runs[0])
    assert record.learning_rate == load_recipe("prob-unet").training.learning_rate
    (finished,) = record.finished.values()
    drawn = []
    for number, weights in enumerate(finished.weights.split(), start=1):
        split = json.loads((bench.root / "runs" / f"prob-seed0-fold{number}" / "split.json").read_text())["patients"]
        seen = {*split["train"], *split["val"]}
        tested = [name for name in data.names if panel_of(bench, name).checkpoint == weights]
        assert not seen & {str(data.patients[data.names.index(name)]) for name in tested}
        drawn += tested
    assert sorted(drawn) == sorted(data.names)
    with (bench.scores(chosen.runs[0], 0, 4) / "scores.csv").open() as file:
        assert sorted(line["name"] for line in csv.DictReader(file)) == sorted(data.names)


def panel_of(bench, name):
    return read_mask_set(bench.masks(bench.suite.runs[0], 0) / name)


def test_all_runs_are_over_before_any_has_a_second_seed(data, tmp_path):
    said: list[str] = []
    run_part(open_bench(suite(runs=(PROB, DIVERGING), seeds=(0, 1)), data, tmp_path), (1, 1), said.append)
    over = [line.split(":")[0] for line in said if ": scored" in line or ": diverged" in line]
    assert over == ["prob-seed0", "wild-seed0", "prob-seed1", "wild-seed1"]


@pytest.fixture
def chosen(data, tmp_path):
    """A folder in which one run's rate is chosen, and nothing trained."""
    one = suite(runs=(PROB,), probe={"learning_rates": (1e-3,)})
    run.Work(open_bench(one, data, tmp_path), one.runs[0], silent)._choose_rate()
    return tmp_path


def reopened(data, out, **changed):
    """What a suite that has changed reads of the run's record."""
    one = suite(**{"runs": (PROB,), "probe": {"learning_rates": (1e-3,)}} | changed)
    return read_record(open_bench(one, data, out), one.runs[0])


def test_a_rate_that_is_the_only_one_is_not_tried(chosen):
    record = record_of(chosen)
    assert (record["learning_rate"], record["tried"][0]["ged_u"]) == (1e-3, None)
    assert not (chosen / "runs").exists()


def rewrite(out, change):
    """The run's record, changed in place."""
    record = record_of(out)
    change(record)
    (out / "records" / "prob.json").write_text(json.dumps(record))


def test_results_from_before_a_setting_came_are_gone_on_with(chosen, data):
    rewrite(chosen, lambda record: record["definition"]["recipe"]["training"].pop("intensity"))
    assert reopened(data, chosen) is not None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"runs": (PROB | {"set": (*PROB["set"], "method.beta=2.0")},)}, r"expected recipe\.method\.beta 1\.0, as its"),
        ({"runs": (PROB | {"readers": "one"},)}, 'expected readers "all", as its results have it, got "one"'),
        ({"budget": {"images": 16}}, r"expected budget\.images 8, as its results have it, got 16; go on with"),
        ({"probe": {"learning_rates": (1e-4,)}}, r"expected probe\.learning_rates \[0\.001\], as its results"),
    ],
)
def test_results_under_other_settings_are_refused(chosen, data, changed, message):
    with pytest.raises(SettingsError, match=rf"prob\.json: {message}"):
        reopened(data, chosen, **changed)


def test_results_of_other_data_are_refused(chosen, tmp_path):
    other = open_dataset(write_cases(tmp_path / "other", readers=3))
    with pytest.raises(
        SettingsError, match=r"prob\.json: expected data .*, as its results have it, got .*another --out"
    ):
        reopened(other, chosen)


def test_results_of_another_split_are_refused(chosen, data):
    rewrite(chosen, lambda record: record["terms"].update(split="0" * 64))
    with pytest.raises(SettingsError, match=r"expected split .*, as its results have it"):
        reopened(data, chosen)


def test_runs_and_seeds_may_be_added(chosen, data):
    runs = (CIMD, PROB, PROB | {"name": "third"})
    assert reopened(data, chosen, runs=runs[1:], seeds=(0, 1)) is not None
    assert reopened(data, chosen, runs=runs, seeds=(0, 1), diversity={"run": "cimd"}) is None  # CIMD's own record


def test_a_refused_benchmark_begins_no_run(chosen, data):
    other = suite(runs=(CIMD, PROB), probe={"learning_rates": (1e-3,)}, budget={"images": 16})
    with pytest.raises(SettingsError, match=r"expected budget\.images 8"):
        do(other, data, chosen)
    assert not (chosen / "runs").exists()


@pytest.mark.parametrize("content", ["{", "[1]", "[" * 100_000, '{"terms": 3}', '{"terms": {}, "definition": {}}'])
def test_a_damaged_record_is_refused_by_name(chosen, data, content):
    (chosen / "records" / "prob.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"prob\.json(: \w+)?: expected "):
        reopened(data, chosen)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"learning_rate": -1.0}, "learning_rate: expected a number above 0, got -1.0"),
        ({"gflop_a_step": float("nan")}, "gflop_a_step: expected a finite number, got nan"),
        ({"finished": {"0": {"steps": -4}}}, r"expected a number of at least 0, got -4"),
        ({"finished": {"x": {}}}, "expected a whole number, got 'x'"),
        ({"finished": {"0": {"minutes": "long"}}}, r"expected a number, got 'long'"),
        ({"definition": {"recipe": 5, "readers": "all"}}, "expected "),
        ({"definition": {"recipe": None}}, "expected "),
        ({"diversity": {"settings": {}, "points": [{"noise_scale": "x"}]}}, "expected a number"),
    ],
)
def test_a_record_with_a_value_that_cannot_be_is_refused_by_its_key(chosen, data, changed, message):
    rewrite(chosen, lambda record: record.update(changed))
    with pytest.raises((CheckpointError, SettingsError), match=rf"prob\.json: (.*: )?{message}"):
        reopened(data, chosen)


def test_results_of_an_earlier_version_are_refused(data, tmp_path):
    (tmp_path / "terms.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"expected results of this version, got terms\.json of an earlier one"):
        do(suite(), data, tmp_path)


def test_a_median_filter_takes_what_most_of_the_square_holds():
    masks = np.zeros((2, 6, 6), dtype=bool)
    masks[0, 2, 2] = masks[1, 1:4, 1:4] = True
    filtered = run.median_filtered(MaskSet("a", masks, Grid((6, 6))), 3).masks
    assert not filtered[0].any()
    assert filtered[1].sum() == 5  # the corners of a square of 3 have four of nine


def test_operations_of_a_step_counted_by_hand():
    """One 3x3 convolution of 1 to 4 channels and one 1x1 of 4 to 1; backwards each twice, but for the image's part."""
    method = Unet(UnetSettings(net={"widths": (4,), "convolutions": 1}))
    readers = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    batch = Batch(torch.zeros(2, 1, 8, 8), readers, torch.ones(2, 1, dtype=torch.bool))
    first, last = (2 * 2 * 64 * 9 * 4, 2 * 2 * 64 * 4)
    assert gflop_a_step(method, batch) * 1e9 == pytest.approx(2 * first + 3 * last)


def test_counting_leaves_the_random_numbers_alone():
    method = Unet(UnetSettings(net={"widths": (4,), "convolutions": 1}))
    readers = torch.zeros(2, 3, 8, 8, dtype=torch.bool)
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    gflop_a_step(method, Batch(torch.zeros(2, 1, 8, 8), readers, torch.ones(2, 3, dtype=torch.bool)))
    assert torch.equal(torch.rand(1), expected)


def test_what_is_done_once_an_image_is_shared_by_its_masks(whole, data):
    model = load(str(whole / "runs" / "prob-seed0" / "last.safetensors"))
    one, four = (gflop_a_mask(model, data[0], count) for count in (1, 4))
    assert four < one


def test_noise_scales_are_scored_at_each(whole):
    points = record_of(whole, "cimd")["diversity"]["points"]
    assert [point["noise_scale"] for point in points] == [0.5, 1.5]
    assert np.isfinite([point["d_ss"] for point in points]).all()
