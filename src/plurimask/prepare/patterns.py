"""Paths with placeholders, and the cases that files below a folder make by them.

`{patient}/{visit}/ct.nii.gz` finds P1/a/ct.nii.gz. A placeholder stands for one or more characters other than `/`, as
few as fit; `*` for any number of them that do not matter. The values of an image's placeholders, joined by `-`, name
the case (P1-a), and files of the same values belong to it. `{reader}` tells the readers' files apart; `{patient}` is
the patient.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from plurimask.datasets.splits import patient_id
from plurimask.errors import DatasetError, SettingsError
from plurimask.files.stored import natural, one_form, walk

READER, PATIENT = "reader", "patient"

Key = TypeVar("Key", int, str)


@dataclass(frozen=True)
class Pattern:
    """A path below the root, or a name, with placeholders.

    Raises:
        SettingsError: braces that hold no plain name.
    """

    text: str

    def __post_init__(self) -> None:
        if re.search("[{}]", re.sub(r"{[A-Za-z]\w*}", "", self.text)):
            raise SettingsError(
                self.text,
                expected="placeholders as {case}",
                got="other braces",
                hint="use letters, digits and _ in them",
            )

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Its placeholders, each once, in their order."""
        return tuple(dict.fromkeys(re.findall(r"{(\w+)}", self.text)))

    def match(self, path: str) -> dict[str, str] | None:
        """The value of each placeholder, or None where the path is not of this form; in one Unicode form."""
        found = self._expression.fullmatch(one_form(path))
        return found and found.groupdict()

    @cached_property
    def _expression(self) -> re.Pattern[str]:
        parts: list[str] = []
        for part in re.split(r"({\w+}|\*)", one_form(self.text)):
            name = part[1:-1]
            if part == "*":
                parts.append("[^/]*")
            elif not part.startswith("{"):
                parts.append(re.escape(part))
            else:
                parts.append(f"(?P={name})" if f"(?P<{name}>[^/]+?)" in parts else f"(?P<{name}>[^/]+?)")
        return re.compile("".join(parts))


@dataclass
class FoundCase:
    """The files of one case.

    Args:
        name: the values of its placeholders.
        patient: where a pattern says it.
        images: by number of the pattern, one a channel or several.
        readers: by pattern with `{reader}` put in; sorted, 2 before 10.
    """

    name: str
    patient: str | None
    images: dict[int, Path] = field(default_factory=dict)
    readers: dict[str, Path] = field(default_factory=dict)

    @property
    def image_files(self) -> tuple[Path, ...]:
        """The images in the order of the channels."""
        return tuple(path for _, path in sorted(self.images.items()))


def find_cases(
    root: Path,
    images: Sequence[Pattern],
    readers: Sequence[Pattern],
    patient: Pattern | None = None,
    whole: Callable[[Path], bool] = lambda folder: False,
) -> list[FoundCase]:
    """The cases below `root`, sorted by name, whether whole or not; files are those of `files.stored.walk`.

    A file that fits a pattern of readers is no image, whatever else it fits.

    Args:
        root: a folder.
        images: patterns of paths below it, one a channel; all with the same placeholders.
        readers: patterns with the same placeholders, and `{reader}` where there are several of one form.
        patient: a pattern of names of cases that holds `{patient}`.
        whole: whether a folder that fits an image's pattern stands for an image, as that of a DICOM series does.

    Raises:
        SettingsError: patterns whose placeholders do not fit each other.
        DatasetError: no folder there, no file that fits an image's pattern, or two files in one place.
        InputError: a folder that cannot be read.
    """
    _check_placeholders(images, readers, patient)
    if not root.is_dir():
        raise DatasetError(root, expected="a folder", got="none", hint="correct --root")
    cases: dict[str, FoundCase] = {}
    labels: list[tuple[str, str, Path]] = []
    for path in (path for folder, names in walk(root) for path in (folder, *(folder / name for name in names))):
        relative = path.relative_to(root).as_posix()
        if path.is_dir() and not (_first_match(images, relative) and whole(path)):
            continue
        label = _first_match(readers, relative)
        if label is not None:
            number, values = label
            reader = readers[number].text.replace(f"{{{READER}}}", values.get(READER, ""))
            labels.append((_name(images[0], values), reader, path))
        elif (image := _first_match(images, relative)) is not None:
            number, values = image
            name = _name(images[0], values)
            found = cases.setdefault(name, FoundCase(name, _patient(name, values, patient)))
            _put(found.images, number, path)
    if not cases:
        raise DatasetError(
            root, expected=f"images as {images[0].text}", got="no such file", hint="correct --root or --image"
        )
    for name, reader, path in labels:
        _put(cases.setdefault(name, FoundCase(name, None)).readers, reader, path)
    for found in cases.values():
        found.readers = dict(sorted(found.readers.items(), key=lambda item: natural(item[0])))
    return [cases[name] for name in sorted(cases)]


def _check_placeholders(images: Sequence[Pattern], readers: Sequence[Pattern], patient: Pattern | None) -> None:
    if not images or not readers:
        raise SettingsError("patterns", expected="an --image and a --reader", got="none of one", hint="name both")
    wanted = set(images[0].names)
    if not wanted or READER in wanted:
        raise SettingsError(images[0].text, expected="{case}, and no {reader}", got="others", hint="correct --image")
    for pattern in (*images, *readers):
        if set(pattern.names) - {READER} != wanted:
            raise SettingsError(
                pattern.text,
                expected=f"the placeholders of {images[0].text}",
                got=", ".join(pattern.names) or "none",
                hint="use the same in every pattern, and {reader} in --reader alone",
            )
    if patient is not None and PATIENT not in patient.names:
        raise SettingsError(patient.text, expected="{patient} in it", got="none", hint="as in '{patient}_*'")


def _first_match(patterns: Sequence[Pattern], relative: str) -> tuple[int, dict[str, str]] | None:
    for number, pattern in enumerate(patterns):
        values = pattern.match(relative)
        if values is not None:
            return number, values
    return None


def _name(first: Pattern, values: Mapping[str, str]) -> str:
    return "-".join(values[name] for name in first.names)


def _patient(name: str, values: Mapping[str, str], pattern: Pattern | None) -> str | None:
    if pattern is None:
        return patient_id(values[PATIENT]) if PATIENT in values else None
    found = pattern.match(name)
    if found is None:
        raise DatasetError(
            name, expected=f"a name of the form {pattern.text}", got="another one", hint="correct --patient"
        )
    return patient_id(found[PATIENT])


def _put(files: dict[Key, Path], key: Key, path: Path) -> None:
    if key in files:
        raise DatasetError(
            path, expected="one file for each channel and reader of a case", got=f"{files[key]} too", hint="remove one"
        )
    files[key] = path
