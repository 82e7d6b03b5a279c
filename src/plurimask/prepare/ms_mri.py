"""The longitudinal MS lesion data of ISBI 2015, as distributed -> slices of four channels and two readers.

    ROOT[/training]/training01/preprocessed/training01_01_flair_pp.nii     also mprage, pd, t2; .nii or .nii.gz
    ROOT[/training]/training01/masks/training01_01_mask1.nii               and mask2

A. Carass et al., Longitudinal multiple sclerosis lesion segmentation: Resource and challenge, NeuroImage 148 (2017).
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from plurimask.datasets.dataset import Split
from plurimask.errors import DatasetError
from plurimask.files.case_folder import read_files
from plurimask.files.stored import digest_files
from plurimask.prepare.folder import write_planes
from plurimask.prepare.patterns import FoundCase
from plurimask.prepare.writer import writing_cases

CHANNELS = ("pd", "flair", "mprage", "t2")
"""Order of the image channels, the paper's."""
READERS = ("mask1", "mask2")

_FILE = re.compile(
    r"(?P<scan>.+_[0-9]+)_(?:(?P<channel>pd|flair|mprage|t2)_pp|(?P<reader>mask[0-9]+))\.nii(\.gz)?", re.I
)
_LAYOUT = "SUBJECT/preprocessed/SUBJECT_01_flair_pp.nii (mprage, pd, t2) and SUBJECT/masks/SUBJECT_01_mask1.nii (mask2)"


@dataclass(frozen=True)
class PreparedSlices:
    """What was written.

    Args:
        slices: how many cases.
        scans: time points that they come from.
        patients: in the order of the folds; fold k holds out patient k.
        folds: how many there are.
        unread: time points without masks, passed over.
    """

    slices: int
    scans: int
    patients: tuple[str, ...]
    folds: int
    unread: int


def prepare_ms_mri(
    root: Path,
    out: Path,
    size: int | None = 64,
    *,
    every: bool = False,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> PreparedSlices:
    """Write the axial slices of all time points with masks as a case folder, and a table of sides for each fold.

    Args:
        root: the folder of the download, which holds the subjects or `training` with them.
        out: a folder that does not exist or is empty.
        size: pixels a side, as `folder.fit_square` brings them there; None: the scans' own grid.
        every: also slices on which nobody drew; else those on which, as written, somebody did.
        progress: called with the number of time points written and of all.

    Raises:
        DatasetError: no time point with masks, or one of which a channel or a reader is missing or doubled.
        SettingsError: `out` is in use, or lies in `root`.
        InputError: a file that cannot be read, or lies on another grid than its neighbours.
    """
    scans, unread = _find_scans(root)
    with writing_cases(out, root) as writer:
        for done, scan in enumerate(scans, start=1):
            volume = read_files(scan.name, scan.image_files, tuple(scan.readers.values()), scan.patient)
            write_planes(volume, volume.grid.axial_axis, size, every, writer)
            progress(done, len(scans))
        folds = leave_one_out(writer.patients)
        for number, sides in enumerate(folds, start=1):
            writer.add_split(f"fold-{number}", sides)
        for name in unread:
            writer.skip(name, "no masks")
        sources = [path for scan in scans for path in (*scan.image_files, *scan.readers.values())]
        facts = {
            "settings": {"size": size, "slices": "all" if every else "marked by a reader"},
            "channels": CHANNELS,
            "readers": READERS,
            "source": {"files": len(sources), "sha256": digest_files(root, sources)},
            "scans": [scan.name for scan in scans],
        }
        writer.finish("plurimask prepare ms-mri", facts)
        return PreparedSlices(writer.count, len(scans), writer.patients, len(folds), len(unread))


def leave_one_out(patients: Sequence[str]) -> list[dict[str, Split]]:
    """A fold a patient: it is the test side, the next one the validation side, and the rest train.

    Fewer than three patients have no folds.
    """
    if len(patients) < 3:
        return []
    following = [*patients[1:], patients[0]]
    return [
        {one: "test" if one == test else "val" if one == val else "train" for one in patients}
        for test, val in zip(patients, following, strict=True)
    ]


def _find_scans(root: Path) -> tuple[list[FoundCase], list[str]]:
    """The time points with masks, in the order of CHANNELS and READERS, and the names of those without."""
    subjects = sorted(
        {found.parent for pattern in ("*/preprocessed", "*/*/preprocessed") for found in root.glob(pattern)}
    )
    scans: dict[str, FoundCase] = {}
    unread: list[str] = []
    for subject in subjects:
        for name, files in sorted(_by_scan(subject).items()):
            if not any(reader in files for reader in READERS):
                unread.append(name)
            elif name in scans:
                raise DatasetError(subject, expected="every time point once", got=f"{name} again", hint="remove one")
            else:
                missing = next((kind for kind in (*CHANNELS, *READERS) if kind not in files), None)
                if missing:
                    raise DatasetError(
                        subject,
                        expected=f"{', '.join(CHANNELS)} and {' and '.join(READERS)} of {name}",
                        got=f"no {missing}",
                        hint="take the file from the download again, or move the time point's files away",
                    )
                images = {number: files[kind] for number, kind in enumerate(CHANNELS)}
                scans[name] = FoundCase(name, subject.name, images, {kind: files[kind] for kind in READERS})
    if not scans:
        got = f"{len(unread)} time points without masks" if unread else "none"
        raise DatasetError(
            root, expected=f"time points as {_LAYOUT}", got=got, hint="give the folder that holds `training`"
        )
    return list(scans.values()), unread


def _by_scan(subject: Path) -> dict[str, dict[str, Path]]:
    """The files of a subject by time point and by channel or reader; files of other names are passed over."""
    scans: dict[str, dict[str, Path]] = {}
    for path in sorted([*(subject / "preprocessed").glob("*"), *(subject / "masks").glob("*")]):
        match = _FILE.fullmatch(path.name)
        if match is None or path.name.startswith("."):
            continue
        if not match["scan"].lower().startswith(f"{subject.name.lower()}_"):
            raise DatasetError(
                path,
                expected=f"files of {subject.name} alone",
                got="another subject's",
                hint="move it to its own folder",
            )
        files = scans.setdefault(match["scan"], {})
        kind = (match["channel"] or match["reader"]).lower()
        if kind in files:
            raise DatasetError(path, expected="one file of its kind", got=f"{files[kind].name} too", hint="remove one")
        files[kind] = path
    return scans
