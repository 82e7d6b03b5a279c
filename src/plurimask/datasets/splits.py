"""Splits by patient: 80% train, 10% val, 10% test, from a hash of the patient's id alone.

A patient's side depends on nothing else, so it never changes when cases are added or left out. A dataset may bring
sides of its patients with it, such as the folds of a study, which are taken instead.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Literal, get_args

from plurimask.datasets.dataset import Dataset
from plurimask.datasets.dataset import Split as Split
from plurimask.errors import DatasetError

SplitOrAll = Literal["train", "val", "test", "all"]


def split_of(patient: str) -> Split:
    """The side of one patient: 64 bits of blake2b of its id, read as a fraction, cut at 0.8 and 0.9."""
    fraction = int.from_bytes(blake2b(patient.encode(), digest_size=8).digest(), "big") / 2**64
    return "train" if fraction < 0.8 else "val" if fraction < 0.9 else "test"


def side_of(dataset: Dataset, patient: str) -> Split:
    """The side of one of a dataset's patients: what the dataset says, else by hash."""
    return dataset.sides.get(patient) or split_of(patient)


def split_indices(dataset: Dataset, split: SplitOrAll) -> list[int]:
    """Positions of a split's cases, in the dataset's order; `all` asks for no patients.

    Raises:
        DatasetError: an unknown split, a case without a patient, or a split that holds no case.
    """
    if split == "all":
        return list(range(len(dataset)))
    if split not in get_args(Split):
        raise DatasetError("split", expected="train, val, test or all", got=split, hint="name one of these")
    pairs = zip(dataset.names, dataset.patients, strict=True)
    sides = [side_of(dataset, _known(name, patient)) for name, patient in pairs]
    chosen = [index for index, side in enumerate(sides) if side == split]
    if not chosen:
        raise DatasetError(
            dataset.kind,
            expected=f"at least one patient on the {split} side",
            got=f"none among {len(set(dataset.patients))} patients",
            hint="add patients, or use --split all",
        )
    return chosen


def check_disjoint(sides: Mapping[Split, Sequence[str]]) -> None:
    """Refuse sides that share a patient. Raises DatasetError with the number shared."""
    names = list(sides)
    for position, one in enumerate(names):
        for other in names[position + 1 :]:
            shared = set(sides[one]) & set(sides[other])
            if shared:
                raise DatasetError(
                    "split",
                    expected=f"no patient on both {one} and {other}",
                    got=f"{len(shared)} shared",
                    hint="split by patient, never by slice",
                )


def _known(name: str, patient: str | None) -> str:
    if patient is None:
        raise DatasetError(
            name,
            expected="a patient, since splits are by patient",
            got="none",
            hint="list every case in patients.csv (case,patient), or use --split all",
        )
    return patient


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
