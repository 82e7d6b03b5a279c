"""Splits by patient: 80% train, 10% val, 10% test, from a hash of the patient's id alone; and lists of cases.

A patient's split depends on nothing else, so it never changes when cases are added or left out. Where patients are
few, `SplitRule` gives exact shares of them, or folds. A dataset may bring splits of its patients with it, such as the
folds of a study, which are taken instead. A folder of cases may carry patients.csv (case,patient) and split.csv
(patient,side). A case list is text, one case name a line; blank lines and lines that start with # are ignored. Errors
name the line and the case, never a patient.
"""

import csv
import json
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from importlib.resources import files
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, cast, get_args

from plurimask.datasets.dataset import BY_HASH, Dataset
from plurimask.datasets.dataset import Split as Split
from plurimask.errors import DatasetError, InputError, SettingsError, plural
from plurimask.files.stored import difference, look_alike, one_form, other_spelling, readable
from plurimask.files.texts import plain_cell

SplitOrAll = Literal["train", "val", "test", "all"]


def patient_id(text: str) -> str:
    """THE form in which the ids of patients are compared: Unicode's NFC, without spaces around."""
    return one_form(text).strip()


def split_of(patient: str, val: float = 0.1, test: float = 0.1) -> Split:
    """The side of one patient: 64 bits of blake2b of its id, read as a fraction, cut at 0.8 and 0.9 by default."""
    fraction = _hashed(patient) / 2**64
    return "train" if fraction < 1 - val - test else "val" if fraction < 1 - test else "test"


def _hashed(patient: str) -> int:
    return int.from_bytes(blake2b(patient.encode(), digest_size=8).digest(), "big")


@dataclass(frozen=True)
class SplitRule:
    """How patients are divided, other than by a file.

    Args:
        by: `hash`, the hash of the id, which puts a patient on one side whoever else is there; or `rank`, the rank of
            that hash among the patients, which gives each side the nearest whole number to its share, and at least one.
        val, test: shares of the patients.
        folds: into how many test sides of equal size the patients are divided by rank; None: one split.

    Raises:
        SettingsError: shares that leave none to train, or fewer than two folds.
    """

    by: Literal["hash", "rank"] = "hash"
    val: float = 0.1
    test: float = 0.1
    folds: int | None = None

    def __post_init__(self) -> None:
        if not (self.val > 0 and self.test > 0 and self.val + (0 if self.folds else self.test) < 1):
            expected = "shares above 0 that leave some to train"
            got, hint = f"--val {self.val:g} --test {self.test:g}", "as in --val 0.1 --test 0.2"
            raise SettingsError("split", expected=expected, got=got, hint=hint)
        if self.folds is not None and self.folds < 2:
            raise SettingsError("--folds", expected="at least 2", got=str(self.folds), hint="as in --folds 5")

    @property
    def usual(self) -> bool:
        """Whether it is `USUAL`."""
        return self == USUAL

    @property
    def files(self) -> dict[int | None, str]:
        """The names of the tables that hold its sides, by number of the fold from 1, or by None for one split."""
        return {fold: f"fold-{fold}" for fold in range(1, self.folds + 1)} if self.folds else {None: "split"}

    def describe(self, fold: int | None = None) -> str:
        """The rule in words, for records; of folds that of one of them, counted from 1."""
        if self.usual:
            return BY_HASH
        if self.folds:
            return f"fold {fold} of {self.folds}, val {self.val:g}, by rank of hash"
        return f"blake2b of the patient, val {self.val:g}, test {self.test:g}" + ", by rank" * (self.by == "rank")

    def sides(self, patients: Collection[str], fold: int | None = None) -> dict[str, Split]:
        """The side of each patient; of folds those of one of them.

        The patients of fold k's validation are the first of fold k + 1's test side.

        Raises:
            DatasetError: fewer patients than folds, or than sides.
        """
        ordered = sorted(set(patients), key=lambda patient: (_hashed(patient), patient))
        if self.by == "hash" and not self.folds:
            return {patient: split_of(patient, self.val, self.test) for patient in ordered}
        count = len(ordered)
        least = max(3, self.folds or 0) + (self.folds == 2)  # so that none of the sides is empty
        if count < least:
            each = plural(self.folds, "fold") if self.folds else "three sides"
            hint = "ask for fewer folds, or add patients" if self.folds else "add patients"
            raise DatasetError("split", expected=f"at least {least} patients for {each}", got=str(count), hint=hint)
        if self.folds:
            parts = [ordered[first :: self.folds] for first in range(self.folds)]
            assert fold is not None, "one of the folds"
            test, *others = parts[fold - 1 :] + parts[: fold - 1]
            rest = [patient for part in others for patient in part]
        else:
            tested = _share(self.test, count, count - 2)
            test, rest = ordered[:tested], ordered[tested:]
        validated = _share(self.val, count, len(rest) - 1)
        sides: dict[str, Split] = dict.fromkeys(test, "test")
        return sides | dict.fromkeys(rest[:validated], "val") | dict.fromkeys(rest[validated:], "train")


