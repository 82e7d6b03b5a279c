"""A mask that a person chose or corrected, as a file that stays: never overwritten, with who and when.

OUT/CASE/0001/chosen.nii.gz or chosen.dcm, and saved.json
"""

import unicodedata
from base64 import b64decode
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import HTTPException
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic_core import from_json

from plurimask.errors import InputError, SettingsError
from plurimask.files.atomic import atomic_folder
from plurimask.files.dicom_seg import write_chosen_seg
from plurimask.files.dicomweb import Archive
from plurimask.files.images import write_nifti
from plurimask.files.texts import json_text
from plurimask.records import MaskSet
from plurimask.settings import wrong
from plurimask.viewer.library import printable
from plurimask.viewer.marks import Loaded, Marks, Panel

FORMATS = ("nifti", "dicom-seg")
_RECORD = "saved.json"
_HIDDEN, _JOINERS = ("Cc", "Cf", "Cs", "Zl", "Zp"), "\u200c\u200d"  # the latter are part of how some names are written


Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64)]
Count = Annotated[int, Field(ge=0, lt=2**31)]


def _visible(text: str) -> str:
    """A name reads the same everywhere: nothing in it steers a terminal or the direction of what follows."""
    hidden = (char for char in text if unicodedata.category(char) in _HIDDEN and char not in _JOINERS)
    if char := next(hidden, None):
        raise wrong("text without control characters and direction marks", f"U+{ord(char):04X}")
    return text


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Sample(_Asked):
    """A sample as it is, counted from 0."""

    kind: Literal["sample"]
    sample: Count


class Consensus(_Asked):
    """What at least `level` samples mark."""

    kind: Literal["consensus"]
    level: Count


class Edited(_Asked):
    """A mask that was changed by hand, and what it was made from."""

    kind: Literal["edited"]
    sample: Count | None = None
    level: Count | None = None


Origin = Annotated[Sample | Consensus | Edited, Field(discriminator="kind")]


class _Saved(BaseModel):
    """What a page needs to know of a record; it may hold more."""

    author: str
    note: str
    when: datetime
    file: str
    origin: Origin


class SaveRequest(_Asked):
    """A mask to save.

    Args:
        author: who saves it, as typed.
        note: what they say of it.
        format: of the file.
        store: in the archive that the study came from, too.
        source: the mask set that it was made from.
        origin: how it came about.
        axis: across which the slices are cut.
        box: first and last + 1 row and column of what is sent of each slice.
        slices: base64 of the packed bits of each slice in the box, by number; the others are empty.
    """

    author: Annotated[Text, AfterValidator(_visible)]
    note: Annotated[str, StringConstraints(strip_whitespace=True, max_length=2000)] = ""
    format: Literal["nifti", "dicom-seg"]
    store: bool = False
    source: str
    origin: Origin
    axis: Annotated[int, Field(ge=0, le=2)] = 2
    box: Annotated[list[Count], Field(min_length=4, max_length=4)]
    slices: Annotated[dict[str, str], Field(max_length=2**16)]


@dataclass
class Saved:
    """The folder that masks are saved to.

    Args:
        out: made with the first mask.
        archive: where the served study came from, or None.
    """

    out: Path
    archive: Archive | None = None

    def __post_init__(self) -> None:
        self._lock = Lock()

    def write(self, loaded: Loaded, panel: Panel, asked: SaveRequest) -> dict[str, Any]:
        """Save what is asked, and say where it lies; of an archive that does not take it, what that says.

        Raises:
            HTTPException: bits that do not fit their box or the image, a mask that is not what it says, or DICOM SEG
                of a study that is not DICOM.
            MissingPackageError: DICOM SEG without highdicom.
            InputError: a source that DICOM SEG cannot refer to.
            OSError: as the file system does.
        """
        study = loaded.study
        if asked.format == "dicom-seg" and study.format != "dicom":
            raise HTTPException(422, "DICOM SEG needs a DICOM study, which it refers to; choose nifti")
        if asked.store and (self.archive is None or asked.format != "dicom-seg"):
            raise HTTPException(422, "only a DICOM SEG of a study that came from an archive is stored there")
        mask = _unpacked(asked, loaded.readers.shape)
        _check_origin(asked.origin, panel.marks, mask)
        mask = mask.reshape(loaded.grid.shape)
        with self._lock:
            while True:
                folder = self._next(study.case.name)
                try:
                    with atomic_folder(folder) as work:
                        record = _record(asked, panel, mask, _write_mask(work, mask, loaded, panel, asked))
                        (work / _RECORD).write_text(json_text({"case": study.case.name} | record), encoding="utf-8")
                    break
                except (SettingsError, OSError):
                    if self._next(study.case.name) == folder:
                        raise
                    # Another server took the number meanwhile.
        stored = self._store(folder / record["file"]) if asked.store else None
        return {"path": printable(str(folder / record["file"])), "digest": record["digest"], "stored": stored}

    def _store(self, path: Path) -> str:
        assert self.archive is not None
        try:
            self.archive.store([path])
        except InputError as error:
            return printable(str(error))
        return f"accepted by {self.archive.root}"

    def list(self, case: str) -> list[dict[str, Any]]:
        """What was saved of a case, oldest first. A record that cannot be read is passed over."""
        records = []
        for path in sorted((self.out / case).glob(f"*/{_RECORD}")):
            with suppress(OSError, ValueError):
                record = from_json(path.read_bytes(), allow_inf_nan=False)
                _Saved.model_validate(record)
                records.append({**record, "path": printable(str(path.parent))})
        return records

    def _next(self, case: str) -> Path:
        folder = self.out / case
        numbers = [int(path.name) for path in folder.glob("*") if path.name.isdecimal()] if folder.exists() else []
        return folder / f"{max(numbers, default=0) + 1:04}"


