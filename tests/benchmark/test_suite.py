"""Suites: what ships loads whole, what every run shares, and whatever is wrong is refused before anything runs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_suite import CIMD, PROB, suite

from plurimask.benchmark.suite import (
    REPORTED,
    load_suite,
    open_bench,
    parse_shard,
    reported_figures,
    split_digest,
    suite_names,
)
from plurimask.datasets.changed import centre_crop, one_reader
from plurimask.datasets.splits import split_of
from plurimask.errors import DatasetError, SettingsError
from plurimask.training.recipe import load_recipe


@pytest.fixture
def toml(tmp_path):
    def write(text):
        path = tmp_path / "own.toml"
        path.write_text(text)
        return str(path)

    return write


WHOLE = """
name = "own"
purpose = "To test."
image_size = 16
batch_size = 2
reference = "a"
budget = { images = 10 }
probe = { learning_rates = [1e-3] }
[[runs]]
name = "a"
recipe = "unet"
"""


SHIPPED = [
    *("ablation", "brain-growth", "bu-bil", "cfos", "covariance", "ddpm-det", "few-cases", "l-amb"),
    *("leakage-cimd", "leakage-prob-unet", "one-reader", "phantom", "smoke", "table1"),
]


def test_the_suites_that_ship():
    assert suite_names() == SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_suite_and_its_recipes_load(name):
    shipped = load_suite(name)
    assert shipped.name == name
    for run in shipped.runs:
        load_recipe(run.recipe, (*shipped.set, *run.set))


def test_the_ablation_is_seven_runs_a_seed_at_one_rate():
    shipped = load_suite("ablation")
    told = {(run.recipe, run.set) for run in shipped.runs}
    assert len(told) == len(shipped.runs) == 7
    assert len(shipped.seeds) == 2
    assert len(shipped.probe.learning_rates) == 1


def test_table1_has_every_method_that_the_paper_reports():
    assert {run.reported for run in load_suite("table1").runs} >= set(reported_figures("lidc"))


def test_one_reader_has_each_method_both_ways():
    ways = {}
    for run in load_suite("one-reader").runs:
        ways.setdefault((run.recipe, run.set), set()).add(run.readers)
    assert all(both == {"all", "one"} for both in ways.values())


def test_a_file_is_read(toml):
    assert load_suite(toml(WHOLE)).runs[0].title == "a"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("tabel1", "suite: expected a shipped suite or a .toml file, got tabel1; shipped: ablation, "),
        ("nowhere.toml", "nowhere.toml: expected a suite file, got no such file"),
    ],
)
def test_an_unknown_suite_is_refused(source, message):
    with pytest.raises(SettingsError, match=message):
        load_suite(source)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"own"', '"own', "own.toml: expected TOML, got"),
        (
            "image_size = 16",
            "imagesize = 16",
            r"imagesize: expected one of name, .*, got imagesize; did you mean image_size\?",
        ),
        ("image_size = 16", "", r"image_size: expected a value, got none"),
        ("{ images = 10 }", "{ images = 0 }", r"budget\.images: expected a number of at least 1, got 0"),
        ("{ images = 10 }", "{}", r"budget\.images: expected a value, got none"),
        ("{ images = 10 }", "{ images = 1 }", r"expected budget\.images of 2 or more, which make a step, got 1"),
        ("[1e-3] }", "[1e-3], budget = { images = 1 } }", r"expected probe\.budget\.images of 2 or more"),
        ("{ images = 10 }", "{ minutes = 4 }", r"budget\.minutes: .* one that was removed; give images, which"),
        ("{ images = 10 }", "{ gflop = 4 }", r"budget\.gflop: .* one that was removed; give images, which"),
        ("[1e-3]", "[1e-3, 1e-4]", "expected a budget to try two learning_rates with, got none"),
        ("[1e-3]", "[1e-3, 1e-4, 1e-5]", r"probe\.learning_rates: expected at most 2 values, got \[0\.001"),
        ('reference = "a"', 'reference = "b"', r"expected reference among the runs \(a\), got b"),
        ('name = "a"', 'name = "a"\nreported = "CIMD"', "expected reported figures of no method, got CIMD"),
        ('name = "a"', 'name = "../a"', r"runs\.0\.name: expected text like \^.*, got '\.\./a'"),
    ],
)
def test_a_wrong_key_is_refused(toml, old, new, message):
    with pytest.raises(SettingsError, match=message) as error:
        load_suite(toml(WHOLE.replace(old, new)))
    assert "\n" not in str(error.value)


def test_a_second_n_above_the_first_is_refused():
    with pytest.raises(ValueError, match="first up to samples, 4, not 5"):
        suite(scoring={"samples": 4, "first": 5})


def test_two_runs_of_one_name_are_refused():
    with pytest.raises(ValueError, match="not one of them twice"):
        suite(runs=(PROB, CIMD | {"name": "prob"}))


def test_folds_that_leave_cases_out_are_refused():
    with pytest.raises(ValueError, match="no choice of cases beside folds"):
        suite(folds=2, scoring={"cases": "lidc-eval-200"})


def test_diversity_of_a_stranger_is_refused():
    with pytest.raises(ValueError, match=r"diversity.run among the runs \(cimd, prob\), not ddpm"):
        suite(diversity={"run": "ddpm"})


def test_the_title_is_the_label_or_the_name():
    assert [run.title for run in suite().runs] == ["CIMD", "prob"]


@given(runs=st.integers(1, 12), shards=st.integers(1, 6))
def test_shards_share_no_run_and_leave_none_out(runs, shards):
    many = suite(runs=tuple(PROB | {"name": f"run{k}"} for k in range(runs)), reference="run0")
    parts = [many.part((index + 1, shards)) for index in range(shards)]
    assert sorted(run.name for part in parts for run in part) == sorted(run.name for run in many.runs)


def test_a_shard_as_written():
    assert parse_shard("2/3") == (2, 3)


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "1/", "/2", "a/b", "1/2/3", "-1/2"])
def test_a_wrong_shard_is_refused(text):
    with pytest.raises(SettingsError, match="--shard: expected I/N with I from 1 to N"):
        parse_shard(text)


def test_reported_figures_are_the_papers():
    cimd = reported_figures("lidc")["CIMD"]
    assert [cimd[key] for key in REPORTED] == [0.321, 0.759, 0.915]
    assert set(reported_figures("bone-us")) == set(reported_figures("ms-mri"))


def test_nothing_is_reported_on_other_data():
    assert reported_figures(None) == reported_figures("phantom") == {}


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def test_every_run_sees_the_same_batches(data, out):
    bench = open_bench(suite(), data, out)
    recipes = [bench.recipe(run, 200, 1e-3, seed=5) for run in bench.suite.runs]
    shared = ("steps", "batch_size", "learning_rate", "warmup", "decay", "ema", "seed", "crop_steps", "start")
    assert len({tuple(getattr(recipe.training, key) for key in shared) for recipe in recipes}) == 1
    assert {recipe.image_size for recipe in recipes} == {16}


def test_larger_cases_are_learned_by_fields_where_a_suite_says_so(data, out):
    bench = open_bench(suite(field=8, set=("images=any-place", "training.zoom=0.1"), runs=(PROB,)), data, out)
    recipe = bench.recipe(bench.suite.runs[0], 8, 1e-3, 0)
    assert (recipe.image_size, recipe.images, recipe.training.zoom) == (8, "any-place", 0.1)
    assert bench.data[0].image.shape == (1, 16, 16)


def test_what_belongs_to_a_method_stays(data, out):
    bench = open_bench(suite(runs=(CIMD | {"set": (*CIMD["set"], "training.clip=7.0")}, PROB)), data, out)
    recipe = bench.recipe(bench.suite.runs[0], 200, 1e-3, seed=0)
    assert recipe.training.clip == 7.0
    assert recipe.sampler.steps == 2


@pytest.mark.parametrize(("steps", "warmup", "ema"), [(1, 0, 0.0), (40, 2, 0.75), (5000, 100, 0.998)])
def test_warmup_and_averaging_follow_the_steps(data, out, steps, warmup, ema):
    bench = open_bench(suite(), data, out)
    training = bench.recipe(bench.suite.runs[0], 2 * steps, 1e-3, seed=0).training
    assert (training.warmup, training.ema) == (warmup, pytest.approx(ema))


def test_the_crop_is_what_a_run_sees(data, out):
    bench = open_bench(suite(image_size=12), data, out)
    assert bench.data_of(bench.suite.runs[0])[0].image.shape == (1, 12, 12)
    assert next(iter(bench.cases.values())).image.shape == (1, 12, 12)


def test_one_reader_is_kept_where_the_run_says_so(data, out):
    bench = open_bench(suite(runs=(CIMD, PROB | {"readers": "one"})), data, out)
    counts = [
        {len(case.readers) for case in map(bench.data_of(run).__getitem__, range(len(data)))}
        for run in bench.suite.runs
    ]
    assert counts == [{2}, {1, 2}]


def test_scored_cases_are_of_the_test_side(data, out):
    bench = open_bench(suite(), data, out)
    assert {split_of(case.patient) for case in bench.cases.values()} == {"test"}


def test_the_split_digest_depends_on_patients_alone(data):
    whole, cut, kept = split_digest(data), split_digest(centre_crop(data, 8)), split_digest(one_reader(data))
    assert whole == cut == kept
    assert split_digest(_Fewer(data)) != whole


class _Fewer:
    """A dataset without its last patient."""

    def __init__(self, data):
        self.patients, self.sides = data.patients[:-1], data.sides


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"runs": (CIMD, PROB | {"recipe": "phi-seg"})},
            "recipe: expected a shipped recipe or a .toml file, got phi-seg",
        ),
        ({"runs": (CIMD, PROB | {"set": ("method.name=prob-unett",)})}, "did you mean prob-unet?"),
        ({"runs": (CIMD, PROB | {"set": ("method.net.widths=[4, 4, 4, 4, 4, 4]",)})}, "image_size a multiple of 32"),
        (
            {"batch_size": 400, "budget": {"images": 800}, "probe": {"learning_rates": (1e-3,)}},
            "batch_size: expected at most the .* training cases, got 400",
        ),
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
