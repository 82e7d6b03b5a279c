"""Mask sets on disk. We write DIR/CASE/masks.npz and DIR/CASE/set.json, and read what any program writes.

`files.mask_files` finds the masks, `files.mask_arrays` reads them. set.json is optional and may hold name, method,
seeds, checkpoint, grid {shape, affine} and settings, as `MaskSet` describes them; what is absent is unknown.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from plurimask.errors import InputError
from plurimask.files.atomic import atomic_folder
from plurimask.files.case_files import check_name
from plurimask.files.mask_arrays import read_samples, read_stack, usable_grid
from plurimask.files.mask_files import DESCRIPTION, REPLACEABLE, STACK, MaskFiles, find_mask_files, list_mask_files
from plurimask.geometry import Grid
from plurimask.records import MaskSet

_Row = Annotated[list[float], Field(min_length=4, max_length=4)]


class _GridFile(BaseModel):
    model_config = ConfigDict(strict=True)

    shape: list[int]
    affine: Annotated[list[_Row], Field(min_length=4, max_length=4)] | None = None


class _SetFile(BaseModel):
    model_config = ConfigDict(strict=True)

    name: str | None = None
    method: str | None = None
    seeds: list[int] | None = None
    checkpoint: str | None = None
    grid: _GridFile | None = None
    settings: dict[str, Any] = Field(default_factory=dict)


def write_mask_set(folder: Path, panel: MaskSet) -> None:
    """Write `panel` to `folder`, which bears the panel's name and appears whole; a panel that was there is replaced.

    Raises:
        InputError: a name that cannot be a folder's, or another one than the folder's.
        SettingsError: a folder of other files.
        OSError: as the file system does (disk full, no permission).
    """
    check_bears_name(folder, panel.name)
    text = describe(panel)
    with atomic_folder(folder, *REPLACEABLE) as fresh:
        np.savez_compressed(fresh / f"{STACK}.npz", masks=panel.masks)
        (fresh / DESCRIPTION).write_text(text, encoding="utf-8")


def describe(panel: MaskSet) -> str:
    """What set.json says of `panel`: all but the masks, as JSON with sorted keys."""
    affine = None if panel.grid.affine is None else panel.grid.affine.tolist()
    description = _SetFile(
        name=panel.name,
        method=panel.method,
        seeds=None if panel.seeds is None else list(panel.seeds),
        checkpoint=panel.checkpoint,
        grid=_GridFile(shape=list(panel.grid.shape), affine=affine),
        settings=dict(panel.settings),
    )
    return json.dumps(description.model_dump(), indent=2, sort_keys=True, allow_nan=False) + "\n"


def read_mask_set(place: Path) -> MaskSet:
    """The mask set in a case's folder, or in its one file (CASE.npz, .npy, .nii, .nii.gz).

    Raises:
        InputError: files that are missing, damaged, in two forms or of other content, or a description that disagrees
            with the masks or with the folder's name.
    """
    files = find_mask_files(place)
    if files is None:
        raise InputError(place, expected=f"{STACK}.npz, or one file a sample", got="none", hint="draw masks first")
    return _read(files)


class MaskSets(Mapping[str, MaskSet]):
    """The mask sets under a folder by name of their case, sorted, each read when it is asked for.

    Folders that hold no file, or set.json alone, are passed over. Reading a set raises InputError as `read_mask_set`.

    Args:
        files: of each set.
    """

    def __init__(self, files: Sequence[MaskFiles]) -> None:
        self._files = {one.name: one for one in files}

    @classmethod
    def under(cls, root: Path) -> Self:
        """All sets under `root`. InputError for no set at all, a case in two forms, or a folder of other files."""
        return cls(list_mask_files(root))

    def among(self, wanted: Collection[str], known: Collection[str]) -> "MaskSets":
        """The sets of the cases in `wanted`. Raises InputError for a set of a case that is not even in `known`."""
        stranger = next((name for name in self._files if name not in known), None)
        if stranger is not None:
            raise InputError(
                self._files[stranger].place,
                expected="masks of a case of the dataset",
                got="an unknown case",
                hint="give the dataset that the masks belong to, or rename the set as its case",
            )
        return MaskSets([files for name, files in self._files.items() if name in wanted])

    def __getitem__(self, name: str) -> MaskSet:
        return _read(self._files[name])

    def __contains__(self, name: object) -> bool:
        # Mapping's own would read the masks to find out.
        return name in self._files

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def _read(files: MaskFiles) -> MaskSet:
    masks, grid = read_samples(files.samples) if files.stack is None else read_stack(files.stack)
    path = files.place / DESCRIPTION
    description = _read_description(path)
    _check_description(path, description, files.name, masks)
    return MaskSet(
        name=files.name,
        masks=masks,
        grid=_grid(path, description, grid),
        method=description.method,
        seeds=None if description.seeds is None else tuple(description.seeds),
        checkpoint=description.checkpoint,
        settings=description.settings,
    )


def check_bears_name(folder: Path, name: str) -> None:
    """Raises InputError for a case name that cannot be a folder's, or another one than the folder's."""
    check_name(folder, name)
    if folder.name != name:
        raise InputError(folder, expected=f"a folder named {name}", got=folder.name, hint="name it as the case")


def _read_description(path: Path) -> _SetFile:
    if not path.exists():
        return _SetFile()
    try:
        return _SetFile.model_validate(from_json(path.read_bytes(), allow_inf_nan=False))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        said = f"{where}: {first['msg']}"
    except ValueError as error:
        said = str(error)
    raise InputError(path, expected="a description as plurimask writes it", got=said, hint="correct it")


def _grid(path: Path, description: _SetFile, stored: Grid) -> Grid:
    if description.grid is None or description.grid.affine is None:
        return stored
    grid = usable_grid(path, stored.shape, np.array(description.grid.affine))
    if not grid.same_as(stored):
        raise InputError(path, expected="the affine of the masks", got="another one", hint="correct or remove it")
    return grid


def _check_description(path: Path, description: _SetFile, name: str, masks: np.ndarray) -> None:
    stated: dict[str, tuple[object, object]] = {
        "name": (description.name, name),
        "number of seeds": (None if description.seeds is None else len(description.seeds), len(masks)),
        "shape": (description.grid and tuple(description.grid.shape), masks.shape[1:]),
    }
    for what, (said, found) in stated.items():
        if said is not None and said != found:
            raise InputError(
                path, expected=f"{what} {found}, as in the folder", got=str(said), hint="correct or remove it"
            )
