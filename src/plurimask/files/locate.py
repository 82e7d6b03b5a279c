"""THE answer to "what lies at this path?": a study, a dataset, mask sets, results or a model; and the study there.

One table for files and one for folders are asked from top to bottom. Names are listed for it. Of files, a DICOM file's
first bytes alone are read, where a segmentation might stand for masks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from plurimask.errors import InputError
from plurimask.files.case_folder import check_name, holds_case, list_case, read_files
from plurimask.files.dicom import read_plane_or_series, series_files
from plurimask.files.dicom_headers import SUFFIXES, is_dicom, is_segmentation
from plurimask.files.images import FORMATS, Format, read_image, split_name
from plurimask.files.mask_sets import MaskSets, find_mask_files, is_mask_folder
from plurimask.files.remote import Remote
from plurimask.files.stored import OtherAxesError, list_visible
from plurimask.records import Case

Kind = Literal["study", "dataset", "mask set", "mask sets", "results", "model", "nothing"]

_MODEL_SUFFIXES = (".safetensors", ".onnx")
_LOOKED_AT = 50  # of a folder's entries, where some say what all are


@dataclass(frozen=True)
class Located:
    """What lies at a path.

    Args:
        path: as it was asked for.
        kind: one image or volume; cases; the masks of one case, or of several; the folder of a demo or a benchmark
            with the masks of each system; weights, a run or an export; or nothing of these.
        layout: which form of it, as the tables below name it.
        masks: the folders whose entries are mask sets: one, of results one a system, else none.
    """

    path: Path
    kind: Kind
    layout: str
    masks: tuple[Path, ...] = ()


def locate(path: Path) -> Located:
    """What lies at a path.

    Raises:
        InputError: a folder that cannot be read.
    """
    base, part = _parted(path)
    if part and base.exists():
        return Located(path, "study", "part")
    if path.is_dir():
        inside = list_visible(path)
        kind, layout = next((kind, layout) for kind, layout, fits in _FOLDERS if fits(path, inside))
    else:
        kind, layout = next((kind, layout) for kind, layout, fits in _FILES if fits(path))
    masks = _systems(path) if kind == "results" else (path,) if kind == "mask sets" else ()
    return Located(path, kind, layout, masks)


def mask_sets_at(path: Path) -> MaskSets:
    """The mask sets at a path or an address, which may be the folder of a demo or a benchmark with one system.

    Raises:
        InputError: the masks of several systems, or as `MaskSets.under`.
    """
    if (remote := Remote.at(path)) is not None:
        return MaskSets.under(remote.listed(), remote)
    folders = locate(path).masks or (path,)
    if len(folders) > 1:
        names = ", ".join(folder.name for folder in folders)
        raise InputError(path, expected="the masks of one system", got=names, hint=f"name one folder, as {folders[0]}")
    return MaskSets.under(folders[0])


def _has_suffix(inside: Sequence[Path], suffixes: tuple[str, ...]) -> bool:
    return any(one.suffix.lower() in suffixes for one in inside)


def _is_flat(path: Path, inside: Sequence[Path]) -> bool:
    """Nothing but files, as a series has it."""
    return bool(inside) and not any(one.is_dir() or one.name == "index.csv" for one in inside)


def _is_series(path: Path, inside: Sequence[Path]) -> bool:
    return _has_suffix(inside, SUFFIXES) and _is_flat(path, inside) and not all(map(is_segmentation, inside))


def _holds_sets(folder: Path, inside: Sequence[Path]) -> bool:
    """Whether mask sets, whole or broken, lie right below a folder of which some entries are looked at."""
    some = inside[:_LOOKED_AT]
    if holds_case(folder) or any(one.name == "index.csv" or (one.is_dir() and holds_case(one)) for one in some):
        return False
    return any(_is_set(one) for one in some)


def _is_set(path: Path) -> bool:
    try:
        return find_mask_files(path) is not None
    except InputError:
        return path.is_dir() and is_mask_folder(list_visible(path))


def _systems(root: Path) -> tuple[Path, ...]:
    """Of a demo or a benchmark, root/masks itself where it holds mask sets, else each folder in it that does."""
    masks = root / "masks"
    if not masks.is_dir() or masks.is_symlink() or holds_case(masks):
        return ()
    inside = list_visible(masks)
    if _holds_sets(masks, inside):
        return (masks,)
    return tuple(folder for folder in inside if folder.is_dir() and _holds_sets(folder, list_visible(folder)))


_FILES: tuple[tuple[Kind, str, Callable[[Path], bool]], ...] = (
    ("nothing", "absent", lambda path: not path.exists()),
    ("dataset", "sides", lambda path: path.suffix.lower() == ".csv"),
    ("mask set", "mask file", lambda path: path.suffix.lower() == ".npz" or is_segmentation(path)),
    ("model", "weights", lambda path: path.suffix.lower() in _MODEL_SUFFIXES),
    ("study", "file", lambda path: True),
)
_FOLDERS: tuple[tuple[Kind, str, Callable[[Path, Sequence[Path]], bool]], ...] = (
    ("dataset", "lidc-slices", lambda path, inside: {path / "index.csv", path / "masks.npz"} <= set(inside)),
    ("study", "case", lambda path, inside: holds_case(path)),
    ("mask set", "mask folder", lambda path, inside: is_mask_folder(inside) and path / "index.csv" not in inside),
    ("study", "series", _is_series),
    ("results", "systems", lambda path, inside: bool(_systems(path))),
    ("mask sets", "mask folders", _holds_sets),
    ("model", "model folder", lambda path, inside: _has_suffix(inside, _MODEL_SUFFIXES)),
    ("study", "files", _is_flat),
    ("dataset", "case-folder", lambda path, inside: any(one.is_dir() or one.name == "index.csv" for one in inside)),
    ("nothing", "empty", lambda path, inside: True),
)


@dataclass(frozen=True, eq=False)
class Study:
    """A case and where it came from.

    Args:
        case: image and grid; readers (0, ...) unless a case folder has labels. Its name comes from the path, and it
            knows no patient. A single slice is a plane, (H, W), with its place in space.
        format: of the file, or of the first image file of a case folder.
        sources: the files that it was read from; for DICOM those of the image, in the order of the slices.
    """

    case: Case
    format: Format
    sources: tuple[Path, ...]


def _parted(path: Path) -> tuple[Path, str | None]:
    """A file or folder, and what of it follows a `#`: a series by its number or UID, a time point by its number."""
    base, mark, part = path.name.rpartition("#")
    return (path, None) if path.exists() or not mark or not base or not part else (path.with_name(base), part)


def open_study(path: str | Path) -> Study:
    """The study at a path: a DICOM file or the folder of a series, a file of `FORMATS`, or the folder of one case.

    Of a folder of several series, FOLDER#3 is the one of number 3 (or of a UID); of a NIfTI file of four axes,
    FILE.nii#0 is the first time point.

    DICOM is known by its content, the other formats by suffix. Arrays are as the format has them: (row, column, slice)
    in DICOM, a NIfTI file's own axes in their order.

    Raises:
        InputError: nothing there, or what `files.dicom.read_series`, `read_image`, `study_name` or `list_case` refuse.
        MissingPackageError: DICOM without `pydicom`, or without a decoder that the file needs.
    """
    name = Path(path)
    path, part = _parted(name)
    if not path.exists():
        raise InputError(
            path, expected="an image, a DICOM series or a case", got="nothing there", hint="check the path"
        )
    if path.is_dir() and holds_case(path) and not part:
        files = list_case(path)
        case = read_files(files.name, files.images, files.labels, None)
        if files.images[0].is_dir():
            return Study(case, "dicom", series_files(files.images[0]))
        return Study(case, FORMATS[split_name(files.images[0])[1]].name, files.images + files.labels)
    format: Format
    suffix, padding = split_name(path)[1], None
    if path.is_dir() or is_dicom(path) or path.suffix.lower() in SUFFIXES:
        series = read_plane_or_series(path, part)
        image, grid, format, sources = series.image, series.grid, "dicom", series.files
        padding = series.padding
    elif suffix:
        format, sources = FORMATS[suffix].name, (path,)
        try:
            image, grid = read_image(path, part)
        except OtherAxesError as error:
            if format != "nifti" or len(error.shape) != 4:
                raise
            got, hint = f"size {error.shape}", f"name a time point, as {path.name}#0"
            raise InputError(path, expected="one volume, (H, W, D)", got=got, hint=hint) from None
    else:
        raise InputError(
            path,
            expected=f"DICOM, or one of {', '.join(FORMATS)}",
            got=f"'{path.suffix}' without DICOM's mark",
            hint="convert the file",
        )
    nobody = np.zeros((0, *grid.shape), dtype=np.bool_)
    return Study(Case(study_name(name), image, nobody, grid, padding=padding), format, sources)


def study_name(path: Path) -> str:
    """The name that the study at a path bears: the folder's, or the file's without its suffix.

    A DICOM file without the usual suffix keeps its dots, since it may be named by a UID.

    Raises:
        InputError: a name that not every file system can hold.
    """
    path, part = _parted(path)
    if part:
        return check_name(path, f"{study_name(path)}-{part}")
    if path.is_dir():
        return check_name(path, path.absolute().name)
    stem, suffix = split_name(path)
    if suffix:
        return check_name(path, stem)
    return check_name(path, path.stem if path.suffix.lower() in SUFFIXES else path.name)
