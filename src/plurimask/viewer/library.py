"""The served cases and their masks, read when they are asked for; memory holds the latest of them."""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from threading import Lock

import numpy as np

from plurimask.errors import InputError, PlurimaskError
from plurimask.files.mask_sets import read_mask_set
from plurimask.files.study import Study
from plurimask.geometry import Grid
from plurimask.records import Case, MaskSet
from plurimask.viewer.cache import Cache
from plurimask.viewer.marks import Marks, Panel
from plurimask.viewer.places import Images, Source, check_inside, find_served, name_id
from plurimask.viewer.views import Summary, summarise, window

UNREADABLE = (PlurimaskError, OSError, MemoryError)
"""What reading files may raise."""

DRAWN_HERE = "drawn"
_STUDY_BYTES, _PANEL_BYTES = 2**29, 2**28


@dataclass(frozen=True, eq=False)
class Opened:
    """A case as it is kept in memory.

    Args:
        study: image, readers and grid.
        readers: what they marked.
        windows, ranges: of each channel, the values between which it is shown at first, and its least and greatest one.
        has_image: False where nobody gave an image, and zeros stand for it.
    """

    study: Study
    readers: Marks
    windows: tuple[tuple[float, float], ...]
    ranges: tuple[tuple[float, float], ...]
    has_image: bool

    @property
    def grid(self) -> Grid:
        """Of image and masks."""
        return self.study.case.grid


class Library:
    """Cases by name, and their mask sets by source.

    Args:
        title: of the page.
        sources: of mask sets.
        images: by name; None where there are none.
        drawing: whether there is a source for what is drawn here, which is the last; without mask sets there always is.
    """

    def __init__(self, title: str, sources: tuple[Source, ...], images: Images | None, drawing: bool) -> None:
        self.title = title
        own = (Source(DRAWN_HERE, "drawn here", Path(), {}),) if drawing or not sources else ()
        self.sources = {source.id: source for source in sources + own}
        self.images = images
        listed = chain(images or (), *(source.places for source in sources))
        self._names = {name_id(name): name for name in sorted(set(listed)) if name.isprintable()}
        self._studies: Cache[Opened] = Cache(_STUDY_BYTES, _weigh_study)
        self._panels: Cache[Panel] = Cache(_PANEL_BYTES, lambda panel: panel.marks.masks.nbytes)
        self._drawn: dict[tuple[str, str], Panel] = {}
        self._lock = Lock()

    def names(self, source: str) -> tuple[list[str], list[str]]:
        """The names of a source's cases, sorted, and those that cannot be shown because they are not printable."""
        names = self._listed(source)
        return [name for name in names if name.isprintable()], [name for name in names if not name.isprintable()]

    def name(self, identifier: str) -> str | None:
        """The name that an id stands for, if any."""
        return self._names.get(identifier)

    def case(self, source: str, name: str) -> Opened:
        """A case. Raises InputError, or as the file system does, where it cannot be read."""
        return self._studies.get(name, lambda: self._open(source, name))

    def panel(self, source: str, name: str) -> Panel | None:
        """The masks of a case, on its grid; None where nothing has been drawn. Raises as `case`."""
        with self._lock:
            drawn = self._drawn.get((source, name))
        if drawn is not None or source == DRAWN_HERE:
            return drawn
        return self._panels.get((source, name), lambda: self._read_panel(source, name))

    def keep(self, source: str, name: str, more: Panel) -> Panel:
        """Append samples to a panel in memory; the panel as it is then."""
        before = self.panel(source, name)
        panel = more if before is None else before.followed_by(more)
        with self._lock:
            self._drawn[source, name] = panel
        return panel

    def summary(self, source: str, name: str) -> Summary:
        """What a list says of a case; nothing that is read is kept. Raises as `case`."""
        opened = self._studies.known(name) or self._open(source, name)
        panel = self._drawn.get((source, name)) or self._panels.known((source, name))
        if panel is None and source != DRAWN_HERE:
            panel = self._checked(source, name, opened)
        return summarise(panel.marks if panel else None, opened.readers, opened.grid)

    def _listed(self, source: str) -> Collection[str]:
        """What is drawn here may be drawn for every image, or for every case of the first source."""
        return self.sources[source].places or self.images or self._first.places

    @property
    def _first(self) -> Source:
        return next(iter(self.sources.values()))

    def _open(self, source: str, name: str) -> Opened:
        if self.images is None:
            grid = self._read_set(source, name).grid
            blank = Case(name, np.zeros((1, *grid.shape), np.float32), np.zeros((0, *grid.shape), bool), grid)
            return _opened(Study(blank, "npy", ()), has_image=False)
        if name not in self.images:
            raise InputError(
                name, expected="masks of a case of the data", got="an unknown case", hint="give their own --data"
            )
        return _opened(self.images[name](), has_image=True)

    def _read_panel(self, source: str, name: str) -> Panel:
        return self._checked(source, name, self.case(source, name))

    def _checked(self, source: str, name: str, opened: Opened) -> Panel:
        panel = self._read_set(source, name)
        if not panel.grid.same_as(opened.grid):
            same_size = panel.grid.shape == opened.grid.shape
            raise InputError(
                name,
                expected=f"masks on the grid of the image, {_size(opened.grid)}",
                got="another affine" if same_size else _size(panel.grid),
                hint="give the image that they were drawn for",
            )
        return Panel.of(panel)

    def _read_set(self, source: str, name: str) -> MaskSet:
        first = self._first if source == DRAWN_HERE else self.sources[source]
        places = first.places.get(name, ())
        if len(places) != 1:
            got = f"{places[0].name} and {places[1].name}" if places else "none"
            raise InputError(name, expected="masks of the case in one form", got=got, hint="keep one of them")
        check_inside(first.root, places[0])
        return read_mask_set(places[0])


def open_library(path: Path, data: Path | None, drawing: bool) -> Library:
    """The library of a path; a lone study is read at once, so that it is there, or refused, when the page opens.

    Raises:
        InputError, DatasetError: as `find_served`; a lone study that cannot be read.
    """
    served = find_served(path, data)
    library = Library(served.title, served.sources, served.images, drawing)
    if not served.sources and served.images and len(served.images) == 1:
        library.case(DRAWN_HERE, next(iter(served.images)))
    return library


def scored_pair(opened: Opened, panel: Panel) -> tuple[MaskSet, Case]:
    """A panel and its case as `evaluate` takes them."""
    case = opened.study.case
    masks = panel.marks.whole().reshape(-1, *case.grid.shape)
    return MaskSet(case.name, masks, case.grid, panel.method), case


def _opened(study: Study, has_image: bool) -> Opened:
    channels = study.case.image
    windows = tuple(window(channel) for channel in channels)
    ranges = tuple((float(channel.min()), float(channel.max())) for channel in channels)
    return Opened(study, Marks.of(study.case.raters), windows, ranges, has_image)


def _weigh_study(opened: Opened) -> int:
    case = opened.study.case
    return case.image.nbytes + case.raters.nbytes + opened.readers.masks.nbytes


def _size(grid: Grid) -> str:
    return "x".join(map(str, grid.shape))
