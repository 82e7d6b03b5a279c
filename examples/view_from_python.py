"""Draw masks of every case of a dataset and look at them in a browser: python view_from_python.py MODEL DATA OUT.

MODEL is a built-in model, a run's folder or a .safetensors file. Ctrl-C ends it.
"""

import sys
from pathlib import Path

import plurimask as pm

model, data, out = sys.argv[1], *map(Path, sys.argv[2:])
drawn = pm.load(model)
for case in pm.open_dataset(data):
    pm.write_mask_set(out / "masks" / case.name, drawn.sample(case, count=16, seed=0))
pm.serve(out / "masks", data=data, model=model, out=out / "saved")
