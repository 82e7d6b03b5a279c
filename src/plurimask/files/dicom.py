"""DICOM to arrays in RAS+ mm: the images of a folder that holds one series, or of a file, and segmentations."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from plurimask.errors import InputError, MissingPackageError, need, plural
from plurimask.files.decoding import APART, frames_apart
from plurimask.files.dicom_headers import SUFFIXES, Header, find_slices, is_dicom, quiet, read_header, stack
from plurimask.files.stored import HeldFile, list_visible, readable, refuse_giant
from plurimask.geometry import Grid, grid_of

_MEASURED = ("CT", "PT")  # their values are quantities, whichever way they are shown
_PLUGINS = ("pydicom", "pylibjpeg", "pyjpegls", "pillow", "gdcm")
_DECOMPRESS = "decompress it with another program (gdcmconv --raw, dcmdjpeg), or fetch it again"


def read_frames(path: Path) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Each frame and where it is padding: (1, H, W) grey or (3, H, W) red, green, blue, and (H, W) bool or None.

    Bits that are not in use are cleared. Padding is what Pixel Padding Value and Pixel Padding Range Limit declare.

    Where low values are to be shown white (MONOCHROME1), they are counted from the other end, save in CT and PET. A
    palette counts as the colours it stands for. Besides the frame, the bytes of the file are in memory.

    Raises:
        InputError: a file that is damaged, of another length than its header says, or has no pixels.
        MissingPackageError: a decoder that is not installed.
    """
    with readable(path, "a readable DICOM file"), HeldFile(path) as file:
        dataset = need("pydicom", "dicom").dcmread(file, force=True)
        _refuse_other_pixels(path, dataset)
        syntax = _transfer_syntax(dataset)
    decoder = _decoder(path, syntax)
    with readable(path, f"pixels in {syntax.name}", _DECOMPRESS):
        for values in _decoded(path, dataset, decoder):
            yield _channels(dataset, values), _padding(dataset, values)


def _decoded(path: Path, dataset: Any, decoder: Any) -> Iterator[np.ndarray]:
    """Each frame as it is stored, (H, W[, 3])."""
    plugins = decoder.available_plugins if decoder.is_encapsulated else ()
    plugin = next((name for name in _PLUGINS if name in plugins), "")
    if plugin in APART:
        yield from frames_apart(path, plugin, _count(dataset))
    else:
        for values, _ in decoder.iter_array(dataset, indices=range(_count(dataset)), decoding_plugin=plugin):
            yield values


def _refuse_other_pixels(path: Path, dataset: Any) -> None:
    if "PixelData" not in dataset:
        raise InputError(path, expected="an image", got="a DICOM object without pixels", hint="fetch it again")
    if "ModalityLUTSequence" in dataset:
        raise InputError(
            path,
            expected="slope and intercept",
            got="a table of values (Modality LUT)",
            hint="apply it with another program first",
        )
    if not _transfer_syntax(dataset).is_encapsulated:
        _refuse_surplus(path, dataset)


