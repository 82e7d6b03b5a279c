"""One run of `prepare lidc --dicom`, measured; a script of its own since its worker processes import it.

python benchmarks/prepare_once.py FOLDER WORKERS        reads FOLDER/download, writes FOLDER/out
"""

import json
import os
import re
import resource
import sys
import time
from pathlib import Path

from plurimask.prepare.lidc import prepare_lidc


def measure(folder: Path, workers: int) -> tuple[float, float, float]:
    """Wall seconds from the first scan to the whole dataset, CPU seconds of all processes for it, and MiB."""
    started: list[tuple[float, float]] = []
    mib: list[float] = []

    def look(done: int, total: int) -> None:
        started.append((time.perf_counter(), _cpu_seconds()))
        mib.append(_peak_mib())

    prepare_lidc(folder / "download", folder / "out", progress=look, workers=workers)
    wall, cpu = started[0]
    return time.perf_counter() - wall, _cpu_seconds() - cpu, max(mib)


def _cpu_seconds() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def _peak_mib() -> float:
    """Of this process and its children, which are alive; Linux only."""
    children = Path("/proc/self/task/", str(os.getpid()), "children").read_text().split()
    states = [Path("/proc", pid, "status").read_text() for pid in ("self", *children)]
    return sum(int(re.findall(r"VmHWM:\s+([0-9]+) kB", state)[0]) for state in states) / 2**10


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), int(sys.argv[2]))))
