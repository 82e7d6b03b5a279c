"""Wall time before a command does anything."""

import statistics
import subprocess
import sys
import time
from pathlib import Path

from common import Row, print_table

REPEATS = 5


def table() -> list[Row]:
    """Help, and what drawing imports before it begins."""
    script = str(Path(sys.executable).with_name("plurimask"))
    commands = {
        "plurimask --help": [script, "--help"],
        "import of all that `sample` needs": [sys.executable, "-c", "import plurimask.sampling"],
    }
    return [
        (what, f"{_median(command):.2f} s", f"median of {REPEATS}, a process each, files cached")
        for what, command in commands.items()
    ]


def _median(command: list[str]) -> float:
    times = []
    for _ in range(REPEATS + 1):
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


if __name__ == "__main__":
    print_table("Start", table())
