"""The two tables that a folder of cases may carry: patients.csv (case,patient), and sides of a split (patient,side).

Errors name the line and the case, never a patient.
"""

import csv
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import get_args

from plurimask.datasets.dataset import Split
from plurimask.errors import DatasetError
from plurimask.files.stored import unreadable


def read_patients(path: Path, names: Collection[str]) -> dict[str, str]:
    """The patient of each case that is listed; none where there is no file.

    Args:
        path: a CSV with the header `case,patient`.
        names: the cases there are.

    Raises:
        DatasetError: another header, an incomplete line, a case that is not there or listed twice.
        InputError: a file that cannot be read.
    """
    patients: dict[str, str] = {}
    for line, case, patient in _pairs(path, ("case", "patient")) if path.exists() else ():
        if case not in names:
            raise _bad_line(path, line, "the name of a case folder", f"'{case}'")
        if case in patients:
            raise _bad_line(path, line, "one line a case", f"'{case}' again")
        patients[case] = patient
    return patients


def read_sides(path: Path, patients: Collection[str | None]) -> dict[str, Split]:
    """The side of each patient.

    Args:
        path: a CSV with the header `patient,side`; the sides are train, val and test.
        patients: those of the dataset; each must be listed, and others may be.

    Raises:
        DatasetError: another header or side, an incomplete line, a patient twice, or one of the dataset that is not
            listed.
        InputError: a file that cannot be read.
    """
    sides: dict[str, Split] = {}
    for line, patient, side in _pairs(path, ("patient", "side")):
        known = next((one for one in get_args(Split) if one == side), None)
        if known is None:
            raise _bad_line(path, line, "train, val or test", f"'{side}'")
        if patient in sides:
            raise _bad_line(path, line, "one line a patient", "one again")
        sides[patient] = known
    absent = len(set(patients) - set(sides))
    if absent:
        raise DatasetError(
            path,
            expected="the side of every patient of patients.csv, and the patient of every case there",
            got=f"{absent} without one",
            hint="add them, or remove the file for the split by hash",
        )
    return sides


def _pairs(path: Path, header: tuple[str, str]) -> Iterator[tuple[int, str, str]]:
    """Number and two cells of each line below the header; empty lines are passed over."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [[cell.strip() for cell in row] for row in csv.reader(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise unreadable(path, "CSV file", error) from error
    if not rows or rows[0] != list(header):
        raise _bad_line(path, 1, f"the header {','.join(header)}", "another line" if rows else "an empty file")
    for line, row in enumerate(rows[1:], start=2):
        if any(row):
            if len(row) != 2 or not all(row):
                raise _bad_line(
                    path, line, f"a {header[0]} and its {header[1]}", "a cell that is empty, missing or too many"
                )
            yield line, row[0], row[1]


def _bad_line(path: Path, line: int, expected: str, got: str) -> DatasetError:
    return DatasetError(f"{path}, line {line}", expected=expected, got=got, hint="correct the line, or remove it")
