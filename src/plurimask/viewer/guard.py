"""What every request has to pass before anything looks at it, and what every answer says to the browser.

The name in Host must be the served one, so that no page of another site reaches the server under a name of its own.
What changes something must come from the page itself and be JSON. Bodies are bounded. Where a token is set, it is
needed for everything.
"""

import hmac
import json
import logging
from asyncio import sleep, timeout
from collections import Counter
from collections.abc import Collection
from hashlib import sha256
from http import HTTPStatus
from ipaddress import ip_address
from urllib.parse import urlencode, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST_BODY, BODY_WITHIN = 32 * 2**20, 60  # bytes, seconds
_SLOWED, _MOST_WRONG = 1.0, 8  # seconds
LOOPBACK = frozenset(("127.0.0.1", "::1", "localhost"))

_TOO_LARGE = f"a body has at most {LARGEST_BODY} bytes"
_READING = frozenset(("GET", "HEAD"))
_SECURITY = {
    "content-security-policy": "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


class Problem(Response):
    """An error as RFC 9457 has it, with one line in `detail`."""

    media_type = "application/problem+json"

    def __init__(self, status: int, detail: str) -> None:
        title = HTTPStatus(status).phrase
        super().__init__(
            json.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail}), status
        )


class Guard:
    """Middleware that lets in who may come.

    Args:
        app: what is behind it.
        hosts: names that Host may have, lower case; None: any IP address or one of `LOOPBACK`, for a server that
            listens on all addresses.
        token: demanded of every request, or None.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str] | None, token: str | None = None) -> None:
        self._app, self._hosts, self._token = app, hosts, token
        self._wrong: Counter[str] = Counter()
        self._cookie = sha256(f"plurimask {token}".encode()).hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        request, safe = Request(scope, receive), _with_security(send)
        answer = self._refusal(request) or await self._stranger(request)
        if answer is None and request.method not in _READING:
            try:
                async with timeout(BODY_WITHIN):
                    receive = await _whole_body(request)
            except ClientDisconnect:
                return
            except TimeoutError:
                answer = Problem(408, f"a body comes within {BODY_WITHIN} seconds")
            except _TooLargeError:
                answer = Problem(413, _TOO_LARGE)
        await (answer or self._app)(scope, receive, safe)

    def knows(self, host: str) -> bool:
        """Whether a Host header names this server; the port may be a tunnel's."""
        try:
            parts = urlsplit(f"//{host}")
            name, _ = (parts.hostname or "").lower(), parts.port
        except ValueError:
            return False
        if parts.netloc != host or parts.username is not None or not name:
            return False
        return name in self._hosts if self._hosts is not None else name in LOOPBACK or _is_address(name)

    def _refusal(self, request: Request) -> Problem | None:
        host, site = _header(request, "host"), _header(request, "sec-fetch-site")
        if not self.knows(host):
            return Problem(421, "this server is not known by that name; open the address that plurimask printed")
        if site == "cross-site" and request.scope["path"].startswith("/api"):
            return Problem(403, "requests of other sites are not answered")
        if request.method in _READING:
            return None
        own = _netloc(_header(request, "origin")) == host if "origin" in request.headers else site == "same-origin"
        if not own:
            return Problem(403, "only the page itself may change anything: Origin must be this server")
        length = _header(request, "content-length") or "0"
        if not (length.isascii() and length.isdecimal()) or int(length) > LARGEST_BODY:
            return Problem(413, _TOO_LARGE)
        kind = _header(request, "content-type").partition(";")[0].strip().lower()
        if request.method != "DELETE" and kind != "application/json":
            return Problem(415, "a body is application/json")
        return None

    async def _stranger(self, request: Request) -> Response | None:
        """The answer for who is not admitted. A wrong token is logged, without the token, and answered late.

        From one address so many wrong ones wait at most; until they are answered no further one is looked at.
        """
        if self._token is None:
            return None
        address = request.client.host if request.client else "an unknown address"
        if self._wrong[address] >= _MOST_WRONG:
            return Problem(429, "too many wrong tokens came from there; try again in a moment")
        if self._is_admitted(request):
            return None
        if (answer := self._login(request)) is not None:
            return answer
        given = "token" in request.query_params or "authorization" in request.headers
        if given or _cookie_name(request) in request.cookies:
            logging.getLogger(__name__).warning("a wrong token from %s", address)
            self._wrong[address] += 1
            try:
                await sleep(_SLOWED)
            finally:
                self._wrong -= Counter((address,))
        return Problem(401, "a token is needed: open the address that plurimask printed")

    def _login(self, request: Request) -> Response | None:
        """Where to go on from an address with the right token in it, which a cookie holds from then on."""
        given = request.query_params.getlist("token")
        if request.method not in _READING or not given or not _equal(given[0], str(self._token)):
            return None
        rest = urlencode([(key, value) for key, value in request.query_params.multi_items() if key != "token"])
        answer = RedirectResponse(f"/?{rest}" if rest and request.scope["path"] == "/" else "/", 303)
        answer.set_cookie(_cookie_name(request), self._cookie, httponly=True, samesite="strict")
        return answer

    def _is_admitted(self, request: Request) -> bool:
        """Whether a request brings the token as a header, or the cookie that was given for it."""
        scheme, _, token = _header(request, "authorization").partition(" ")
        if scheme.lower() == "bearer":
            return _equal(token.strip(), str(self._token))
        return _equal(request.cookies.get(_cookie_name(request), ""), self._cookie)


class _TooLargeError(Exception):
    """A body is larger than `LARGEST_BODY`."""


async def _whole_body(request: Request) -> Receive:
    """Take a body whole, so that nothing is done for one that turns out to be too large; what gives it once more."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > LARGEST_BODY:
            raise _TooLargeError
    messages: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await request.receive()

    return replay


def _with_security(send: Send) -> Send:
    async def safe(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(_SECURITY)
        await send(message)

    return safe


def _header(request: Request, name: str) -> str:
    """A header; several of one name count as one, joined by commas."""
    return ", ".join(request.headers.getlist(name))


def _equal(given: str, true: str) -> bool:
    """In a time that does not depend on what was given."""
    return hmac.compare_digest(given.encode(), true.encode())


def _cookie_name(request: Request) -> str:
    """Cookies are shared by all ports of a name."""
    return f"plurimask-{urlsplit('//' + _header(request, 'host')).port or 80}"


def _netloc(origin: str) -> str:
    """Host and port of an Origin header; empty for `null` and whatever is none."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return ""
    return parts.netloc if parts.scheme in ("http", "https") else ""


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
