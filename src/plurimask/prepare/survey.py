"""What was found below a folder of several readers' data, and what looks wrong in what they drew.

What looks wrong is a question to whoever made the data, not an error: readers may differ as much as that.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, product
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from scipy import ndimage

from plurimask.datasets.splits import USUAL, SplitRule, describe_sides
from plurimask.errors import InputError, SettingsError, plural
from plurimask.files.images import binarise
from plurimask.files.stored import difference, look_alike
from plurimask.geometry import Grid
from plurimask.metrics.overlap import count_overlap
from plurimask.records import Case

ANY, HALF = "nonzero", "half"
_SHOWN = 6
_ROUNDING = 1e-4  # what a scale factor in a NIfTI header may add to a class number
_MOST_CLASSES = 8  # more values between 0 and the maximum are the grey edges of a mask that was made smooth


class ChosenLabel:
    """A rule for labels (`files.images.LabelRule`) that remembers what it saw.

    Args:
        label: a number: drawn is what equals it. `nonzero`: drawn is everything but 0. `half`: drawn is what lies above
            half of the type's maximum (of 1 in floats). None: as `files.images.binarise` has it, so that a dataset and
            the files that it is made of are cut alike; but values that may be classes need a choice.

    Raises:
        SettingsError: another word.
    """

    def __init__(self, label: str | None = None) -> None:
        self.label = label
        self.seen: set[float] = set()
        self._value: float | None = None
        if label not in (None, ANY, HALF):
            try:
                self._value = float(str(label))
            except ValueError as error:
                expected, hint = f"a number, {ANY} or {HALF}", "give the value that was drawn"
                raise SettingsError("--label", expected=expected, got=f"'{label}'", hint=hint) from error
        self._drawn = False
        self._files = 0
        self._unclear: list[SettingsError] = []
        self._odd: list[str] = []
        self._smooth = 0
        self._voxels: Counter[str] = Counter()

    def __call__(self, subject: str | Path, values: np.ndarray, *, lossy: bool = False) -> np.ndarray:
        """The mask of one file.

        Raises:
            SettingsError: a choice that JPEG does not allow.
            InputError: values that need a choice, or that are refused in any label.
        """
        self._files += 1
        if values.dtype.kind not in "iuf" or not np.isfinite(values).all():
            mask = binarise(subject, values)
            self.seen.update(np.unique(mask).tolist())
            return mask
        present, counts = np.unique(values, return_counts=True)
        self.seen.update(present[: _SHOWN + 1].tolist())
        if not lossy:
            self._look(subject, present, counts)
        if self.label is None:
            return binarise(subject, values, lossy=lossy)
        if self.label == HALF:
            mask = values > _half(values.dtype)
        elif lossy:
            hint = f"write PNG, leave --label out, or use --label {HALF}"
            raise SettingsError(subject, expected="labels without loss for --label", got="a JPEG", hint=hint)
        else:
            mask = values != 0 if self._value is None else np.isclose(values, self._value, rtol=0, atol=_ROUNDING)
        self._drawn |= bool(mask.any())
        return mask

    def add(self, other: "ChosenLabel") -> None:
        """Remember what another rule of the same choice saw too."""
        self.seen |= other.seen
        self._drawn |= other._drawn
        self._files += other._files
        self._unclear += other._unclear
        self._odd += other._odd
        self._smooth += other._smooth
        self._voxels += other._voxels

    def check(self, root: Path, *, done: bool = True) -> None:
        """Refuse what one file alone does not say: a choice that no label holds, or one that most of them need.

        Raises:
            SettingsError: no label held what was chosen, or more than one file and a tenth of them need a choice.
        """
        if len(self._unclear) > max(1, self._files // 10) and (done or self._files >= 50):
            raise self._unclear[0]
        if done and self.label is not None and not self._drawn:
            raise SettingsError(
                root, expected=f"--label {self.label} in some label", got=shown(self.seen), hint="correct --label"
            )

    def questions(self) -> list[str]:
        """What looks wrong in the values of labels, a sentence each."""
        chosen = self.label or HALF
        if chosen not in self._voxels:
            return self._odd
        mine = self._voxels[chosen]
        # Of two cuts one holds the other, so that their overlap is the smaller.
        dice = {label: 2 * min(mine, held) / max(1, mine + held) for label, held in self._voxels.items()}
        others = ", ".join(f"with --label {label} {dice[label]:.2f}" for label in dice if label != chosen)
        drawn = "what lies above half of it" if chosen == HALF else f"as --label {chosen} says"
        said = f"{self._smooth} label files hold values between 0 and their maximum, as smoothed masks do"
        return [f"{said}; drawn is {drawn}, whose Dice {others}", *self._odd]

    def _look(self, subject: str | Path, present: np.ndarray, counts: np.ndarray) -> None:
        """Count what lies between 0 and the maximum. Raises InputError where that may be classes and none is chosen."""
        low, top, half = present[0], present[-1], _half(present.dtype)
        taken = low >= 0 and (top <= 1 or (top > half and present.dtype.kind != "f"))
        between = (present > 0) & (present < top)
        drawn, odd = int(counts[present > half].sum()), int(counts[between].sum())
        if taken and not odd:
            return
        if taken and (present.dtype.kind == "f" or between.sum() > _MOST_CLASSES):
            self._smooth += 1
            most = _most(present.dtype)
            for label, held in ((HALF, present > half), (f"{most:.0f}", present == most), (ANY, present > 0)):
                self._voxels[label] += int(counts[held].sum())
        elif taken and drawn > 20 and odd <= max(1, drawn // 100):
            self._odd.append(f"{subject}: {odd} voxels of {shown(set(present[between].tolist()))} beside 0 and {top:g}")
        elif self.label is None:
            parts = {
                "expected": "labels of one class: 0, and 1 or the type's maximum (255 in 8 bits)",
                "got": f"the values {shown(set(present.tolist()))}",
                "hint": f"choose one with --label {top:g}, or all with --label {ANY}; several classes at once are not "
                "supported yet",
            }
            self._unclear.append(SettingsError(subject, **parts))
            raise InputError(subject, **parts)


def _most(dtype: np.dtype[Any]) -> float:
    return float(np.iinfo(dtype).max) if dtype.kind in "iu" else 1.0


def _half(dtype: np.dtype[Any]) -> float:
    """What is drawn lies above it, as `files.images.binarise` has it."""
    return 0.5 if dtype.kind == "f" else _most(dtype) // 2


def shown(values: set[float]) -> str:
    """The first few values, for a line of text."""
    text = ", ".join(f"{value:g}" for value in sorted(values)[:_SHOWN])
    return text + ", ..." if len(values) > _SHOWN else text


RAISED = 0.25
"""A shift or a turn is told where it raises the Dice of two readers by at least so much."""
OFF_BODY = 0.5
"""A mask is told where at least so much of it lies off the body."""
DARK = 0.05
"""Off the body is what touches the image's edge within so much of the range above the least value of every channel."""


