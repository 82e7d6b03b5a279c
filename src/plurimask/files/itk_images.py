"""NRRD and MetaImage (MHA, MHD), as ITK and 3D Slicer write them: values with their affine.

A volume keeps the file's own axes (i, j, k), as NIfTI does. A plane is (row, column), as pictures are: its file counts
columns first, and a spacing of 1 x 1 is what ITK writes where none is known. World coordinates are LPS+ in mm, unless a
NRRD header names another space.
"""

import io
import zlib
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from plurimask.errors import InputError
from plurimask.files.stored import Stored, one_channel, readable, refuse_giant
from plurimask.geometry import lps_to_ras

_TO_RAS = {"left-posterior-superior": (-1, -1, 1), "left-anterior-superior": (-1, 1, 1)}
_TO_RAS |= {"right-anterior-superior": (1, 1, 1), "lps": (-1, -1, 1), "las": (-1, 1, 1), "ras": (1, 1, 1)}
_TYPES = {"CHAR": "i1", "UCHAR": "u1", "SHORT": "i2", "USHORT": "u2", "INT": "i4", "UINT": "u4", "LONG": "i4"}
_TYPES |= {"ULONG": "u4", "LONG_LONG": "i8", "ULONG_LONG": "u8", "FLOAT": "f4", "DOUBLE": "f8"}
_HEADER_BYTES = 2**12  # of a line


def read_nrrd(path: Path) -> Stored:
    """The values of a NRRD file: one channel with its affine in mm.

    Raises:
        InputError: a file that is missing, damaged or too large, data in a file of its own, a compression other than
            gzip, or several channels.
    """
    nrrd = import_module("nrrd")
    with readable(path, "a readable NRRD file"), path.open("rb") as file:
        header = nrrd.read_header(file)
        sizes, encoding = [int(size) for size in header["sizes"]], header["encoding"]
        refuse_giant(path, sizes)
        if "data file" in header or "datafile" in header or encoding not in ("raw", "gzip", "gz"):
            got = "data in a file of its own" if encoding in ("raw", "gzip", "gz") else f"the encoding {encoding}"
            raise InputError(path, expected="one file, raw or gzip", got=got, hint="save it as .nrrd once more")
        data = file.read()
        if encoding != "raw":
            data = _inflated(data, 8 * int(np.prod(sizes)), zlib.MAX_WBITS | 16)
        values = nrrd.read_data(header | {"encoding": "raw"}, io.BytesIO(data))
        if len(data) > values.nbytes and not {"byte skip", "byteskip", "line skip", "lineskip"} & header.keys():
            raise ValueError(f"{len(data):,} bytes of values where the header says {values.nbytes:,}")
        kinds = header.get("kinds") or ["domain"] * len(sizes)
        _refuse_channels(path, [size for size, kind in zip(sizes, kinds, strict=True) if kind not in _SPATIAL])
        steps = header.get("space directions")
        steps = np.diag(header.get("spacings", np.full(len(sizes), np.nan))) if steps is None else np.array(steps)
        space = str(header.get("space", "lps")).lower()
        if space not in _TO_RAS:  # whose axes lead where nobody says
            hint = "save it in LPS or RAS, as 3D Slicer does"
            raise InputError(path, expected=f"one of the spaces {', '.join(_TO_RAS)}", got=space, hint=hint)
        signs = _TO_RAS[space]
        return _stored(path, values, steps, header.get("space origin", np.zeros(len(sizes))), np.diag([*signs, 1.0]))


_SPATIAL = ("domain", "space", None, "none", "???")


