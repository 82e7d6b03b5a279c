"""A new dataset in the case-folder layout, written case by case, with its manifest.

The folder appears whole or not at all. What is written of a case:

    CASE/image.*    float values as they are; image0, image1, ... for several channels: NIfTI where the affine is known,
                    else PNG for whole numbers 0..255, else NPY
    CASE/label0.*   one file a reader: PNG (0 and 255), or NIfTI for volumes with an affine, NPY for those without
    patients.csv    where a patient is known
    readers.csv     where a reader is known
    manifest.json   how it was made, from what, how much of it there is, and what was passed over and why
"""

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from PIL import Image

from plurimask import __version__
from plurimask.datasets.dataset import Split
from plurimask.datasets.open import CaseFolder
from plurimask.datasets.splits import SplitRule, patient_id
from plurimask.errors import DatasetError
from plurimask.files.atomic import atomic_folder, check_outside, write_text
from plurimask.files.case_folder import check_name
from plurimask.files.images import write_nifti
from plurimask.files.texts import csv_text
from plurimask.geometry import Grid
from plurimask.records import Case

MANIFEST = "manifest.json"
PART = ".part-"
"""How the folders begin in which workers of a cluster write."""


def write_manifest(
    folder: Path,
    made_by: str,
    facts: Mapping[str, Any],
    *,
    counts: Mapping[str, int],
    sha256: str | Mapping[str, str],
    skipped: Iterable[tuple[str, str]],
) -> None:
    """Write the manifest of the dataset in `folder`, whole or not at all.

    Args:
        folder: of the dataset.
        made_by: the command.
        facts: its settings, its source, and what else it has to say; plain JSON values.
        counts: how much of what there is.
        sha256: (hex) of the whole, or by name of its files.
        skipped: what was passed over, and why.
    """
    manifest = {
        "made_by": made_by,
        "version": __version__,
        **facts,
        "counts": counts,
        "sha256": sha256,
        "skipped": [{"what": what, "why": why} for what, why in skipped],
    }
    write_text(folder / MANIFEST, json.dumps(manifest, indent=2, allow_nan=False) + "\n")


def refuse_none(skipped: Sequence[tuple[str, str]]) -> NoReturn:
    """Raises DatasetError for data of which everything was passed over, with why the first was."""
    what, why = skipped[0] if skipped else ("nothing", "there is none")
    raise DatasetError(
        what,
        expected="at least one case that can be used",
        got=f"none; {len(skipped)} passed over, the first since {why}",
        hint="mend the files, or the options that name them",
    )


