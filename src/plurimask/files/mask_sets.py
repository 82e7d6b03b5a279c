"""Mask sets on disk. We write DIR/CASE/masks.npz and DIR/CASE/set.json, and read what any program writes.

The masks of a case are one stack, DIR/CASE/masks.npz or DIR/CASE.npz (.npy, .nii, .nii.gz); a DICOM SEG, a segment a
sample, DIR/CASE/samples.dcm or DIR/CASE.dcm; or one file a sample in DIR/CASE. A folder may also hold set.json, and
tables of what was measured of the masks. Beside a stack, other files are ignored, and so are hidden ones and folders
below DIR/CASE. docs/masks.md shows the layouts.

set.json is optional and may hold name, method, seeds, checkpoint, grid {shape, affine}, settings and weights, as
`MaskSet` describes them; what is absent is unknown.
"""

import json
import math
import os
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import from_json

from plurimask.errors import InputError
from plurimask.files.atomic import atomic_folder, check_free, read_together
from plurimask.files.case_folder import check_name
from plurimask.files.dicom import read_segments
from plurimask.files.dicom_headers import SUFFIXES, is_segmentation
from plurimask.files.images import NoClasses, read_label, read_nifti_stack, read_npy_header, split_name
from plurimask.files.remote import Remote
from plurimask.files.stored import list_visible, natural, one_form, other_spelling, readable, refuse_giant
from plurimask.geometry import Grid, common_grid, grid_of, same_grid
from plurimask.records import Case, MaskSet
from plurimask.settings import Positive, parse


def read_stack(path: Path, stated: tuple[int, ...] | None = None) -> tuple[np.ndarray, Grid]:
    """All samples of a case from one file: (S, H, W[, D]) in NPZ and NPY, (H, W, D, S) in NIfTI, D = 1 for a plane.

    An NPZ holds them as `masks`, or holds no other array. (S, 1, H, W) are planes too. Only NIfTI brings an affine.
    One sample at a time is in memory beside the masks.

    Args:
        path: the file.
        stated: the size of a sample, where it is known; else an array whose planes would be a pixel or two high or
            wide is refused.

    Raises:
        InputError: a file that is missing, damaged, pickled or of another shape, holds too much, breaks the rule for
            labels in a sample, or holds probabilities of classes.
    """
    shape, samples, affine = _open_stack(path)
    sample, rule = _sample_shape(path, shape, stated), NoClasses()
    grid = grid_of(path, sample, affine)
    refuse_giant(path, (shape[0], *sample), 1)
    masks = np.empty((shape[0], *sample), dtype=np.bool_)
    for mask, values in zip(masks, samples, strict=True):
        mask[...] = rule(path, values.reshape(sample))
    rule.check(path)
    return masks, grid


def _sample_shape(path: Path, shape: tuple[int, ...], stated: tuple[int, ...] | None) -> tuple[int, ...]:
    """(H, W[, D]) of the samples in an array (S, H, W[, D])."""
    if len(shape) not in (3, 4) or min(shape) < 1:
        raise InputError(path, expected="masks of shape (S, H, W[, D])", got=str(shape), hint="stack one mask a sample")
    sample = shape[1:]
    if sample == stated or path.name.lower().endswith((".nii", ".nii.gz")):
        return sample
    if len(sample) == 3 and 1 in (sample[0], sample[2]):
        sample = sample[1:] if sample[0] == 1 else sample[:2]
    if min(sample[:2]) <= 2:
        raise InputError(
            path,
            expected="samples, rows, columns and then slices, (S, H, W[, D])",
            got=f"size {shape}, whose masks would be {sample[0]}x{sample[1]} pixels",
            hint="move the axis of the samples first and that of the slices last",
        )
    return sample


