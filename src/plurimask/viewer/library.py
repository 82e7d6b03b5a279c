"""The served cases and their masks: what lies at a path, read when it is asked for; memory holds the latest."""

import json
import logging
import math
import os
from base64 import urlsafe_b64encode
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from threading import Condition
from typing import Any

import numpy as np
from cachetools import LRUCache, cachedmethod

from plurimask.datasets.changed import crop_case
from plurimask.datasets.dataset import Dataset
from plurimask.datasets.demo_cases import demo_cases
from plurimask.datasets.open import CaseFolder, open_dataset
from plurimask.errors import InputError, PlurimaskError, need
from plurimask.files.dicom import referred_series
from plurimask.files.dicom_headers import is_segmentation, read_header
from plurimask.files.locate import Located, Study, locate, open_study, study_name
from plurimask.files.mask_sets import find_mask_files, read_mask_set
from plurimask.files.stored import list_visible, readable
from plurimask.geometry import Grid, same_grid
from plurimask.records import Case, MaskSet
from plurimask.viewer.marks import Loaded, Marks, Panel
from plurimask.viewer.views import Summary, summarise, window

DRAWN_HERE = "drawn"
_TABLES = ("patients.csv", "split.csv", "index.csv", "masks.npz")
_CASE_BYTES, _PANEL_BYTES = 2**29, 2**28
_READ, _LOOK = "files that can be read", "look at the files of this case"
_KINDS = "a folder of mask sets, a study, a dataset, or the folder of a demo or a benchmark"
_PATIENT = {"name": "PatientName", "number": "PatientID", "born": "PatientBirthDate", "sex": "PatientSex"}

Images = Mapping[str, Callable[[], Study]]


@dataclass(frozen=True)
class Source:
    """Mask sets that belong together: one a case at most.

    Args:
        label: as people read it.
        root: the folder that they lie in, out of which no link may lead; None for what is drawn here.
        paths: of each case's set, by name, sorted; two where a case is there in two forms.
    """

    label: str
    root: Path | None
    paths: Mapping[str, tuple[Path, ...]]

    @property
    def id(self) -> str:
        """As addresses have it."""
        return DRAWN_HERE if self.root is None else name_id(self.label)


