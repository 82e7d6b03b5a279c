"""Commands that write are killed at random moments: nothing that was there is lost, nothing is half-written.

After each kill every file that can be seen is whole, and files that belong together are of one run. After every fourth
the command goes on to its end, gives what an undisturbed one gives, and leaves nothing of the killed one behind.
"""

import contextlib
import hashlib
import json
import shutil
import signal
import time
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tiny
from dicom_series import noise, write_series
from PIL import Image
from served import case, client, get, write_case
from work import begin, command, content, ended, hidden, kill, visible

from plurimask.datasets.open import open_dataset
from plurimask.errors import SettingsError
from plurimask.files.mask_sets import read_mask_set, write_mask_set
from plurimask.geometry import Grid
from plurimask.records import MaskSet

KILLS, SEED = 20, 20261129
STEPS = ("--set", "training.steps=24", "--set", "training.checkpoint_every=2", "--set", "training.validate_every=6")
SUITE = """name = "own"
purpose = "To be killed."
image_size = 16
batch_size = 2
reference = "unet"
budget = { images = 24 }
probe = { learning_rates = [1e-3] }
scoring = { limit = 3, samples = 2, first = 2 }
[[runs]]
name = "unet"
label = "U-Net"
recipe = "unet"
set = ["method.net.widths=[4]", "method.net.convolutions=1", "training.checkpoint_every=2"]
"""
PANEL = {
    "name": "flow",
    "encoder": {"widths": [16, 24, 32], "blocks": 1},
    "denoiser": {"patch": 4, "widths": [32, 32], "blocks": 1},
    "windows": [16],
}


@dataclass(frozen=True)
class Work:
    """A command that writes to a folder.

    Args:
        run: what it does, by the folder.
        before: what made the folder's content, by the folder; None where it has to be new.
        grows: a run that writes on and on, whose files belong together by no more than what each holds.
        result: endings of the files that are the same after every run to the end; () for all.
        continued: `run` where something lies there already.
    """

    run: Callable[[Path], Callable[[], object]]
    before: Callable[[Path], Callable[[], object]] | None = None
    grows: bool = False
    result: tuple[str, ...] = ()
    continued: Callable[[Path], Callable[[], object]] | None = None


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("kills")


@pytest.fixture(scope="module")
def works(home):
    weights, data = tiny.write_weights(home / "tiny.safetensors"), tiny.write_cases(home / "data", count=20)
    series = [
        write_series(home / f"dicom/{name}", noise((16, 16, 1), seed))[0].parent for seed, name in enumerate("ab")
    ]
    planes = [_nifti(home / f"{name}.nii", seed) for seed, name in enumerate("abcd")]
    pictures = [_picture(home / f"{name}.png", seed) for seed, name in enumerate("abcd")]
    masks = _masks(home / "masks", data)
    recipe, suite = home / "own.toml", home / "suite.toml"
    recipe.write_text(_recipe())
    suite.write_text(SUITE)
    score = ("evaluate", masks, "--data", data, "--split", "all", "--limit", 8)
    train = ("train", recipe, "--data", data, *STEPS)
    found = {
        f"sample {format}": _twice("sample", weights, *studies, "--format", format, "--count", 2, "--steps", 2)
        for format, studies in {"dicom-seg": series, "nifti": planes, "png": pictures, "npz": pictures}.items()
    }
    watch = ("watch", home / "dicom", "--model", weights, "--count", 2, "--settle", 0, "--once")
    found |= {
        "watch": Work(lambda out: command(*watch, "--out", out), grows=True, result=(".dcm", ".csv", ".json")),
        "sample a dataset": _twice("sample", weights, data, "--count", 2, "--steps", 2, "--limit", 8),
        "evaluate": Work(
            lambda out: command(*score, "--out", out),
            lambda out: command(*score, "--count", 2, "--out", out),
        ),
        "prepare folder": Work(
            lambda out: command(
                *("prepare", "folder", "--root", data, "--image", "{case}/image.png"),
                *("--reader", "{case}/label{reader}.png", "--out", out),
            )
        ),
        "train": Work(
            lambda out: command(*train, "--out", out),
            grows=True,
            result=("last.safetensors", "metrics.jsonl", "split.json", "recipe.json"),
            continued=lambda out: command(*train, "--resume", "--out", out),
        ),
        "benchmark": Work(
            lambda out: command("benchmark", suite, "--data", data, "--out", out),
            grows=True,
            result=("masks.npz", "last.safetensors"),
            continued=lambda out: command("benchmark", suite, "--data", data, "--out", out),
        ),
    }
    if find_spec("pylidc"):
        found["prepare phantom"] = Work(lambda out: command("prepare", "phantom", "--count", 12, "--out", out))
    if find_spec("onnxscript"):
        panel = tiny.write_weights(home / "panel.safetensors", method=PANEL, sampler={"name": "ddim", "steps": 4})
        other = tiny.write_weights(home / "other.safetensors", method=PANEL, sampler={"name": "ddim", "steps": 3})
        found["export"] = Work(
            lambda out: command("export", panel, "--out", out), lambda out: command("export", other, "--out", out)
        )
    return found