def read_metaimage(path: Path) -> Stored:
    """The values of a MetaImage, `.mha`, or `.mhd` with its data beside it: one channel with its affine in mm.

    Raises:
        InputError: a file that is missing, damaged or too large, text in place of binary values, or several channels.
    """
    with readable(path, "a readable MetaImage"), path.open("rb") as file:
        header: dict[str, str] = {}
        while "ElementDataFile" not in header:
            key, equals, value = file.readline(_HEADER_BYTES).decode("ascii").partition("=")
            if not equals:
                raise ValueError("a header that does not end")
            header[key.strip()] = value.strip()
        sizes = [int(size) for size in header["DimSize"].split()]
        kind = np.dtype(_TYPES[header["ElementType"].removeprefix("MET_")])
        order = header.get("BinaryDataByteOrderMSB", header.get("ElementByteOrderMSB", "False"))
        kind = kind.newbyteorder(">" if order == "True" else "<")
        refuse_giant(path, sizes, max(4, kind.itemsize))
        _refuse_channels(path, [int(header.get("ElementNumberOfChannels", "1"))])
        size, own = int(np.prod(sizes)) * kind.itemsize, header["ElementDataFile"]
        if own not in ("LOCAL", *(beside.name for beside in data_beside(path))):
            raise ValueError(f"data in {own}, which is no file beside it of its name")
        flags = {key: header.get(key, usual) for key, usual in (("CompressedData", "False"), ("BinaryData", "True"))}
        if (
            not set(flags.values()) <= {"True", "False"}
            or flags["BinaryData"] == "False"
            or len(sizes) != int(header["NDims"])
        ):
            raise ValueError("values as text, or a header that contradicts itself")
        data = file.read() if own == "LOCAL" else (path.parent / own).read_bytes()
        if flags["CompressedData"] == "True":
            data = _inflated(data[: int(header["CompressedDataSize"])], size, zlib.MAX_WBITS | 32)
        skipped = int(header.get("HeaderSize", "0"))
        data = data[-size:] if skipped == -1 else data[skipped:]
        if len(data) != size:
            raise ValueError(f"{len(data):,} bytes where the header says {size:,}")
        values = np.frombuffer(data, kind).reshape(sizes, order="F")
        spacing = header.get("ElementSpacing") or header.get("ElementSize") or " ".join(["1"] * len(sizes))
        turned = header.get("TransformMatrix") or " ".join(map(str, np.eye(len(sizes), dtype=int).ravel()))
        steps = np.array(turned.split(), dtype=np.float64).reshape(len(sizes), len(sizes))
        steps = steps * np.array(spacing.split(), dtype=np.float64)[:, None]
        origin = header.get("Offset") or header.get("Position") or " ".join(["0"] * len(sizes))
        if {len(spacing.split()), len(origin.split())} != {len(sizes)}:
            raise ValueError(f"a spacing or an offset of another number of axes than {len(sizes)}")
        return _stored(path, values, steps, origin.split(), lps_to_ras(np.eye(4)))


def data_beside(path: Path) -> list[Path]:
    """Where the values of a `.mhd` file may lie; of any other file nowhere but in itself."""
    return [path.with_suffix(suffix) for suffix in (".raw", ".zraw") if path.suffix.lower() == ".mhd"]


def _inflated(data: bytes, most: int, form: int) -> bytes:
    """What zlib or gzip bytes hold, of which no more than `most` bytes and one are made."""
    inflate = zlib.decompressobj(form)
    made = inflate.decompress(data, most + 1)
    if len(made) > most or not inflate.eof:
        raise ValueError("compressed data that do not end where the header says")
    return made


def _refuse_channels(path: Path, counts: list[int]) -> None:
    if any(count > 1 for count in counts):
        got, hint = f"{max(counts)} of them", "write one file a channel: image0, image1, ..."
        raise InputError(path, expected="one channel", got=got, hint=hint)


def _stored(path: Path, values: np.ndarray, steps: np.ndarray, origin: Any, to_ras: np.ndarray) -> Stored:
    """Values (n0, n1[, n2]) by a header whose row i of `steps` is the step of axis i in mm."""
    lengths = np.linalg.norm(np.nan_to_num(steps), axis=1)
    if values.ndim == 2:
        affine = None
        if lengths.min() > 0 and not (lengths == 1).all():
            affine = np.array([[0, -lengths[0], 0, 0], [-lengths[1], 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
        return Stored(one_channel(path, values.T), affine, placed=False)
    stored = one_channel(path, values)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = steps[:3].T, np.array(origin, dtype=np.float64)
    return Stored(stored, to_ras @ affine if np.isfinite(affine).all() and lengths.min() > 0 else None)
