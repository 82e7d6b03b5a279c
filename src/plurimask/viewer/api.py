"""The HTTP interface of the reading room, and nothing else: docs/reading-room.md has it in short."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from plurimask.version import version
from plurimask.viewer import saving
from plurimask.viewer.cache import Cache
from plurimask.viewer.description import describe
from plurimask.viewer.jobs import Job, Jobs, ServedModel
from plurimask.viewer.later import evaluation
from plurimask.viewer.library import Library, Opened, scored_pair
from plurimask.viewer.listing import Order, Sort, list_cases, plain
from plurimask.viewer.marks import Marks, Panel, across
from plurimask.viewer.patient import patient_of
from plurimask.viewer.places import name_id
from plurimask.viewer.problems import ProblemError
from plurimask.viewer.summaries import Summaries
from plurimask.viewer.thumbnails import thumbnail
from plurimask.viewer.views import encode

API = "/api/v1"
_BITS = "application/octet-stream"
_THUMBNAIL_BYTES, _MOST_SCORED = 32 * 2**20, 2**27
_BEAT, _PACE = 15.0, 0.1  # seconds between signs of life, and between looks at a job

Axis = Annotated[int, Query(ge=0, le=2, description="Across which the volume is cut.")]
SourceId = Annotated[str | None, Query(max_length=64, description="A set of masks; the first unless given.")]


class JobRequest(BaseModel):
    """Samples to draw.

    Args:
        count: how many.
        source: the set of masks that they join; the first unless given.
        region: the part of the study to draw, as `--roi` takes it.
        whole: all of a study that is larger than the model's field.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    count: Annotated[int, Field(ge=1, le=256)]
    source: str | None = None
    region: Annotated[str, Field(max_length=200)] | None = None
    whole: bool = False


@dataclass(frozen=True)
class Room:
    """What a server serves.

    Args:
        library: the cases.
        served: the model that draws.
        out: where chosen masks go.
        show_identity: whether names and numbers of patients are sent.
    """

    library: Library
    served: ServedModel
    out: Path
    show_identity: bool = False