def _twice(*arguments):
    run = partial(lambda seed, out: command(*arguments, "--seed", seed, "--out", out), 2)
    return Work(run, partial(lambda seed, out: command(*arguments, "--seed", seed, "--out", out), 1))


def _nifti(path, seed):
    nib.save(nib.Nifti1Image(tiny.image(seed)[0], np.diag([0.7, 0.6, 2.5, 1])), path)
    return path


def _picture(path, seed):
    Image.fromarray(tiny.image(seed)[0].astype(np.uint8)).save(path)
    return path


def _masks(root, data):
    for one in open_dataset(data):
        drawn = np.stack([np.roll(one.readers[0], k, axis=1) for k in range(4)])
        write_mask_set(root / one.name, MaskSet(one.name, drawn, one.grid, "any"))
    return root


def _recipe():
    tables = tiny.recipe().model_dump(exclude_none=True, exclude_defaults=True)
    return f"image_size = {tables.pop('image_size')}\n" + "".join(_toml("", tables))


def _toml(prefix, tables):
    for name, table in tables.items():
        plain = {key: value for key, value in table.items() if not isinstance(value, dict)}
        yield f"[{prefix}{name}]\n"
        yield from (f"{key} = {json.dumps(value)}\n" for key, value in plain.items())
        yield from _toml(f"{prefix}{name}.", {key: value for key, value in table.items() if isinstance(value, dict)})


NAMES = (
    *("sample dicom-seg", "sample nifti", "sample png", "sample npz", "sample a dataset", "evaluate"),
    *("prepare folder", "prepare phantom", "train", "benchmark", "export", "watch"),
)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_killed_command_loses_nothing(works, tmp_path, monkeypatch, name):
    if name not in works:
        pytest.skip("its optional packages are not installed")
    monkeypatch.setenv("PLURIMASK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PLURIMASK_LEDGER_KEY", "a key of this test")
    work, rng, killed, left = works[name], np.random.default_rng(SEED), 0, []
    began = time.monotonic()
    new = _made(work.run, tmp_path / "new")
    whole = time.monotonic() - began
    old = _made(work.before, tmp_path / "old") if work.before else {}
    for attempt in range(6 * KILLS):
        out = tmp_path / f"{attempt}" / "out"
        if old:
            shutil.copytree(tmp_path / "old", out)
        else:
            out.parent.mkdir()
        moment = _while_writing(out, rng) if attempt % 2 else _after(rng.uniform(0, 0.9 * whole))
        if kill(begin(work.run(out)), moment) != -signal.SIGKILL:
            continue
        killed += 1
        _check(work, out, old, new)
        if killed % 4 == 0:
            again = work.continued if work.continued and (out / "recipe.json").exists() else work.run
            assert ended(begin(again(out))) == 0
            assert _result(work, _contents(out)) == _result(work, new)
            left += hidden(out.parent)
        shutil.rmtree(out.parent)
        if killed == KILLS:
            break
    assert killed == KILLS
    assert not left, "what the killed ones left is not taken away"


def _made(run, out):
    assert ended(begin(run(out))) == 0
    return _contents(out)


def _contents(out):
    return {name: content(path) for name, path in visible(out).items()}


def _result(work, contents):
    return {name: value for name, value in contents.items() if name.endswith(work.result or "")}


def _after(seconds):
    until = time.monotonic() + seconds
    return lambda: time.monotonic() > until


def _while_writing(out, rng):
    """A moment in which something of a hidden name, which is to be renamed, has just been made."""
    wait, seen = rng.uniform(0, 0.02), []

    def moment():
        if not seen and any(part.startswith(".") for path in out.parent.rglob("*") for part in (path.name,)):
            seen.append(time.monotonic())
        return bool(seen) and time.monotonic() > seen[0] + wait

    return moment


def _check(work, out, old, new):
    """Every visible file is whole; those of a folder are all of the earlier run, or all of this one."""
    if work.grows:
        for name, path in visible(out).items():
            if not name.endswith(".jsonl"):  # written on and on; what is half of a line is cut when the run goes on
                content(path)
        return
    found = _contents(out)
    for unit in {_unit(name, new) for name in (*found, *old, *new)}:
        here, before, after = (
            {name: v for name, v in one.items() if _unit(name, new) == unit} for one in (found, old, new)
        )
        assert here in ([before, after] if before else [{}, after]), f"{unit or 'the folder'}: {sorted(here)}"


def _unit(name, new):
    """What appears at once: a case's folder in a folder of mask sets, else the whole."""
    return name.partition("/")[0] if all("/" in one for one in new) and any("set.json" in one for one in new) else ""


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_terminated_command_ends_as_one_that_is_stopped(works, tmp_path, monkeypatch, name):
    if name not in works:
        pytest.skip("its optional packages are not installed")
    monkeypatch.setenv("PLURIMASK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PLURIMASK_LEDGER_KEY", "a key of this test")
    work, out = works[name], tmp_path / "a" / "out"
    out.parent.mkdir()
    code = kill(begin(work.run(out)), _while_writing(out, np.random.default_rng(SEED)), signal.SIGTERM)
    assert code == 130
    assert not hidden(tmp_path)