USUAL = SplitRule()
"""The rule that holds where nobody names one."""


def _share(share: float, total: int, room: int) -> int:
    """The nearest whole number to a share, at least one and at most what there is room for."""
    return max(1, min(round(share * total), room))


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
    check_patients(dataset, asked=asked)
    chosen = [i for i, patient in enumerate(dataset.patients) if side_of(dataset, str(patient)) == split]
    if not chosen:
        raise DatasetError(
            dataset.root,
            expected=f"at least one patient on the {split} side",
            got=f"none among {plural(len(set(dataset.patients)), 'patient')}",
            hint=f"{_WAYS_OUT}, or use --split all" if asked else _WAYS_OUT,
        )
    return chosen


_WAYS_OUT = (
    "give every side its share of the patients with --split-by rank of train or prepare folder, score every patient "
    "once with --folds 5, or name the sides in split.csv (patient,side)"
)


def describe_sides(patients: Sequence[str | None], sides: Mapping[str, Split], by: str) -> str:
    """How many patients fall on each side, and how many cases where these are more, in one line.

    Args:
        patients: one a case.
        sides: of some of them; of the others the hash decides.
        by: what decides, in words.
    """
    side = {patient: sides.get(patient) or split_of(patient) for patient in patients if patient is not None}
    persons, cases = Counter(side.values()), Counter(side[one] for one in patients if one is not None)
    more = {one: f" ({plural(cases[one], 'case')})" if persons != cases else "" for one in get_args(Split)}
    each = ", ".join(f"{persons[one]} {one}{more[one]}" for one in more)
    return f"{plural(len(side), 'patient')}: {each}, by {'the hash of their ids' if by == BY_HASH else by}"


def check_patients(dataset: Dataset, *, asked: bool = False) -> None:
    """Refuse cases without a patient, and patients in two spellings.

    Two ids that differ in case, width or what is not seen may be one patient, whom the hash puts on two sides.

    Raises:
        DatasetError: these. Its hint names --split where `asked` says that the command has it.
    """
    first: dict[str, int] = {}
    for index, (name, patient) in enumerate(zip(dataset.names, dataset.patients, strict=True)):
        if patient is None:
            hint = "list every case in patients.csv (case,patient)" + (", or use --split all" if asked else "")
            raise DatasetError(name, expected="a patient, since splits are by patient", got="none", hint=hint)
        before = first.setdefault(look_alike(patient), index)
        other = dataset.patients[before]
        if patient != other and other is not None:
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
    for line, case, patient in _rows(path, ("case", "patient")) if os.path.lexists(path) else ():
        if case not in names:
            raise _bad_line(path, line, "the name of a case folder", f"'{case}'{other_spelling(case, names)}")
        if case in patients:
            raise _bad_line(path, line, "one line a case", f"'{case}' again")
        patients[case] = patient
    return patients


