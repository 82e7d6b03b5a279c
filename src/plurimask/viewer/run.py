"""From a path to a server that listens: what may be served to whom, and where it is reached."""

import asyncio
import errno
import secrets
import socket
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from plurimask.errors import SettingsError
from plurimask.files.dicomweb import Archive
from plurimask.training.checkpoint import find_weights
from plurimask.viewer.app import Room, make_app
from plurimask.viewer.guard import LOOPBACK
from plurimask.viewer.library import open_library

_SHORTEST_TOKEN = 16
_ALL_ADDRESSES = ("0.0.0.0", "::")  # noqa: S104
_TRIED = 100
_HEAD_WITHIN = 20  # seconds


def serve(
    path: str | Path,
    data: str | Path | None = None,
    model: str | None = None,
    out: str | Path = "saved",
    *,
    host: str = "127.0.0.1",
    port: int = 8765,
    token: str | None = None,
    browser: bool = True,
    show_identity: bool = False,
    follow_links: bool = False,
    device: str = "auto",
    say: Callable[[str], object] = print,
    archive: Archive | None = None,
) -> None:
    """Serve what lies at a path until Ctrl-C.

    Args:
        path: mask sets, a study, a dataset, or the folder of a demo or a benchmark.
        data: a dataset or a study with the images of the mask sets.
        model: the model that draws further samples.
        out: where chosen masks are saved; outside of `path`.
        host, port: where to listen.
        token: demanded of every request.
        browser: whether to open the page.
        show_identity: whether names and numbers of patients are sent to the page.
        follow_links: whether links may lead out of `path` and `data`.
        device: where the model computes.
        say: called with each line to print.
        archive: where `path` came from; chosen masks are stored there on request.

    Raises:
        InputError, DatasetError: nothing that can be served.
        SettingsError: a host that other machines reach without a token, a short token, a port in use, or an `out` in
            what is served.
    """
    path, out, data = Path(path), Path(out), None if data is None else Path(data)
    _check_token(host, token)
    _check_out(out, path, data)
    if model is not None:
        find_weights(model)
    with listen(host, port) as listening:
        library = open_library(path, data, model is not None, follow_links)
        room = Room(library, model, out, device=device, show_identity=show_identity, archive=archive)
        app = make_app(room, _names(host), token, compress=not _is_loopback(host))
        address = _address(host, listening.getsockname()[1], token)
        say(f"{library.title}: {address}")
        say(f"Chosen masks go to {out}. Ctrl-C ends it.")
        if browser:
            webbrowser.open(address)
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            lifespan="off",
            ws="none",
            http=Connection,
            timeout_graceful_shutdown=1,
        )
        with suppress(KeyboardInterrupt):
            _Server(config, room).run(sockets=[listening])


class Connection(H11Protocol):
    """A connection that is closed where no whole head of a request comes within `_HEAD_WITHIN` seconds."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Go on waiting while the head is not whole, and stop when it is."""
        super().data_received(data)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        super().connection_lost(exc)
        if self._late:
            self._late.cancel()

    def _wait(self) -> None:
        is_waiting = self.conn.their_state is h11.IDLE
        if self._late and not is_waiting:
            self._late.cancel()
            self._late = None
        elif is_waiting and not self._late:
            self._late = self.loop.call_later(_HEAD_WITHIN, self.transport.close)


class _Server(uvicorn.Server):
    """A server that ends what it does in the background before it waits for open connections."""

    def __init__(self, config: uvicorn.Config, room: Room) -> None:
        super().__init__(config)
        self._room = room

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the room, then every connection."""
        self._room.close()
        await super().shutdown(sockets)


def _check_token(host: str, token: str | None) -> None:
    proposal = f"--token {secrets.token_urlsafe(24)}"
    if token is None and not _is_loopback(host):
        raise SettingsError(
            f"--host {host}", expected="a token where other machines can connect", got="none", hint=f"add {proposal}"
        )
    if token is not None and (len(token) < _SHORTEST_TOKEN or not (token.isascii() and token.isprintable())):
        raise SettingsError(
            "--token",
            expected=f"at least {_SHORTEST_TOKEN} plain characters",
            got=f"{len(token)} characters",
            hint=f"give {proposal}",
        )


def _check_out(out: Path, *served: Path | None) -> None:
    """A folder of masks beside cases would be one of them. A table of sides stands for the folder that it lies in."""
    for path in filter(None, served):
        folder = path if path.is_dir() else path.parent
        is_cases = path.is_dir() or path.suffix.lower() == ".csv"
        if is_cases and out.resolve().is_relative_to(folder.resolve()):
            hint = "name another, as --out ../saved"
            raise SettingsError("--out", expected="a folder outside of the served one", got=str(out), hint=hint)


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections. SettingsError for a port in use, which names the next free one."""
    try:
        return _bound(host, port)
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES) and not isinstance(error, socket.gaierror):
            raise
        if error.errno != errno.EADDRINUSE:
            raise SettingsError(
                f"--host {host} --port {port}",
                expected="an address of this machine that may be listened at",
                got=str(error.strerror).partition(" (while")[0],
                hint="leave --host out, and take a port above 1023",
            ) from None
    for other in range(port + 1, min(port + _TRIED, 2**16)):
        with suppress(OSError), _bound(host, other):
            break
    else:
        other = 0
    raise SettingsError("--port", expected="a free port", got=f"{port}, which is in use", hint=f"try --port {other}")


def _bound(host: str, port: int) -> socket.socket:
    family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    both = family is socket.AF_INET6 and socket.has_dualstack_ipv6()
    return socket.create_server(address, family=family, dualstack_ipv6=both)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() in LOOPBACK


def _names(host: str) -> frozenset[str] | None:
    if host in _ALL_ADDRESSES:
        return None
    return LOOPBACK | {host} if _is_loopback(host) else frozenset((host.lower(),))


def _address(host: str, port: int, token: str | None) -> str:
    name = "127.0.0.1" if host == "0.0.0.0" else "::1" if host == "::" else host  # noqa: S104
    shown = f"[{name}]" if ":" in name else name
    return f"http://{shown}:{port}/" + (f"?token={token}" if token else "")