class Api:
    """The answers to every address."""

    def __init__(self, room: Room) -> None:
        self._room, self._library = room, room.library
        self._summaries = Summaries(room.library.summary)
        self._jobs = Jobs(room.library, self._summaries, room.served)
        self._saved = saving.Saved(room.out)
        self._thumbnails: Cache[bytes] = Cache(_THUMBNAIL_BYTES, len)

    def add_to(self, app: FastAPI) -> None:
        """Take the addresses under `API`."""
        case = f"{API}/cases/{{id}}"
        app.get(f"{API}/info")(self.info)
        app.get(f"{API}/cases")(self.cases)
        app.get(case)(self.case)
        app.get(f"{case}/image/{{k}}", response_class=Response)(self.image)
        app.get(f"{case}/samples/{{k}}", response_class=Response)(self.samples)
        app.get(f"{case}/readers/{{k}}", response_class=Response)(self.readers)
        app.get(f"{case}/thumbnail", response_class=Response)(self.thumbnail)
        app.get(f"{case}/scores")(self.scores)
        app.post(f"{case}/jobs", status_code=202)(self.draw)
        app.get(f"{API}/jobs/{{id}}")(self.job)
        app.get(f"{API}/jobs/{{id}}/events", response_class=StreamingResponse)(self.events)
        app.delete(f"{API}/jobs/{{id}}")(self.cancel)
        app.post(f"{case}/saved", status_code=201)(self.save)
        app.get(f"{case}/saved")(self.saved)

    def info(self) -> dict[str, Any]:
        """What is served, by which model samples can be drawn, and the job that runs."""
        served, job = self._room.served, self._jobs.running
        return {
            "version": version(),
            "title": self._library.title,
            "sources": [{"id": source.id, "label": source.label} for source in self._library.sources.values()],
            "model": {
                "name": served.name,
                "ready": served.model is not None,
                "loading": served.loading,
                "reason": served.reason or None,
            },
            "job": None if job is None else {"id": job.id, "case": name_id(job.case), "source": job.source},
            "formats": list(saving.FORMATS),
        }

    def cases(
        self,
        source: SourceId = None,
        sort: Sort = "name",
        order: Order = "asc",
        offset: Annotated[int, Query(ge=0, lt=2**31)] = 0,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        holding: Annotated[str | None, Query(max_length=64, description="A case, whose page is meant.")] = None,
    ) -> dict[str, Any]:
        """A page of cases. Values are null while they are worked out; `computing` says how far that is."""
        name = None if holding is None else self._name(holding)
        return list_cases(self._library, self._summaries, self._source(source), sort, order, offset, limit, name)

    def case(self, id: str, source: SourceId = None) -> dict[str, Any]:
        """All of a case but its pixels."""
        opened, panel = self._find(id, source)
        shown: dict[str, Any] = {"patient": patient_of(opened.study)} if self._room.show_identity else {}
        formats = [one for one in saving.FORMATS if one == "nifti" or opened.study.format == "dicom"]
        more = {"formats": formats, "needs_region": self._jobs.needs_region(opened, panel)}
        return describe(opened, panel) | more | shown

    def image(self, id: str, k: int, channel: int = 0, axis: Axis = 2, source: SourceId = None) -> Response:
        """A slice as int16, little endian: value = raw * X-Scale + X-Offset."""
        opened = self._library.case(self._source(source), self._name(id))
        image = opened.study.case.image
        if not 0 <= channel < len(image):
            raise ProblemError(404, f"there is no channel {channel}, but 0 to {len(image) - 1}")
        _check_slice(opened, axis, k)
        raw, scale, offset = encode(across(image[channel].reshape(opened.readers.shape), axis, k))
        shape = ",".join(map(str, raw.shape))
        headers = {"X-Shape": shape, "X-Scale": repr(scale), "X-Offset": repr(offset)}
        return Response(raw.tobytes(), headers=headers, media_type=_BITS)

    def samples(self, id: str, k: int, axis: Axis = 2, source: SourceId = None) -> Response:
        """The samples on a slice: S x h x w bits of the box X-Box; no body where nothing is marked."""
        opened, panel = self._find(id, source)
        _check_slice(opened, axis, k)
        return _packed(None if panel is None else panel.marks, axis, k)

    def readers(self, id: str, k: int, axis: Axis = 2, source: SourceId = None) -> Response:
        """The readers' masks on a slice, as samples are."""
        opened = self._library.case(self._source(source), self._name(id))
        _check_slice(opened, axis, k)
        return _packed(opened.readers, axis, k)

    def thumbnail(self, id: str, source: SourceId = None) -> Response:
        """A small PNG of the case with all outlines."""
        opened, panel = self._find(id, source)
        key = (self._source(source), id, 0 if panel is None else len(panel.marks.masks))
        return Response(self._thumbnails.get(key, lambda: thumbnail(opened, panel)), media_type="image/png")

    def scores(self, id: str, source: SourceId = None) -> dict[str, Any]:
        """Every value of the samples against the readers; empty where there are no readers or no samples."""
        opened, panel = self._find(id, source)
        if panel is None or not len(opened.readers.masks):
            return {"values": [], "reason": "there are no samples" if panel is None else "nobody read this case"}
        if len(panel.marks.masks) * opened.study.case.raters[0].size > _MOST_SCORED:
            return {"values": [], "reason": "the volume is too large to be scored while one waits"}
        masks, case = scored_pair(opened, panel)
        scored, columns = evaluation().evaluate([masks], {case.name: case}), evaluation().COLUMNS
        return {
            "values": [
                {
                    "key": key,
                    "label": columns[key].label,
                    "convention": columns[key].convention,
                    "better": columns[key].better,
                    "headline": columns[key].headline,
                    "unit": scored.units.get(key),
                    "value": plain(value),
                }
                for key, value in scored.rows[0].values.items()
            ],
            "reason": None,
        }

    def draw(self, id: str, asked: JobRequest) -> dict[str, str]:
        """Begin to draw further samples."""
        job = self._jobs.start(self._source(asked.source), self._name(id), asked.count, asked.region, asked.whole)
        return {"id": job.id}

    def job(self, id: str) -> dict[str, Any]:
        """How far a job is."""
        return _state(self._jobs.get(id))

    async def events(self, id: str) -> StreamingResponse:
        """How far a job is, each time that this changes, until it is over."""
        headers = {"X-Accel-Buffering": "no"}
        return StreamingResponse(_follow(self._jobs.get(id)), media_type="text/event-stream", headers=headers)

    def cancel(self, id: str) -> dict[str, Any]:
        """Stop a job; samples that it has drawn are let go."""
        return _state(self._jobs.cancel(id))

    def save(self, id: str, asked: saving.Request) -> dict[str, Any]:
        """Save a mask that a person chose or corrected."""
        opened, panel = self._find(id, asked.source)
        return self._saved.write(opened, panel, asked)

    def saved(self, id: str) -> list[dict[str, Any]]:
        """What was saved of a case, oldest first."""
        return self._saved.list(self._name(id))

    def _find(self, identifier: str, source: str | None) -> tuple[Opened, Panel | None]:
        key = self._source(source), self._name(identifier)
        return self._library.case(*key), self._library.panel(*key)

    def _source(self, source: str | None) -> str:
        if source is None:
            return next(iter(self._library.sources))
        if source not in self._library.sources:
            raise ProblemError(404, "no such source")
        return source

    def _name(self, identifier: str) -> str:
        name = self._library.name(identifier)
        if name is None:
            raise ProblemError(404, "no such case")
        return name


def _check_slice(opened: Opened, axis: int, index: int) -> None:
    count = opened.readers.shape[axis]
    if not 0 <= index < count:
        raise ProblemError(404, f"there is no slice {index}, but 0 to {count - 1}")


def _packed(marks: Marks | None, axis: int, index: int) -> Response:
    """Bits of one slice, samples first, most significant bit first, without padding between rows."""
    if marks is None:
        return Response(b"", headers={"X-Box": "0,0,0,0", "X-Count": "0"}, media_type=_BITS)
    masks = marks.plane(axis, index)
    rows, columns = (span for place, span in enumerate(marks.box) if place != axis)
    box = f"{rows.start},{rows.stop},{columns.start},{columns.stop}"
    headers = {"X-Box": box, "X-Count": str(len(masks))}
    return Response(np.packbits(masks).tobytes(), headers=headers, media_type=_BITS)


def _state(job: Job) -> dict[str, Any]:
    return {"state": job.state, "done": job.done, "total": job.total, "reason": job.reason}


async def _follow(job: Job) -> AsyncIterator[str]:
    said, silent = None, 0.0
    while True:
        now = _state(job)
        if now != said:
            said, silent = now, 0.0
            yield f"data: {json.dumps(now)}\n\n"
        elif silent > _BEAT:
            silent = 0.0
            yield ": still there\n\n"
        if now["state"] != "running":
            return
        await asyncio.sleep(_PACE)
        silent += _PACE