def _unpacked(asked: SaveRequest, shape: tuple[int, ...]) -> np.ndarray:
    """The mask (H, W, D) bool. HTTPException for what does not fit the image."""
    top, bottom, left, right = asked.box
    height, width = (side for axis, side in enumerate(shape) if axis != asked.axis)
    if not (top <= bottom <= height and left <= right <= width):
        raise HTTPException(422, f"the box {asked.box} does not lie in {height} x {width} pixels")
    mask = np.zeros(shape, dtype=np.bool_)
    planes = np.moveaxis(mask, asked.axis, 0)
    for key, text in asked.slices.items():
        if not (key.isascii() and key.isdecimal() and len(key) < 7 and int(key) < len(planes)):
            raise HTTPException(422, f"there is no slice {key[:20]!a}, but 0 to {len(planes) - 1}")
        planes[int(key), top:bottom, left:right] = _bits(text, (bottom - top, right - left))
    return mask


def _bits(text: str, shape: tuple[int, int]) -> np.ndarray:
    count = shape[0] * shape[1]
    try:
        packed = np.frombuffer(b64decode(text, validate=True), dtype=np.uint8)
    except ValueError:
        raise HTTPException(422, "the bits of a slice are not base64") from None
    if len(packed) != -(-count // 8):
        raise HTTPException(422, f"{-(-count // 8)} bytes of bits are needed for each slice, not {len(packed)}")
    return np.unpackbits(packed, count=count).astype(np.bool_).reshape(shape)


def _check_origin(origin: Sample | Consensus | Edited, samples: Marks, mask: np.ndarray) -> None:
    """What is said to be a sample or a consensus is one, voxel for voxel."""
    if isinstance(origin, Edited):
        return
    number = origin.sample + 1 if isinstance(origin, Sample) else origin.level
    if not 1 <= number <= len(samples):
        raise HTTPException(422, f"there are {len(samples)} samples, none to be {origin.kind} {number}")
    true = samples.masks[number - 1] if isinstance(origin, Sample) else samples.votes >= number
    if not np.array_equal(replace(samples, masks=true[None]).whole()[0], mask):
        raise HTTPException(422, f"what was sent is not {origin.kind} {number}; say that it was edited")


def _write_mask(folder: Path, mask: np.ndarray, loaded: Loaded, panel: Panel, asked: SaveRequest) -> Path:
    """The file of a mask, written."""
    study = loaded.study
    if asked.format == "nifti":
        path = folder / "chosen.nii.gz"
        write_nifti(path, mask.view(np.uint8), loaded.grid, study.sources[0] if study.format == "nifti" else None)
        return path
    settings = panel.settings | {"origin": asked.origin.model_dump(exclude_none=True)}
    chosen = MaskSet(study.case.name, mask[None], loaded.grid, panel.method, None, panel.checkpoint, settings)
    write_chosen_seg(folder, chosen, study.sources, asked.author, asked.note)
    return folder / "chosen.dcm"


def _record(asked: SaveRequest, panel: Panel, mask: np.ndarray, file: Path) -> dict[str, Any]:
    return {
        "author": asked.author,
        "note": asked.note,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "origin": asked.origin.model_dump(exclude_none=True),
        "source": asked.source,
        "method": panel.method,
        "checkpoint": panel.checkpoint,
        "seeds": None if panel.seeds is None else list(panel.seeds),
        "settings": panel.settings,
        "file": file.name,
        "digest": sha256(file.read_bytes()).hexdigest(),
        "voxels": int(mask.sum()),
    }
