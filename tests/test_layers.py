"""The house holds: a module imports only what stands upstream, and the lazy names of the package are all real."""

import ast
import subprocess
import sys
import tomllib
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
    """Save in cli/, where a command imports what it needs."""
    hidden = [
        f"{path.relative_to(SOURCE)}:{statement.lineno}"
        for path in SOURCE.rglob("*.py")
        if not path.is_relative_to(SOURCE / "cli")
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef)
        for statement in ast.walk(function)
        if isinstance(statement, ast.Import | ast.ImportFrom)
    ]
    assert not hidden


@pytest.mark.parametrize("name", pm.__all__)
def test_public_name_resolves_and_names_itself(name):
    assert getattr(pm, name).__name__ == name


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="sampel"):
        pm.sampel  # noqa: B018


def test_dir_lists_the_public_names():
    assert dir(pm) == pm.__all__