class CaseWriter:
    """Writes cases into a folder that is being made; `writing_cases` makes one.

    Args:
        folder: an empty folder, or a worker's own.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._patients: dict[str, str | None] = {}
        self._skipped: list[tuple[str, str]] = []
        self._readers: list[tuple[str, ...]] = []

    @property
    def count(self) -> int:
        """Cases written so far."""
        return len(self._patients)

    @property
    def patients(self) -> tuple[str, ...]:
        """The known patients so far, each once, sorted."""
        return tuple(sorted({patient for patient in self._patients.values() if patient is not None}))

    def add(self, case: Case) -> None:
        """Write one case.

        Raises:
            InputError: a name that cannot be a folder's.
            DatasetError: a name that was there before.
        """
        name = check_name(self.folder, case.name)
        self._check_new(name)
        _write_case(self.folder / name, case)
        named = [(name, f"label{number}", who) for number, who in enumerate(case.drawn_by or ()) if who is not None]
        self._readers += named
        self._patients[name] = None if case.patient is None else patient_id(case.patient)

    def take(self, part: "CaseWriter") -> None:
        """Take over what a writer in another process wrote and noted; its cases lie here already (see `move_to`).

        Raises:
            DatasetError: a name that was there before.
        """
        for name in part._patients:
            self._check_new(name)
        self._patients |= part._patients
        self._readers += part._readers
        self._skipped += part._skipped

    def move_to(self, folder: Path) -> list[Path]:
        """Move the cases into another folder of this file system, each at once, over one of a former try."""
        for name in self._patients:
            shutil.rmtree(folder / name, ignore_errors=True)
            (self.folder / name).rename(folder / name)
        return [folder / name for name in self._patients]

    def skip(self, what: str, why: str) -> None:
        """Note what was passed over, and why."""
        self._skipped.append((what, why))

    def add_split(self, name: str, sides: Mapping[str, Split]) -> None:
        """Write the side of each patient to `name`.csv."""
        self._write_table(name, ("patient", "side"), sorted(sides.items()))

    def add_splits(self, rule: SplitRule) -> None:
        """Write split.csv where a rule other than the usual one divides the patients, or fold-1.csv, fold-2.csv, ...

        Raises:
            DatasetError: fewer patients than the rule needs.
        """
        if not rule.usual:
            for fold, name in rule.files.items():
                self.add_split(name, rule.sides(self.patients, fold))

    def finish(self, made_by: str, facts: Mapping[str, Any]) -> None:
        """Write the tables and the manifest; `made_by` and `facts` as `manifest.write_manifest` takes them.

        Raises:
            DatasetError: no case was written.
        """
        if not self._patients:
            refuse_none(self._skipped)
        for left in self.folder.glob(f"{PART}*"):  # of a worker that died
            shutil.rmtree(left)
        known = [(name, patient) for name, patient in sorted(self._patients.items()) if patient is not None]
        if known:
            self._write_table("patients", ("case", "patient"), known)
        if self._readers:
            self._write_table("readers", ("case", "label", "reader"), self._readers)
        counts = {
            "cases": self.count,
            "patients": len(self.patients),
            "cases_of_unknown_patient": self.count - len(known),
        }
        digest = CaseFolder(self.folder).digest
        write_manifest(self.folder, made_by, facts, counts=counts, sha256=digest, skipped=self._skipped)

    def _check_new(self, name: str) -> None:
        if name in self._patients:
            raise DatasetError(name, expected="every case once", got="a second one", hint="name the cases apart")

    def _write_table(self, name: str, header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
        (self.folder / f"{name}.csv").write_text(csv_text([header, *rows]), encoding="utf-8")


@contextmanager
def writing_cases(out: Path, root: Path) -> Iterator[CaseWriter]:
    """A writer whose folder becomes `out` when the block ends well.

    Args:
        out: a folder that does not exist or is empty.
        root: the folder or file that the cases are read from.

    Raises:
        SettingsError: `out` is in use, or lies inside `root`.
    """
    check_outside(out, root)
    with atomic_folder(out) as folder:
        yield CaseWriter(folder)


def _write_case(folder: Path, case: Case) -> None:
    folder.mkdir()
    numbers: Sequence[object] = range(len(case.image)) if len(case.image) > 1 else [""]
    for number, channel in zip(numbers, case.image, strict=True):
        _write_image(folder / f"image{number}", channel, case.grid)
    for reader, mask in enumerate(case.readers):
        _write_label(folder / f"label{reader}", mask, case.grid)


def _write_image(stem: Path, values: np.ndarray, grid: Grid) -> None:
    if grid.affine is not None:
        write_nifti(stem.with_suffix(".nii.gz"), values, grid)
    elif values.ndim == 2 and np.array_equal(values, values.clip(0, 255).astype(np.uint8)):
        Image.fromarray(values.astype(np.uint8)).save(stem.with_suffix(".png"))
    else:
        np.save(stem.with_suffix(".npy"), values)


def _write_label(stem: Path, mask: np.ndarray, grid: Grid) -> None:
    if mask.ndim == 2:
        Image.fromarray(mask.astype(np.uint8) * 255).save(stem.with_suffix(".png"))
    elif grid.affine is not None:
        write_nifti(stem.with_suffix(".nii.gz"), mask.astype(np.uint8), grid)
    else:
        np.save(stem.with_suffix(".npy"), mask)
