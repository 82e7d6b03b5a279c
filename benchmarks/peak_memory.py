"""Peak memory of drawing: bounded by the chunk of samples in work, not by how many are asked for."""

import json
import resource
import sys

from common import Row, child, print_table, shipped_model

from plurimask.datasets.demo_cases import demo_cases

COUNTS, STEPS = (1, 16, 256), 2


def table() -> list[Row]:
    """One row a number of masks, each in a process of its own."""
    peaks = {count: child("peak_memory.py", str(count)) for count in COUNTS}
    rows = [
        (f"{count} masks of 128x128", f"{peak / 2**20:,.0f} MiB", f"{shipped_model().name}, {STEPS} steps, peak RSS")
        for count, peak in peaks.items()
    ]
    return [*rows, ("256 masks over 16", f"{peaks[256] / peaks[16]:.2f}", "16 samples are in work at once")]


def _measure(count: int) -> int:
    """Bytes."""
    model = shipped_model()
    model.sample(demo_cases()[0], count, sampler=model.sampler(steps=STEPS))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(_measure(int(sys.argv[1]))))
    else:
        print_table("Memory of drawing", table())