class Library:
    """Cases by name, and their mask sets by source.

    Args:
        title: of the page.
        sources: of mask sets; none for a study or a dataset.
        images: by name, read by a call; None where the mask sets come without.
        drawing: whether there is a source for what is drawn here, which is the last; without mask sets there always is.
        follow_links: also out of the folders of the sources.
    """

    def __init__(
        self,
        title: str,
        sources: tuple[Source, ...],
        images: Images | None,
        drawing: bool,
        follow_links: bool = False,
    ) -> None:
        self.title = printable(title)
        own = (Source("drawn here", None, {}),) if drawing or not sources else ()
        self._first = (sources + own)[0]
        self.sources = {source.id: source for source in sources + own}
        self.images, self._follow_links = images, follow_links
        listed = chain(images or (), *(source.paths for source in sources))
        self._names = {name_id(name): name for name in listed if name.isprintable()}
        self._cases: LRUCache[str, Loaded] = _latest(_CASE_BYTES)
        self._panels: LRUCache[tuple[str, str], Panel] = _latest(_PANEL_BYTES)
        self._drawn: dict[tuple[str, str], Panel] = {}
        self._turn = Condition()

    def names(self, source: str) -> tuple[list[str], list[str]]:
        """The names of a source's cases, sorted, and those that cannot be shown because they are not printable.

        What is drawn here may be drawn for every image, or for every case of the first source.
        """
        names: Collection[str] = self.sources[source].paths or self.images or self._first.paths
        return [name for name in names if name.isprintable()], [name for name in names if not name.isprintable()]

    def name(self, identifier: str) -> str | None:
        """The name that an id stands for, if any."""
        return self._names.get(identifier)

    @cachedmethod(lambda self: self._cases, lambda self, source, name: name, condition=lambda self: self._turn)
    def case(self, source: str, name: str) -> Loaded:
        """A case. Raises InputError, or as the file system does, where it cannot be read."""
        return self._read_case(source, name)

    def panel(self, source: str, name: str) -> Panel:
        """The masks of a case, on its grid. Raises as `case`."""
        return self._drawn.get((source, name)) or self._stored_panel(source, name)

    def keep(self, source: str, name: str, more: Panel, is_whole: bool = False) -> None:
        """Append samples to a panel in memory, or take them in its place."""
        self._drawn[source, name] = more if is_whole else self.panel(source, name).followed_by(more)

    def summary(self, source: str, name: str) -> Summary:
        """What a list says of a case; nothing that is read is kept. Raises as `case`."""
        with self._turn:
            loaded, panel = self._cases.get(name), self._drawn.get((source, name)) or self._panels.get((source, name))
        loaded = loaded or self._read_case(source, name)
        panel = panel or self._read_panel(source, name, loaded)
        found = summarise(panel.marks, loaded.readers, loaded.grid)
        return found if panel.weights is None else replace(found, score=math.nan)  # U-GED needs independent draws

    @cachedmethod(
        lambda self: self._panels, lambda self, source, name: (source, name), condition=lambda self: self._turn
    )
    def _stored_panel(self, source: str, name: str) -> Panel:
        return self._read_panel(source, name, self.case(source, name))

    def _read_case(self, source: str, name: str) -> Loaded:
        if self.images is None:
            grid = self._read_set(source, name).grid
            blank = Case(name, np.zeros((1, *grid.shape), np.float32), np.zeros((0, *grid.shape), bool), grid)
            return _loaded(Study(blank, "npy", ()), has_image=False)
        with readable(name, _READ, _LOOK):
            study = self.images[name]() if name in self.images else self._referred(source, name)
            if study is not None:
                return _loaded(study, has_image=True)
        raise InputError(
            name, expected="masks of a case of the data", got="an unknown case", hint="give their own --data"
        )

    def _referred(self, source: str, name: str) -> Study | None:
        """The study of another name whose series a SEG refers to: the only one, or one by its UID, as fetched."""
        assert self.images is not None
        files = find_mask_files(self._set_path(source, name))
        if files is None or files.stack is None or not is_segmentation(files.stack):
            return None
        series = referred_series(files.stack)
        study = next((read() for one, read in self.images.items() if len(self.images) == 1 or one == series), None)
        if study is None or study.format != "dicom" or read_header(study.sources[0]).series != series:
            return None
        return replace(study, case=replace(study.case, name=name))

    def _read_panel(self, source: str, name: str, loaded: Loaded) -> Panel:
        if source == DRAWN_HERE:
            return Panel(Marks.of(np.zeros((0, *loaded.readers.shape), np.bool_)))
        panel = self._read_set(source, name, lambda: loaded.grid)
        same_grid(name, panel.grid, loaded.grid, "the image", "give the image that the masks were drawn for")
        return Panel.of(panel)

    def _read_set(self, source: str, name: str, image: Callable[[], Grid] | None = None) -> MaskSet:
        path = self._set_path(source, name)
        with readable(name, _READ, _LOOK):
            return read_mask_set(path, image)

    def _set_path(self, source: str, name: str) -> Path:
        stored = self._first if source == DRAWN_HERE else self.sources[source]
        paths = stored.paths.get(name, ())
        if len(paths) != 1 or stored.root is None:
            got = f"{paths[0].name} and {paths[1].name}" if paths else "none"
            raise InputError(name, expected="masks of the case in one form", got=got, hint="keep one of them")
        with readable(name, _READ, _LOOK):
            check_plain(paths[0], None if self._follow_links else stored.root)
        return paths[0]


def open_library(path: Path, data: Path | None, drawing: bool, follow_links: bool = False) -> Library:
    """The library of a path; a lone study is read at once, so that it is there, or refused, when the page opens.

    Names and tables are read, no other file.

    Args:
        path: what is served.
        data: a dataset or a study with the images of the mask sets.
        drawing: as `Library` has it.
        follow_links: also out of `path` and `data`, as datasets of DVC, datalad or git-annex need it.

    Raises:
        InputError: nothing there, nothing that can be served, or a lone study that cannot be read.
        DatasetError: as `open_dataset`.
    """
    for one in (path, data):
        if one is not None and not one.exists():
            raise InputError(one, expected=_KINDS, got="nothing there", hint="check the path")
    root, title = path.resolve(), path.absolute().name
    sources = _sources(locate(root))
    if sources:
        images = _middles(root, _images(data.resolve(), follow_links), follow_links) if data else _demo_images(sources)
        return Library(title, sources, images, drawing, follow_links)
    if data is not None:
        raise InputError(path, expected="mask sets, where --data is given", got="none", hint="leave --data out")
    library = Library(title, (), _images(root, follow_links), drawing)
    if library.images and len(library.images) == 1:
        library.case(DRAWN_HERE, next(iter(library.images)))
    return library


def name_id(name: str) -> str:
    """What stands for a name in addresses: it cannot be a path, whatever the name is."""
    return urlsafe_b64encode(blake2b(os.fsencode(name), digest_size=12).digest()).decode()


def check_plain(found: Path, root: Path | None) -> None:
    """Raises InputError for a pipe or a device, and for what a link leads to out of `root`, where there is one.

    Args:
        found: a file, or a folder with all that lies in it.
        root: None where links may lead anywhere.
    """
    for path in (found, *found.rglob("*")):
        if root is not None and not path.resolve().is_relative_to(root):
            raise InputError(
                path,
                expected="files below the served folder",
                got="a link out of it",
                hint="copy what it leads to, or add --follow-links",
            )
        if not (path.is_file() or path.is_dir()):
            raise InputError(path, expected="a plain file", got="a pipe, a device or a broken link", hint="remove it")