def read_samples(paths: Sequence[Path]) -> tuple[np.ndarray, Grid]:
    """All samples of a case from one file each, every one as `read_label` reads it.

    Raises:
        InputError: a file that cannot be read, breaks the rule for labels, or lies on another grid than the others;
            or probabilities of classes.
    """
    rule = NoClasses()
    labels = {path: read_label(path, rule) for path in paths}
    rule.check(paths[0].parent)
    grid = common_grid({path: grid for path, (_, grid) in labels.items()}, "bring all samples of a case to one grid")
    return np.stack([mask for mask, _ in labels.values()]), grid


def _open_stack(path: Path) -> tuple[tuple[int, ...], Iterable[np.ndarray], np.ndarray | None]:
    """Shape (S, H, W[, D]), the samples as the file has them, and the affine."""
    if path.name.lower().endswith((".nii", ".nii.gz")):
        return _open_nifti(path)
    with readable(path, _WHOLE.format(path.name), "write it again"):
        if path.name.lower().endswith(".npz"):
            return *_open_npz(path), None
        # Mapping compares the header's size with the file's before any memory is taken, and refuses Python objects.
        values = np.lib.format.open_memmap(path, mode="r")
    return values.shape, values, None


_WHOLE = "a whole {} without pickled objects"


def _open_npz(path: Path) -> tuple[tuple[int, ...], Iterator[np.ndarray]]:
    # np.load would also take a bare array or a pickle under this name, and hand back bytes for an unknown header.
    archive = zipfile.ZipFile(path)
    arrays = [name for name in archive.namelist() if name.endswith(".npy")]
    if "masks.npy" in arrays:
        arrays = ["masks.npy"]
    if len(arrays) != 1:
        raise InputError(
            path,
            expected="an array `masks`, or one array alone",
            got=", ".join(name.removesuffix(".npy") for name in arrays) or "none",
            hint="rename the one that holds the masks",
        )
    file = archive.open(arrays[0])
    shape, by_columns, dtype = read_npy_header(file)
    refuse_giant(path, shape if by_columns else shape[1:], max(4, dtype.itemsize))
    return shape, _samples(path, file, shape, by_columns, dtype)


def _samples(
    path: Path, file: IO[bytes], shape: tuple[int, ...], by_columns: bool, dtype: np.dtype[Any]
) -> Iterator[np.ndarray]:
    """What lies along the first axis of an array, one after the other, read when it is asked for."""
    parts = (shape,) if by_columns else (shape[1:],) * shape[0]
    with readable(path, _WHOLE.format(path.name), "write it again"), file:
        for part in parts:
            content = file.read(math.prod(part) * dtype.itemsize)
            values = np.frombuffer(content, dtype).reshape(part, order="F" if by_columns else "C")
            yield from values if by_columns else (values,)
        if file.read(1):
            raise ValueError("more than its header says")


def _open_nifti(path: Path) -> tuple[tuple[int, ...], Iterable[np.ndarray], np.ndarray]:
    shape, samples, affine = read_nifti_stack(path)
    if len(shape) != 4:
        # Three axes may be the slices of one sample or the samples of one slice.
        raise InputError(
            path,
            expected="four axes (H, W, D, S), samples last",
            got=f"size {shape}",
            hint="write (H, W, 1, S) for a plane, (H, W, D, 1) for one sample, or a folder with one file a sample",
        )
    *space, count = shape
    return (count, *(space[:2] if space[2] == 1 else space)), samples, affine


STACK, SEGMENTS, DESCRIPTION = "masks", "samples.dcm", "set.json"
MEASUREMENTS, SUMMARY = "measurements.csv", "measurements-summary.csv"
REPLACEABLE = (
    re.compile(
        rf"{STACK}\.(npz|nii\.gz)|(samples|agreement|frequency|votes|frequency-map|consensus|report)\.dcm"
        rf"|sample\d+\.png|maps|pictures|{DESCRIPTION}|{MEASUREMENTS}|{SUMMARY}"
    ).fullmatch,
    "that of a panel",
)
"""What a panel that is written may replace, as `files.atomic.check_free` takes it: all that we write of one."""
_STACK_SUFFIXES = (".npz", ".npy", ".nii", ".nii.gz")
_LAYOUTS = f"CASE/masks.npz (or .npy, .nii, .nii.gz, {SEGMENTS}), CASE.npz, or CASE/ with one file a sample"


