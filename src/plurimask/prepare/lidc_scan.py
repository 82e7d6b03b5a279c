"""One scan of LIDC-IDRI from its DICOM files to its cases, kept in a file until all scans are done.

A part holds `images` (n, size, size) uint8, `masks` (n, 4, size, size / 8) packed bits and `table` (n, 5): nodule,
slice, z in mm, and the window's first row and column in pixels of the scan. Only the slices in use are decoded.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from plurimask.errors import InputError, PlurimaskError, need
from plurimask.files.atomic import atomic_path
from plurimask.files.dicom import list_files, read_frames
from plurimask.files.dicom_headers import Header, quiet, read_header
from plurimask.files.stored import readable
from plurimask.prepare.lidc_contours import Scan
from plurimask.prepare.lidc_protocol import MATRIX, Cut, ScanPlan, Window

_SAME_MM = 1e-3
_AGAIN = "fetch the series again from TCIA"


class Part(NamedTuple):
    """What was cut from one scan; see the module's docstring."""

    images: np.ndarray
    masks: np.ndarray
    table: np.ndarray


def make_part(plan: ScanPlan, folder: Path, path: Path) -> str | None:
    """Cut a scan and write its part, or give the reason why its files do not serve.

    Args:
        plan: what to cut.
        folder: of the scan's DICOM files.
        path: where the part goes.

    Raises:
        OSError: nothing can be written.
    """
    try:
        cuts = list(plan.cuts())
        images = _read_images(plan, folder, cuts)
    except PlurimaskError as error:
        return str(error)
    size = plan.settings.size
    masks = np.array([np.packbits(cut.readers, axis=-1) for cut in cuts]).reshape(-1, 4, size, -(-size // 8))
    table = [(cut.nodule, cut.slice, cut.z_mm, cut.window.row, cut.window.column) for cut in cuts]
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, images=images, masks=masks, table=np.array(table).reshape(-1, 5))
    return None


def read_part(path: Path) -> Part:
    """A part that `make_part` wrote. Raises InputError where it is damaged."""
    with readable(path, "a part of this dataset", "remove it"), np.load(path, allow_pickle=False) as part:
        return Part(part["images"], part["masks"], part["table"])


def sample(plane: np.ndarray, window: Window) -> np.ndarray:
    """(size, size) float64: a slice (512, 512) at the window's pixels, by linear interpolation."""
    rows, columns = window.places()
    return _along_rows(_along_rows(plane.astype(np.float64), rows).T, columns).T


def to_bytes(values: np.ndarray, window_hu: tuple[float, float] | None) -> np.ndarray:
    """uint8: 0 at the low end, 255 at the high end, cut down to whole numbers, as the release has them.

    The ends are those of `window_hu`, or the least and the greatest value; an image of one value is 0.
    """
    low, high = window_hu or (values.min(), values.max())
    return np.floor((values.clip(low, high) - low) * 255 / ((high - low) or 1)).astype(np.uint8)


def _along_rows(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    below = places.astype(int)
    weight = (places - below)[:, None]
    return values[below] * (1 - weight) + values[np.minimum(below + 1, len(values) - 1)] * weight


def _read_images(plan: ScanPlan, folder: Path, cuts: Sequence[Cut]) -> np.ndarray:
    """(n, size, size) uint8; one slice of the scan is in memory at a time."""
    settings = plan.settings
    images = np.zeros((len(cuts), settings.size, settings.size), dtype=np.uint8)
    with quiet():
        headers = [read_header(path) for path in list_files(folder)]
        places = sorted({cut.z_mm for cut in cuts})
        for z_mm, header in _at(folder, plan.scan, headers, places).items():
            frame, stored = header.frames[0], next(read_frames(header.path))[0][0]
            plane = stored.astype(np.float32) * np.float32(frame.slope) + np.float32(frame.intercept)  # (512, 512), HU
            for index, cut in enumerate(cuts):
                if cut.z_mm == z_mm:
                    images[index] = to_bytes(sample(plane, cut.window), settings.window_hu)
    return images


def _at(folder: Path, scan: Scan, headers: Sequence[Header], places: Sequence[float]) -> Mapping[float, Header]:
    """The slice at each of the places; of several, the one with the lowest instance number, as pylidc takes it."""
    known = [(h.frames[0].position[2], h) for h in headers if h.frames[0].position is not None]
    found = {z_mm: [h for place, h in known if abs(place - z_mm) < _SAME_MM] for z_mm in places}
    missing = [z_mm for z_mm, here in found.items() if not here]
    if missing:
        raise InputError(
            folder,
            expected=f"the {len(places)} slices in use of series {scan.series}",
            got=f"{len(missing)} that are not there, the first at z = {missing[0]:g} mm",
            hint=_AGAIN,
        )
    for header in (h for here in found.values() for h in here):
        _check(header, scan)
    return {z_mm: here[0] if len(here) == 1 else min(here, key=_instance) for z_mm, here in found.items()}


def _check(header: Header, scan: Scan) -> None:
    """The file is of the series that the contours were drawn on, on its pixels."""
    spacing = header.frames[0].spacing
    wanted = f"series {scan.series}, {MATRIX}x{MATRIX} pixels of {scan.pixel_spacing_mm:g} mm"
    if header.series != scan.series:
        got = f"series {header.series}"
    elif header.shape != (MATRIX, MATRIX):
        got = f"{header.shape[0]}x{header.shape[1]}"
    elif spacing is None or not np.allclose(spacing, scan.pixel_spacing_mm, rtol=0, atol=_SAME_MM):
        got = "no pixel spacing" if spacing is None else f"{spacing[0]:g} x {spacing[1]:g} mm"
    else:
        return
    raise InputError(header.path, expected=wanted, got=got, hint=_AGAIN)


def _instance(header: Header) -> int:
    dataset = need("pydicom", "dicom").dcmread(header.path, stop_before_pixels=True, specific_tags=["InstanceNumber"])
    return int(dataset.get("InstanceNumber") or 0)
