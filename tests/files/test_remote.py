"""Folders on no disk: what workers of a cluster bring and send, in memory, by the address of a disk, in an S3 store."""

import os
from functools import partial
from pathlib import Path

import fsspec
import numpy as np
import pytest
from in_turn import InTurn
from tiny import write_cases, write_weights

import plurimask as pm
from plurimask.errors import InputError, MissingPackageError
from plurimask.files.mask_sets import DESCRIPTION, STACK, MaskSets
from plurimask.files.remote import Remote
from plurimask.sampling import CaseDrawer, load


@pytest.fixture(scope="module")
def store():
    """A bucket of an S3 server on this machine, whose address and login are in the environment."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    login = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "any")
    with pytest.MonkeyPatch.context() as environment:
        for name, value in {**login, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}.items():
            environment.setenv(name, value)
        fsspec.filesystem("s3").mkdir("bucket")
        yield "s3://bucket"
    server.stop()


@pytest.fixture(params=["memory", "file", "s3"])
def address(request, tmp_path):
    """The address of an empty folder."""
    if request.param == "s3":
        return f"{request.getfixturevalue('store')}/{tmp_path.name}"
    return f"file://{tmp_path / 'far'}" if request.param == "file" else f"memory://{tmp_path.name}"


def put(folder, address):
    """What lies in a folder, at the address."""
    fsspec.url_to_fs(address)[0].put(f"{folder}/", f"{address}/", recursive=True)


def names(address):
    files, base = fsspec.url_to_fs(address)
    files.invalidate_cache()
    return {os.path.relpath(name, base) for name in files.find(base)}


def test_panels_of_cases_at_an_address_are_those_of_a_disk_and_scored_there(address, tmp_path):
    weights, data = write_weights(tmp_path / "mine.safetensors"), write_cases(tmp_path / "cases", count=3)
    put(data, f"{address}/cases")
    far, near = pm.open_dataset(Path(f"{address}/cases")), pm.open_dataset(data)
    out = Remote.at(Path(f"{address}/masks"))
    read = {name: partial(far.__getitem__, place) for place, name in enumerate(far.names)}
    work = CaseDrawer(partial(load, weights, "cpu"), read, {"independent": out}, count=2, seed=0)
    list(InTurn().map(work, {name: name for name in read}))
    assert names(f"{address}/masks") == {
        f"{name}/{file}" for name in near.names for file in (DESCRIPTION, f"{STACK}.npz")
    }
    found = MaskSets.under(out.listed(), out)
    model = load(weights, "cpu")
    for name, case in zip(near.names, near, strict=True):
        np.testing.assert_array_equal(found[name].masks, model.sample(case, 2).masks)
    assert not any(path.stat().st_size for path in out.root.rglob("*.*"))
    assert (far.digest, far.patients, far.sides) == (near.digest, near.patients, near.sides)


def test_a_complete_panel_at_an_address_is_left_alone_and_a_half_sent_one_is_not(address, tmp_path, monkeypatch):
    weights, data = write_weights(tmp_path / "mine.safetensors"), write_cases(tmp_path / "cases", count=3)
    near, out, sent = pm.open_dataset(data), Remote.at(Path(address)), []
    read = {name: partial(near.__getitem__, place) for place, name in enumerate(near.names)}
    draw = CaseDrawer(partial(load, weights, "cpu"), read, {"independent": out}, count=2, seed=0)()
    for name in read:
        draw(name)
    files, base = fsspec.url_to_fs(address)
    files.rm_file(f"{base}/case-01/{STACK}.npz")
    half = Remote.at(Path(address))
    assert list(MaskSets.under(half.listed(), half)) == ["case-00", "case-02"]
    monkeypatch.setattr(Remote, "send", lambda self, path, last: sent.append((path.name, last)))
    for name in read:
        draw(name)
    assert sent == [("case-01", f"{STACK}.npz")]


def test_what_says_that_all_is_there_is_taken_away_first_and_comes_last(tmp_path, monkeypatch):
    out = Remote.at(Path("memory://order"))
    store = fsspec.filesystem("memory")
    for name in ("a", "last", "z"):
        (out.root / name).parent.mkdir(parents=True, exist_ok=True)
        (out.root / name).write_text(name)
    out.send(out.root, last="last")
    seen, put_file = [], type(store).put_file
    monkeypatch.setattr(
        type(store), "put_file", lambda self, *given: (seen.append(store.exists("/order/last")), put_file(self, *given))
    )
    out.send(out.root, last="last")
    assert seen == [False, False, False]
    store.store.clear()


def test_what_is_no_address_and_what_cannot_be_reached_is_said(tmp_path):
    assert Remote.at(tmp_path) is None
    assert Remote.at(Path("https://pacs.example/dicom-web")) is None
    assert Remote.at(Path("a:/b")) is None
    assert Remote.at(Path("file:///a/b")).url == "file:///a/b"
    none = Remote.at(Path("memory://none"))
    with pytest.raises(InputError, match="memory://none: expected a folder to read and write, got 'nothing at"):
        none.bring([none.root])
    with pytest.raises(InputError, match="nosuch://a: expected a folder to read and write, got 'Protocol not known"):
        Remote.at(Path("nosuch://a")).listed()
    with pytest.raises(MissingPackageError, match=r"expected the package for it, got .*gcsfs"):
        Remote.at(Path("gs://a")).listed()