@dataclass(frozen=True)
class MaskFiles:
    """The files of one case.

    Args:
        path: the folder named by the case, or the one file named by it.
        name: the case's.
        stack: the file that holds all samples, or None.
        samples: where there is no stack, one file a sample, mask2 before mask10.
    """

    path: Path
    name: str
    stack: Path | None = None
    samples: tuple[Path, ...] = ()


def list_mask_files(root: Path) -> list[MaskFiles]:
    """The cases under `root` that have masks, sorted by name.

    Raises:
        InputError: no masks at all, the files of a single case, a case in two forms, or as `find_mask_files`.
    """
    found: dict[str, MaskFiles] = {}
    for path in list_visible(root):
        files = find_mask_files(path)
        if files is None:
            continue
        if files.stack == path and _is_stack(path):
            raise InputError(root, expected=_LAYOUTS, got=f"{path.name} alone", hint="pass the folder above it")
        if files.name in found:
            raise _doubled(root, files.name, [found[files.name].path, path])
        found[files.name] = files
    if not found:
        raise InputError(root, expected=_LAYOUTS, got="none", hint="draw masks first, or mend the path")
    return [found[name] for name in sorted(found)]


def find_mask_files(path: Path) -> MaskFiles | None:
    """The masks in a case's folder, or in its one file; None for a folder that is still empty and for other files.

    Raises:
        InputError: two stacks, a stack beside samples, one sample twice, other files alone or among samples, or a case
            of a dataset.
    """
    if path.is_dir():
        return _in_folder(path)
    stem = _stack_stem(path)
    if stem is None and is_segmentation(path):
        stem = path.stem
    return None if stem is None else MaskFiles(path, one_form(stem), stack=path)


def is_mask_folder(inside: Sequence[Path]) -> bool:
    """Whether what lies in a folder is the masks of one case, whole or broken, by its names; or a lone DICOM SEG."""
    lone = len(inside) == 1 and is_segmentation(inside[0])
    return lone or any(path.name == DESCRIPTION or _is_stack(path) for path in inside)


def _is_stack(path: Path) -> bool:
    return path.name.lower() == SEGMENTS or (_stack_stem(path) or "").lower() == STACK


def _in_folder(folder: Path) -> MaskFiles | None:
    beside = (DESCRIPTION, MEASUREMENTS, SUMMARY)
    files = [path for path in list_visible(folder) if path.name not in beside and not path.is_dir()]
    stacks = [path for path in files if _is_stack(path)]
    if len(files) == 1 and is_segmentation(files[0]):  # under any name, as an archive gives it
        stacks = files
    samples = [path for path in files if path not in stacks and split_name(path)[1]]
    samples.sort(key=lambda path: (natural(split_name(path)[0]), path.name))
    others = [path for path in files if path not in stacks and path not in samples]
    if len(stacks) + bool(samples) > 1:
        raise _doubled(folder, "the case", stacks + samples)
    if others and not stacks:
        raise InputError(folder, expected=_LAYOUTS, got=others[0].name, hint="rename, convert or remove it")
    stems = [split_name(path)[0] for path in samples]
    twice = next((stem for stem, times in Counter(stems).items() if times > 1), None)
    if twice is not None:
        raise _doubled(folder, twice, [path for path in samples if split_name(path)[0] == twice])
    # Of a dataset in place of the masks, the image would be cut like a label, and scored.
    if {"image", "image0"} & {stem.lower() for stem in stems} and "label0" in map(str.lower, stems):
        got, hint = "a case with image and label0", "pass the masks, not the dataset"
        raise InputError(folder, expected="masks alone", got=got, hint=hint)
    name = one_form(folder.absolute().name)
    return MaskFiles(folder, name, next(iter(stacks), None), tuple(samples)) if files else None