def _saving(home, out, acknowledged, count):
    """Save masks by the viewer's own address, and note each that was acknowledged."""

    def run():
        browser = client(home / "seen", out=out)
        source = get(browser, "info")["sources"][0]["id"]
        rng = np.random.default_rng()
        with acknowledged.open("a") as file:
            for _ in range(count):
                bits = b64encode(np.packbits(rng.random((12, 16)) < 0.5)).decode()
                asked = {"author": "Ada", "format": "nifti", "source": source, "origin": {"kind": "edited"}}
                asked |= {"axis": 2, "box": [0, 12, 0, 16], "slices": {"0": bits}}
                answer = browser.post(f"/api/v1/{case('a', 'saved')}", json=asked)
                if answer.status_code == 201:
                    file.write(json.dumps(answer.json()) + "\n")
                    file.flush()

    return run


def _saved_are_whole(out, acknowledged):
    """How many saves there are, after a check that each is whole and that none that was acknowledged is missing."""
    found = {}
    for folder in (out / "a").glob("[0-9]*"):
        record = json.loads((folder / "saved.json").read_bytes())
        digest = hashlib.sha256((folder / record["file"]).read_bytes()).hexdigest()
        assert digest == record["digest"]
        content(folder / record["file"])
        found[str(folder / record["file"])] = digest
    lines = [json.loads(line) for line in acknowledged.read_text().splitlines() if line.endswith("}")]
    missing = [line for line in lines if found.get(line["path"]) != line["digest"]]
    assert not missing
    return len(found), len(lines)


@pytest.mark.slow
def test_a_killed_viewer_loses_no_save(tmp_path):
    write_case(tmp_path / "seen", "a", 3)
    out, acknowledged, rng, killed = tmp_path / "saved", tmp_path / "acknowledged", np.random.default_rng(SEED), 0
    acknowledged.touch()
    for attempt in range(6 * KILLS):
        moment = _while_writing(out, rng) if attempt % 2 else _after(rng.uniform(0, 1))
        if kill(begin(_saving(tmp_path, out, acknowledged, 40)), moment) == -signal.SIGKILL:
            killed += 1
            _saved_are_whole(out, acknowledged)
        if killed == KILLS:
            break
    assert killed == KILLS
    assert ended(begin(_saving(tmp_path, out, acknowledged, 3))) == 0
    assert not hidden(out)


@pytest.mark.slow
def test_four_viewers_lose_no_save(tmp_path):
    write_case(tmp_path / "seen", "a", 3)
    notes = [tmp_path / f"acknowledged{number}" for number in range(4)]
    children = [begin(_saving(tmp_path, tmp_path / "saved", note, 250)) for note in notes]
    assert [ended(child) for child in children] == [0] * 4
    counts = [_saved_are_whole(tmp_path / "saved", note) for note in notes]
    assert sum(count for _, count in counts) == 1000
    assert counts[0][0] == 1000
    assert not hidden(tmp_path / "saved")


@pytest.mark.slow
def test_four_writers_of_one_mask_set_lose_no_write(tmp_path):
    """What is read is always whole, and no older than what was acknowledged before the reading began."""
    folder, notes = tmp_path / "masks" / "case", [tmp_path / f"writer{number}" for number in range(4)]
    children = [begin(_writing(folder, note, number, 250)) for number, note in enumerate(notes)]
    stop, read = tmp_path / "stop", tmp_path / "read"
    reader = begin(_reading(folder, read, stop))
    assert [ended(child) for child in children] == [0] * 4
    stop.touch()
    assert ended(reader) == 0
    writes = {
        tuple(line[2:]): (line[0], line[1]) for note in notes for line in map(json.loads, note.read_text().splitlines())
    }
    assert len(writes) == 1000
    reads = [json.loads(line) for line in read.read_text().splitlines()]
    assert reads
    for began, *which in reads:
        _, end = writes[tuple(which)]
        later = [other for other, (start, over) in writes.items() if start > end and over < began]
        assert not later, f"{which} was read after {later[:3]} had been written"
    assert not hidden(folder.parent)


def _writing(folder, note, writer, count):
    def run():
        with note.open("w") as file:
            for number in range(count):
                masks = np.random.default_rng((writer, number)).random((2, 9, 7)) < 0.5
                while True:
                    start = time.monotonic()
                    with contextlib.suppress(SettingsError):  # where another wrote meanwhile
                        write_mask_set(folder, MaskSet("case", masks, Grid((9, 7)), "any", (writer, number)))
                        break
                file.write(json.dumps([start, time.monotonic(), writer, number]) + "\n")
                file.flush()

    return run


def _reading(folder, note, stop):
    """Read again and again; a last time once the writers are over."""

    def run():
        while not folder.exists():
            time.sleep(0.001)
        with note.open("w") as file:
            over = False
            while not over:
                over, began = stop.exists(), time.monotonic()
                panel = read_mask_set(folder)
                expected = np.random.default_rng(panel.seeds).random((2, 9, 7)) < 0.5
                assert np.array_equal(panel.masks, expected)
                file.write(json.dumps([began, *panel.seeds]) + "\n")

    return run
