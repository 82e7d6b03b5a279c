"""Which files hold the masks of which case; docs/masks.md shows the layouts.

The masks of a case are one stack, DIR/CASE/masks.npz or DIR/CASE.npz (.npy, .nii, .nii.gz), or one file a sample in
DIR/CASE. A folder may also hold set.json, and tables of what was measured of the masks. Hidden files and folders below
DIR/CASE are ignored.
"""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from plurimask.errors import InputError
from plurimask.files.listing import list_visible, natural
from plurimask.files.read import split_name

STACK, DESCRIPTION = "masks", "set.json"
MEASUREMENTS, SUMMARY = "measurements.csv", "measurements-summary.csv"
REPLACEABLE = (
    re.compile(
        rf"{STACK}\.(npz|nii\.gz)|(samples|agreement|frequency)\.dcm|sample\d+\.png|maps|pictures"
        rf"|{DESCRIPTION}|{MEASUREMENTS}|{SUMMARY}"
    ).fullmatch,
    "that of a panel",
)
"""What a panel that is written may replace, as `files.atomic.check_free` takes it: all that we write of one."""
_STACK_SUFFIXES = (".npz", ".npy", ".nii", ".nii.gz")
_LAYOUTS = "CASE/masks.npz (or .npy, .nii, .nii.gz), CASE.npz, or CASE/ with one file a sample"


@dataclass(frozen=True)
class MaskFiles:
    """The files of one case.

    Args:
        place: the folder named by the case, or the one file named by it.
        name: the case's.
        stack: the file that holds all samples, or None.
        samples: where there is no stack, one file a sample, mask2 before mask10.
    """

    place: Path
    name: str
    stack: Path | None = None
    samples: tuple[Path, ...] = ()


def list_mask_files(root: Path) -> list[MaskFiles]:
    """The cases under `root` that have masks, sorted by name.

    Raises:
        InputError: no masks at all, the files of a single case, a case in two forms, or as `find_mask_files`.
    """
    found: dict[str, MaskFiles] = {}
    for place in list_visible(root):
        files = find_mask_files(place)
        if files is None:
            continue
        if files.stack == place and files.name.lower() == STACK:
            raise InputError(root, expected=_LAYOUTS, got=f"{place.name} alone", hint="pass the folder above it")
        if files.name in found:
            raise _doubled(root, files.name, [found[files.name].place, place])
        found[files.name] = files
    if not found:
        raise InputError(root, expected=_LAYOUTS, got="none", hint="draw masks first, or mend the path")
    return [found[name] for name in sorted(found)]


def find_mask_files(place: Path) -> MaskFiles | None:
    """The masks in a case's folder, or in its one file; None for a folder that is still empty and for other files.

    Raises:
        InputError: two stacks, a stack beside samples, one sample twice, other files alone or among samples, or a case
            of a dataset.
    """
    if place.is_dir():
        return _in_folder(place)
    stem = _stack_stem(place)
    return None if stem is None else MaskFiles(place, stem, stack=place)


def _in_folder(folder: Path) -> MaskFiles | None:
    beside = (DESCRIPTION, MEASUREMENTS, SUMMARY)
    files = [path for path in list_visible(folder) if path.name not in beside and not path.is_dir()]
    stacks = [path for path in files if (_stack_stem(path) or "").lower() == STACK]
    samples = sorted((path for path in files if path not in stacks and split_name(path)[1]), key=_by_number)
    others = [path for path in files if path not in stacks and path not in samples]
    if len(stacks) + bool(samples) > 1:
        raise _doubled(folder, "the case", stacks + samples)
    if others and not stacks:
        raise InputError(folder, expected=_LAYOUTS, got=others[0].name, hint="rename, convert or remove it")
    _check_distinct(folder, samples)
    _refuse_case(folder, samples)
    name = folder.absolute().name
    return MaskFiles(folder, name, next(iter(stacks), None), tuple(samples)) if files else None


def _check_distinct(folder: Path, samples: list[Path]) -> None:
    stems = Counter(split_name(path)[0] for path in samples)
    for stem, times in stems.items():
        if times > 1:
            raise _doubled(folder, stem, [path for path in samples if split_name(path)[0] == stem])


def _refuse_case(folder: Path, samples: list[Path]) -> None:
    """The dataset in place of the masks would be scored, its images cut like labels."""
    stems = [split_name(path)[0].lower() for path in samples]
    if any(stem in ("image", "image0") for stem in stems) and "label0" in stems:
        raise InputError(
            folder, expected="masks alone", got="a case with image and label0", hint="pass the masks, not the dataset"
        )


def _doubled(folder: Path, what: str, files: list[Path]) -> InputError:
    return InputError(
        folder, expected=f"masks of {what} in one form", got=f"{files[0].name} and {files[1].name}", hint="remove one"
    )


def _stack_stem(path: Path) -> str | None:
    suffix = next((suffix for suffix in _STACK_SUFFIXES if path.name.lower().endswith(suffix)), None)
    return None if suffix is None else path.name[: -len(suffix)]


def _by_number(path: Path) -> tuple[list[str | int], str]:
    return natural(split_name(path)[0]), path.name
