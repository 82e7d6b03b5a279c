"""The files of one case: `image*` and `label0`, `label1`, ... in a folder, or any files that a caller names.

Files are PNG, JPEG, TIFF, NPY, NIfTI, NRRD or MetaImage, mixed as they come. An image may also be a folder of that name
that holds a DICOM series; labels whose axes lie otherwise are turned to its rows, columns and slices. Whatever is
hidden or has another name is ignored; links are followed.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import chain
from pathlib import Path

import numpy as np

from plurimask.errors import InputError
from plurimask.files.dicom import holds_series, list_files, read_plane_or_series
from plurimask.files.images import LabelRule, NoClasses, binarise, read_image, read_label, split_name
from plurimask.files.stored import list_visible, one_form
from plurimask.geometry import Grid, common_grid
from plurimask.records import Case

_ONE_GRID = "bring all files of a case to one grid, or correct the header"
CASE_LAYOUT = "image.png (or .jpg, .npy, .nii, .nii.gz), label0.png, label1.png, ..."
_NAME = re.compile(r"(image|label)([0-9]*)", re.IGNORECASE)


@dataclass(frozen=True)
class CaseFiles:
    """A case that is not read yet.

    Args:
        name: the folder's.
        images: one file a channel, or the folder of a DICOM series.
        labels: one file a reader.
    """

    name: str
    images: tuple[Path, ...]
    labels: tuple[Path, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """Images, of a series its slices, and labels."""
        images = (list_files(path) if path.is_dir() else [path] for path in self.images)
        return (*chain.from_iterable(images), *self.labels)


def list_case(folder: Path) -> CaseFiles:
    """The files of the case in one folder.

    Raises:
        InputError: files that are missing, doubled, or not numbered from 0 without a gap.
    """
    stems = _by_stem(folder)
    images = _numbered(folder, stems, "image")
    if "image" in stems:
        images = (stems["image"], *images)
        if len(images) > 1:
            raise InputError(folder, expected="image, or image0, image1, ...", got="both", hint="keep one of the two")
    if not images:
        found = ", ".join(path.name for path in list_visible(folder)[:5]) or "an empty folder"
        raise InputError(folder, expected=CASE_LAYOUT, got=found, hint="add the image")
    return CaseFiles(check_name(folder, folder.absolute().name), images, _numbered(folder, stems, "label"))


def read_files(
    name: str,
    image_files: Sequence[Path],
    label_files: Sequence[Path],
    patient: str | None,
    rule: LabelRule = binarise,
    tolerance_mm: float = 0.0,
    hint: str = _ONE_GRID,
    drawn_by: tuple[str | None, ...] | None = None,
) -> Case:
    """A case from one or more files of channels and one label a reader, which must lie on one grid.

    Headers may differ by so much that no corner is further than `tolerance_mm` off; the first with an affine holds.
    Else `hint` says what to do. `drawn_by` is who the readers are.

    Raises:
        InputError: files that are unreadable, or on other grids.
    """
    series = {path: read_plane_or_series(path) for path in image_files if path.is_dir()}
    images = {
        path: (series[path].image, series[path].grid) if path in series else read_image(path) for path in image_files
    }
    masks = NoClasses(rule)
    labels = {path: read_label(path, masks) for path in label_files}
    masks.check(name)
    for found in list(series.values())[:1]:
        labels = {path: _turned(*label, found.grid) for path, label in labels.items()}
    grids = {path: grid for path, (_, grid) in (images | labels).items()}
    grid = common_grid(grids, hint, tolerance_mm)
    channels = np.concatenate([channel for channel, _ in images.values()])
    readers = np.array([mask for mask, _ in labels.values()], dtype=np.bool_).reshape(-1, *grid.shape)
    paddings = [found.padding for found in series.values() if found.padding is not None]
    return Case(name, channels, readers, grid, patient, paddings[0] if paddings else None, drawn_by=drawn_by)


def _turned(mask: np.ndarray, grid: Grid, wanted: Grid) -> tuple[np.ndarray, Grid]:
    """A volume with its axes in the order and direction of those of `wanted` that lie along them."""
    if grid.affine is None or wanted.affine is None or len(grid.shape) != len(wanted.shape) or mask.ndim == 2:
        return mask, grid
    orientations = import_module("nibabel.orientations")
    own, other = (orientations.io_orientation(one.affine) for one in (grid, wanted))
    change = orientations.ornt_transform(own, other)
    turned = orientations.apply_orientation(mask, change)
    return np.ascontiguousarray(turned), Grid(
        turned.shape, grid.affine @ orientations.inv_ornt_aff(change, mask.shape), grid.placed
    )


def holds_case(folder: Path) -> bool:
    """Whether the folder is a case itself, with an image right inside it, and not a dataset of cases."""
    named = ((path, *split_name(path)) for path in list_visible(folder))
    return any(
        stem.lower().startswith("image") and _NAME.fullmatch(stem) and (suffix or _is_series(path))
        for path, stem, suffix in named
    )


def _is_series(path: Path) -> bool:
    return path.is_dir() and holds_series(path)


def check_name(subject: Path, name: str) -> str:
    """A case's name in one form: it becomes a folder of masks and stands in reports, so it must be plain.

    Raises:
        InputError: a name that not every file system can hold; `subject` says where it is from.
    """
    if not name.isprintable() or name.startswith((".", " ")) or not name.strip() or set(name) & set('/\\:*?"<>|'):
        raise InputError(
            ascii(str(subject)),
            expected="a case name that any file system can hold",
            got=ascii(name),
            hint="rename it, best to letters, digits, - and _",
        )
    return one_form(name)


def _by_stem(folder: Path) -> dict[str, Path]:
    """The files of a case by "image", "image0", "label0", ...; a file beside one of them, as image.json, is ignored."""
    stems: dict[str, Path] = {}
    others: dict[str, Path] = {}
    for path in list_visible(folder):
        stem, suffix = split_name(path)
        match = _NAME.fullmatch(stem)
        if match is None:
            continue
        key = match[1].lower() + (str(int(match[2])) if match[2] else "")
        suffix = suffix or ("series" if match[1].lower() == "image" and _is_series(path) else "")
        if suffix and key in stems:
            raise InputError(
                folder, expected=f"one file for {key}", got=f"{stems[key].name} and {path.name}", hint="remove one"
            )
        (stems if suffix else others)[key] = path
    for key, path in (others | stems).items():
        if key == "label" or key not in stems:
            raise InputError(folder, expected=CASE_LAYOUT, got=path.name, hint="rename or convert it")
    return stems


def _numbered(folder: Path, stems: dict[str, Path], kind: str) -> tuple[Path, ...]:
    numbers = sorted(int(stem.removeprefix(kind)) for stem in stems if stem.startswith(kind) and stem != kind)
    for wanted, number in enumerate(numbers):
        if number != wanted:
            raise InputError(
                folder,
                expected=f"{kind} files numbered from 0 without a gap",
                got=f"{kind}{number} but no {kind}{wanted}",
                hint=f"add {kind}{wanted}, or renumber the files",
            )
    return tuple(stems[f"{kind}{number}"] for number in numbers)
