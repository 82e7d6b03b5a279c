"""Equal terms: what every run shares, and what is refused before anything runs."""

import json

import pytest
from small_suite import CIMD, PROB, TREE, suite
from tiny import write_cases

from plurimask.benchmark.bench import open_bench, split_digest, steps_within
from plurimask.benchmark.suite import Budget, DiversitySettings
from plurimask.datasets.changed import CentreCrop, OneReader
from plurimask.datasets.open import open_dataset
from plurimask.datasets.splits import split_of
from plurimask.errors import CheckpointError, DatasetError, SettingsError


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def data(home):
    return open_dataset(write_cases(home / "cases"))


@pytest.fixture(autouse=True)
def cache(home, monkeypatch):
    monkeypatch.setenv("PLURIMASK_CACHE", str(home / "cache"))


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def test_every_run_sees_the_same_batches(data, out):
    bench = open_bench(suite(), data, out)
    recipes = [bench.recipe(run, 100, 1e-3, seed=5) for run in bench.suite.runs]
    shared = ("steps", "batch_size", "learning_rate", "warmup", "decay", "ema", "seed", "crop_steps", "start")
    assert len({tuple(getattr(recipe.training, key) for key in shared) for recipe in recipes}) == 1
    assert {recipe.image_size for recipe in recipes} == {16}


def test_what_belongs_to_a_method_stays(data, out):
    bench = open_bench(suite(runs=(CIMD | {"set": (*CIMD["set"], "training.clip=7.0")}, PROB)), data, out)
    recipe = bench.recipe(bench.suite.runs[0], 100, 1e-3, seed=0)
    assert recipe.training.clip == 7.0
    assert recipe.sampler.steps == 2


@pytest.mark.parametrize(("steps", "warmup", "ema"), [(1, 0, 0.0), (40, 2, 0.75), (5000, 100, 0.998)])
def test_warmup_and_averaging_follow_the_steps(data, out, steps, warmup, ema):
    bench = open_bench(suite(), data, out)
    training = bench.recipe(bench.suite.runs[0], steps, 1e-3, seed=0).training
    assert (training.warmup, training.ema) == (warmup, pytest.approx(ema))


def test_the_crop_is_what_a_run_sees(data, out):
    bench = open_bench(suite(image_size=12), data, out)
    assert bench.data_of(bench.suite.runs[0])[0].image.shape == (1, 12, 12)
    assert next(iter(bench.cases.values())).image.shape == (1, 12, 12)


def test_one_reader_is_kept_where_the_run_says_so(data, out):
    bench = open_bench(suite(runs=(CIMD, PROB | {"readers": "one"})), data, out)
    counts = [
        {len(case.raters) for case in map(bench.data_of(run).__getitem__, range(len(data)))} for run in bench.suite.runs
    ]
    assert counts == [{2}, {1, 2}]


def test_scored_cases_are_of_the_test_side(data, out):
    bench = open_bench(suite(), data, out)
    assert {split_of(case.patient) for case in bench.cases.values()} == {"test"}


def test_the_split_digest_depends_on_patients_alone(data):
    whole, cut, kept = split_digest(data), split_digest(CentreCrop(data, 8)), split_digest(OneReader(data))
    assert whole == cut == kept
    assert split_digest(_Fewer(data)) != whole


class _Fewer:
    """A dataset without its last patient."""

    def __init__(self, data):
        self.patients, self.sides = data.patients[:-1], data.sides