class Agreement(NamedTuple):
    """How the readers of one case agree; NaN where fewer than two read it.

    Args:
        dice, iou: means over the pairs; two empty masks agree.
        empty: share of the readers who drew nothing.
    """

    dice: float
    iou: float
    empty: float


def agreement(readers: np.ndarray) -> Agreement:
    """Of reader masks (R, H, W[, D]) bool."""
    empty = float(np.mean([not mask.any() for mask in readers])) if len(readers) else float("nan")
    if len(readers) < 2:
        return Agreement(float("nan"), float("nan"), empty)
    masks = torch.from_numpy(np.ascontiguousarray(readers))[None]
    pairs, upper = count_overlap(masks, masks), np.triu_indices(len(readers), 1)
    return Agreement(float(pairs.dice[0].numpy()[upper].mean()), float(pairs.iou[0].numpy()[upper].mean()), empty)


def suspicions(case: Case, readers: Sequence[int | str]) -> list[str]:
    """What looks wrong in one case, as "shifted: ..."; `readers` is what those who read it are called."""
    masks = dict(zip(readers, case.readers, strict=True))
    places = {number: np.argwhere(mask) for number, mask in masks.items() if mask.any()}
    pairs = [one for a, b in combinations(places, 2) for one in _of_pair(masks[a], a, places[a], b, places[b])]
    return pairs + list(_off_body(case.image, {number: masks[number] for number in places}))


def _of_pair(mask: np.ndarray, a: object, places_a: np.ndarray, b: object, places_b: np.ndarray) -> Iterator[str]:
    """The shift or the turn of reader b that raises the agreement with reader a most, where it raises it much.

    Places are (n, 2 or 3) indices of the voxels that a reader drew, so that it costs as much as was drawn.
    """

    def dice(places: np.ndarray) -> float:
        within = places[((places >= 0) & (places < mask.shape)).all(1)]
        return 2 * np.count_nonzero(mask[tuple(within.T)]) / (len(places_a) + len(places_b))

    shift = _best_shift(places_a, places_b, mask.shape)
    tried = {("shifted", f"moved by {shift}"): places_b + shift}
    tried |= {("swapped axes", how): places for how, places in _turned(places_b, mask.shape)}
    before, after = dice(places_b), {what: dice(places) for what, places in tried.items()}
    (kind, how), best = max(after.items(), key=lambda item: item[1])
    if best >= before + RAISED:
        yield f"{kind}: readers {a} and {b}: Dice {before:.2f}, but {best:.2f} with reader {b} {how}"


