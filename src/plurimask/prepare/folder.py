"""Anyone's data with several readers -> a case folder, or only a look at it.

Each case is read once, looked at and written before the next is read. Volumes are cut into planes or kept, planes are
brought to squares of one size.
"""

import shutil
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from plurimask.cluster import Cluster, FailedCasesError
from plurimask.datasets.intensity import INTENSITY, Intensity
from plurimask.datasets.splits import USUAL, SplitRule, read_patients, read_readers
from plurimask.errors import InputError
from plurimask.files.case_folder import check_name, read_files
from plurimask.files.dicom import list_files
from plurimask.files.images import split_name
from plurimask.files.itk_images import data_beside
from plurimask.files.remote import Remote
from plurimask.files.stored import digest_file, digest_files, list_visible, natural
from plurimask.files.texts import json_text
from plurimask.geometry import HALF, area_shares
from plurimask.prepare.dicom_marks import is_series, read_dicom_case
from plurimask.prepare.patterns import FoundCase, Pattern, find_cases
from plurimask.prepare.survey import ChosenLabel, SeenCase, Survey, see_case
from plurimask.prepare.writer import MANIFEST, PART, CaseWriter, writing_cases
from plurimask.records import Case


def to_planes(case: Case, axis: int, size: int | None, *, every: bool = False) -> tuple[list[Case], list[str]]:
    """The planes of a volume along `axis`, where they lie; a plane stays one plane.

    The other two axes keep their order. The planes of a volume get their number, counted from 0: `<name>-s087`.

    Args:
        case: (H, W) or (H, W, D).
        axis: 0, 1 or 2, along which a volume is cut.
        size: pixels a side, as `fit_square` brings them there; None: as they are.
        every: also planes of a volume on which no reader drew.

    Returns:
        The planes, and the names of those left out since no mark was left at `size`.
    """
    if len(case.grid.shape) == 2:
        return [case if size is None else fit_square(case, size)], []
    kept: list[Case] = []
    lost: list[str] = []
    image, readers = (np.moveaxis(array, axis + 1, 1) for array in (case.image, case.readers))
    across, moved = case.grid.across(axis), np.eye(4)
    for number in range(case.grid.shape[axis]):
        if every or readers[:, number].any():
            moved[2, 3] = number
            values, drawn = (np.ascontiguousarray(array[:, number]) for array in (image, readers))
            grid = across.part(across.shape[:2], moved)
            plane = Case(f"{case.name}-s{number:03d}", values, drawn, grid, case.patient, drawn_by=case.drawn_by)
            fitted = plane if size is None else fit_square(plane, size)
            if every or fitted.readers.any():
                kept.append(fitted)
            else:
                lost.append(plane.name)
    return kept, lost


def write_planes(case: Case, axis: int, size: int | None, every: bool, writer: CaseWriter | None) -> int:
    """How many planes `to_planes` makes of a case. Where there is a writer, it writes them and notes those lost."""
    kept, lost = to_planes(case, axis, size, every=every)
    if writer:
        for plane in kept:
            writer.add(plane)
        for name in lost:
            writer.skip(name, f"no mark is left at {size} pixels")
    return len(kept)