def printable(text: str) -> str:
    """What a page can be sent: bytes of names that are no UTF-8, and whatever else cannot be printed, as escapes."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def told(error: BaseException, what: str) -> str:
    """What a page is told of an error in the background: of accidents `what` happened, and details in the terminal."""
    if isinstance(error, PlurimaskError | OSError | MemoryError):
        return printable(str(error)) or type(error).__name__
    logging.getLogger(__name__).error(what, exc_info=error)
    return f"{what}; the terminal says why"


def patient_of(study: Study) -> dict[str, str]:
    """What the header of a DICOM study says of the patient; else what patients.csv says, where anything does.

    Asked for only where `--show-identity` is given.
    """
    if study.format != "dicom":
        return {"number": study.case.patient} if study.case.patient is not None else {}
    header = need("pydicom", "dicom").dcmread(
        study.sources[0], stop_before_pixels=True, specific_tags=list(_PATIENT.values())
    )
    return {key: str(header[word].value) for key, word in _PATIENT.items() if header.get(word)}


def _latest(limit: int) -> "LRUCache[Any, Any]":
    """Holds the values used last, up to `limit` bytes; a single one that is larger is held alone."""
    return LRUCache(limit, lambda value: min(limit, value.nbytes))


def _loaded(study: Study, has_image: bool) -> Loaded:
    channels = study.case.image
    windows = tuple(window(channel) for channel in channels)
    ranges = tuple((float(channel.min()), float(channel.max())) for channel in channels)
    return Loaded(study, Marks.of(study.case.readers), windows, ranges, has_image)


def _sources(found: Located) -> tuple[Source, ...]:
    if found.kind != "mask set":
        return tuple(_listed(folder) for folder in found.masks)
    files = find_mask_files(found.path) if found.layout == "mask file" else None
    name = files.name if files else found.path.name
    return (Source(found.path.name, found.path.parent, {name: (found.path,)}),)


def _listed(root: Path) -> Source:
    """All that may be a mask set."""
    found: dict[str, tuple[Path, ...]] = {}
    for path in list_visible(root):
        files = None if path.is_dir() else find_mask_files(path)
        name = path.name if path.is_dir() else files and files.name
        if name:
            found[name] = (*found.get(name, ()), path)
    return Source(root.name, root, {name: found[name] for name in sorted(found)})


def _images(path: Path, follow_links: bool) -> Images:
    found = locate(path)
    if found.kind in ("model", "nothing"):
        raise InputError(path, expected=_KINDS, got="none of these", hint="name another folder")
    folder = path if path.is_dir() else path.parent
    root = None if follow_links else folder
    if found.kind == "study":
        return {study_name(path): partial(_study, path, root, None)}
    inside = [one for one in list_visible(folder) if one.is_dir()]
    if inside and locate(inside[0]).layout == "series":
        series = [one for one in inside if locate(one).layout == "series"]
        return {study_name(one): partial(_study, one, root, None) for one in series}
    for table in filter(Path.is_symlink, (folder / name for name in _TABLES)):
        check_plain(table, root)
    dataset = open_dataset(path)
    if isinstance(dataset, CaseFolder):
        patients = zip(dataset.names, dataset.patients, strict=True)
        return {name: partial(_study, folder / name, root, patient) for name, patient in patients}
    return {name: partial(_slice, folder, root, dataset, index) for index, name in enumerate(dataset.names)}


def _study(path: Path, root: Path | None, patient: str | None) -> Study:
    check_plain(path, root)
    study = open_study(path)
    return replace(study, case=replace(study.case, patient=patient))


def _slice(folder: Path, root: Path | None, dataset: Dataset, index: int) -> Study:
    check_plain(folder / "images" / f"{dataset.patients[index]}.png", root)
    return Study(dataset[index], "npy", ())


def _middles(root: Path, images: Images, follow_links: bool) -> Images:
    """The images that a benchmark's masks were drawn for, which are the middle of its data's; others as they are."""
    # Every run's record has the terms; results of earlier versions have them in a file of their own.
    record = next(iter(sorted((root / "records").glob("*.json"))), root / "terms.json")
    if not record.exists():
        return images
    check_plain(record, None if follow_links else root)
    with readable(record, "a benchmark's record", "run the benchmark again"):
        tree = json.loads(record.read_bytes())
        size = int(tree.get("terms", tree)["image_size"])
    return {name: partial(_middle, read, size) for name, read in images.items()}


def _middle(read: Callable[[], Study], size: int) -> Study:
    study = read()
    return replace(study, case=crop_case(study.case, size), format="npy", sources=())


def _demo_images(sources: tuple[Source, ...]) -> Images | None:
    """The shipped cases, where all mask sets bear their names."""
    cases = {case.name: case for case in demo_cases()}
    if not all(name in cases for source in sources for name in source.paths):
        return None
    return {name: partial(Study, case, "npy", ()) for name, case in cases.items()}
