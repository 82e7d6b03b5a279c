"""Drawing further samples in the background, one job at a time: progress, cancel."""

import secrets
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from importlib import import_module
from math import prod
from threading import Lock
from types import ModuleType
from typing import TYPE_CHECKING, Literal

from cachetools import FIFOCache
from fastapi import HTTPException

from plurimask.errors import PlurimaskError
from plurimask.seeds import sample_seeds
from plurimask.viewer.library import DRAWN_HERE, Library, told
from plurimask.viewer.listing import Summaries
from plurimask.viewer.marks import Loaded, Panel

if TYPE_CHECKING:
    from plurimask.diffusion.samplers import SamplerSettings
    from plurimask.sampling import Model, PanelKind, Region

State = Literal["running", "finished", "cancelled", "failed"]
_REMEMBERED, _MOST_SAMPLES, _MOST_VOXELS = 32, 1024, 2**31


def sampling() -> ModuleType:
    """What draws: it takes seconds to import, and the first picture is there before."""
    return import_module("plurimask.sampling")


class _Cancelled(Exception):
    """Ends a drawing from within."""


@dataclass(eq=False)
class Job:
    """One request for samples.

    Args:
        id: opaque.
        case, source: what is drawn for, by name, and where the samples go.
        state: of the job.
        done, total: looks of the network at the image.
        reason: why it failed.
    """

    id: str
    case: str
    source: str
    state: State = "running"
    done: int = 0
    total: int = 0
    reason: str | None = None
    cancelled: bool = False

    def tick(self, done: int, total: int) -> None:
        """Progress of the drawing, which stops here where it is cancelled."""
        self.done, self.total = done, total
        if self.cancelled:
            raise _Cancelled


class Jobs:
    """The model that draws, and all of its jobs: one that runs, and the latest that are over.

    The model is loaded in the background, since that takes seconds.

    Args:
        library: where samples go.
        summaries: are told of a panel that has grown.
        model: as `load` takes it, or loaded; None: none is served.
        device: as `load` takes it.
        pool: in which it is loaded and draws.
    """

    def __init__(
        self, library: Library, summaries: Summaries, model: "str | Model | None", device: str, pool: Executor
    ) -> None:
        self._library, self._summaries, self._pool = library, summaries, pool
        self._jobs: FIFOCache[str, Job] = FIFOCache(_REMEMBERED)
        self._latest: Job | None = None
        self._lock = Lock()
        self.model = None if isinstance(model, str) else model
        self.model_name = model if isinstance(model, str) else model and model.name
        self.is_loading = isinstance(model, str)
        self.reason: str | None = None
        """Why nothing can be drawn."""
        if model is None:
            self.reason = "no model is served; start with --model"
        elif isinstance(model, str):
            self.reason = f"{model} is being loaded"
            pool.submit(self._load, model, device)

    def _load(self, name: str, device: str) -> None:
        try:
            self.model, self.reason = sampling().load(name, device), None
        except BaseException as error:  # noqa: BLE001
            self.reason = told(error, f"{name} could not be loaded")
        finally:
            self.is_loading = False

    def get(self, identifier: str) -> Job | None:
        """A job, if it is known."""
        return self._jobs.get(identifier)

    @property
    def running(self) -> Job | None:
        """The job that runs."""
        return self._latest if self._latest and self._latest.state == "running" else None

    def needs_region(self, loaded: Loaded, before: Panel) -> bool:
        """Whether further samples must be given a region: the model saw crops, and those that are there have none."""
        return (
            self.model is not None
            and _region(before, loaded) is None
            and sampling().needs_region(self.model, loaded.study)
        )

    def start(
        self,
        source: str,
        case: str,
        count: int,
        region: str | None,
        whole: bool,
        kind: "PanelKind" = "independent",
        reader: str | None = None,
    ) -> Job:
        """Begin to draw `count` samples that follow those of the panel as in one longer draw.

        `region` is as `--roi` takes it; without one, that of the samples that are there. Of what is drawn here,
        a representative panel takes the place, and independent draws that of a representative panel. So do draws as
        another `reader` than those that are there.

        Raises:
            HTTPException: no model, another job that runs, samples of another origin, or an image that needs a region.
            InputError, SettingsError: a case that cannot be read, a region that cannot be understood, a reader whom the
                model does not know.
        """
        model = self.model
        if model is None:
            raise HTTPException(409, self.reason)
        loaded, shown = self._library.case(source, case), self._library.panel(source, case)
        if not loaded.has_image:
            raise HTTPException(409, "there is no image to draw for; start with --data")
        model.pool(kind, None, count)
        model = model if reader is None else model.as_reader(reader)
        is_apart = kind == "representative" or (len(shown.marks) > 0 and shown.settings.get("reader") != reader)
        source = DRAWN_HERE if is_apart else source
        is_whole = is_apart or (source == DRAWN_HERE and shown.weights is not None)
        before = replace(shown, marks=replace(shown.marks, masks=shown.marks.masks[:0])) if is_whole else shown
        seed, sampler = _origin(model, loaded, before)
        chosen = sampling().parse_region(text) if (text := region or _region(shown, loaded)) and not whole else None
        _check_size(model, loaded, before, count, chosen, whole)
        job = Job(secrets.token_urlsafe(9), case, source)
        with self._lock:
            if self.running is not None:
                raise HTTPException(409, "samples are being drawn already; wait, or cancel that")
            self._jobs[job.id] = self._latest = job

        def draw() -> Panel:
            skip = len(before.marks)
            more = sampling().sample_study(
                model, loaded.study, count, seed, sampler, chosen, whole, job.tick, skip, kind
            )
            return Panel.of(more)

        self._pool.submit(self._run, job, draw, before, is_whole)
        return job

    def _run(self, job: Job, draw: Callable[[], Panel], before: Panel, is_whole: bool) -> None:
        try:
            more = draw()
            if job.cancelled:
                raise _Cancelled
            if before.marks and before.settings != more.settings:
                job.reason, job.state = "the samples that are there were drawn with other settings", "failed"
                return
            self._library.keep(job.source, job.case, more, is_whole)
            self._summaries.forget((job.source, job.case))
            job.state = "finished"
        except _Cancelled:
            job.state = "cancelled"
        except BaseException as error:  # noqa: BLE001
            job.reason, job.state = told(error, "the drawing stopped"), "failed"


