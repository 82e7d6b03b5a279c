"""Splits by patient: 80% train, 10% val, 10% test, from a hash of the patient's id alone; and lists of cases.

A patient's split depends on nothing else, so it never changes when cases are added or left out. A dataset may bring
splits of its patients with it, such as the folds of a study, which are taken instead. A folder of cases may carry
patients.csv (case,patient) and split.csv (patient,side). A case list is text, one case name a line; blank lines and
lines that start with # are ignored. Errors name the line and the case, never a patient.
"""

import csv
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from hashlib import blake2b
from importlib.resources import files
from itertools import combinations
from pathlib import Path
from typing import Literal, cast, get_args

from plurimask.datasets.dataset import Dataset
from plurimask.datasets.dataset import Split as Split
from plurimask.errors import DatasetError, InputError, plural
from plurimask.files.stored import difference, look_alike, one_form, other_spelling, readable
from plurimask.files.texts import plain_cell

SplitOrAll = Literal["train", "val", "test", "all"]


def patient_id(text: str) -> str:
    """THE form in which the ids of patients are compared: Unicode's NFC, without spaces around."""
    return one_form(text).strip()


def split_of(patient: str) -> Split:
    """The side of one patient: 64 bits of blake2b of its id, read as a fraction, cut at 0.8 and 0.9."""
    fraction = int.from_bytes(blake2b(patient.encode(), digest_size=8).digest(), "big") / 2**64
    return "train" if fraction < 0.8 else "val" if fraction < 0.9 else "test"


def side_of(dataset: Dataset, patient: str) -> Split:
    """The side of one of a dataset's patients: what the dataset says, else by hash."""
    return dataset.sides.get(patient) or split_of(patient)


def split_indices(dataset: Dataset, split: SplitOrAll, *, asked: bool = False) -> list[int]:
    """Positions of a split's cases, in the dataset's order; `all` asks for no patients.

    Args:
        dataset: any.
        split: one of its sides, or `all`.
        asked: whether the command has an option --split, which hints may name then.

    Raises:
        DatasetError: an unknown split, a case without a patient, a patient in two spellings, or a split that holds no
            case.
    """
    if split == "all":
        return list(range(len(dataset)))
    if split not in get_args(Split):
        raise DatasetError("split", expected="train, val, test or all", got=split, hint="name one of these")
    _refuse_spellings(dataset)
    chosen = []
    for index, (name, patient) in enumerate(zip(dataset.names, dataset.patients, strict=True)):
        if patient is None:
            hint = "list every case in patients.csv (case,patient)" + (", or use --split all" if asked else "")
            raise DatasetError(name, expected="a patient, since splits are by patient", got="none", hint=hint)
        if side_of(dataset, patient) == split:
            chosen.append(index)
    if not chosen:
        raise DatasetError(
            dataset.root,
            expected=f"at least one patient on the {split} side",
            got=f"none among {plural(len(set(dataset.patients)), 'patient')}",
            hint="add patients, or name the sides in split.csv (patient,side)"
            + (", or use --split all" if asked else ""),
        )
    return chosen


def _refuse_spellings(dataset: Dataset) -> None:
    """Two ids that differ in case, width or what is not seen may be one patient, whom the hash puts on two sides."""
    first: dict[str, int] = {}
    for index, patient in enumerate(dataset.patients):
        before = first.setdefault(look_alike(patient or ""), index)
        other = dataset.patients[before]
        if patient != other and patient is not None and other is not None:
            raise DatasetError(
                dataset.root,
                expected="one spelling of each patient",
                got=f"two, of cases {dataset.names[before]} and {dataset.names[index]} ({difference(other, patient)})",
                hint="write them alike, or, if they are two persons, name them further apart",
            )


def check_disjoint(sides: Mapping[Split, Sequence[str]]) -> None:
    """Refuse sides that share a patient. Raises DatasetError with the number shared."""
    for one, other in combinations(sides, 2):
        shared = set(map(look_alike, sides[one])) & set(map(look_alike, sides[other]))
        if shared:
            raise DatasetError(
                "split",
                expected=f"no patient on both {one} and {other}",
                got=f"{len(shared)} shared",
                hint="split by patient, never by slice",
            )


