"""Drawing further samples in a thread, one job at a time: progress, cancel."""

import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from threading import Lock, Thread
from typing import TYPE_CHECKING, Literal

from plurimask.errors import PlurimaskError
from plurimask.seeds import sample_seeds
from plurimask.viewer.later import sampling
from plurimask.viewer.library import UNREADABLE, Library, Opened
from plurimask.viewer.marks import Panel
from plurimask.viewer.problems import ProblemError
from plurimask.viewer.summaries import Summaries

if TYPE_CHECKING:
    from plurimask.diffusion.samplers import SamplerSettings
    from plurimask.sampling import Model, Region

State = Literal["running", "finished", "cancelled", "failed"]
_KEPT, _MOST_SAMPLES, _MOST_VOXELS = 32, 1024, 2**31


class _Cancelled(Exception):
    """Ends a drawing from within."""


class ServedModel:
    """The model that draws, loaded in a thread, since that takes seconds.

    Args:
        name: as `load` takes it; None: none is served.
        device: as `load` takes it.
    """

    def __init__(self, name: str | None, device: str = "auto") -> None:
        self.name = name
        self.model: Model | None = None
        self.loading = name is not None
        self.reason = "no model is served; start with --model" if name is None else f"{name} is being loaded"
        if name is not None:
            Thread(target=self._load, args=(name, device), daemon=True).start()

    def _load(self, name: str, device: str) -> None:
        try:
            self.model = sampling().load(name, device)
            self.reason = ""
        except UNREADABLE as error:
            self.reason = str(error)
        except Exception:
            self.reason = f"{name} could not be loaded; the terminal says why"
            raise
        finally:
            self.loading = False


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
    """All jobs of a server: one that runs, and the latest that are over.

    Args:
        library: where samples go.
        summaries: are told of a panel that has grown.
        served: what draws.
    """

    def __init__(self, library: Library, summaries: Summaries, served: ServedModel) -> None:
        self._library, self._summaries, self._served = library, summaries, served
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._lock = Lock()

    def get(self, identifier: str) -> Job:
        """A job. Raises ProblemError where there is none."""
        job = self._jobs.get(identifier)
        if job is None:
            raise ProblemError(404, "no such job")
        return job

    @property
    def running(self) -> Job | None:
        """The job that runs."""
        return next((job for job in list(self._jobs.values()) if job.state == "running"), None)

    def needs_region(self, opened: Opened, before: Panel | None) -> bool:
        """Whether further samples must be given a region: the model saw crops, and those that are there have none."""
        model = self._served.model
        return model is not None and _region(before, opened) is None and sampling().needs_region(model, opened.study)

    def cancel(self, identifier: str) -> Job:
        """Stop a job at its next look at the image."""
        job = self.get(identifier)
        job.cancelled = True
        return job

    def start(self, source: str, case: str, count: int, region: str | None, whole: bool) -> Job:
        """Begin to draw `count` samples that follow those of the panel as in one longer draw.

        `region` is as `--roi` takes it; without one, that of the samples that are there.

        Raises:
            ProblemError: no model, another job that runs, samples of another origin, or an image that needs a region.
            InputError, SettingsError: a case that cannot be read, a region that cannot be understood.
        """
        model = self._served.model
        if model is None:
            raise ProblemError(409, self._served.reason)
        opened, before = self._library.case(source, case), self._library.panel(source, case)
        if not opened.has_image:
            raise ProblemError(409, "there is no image to draw for; start with --data")
        seed, sampler = _origin(model, opened, before)
        chosen = sampling().parse_region(text) if (text := region or _region(before, opened)) and not whole else None
        _check_size(model, opened, before, count, chosen, whole)
        job = Job(secrets.token_urlsafe(9), case, source)
        with self._lock:
            if self.running is not None:
                raise ProblemError(409, "samples are being drawn already; wait, or cancel that")
            self._jobs[job.id] = job
            while len(self._jobs) > _KEPT:
                self._jobs.popitem(last=False)

        def draw() -> Panel:
            skip = len(before.marks.masks) if before else 0
            more = sampling().sample_study(model, opened.study, count, seed, sampler, chosen, whole, job.tick, skip)
            return Panel.of(more)

        Thread(target=self._run, args=(job, draw, before), daemon=True).start()
        return job

    def _run(self, job: Job, draw: Callable[[], Panel], before: Panel | None) -> None:
        try:
            more = draw()
            if job.cancelled:
                raise _Cancelled
            if before is not None and before.settings != more.settings:
                job.reason, job.state = "the samples that are there were drawn with other settings", "failed"
                return
            self._library.keep(job.source, job.case, more)
            self._summaries.forget((job.source, job.case))
            job.state = "finished"
        except _Cancelled:
            job.state = "cancelled"
        except UNREADABLE as error:
            job.reason, job.state = str(error) or type(error).__name__, "failed"
        except Exception:
            job.reason, job.state = "the drawing stopped; the terminal says why", "failed"
            raise


def _origin(model: "Model", opened: Opened, before: Panel | None) -> "tuple[int, SamplerSettings | None]":
    """Seed and sampler that the next samples are drawn with. ProblemError where they would not be of one panel."""
    if before is None:
        return 0, None
    seed, count = before.settings.get("seed"), len(before.marks.masks)
    ours = (
        isinstance(seed, int)
        and before.checkpoint == model.checkpoint.digest
        and before.seeds == sample_seeds(opened.study.case.image, seed, count)
    )
    if not ours:
        raise ProblemError(409, f"these samples were not drawn by {model.name} for this image; draw into 'drawn here'")
    try:
        return int(before.settings["seed"]), model.sampler(before.settings.get("name"), before.settings.get("steps"))
    except PlurimaskError as error:
        raise ProblemError(409, str(error)) from error


def _region(before: Panel | None, opened: Opened) -> str | None:
    spans = before.settings.get("region") if before else None
    return ",".join(f"{a}:{b}" for a, b in spans[: len(opened.grid.shape)]) if spans else None


def _check_size(
    model: "Model", opened: Opened, before: Panel | None, count: int, region: "Region | None", whole: bool
) -> None:
    if region is None and not whole and sampling().needs_region(model, opened.study):
        raise ProblemError(422, f"{model.name} saw crops of lesions alone: give a region, or ask for the whole image")
    if (len(before.marks.masks) if before else 0) + count > _MOST_SAMPLES:
        raise ProblemError(422, f"a panel has at most {_MOST_SAMPLES} samples here")
    if region is None and count * prod(opened.grid.shape) > _MOST_VOXELS:
        raise ProblemError(422, "so many samples of the whole image do not fit; ask for fewer, or for a region")
