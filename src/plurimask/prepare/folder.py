"""Anyone's data with several readers -> a case folder, or only a look at it.

Each case is read once, looked at and written before the next is read.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from plurimask.errors import InputError
from plurimask.files.case_files import check_name, read_files
from plurimask.files.digest import digest_files
from plurimask.files.listing import natural
from plurimask.prepare.case_writer import CaseWriter, writing_cases
from plurimask.prepare.checks import agreement, suspicions
from plurimask.prepare.label_rule import ChosenLabel
from plurimask.prepare.patterns import FoundCase, Pattern, find_cases
from plurimask.prepare.planes import to_planes
from plurimask.prepare.survey import SeenCase, Survey
from plurimask.records import Case

Progress = Callable[[int, int], object]


@dataclass(frozen=True)
class FolderSettings:
    """Which files are what, and what is to become of them.

    Args:
        images: patterns of image files, one a channel (see `patterns`).
        readers: patterns of label files.
        patient: a pattern of names of cases with `{patient}`; None: `{patient}` of the images, or unknown.
        label: which values are drawn, as `label_rule.ChosenLabel` has it.
        axis: along which volumes are cut into planes.
        every: also planes of volumes on which no reader drew.
        size: pixels a side of every plane, by `planes.fit_square`; None: as they are.
    """

    images: Sequence[str]
    readers: Sequence[str]
    patient: str | None = None
    label: str | None = None
    axis: int = 2
    every: bool = False
    size: int | None = None


def survey_folder(root: Path, settings: FolderSettings, progress: Progress = lambda done, total: None) -> Survey:
    """Look at all there is below `root` and write nothing.

    Raises:
        SettingsError: patterns or a label that cannot be, or labels that need one to be chosen.
        DatasetError: no case at all.
    """
    return _run(root, settings, None, progress)


def prepare_folder(
    root: Path, out: Path, settings: FolderSettings, progress: Progress = lambda done, total: None
) -> Survey:
    """Write all that can be used as a case folder with patients.csv and manifest.json; `out` appears whole or not.

    Passed over, with the reason in the manifest: cases without one of their channels or without any reader, and those
    with a file that cannot be read or lies on another grid.

    Raises:
        SettingsError: as `survey_folder`, or `out` is in use.
        DatasetError: no case that can be used.
    """
    with writing_cases(out) as writer:
        survey = _run(root, settings, writer, progress)
        source = {"files": len(survey.sources), "sha256": digest_files(root, survey.sources)}
        facts = {"settings": asdict(settings), "source": source, **survey.facts()}
        writer.finish("plurimask prepare folder", facts)
    return survey


def _run(root: Path, settings: FolderSettings, writer: CaseWriter | None, progress: Progress) -> Survey:
    images, readers = ([Pattern(text) for text in texts] for texts in (settings.images, settings.readers))
    found = find_cases(root, images, readers, Pattern(settings.patient) if settings.patient else None)
    known = sorted({reader for one in found for reader in one.readers}, key=natural)
    survey, rule = Survey(tuple(known)), ChosenLabel(settings.label)
    for done, one in enumerate(found, start=1):
        try:
            _check_whole(one, settings.images)
            case = read_files(one.name, one.image_files, tuple(one.readers.values()), one.patient, rule)
        except InputError as error:
            survey.skipped.append((one.name, str(error)))
            if writer:
                writer.skip(one.name, str(error))
        else:
            numbers = tuple(known.index(reader) for reader in one.readers)
            survey.cases.append(_look(case, numbers, _write(case, settings, writer)))
            survey.unknown_patients += case.patient is None
            survey.sources += [*one.image_files, *one.readers.values()]
        progress(done, len(found))
    rule.check_drawn(root)
    survey.values = rule.seen
    return survey


def _check_whole(found: FoundCase, images: Sequence[str]) -> None:
    check_name(Path(found.name), found.name)
    for number, pattern in enumerate(images):
        if number not in found.images:
            raise InputError(found.name, expected=f"an image as {pattern}", got="none", hint="add it")
    if not found.readers:
        raise InputError(found.name, expected="at least one reader", got="none", hint="add a label")


def _write(case: Case, settings: FolderSettings, writer: CaseWriter | None) -> int:
    """How many cases become of it; they are written where there is a writer."""
    kept, lost = to_planes(case, settings.axis, settings.size, every=settings.every)
    if writer:
        for plane in kept:
            writer.add(plane)
        for name in lost:
            writer.skip(name, f"no mark is left at {settings.size} pixels")
    return len(kept)


def _look(case: Case, numbers: tuple[int, ...], written: int) -> SeenCase:
    masks: Mapping[int, np.ndarray] = dict(zip(numbers, case.raters, strict=True))
    empty = tuple(number for number, mask in masks.items() if not mask.any())
    pairs = combinations([number for number in numbers if number not in empty], 2)
    return SeenCase(
        name=case.name,
        readers=numbers,
        empty=empty,
        alike=tuple((a, b) for a, b in pairs if np.array_equal(masks[a], masks[b])),
        channels=len(case.image),
        shape=case.grid.shape,
        spacing_mm=case.grid.spacing_mm,
        agreement=agreement(case.raters),
        suspicions=tuple(suspicions(case, numbers)),
        written=written,
    )
