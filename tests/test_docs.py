"""What pages show is there: commands parse, imported names exist, links lead to files."""

import ast
import importlib.util
import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer.main
from small_benchmark import small_results

import plurimask
from plurimask.benchmark.tables import write_tables
from plurimask.cli import app
from plurimask.evaluation import COLUMNS, HEADLINE
from plurimask.show.tables import number

ROOT = Path(__file__).parents[1]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
    *sorted((ROOT / "src").glob("plurimask/weights/*.md")),
]
COMMANDS = [
    (page.name, line.partition("#")[0].strip())
    for page in PAGES
    for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    for line in block.splitlines()
    if line.startswith("plurimask ")
]
_SERVICE = (ROOT / "deploy/plurimask-watch.service").read_text(encoding="utf-8")
COMMANDS.append(("deploy", re.search(r"ExecStart=\S+/(plurimask .*)", _SERVICE)[1]))
PYTHON = [
    (page.name, block)
    for page in PAGES
    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
]
LINKS = [
    (page, link)
    for page in PAGES
    for link in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    if "://" not in link
]


def parse(command, words):
    """Take the words as the command line would, without running anything; a wrong one raises UsageError."""
    if not hasattr(command, "resolve_command"):
        command.make_context("plurimask", list(words))
        return
    name, *rest = words
    assert name in command.commands, f"no command {name}"
    parse(command.commands[name], rest)


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_command_of_a_page_parses(page, command):
    parse(typer.main.get_command(app), shlex.split(command)[1:])


@pytest.mark.parametrize(("page", "block"), PYTHON)
def test_names_of_a_page_can_be_imported(page, block):
    tree = ast.parse(block)
    every = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    imports = [node for node in every if "plurimask" in ast.unparse(node)]
    exec(compile(ast.Module(imports, []), page, "exec"), {})
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "pm"}
    assert [name for name in sorted(used) if not hasattr(plurimask, name)] == []


@pytest.mark.parametrize(("page", "link"), LINKS, ids=lambda value: str(getattr(value, "name", value)))
def test_link_of_a_page_leads_to_a_file(page, link):
    assert (page.parent / link).exists()


