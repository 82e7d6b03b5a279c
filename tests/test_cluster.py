"""Real workers of Ray, which fail and die; Ray is started once. What the commands do on a cluster is in their tests."""

import os
import subprocess
import sys
import time
from contextlib import nullcontext
from functools import partial

import numpy as np
import pytest
from said import command
from tiny import write_cases, write_weights

import plurimask as pm
from plurimask.cluster import TRIES, Cluster, FailedCasesError
from plurimask.errors import CheckpointError, MissingPackageError, SettingsError


@pytest.fixture(scope="module")
def cluster():
    pytest.importorskip("ray").cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers have no tests
    with Cluster(workers=2) as started:
        yield started


def numbers(count):
    return {str(number): number for number in range(count)}


def noting(folder):
    """Work that leaves a file for each time it is done, fails on 3, kills its worker on 5, and once on 7."""

    def work(number):
        tries = len(list(folder.glob(f"{number}-*")))
        (folder / f"{number}-{time.monotonic_ns()}").touch()
        if number == 3:
            raise ValueError("three")
        if number == 5 or (number == 7 and not tries):
            os._exit(1)
        return number

    return work


def test_what_fails_and_whose_worker_dies_is_tried_three_times_and_all_else_is_done_once(cluster, tmp_path):
    done = []
    with pytest.raises(FailedCasesError, match=r"expected 12 cases without a failure, got 2 that failed") as failed:
        done.extend(cluster.map(partial(noting, tmp_path), numbers(12)))
    assert sorted(done) == [0, 1, 2, 4, 6, 7, 8, 9, 10, 11]
    assert failed.value.reasons["5"] == "its worker died"
    assert "ValueError: three" in failed.value.reasons["3"]
    tried = {number: len(list(tmp_path.glob(f"{number}-*"))) for number in range(12)}
    assert tried == dict.fromkeys(range(12), 1) | {3: TRIES, 5: TRIES, 7: 2}


def refusing(error):
    raise error


def test_what_holds_for_all_cases_ends_the_work_with_its_own_line(cluster):
    parts = {"expected": "one", "got": "two", "hint": "try three"}
    with pytest.raises(SettingsError, match=r"^count: expected one, got two; try three$"):
        list(cluster.map(lambda: lambda number: refusing(SettingsError("count", **parts)), numbers(9)))
    with pytest.raises(CheckpointError, match=r"^model: expected one"):
        list(cluster.map(partial(refusing, CheckpointError("model", **parts)), numbers(9)))


def test_sample_on_a_cluster_draws_what_it_draws_without_and_leaves_what_is_complete(
    cluster, tmp_path, monkeypatch, capsys
):
    weights, data = write_weights(tmp_path / "tiny.safetensors"), write_cases(tmp_path / "cases", count=3)
    run = partial(command, monkeypatch, capsys)
    monkeypatch.setattr("plurimask.cluster.Cluster", lambda address: nullcontext(cluster))
    monkeypatch.setattr(cluster, "_workers", 1)
    drawing = ("sample", weights, data, "--count", 2)
    assert run(*drawing, "--out", tmp_path / "here").code == 0
    assert run(*drawing, "--out", tmp_path / "there", "--engine", "ray").code == 0
    names = sorted(path.name for path in (tmp_path / "here").iterdir())
    for name in names:
        here, there = (pm.read_mask_set(tmp_path / where / name) for where in ("here", "there"))
        assert np.array_equal(here.masks, there.masks)
        assert (here.seeds, here.settings) == (there.seeds, there.settings)
    assert names == sorted(path.name for path in (tmp_path / "there").iterdir())


def test_a_cluster_that_cannot_be_used_and_an_address_without_an_engine_are_one_line(tmp_path, monkeypatch, capsys):
    def init(*given, **named):
        raise RuntimeError("Version mismatch: the cluster was started with Ray 1")

    monkeypatch.setattr(pytest.importorskip("ray"), "init", init)
    files = ("--root", tmp_path, "--image", "{case}.png", "--reader", "{case}-{reader}.png", "--out", tmp_path / "out")
    run = partial(command, monkeypatch, capsys, "prepare", "folder", *files, "--address", "ray://a:1")
    assert run("--engine", "ray").refused("ray://a:1: expected a Ray cluster, got 'Version mismatch: ", "same versions")
    assert run().refused("--address: expected --engine ray")


def test_ray_is_imported_when_it_is_asked_for_alone(monkeypatch):
    code = "import sys, plurimask.cli.draw, plurimask.cluster; assert 'ray' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingPackageError, match=r'run pip install "plurimask\[ray\]"'):
        Cluster()