def _best_shift(one: np.ndarray, other: np.ndarray, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Voxels by axis that bring the profiles of `other` upon those of `one`: exact for a mask that was moved."""
    shift = []
    for axis, length in enumerate(shape):
        a, b = (np.bincount(places[:, axis], minlength=length).astype(np.float64) for places in (one, other))
        shift.append(int(np.correlate(a, b, "full").argmax()) - (length - 1))
    return tuple(shift)


def _turned(places: np.ndarray, shape: tuple[int, ...]) -> Iterator[tuple[str, np.ndarray]]:
    """Flips, and exchanges of rows and columns where there are as many, all but the one that changes nothing."""
    for swapped in (False, True)[: 1 + (shape[0] == shape[1])]:
        order = [1, 0, 2][: len(shape)] if swapped else slice(None)
        for flips in product((False, True), repeat=len(shape)):
            words = ["transposed"] * swapped + [f"flipped along axis {axis}" for axis, flip in enumerate(flips) if flip]
            if words:
                yield " and ".join(words), np.where(flips, np.array(shape) - 1 - places[:, order], places[:, order])


def _off_body(image: np.ndarray, masks: Mapping[Any, np.ndarray]) -> Iterator[str]:
    outside = _outside(image) if masks else None
    for number, mask in masks.items():
        share = np.count_nonzero(mask & outside) / np.count_nonzero(mask)
        if share >= OFF_BODY:
            yield f"off the body: reader {number}: {share:.0%} of the mask lies where the image is dark"


def _outside(image: np.ndarray) -> np.ndarray:
    """(C, H, W[, D]) -> (H, W[, D]) bool: what is dark in every channel and hangs together with the image's edge."""
    axes = tuple(range(1, image.ndim))
    low, high = image.min(axes, keepdims=True), image.max(axes, keepdims=True)
    dark = ((image <= low + DARK * (high - low)) & (high > low)).all(0)
    edge = np.ones_like(dark)
    edge[(slice(1, -1),) * 2] = False
    parts = ndimage.label(dark)[0]
    return np.isin(parts, np.setdiff1d(parts[edge], [0]))


@dataclass(frozen=True)
class SeenCase:
    """One case as it was found; readers are numbered in the case, or as in all cases (`numbered`).

    Args:
        name: of the case.
        patient: who it is, or None where that is unknown.
        readers: who read it.
        empty: those of them who drew nothing.
        alike: pairs of them with the same mask, other than an empty one.
        channels: of its image.
        grid: of image and masks.
        agreement: of its readers.
        suspicions: what looks wrong in it, with `{0}` for the first reader of the case until they are numbered.
        written: cases that become of it, such as planes of a volume.
    """

    name: str
    patient: str | None
    readers: tuple[int, ...]
    empty: tuple[int, ...]
    alike: tuple[tuple[int, int], ...]
    channels: int
    grid: Grid
    agreement: Agreement
    suspicions: tuple[str, ...]
    written: int

    def numbered(self, numbers: Sequence[int]) -> Self:
        """The case with the numbers that its readers have in all cases."""
        return replace(
            self,
            readers=tuple(numbers),
            empty=tuple(numbers[reader] for reader in self.empty),
            alike=tuple((numbers[a], numbers[b]) for a, b in self.alike),
            suspicions=tuple(text.format(*numbers) for text in self.suspicions),
        )


def see_case(case: Case, written: int) -> SeenCase:
    """One case as it was found; `written` cases become of it."""
    numbers = range(len(case.readers))
    drew = [number for number in numbers if case.readers[number].any()]
    return SeenCase(
        name=case.name,
        patient=case.patient,
        readers=tuple(numbers),
        empty=tuple(number for number in numbers if number not in drew),
        alike=tuple((a, b) for a, b in combinations(drew, 2) if np.array_equal(case.readers[a], case.readers[b])),
        channels=len(case.image),
        grid=case.grid,
        agreement=agreement(case.readers),
        suspicions=tuple(suspicions(case, [f"{{{number}}}" for number in numbers])),
        written=written,
    )


@dataclass
class Survey:
    """All that was found.

    Args:
        readers: what tells each reader's files apart, by number.
        cases: those that can be used.
        skipped: name and reason of each of the others.
        values: that labels hold.
        labels: what looks wrong in these values.
        sources: the files of the cases in use.
        rule: how their patients are divided.
    """

    readers: Sequence[str]
    cases: list[SeenCase] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    values: set[float] = field(default_factory=set)
    labels: list[str] = field(default_factory=list)
    sources: list[Path] = field(default_factory=list)
    rule: SplitRule = USUAL

    @property
    def written(self) -> int:
        """Cases that become of those that were found."""
        return sum(case.written for case in self.cases)

    def questions(self) -> list[str]:
        """What looks wrong, a sentence each: first of the whole, then case by case."""
        in_cases = [f"{case.name}, {text}" for case in self.cases for text in case.suspicions]
        return [*self.labels, *self._of_readers(), *self._of_pairs(), *self._of_all(), *in_cases]

    def facts(self) -> dict[str, Any]:
        """The same for the manifest, plain JSON values."""
        return {
            "readers": list(self.readers),
            "label_values": sorted(self.values),
            "questions": self.questions(),
            "found": [
                {
                    "case": case.name,
                    "readers": case.readers,
                    "shape": case.grid.shape,
                    "spacing_mm": case.grid.spacing_mm,
                    "written": case.written,
                    "agreement": {k: None if math.isnan(v) else v for k, v in case.agreement._asdict().items()},
                }
                for case in self.cases
            ],
        }

    def _of_readers(self) -> Iterator[str]:
        read = Counter(number for case in self.cases for number in case.readers)
        empty = Counter(number for case in self.cases for number in case.empty)
        for number, files in enumerate(self.readers):
            if read[number] < len(self.cases):
                yield f"reader {number} ({files}) read {read[number]} of {len(self.cases)} cases"
            if read[number] and empty[number] == read[number]:
                yield f"reader {number} ({files}) drew nothing in any of {plural(read[number], 'case')}"

    def _of_pairs(self) -> Iterator[str]:
        alike = Counter(pair for case in self.cases for pair in case.alike)
        both = Counter(
            pair for case in self.cases for pair in combinations([n for n in case.readers if n not in case.empty], 2)
        )
        for (a, b), times in sorted(alike.items()):
            if times == both[a, b] > 1:
                yield f"readers {a} and {b} have the same masks in all {times} cases where both drew: one may be a copy"

    def _of_all(self) -> Iterator[str]:
        kinds = {"channels": Counter(case.channels for case in self.cases)}
        kinds["axes"] = Counter(len(case.grid.shape) for case in self.cases)
        for what, counted in kinds.items():
            if len(counted) > 1:
                yield f"cases differ in their number of {what}: " + ", ".join(
                    f"{number} in {times}" for number, times in sorted(counted.items())
                )
        first: dict[str, SeenCase] = {}
        for case in self.cases:
            before = first.setdefault(look_alike(case.patient or ""), case)
            if case.patient and before.patient and case.patient != before.patient:
                apart = difference(before.patient, case.patient)
                yield f"the patients of {before.name} and {case.name} are written in two ways ({apart}): one person?"
        unknown = sum(case.patient is None for case in self.cases)
        if unknown:
            of = plural(unknown, "case")
            yield (
                f"the patient of {of} is unknown, and splits are by patient: name it with {{patient}} in --image, "
                "or with --patient, which is '{patient}' where each case is a patient of its own"
            )


def render_survey(survey: Survey) -> str:
    """A row a case, then all that can be said of the whole; never cut at the width of a terminal."""
    rows: list[tuple[str, ...]] = [
        ("case", "readers", "channels", "size", "spacing mm", "Dice", "IoU", "empty", "becomes")
    ]
    for case in survey.cases:
        spacing = "x".join(f"{v:g}" for v in case.grid.spacing_mm or ()) or "-"
        figures = [f"{v:.2f}" for v in case.agreement]
        readers = ",".join(map(str, case.readers))
        rows.append((case.name, readers, str(case.channels), case.grid.size, spacing, *figures, str(case.written)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*table, "", *summarise_survey(survey)])


def summarise_survey(survey: Survey, most: int | None = None) -> list[str]:
    """The lines below the table: how much there is, what is passed over and why, what looks wrong.

    Of what is passed over, and of what looks wrong, `most` lines each; None: all.
    """
    dice = [case.agreement.dice for case in survey.cases if not math.isnan(case.agreement.dice)]
    mean = f"; mean Dice of two readers {np.mean(dice):.2f}" if dice else ""
    lines = [
        f"{plural(len(survey.cases), 'case')}, {survey.written} to write; {plural(len(survey.readers), 'reader')}; "
        f"label values {shown(survey.values) or 'unknown'}{mean}"
    ]
    lines += [f"reader {number}: {files}" for number, files in enumerate(survey.readers)]
    patients = [case.patient for case in survey.cases for _ in range(case.written) if case.patient is not None]
    if patients:
        for fold in survey.rule.files:
            lines.append(describe_sides(patients, survey.rule.sides(patients, fold), survey.rule.describe(fold)))
    lines += _first([f"passed over: {name}: {why}" for name, why in survey.skipped], most)
    return lines + _first([f"look at: {question}" for question in survey.questions()], most)


def _first(lines: list[str], most: int | None) -> list[str]:
    if most is None or len(lines) <= most:
        return lines
    return [*lines[:most], f"... and {len(lines) - most} more of these"]