def _origin(model: "Model", loaded: Loaded, before: Panel) -> "tuple[int, SamplerSettings | None]":
    """Seed and sampler that the next samples are drawn with. Refused where they would not be of one panel."""
    if not before.marks:
        return 0, None
    seed, count = before.settings.get("seed"), len(before.marks)
    ours = (
        isinstance(seed, int)
        and abs(seed) < 2**64
        and before.checkpoint == model.checkpoint.digest
        and before.seeds == sample_seeds(loaded.study.case.content, seed, count)
    )
    if not ours:
        raise HTTPException(409, f"these samples were not drawn by {model.name} for this image; draw into 'drawn here'")
    try:
        return int(before.settings["seed"]), model.sampler(before.settings.get("name"), before.settings.get("steps"))
    except PlurimaskError as error:
        raise HTTPException(409, str(error)) from error


def _region(before: Panel, loaded: Loaded) -> str | None:
    """That of the samples that are there, as `--roi` takes it; None where their settings say none, or no such thing."""
    try:
        return ",".join(f"{a}:{b}" for a, b in before.settings["region"][: len(loaded.grid.shape)]) or None
    except (KeyError, TypeError, ValueError):
        return None


def _check_size(
    model: "Model", loaded: Loaded, before: Panel, count: int, region: "Region | None", whole: bool
) -> None:
    if region is None and not whole and sampling().needs_region(model, loaded.study):
        raise HTTPException(422, f"{model.name} saw crops of lesions alone: give a region, or ask for the whole image")
    if len(before.marks) + count > _MOST_SAMPLES:
        raise HTTPException(422, f"a panel has at most {_MOST_SAMPLES} samples here")
    if region is None and count * prod(loaded.grid.shape) > _MOST_VOXELS:
        raise HTTPException(422, "so many samples of the whole image do not fit; ask for fewer, or for a region")
