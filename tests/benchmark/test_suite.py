"""Suites: what ships loads whole, and whatever is wrong is refused in one line that names the key."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_suite import CIMD, PROB, suite

from plurimask.benchmark.reported import KEYS, reported_figures
from plurimask.benchmark.suite import load_suite, parse_shard, suite_names
from plurimask.errors import SettingsError
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


def test_the_suites_that_ship():
    assert suite_names() == ["ablation", "covariance", "one-reader", "phantom", "smoke", "table1"]


@pytest.mark.parametrize("name", ["ablation", "covariance", "one-reader", "phantom", "smoke", "table1"])
def test_a_shipped_suite_and_its_recipes_load(name):
    shipped = load_suite(name)
    assert shipped.name == name
    for run in shipped.runs:
        load_recipe(run.recipe, run.set)


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
        ("{ images = 10 }", "{}", "expected one of minutes, images and gflop, got none"),
        ("{ images = 10 }", "{ images = 1, minutes = 1 }", "expected one of .*, got minutes, images"),
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
    assert [cimd[key] for key in KEYS] == [0.321, 0.759, 0.915]
    assert set(reported_figures("bone-us")) == set(reported_figures("ms-mri"))


def test_nothing_is_reported_on_other_data():
    assert reported_figures(None) == reported_figures("phantom") == {}
