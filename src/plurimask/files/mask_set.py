"""Mask sets on disk, ours or anyone's: DIR/CASE/masks.npz (all that is required) and DIR/CASE/set.json.

masks.npz holds `masks`, bool or 0/1 integers, (S, H, W[, D]). set.json may hold name, method, seeds, checkpoint,
grid {shape, affine} and settings, as `MaskSet` describes them; what is absent is unknown.
"""

import json
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from tokenize import TokenError
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from plurimask.errors import InputError
from plurimask.files.atomic import atomic_path
from plurimask.geometry import Grid
from plurimask.records import MaskSet

MASKS, DESCRIPTION = "masks.npz", "set.json"


_Row = Annotated[list[float], Field(min_length=4, max_length=4)]


# What reading the archive raises on damaged or encrypted content, and what numpy raises on an array in it that is
# pickled, too large for memory, or has a header that its parser of Python text stumbles over.
_ARCHIVE_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError)
_ARRAY_DAMAGE = (ValueError, TypeError, IndexError, OverflowError, SyntaxError, TokenError, MemoryError)


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
    """Write `panel` to `folder`, which bears the panel's name; masks.npz appears last, when all is written.

    Raises:
        InputError: a name that cannot be a folder's, or another one than the folder's.
        OSError: as the file system does (disk full, no permission).
    """
    _check_name(folder, panel.name)
    affine = None if panel.grid.affine is None else panel.grid.affine.tolist()
    description = _SetFile(
        name=panel.name,
        method=panel.method,
        seeds=None if panel.seeds is None else list(panel.seeds),
        checkpoint=panel.checkpoint,
        grid=_GridFile(shape=list(panel.grid.shape), affine=affine),
        settings=dict(panel.settings),
    )
    text = json.dumps(description.model_dump(), indent=2, sort_keys=True, allow_nan=False) + "\n"
    with atomic_path(folder / MASKS) as masks_path, atomic_path(folder / DESCRIPTION) as description_path:
        np.savez_compressed(masks_path, masks=panel.masks)
        description_path.write_text(text, encoding="utf-8")


def read_mask_set(folder: Path) -> MaskSet:
    """The mask set in `folder`, whose name is the case's.

    Raises:
        InputError: a file that is missing, damaged, pickled or of other content, or a description that disagrees
            with the masks or with the folder's name.
    """
    masks = _read_masks(folder)
    description = _read_description(folder)
    _check_description(folder, description, masks)
    return MaskSet(
        name=folder.name,
        masks=masks,
        grid=_grid(folder, description, masks),
        method=description.method,
        seeds=None if description.seeds is None else tuple(description.seeds),
        checkpoint=description.checkpoint,
        settings=description.settings,
    )


def read_mask_sets(root: Path) -> Iterator[MaskSet]:
    """The mask sets under `root`, sorted by name, each read when it is asked for.

    Folders without masks.npz are passed over. Raises InputError as `read_mask_set`, and where there is no set at all.
    """
    folders = sorted(path.parent for path in root.glob(f"*/{MASKS}"))
    if not folders:
        raise InputError(root, expected=f"folders CASE/{MASKS}", got="none", hint="draw masks first, or mend the path")
    return map(read_mask_set, folders)


def _check_name(folder: Path, name: str) -> None:
    if name in ("", ".", "..") or any(character in "/\\:" or not character.isprintable() for character in name):
        raise InputError(
            repr(name), expected="a case name that can be a folder's", got="one that cannot", hint="rename the case"
        )
    if folder.name != name:
        raise InputError(folder, expected=f"a folder named {name}", got=folder.name, hint="name it as the case")


def _read_masks(folder: Path) -> np.ndarray:
    try:
        # np.load would also take a bare array or a pickle under this name, and hand back bytes for an unknown header.
        with zipfile.ZipFile(folder / MASKS) as archive, archive.open("masks.npy") as file:
            masks = np.lib.format.read_array(file, allow_pickle=False)
    except FileNotFoundError:
        raise InputError(folder, expected=MASKS, got="no such file", hint="draw masks first") from None
    except KeyError:
        raise InputError(folder, expected="an array `masks`", got="none of that name", hint="rename it") from None
    except (*_ARCHIVE_DAMAGE, *_ARRAY_DAMAGE) as error:
        raise InputError(
            folder, expected=f"a whole {MASKS} without pickled objects", got=str(error), hint="write it again"
        ) from error
    return _as_masks(folder, masks)


def _as_masks(folder: Path, masks: np.ndarray) -> np.ndarray:
    if masks.ndim not in (3, 4) or masks.size == 0:
        raise InputError(
            folder, expected="masks of shape (S, H, W[, D])", got=str(masks.shape), hint="stack one mask a sample"
        )
    if masks.dtype.kind not in "bui" or not np.isin(masks, (0, 1)).all():
        raise InputError(
            folder,
            expected="masks of type bool or of integers 0 and 1",
            got=f"{masks.dtype}" + (f" from {masks.min()} to {masks.max()}" if masks.dtype.kind in "ui" else ""),
            hint="threshold them before they are written",
        )
    return masks.astype(np.bool_, copy=False)


def _read_description(folder: Path) -> _SetFile:
    path = folder / DESCRIPTION
    if not path.exists():
        return _SetFile()
    try:
        return _SetFile.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise InputError(
            path, expected="a description as plurimask writes it", got=f"{where}: {first['msg']}", hint="correct it"
        ) from None


def _grid(folder: Path, description: _SetFile, masks: np.ndarray) -> Grid:
    if description.grid is None or description.grid.affine is None:
        return Grid(masks.shape[1:])
    try:
        return Grid(masks.shape[1:], np.array(description.grid.affine))
    except InputError as error:
        raise InputError(
            folder / DESCRIPTION, expected="a usable affine", got=f"one refused ({error})", hint="correct or remove it"
        ) from None


def _check_description(folder: Path, description: _SetFile, masks: np.ndarray) -> None:
    stated: dict[str, tuple[object, object]] = {
        "name": (description.name, folder.name),
        "number of seeds": (None if description.seeds is None else len(description.seeds), len(masks)),
        "shape": (description.grid and tuple(description.grid.shape), masks.shape[1:]),
    }
    for what, (said, found) in stated.items():
        if said is not None and said != found:
            raise InputError(
                folder / DESCRIPTION,
                expected=f"{what} {found}, as in the folder",
                got=str(said),
                hint="correct or remove it",
            )
