"""The pixels of a DICOM file, frame by frame, through pydicom's decoders; before slope and intercept."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from plurimask.errors import InputError, MissingPackageError
from plurimask.files.dicom_file import damage
from plurimask.files.stored import reason, unreadable
from plurimask.optional import need

_MEASURED = ("CT", "PT")  # their values are quantities, whichever way they are shown
_PLUGINS = ("pydicom", "pylibjpeg", "pyjpegls", "pillow", "gdcm")  # GDCM last: some damage makes it end the process
_DECOMPRESS = "decompress it with another program (gdcmconv --raw, dcmdjpeg), or fetch it again"


def read_frames(path: Path) -> Iterator[np.ndarray]:
    """Each frame as (1, H, W) grey or (3, H, W) red, green, blue; bits that are not in use are cleared.

    Where low values are to be shown white (MONOCHROME1), they are counted from the other end, save in CT and PET. A
    palette counts as the colours it stands for. Besides the frame, the bytes of the file are in memory.

    Raises:
        InputError: a file that is damaged, of another length than its header says, or has no pixels.
        MissingPackageError: a decoder that is not installed.
    """
    try:
        dataset = need("pydicom", "dicom").dcmread(path, force=True)
        _refuse_other_pixels(path, dataset)
        syntax = _transfer_syntax(dataset)
    except damage() as error:
        raise unreadable(path, "DICOM file", error) from error
    decoder = _decoder(path, syntax)
    try:
        for values, _ in decoder.iter_array(dataset, indices=range(_count(dataset)), decoding_plugin=_plugin(decoder)):
            yield _channels(dataset, values)
    except damage() as error:
        raise InputError(
            path, expected=f"pixels in {syntax.name}", got=f"'{reason(error)}'", hint=_DECOMPRESS
        ) from error


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


def _plugin(decoder: Any) -> str:
    return next((name for name in _PLUGINS if decoder.is_encapsulated and name in decoder.available_plugins), "")


def _channels(dataset: Any, values: np.ndarray) -> np.ndarray:
    """(H, W[, 3]) as pydicom decodes it to channels first."""
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        values = need("pydicom.pixels", "dicom").apply_color_lut(values, dataset)
    if values.ndim == 3:
        return np.moveaxis(values, -1, 0)[:3]
    if dataset.PhotometricInterpretation == "MONOCHROME1" and dataset.get("Modality") not in _MEASURED:
        return _turned(dataset, values)[None]
    return values[None]


def _turned(dataset: Any, values: np.ndarray) -> np.ndarray:
    lowest_and_highest = -1 if dataset.PixelRepresentation else 2**dataset.BitsStored - 1
    return lowest_and_highest - values.astype(np.int64)
