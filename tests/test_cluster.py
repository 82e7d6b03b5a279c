"""Real workers of Ray, which fail and die; Ray is started once. What the commands do on a cluster is in their tests."""

import os
import re
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pytest
from said import command
from tiny import write_cases, write_weights

import plurimask as pm
from plurimask.cluster import TRIES, Cluster, FailedCasesError
from plurimask.errors import CheckpointError, MissingPackageError, SettingsError
from plurimask.files.mask_sets import MaskSets

psutil, ray = pytest.importorskip("psutil"), pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster():
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers have no tests
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


def started(*arguments):
    """A process of Python at work, that knows the token of this machine's clusters."""
    return psutil.Popen(
        [sys.executable, *map(str, arguments)],
        env=os.environ | {"RAY_AUTH_MODE": "token"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def kill(process, *names):
    """Kill what a process has started, all of it or what has these names."""
    for child in process.children(recursive=True):
        if not names or child.name() in names:
            child.kill()


def where(number):
    time.sleep(0.05)
    return number, ray.get_runtime_context().get_node_id()


def test_a_node_that_is_lost_in_the_middle_loses_nothing(cluster, monkeypatch):
    node = started("-m", "ray.scripts.scripts", "start", f"--address={cluster.head}", "--num-cpus=1", "--block")
    while len([one for one in ray.nodes() if one["Alive"]]) < 2:
        time.sleep(0.1)
    monkeypatch.setattr(cluster, "_workers", None)
    own, done = ray.get_runtime_context().get_node_id(), []
    for number, place in cluster.map(lambda: where, numbers(200)):
        done.append(number)
        if place != own and node.is_running():
            kill(node)
            node.kill()
            node.wait()
    assert not node.is_running()
    assert sorted(done) == list(range(200))


def test_a_head_that_is_killed_ends_the_command_in_one_line_with_nothing_half_written(tmp_path):
    weights, data = write_weights(tmp_path / "tiny.safetensors"), write_cases(tmp_path / "cases", count=500)
    soon = "import plurimask.cluster as cluster, plurimask.cli as cli; cluster._GONE_SECONDS = 1; cli.main()"
    out = tmp_path / "out"
    run = started("-c", soon, "sample", weights, data, "--count", 2, "--out", out, "--engine", "ray")
    while not list(out.glob("case-*")):
        assert run.poll() is None
        time.sleep(0.1)
    kill(run, "gcs_server", "raylet")
    error = run.communicate()[1]
    assert run.returncode == 2, error
    assert re.fullmatch(r"plurimask: .*: expected the head of the Ray cluster, as before, got '.*refused'; .*\n", error)
    assert 0 < len(MaskSets.under(out)) < 500
    assert all(len(found.masks) == 2 for found in MaskSets.under(out).values())


def test_sample_on_a_cluster_that_runs_draws_what_it_draws_without(cluster, tmp_path, monkeypatch, capsys):
    weights, data = write_weights(tmp_path / "tiny.safetensors"), write_cases(tmp_path / "cases", count=1)
    drawing = ("sample", weights, data, "--count", 2)
    assert command(monkeypatch, capsys, *drawing, "--out", tmp_path / "here").code == 0
    by_address = (*drawing, "--out", tmp_path / "there", "--engine", "ray", "--address", cluster.head)
    assert started("-c", "import plurimask.cli as cli; cli.main()", *by_address).wait() == 0
    names = sorted(path.name for path in (tmp_path / "here").iterdir())
    for name in names:
        here, there = (pm.read_mask_set(tmp_path / where / name) for where in ("here", "there"))
        assert np.array_equal(here.masks, there.masks)
        assert (here.seeds, here.settings) == (there.seeds, there.settings)
    assert names == sorted(path.name for path in (tmp_path / "there").iterdir())


def test_a_cluster_that_cannot_be_used_and_an_address_without_an_engine_are_one_line(tmp_path, monkeypatch, capsys):
    def init(*given, **named):
        raise RuntimeError("Version mismatch: the cluster was started with Ray 1")

    monkeypatch.setattr(ray, "init", init)
    files = ("--root", tmp_path, "--image", "{case}.png", "--reader", "{case}-{reader}.png", "--out", tmp_path / "out")
    run = partial(command, monkeypatch, capsys, "prepare", "folder", *files, "--address", "auto")
    assert run("--engine", "ray").refused("auto: expected a Ray cluster, got 'Version mismatch: ", "same versions")
    assert run().refused("--address: expected --engine ray")
    nowhere = command(monkeypatch, capsys, "prepare", "folder", *files, "--engine", "ray", "--address", "localhost:1")
    assert nowhere.refused("localhost:1: expected a Ray cluster, got '[Errno 111] Connection refused'")


def test_ray_is_imported_when_it_is_asked_for_alone(monkeypatch):
    code = "import sys, plurimask.cli.draw, plurimask.cluster; assert 'ray' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingPackageError, match=r'run pip install "plurimask\[ray\]"'):
        Cluster()
