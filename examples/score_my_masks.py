"""Score the masks of any program against the readers: python score_my_masks.py DATA MASKS.

DATA is a dataset, MASKS a folder with one mask set per case (docs/masks.md).
"""

import sys
from pathlib import Path

import plurimask as pm

data, masks = map(Path, sys.argv[1:])
cases = {case.name: case for case in pm.open_dataset(data)}
panels = [pm.read_mask_set(masks / name) for name in cases if (masks / name).exists()]
scores = pm.evaluate(panels, {panel.name: cases[panel.name] for panel in panels})
low, high = scores.intervals["ged_u"]
print(f"{len(panels)} cases, {scores.samples} samples each")
print(f"U-GED {scores.mean['ged_u']:.3f} ({low:.3f} to {high:.3f}), 0 is calibrated")
for row in scores.table:
    print(f"{row.label:<20} {row.values.get('ged_u', float('nan')):.3f}")