@pytest.mark.parametrize(
    ("budget", "seconds", "gflop", "steps"),
    [({"images": 25}, None, None, 2), ({"minutes": 0.5}, 1.4, None, 21), ({"gflop": 99}, None, 10.0, 9)],
)
def test_steps_that_a_budget_pays_for(budget, seconds, gflop, steps):
    assert steps_within(Budget(**budget), 10, seconds, gflop) == steps


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({"images": 9}, "budget: expected one step's worth or more, got images 9"),
        ({"minutes": 0.01}, "got minutes 0.01"),
        ({"gflop": 4.0}, "got gflop 4"),
    ],
)
def test_a_budget_of_no_step_is_refused(budget, message):
    with pytest.raises(SettingsError, match=message):
        steps_within(Budget(**budget), 10, 1.0, 5.0)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"runs": (CIMD, PROB | {"recipe": "phi-seg"})},
            "recipe: expected a shipped recipe or a .toml file, got phi-seg",
        ),
        ({"runs": (CIMD, PROB | {"set": ("method.name=prob-unett",)})}, "did you mean prob-unet?"),
        ({"runs": (CIMD, PROB | {"set": ("method.net.widths=[4, 4, 4, 4, 4, 4]",)})}, "image_size a multiple of 32"),
        ({"budget": {"images": 1}}, "budget: expected one step's worth or more, got images 1"),
        ({"budget": {"gflop": 1e-9}}, "budget: expected one step's worth or more, got gflop 1e-09"),
        ({"probe": TREE["probe"] | {"budget": {"images": 1}}}, "budget: expected one step's worth or more"),
        ({"batch_size": 400, "budget": {"images": 800}}, "batch_size: expected at most the .* training cases, got 400"),
        ({"diversity": {"run": "prob"}}, "diversity: expected a diffusion method, .*, got prob, 10 steps"),
        ({"diversity": {"run": "cimd", "steps": 21}}, "got cimd, 21 steps"),
    ],
)
def test_a_suite_that_cannot_run_is_refused_and_leaves_nothing(data, out, changed, message):
    with pytest.raises(SettingsError, match=message) as error:
        open_bench(suite(**changed), data, out)
    assert "\n" not in str(error.value)
    assert not out.exists()


def test_images_smaller_than_the_suites_are_refused(data, out):
    with pytest.raises(DatasetError, match="expected a plane image of at least 32x32 pixels, got 16x16"):
        open_bench(suite(image_size=32), data, out)


def test_listed_cases_that_are_not_on_the_test_side_are_refused(data, out, tmp_path):
    (tmp_path / "list.txt").write_text("\n".join(data.names))
    with pytest.raises(DatasetError, match="expected all 40 listed cases on the test side"):
        open_bench(suite(scoring={"cases": str(tmp_path / "list.txt")}), data, out)


def test_results_of_other_data_are_refused(data, out, tmp_path):
    open_bench(suite(), data, out)
    other = open_dataset(write_cases(tmp_path / "other", readers=3))
    with pytest.raises(SettingsError, match=r"out: expected data .*, as its results have it, got .*another --out"):
        open_bench(suite(), other, out)


def test_results_of_another_split_are_refused(data, out):
    open_bench(suite(), data, out)
    terms = out / "terms.json"
    terms.write_text(json.dumps(json.loads(terms.read_text()) | {"split": "0" * 64}))
    with pytest.raises(SettingsError, match=r"expected split .*, as its results have it"):
        open_bench(suite(), data, out)


@pytest.mark.parametrize("content", ["{", "[1]"])
def test_damaged_terms_are_refused_by_name(data, out, content):
    out.mkdir()
    (out / "terms.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"terms\.json: expected a benchmark's record, got .*; remove it"):
        open_bench(suite(), data, out)


def test_results_under_another_budget_are_refused(data, out):
    open_bench(suite(), data, out)
    with pytest.raises(SettingsError, match=r"expected budget\.images 8, as its results have it, got 16"):
        open_bench(suite(budget={"images": 16}), data, out)


def test_runs_and_seeds_may_be_added(data, out):
    open_bench(suite(), data, out)
    more = suite(runs=(CIMD, PROB, PROB | {"name": "third"}), seeds=(0, 1), diversity=DiversitySettings(run="cimd"))
    assert open_bench(more, data, out).terms == open_bench(suite(), data, out).terms
