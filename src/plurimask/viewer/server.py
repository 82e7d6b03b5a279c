"""The HTTP application of the reading room: its errors, its files, and the guard before it."""

from mimetypes import guess_type
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.gzip import GZipMiddleware
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from plurimask.errors import MissingPackageError, PlurimaskError
from plurimask.version import version
from plurimask.viewer.api import API, Api, Room
from plurimask.viewer.guard import Door, Guard, problem
from plurimask.viewer.problems import ProblemError

_STATIC, _STYLE = Path(__file__).parent / "static", Path(__file__).parents[1] / "style"
_NO_SPACE = 28
_ABOUT = """Cases, slices of images, masks, jobs that draw samples, and masks that people saved.

Ids are made from names and are no paths. Errors are `application/problem+json` with one line in `detail`."""
_PROBLEM: Any = {
    "type": "object",
    "properties": {"status": {"type": "integer"}, **{key: {"type": "string"} for key in ("type", "title", "detail")}},
}
_PROBLEMS: Any = {
    "4XX": {
        "description": "What is wrong with the request, in one line",
        "content": {"application/problem+json": {"schema": _PROBLEM}},
    }
}
# No request leaves the machine, whatever the environment says. Versions of FastAPI without telemetry pass this over.
_SILENT: Any = dict.fromkeys(("tracing", "metrics", "logs", "operation_spans", "auto_configure"), False)


def make_app(room: Room, door: Door, compress: bool = False) -> Guard:
    """The application, guarded. `compress`: gzip for those who take it, which pays between two machines."""
    app = FastAPI(
        title="plurimask reading room",
        version=version() or "unknown",
        description=_ABOUT,
        responses=_PROBLEMS,
        openapi_url=f"{API}/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry=_SILENT,
    )
    _add_errors(app)
    Api(room).add_to(app)
    app.mount("/", _Page())
    if compress:
        app.add_middleware(GZipMiddleware, compresslevel=1)
    return Guard(app, door)


class _Page:
    """The page's own files, which stay in memory: there are many small ones, all of which a start asks for at once."""

    def __init__(self) -> None:
        places = {f"/{path.name}": path for path in _STATIC.iterdir()}
        places |= {f"/{_STYLE.name}/{path.name}": path for path in _STYLE.iterdir()}
        self._files = {place: (path.read_bytes(), guess_type(path)[0]) for place, path in places.items()}
        html, kind = self._files["/index.html"]
        # A browser that follows imports asks for the next modules only when it has read the last ones.
        ahead = "".join(f'<link rel="modulepreload" href="{path.name}">' for path in sorted(_STATIC.glob("*.js")))
        self._files["/"] = html.replace(b"<script", ahead.encode() + b"<script"), kind

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            raise HTTPException(405)
        if scope["path"] not in self._files:
            raise HTTPException(404)
        content, kind = self._files[scope["path"]]
        await Response(content, media_type=kind)(scope, receive, send)


def _add_errors(app: FastAPI) -> None:
    def said(status: int, detail: str) -> Response:
        return Response(problem(status, detail), status, media_type="application/problem+json")

    @app.exception_handler(ProblemError)
    async def refused(_: Request, error: ProblemError) -> Response:
        return said(error.status, error.detail)

    @app.exception_handler(PlurimaskError)
    async def unusable(_: Request, error: PlurimaskError) -> Response:
        return said(501 if isinstance(error, MissingPackageError) else 422, str(error))

    @app.exception_handler(OSError)
    async def unreadable(_: Request, error: OSError) -> Response:
        return said(507 if error.errno == _NO_SPACE else 500, error.strerror or "a file cannot be read or written")

    @app.exception_handler(RequestValidationError)
    async def wrong(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return said(422, f"{'.'.join(map(str, first['loc']))}: {first['msg']}")

    @app.exception_handler(HTTPException)
    async def unknown(_: Request, error: HTTPException) -> Response:
        return said(error.status_code, str(error.detail))

    @app.exception_handler(Exception)
    async def broken(_: Request, error: Exception) -> Response:
        return said(500, "something went wrong here; the terminal says what")