def read_sides(path: Path, patients: Collection[str | None], of: str = "patients.csv") -> dict[str, Split]:
    """The side of each patient.

    Args:
        path: a CSV with the header `patient,side`; the sides are train, val and test. Or the folder of a run, for the
            sides that it was trained on, or its split.json.
        patients: those of the dataset; each must be listed, and others may be.
        of: what says them, in words.

    Raises:
        DatasetError: another header or side, an incomplete line, a patient twice or on two sides, or one of the
            dataset that is not listed.
        InputError: a file that cannot be read.
    """
    sides: dict[str, Split] = {}
    first: dict[str, int] = {}
    path = path / "split.json" if path.is_dir() else path
    rows = _of_run(path) if path.suffix == ".json" else _rows(path, ("patient", "side"))
    for line, patient, side in rows:
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
            hint=f"{'train on' if path.suffix == '.json' else 'add'} them, or leave the file out for the split by hash",
        )
    return sides


def read_readers(path: Path, labels: Mapping[str, int]) -> dict[str, tuple[str | None, ...]]:
    """Who drew each label of each case that is listed; none where there is no file.

    Args:
        path: a CSV with the header `case,label,reader`; labels are called label0, label1, ...
        labels: how many each case has.

    Raises:
        DatasetError: another header, an incomplete line, a case or label that is not there, a label twice, or two
            labels of one case by one reader.
        InputError: a file that cannot be read.
    """
    found: dict[str, list[str | None]] = {}
    for line, case, label, reader in _rows(path, ("case", "label", "reader")) if os.path.lexists(path) else ():
        if case not in labels:
            raise _bad_line(path, line, "the name of a case folder", f"'{case}'{other_spelling(case, labels)}")
        number = label.removeprefix("label")
        if not number.isdecimal() or int(number) >= labels[case]:
            least = f"label0 to label{labels[case] - 1}" if labels[case] else "no label"
            raise _bad_line(path, line, f"a label of case {case}, {least}", f"'{label}'")
        of_case = found.setdefault(case, [None] * labels[case])
        if of_case[int(number)] is not None or reader in of_case:
            twice = f"{label} again" if of_case[int(number)] is not None else f"a second one of case {case} by {reader}"
            raise _bad_line(path, line, "one label a reader and case", twice)
        of_case[int(number)] = reader
    return {case: tuple(readers) for case, readers in found.items()}


def _of_run(path: Path) -> Iterator[tuple[int, str, str]]:
    """Number, patient and side from what a run says of its split."""
    with readable(path, "the split.json of a run, or a CSV file"):
        sides = json.loads(path.read_bytes())["patients"]
        pairs = [(str(patient), str(side)) for side, patients in sides.items() for patient in patients]
    yield from ((number, *pair) for number, pair in enumerate(pairs, start=1))


def _rows(path: Path, header: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
    """Number and cells of each line below the header; empty lines are passed over."""
    with readable(path, "a readable CSV file"), path.open(encoding="utf-8-sig", newline="") as file:
        rows = [[plain_cell(one_form(cell).strip()).strip() for cell in row] for row in csv.reader(file)]
    if not rows or rows[0] != list(header):
        raise _bad_line(path, 1, f"the header {','.join(header)}", "another line" if rows else "an empty file")
    for line, row in enumerate(rows[1:], start=2):
        if any(row):
            if len(row) != len(header) or not all(row):
                of = " and ".join(f"its {name}" for name in header[1:])
                raise _bad_line(path, line, f"a {header[0]} and {of}", "a cell that is empty, missing or too many")
            yield line, *row


def _bad_line(path: Path, line: int, expected: str, got: str) -> DatasetError:
    return DatasetError(f"{path}, line {line}", expected=expected, got=got, hint="correct the line, or remove it")
