"""Anyone's data with several readers -> a case folder, or only a look at it.

Each case is read once, looked at and written before the next is read. Volumes are cut into planes, planes are brought
to squares of one size.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np

from plurimask.errors import InputError
from plurimask.files.case_folder import check_name, read_files
from plurimask.files.stored import digest_files, natural
from plurimask.geometry import Grid
from plurimask.prepare.patterns import FoundCase, Pattern, find_cases
from plurimask.prepare.survey import ChosenLabel, SeenCase, Survey, agreement, suspicions
from plurimask.prepare.writer import CaseWriter, writing_cases
from plurimask.records import Case

_ROUNDING = 1e-9  # half a pixel stays half a pixel, whatever the order in which its parts are added


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
    for plane in _cut(case, axis, every):
        fitted = plane if size is None else fit_square(plane, size)
        if every or fitted.readers.any():
            kept.append(fitted)
        else:
            lost.append(plane.name)
    return kept, lost


def _cut(case: Case, axis: int, every: bool) -> Iterator[Case]:
    image, readers = (np.moveaxis(array, axis + 1, 1) for array in (case.image, case.readers))
    for number in range(case.grid.shape[axis]):
        if every or readers[:, number].any():
            yield Case(
                f"{case.name}-s{number:03d}",
                np.ascontiguousarray(image[:, number]),
                np.ascontiguousarray(readers[:, number]),
                _plane_grid(case.grid, axis, number),
                case.patient,
            )


def fit_square(case: Case, size: int) -> Case:
    """A plane case as `size` x `size` pixels, where it lies.

    It is padded on both sides with each channel's least value, to a square as long as its longer side, or to `size`
    where that is more. A square that is too large is averaged over area; a pixel of a mask is drawn where at least half
    its area was. Nothing is ever enlarged.
    """
    side = max(*case.grid.shape, size)
    before = [(side - length) // 2 for length in case.grid.shape]
    pads = [(low, side - length - low) for low, length in zip(before, case.grid.shape, strict=True)]
    weights = _area_weights(side, size)
    image = np.stack([weights @ np.pad(plane, pads, constant_values=plane.min()) @ weights.T for plane in case.image])
    drawn = weights @ np.pad(case.readers, [(0, 0), *pads]).astype(np.float64) @ weights.T
    return replace(
        case,
        image=image.astype(np.float32),
        readers=drawn > 0.5 - _ROUNDING,
        grid=_fitted_grid(case.grid, before, side / size, size),
    )


def _area_weights(side: int, size: int) -> np.ndarray:
    """(size, side) float64: the share of each new pixel that each old one covers."""
    ends = np.arange(1, size + 1)[:, None] * (side / size)
    old = np.arange(side)
    covered = np.minimum(ends, old + 1) - np.maximum(ends - side / size, old)
    return covered.clip(min=0) / (side / size)


def _plane_grid(grid: Grid, axis: int, number: int) -> Grid:
    across = grid.across(axis)
    moved = np.eye(4)
    moved[2, 3] = number
    return Grid(across.shape[:2], None if across.affine is None else across.affine @ moved)


def _fitted_grid(grid: Grid, before: list[int], factor: float, size: int) -> Grid:
    if grid.affine is None:
        return Grid((size, size))
    # The middle of new pixel i lies at (i + 1/2) * factor - 1/2 - before on the old axis.
    moved = np.diag([factor, factor, 1.0, 1.0])
    moved[:2, 3] = factor / 2 - 0.5 - np.array(before)
    return Grid((size, size), grid.affine @ moved)


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
    masks: Mapping[int, np.ndarray] = dict(zip(numbers, case.readers, strict=True))
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
        agreement=agreement(case.readers),
        suspicions=tuple(suspicions(case, numbers)),
        written=written,
    )
