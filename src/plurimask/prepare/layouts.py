"""Folders that are laid out as other tools have it -> the patterns of their images and readers.

nnU-Net: `imagesTr/CASE_0000.*`, one file a channel; the readers are `labelsTr/CASE.*`, `labelsTr/CASE_READER.*` or
folders `labelsTr*/CASE.*`. BIDS: the readers are the `desc-` of `_mask` and `_dseg` files, `_probseg` is none; the
images are those files of a subject and session that every one with a label has. Both are known by their names alone.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from plurimask.errors import DatasetError
from plurimask.files.images import split_name
from plurimask.files.stored import list_visible, natural, walk


class Layout(NamedTuple):
    """Patterns, as `patterns.find_cases` takes them."""

    images: list[str]
    readers: list[str]


def find_layout(root: Path) -> Layout:
    """The patterns of a folder in one of these layouts.

    Raises:
        DatasetError: another layout, or one without images or labels.
    """
    layout = _nnunet(root) if (root / "imagesTr").is_dir() else _bids(root)
    if not layout.images or not layout.readers:
        raise DatasetError(
            root,
            expected="the layout of nnU-Net (imagesTr, labelsTr) or BIDS (sub-*, desc-READER_mask)",
            got=f"{len(layout.images)} kinds of images and {len(layout.readers)} of labels",
            hint="say with --image and --reader where they are",
        )
    return layout


def _nnunet(root: Path) -> Layout:
    images = [split_name(path) for path in list_visible(root / "imagesTr")]
    found = [(match, suffix) for stem, suffix in images if (match := re.fullmatch(r"(.+)_(\d{4})", stem)) and suffix]
    cases = {match[1] for match, _ in found}
    readers: set[str] = set()
    for folder in (one for one in list_visible(root) if one.is_dir() and one.name.startswith("labelsTr")):
        for stem, suffix in map(split_name, list_visible(folder)):
            # The longest, since a case may be called as another one with something behind it.
            case = (
                stem
                if stem in cases
                else max((one for one in cases if stem.startswith(f"{one}_")), key=len, default="")
            )
            if suffix and case:
                readers.add(f"{folder.name}/{{case}}{stem.removeprefix(case)}{suffix}")
    # CASE_READER before CASE, which would take it for a case of that name.
    ordered = sorted(readers, key=lambda pattern: (-len(pattern.rpartition("}")[2]), natural(pattern)))
    return Layout(sorted({f"imagesTr/{{case}}_{match[2]}{suffix}" for match, suffix in found}), ordered)


_LABEL = re.compile(r".*_desc-([^_]+)_(mask|dseg)")


def _bids(root: Path) -> Layout:
    labels: set[str] = set()
    marked: set[tuple[str, ...]] = set()
    images: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for relative in _files(root):
        subject, session = (re.search(rf"(?:^|/){key}-([^/]+)/", relative) for key in ("sub", "ses"))
        if subject is None:
            continue
        who = (subject[1], session[1] if session else "")
        pattern = relative.replace(f"sub-{who[0]}", "sub-{patient}")
        pattern = pattern.replace(f"ses-{who[1]}", "ses-{session}") if session else pattern
        label = _LABEL.fullmatch(split_name(Path(relative))[0])
        if label:
            labels.add(pattern.replace(f"_desc-{label[1]}_", "_desc-{reader}_"))
            marked.add(who)
        elif not relative.startswith("derivatives/") and not re.search(r"_(mask|dseg|probseg)\.", relative):
            images[pattern].add(who)
    return Layout(sorted(pattern for pattern, found in images.items() if marked <= found), sorted(labels))


def _files(root: Path) -> Iterable[str]:
    paths = (folder / name for folder, names in walk(root) for name in names if split_name(Path(name))[1])
    return (path.relative_to(root).as_posix() for path in paths)
