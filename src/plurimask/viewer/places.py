"""A path -> which mask sets and which images are served. Names are listed; no file is read."""

import json
import os
import stat
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from itertools import islice
from pathlib import Path

from plurimask.datasets.case_folder import CaseFolder
from plurimask.datasets.changed import crop_case
from plurimask.datasets.dataset import Dataset
from plurimask.datasets.demo_cases import demo_cases
from plurimask.datasets.open import is_split, is_study, open_dataset
from plurimask.errors import InputError
from plurimask.files.case_files import holds_case
from plurimask.files.mask_sets import DESCRIPTION, STACK, find_mask_files
from plurimask.files.stored import unreadable
from plurimask.files.study import Study, open_study, study_name
from plurimask.records import Case

_LOOKED_AT = 50
_KINDS = "a folder of mask sets, a study, a dataset, or the folder of a demo or a benchmark"

Images = Mapping[str, Callable[[], Study]]


@dataclass(frozen=True)
class Source:
    """Mask sets that belong together: one a case at most.

    Args:
        id: as addresses have it.
        label: as people read it.
        root: the folder that they lie in, out of which no link may lead.
        places: of each case's set, by name; two where a case is there in two forms.
    """

    id: str
    label: str
    root: Path
    places: Mapping[str, tuple[Path, ...]]


@dataclass(frozen=True)
class Served:
    """What lies at a path.

    Args:
        title: of the page.
        sources: of mask sets; none for a study or a dataset.
        images: by name, read by a call; None where the mask sets come without.
    """

    title: str
    sources: tuple[Source, ...]
    images: Images | None


def find_served(path: Path, data: Path | None = None) -> Served:
    """What is to be served from `path`; `data` is a dataset or a study with the images of its mask sets.

    Raises:
        InputError: nothing there, or nothing that can be served.
        DatasetError: as `open_dataset`.
    """
    for place in (path, data):
        if place is not None and not place.exists():
            raise InputError(place, expected=_KINDS, got="nothing there", hint="check the path")
    root = path.resolve()
    sources = _sources(root)
    if sources:
        images = _middles(root, _images(data.resolve())) if data else _demo_images(sources)
        return Served(path.absolute().name, sources, images)
    if data is not None:
        raise InputError(path, expected="mask sets, where --data is given", got="none", hint="leave --data out")
    return Served(path.absolute().name, (), _images(root))


def name_id(name: str) -> str:
    """What stands for a name in addresses: it cannot be a path, whatever the name is."""
    return urlsafe_b64encode(blake2b(os.fsencode(name), digest_size=12).digest()).decode()


def check_inside(root: Path, place: Path) -> None:
    """Raises InputError for a file or folder that is reached by a link out of `root`, or is no plain one (a pipe)."""
    for path in (place, *(place.iterdir() if place.is_dir() else ())):
        if not path.resolve().is_relative_to(root):
            raise InputError(
                path, expected="files below the served folder", got="a link out of it", hint="copy what it leads to"
            )
        mode = path.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise InputError(path, expected="a plain file", got="a pipe or a device", hint="remove it")


def _sources(root: Path) -> tuple[Source, ...]:
    if not root.is_dir():
        files = find_mask_files(root) if root.suffix.lower() == ".npz" else None
        return (_source(root.parent, root.name, {files.name: (root,)}),) if files else ()
    if _names_masks(root):
        return () if (root / "index.csv").exists() else (_source(root.parent, root.name, {root.name: (root,)}),)
    masks = root / "masks"
    if masks.is_dir() and not masks.is_symlink() and not holds_case(masks):
        if _holds_sets(masks):
            return (_listed(masks),)
        folders = [path for path in sorted(masks.iterdir()) if path.is_dir() and not path.name.startswith(".")]
        return tuple(_listed(folder) for folder in folders if _holds_sets(folder))
    return (_listed(root),) if _holds_sets(root) else ()


def _holds_sets(folder: Path) -> bool:
    """Whether mask sets, whole or broken, lie right below a folder; some of what lies there says it."""
    inside = list(_first(folder))
    if holds_case(folder) or any(path.name == "index.csv" or (path.is_dir() and holds_case(path)) for path in inside):
        return False
    return any(_is_set(path) for path in inside)


def _is_set(path: Path) -> bool:
    try:
        return find_mask_files(path) is not None
    except InputError:
        return path.is_dir() and _names_masks(path)


def _names_masks(folder: Path) -> bool:
    return any(path.name.startswith(f"{STACK}.") or path.name == DESCRIPTION for path in _first(folder))


def _first(folder: Path) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            return iter([Path(one) for one in islice((e for e in entries if e.name[0] != "."), _LOOKED_AT)])
    except OSError as error:
        raise unreadable(folder, "folder", error) from error


def _listed(root: Path) -> Source:
    """All that may be a mask set, sorted by name."""
    found: dict[str, list[Path]] = {}
    with os.scandir(root) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            files = None if entry.is_dir() else find_mask_files(Path(entry))
            name = entry.name if entry.is_dir() else files and files.name
            if name:
                found.setdefault(name, []).append(Path(entry))
    return _source(root, root.name, {name: tuple(sorted(found[name])) for name in sorted(found)})


def _source(root: Path, label: str, places: Mapping[str, tuple[Path, ...]]) -> Source:
    return Source(name_id(label), label, root, places)


def _images(path: Path) -> Images:
    if path.is_dir() and not is_study(path) and not is_split(path) and not any(one.is_dir() for one in _first(path)):
        raise InputError(path, expected=_KINDS, got="none of these", hint="name another folder")
    if is_study(path):
        root = path if path.is_dir() else path.parent
        return {study_name(path): partial(_study, root, path)}
    dataset = open_dataset(path)
    return {name: partial(_dataset_study, path, dataset, place) for place, name in enumerate(dataset.names)}


def _study(root: Path, path: Path) -> Study:
    check_inside(root, path)
    return open_study(path)


def _dataset_study(path: Path, dataset: Dataset, place: int) -> Study:
    if not isinstance(dataset, CaseFolder):
        check_inside(path, path)
        return Study(dataset[place], "npy", ())
    study = _study(dataset.root, dataset.root / dataset.names[place])
    return replace(study, case=replace(study.case, patient=dataset.patients[place]))


def _middles(root: Path, images: Images) -> Images:
    """The images that a benchmark's masks were drawn for, which are the middle of its data's; others as they are."""
    terms = root / "terms.json"
    if not terms.exists():
        return images
    try:
        size = int(json.loads(terms.read_bytes())["image_size"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        got = type(error).__name__
        raise InputError(terms, expected="a benchmark's record", got=got, hint="run the benchmark again") from error
    return {name: partial(_middle, read, size) for name, read in images.items()}


def _middle(read: Callable[[], Study], size: int) -> Study:
    study = read()
    return replace(study, case=crop_case(study.case, size), format="npy", sources=())


def _demo_images(sources: tuple[Source, ...]) -> Images | None:
    """The shipped cases, where all mask sets bear their names."""
    if not all(name.startswith("demo-") for source in sources for name in source.places):
        return None
    cases = {case.name: case for case in demo_cases()}
    if not all(name in cases for source in sources for name in source.places):
        return None
    return {name: partial(_of_case, case) for name, case in cases.items()}


def _of_case(case: Case) -> Study:
    return Study(case, "npy", ())
