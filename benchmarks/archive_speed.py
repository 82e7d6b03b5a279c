"""A CT series of 512 x 512 x 300 from Orthanc on the same machine, against the same files on disk; and the memory."""

import json
import re
import sys
import tempfile
from pathlib import Path

import numpy as np
from common import Row, child, print_table, seconds

from plurimask.files.dicomweb import Archive
from plurimask.files.dicomweb_address import parse_address
from plurimask.files.locate import open_study

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from dicom_series import uid, write_series
from orthanc import ABSENT, Orthanc

SHAPE = 512, 512, 300


def table() -> list[Row]:
    """Ratio of two medians of 3, and of one process the peak above what it held before and the volume."""
    what = f"a DICOM series of {'x'.join(map(str, SHAPE))}"
    if ABSENT:
        return [(what, "-", ABSENT)]
    stored = np.random.default_rng(0).integers(0, 4000, SHAPE, dtype=np.int16)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "orthanc").mkdir()
        files = write_series(Path(folder) / "CT", stored, step=1.25)
        orthanc = Orthanc(Path(folder) / "orthanc").start()
        try:
            Archive(orthanc.root).store(files)
            address = f"{orthanc.root}/studies/{uid('study')}"
            disk, archive = seconds(lambda: open_study(Path(folder) / "CT")), seconds(lambda: _open(address))
            above = child("archive_speed.py", address)
        finally:
            orthanc.stop()
    return [
        (
            f"{what} from an archive",
            f"{archive:.2f} s",
            f"{archive / disk:.2f} x the {disk:.2f} s from disk; target: 2 x",
        ),
        ("memory meanwhile, above the volume", f"{above / 2**20:.0f} MiB", "target: 100 MiB"),
    ]


def _open(address: str) -> int:
    """Bytes of the volume."""
    place = parse_address(address)
    archive = Archive(place.root)
    with tempfile.TemporaryDirectory() as folder:
        archive.fetch(archive.one_series(place), Path(folder))
        return open_study(Path(folder)).case.image.nbytes


def _memory(key: str) -> int:
    """Bytes, of this process alone; a peak that getrusage tells may be that of the process that started this one."""
    found = re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return 1024 * int(found[1]) if found else 0


if __name__ == "__main__":
    if len(sys.argv) > 1:
        before = _memory("VmRSS")
        volume = _open(sys.argv[1])
        print(json.dumps(_memory("VmHWM") - before - volume))
    else:
        print_table("Archive", table())
