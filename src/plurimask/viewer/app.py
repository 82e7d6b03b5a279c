"""The HTTP application of the reading room: its addresses, which docs/serving.md lists, its files, its errors."""

import asyncio
from collections.abc import AsyncIterator, Collection
from concurrent.futures import ThreadPoolExecutor
from errno import ENOSPC
from importlib import import_module
from mimetypes import guess_type
from pathlib import Path
from threading import Condition
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from cachetools import LRUCache, cachedmethod
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.sse import EventSourceResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.types import Receive, Scope, Send

from plurimask import __version__
from plurimask.errors import MissingPackageError, PlurimaskError
from plurimask.files.dicomweb import Archive
from plurimask.records import MaskSet
from plurimask.viewer.guard import Guard, Problem
from plurimask.viewer.jobs import Job, Jobs
from plurimask.viewer.library import Library, name_id, patient_of, printable
from plurimask.viewer.listing import Order, Sort, Summaries, list_cases
from plurimask.viewer.marks import Loaded, Panel
from plurimask.viewer.saving import FORMATS, Saved, SaveRequest
from plurimask.viewer.views import describe, draw_thumbnail, encode

if TYPE_CHECKING:
    from plurimask.sampling import Model

API = "/api/v1"
_STATIC, _STYLE = Path(__file__).parent / "static", Path(__file__).parents[1] / "style"
_BITS = "application/octet-stream"
_THUMBNAIL_BYTES, _MOST_SCORED = 32 * 2**20, 2**27
_BETWEEN_LOOKS = 0.1  # seconds
_WORKERS = 3  # one loads the model, one draws, one works out what lists say
_ABOUT = """Cases, slices of images, masks, jobs that draw samples, and masks that people saved.

Ids are made from names and are no paths. Errors are `application/problem+json` with one line in `detail`."""
_TEXTS = {key: {"type": "string"} for key in ("type", "title", "detail")}
_PROBLEMS: Any = {
    "4XX": {
        "description": "What is wrong with the request, in one line",
        "content": {Problem.media_type: {"schema": {"properties": _TEXTS | {"status": {"type": "integer"}}}}},
    }
}
# No request leaves the machine, whatever the environment says. Versions of FastAPI without telemetry pass this over.
_SILENT: Any = dict.fromkeys(("tracing", "metrics", "logs", "operation_spans", "auto_configure"), False)


class Room:
    """What a server serves, and what works for it in the background.

    Args:
        library: the cases.
        model: draws further samples: as `load` takes it, or loaded; None: none does.
        out: where chosen masks go.
        device: where the model computes.
        show_identity: whether names and numbers of patients are sent.
        archive: where the served study came from.
    """

    def __init__(
        self,
        library: Library,
        model: "str | Model | None",
        out: Path,
        *,
        device: str = "auto",
        show_identity: bool = False,
        archive: Archive | None = None,
    ) -> None:
        self.library, self.show_identity, self.is_open = library, show_identity, True
        self._pool = ThreadPoolExecutor(_WORKERS, "plurimask")
        self.summaries = Summaries(library.summary, self._pool)
        self.jobs = Jobs(library, self.summaries, model, device, self._pool)
        self.saved = Saved(out, archive)
        self._thumbnails: LRUCache[tuple[str, str, int, str], bytes] = LRUCache(_THUMBNAIL_BYTES, len)
        self._turn = Condition()

    @cachedmethod(
        lambda self: self._thumbnails,
        lambda self, source, name, panel: (source, name, len(panel.marks), repr(panel.settings)),
        condition=lambda self: self._turn,
    )
    def thumbnail(self, source: str, name: str, panel: Panel) -> bytes:
        """A small PNG of a case and its samples."""
        return draw_thumbnail(self.library.case(source, name), panel.marks)

    def close(self) -> None:
        """End event streams, and the work in the background: a drawing at its next step, a file once it is read."""
        self.is_open = False
        if job := self.jobs.running:
            job.cancelled = True
        self._pool.shutdown(wait=False, cancel_futures=True)


def make_app(room: Room, hosts: Collection[str] | None, token: str | None = None, compress: bool = False) -> Guard:
    """The application, guarded for `hosts` and `token`. `compress`: gzip, which pays between two machines."""
    app = FastAPI(
        title="plurimask reading room",
        version=__version__,
        description=_ABOUT,
        responses=_PROBLEMS,
        openapi_url=f"{API}/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry=_SILENT,
        exception_handlers=dict.fromkeys(
            (AnyHTTPException, PlurimaskError, OSError, MemoryError, RequestValidationError, Exception), _problem
        ),
    )
    app.state.room = room
    app.include_router(_router)
    app.mount("/", _Page())
    if compress:
        app.add_middleware(GZipMiddleware, compresslevel=1)
    return Guard(app, hosts, token)