def _doubled(folder: Path, what: str, files: list[Path]) -> InputError:
    return InputError(
        folder, expected=f"masks of {what} in one form", got=f"{files[0].name} and {files[1].name}", hint="remove one"
    )


def _stack_stem(path: Path) -> str | None:
    suffix = next((suffix for suffix in _STACK_SUFFIXES if path.name.lower().endswith(suffix)), None)
    return None if suffix is None else path.name[: -len(suffix)]


_Row = Annotated[list[float], Field(min_length=4, max_length=4)]


class _GridFile(BaseModel):
    model_config = ConfigDict(strict=True)

    shape: list[int]
    affine: Annotated[list[_Row], Field(min_length=4, max_length=4)] | None = None


class Description(BaseModel):
    """What set.json holds, as `MaskSet` describes it; None where it does not say."""

    model_config = ConfigDict(strict=True)

    name: str | None = None
    method: str | None = None
    seeds: list[int] | None = None
    checkpoint: str | None = None
    grid: _GridFile | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    weights: list[Positive] | None = None


def check_case_folder(folder: Path) -> None:
    """Refuse, before the work, what `write_mask_set` would refuse of a folder. Raises as that."""
    check_name(folder, folder.name)
    check_free(folder, *REPLACEABLE)


def write_mask_set(folder: str | Path, panel: MaskSet) -> None:
    """Write `panel` to `folder`, which must have its name and appears whole; a panel that was there is replaced.

    Raises:
        InputError: a name that cannot be a folder's, or another one than the folder's.
        SettingsError: a folder of other files.
        OSError: as the file system does (disk full, no permission).
    """
    folder, text = Path(folder), describe(panel)
    check_bears_name(folder, panel.name)
    with atomic_folder(folder, *REPLACEABLE) as fresh:
        np.savez_compressed(fresh / f"{STACK}.npz", masks=panel.masks)
        (fresh / DESCRIPTION).write_text(text, encoding="utf-8")


def describe(panel: MaskSet) -> str:
    """What set.json says of `panel`: all but the masks, as JSON with sorted keys."""
    affine = None if panel.grid.affine is None else panel.grid.affine.tolist()
    description = Description(
        name=panel.name,
        method=panel.method,
        seeds=None if panel.seeds is None else list(panel.seeds),
        checkpoint=panel.checkpoint,
        grid=_GridFile(shape=list(panel.grid.shape), affine=affine),
        settings=dict(panel.settings),
        weights=None if panel.weights is None else list(panel.weights),
    )
    return json.dumps(description.model_dump(), indent=2, sort_keys=True, allow_nan=False) + "\n"


def read_mask_set(path: str | Path, image: Callable[[], Grid] | None = None) -> MaskSet:
    """The mask set in a case's folder, or in its one file (CASE.npz, .npy, .nii, .nii.gz, .dcm).

    While other processes replace it, it is one of theirs, and never parts of two.

    Args:
        path: the folder or file.
        image: gives the grid of the case, for a DICOM SEG without set.json, which holds marked slices alone.

    Raises:
        InputError: files that are missing, damaged, in two forms or of other content, or a description that disagrees
            with the masks or with the folder's name.
    """
    place = Path(path)

    def read() -> MaskSet:
        files = find_mask_files(place)
        if files is None:
            raise InputError(place, expected=f"{STACK}.npz, or one file a sample", got="none", hint="draw masks first")
        return _read(files, image)

    return read_together(place, read)