def fit_square(case: Case, size: int) -> Case:
    """A plane case as `size` x `size` pixels, where it lies.

    It is padded on both sides with each channel's least value, to a square as long as its longer side, or to `size`
    where that is more. A square that is too large is averaged over area; a pixel of a mask is drawn where at least half
    its area was. Nothing is ever enlarged.
    """
    side = max(*case.grid.shape, size)
    factor = side / size
    before = [(side - length) // 2 for length in case.grid.shape]
    pads = [(low, side - length - low) for low, length in zip(before, case.grid.shape, strict=True)]
    weights = area_shares(side, size)
    image = np.stack([weights @ np.pad(plane, pads, constant_values=plane.min()) @ weights.T for plane in case.image])
    drawn = weights @ np.pad(case.readers, [(0, 0), *pads]).astype(np.float64) @ weights.T
    # The middle of new pixel i lies at (i + 1/2) * factor - 1/2 - before on the old axis.
    moved = np.diag([factor, factor, 1.0, 1.0])
    moved[:2, 3] = factor / 2 - 0.5 - np.array(before)
    grid = case.grid.part((size, size), moved)
    image, readers = image.astype(np.float32), drawn > HALF
    return replace(case, image=image, readers=readers, grid=grid, padding=None)


Progress = Callable[[int, int], object]


@dataclass(frozen=True)
class FolderSettings:
    """Which files are what, and what is to become of them.

    Args:
        images: patterns of image files, one a channel (see `patterns`).
        readers: patterns of label files.
        patient: a pattern of names of cases with `{patient}`; None: `{patient}` of the images, or unknown.
        label: which values are drawn, as `survey.ChosenLabel` has it.
        volumes: whether volumes stay whole; then `axis`, `every` and `size` say nothing.
        axis: along which volumes are cut into planes.
        every: also planes of volumes on which no reader drew.
        size: pixels a side of every plane, by `fit_square`; None: as they are.
        grid_mm: how far off a corner headers may put the same voxels, such as by rounding.
        split: how patients are divided.
        intensity: how images are clipped before they are cut or resized; None: not at all.
        persons: whether `{reader}`, or a reader's pattern, names the same person in every case.
        structure: the segment or structure that is taken of each DICOM object; None: its only one, or all as readers.
    """

    images: Sequence[str]
    readers: Sequence[str]
    patient: str | None = None
    label: str | None = None
    axis: int = 2
    every: bool = False
    size: int | None = None
    grid_mm: float = 0.0
    split: SplitRule = USUAL
    structure: str | None = None
    persons: bool = False
    intensity: Intensity | None = None
    volumes: bool = False


_ONE_GRID = "bring all files of a case to one grid, or take the voxels as they are with --grid-mm"


def survey_folder(
    root: str | Path,
    settings: FolderSettings,
    progress: Progress = lambda done, total: None,
    cluster: Cluster | None = None,
) -> Survey:
    """Look at all there is below `root` and write nothing.

    Raises:
        SettingsError: patterns or a label that cannot be, or labels that need one to be chosen.
        DatasetError: no case at all.
    """
    root = Path(root)
    source = Remote.at(root)
    return _run(source.listed() if source else root, settings, None, progress, cluster, source, None)


def prepare_folder(
    root: str | Path,
    out: str | Path,
    settings: FolderSettings,
    progress: Progress = lambda done, total: None,
    cluster: Cluster | None = None,
) -> Survey:
    """Write all that can be used as a case folder with patients.csv and manifest.json; `out` appears whole or not.

    Passed over, with the reason in the manifest: cases without one of their channels or without any reader, and those
    with a file that cannot be read or lies on another grid; of a cluster, also those on which its workers fail. These
    read and write the cases, and `root` and `out` are on a disk that they share, or at addresses (see `files.remote`).
    At an address cases appear one by one, and manifest.json when all are there.

    Raises:
        SettingsError: as `survey_folder`, or `out` is in use or lies in `root`.
        DatasetError: no case that can be used.
    """
    root, out = Path(root), Path(out)
    source, sink = Remote.at(root), Remote.at(out)
    root = source.listed() if source else root

    def digest(path: Path) -> str:
        with source.brought(path) if source else nullcontext():
            return digest_file(path)

    with writing_cases(sink.listed() if sink else out, root) as writer:
        here = sink and replace(sink, root=writer.folder)
        survey = _run(root, settings, writer, progress, cluster, source, here)
        writer.add_splits(settings.split)
        read = {"files": len(survey.sources), "sha256": digest_files(root, survey.sources, digest)}
        told = settings.intensity and settings.intensity.model_dump(exclude_none=True)
        if told:
            (writer.folder / INTENSITY).write_text(json_text(told), encoding="utf-8")
        facts = {"settings": asdict(settings) | {"intensity": told}, "source": read, **survey.facts()}
        if here:
            here.bring([here.listed()])
        writer.finish("plurimask prepare folder", facts)
        if here:
            for table in sorted(writer.folder.glob("*.*"), key=lambda path: path.name == MANIFEST):
                here.send(table)
    return survey


@dataclass(frozen=True)
class _Look:
    """What one case gave.

    Args:
        name: of the case.
        why: it is passed over, or "".
        rule: for its labels alone, and what it saw.
        case: as it was found, unless it is passed over.
        readers: what tells its readers' files apart.
        files: that it was read from.
        part: a worker's own writer.
    """

    name: str
    why: str
    rule: ChosenLabel
    case: SeenCase | None = None
    readers: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    part: CaseWriter | None = None


def _run(
    root: Path,
    settings: FolderSettings,
    writer: CaseWriter | None,
    progress: Progress,
    cluster: Cluster | None,
    source: Remote | None,
    sink: Remote | None,
) -> Survey:
    def is_dicom(path: Path) -> bool:
        if source is None or split_name(path)[1]:
            return is_series(path)
        with source.brought(*(list_visible(path)[:3] if path.is_dir() else [path])):
            return is_series(path)

    rule = ChosenLabel(settings.label)
    images, readers = ([Pattern(text) for text in texts] for texts in (settings.images, settings.readers))
    found = find_cases(root, images, readers, Pattern(settings.patient) if settings.patient else None, is_dicom)
    if source is not None:
        source.bring([root / "readers.csv", root / "patients.csv"], missing=True)
    # What DICOM objects hold is known once they are read.
    named = {name: path for one in found for name, path in one.readers.items()}
    known = sorted((name for name, path in named.items() if not is_dicom(path)), key=natural)
    survey = Survey(known, rule=settings.split)
    counts = {one.name: len(one.readers) for one in found}
    own = all("/label{reader}." in pattern for pattern in settings.readers)  # a folder of cases, whose tables fit
    listed = read_readers(root / "readers.csv", counts) if own and not settings.persons else {}
    patients = read_patients(root / "patients.csv", counts) if own and settings.patient is None else {}
    for one in found:
        one.patient = one.patient or patients.get(one.name)
    for fold in settings.split.files:  # before an hour of reading
        settings.split.sides({one.patient for one in found if one.patient is not None}, fold)
    looks: Iterator[_Look]
    if cluster is None:
        looks = (_look(one, settings, listed, writer) for one in found)
    else:
        looks = _looks_on(cluster, found, settings, listed, writer, source, sink)
    for done, look in enumerate(looks, start=1):
        rule.add(look.rule)
        if writer and look.part:
            writer.take(look.part)
        if look.case is None:
            survey.skipped.append((look.name, look.why))
            if writer:
                writer.skip(look.name, look.why)
        else:
            known += [reader for reader in look.readers if reader not in known]
            survey.cases.append(look.case.numbered([known.index(reader) for reader in look.readers]))
            survey.sources += look.files
        rule.check(root, done=done == len(found))
        progress(done, len(found))
    survey.values, survey.labels = rule.seen, rule.questions()
    return survey


def _look(
    one: FoundCase, settings: FolderSettings, listed: Mapping[str, tuple[str | None, ...]], writer: CaseWriter | None
) -> _Look:
    """Read a case, write what becomes of it, and say what it gave; `listed` are the readers that a table knows."""
    rule = ChosenLabel(settings.label)
    try:
        check_name(Path(one.name), one.name)
        for number, pattern in enumerate(settings.images):
            if number not in one.images:
                raise InputError(one.name, expected=f"an image as {pattern}", got="none", hint="add it")
        if not one.readers:
            raise InputError(one.name, expected="at least one reader", got="none", hint="add a label")
        case, readers = _read(one, rule, settings)
    except InputError as error:
        return _Look(one.name, str(error), rule)
    who = tuple(_person(reader, settings.readers) for reader in readers) if settings.persons else None
    case = replace(case, drawn_by=who or listed.get(one.name))
    case = case if settings.intensity is None else settings.intensity.clip(case)
    if not settings.volumes:
        written = write_planes(case, settings.axis, settings.size, settings.every, writer)
    else:
        written = 1
        if writer:
            writer.add(case)
    files: list[Path] = []
    for path in (*one.image_files, *one.readers.values()):
        beside = [file for file in data_beside(path) if file.is_file()]
        files += list_files(path) if path.is_dir() else [path, *beside]
    return _Look(one.name, "", rule, see_case(case, written), readers, tuple(files))


def _looks_on(
    cluster: Cluster,
    found: Sequence[FoundCase],
    settings: FolderSettings,
    listed: Mapping[str, tuple[str | None, ...]],
    writer: CaseWriter | None,
    source: Remote | None,
    sink: Remote | None,
) -> Iterator[_Look]:
    """What the cases give, in their order, where workers of a cluster read and write them."""
    folder = None if writer is None else writer.folder

    def look(one: FoundCase) -> _Look:
        files = (*one.image_files, *one.readers.values())
        if source is not None:
            source.bring((beside for path in files for beside in data_beside(path)), missing=True)
        with source.brought(*files) if source else nullcontext():
            if folder is None:
                return _look(one, settings, listed, None)
            folder.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(dir=folder, prefix=PART) as own:
                part = CaseWriter(Path(own))
                seen = _look(one, settings, listed, part)
                for case in part.move_to(folder):
                    if sink is not None:
                        sink.send(case)
                        shutil.rmtree(case)
        return replace(seen, part=part)

    order, early = deque(one.name for one in found), {}
    try:
        for seen in cluster.map(lambda: look, {one.name: one for one in found}):
            early[seen.name] = seen
            while order and order[0] in early:
                yield early.pop(order.popleft())
    except FailedCasesError as failed:
        for name in order:
            yield early.get(name) or _Look(name, failed.reasons[name], ChosenLabel(settings.label))


def _person(reader: str, patterns: Sequence[str]) -> str:
    """What `{reader}` stands for in the pattern of one reader's files; of a pattern without it, all of it."""
    for before, mark, after in (pattern.partition("{reader}") for pattern in patterns):
        if mark and reader.startswith(before) and reader.endswith(after):
            return reader.removeprefix(before).removesuffix(after)
    return reader


def _read(one: FoundCase, rule: ChosenLabel, settings: FolderSettings) -> tuple[Case, tuple[str, ...]]:
    """A case and its readers."""
    if any(map(is_series, one.image_files)):
        return read_dicom_case(one.name, one.image_files, one.readers, one.patient, rule, settings.structure)
    labels = tuple(one.readers.values())
    case = read_files(one.name, one.image_files, labels, one.patient, rule, settings.grid_mm, _ONE_GRID)
    return case, tuple(one.readers)
