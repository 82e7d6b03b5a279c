"""What the tests of the command line share."""

import json
import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from said import Said, command
from tiny import recipe, write_cases, write_weights

import plurimask as pm
from plurimask.datasets.open import choose_cases


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    return write_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    return write_cases(tmp_path_factory.mktemp("data") / "cases")


@pytest.fixture(scope="session")
def sides(dataset):
    """Write a file of sides, by names of cases or of patients whom the dataset lacks; all others train."""

    def write(path, **names):
        one = pm.open_dataset(dataset)
        patients = dict(zip(one.names, one.patients, strict=True))
        named = {patients.get(name, name): side for side, those in names.items() for name in those}
        named |= dict.fromkeys(set(one.patients) - set(named), "train")
        path.write_text("".join(f"{one},{other}\n" for one, other in {"patient": "side", **named}.items()))
        return path

    return write


@pytest.fixture(scope="session")
def toml(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipes") / "tiny.toml"
    tables = recipe().model_dump(exclude_none=True, exclude_defaults=True)
    path.write_text(f"image_size = {tables.pop('image_size')}\n" + "".join(_toml("", tables)))
    return path


def _toml(prefix, tables):
    for name, table in tables.items():
        plain = {key: value for key, value in table.items() if not isinstance(value, dict)}
        yield f"[{prefix}{name}]\n"
        yield from (f"{key} = {json.dumps(value)}\n" for key, value in plain.items())
        yield from _toml(f"{prefix}{name}.", {key: value for key, value in table.items() if isinstance(value, dict)})


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def run(monkeypatch, capsys, tmp_path_factory):
    """Run a command in this process, as the installed script does."""
    monkeypatch.setenv("PLURIMASK_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    return partial(command, monkeypatch, capsys)


@pytest.fixture
def script(tmp_path_factory):
    """Run the installed script; the cache lies among the temporary files."""
    environment = os.environ | {"PLURIMASK_CACHE": str(tmp_path_factory.getbasetemp() / "cache")}

    def call(*arguments, **options):
        process = start(*arguments, **options)
        out, err = process.communicate(timeout=600)
        return Said(process.returncode, out, err)

    def start(*arguments, **options):
        pipe = subprocess.PIPE
        # A shell's background job, as tests may be run in, ignores Ctrl-C and hands that down.
        heeding = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        return subprocess.Popen(
            [Path(sys.executable).parent / "plurimask", *map(str, arguments)],
            stdout=pipe,
            stderr=pipe,
            text=True,
            env=environment,
            preexec_fn=heeding,
            **options,
        )

    call.start = start
    return call


@pytest.fixture(scope="session")
def drawn(tmp_path_factory, dataset, weights):
    """Two masks for each case of the test side, to be looked at alone."""
    out = tmp_path_factory.mktemp("drawn") / "panels"
    model = pm.load(weights, "cpu")
    for name, case in choose_cases(pm.open_dataset(dataset), "test", None).items():
        pm.write_mask_set(out / name, model.sample(case, count=2))
    return out


@pytest.fixture
def panels(tmp_path, drawn):
    """A copy of `drawn`, to be changed."""
    return Path(shutil.copytree(drawn, tmp_path / "panels"))