class JobRequest(BaseModel):
    """Samples to draw.

    Args:
        count: how many.
        source: the set of masks that they join; the first unless given.
        region: the part of the study to draw, as `--roi` takes it.
        whole: all of a study that is larger than the model's field.
        panel: samples that join, or a representative panel of its own, in place of what is drawn here.
        reader: as whom to draw, of the readers whom the model knows; else as any. Samples that are drawn as another
            reader than those that are there take the place of what is drawn here.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    count: Annotated[int, Field(ge=1, le=256)]
    source: str | None = None
    region: Annotated[str, Field(max_length=200)] | None = None
    whole: bool = False
    panel: Literal["independent", "representative"] = "independent"
    reader: Annotated[str, Field(max_length=200)] | None = None


_router = APIRouter(prefix=API)
_CASE = "/cases/{id}"


async def _room(request: Request) -> Room:
    return request.app.state.room


Here = Annotated[Room, Depends(_room)]


def _checked_source(room: Room, source: str | None) -> str:
    if source is None:
        return next(iter(room.library.sources))
    if source not in room.library.sources:
        raise HTTPException(404, "no such source")
    return source


async def _source(
    room: Here,
    source: Annotated[str | None, Query(max_length=64, description="A set of masks; the first unless given.")] = None,
) -> str:
    return _checked_source(room, source)


async def _name(room: Here, id: str) -> str:
    if (name := room.library.name(id)) is None:
        raise HTTPException(404, "no such case")
    return name


async def _job(room: Here, id: str) -> Job:
    if (job := room.jobs.get(id)) is None:
        raise HTTPException(404, "no such job")
    return job


SourceId = Annotated[str, Depends(_source)]
Name = Annotated[str, Depends(_name)]
KnownJob = Annotated[Job, Depends(_job)]
Axis = Annotated[int, Query(ge=0, le=2, description="Across which the volume is cut.")]


@_router.get("/info")
async def info(room: Here) -> dict[str, Any]:
    """What is served, by which model samples can be drawn, and the job that runs."""
    jobs, job = room.jobs, room.jobs.running
    return {
        "version": __version__,
        "title": room.library.title,
        "sources": [{"id": source.id, "label": printable(source.label)} for source in room.library.sources.values()],
        "model": {
            "name": jobs.model_name,
            "ready": jobs.model is not None,
            "loading": jobs.is_loading,
            "reason": jobs.reason,
            "readers": [] if jobs.model is None else list(jobs.model.method.readers),
        },
        "job": None if job is None else {"id": job.id, "case": name_id(job.case), "source": job.source},
        "formats": list(FORMATS),
        "archive": room.saved.archive and room.saved.archive.root,
    }


@_router.get("/cases")
def cases(
    room: Here,
    source: SourceId,
    sort: Sort = "name",
    order: Order = "asc",
    offset: Annotated[int, Query(ge=0, lt=2**31)] = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    holding: Annotated[str | None, Query(max_length=64, description="A case, whose page is meant.")] = None,
) -> dict[str, Any]:
    """A page of cases. Values are null while they are worked out; `computing` says how far that is."""
    name = None if holding is None else room.library.name(holding)
    if holding is not None and name is None:
        raise HTTPException(404, "no such case")
    return list_cases(room.library, room.summaries, source, sort, order, offset, limit, name)


@_router.get(_CASE)
def case(room: Here, source: SourceId, name: Name) -> dict[str, Any]:
    """All of a case but its pixels."""
    loaded, panel = room.library.case(source, name), room.library.panel(source, name)
    patient: dict[str, Any] = {"patient": patient_of(loaded.study)} if room.show_identity else {}
    formats = [one for one in FORMATS if one == "nifti" or loaded.study.format == "dicom"]
    more = {"formats": formats, "needs_region": room.jobs.needs_region(loaded, panel)}
    return describe(loaded, panel) | more | patient


@_router.get(f"{_CASE}/image/{{k}}", response_class=Response)
def image(room: Here, source: SourceId, name: Name, k: int, channel: int = 0, axis: Axis = 2) -> Response:
    """A slice as int16, little endian: value = raw * X-Scale + X-Offset."""
    loaded = room.library.case(source, name)
    channels = loaded.study.case.image
    if not 0 <= channel < len(channels):
        raise HTTPException(404, f"there is no channel {channel}, but 0 to {len(channels) - 1}")
    _check_slice(loaded, axis, k)
    raw, scale, offset = encode(channels[channel].reshape(loaded.readers.shape).take(k, axis))
    shape = ",".join(map(str, raw.shape))
    headers = {"X-Shape": shape, "X-Scale": repr(scale), "X-Offset": repr(offset)}
    return Response(raw.tobytes(), headers=headers, media_type=_BITS)


@_router.get(f"{_CASE}/{{kind}}/{{k}}", response_class=Response)
def masks(
    room: Here, source: SourceId, name: Name, kind: Literal["samples", "readers"], k: int, axis: Axis = 2
) -> Response:
    """The samples or the readers' masks on a slice: S x h x w bits of the box X-Box, most significant first.

    There is no body where nothing is marked.
    """
    loaded = room.library.case(source, name)
    _check_slice(loaded, axis, k)
    marks = loaded.readers if kind == "readers" else room.library.panel(source, name).marks
    rows, columns = (span for place, span in enumerate(marks.box) if place != axis)
    plane = marks.plane(axis, k)
    box = f"{rows.start},{rows.stop},{columns.start},{columns.stop}"
    return Response(np.packbits(plane).tobytes(), headers={"X-Box": box, "X-Count": str(len(plane))}, media_type=_BITS)


@_router.get(f"{_CASE}/thumbnail", response_class=Response)
def thumbnail(room: Here, source: SourceId, name: Name) -> Response:
    """A small PNG of the case with all outlines."""
    return Response(room.thumbnail(source, name, room.library.panel(source, name)), media_type="image/png")


@_router.get(f"{_CASE}/scores")
def scores(room: Here, source: SourceId, name: Name) -> dict[str, Any]:
    """Every value of the samples against the readers; empty where there are no readers or no samples."""
    true, panel = room.library.case(source, name).study.case, room.library.panel(source, name)
    if not panel.marks or not len(true.readers):
        return {"values": [], "reason": "nobody read this case" if panel.marks else "there are no samples"}
    if len(panel.marks) * true.readers[0].size > _MOST_SCORED:
        return {"values": [], "reason": "the volume is too large to be scored while one waits"}
    evaluation = import_module("plurimask.evaluation")  # takes seconds, and the first picture is there before
    masks = panel.marks.whole().reshape(-1, *true.grid.shape)
    scored = evaluation.evaluate(
        [MaskSet(true.name, masks, true.grid, panel.method, weights=panel.weights)], {true.name: true}
    )
    columns = evaluation.COLUMNS
    return {
        "values": [
            {
                "key": key,
                "label": columns[key].label,
                "convention": columns[key].convention,
                "better": columns[key].better,
                "headline": columns[key].headline,
                "unit": scored.units.get(key),
                "value": value,
            }
            for key, value in scored.rows[0].values.items()
        ],
        "reason": None,
    }


@_router.post(f"{_CASE}/jobs", status_code=202)
def draw(room: Here, name: Name, asked: JobRequest) -> dict[str, str]:
    """Begin to draw further samples, into the set of masks that is named."""
    source = _checked_source(room, asked.source)
    job = room.jobs.start(source, name, asked.count, asked.region, asked.whole, asked.panel, asked.reader)
    return {"id": job.id, "source": job.source}


@_router.get("/jobs/{id}")
async def job(job: KnownJob) -> dict[str, Any]:
    """How far a job is."""
    return _progress(job)


@_router.get("/jobs/{id}/events", response_class=EventSourceResponse)
async def events(room: Here, job: KnownJob) -> AsyncIterator[dict[str, Any]]:
    """How far a job is, each time that this changes, until it is over."""
    told = None
    while room.is_open and (told is None or told["state"] == "running"):
        if (now := _progress(job)) != told:
            told = now
            yield now
        else:
            await asyncio.sleep(_BETWEEN_LOOKS)


@_router.delete("/jobs/{id}")
async def cancel(job: KnownJob) -> dict[str, Any]:
    """Stop a job at its next step; samples that it has drawn are let go."""
    job.cancelled = True
    return _progress(job)


@_router.post(f"{_CASE}/saved", status_code=201)
def save(room: Here, name: Name, asked: SaveRequest) -> dict[str, Any]:
    """Save a mask that a person chose or corrected."""
    source = _checked_source(room, asked.source)
    return room.saved.write(room.library.case(source, name), room.library.panel(source, name), asked)


@_router.get(f"{_CASE}/saved")
def saved(room: Here, name: Name) -> list[dict[str, Any]]:
    """What was saved of a case, oldest first."""
    return room.saved.list(name)


def _check_slice(loaded: Loaded, axis: int, index: int) -> None:
    count = loaded.readers.shape[axis]
    if not 0 <= index < count:
        raise HTTPException(404, f"there is no slice {index}, but 0 to {count - 1}")


def _progress(job: Job) -> dict[str, Any]:
    return {"state": job.state, "done": job.done, "total": job.total, "reason": job.reason}


class _Page:
    """The page's own files, which stay in memory: a start asks for all of them at once."""

    def __init__(self) -> None:
        paths = {f"/{path.name}": path for path in _STATIC.iterdir()}
        paths |= {f"/{_STYLE.name}/{path.name}": path for path in _STYLE.iterdir()}
        self._files = {address: (path.read_bytes(), guess_type(path)[0]) for address, path in paths.items()}
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


async def _problem(_: Request, error: Exception) -> Problem:
    """What a page is told of an error: our own in their words, of accidents no details."""
    match error:
        case AnyHTTPException():
            return Problem(error.status_code, str(error.detail))
        case PlurimaskError():
            return Problem(501 if isinstance(error, MissingPackageError) else 422, str(error))
        case RequestValidationError():
            first = error.errors()[0]
            return Problem(422, f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
        case OSError():
            status = 507 if error.errno == ENOSPC else 500
            return Problem(status, error.strerror or "a file cannot be read or written")
        case MemoryError():
            return Problem(507, "there is not enough memory for this case")
    return Problem(500, "something went wrong here; the terminal says what")