def _refuse_surplus(path: Path, dataset: Any) -> None:
    """A damaged header may claim fewer rows or columns than the file holds; what writers append is zero."""
    values = dataset.Rows * dataset.Columns * _count(dataset) * dataset.SamplesPerPixel
    length = -(-values * dataset.BitsAllocated // 16) * 2  # in pairs of bytes, which big-endian files exchange
    if any(dataset.PixelData[length:]):
        raise InputError(
            path,
            expected=f"{values} values, as its header says",
            got="more of them",
            hint="fetch it again, or repair its header",
        )


def _count(dataset: Any) -> int:
    return int(dataset.get("NumberOfFrames") or 1)


def _transfer_syntax(dataset: Any) -> Any:
    """As the file states it, or else as pydicom found its header to be written."""
    uids = need("pydicom.uid", "dicom")
    stated = dataset.file_meta.get("TransferSyntaxUID")
    implicit, little = dataset.original_encoding
    explicit = uids.ExplicitVRLittleEndian if little else uids.ExplicitVRBigEndian
    return stated or (uids.ImplicitVRLittleEndian if implicit else explicit)


def _decoder(path: Path, syntax: Any) -> Any:
    try:
        decoder = need("pydicom.pixels", "dicom").get_decoder(syntax)
    except NotImplementedError as error:
        raise InputError(
            path,
            expected="pixels that are stored plainly, in RLE, JPEG, JPEG-LS or JPEG 2000",
            got=syntax.name if syntax.keyword else "an unknown transfer syntax",
            hint=_DECOMPRESS,
        ) from error
    if not decoder.is_available:
        raise MissingPackageError(
            path,
            expected=f"a decoder of {syntax.name}",
            got="none installed",
            hint=f'run pip install "plurimask[dicom]"; if that does not help, {_DECOMPRESS}',
        )
    return decoder


def _channels(dataset: Any, values: np.ndarray) -> np.ndarray:
    """(H, W[, 3]) as pydicom decodes it to channels first."""
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        values = need("pydicom.pixels", "dicom").apply_color_lut(values, dataset)
    if values.ndim == 3:
        return np.moveaxis(values, -1, 0)[:3]
    if dataset.PhotometricInterpretation == "MONOCHROME1" and dataset.get("Modality") not in _MEASURED:
        lowest_and_highest = -1 if dataset.PixelRepresentation else 2**dataset.BitsStored - 1
        return lowest_and_highest - values.astype(np.int64)[None]
    return values[None]


def _padding(dataset: Any, values: np.ndarray) -> np.ndarray | None:
    """Where (H, W) stored values lie between the two that the header declares, whichever type it writes these in."""
    ends = [dataset.get(keyword) for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    if ends[0] is None or values.ndim != 2:
        return None
    bits, wrapped = int(dataset.BitsStored), []
    for end in ends:
        number = (
            int.from_bytes(end, "little")
            if isinstance(end, bytes)
            else int(np.ravel(ends[0] if end is None else end)[0])
        )
        number &= 2**bits - 1
        wrapped.append(number - 2**bits if dataset.PixelRepresentation and number >= 2 ** (bits - 1) else number)
    return (values >= min(wrapped)) & (values <= max(wrapped))


def _beyond_the_circle(image: np.ndarray) -> np.ndarray:
    """(H, W) bool of a slice in HU: what is less than air can be and hangs together with the edge."""
    # Not imported above: that takes longer than drawing a mask, and few studies need it.
    parts = need("scipy.ndimage", "dicom").label(image < _AIR_HU)[0]
    edge = np.ones_like(parts, dtype=np.bool_)
    edge[1:-1, 1:-1] = False
    return np.isin(parts, np.setdiff1d(parts[edge], [0]))


_AIR_HU = -1024
_INDEX = "DICOMDIR"
_BESIDE = frozenset(
    (".xml", ".txt", ".csv", ".json", ".pdf", ".htm", ".html", ".md", ".png", ".jpg", ".jpeg", ".nii", ".gz", ".ini")
)  # what lies beside slices and says so in its name
_BESIDE_NAMES = frozenset(("license", "readme", "thumbs.db", "autorun.inf"))


@dataclass(frozen=True, eq=False)
class Series:
    """One series as a volume.

    Args:
        image: (C, H, W, D) float32, modality values (slope and intercept applied; HU for CT); C is 1 but for colour.
        grid: (H, W, D), RAS+ mm; sheared where the gantry was tilted (see `files.dicom_headers`).
        files: one a slice, in the order of the slices; or the one multi-frame file.
        patient: PatientID, or None; identity, never to be printed.
        padding: (H, W, D) bool, what is no measurement: as the header declares it, else of CT what is below -1024 HU
            outside of the scanner's circle; None where there is none.
    """

    image: np.ndarray
    grid: Grid
    files: tuple[Path, ...]
    patient: str | None
    padding: np.ndarray | None = None


def read_series(path: Path, chosen: str | None = None) -> Series:
    """The series in a folder, one file a slice, or the image in a single file; a single slice has D = 1.

    Of several, the one of the number or UID `chosen`.

    Hidden files, folders, DICOMDIR, and files whose names say that they are of another kind (.xml, .txt, LICENSE, ...)
    are passed over. Padding keeps its values, and is told apart. Slices are read one after the other: besides the
    volume, one file is in memory.

    Raises:
        InputError: no DICOM file, or one that is damaged or no image; several series or sizes, localizers; slices as
            `files.dicom_headers.stack` refuses them.
        MissingPackageError: `pydicom`, or a decoder that the file needs, is not installed.
    """
    with quiet():
        headers, order, affine = _ordered(path, chosen)
        image, padding = _read_image(path, headers, np.argsort(order))
    grid = grid_of(path, image.shape[1:], affine)
    return Series(image, grid, _sources(headers, order), headers[0].patient, padding)


def read_plane_or_series(path: Path, chosen: str | None = None) -> Series:
    """As `read_series`, but a single slice is a plane: without its last axis."""
    series = read_series(path, chosen)
    if series.grid.shape[2] > 1:
        return series
    grid = Grid(series.grid.shape[:2], series.grid.affine)
    padding = None if series.padding is None else series.padding[..., 0]
    return replace(series, image=series.image[..., 0], grid=grid, padding=padding)


def series_files(path: Path) -> tuple[Path, ...]:
    """The files of a series in the order of its slices; no pixel is read. Raises InputError as `read_series`."""
    with quiet():
        headers, order, _ = _ordered(path, None)
    return _sources(headers, order)


def _ordered(path: Path, chosen: str | None) -> tuple[list[Header], np.ndarray, np.ndarray | None]:
    """Headers as the files come, which of their frames lies at each place, and the affine."""
    headers = [read_header(file) for file in (list_files(path) if path.is_dir() else [path])]
    if chosen is not None:
        known, headers = headers, [header for header in headers if chosen in (header.number, header.series)]
        if not headers:
            got = ", ".join(_names(known).values())
            raise InputError(path, expected=f"a series {chosen}", got=got, hint="name one of them behind the #")
    _check_series(path, headers)
    return headers, *stack(path, [frame for header in headers for frame in header.frames])


def _sources(headers: Sequence[Header], order: np.ndarray) -> tuple[Path, ...]:
    files = [header.path for header in headers for _ in header.frames]
    return (files[0],) if len(headers) == 1 else tuple(files[index] for index in order)


def holds_series(path: Path) -> bool:
    """Whether a folder holds DICOM files and no panel, by the names or the starts of its first three files."""
    inside = list_visible(path)
    first = [one for one in inside if not one.is_dir()][:3]
    return path / "set.json" not in inside and any(one.suffix.lower() in SUFFIXES or is_dicom(one) for one in first)


def read_segments(path: Path, image: Grid | None = None) -> tuple[np.ndarray, Grid]:
    """The samples in a segmentation (SEG, BINARY), one a segment: (S, H, W[, D]) bool, and their grid.

    Where there is no frame, nothing is marked. Besides the masks, the file and one frame are in memory.

    Args:
        path: the file.
        image: the grid that the samples were drawn on; without it, they reach from the first frame to the last.

    Raises:
        InputError: a file that is damaged or no such segmentation, segments that are no samples of one finding, or
            frames that do not fit the image, as `find_slices` refuses them.
        MissingPackageError: as `read_series`.
    """
    with quiet():
        header = read_header(path, segments=True)
        with readable(path, "a readable DICOM file"), HeldFile(path) as file:
            dataset = need("pydicom", "dicom").dcmread(file, force=True)
            _refuse_other_pixels(path, dataset)
            _check_samples(path, dataset)
            numbers: list[int | None] = [int(segment.SegmentNumber) for segment in dataset.SegmentSequence]
            samples = [numbers.index(frame.segment) for frame in header.frames]
        slices, grid = find_slices(path, header.frames, header.shape, image)
        shape = len(numbers), math.prod(grid.shape[2:]), *header.shape
        refuse_giant(path, shape, 1)
        if len(set(zip(samples, slices, strict=True))) < len(samples):
            got, hint = "two", "write it again"
            raise InputError(path, expected="one frame of a sample on a slice", got=got, hint=hint)
        masks, syntax = np.zeros(shape, dtype=np.bool_), _transfer_syntax(dataset)
        is_packed = dataset.BitsAllocated == 1 and not syntax.is_encapsulated
        frames = _bits(dataset) if is_packed else _decoded(path, dataset, _decoder(path, syntax))
        with readable(path, f"pixels in {syntax.name}", _DECOMPRESS):
            for sample, place, values in zip(samples, slices, frames, strict=True):
                masks[sample, place] = values
    return np.moveaxis(masks, 1, -1).reshape(len(masks), *grid.shape), grid


def referred_series(path: Path) -> str:
    """The UID of the series that a segmentation was drawn on; "" where it does not say. Raises as `read_segments`."""
    with quiet(), readable(path, "a readable DICOM file"), HeldFile(path) as file:
        dataset = need("pydicom", "dicom").dcmread(file, force=True, specific_tags=["ReferencedSeriesSequence"])
        return str(next(iter(dataset.get("ReferencedSeriesSequence") or [{}])).get("SeriesInstanceUID") or "")


def _check_samples(path: Path, dataset: Any) -> None:
    kinds = {str(one.SegmentedPropertyTypeCodeSequence[0].get("CodeMeaning")) for one in dataset.SegmentSequence}
    pixels = f"{dataset.SamplesPerPixel} channel(s) of {dataset.PhotometricInterpretation}"
    found = {
        dataset.SegmentationType: dataset.SegmentationType != "BINARY",
        "levels of agreement": (dataset.get("Manufacturer"), dataset.get("ContentLabel")) == ("plurimask", "AGREEMENT"),
        f"segments of {len(kinds)} kinds": len(kinds) > 1,
        pixels: pixels != "1 channel(s) of MONOCHROME2",
    }
    if (got := next((what for what, is_so in found.items() if is_so), None)) is not None:
        expected, hint = "a binary segmentation with a segment for each sample of one finding", "pass samples.dcm"
        raise InputError(path, expected=expected, got=got, hint=hint)


def _bits(dataset: Any) -> Iterator[np.ndarray]:
    """Frames (H, W) of one bit a pixel. pydicom wants each to begin with a byte, which it need not."""
    content, size = np.frombuffer(dataset.PixelData, np.uint8), dataset.Rows * dataset.Columns
    for start in range(0, size * _count(dataset), size):
        part = content[start // 8 : (start + size + 7) // 8]
        bits = np.unpackbits(part, bitorder="little")[start % 8 :][:size]
        yield bits.reshape(dataset.Rows, dataset.Columns)


def list_files(folder: Path) -> list[Path]:
    """What may be a slice in a folder, sorted by name. Raises InputError where nothing is."""
    found = [path for path in list_visible(folder) if not path.is_dir()]
    beside = {path for path in found if path.suffix.lower() in _BESIDE or path.name.lower() in _BESIDE_NAMES}
    files = [path for path in found if path.name.upper() != _INDEX and (path not in beside or is_dicom(path))]
    if not files:
        raise InputError(
            folder, expected="the DICOM files of one series", got="none", hint="pass the folder that holds the slices"
        )
    return files


def _check_series(path: Path, headers: Sequence[Header]) -> None:
    sizes = Counter(header.series for header in headers)
    if len(sizes) > 1:
        raise InputError(
            path,
            expected="one series",
            got=", ".join(f"{name} ({plural(sizes[uid], 'file')})" for uid, name in _names(headers).items()),
            hint=f"name one behind a #, as {path.name}#{next(iter(_names(headers).values()))}",
        )
    for header in headers[1:]:
        for what in ("localizer", "reference", "shape"):
            if getattr(header, what) != getattr(headers[0], what):
                raise _mixed(path, what, headers[0], header)
    if len(headers) > 1 and any(len(header.frames) > 1 for header in headers):
        raise InputError(
            path, expected="one multi-frame file, or one slice a file", got="both", hint="pass one file of them"
        )


def _names(headers: Sequence[Header]) -> dict[str, str]:
    """By UID what each series can be named by: its number where no other has it."""
    numbers = {header.series: header.number for header in headers}
    times = Counter(numbers.values())
    return {uid: number if number and times[number] == 1 else uid for uid, number in numbers.items()}


def _mixed(path: Path, what: str, first: Header, other: Header) -> InputError:
    if what == "localizer":
        localizer = first if first.localizer else other
        return InputError(
            path,
            expected="the slices of one series",
            got=f"a localizer among them, {localizer.path.name}",
            hint="move localizers out of the folder",
        )
    noun = {"reference": "frame of reference", "shape": "size"}[what]
    return InputError(
        path,
        expected=f"slices of one {noun}",
        got=f"another in {other.path.name} than in {first.path.name}",
        hint="put each stack into a folder of its own, and pass one",
    )


def _read_image(path: Path, headers: Sequence[Header], ranks: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """(C, H, W, D) float32 and what is padding, (H, W, D) bool; `ranks` are the places of the frames as they come.

    Each slice lies in one piece of memory.
    """
    shape = len(ranks), *headers[0].shape
    refuse_giant(path, shape)
    places, volume = iter(ranks), np.empty((0, *shape), dtype=np.float32)
    padding = np.zeros(shape, dtype=np.bool_)
    for header in headers:
        for frame, (stored, padded) in zip(header.frames, read_frames(header.path), strict=True):
            if not volume.size:
                volume = np.empty((len(stored), *shape), dtype=np.float32)
            if stored.shape != volume[:, 0].shape:
                raise _mixed(path, "shape", headers[0], header)
            place = next(places)
            volume[:, place] = stored * frame.slope + frame.intercept
            if padded is None and header.modality == "CT" and (volume[0, place] < _AIR_HU).any():
                padded = _beyond_the_circle(volume[0, place])
            padding[place] = False if padded is None else padded
    grey = len(volume) == 3 and (volume == volume[0]).all()
    image = np.moveaxis(volume[:1].copy() if grey else volume, 1, -1)
    return image, np.moveaxis(padding, 0, -1) if padding.any() else None