def spread(dataset: Dataset, indices: Sequence[int], limit: int) -> list[int]:
    """The first `limit` of these cases as `ranked` puts them, in the dataset's order."""
    return sorted(ranked(dataset, indices)[:limit])


def ranked(dataset: Dataset, indices: Sequence[int]) -> list[int]:
    """These cases with every patient's first before any patient's second, otherwise in hash order.

    The order depends on names and patients alone.
    """
    seen: Counter[str | None] = Counter()
    rounds: list[tuple[int, int, int]] = []
    for index in sorted(indices, key=lambda index: blake2b(dataset.names[index].encode(), digest_size=8).digest()):
        rounds.append((seen[dataset.patients[index]], len(rounds), index))
        seen[dataset.patients[index]] += 1
    return [index for _, _, index in sorted(rounds)]


def read_case_list(source: str) -> tuple[str, ...]:
    """The names of a built-in list (`lidc-eval-200`) or of a text file, in their order.

    Raises:
        InputError: neither a built-in list nor a readable text file, no name at all, or a name twice.
    """
    built_in = {Path(file.name).stem: file for file in (files("plurimask") / "lists").iterdir()}
    known = ", ".join(sorted(built_in))
    with readable(source, f"a text file, or one of the built-in lists: {known}", "check the name"):
        text = built_in.get(source, Path(source)).read_text(encoding="utf-8-sig")
    lines = (one_form(line).strip() for line in text.splitlines())
    names = tuple(line for line in lines if line and not line.startswith("#"))
    if not names:
        raise InputError(source, expected="one case name a line", got="none", hint="list at least one case")
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        raise InputError(source, expected="every case once", got=f"{name} {times} times", hint="remove the others")
    return names


def read_patients(path: Path, names: Collection[str]) -> dict[str, str]:
    """The patient of each case that is listed; none where there is no file.

    Args:
        path: a CSV with the header `case,patient`.
        names: the cases there are, as `case_folder.check_name` gives them.

    Raises:
        DatasetError: another header, an incomplete line, a case that is not there or listed twice.
        InputError: a file that cannot be read.
    """
    patients: dict[str, str] = {}
    for line, case, patient in _pairs(path, ("case", "patient")) if os.path.lexists(path) else ():
        if case not in names:
            raise _bad_line(path, line, "the name of a case folder", f"'{case}'{other_spelling(case, names)}")
        if case in patients:
            raise _bad_line(path, line, "one line a case", f"'{case}' again")
        patients[case] = patient
    return patients


def read_sides(path: Path, patients: Collection[str | None], of: str = "patients.csv") -> dict[str, Split]:
    """The side of each patient.

    Args:
        path: a CSV with the header `patient,side`; the sides are train, val and test.
        patients: those of the dataset; each must be listed, and others may be.
        of: what says them, in words.

    Raises:
        DatasetError: another header or side, an incomplete line, a patient twice or on two sides, or one of the
            dataset that is not listed.
        InputError: a file that cannot be read.
    """
    sides: dict[str, Split] = {}
    first: dict[str, int] = {}
    for line, patient, side in _pairs(path, ("patient", "side")):
        if side not in get_args(Split):
            raise _bad_line(path, line, "train, val or test", f"'{side}'")
        if patient in sides and side != sides[patient]:
            got = f"{side}, and {sides[patient]} on line {first[patient]}"
            raise _bad_line(path, line, "one side a patient", got)
        if patient in sides:
            raise _bad_line(path, line, "one line a patient", "one again")
        sides[patient], first[patient] = cast(Split, side), line
    absent = set(patients) - set(sides)
    if absent:
        near = next(filter(None, (other_spelling(one, sides) for one in absent if one is not None)), "")
        apart = f", one of whom is spelt otherwise{near}" if near else ""
        raise DatasetError(
            path,
            expected=f"the side of every patient of {of}, and the patient of every case there",
            got=f"{len(absent)} without one{apart}",
            hint="add them, or remove the file for the split by hash",
        )
    return sides


def _pairs(path: Path, header: tuple[str, str]) -> Iterator[tuple[int, str, str]]:
    """Number and two cells of each line below the header; empty lines are passed over."""
    with readable(path, "a readable CSV file"), path.open(encoding="utf-8-sig", newline="") as file:
        rows = [[plain_cell(one_form(cell).strip()).strip() for cell in row] for row in csv.reader(file)]
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