class MaskSets(Mapping[str, MaskSet]):
    """The mask sets under a folder by name of their case, sorted, each read when it is asked for.

    Folders that hold no file, or set.json alone, are passed over. Reading a set raises InputError as `read_mask_set`.

    Args:
        files: of each set.
        remote: the folder that they are brought from, if any.
        cases: that they are masks of, where these are known.
    """

    def __init__(
        self, files: Sequence[MaskFiles], remote: Remote | None = None, cases: Mapping[str, Case] | None = None
    ) -> None:
        self._files, self._remote, self._cases = {one.name: one for one in files}, remote, cases or {}

    @classmethod
    def under(cls, root: Path, remote: Remote | None = None) -> Self:
        """All sets under `root`. InputError for no set at all, a case in two forms, or a folder of other files."""
        return cls(list_mask_files(root), remote)

    def among(self, wanted: Mapping[str, Case], known: Collection[str]) -> "MaskSets":
        """The sets of the cases `wanted`. Raises InputError for a set of a case that is not even in `known`."""
        stranger = next((name for name in self._files if name not in known), None)
        if stranger is not None:
            raise InputError(
                self._files[stranger].path,
                expected="masks of a case of the dataset",
                got=f"an unknown case{other_spelling(stranger, known)}",
                hint="give the dataset that the masks belong to, or rename the set as its case",
            )
        return MaskSets([files for name, files in self._files.items() if name in wanted], self._remote, wanted)

    def __getitem__(self, name: str) -> MaskSet:
        files, cases = self._files[name], self._cases
        image = (lambda: cases[name].grid) if name in cases else None
        with self._remote.brought(files.path) if self._remote else nullcontext():
            return read_together(files.path, lambda: _read(files, image))

    def __contains__(self, name: object) -> bool:
        # Mapping's own would read the masks to find out.
        return name in self._files

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def _read(files: MaskFiles, image: Callable[[], Grid] | None) -> MaskSet:
    path = files.path / DESCRIPTION
    description = read_description(path)
    stated = tuple(description.grid.shape) if description.grid else None
    if files.stack is None:
        masks, grid = read_samples(files.samples)
    elif files.stack.suffix.lower() in SUFFIXES:
        drawn_on = image() if image and not stated else None
        if description.grid and description.grid.affine:
            drawn_on = grid_of(path, tuple(description.grid.shape), np.array(description.grid.affine))
        masks, grid = read_segments(files.stack, drawn_on)
    else:
        masks, grid = read_stack(files.stack, stated)
    _check_description(path, description, files.name, masks)
    return MaskSet(
        name=files.name,
        masks=masks,
        grid=_grid(path, description, grid),
        method=description.method,
        seeds=None if description.seeds is None else tuple(description.seeds),
        checkpoint=description.checkpoint,
        settings=description.settings,
        weights=None if description.weights is None else tuple(description.weights),
    )


def check_bears_name(folder: Path, name: str) -> None:
    """Raises InputError for a case name that cannot be a folder's, or another one than the folder's."""
    check_name(folder, name)
    if one_form(folder.name) != one_form(name):
        got = f"{folder.name}{other_spelling(folder.name, [name])}"
        raise InputError(folder, expected=f"a folder named {name}", got=got, hint="name it as the case")


def read_description(path: Path) -> Description:
    """What set.json at a path says; nothing where it is not there. Raises InputError where it is damaged."""
    if not os.path.lexists(path):
        return Description()
    with readable(path, "a description as plurimask writes it", "correct it"):
        tree = from_json(path.read_bytes(), allow_inf_nan=False)
    return parse(Description, tree, path, InputError)


def _grid(path: Path, description: Description, stored: Grid) -> Grid:
    if description.grid is None or description.grid.affine is None:
        return stored
    grid = grid_of(path, stored.shape, np.array(description.grid.affine))
    same_grid(path, grid, stored, "the masks", "correct or remove it")
    return grid


def _check_description(path: Path, description: Description, name: str, masks: np.ndarray) -> None:
    stated: dict[str, tuple[object, object]] = {
        "name": (description.name and one_form(description.name), name),
        "number of seeds": (None if description.seeds is None else len(description.seeds), len(masks)),
        "number of weights": (None if description.weights is None else len(description.weights), len(masks)),
        "shape": (description.grid and tuple(description.grid.shape), masks.shape[1:]),
    }
    for what, (said, found) in stated.items():
        if said is not None and said != found:
            raise InputError(
                path, expected=f"{what} {found}, as in the folder", got=str(said), hint="correct or remove it"
            )