def test_contributors_are_sent_to_files_that_are_there():
    named = re.findall(r"`([\w/]+\.py)`", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    made = {"methods/generous.py", "metrics/mean_dice.py", "datasets/npz_folder.py"}  # by whoever follows the page
    lost = [name for name in named if not ((ROOT / name).exists() or (ROOT / "src/plurimask" / name).exists())]
    assert set(lost) == made


def test_contributors_are_told_every_layer():
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    layers = {name for layer in contract["layers"] for name in layer.split(" : ")}
    table = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("| layer |")[2].partition("\n\n")[0]
    assert layers - set(re.findall(r"`(\w+)`", table)) == set()


def test_pages_show_commands():
    assert len(COMMANDS) > 8


def test_a_wrong_option_would_be_noticed():
    with pytest.raises(Exception, match="No such option"):
        parse(typer.main.get_command(app), ["demo", "--nonsense"])


def tool(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / f"tools/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pages():
    return tool("pages")


@pytest.mark.parametrize("page", sorted((ROOT / "docs/benchmarks").glob("*.md")), ids=lambda page: page.stem)
def test_the_tables_of_a_benchmark_page_are_those_of_the_kept_results(pages, page):
    text = page.read_text(encoding="utf-8")
    assert pages.filled(text, pages.suite_tables(page.stem)) == text


def test_parts_of_a_suite_on_the_same_terms_are_one_table(pages, tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "SUITES", tmp_path)
    whole = json.loads((ROOT / "docs/benchmarks/own-data/few-cases.json").read_text(encoding="utf-8"))
    parts = [{**whole, "runs": [run]} for run in whole["runs"]]
    (tmp_path / "own").mkdir()

    def table():
        names = "few-cases", "few-cases-ten", "few-cases-twenty", "few-casesof"  # the last is another suite
        for name, part in zip(names, [*parts, whole], strict=True):
            (tmp_path / "own" / f"{name}.json").write_text(json.dumps(part), encoding="utf-8")
        return pages.suite_tables("own")["few-cases"]().to_markdown()

    assert table() == pages.suite_table([whole]).to_markdown()
    parts[2]["terms"] = {**whole["terms"], "image_size": 64}
    with pytest.raises(ValueError, match="parts of few-cases on different terms"):
        table()


def test_a_part_is_compared_case_by_case_with_the_reference_of_another(pages, tmp_path):
    def lines(table):
        return table.to_markdown().splitlines()

    results = small_results(tmp_path)
    write_tables(results)
    whole = json.loads((results.bench.root / "results.json").read_text(encoding="utf-8"))
    near, *others = whole["runs"]
    assert others[0]["less_reference"]["interval"]["ged_u"][0] > 0
    parts = [{**whole, "runs": [{**other, "less_reference": None} for other in others]}, {**whole, "runs": [near]}]
    assert sorted(lines(pages.suite_table(parts))) == sorted(lines(pages.suite_table([whole])))
    near["seeds"][0]["seed"] += 1
    assert pages.suite_table(parts).rows[0].cells[-3] == ""
    near["seeds"][0]["seed"] -= 1
    assert pages.suite_table(parts).rows[0].cells[-3] != ""
    del near["cases"]
    assert pages.suite_table(parts).rows[0].cells[-3] == ""


def test_a_run_of_a_later_part_takes_the_place_of_its_namesake(pages, tmp_path):
    """What was compared with the reference before is compared with the new one, where its cases are kept."""
    results = small_results(tmp_path)
    write_tables(results)
    whole = json.loads((results.bench.root / "results.json").read_text(encoding="utf-8"))
    near, far, *_ = whole["runs"]
    again = {**near, "label": "near again", "cases": far["cases"]}
    table = pages.suite_table([whole, {**whole, "runs": [again]}])
    rows = [row.head.text for row in table.rows]
    assert "near again" in rows
    assert near["label"] not in rows
    of_far = table.rows[rows.index(far["label"])].cells
    assert of_far[-3].value == 0
    del far["cases"]
    assert pages.suite_table([whole, {**whole, "runs": [again]}]).rows[rows.index(far["label"])].cells[-3] == ""


def test_curves_of_all_parts_are_one_picture(pages):
    def run(name, ged_u):
        return {"name": name, "label": name.upper(), "validation": {"0": [{"step": 10, "ged_u": ged_u}]}}

    suite = {"batch_size": 100, "probe": {"cases": 7}}
    parts = [{"suite": suite, "runs": [run("a", 0.5), run("b", 0.4)]}, {"suite": suite, "runs": [run("a", 0.3)]}]
    axes, _ = pages.all_courses(parts).axes
    drawn = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert drawn == {"A": [[1.0, 0.3]], "B": [[1.0, 0.4]]}
    assert "7 validation cases" in axes.get_ylabel()


@pytest.mark.parametrize("dataset", ["lidc", "phantom"])
def test_a_benchmark_page_has_a_table_of_every_kept_suite(dataset):
    folder = ROOT / "docs/benchmarks" / dataset
    page, kept = folder.with_suffix(".md").read_text(encoding="utf-8"), {path.stem for path in folder.glob("*.json")}
    assert kept
    assert {name for name in kept if f"<!-- table: {name} -->\n| N = " in page} == kept


@pytest.fixture(scope="module")
def metrics_page():
    return (ROOT / "docs/metrics.md").read_text(encoding="utf-8")


def test_the_tables_of_the_metrics_page_are_those_of_the_kept_scores(pages, metrics_page):
    assert pages.filled(metrics_page, pages.METRICS) == metrics_page


def test_every_table_of_the_metrics_page_has_its_place(pages, metrics_page):
    assert [name for name in pages.METRICS if f"<!-- table: {name} -->\n|" not in metrics_page] == []


def test_every_value_has_a_line_on_the_metrics_page(metrics_page):
    table = metrics_page.partition("## The numbers")[2].partition("## What needs")[0]
    assert [column.label for column in COLUMNS.values() if column.label not in table] == []


def test_the_printed_table_of_the_metrics_page_is_that_of_the_kept_scores():
    printed = (ROOT / "docs/metrics.md").read_text(encoding="utf-8").partition("```text\n")[2].partition("```")[0]
    rows = json.loads((ROOT / "docs/scores/lidc-eval-200-n16.json").read_text(encoding="utf-8"))["table"]
    kept = [
        [
            *row["label"].split(),
            *("-" if row["mean"].get(key) is None else number(row["mean"][key]) for key in HEADLINE),
        ]
        for row in rows
    ]
    assert [line.split() for line in printed.splitlines()[3:]] == kept


def test_the_page_of_settings_is_that_of_the_types(pages):
    page = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
    assert [name for name in pages.SETTINGS if f"<!-- table: {name} -->\n| setting" not in page] == []
    assert pages.filled(page, pages.SETTINGS) == page, "run python tools/pages.py settings"
