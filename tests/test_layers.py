"""The house holds: a module imports only what stands upstream, and the lazy names of the package are all real."""

import ast
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

import plurimask as pm

ROOT = Path(__file__).parents[1]
SOURCE = Path(pm.__file__).parent


def test_modules_import_only_what_stands_upstream():
    command = [Path(sys.executable).parent / "lint-imports", "--no-cache"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Contracts: 1 kept, 0 broken." in result.stdout


def test_every_module_has_its_layer():
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    listed = {name for layer in contract["layers"] for name in layer.split(" : ")}
    modules = {path.stem for path in SOURCE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert modules - {"__init__"} == listed


def test_imports_stand_at_the_top():
    """Save where TYPE_CHECKING guards them, so that no import hides in a function."""
    hidden = [
        f"{path.relative_to(SOURCE)}:{statement.lineno}"
        for path in SOURCE.rglob("*.py")
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef)
        for statement in ast.walk(function)
        if isinstance(statement, ast.Import | ast.ImportFrom)
    ]
    assert not hidden


@pytest.mark.parametrize("name", pm.__all__)
def test_public_name_resolves(name):
    assert getattr(pm, name) is getattr(import_module(f"plurimask.{pm._HOME[name]}"), name)


def test_table_of_homes_and_all_agree():
    assert sorted(pm._HOME) == pm.__all__


def test_table_of_homes_and_imports_for_type_checkers_agree():
    tree = ast.parse((SOURCE / "__init__.py").read_text())
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    imported = {
        alias.name: node.module.removeprefix("plurimask.")
        for node in guarded.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == pm._HOME


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'plurimask' has no attribute 'sampel'"):
        pm.sampel  # noqa: B018


def test_dir_lists_the_public_names():
    assert dir(pm) == pm.__all__
