"""What every request has to pass before anything looks at it, and what every answer says to the browser.

The name in Host must be the served one, so that no page of another site reaches the server under a name of its own.
What changes something must come from the page itself and be JSON. Bodies are bounded. Where a token is set, it is
needed for everything.
"""

import hmac
import json
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LARGEST_BODY = 32 * 2**20
LOOPBACK = frozenset(("127.0.0.1", "::1", "localhost"))

_TOO_LARGE = f"a body has at most {LARGEST_BODY} bytes"
_READING = frozenset(("GET", "HEAD"))
_SECURITY = (
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; form-action 'none'; "
        b"frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)


@dataclass(frozen=True)
class Door:
    """Who may come in.

    Args:
        hosts: names that Host may have, lower case; None: any IP address or one of `LOOPBACK`, for a server that
            listens on all addresses.
        token: demanded of every request, or None.
    """

    hosts: Collection[str] | None
    token: str | None = None

    def knows(self, host: str) -> bool:
        """Whether a Host header names this server; the port may be a tunnel's."""
        try:
            parts = urlsplit(f"//{host}")
            name, _ = (parts.hostname or "").lower(), parts.port
        except ValueError:
            return False
        if parts.netloc != host or parts.username is not None or not name:
            return False
        return name in self.hosts if self.hosts is not None else name in LOOPBACK or _is_address(name)

    def opens(self, token: str) -> bool:
        """Whether a token is the right one, in a time that does not depend on it."""
        return self.token is None or hmac.compare_digest(token.encode(), self.token.encode())

    @property
    def cookie(self) -> str:
        """What the cookie holds in place of the token."""
        return sha256(f"plurimask {self.token}".encode()).hexdigest()


class Guard:
    """The application behind a door, as ASGI."""

    def __init__(self, app: App, door: Door) -> None:
        self._app, self._door = app, door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        headers: dict[str, str] = {}
        for key, value in scope["headers"]:
            name = key.decode("latin-1").lower()
            headers[name] = (
                f"{headers[name]}, {value.decode('latin-1')}" if name in headers else value.decode("latin-1")
            )
        safe = _with_security(send)
        refused = self._refusal(scope, headers)
        if refused is not None:
            await answer(safe, *refused)
        elif (place := self._given_once(scope)) is not None:
            await _remember(safe, place, self._cookie_name(headers), self._door.cookie)
        elif not self._is_known(scope, headers):
            await answer(safe, 401, "a token is needed: open the address that plurimask printed")
        else:
            await self._pass_on(scope, receive, safe)

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if not self._door.knows(host):
            return 421, "this server is not known by that name; open the address that plurimask printed"
        site = headers.get("sec-fetch-site")
        if site == "cross-site" and scope["path"].startswith("/api"):
            return 403, "requests of other sites are not answered"
        if scope["method"] in _READING:
            return None
        origin = headers.get("origin")
        own = site == "same-origin" if origin is None else _netloc(origin) == host
        if not own:
            return 403, "only the page itself may change anything: Origin must be this server"
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdecimal()) or int(length) > LARGEST_BODY:
            return 413, _TOO_LARGE
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if scope["method"] != "DELETE" and kind != "application/json":
            return 415, "a body is application/json"
        return None

    def _given_once(self, scope: Scope) -> str | None:
        """Where to go on from an address with the right token in it, which a cookie holds from then on."""
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = [value for key, value in query if key == "token"]
        if self._door.token is None or scope["method"] not in _READING or not given or not self._door.opens(given[0]):
            return None
        rest = urlencode([(key, value) for key, value in query if key != "token"])
        return "/" + (f"?{rest}" if rest else "") if scope["path"] == "/" else "/"

    def _is_known(self, scope: Scope, headers: dict[str, str]) -> bool:
        if self._door.token is None:
            return True
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._door.opens(token.strip())
        try:
            kept = SimpleCookie(headers.get("cookie", "")).get(self._cookie_name(headers))
        except CookieError:
            return False
        return kept is not None and hmac.compare_digest(kept.value.encode(), self._door.cookie.encode())

    @staticmethod
    def _cookie_name(headers: dict[str, str]) -> str:
        """Cookies are shared by all ports of a name."""
        return f"plurimask-{urlsplit('//' + headers['host']).port or 80}"

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Bodies are taken whole, so that nothing is done for one that turns out to be too large."""
        body = bytearray()
        if scope["method"] in _READING:
            await self._app(scope, receive, send)
            return
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > LARGEST_BODY:
                await answer(send, 413, _TOO_LARGE)
                return
        whole = iter([{"type": "http.request", "body": bytes(body), "more_body": False}])

        async def replay() -> Message:
            return next(whole, None) or await receive()

        await self._app(scope, replay, send)


def _netloc(origin: str) -> str:
    """Host and port of an Origin header; empty for `null` and whatever is none."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return ""
    return parts.netloc if parts.scheme in ("http", "https") else ""


def problem(status: int, detail: str) -> bytes:
    """An error as RFC 9457 has it."""
    title = HTTPStatus(status).phrase
    return json.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail}).encode()


async def answer(send: Send, status: int, detail: str) -> None:
    """Send an error."""
    body = problem(status, detail)
    headers = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _remember(send: Send, place: str, name: str, value: str) -> None:
    cookie = f"{name}={value}; Path=/; HttpOnly; SameSite=Strict"
    headers = [(b"location", place.encode("latin-1")), (b"set-cookie", cookie.encode()), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 303, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def _with_security(send: Send) -> Send:
    async def safe(message: Message) -> None:
        if message["type"] == "http.response.start":
            said = {key.lower() for key, _ in message["headers"]}
            message["headers"] = [*message["headers"], *(pair for pair in _SECURITY if pair[0] not in said)]
        await send(message)

    return safe


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
