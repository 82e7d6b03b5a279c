"""What was found below a folder of several readers' data, as records and as text."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from plurimask.prepare.checks import Agreement, Suspicion
from plurimask.prepare.label_rule import shown


@dataclass(frozen=True)
class SeenCase:
    """One case as it was found; readers have the numbers that they have in all cases.

    Args:
        name: of the case.
        readers: who read it.
        empty: those of them who drew nothing.
        alike: pairs of them with the same mask, other than an empty one.
        channels: of its image.
        shape: (H, W) or (H, W, D).
        spacing_mm: one value an axis, or None.
        agreement: of its readers.
        suspicions: what looks wrong in it.
        written: cases that become of it, such as planes of a volume.
    """

    name: str
    readers: tuple[int, ...]
    empty: tuple[int, ...]
    alike: tuple[tuple[int, int], ...]
    channels: int
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...] | None
    agreement: Agreement
    suspicions: tuple[Suspicion, ...]
    written: int


@dataclass
class Survey:
    """All that was found.

    Args:
        readers: what tells each reader's files apart, by number.
        cases: those that can be used.
        skipped: name and reason of each of the others.
        values: that labels hold.
        unknown_patients: cases in use whose patient is unknown.
        sources: the files of the cases in use.
    """

    readers: tuple[str, ...]
    cases: list[SeenCase] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    values: set[float] = field(default_factory=set)
    unknown_patients: int = 0
    sources: list[Path] = field(default_factory=list)

    @property
    def written(self) -> int:
        """Cases that become of those that were found."""
        return sum(case.written for case in self.cases)

    def questions(self) -> list[str]:
        """What looks wrong, a sentence each: first of the whole, then case by case."""
        in_cases = [f"{case.name}, {one.kind}: {one.text}" for case in self.cases for one in case.suspicions]
        return [*self._of_readers(), *self._of_pairs(), *self._of_all(), *in_cases]

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
                    "shape": case.shape,
                    "spacing_mm": case.spacing_mm,
                    "written": case.written,
                    "agreement": {k: None if math.isnan(v) else v for k, v in asdict(case.agreement).items()},
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
                yield f"reader {number} ({files}) drew nothing in any of {read[number]} cases"

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
        kinds["axes"] = Counter(len(case.shape) for case in self.cases)
        for what, counted in kinds.items():
            if len(counted) > 1:
                yield f"cases differ in their number of {what}: " + ", ".join(
                    f"{number} in {times}" for number, times in sorted(counted.items())
                )
        if self.unknown_patients:
            yield (
                f"the patient of {self.unknown_patients} cases is unknown, and splits are by patient: name it with "
                "{patient} in --image, or with --patient, which is '{patient}' where each case is a patient of its own"
            )


def render_survey(survey: Survey) -> str:
    """A row a case, then all that can be said of the whole; never cut at the width of a terminal."""
    rows: list[tuple[str, ...]] = [
        ("case", "readers", "channels", "size", "spacing mm", "Dice", "IoU", "empty", "becomes")
    ]
    for case in survey.cases:
        size, spacing = ("x".join(f"{v:g}" for v in values) for values in (case.shape, case.spacing_mm or ()))
        figures = [f"{v:.2f}" for v in (case.agreement.dice, case.agreement.iou, case.agreement.empty)]
        readers = ",".join(map(str, case.readers))
        rows.append((case.name, readers, str(case.channels), size, spacing or "-", *figures, str(case.written)))
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
        f"{len(survey.cases)} cases, {survey.written} to write; {len(survey.readers)} readers; "
        f"label values {shown(survey.values)}{mean}"
    ]
    lines += [f"reader {number}: {files}" for number, files in enumerate(survey.readers)]
    lines += _first([f"passed over: {name}: {why}" for name, why in survey.skipped], most)
    return lines + _first([f"look at: {question}" for question in survey.questions()], most)


def _first(lines: list[str], most: int | None) -> list[str]:
    if most is None or len(lines) <= most:
        return lines
    return [*lines[:most], f"... and {len(lines) - most} more of these"]
