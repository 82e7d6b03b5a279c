"""Where the reading room listens, and what it refuses before it does; one server that runs in earnest."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import uvicorn
from served import squares, write_case, write_set

import plurimask as pm
from plurimask.errors import CheckpointError, InputError, SettingsError
from plurimask.viewer import run
from plurimask.viewer.app import Room, make_app
from plurimask.viewer.library import open_library

TOKEN = "a-token-of-24-characters"


@pytest.fixture
def masks(tmp_path):
    write_set(tmp_path / "masks", "a", squares(3, 4))
    return tmp_path / "masks"


@pytest.fixture
def busy():
    """A port that something else listens at."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        yield taken.getsockname()[1]


def serve(path, tmp_path, **more):
    pm.serve(str(path), out=str(tmp_path / "saved"), browser=False, **more)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.org"])
def test_another_host_needs_a_token(masks, tmp_path, host):
    with pytest.raises(SettingsError, match=r"expected a token .* add --token"):
        serve(masks, tmp_path, host=host)


@pytest.mark.parametrize("token", ["", "short", "x" * 15, "with a\nbreak in it", "ümlaute-und-noch-mehr"])
def test_a_token_is_long_and_plain(masks, tmp_path, token):
    with pytest.raises(SettingsError, match="at least 16 plain characters"):
        serve(masks, tmp_path, token=token)


def test_a_port_in_use_offers_the_next(masks, tmp_path, busy):
    with pytest.raises(SettingsError, match=rf"got {busy}, which is in use; try --port \d+") as error:
        serve(masks, tmp_path, port=busy)
    offered = int(str(error.value).rpartition(" ")[2])
    assert busy < offered < busy + 100
    run._bound("127.0.0.1", offered).close()


def test_an_address_of_another_machine_is_refused(masks, tmp_path):
    with pytest.raises((SettingsError, OSError)):
        serve(masks, tmp_path, host="192.0.2.7", token=TOKEN)


@pytest.mark.parametrize(
    ("data", "out"), [(None, "masks/saved"), ("data", "data/saved"), (".", "saved"), ("data/side.csv", "data/saved")]
)
def test_masks_are_not_saved_into_what_is_served(masks, tmp_path, monkeypatch, data, out):
    write_case(tmp_path / "data", "a", 3)
    (tmp_path / "data/side.csv").write_text("patient,side\n")
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match="expected a folder outside of the served one"):
        pm.serve(Path("masks"), data and Path(data), out=Path(out), browser=False)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_model_that_is_not_there_is_said_before_anything_is_served(masks, tmp_path):
    with pytest.raises(CheckpointError, match="nope: expected"):
        serve(masks, tmp_path, model="nope")


def test_half_a_request_is_not_waited_for(masks, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "_HEAD_WITHIN", 0.05)
    with running(masks, tmp_path) as port:
        for half in (b"", b"GET / HTTP/1.1\r\nHost: 127"):
            with socket.create_connection(("127.0.0.1", port), 60) as asking:
                asking.sendall(half)
                assert asking.recv(100) == b""


@contextmanager
def running(path, tmp_path):
    """The port of a server in a thread."""
    room = Room(open_library(path, None, drawing=False), None, tmp_path / "saved")
    server = uvicorn.Server(uvicorn.Config(make_app(room, None), port=0, lifespan="off", http=run.Connection))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        room.close()


def test_nothing_to_serve_is_said_and_the_port_is_free_again(tmp_path):
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(InputError, match="nothing there"):
        serve(tmp_path / "gone", tmp_path, port=port)
    run._bound("127.0.0.1", port).close()


@pytest.mark.parametrize(
    ("host", "address"),
    [
        *(("127.0.0.1", "http://127.0.0.1:80/"), ("0.0.0.0", "http://127.0.0.1:80/"), ("::1", "http://[::1]:80/")),
        *(("::", "http://[::1]:80/"), ("example.org", "http://example.org:80/")),
    ],
)
def test_the_address_can_be_opened_here(host, address):
    assert run._address(host, 80, None) == address
    assert run._address(host, 80, TOKEN) == f"{address}?token={TOKEN}"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "localhost", "::1"])
def test_hosts_of_this_machine_alone(host):
    assert run._is_loopback(host)
    assert host in run._names(host)


def test_other_hosts_are_known_by_their_name_alone():
    assert run._names("Example.org") == {"example.org"}
    assert run._names("0.0.0.0") is None


def test_a_server_runs_and_ends(masks, tmp_path):
    """The installed command: prints its address, answers, and ends with Ctrl-C as nothing had happened."""
    code = "import sys; from plurimask.cli import main; sys.argv[0] = 'plurimask'; main()"
    command = [sys.executable, "-c", code, "view", masks, "--no-browser", "--port", "0", "--out", tmp_path / "saved"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        title, address = server.stdout.readline().strip().split(": ")
        assert (title, address.startswith("http://127.0.0.1:")) == ("masks", True)
        with urllib.request.urlopen(f"{address}api/v1/cases") as answer:
            assert [item["name"] for item in json.load(answer)["items"]] == ["a"]
        with urllib.request.urlopen(address) as answer:
            assert b"<title>plurimask</title>" in answer.read()
        os.kill(server.pid, signal.SIGINT)
        assert (server.wait(60), server.stderr.read()) == (0, "")
