"""Opening a CT series of 512 x 512 x 300: headers, order, pixels, and one float32 volume."""

import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
from common import Row, print_table, seconds

from plurimask.files.locate import open_study

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from dicom_series import write_series

SHAPE, TARGET = (512, 512, 300), 3.0


def table() -> list[Row]:
    """Wall and processor time of one call, files in the page cache."""
    stored = np.random.default_rng(0).integers(0, 4000, SHAPE, dtype=np.int16)
    with tempfile.TemporaryDirectory() as folder:
        write_series(Path(folder), stored, step=1.25)
        wall = seconds(partial(open_study, Path(folder)))
        started = time.process_time()
        open_study(Path(folder))
        busy = time.process_time() - started
    what = f"a DICOM series of {'x'.join(map(str, SHAPE))} opens"
    return [(what, f"{wall:.2f} s", f"{busy:.2f} s of processor time, median of 3; target: under {TARGET:.0f} s")]


if __name__ == "__main__":
    print_table("Studies", table())
