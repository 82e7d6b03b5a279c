"""Damage: of bytes, which every file has, and of what a format says of itself (lengths, types, shapes, counts).

Each function takes a generator and the bytes of a whole file, and gives those of a spoiled one.
"""

import csv
import gzip
import io
import json
import os
import pickle
import pickletools
import re
import struct
import zipfile
import zlib

import h5py
import numpy as np
import pydicom
from pydicom.dataset import Dataset

COUNTS = (
    *(0, 1, 2, 3, 7, 8, 16, 17, 127, 128, 255, 256, 32767, 65535),
    *(2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 10**30, 10**400),
)
FLOATS = (0.0, -1.0, 1e-38, 3e38, float("nan"), float("inf"), float("-inf"))
DEEP, DIGITS = 3000, 5000
TOKENS = (
    *("null", "true", "-1", "0", "1.5", "1e200", "1e400", "-0.0", "NaN", "Infinity", '""', '"x"', "[]", "{}", "[[]]"),
    *('"\\u202eevil"', '"\\u001b[31m"', '"\\ud800"', f'"{"a" * 70_000}"', "9" * DIGITS, "[" * DEEP + "]" * DEEP),
    *(str(count) for count in COUNTS[:17]),
)
"""JSON values in the place of others."""


def one(rng, choices):
    """One of some things, as it is."""
    return choices[int(rng.integers(len(choices)))]


def damage_bytes(rng, whole):
    """One kind of damage, half of it in the first eighth, where headers are."""
    data = bytearray(whole)
    at = int(rng.integers(max(len(data) // 8, 1) if rng.random() < 0.5 else len(data)))
    few = int(rng.integers(1, 9))
    kind = rng.choice(["bit", "byte", "run", "cut", "lose", "gain", "swap"], p=[0.3, 0.3, 0.14, 0.08, 0.06, 0.06, 0.06])
    if kind == "bit":
        data[at] ^= 1 << int(rng.integers(8))
    elif kind == "byte":
        data[at] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.integers(256)]))
    elif kind == "run":
        data[at : at + few] = rng.bytes(len(data[at : at + few]))
    elif kind == "cut":
        del data[at:]
    elif kind == "lose":
        del data[at : at + few]
    elif kind == "gain":
        data[at:at] = rng.bytes(few)
    else:
        other = int(rng.integers(len(data)))
        data[at], data[other] = data[other], data[at]
    return bytes(data)


def damage_json(rng, whole):
    """A value replaced, lost, doubled or under another key; or another encoding of the text."""
    if rng.random() < 0.08:
        return one(rng, [b"\xef\xbb\xbf" + whole, whole.decode().encode("utf-16"), whole * 2, b"", b"[]", b"null"])
    tree = json.loads(whole)
    holder, key = one(rng, list(_entries(tree)))
    token = one(rng, TOKENS)
    kind = rng.choice(["replace", "lose", "rename", "double"], p=[0.7, 0.12, 0.1, 0.08])
    if kind == "lose":
        del holder[key]
    elif kind == "rename" and isinstance(holder, dict):
        holder[f"{key}x"] = holder.pop(key)
    elif kind == "double" and isinstance(holder, dict):
        return (
            json.dumps(tree).replace(json.dumps(key) + ":", f"{json.dumps(key)}: {token}, {json.dumps(key)}:").encode()
        )
    else:
        holder[key] = "@token@"
    return json.dumps(tree).replace('"@token@"', token).encode()


def _entries(tree):
    for key in tree if isinstance(tree, dict) else range(len(tree)):
        yield tree, key
        if isinstance(tree[key], dict | list):
            yield from _entries(tree[key])


def _chain(file, copy):
    links = [copy.with_name(f"{number}-{copy.name}") for number in range(50)]
    for link, target in zip(links, [copy, *links], strict=False):
        link.symlink_to(target)
    file.symlink_to(links[-1])


REPLACED = (
    lambda file, copy: file.symlink_to(copy),
    lambda file, copy: file.symlink_to(file),
    lambda file, copy: (file.symlink_to(copy.with_suffix(".x")), copy.with_suffix(".x").symlink_to(file)),
    lambda file, copy: file.symlink_to("nothing"),
    lambda file, copy: file.symlink_to(file.parent),
    lambda file, copy: file.symlink_to("/dev/zero"),
    lambda file, copy: file.symlink_to("/dev/null"),
    lambda file, copy: file.symlink_to("/proc/self/mem"),
    lambda file, copy: os.mkfifo(file),
    lambda file, copy: file.mkdir(),
    lambda file, copy: file.hardlink_to(copy),
    lambda file, copy: file.write_text("../../.git/annex/objects/x/y/SHA256E-s1--0.png"),
    _chain,
)
"""What may lie in the place of a file, of which there is a copy elsewhere."""

_TYPES = (
    *(
        "'|b1'",
        "'|u1'",
        "'|i1'",
        "'<u2'",
        "'>i2'",
        "'<f2'",
        "'<f4'",
        "'>f8'",
        "'<c8'",
        "'|S1'",
        "'|O'",
        "'<U1'",
        "'|V1'",
    ),
    *("'<M8[ns]'", "[('a', '|u1')]", "'x'", "'<f16'", "'|b1,|b1'", "None", "('<u2', (2,))"),
)


def damage_npy(rng, whole):
    """Another type, order, shape or length in the header of an array."""
    length = struct.unpack("<H", whole[8:10])[0]
    header = whole[10 : 10 + length].decode("latin1").rstrip()
    kind = one(rng, ["descr", "order", "shape", "shape", "length", "version", "text", "values"])
    if kind == "descr":
        header = re.sub(r"'descr': '[^']*'", lambda _: f"'descr': {one(rng, _TYPES)}", header)
    elif kind == "order":
        header = header.replace("'fortran_order': False", "'fortran_order': " + one(rng, ["True", "1", "None"]))
    elif kind == "shape":
        header = re.sub(r"\(([0-9, ]*)\)", lambda found: _other_shape(rng, found[1]), header)
    elif kind == "text":
        header = one(rng, ["", "{}", "[" * DEEP, "9" * DIGITS, header.replace("'shape'", "'form'"), header + " + 1"])
    elif kind == "values":
        values = np.frombuffer(whole[10 + length :], np.uint8)
        return whole[: 10 + length] + (values * int(rng.integers(2, 256))).astype(np.uint8).tobytes()
    version, stated = whole[6:8], struct.pack("<H", len(header) + 1)
    if kind == "length":
        stated = struct.pack("<H", one(rng, [0, 1, length - 1, length + 1, 65535]))
    elif kind == "version":
        version = one(rng, [b"\2\0", b"\3\0", b"\4\0", b"\0\0", b"\xff\xff"])
    return whole[:6] + version + stated + header.encode("latin1") + b"\n" + whole[10 + length :]


def _other_shape(rng, text):
    sizes = [int(size) for size in text.split(",") if size.strip()]
    kind = one(rng, ["one", "join", "split", "turn", "grow", "none"])
    if kind == "one":
        sizes[int(rng.integers(len(sizes)))] = one(rng, [*COUNTS, -1])
    elif kind == "join":
        sizes = [int(np.prod(sizes))]
    elif kind == "split":
        sizes = [1, *sizes]
    elif kind == "turn":
        sizes = sizes[::-1]
    elif kind == "grow":
        sizes = [*sizes, 1, 1]
    else:
        sizes = []
    return f"({', '.join(map(str, sizes))}{',' if len(sizes) == 1 else ''})"


def damage_npz(rng, whole):
    """Another array, name, number of members or compression; or an archive whose headers lie."""
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        (name,) = archive.namelist()
        array, how = archive.read(name), archive.infolist()[0].compress_type
    kind = one(rng, ["array", "array", "array", "name", "two", "none", "header", "header", "longer"])
    if kind in ("header", "longer"):
        return _lying_zip(rng, whole, kind)
    members = {name: array}
    if kind == "array":
        members = {name: damage_npy(rng, array)}
    elif kind == "name":
        members = {one(rng, ["other.npy", "masks", "../masks.npy", "/masks.npy", "Masks.npy", "masks.npy/"]): array}
    elif kind == "two":
        members[one(rng, ["other.npy", "masks", "a" * 300 + ".npy"])] = array
    elif kind == "none":
        members = {}
    return zipped(members, how)


def zipped(members, how):
    """An archive of some members, with one compression."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", how) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, how)
    return buffer.getvalue()


def _lying_zip(rng, whole, kind):
    """A field of the local or the central header changed: method, flags, check sum or a size."""
    data = bytearray(whole)
    start, fields = one(rng, [(whole.index(b"PK\3\4"), 6), (whole.rindex(b"PK\1\2"), 8)])
    if kind == "longer":
        struct.pack_into("<I", data, whole.rindex(b"PK\1\2") + 24, one(rng, [0, 1, 2**20, 2**31, 2**32 - 1]))
    else:
        offset, width = one(rng, [(0, "<H"), (2, "<H"), (8, "<I"), (12, "<I"), (16, "<I")])
        value = one(rng, [0, 1, 8, 9, 12, 14, 93, 99, 65535] if width == "<H" else [0, 1, 2**16, 2**31, 2**32 - 1])
        struct.pack_into(width, data, start + fields + offset, value)
    return bytes(data)


_NIFTI = (
    *((offset, "h") for offset in (*range(40, 56, 2), 70, 72, 252, 254)),
    *((offset, "f") for offset in (*range(76, 108, 4), 108, 112, 116, *range(256, 280, 4), *range(280, 328, 4))),
    *((offset, "b") for offset in (0, 39, 123, 344, 345, 346, 347, 348)),
)


def damage_nifti(rng, whole):
    """One field of a NIfTI-1 header: a size, the type, an offset, a scale, a unit, an affine."""
    data = bytearray(whole)
    offset, kind = one(rng, _NIFTI)
    choices = {"f": (*FLOATS, 1.0, 352.0, 348.0), "b": (0, 1, 2, 3, 10, -1, 127)}
    value = one(rng, choices.get(kind, (0, 1, 2, 4, 5, 8, 16, 64, 128, 256, 512, 1024, 2304, 32767, -1, -32768)))
    struct.pack_into(f"<{kind}", data, offset, value)
    return bytes(data)


def packed(inner):
    """The same in gzip."""
    return lambda rng, whole: gzip.compress(inner(rng, gzip.decompress(whole)), mtime=0)


def damage_png(rng, whole):
    """A chunk changed, lost, doubled or added, with its check sum right."""
    chunks, at = [], 8
    while at < len(whole):
        (length,) = struct.unpack(">I", whole[at : at + 4])
        chunks.append((whole[at + 4 : at + 8], whole[at + 8 : at + 8 + length]))
        at += 12 + length
    kind = one(rng, ["header", "header", "header", "lose", "double", "pixels", "add"])
    number = int(rng.integers(len(chunks)))
    if kind == "header":
        width, height, *rest = struct.unpack(">IIBBBBB", chunks[0][1])
        field = int(rng.integers(7))
        sizes, small = [0, 1, 19, 21, 65535, 2**20, 2**31 - 1], [0, 1, 2, 3, 4, 6, 8, 16, 255]
        fields = [width, height, *rest]
        fields[field] = one(rng, sizes if field < 2 else small)
        chunks[0] = (b"IHDR", struct.pack(">IIBBBBB", *fields))
    elif kind == "lose":
        del chunks[number]
    elif kind == "double":
        chunks.insert(number, chunks[number])
    elif kind == "pixels":
        raw = zlib.decompress(b"".join(content for name, content in chunks if name == b"IDAT"))
        raw = one(rng, [b"", raw[: len(raw) // 2], raw + b"\1" * 4096, b"\0" * 2_000_000, bytes(reversed(raw))])
        chunks = [chunks[0], (b"IDAT", zlib.compress(raw)), chunks[-1]]
    else:
        text = zlib.compress(b"\0" * 3_000_000)
        chunks.insert(1, one(rng, [
            (b"tRNS", b"\0\1"), (b"tRNS", b""), (b"PLTE", b"\0" * 9), (b"PLTE", b"\0"), (b"gAMA", b""),
            (b"acTL", struct.pack(">II", 2, 0)), (b"zTXt", b"a\0\0" + text), (b"iCCP", b"a\0\0" + text),
            (b"eXIf", b"MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"), (b"eXIf", b"MM"), (b"qqqq", b"x"),
        ]))  # fmt: skip
    return whole[:8] + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )


_WORDS = (
    "",
    "nan",
    "1e300",
    "-1",
    "0",
    "x",
    "gzip",
    "raw",
    "bzip2",
    "None",
    "True",
    "(1,0,0)",
    "1 0 0",
    "LOCAL",
    "a.raw",
)
_WORDS += ("double", "int8", "MET_DOUBLE", "MET_CHAR", "right-anterior-superior", "9" * DIGITS, *map(str, COUNTS[:17]))


def damage_itk(rng, whole):
    """A line of the text before the values of a NRRD or MetaImage file: its value or a part of it, lost or doubled."""
    marker = b"\n\n" if whole.startswith(b"NRRD") else b"LOCAL\n"
    end = whole.index(marker) + len(marker)
    lines = whole[:end].split(b"\n")
    number = int(rng.integers(len(lines) - 1))
    key, mark, value = (
        re.split(rb"([:=]+)", lines[number], maxsplit=1) if re.search(rb"[:=]", lines[number]) else ("",) * 3
    )
    parts, kind = value.split(), one(rng, ["value", "part", "part", "part", "lose", "double"])
    if kind == "lose":
        del lines[number]
    elif kind == "double" or not parts:
        lines.insert(number, lines[number])
    else:
        parts[int(rng.integers(len(parts)))] = one(rng, _WORDS).encode()
        parts = parts if kind == "part" else [one(rng, _WORDS).encode()]
        lines[number] = key + mark + b" " + b" ".join(parts)
    return b"\n".join(lines) + whole[end:]


def damage_tiff(rng, whole):
    """An entry of the first directory of a little-endian TIFF: its tag, type, count, or value."""
    data = bytearray(whole)
    (start,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, start)
    at = start + 2 + 12 * int(rng.integers(entries))
    offset, width = one(rng, [(0, "<H"), (2, "<H"), (4, "<I"), (8, "<I"), (8, "<I"), (8, "<I")])
    small = (0, 1, 2, 3, 4, 5, 6, 8, 16, 32, 64, 255, 339, 1000, 32773, 65535)
    struct.pack_into(width, data, at + offset, one(rng, small if width == "<H" else (*small, 2**20, 2**31, 2**32 - 1)))
    return bytes(data)


WORD = "91919"  # stands for a word in the place of a number, which pydicom does not write
_DICOM = {
    "Rows": (0, 1, 5, 63, 65, 65535), "Columns": (0, 1, 5, 63, 65, 65535),
    "BitsAllocated": (0, 1, 8, 12, 16, 24, 32, 64),
    "BitsStored": (0, 1, 7, 8, 12, 16, 17, 99), "HighBit": (0, 7, 11, 15, 16, 99), "PixelRepresentation": (0, 1, 2),
    "SamplesPerPixel": (0, 1, 2, 3, 4, 65535), "PlanarConfiguration": (0, 1, 2),
    "PhotometricInterpretation": ("MONOCHROME1", "RGB", "YBR_FULL", "YBR_FULL_422", "PALETTE COLOR", "x", ""),
    "NumberOfFrames": ("0", "1", "2", "1000000000", "99999999999999999999", "-1", WORD, ""),
    "RescaleSlope": ("0", "1e38", "1e300", "nan", "inf", "-1", "0.5", WORD, ""),
    "RescaleIntercept": ("1e38", "nan", "-9", WORD),
    "PixelSpacing": (["0", "0"], ["-1", "1"], ["1e-30", "1"], ["1"], ["nan", "1"], [WORD, WORD], ["1e300", "1"], None),
    "ImagePositionPatient": (["0", "0"], ["1e300", "0", "0"], ["nan", "0", "0"], [WORD, "0", "0"], None),
    "ImageOrientationPatient": (["1", "0", "0"], ["0"] * 6, ["1", "0", "0", "1", "0", "0"], ["nan"] * 6, None),
    "SliceThickness": ("0", "-1", "nan", WORD), "ImageType": (["DERIVED"], ["ORIGINAL", "PRIMARY", "LOCALIZER"], ""),
    "SOPClassUID": ("", "1.2.3", "1.2.840.10008.5.1.4.1.1.66.4", "x"), "SeriesInstanceUID": ("", "1.2.3", "x" * 200),
    "Modality": ("CT", "", "MR", "SEG"), "PixelPaddingValue": (0, 65535),
    "SpecificCharacterSet": ("x", "ISO 2022 IR 87"),
}  # fmt: skip
_SYNTAXES = ("", ".1", ".1.99", ".2", ".4.50", ".4.57", ".4.70", ".4.80", ".4.90", ".5", ".99")


def damage_dicom(rng, whole):
    """An element of the header changed, lost, or of another sense; fewer or more pixels; another transfer syntax."""
    with pydicom.config.disable_value_validation():
        return _damage_dicom(rng, whole)


def _damage_dicom(rng, whole):
    dataset = pydicom.dcmread(io.BytesIO(whole), force=True)
    kind = one(rng, ["element"] * 6 + ["lose", "pixels", "syntax", "deep"])
    if kind == "element":
        keyword = one(rng, list(_DICOM))
        value = one(rng, _DICOM[keyword])
        setattr(dataset, keyword, value)
        if keyword == "PixelPaddingValue":
            dataset[keyword].VR = "US"
    elif kind == "lose":
        keyword = one(rng, [word for word in (*_DICOM, "PixelData") if word in dataset])
        delattr(dataset, keyword)
    elif kind == "pixels":
        pixels = dataset.PixelData
        start = pixels[:8] if dataset["PixelData"].is_undefined_length else b""
        half = pixels[: len(pixels) // 4 * 2]
        dataset["PixelData"].value = one(rng, [start, half, pixels + b"\1" * 64, pixels * 2, start + b"\xff" * 64])
    elif kind == "syntax":
        dataset.file_meta.TransferSyntaxUID = f"1.2.840.10008.1.2{one(rng, _SYNTAXES)}"
        start = whole.find(b"1.2.840.10008.1.2")
        stated = str(dataset.file_meta.TransferSyntaxUID).encode()
        return whole[:start] + stated + whole[start + len(stated) :]
    else:
        inner = Dataset()
        for _ in range(one(rng, [10, 200])):
            outer = Dataset()
            outer.ReferencedImageSequence = [inner]
            inner = outer
        dataset.ReferencedImageSequence = [inner]
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue().replace(WORD.encode(), b"words")


def damage_safetensors(rng, whole):
    """The header's length, a tensor's type, shape or place, or a value of the recipe that it carries."""
    length = struct.unpack("<Q", whole[:8])[0]
    header, tensors = whole[8 : 8 + length], whole[8 + length :]
    kind = one(rng, ["length", "header", "header", "recipe", "recipe", "recipe", "type"])
    if kind == "length":
        return struct.pack("<Q", one(rng, [*COUNTS[:-2], length - 1, length + 1])) + whole[8:]
    tree = json.loads(header)
    if kind == "recipe":
        about = tree["__metadata__"]
        about["recipe"] = damage_json(rng, about["recipe"].encode()).decode("utf-8", "replace")
        header = json.dumps(tree).encode()
    elif kind == "type":
        name = one(rng, [key for key in tree if key != "__metadata__"])
        tree[name]["dtype"] = one(rng, ["F16", "BF16", "F64", "I8", "U8", "BOOL", "F8_E4M3", "I64", "C64", "x"])
        if rng.random() < 0.5:  # so that its length is right, in eighths
            width = {"F16": 2, "BF16": 2, "F64": 8, "I64": 8, "C64": 8}.get(tree[name]["dtype"], 1)
            first, last = tree[name]["data_offsets"]
            tree[name]["shape"] = [(last - first) // width]
        header = json.dumps(tree).encode()
    else:
        header = damage_json(rng, header)
    return struct.pack("<Q", len(header)) + header + tensors


_DOUBLING = b"2\x86" * 60  # a tuple of the last value, twice
_GROWING = (
    *(b"]" + _DOUBLING, b"}K\1" + _DOUBLING + b"K\1s", b"}]" + _DOUBLING + b"K\1s", b"(" * DEEP, b"]" * DEEP),
    *(b"X\xff\xff\xff\xffa", b"\x8e" + b"\xff" * 7 + b"\0a", b"r\xff\xff\xff\x7f", b"\x8b\xff\xff\xff\x7f1"),
    b"]" * 900_000 + b"a" * 899_999,
)


def damage_pickle(rng, whole):
    """An argument of one opcode changed, an opcode doubled, or a pickle that grows without bound."""
    if rng.random() < 0.1:
        return b"\x80\x04" + one(rng, _GROWING) + b"."
    codes = [(argument, at) for _, argument, at in pickletools.genops(whole)]
    number = int(rng.integers(len(codes)))
    argument, at = codes[number]
    end = codes[number + 1][1] if number + 1 < len(codes) else len(whole)
    if isinstance(argument, int) and not isinstance(argument, bool) and rng.random() < 0.8:
        changed = pickle.dumps(one(rng, [*COUNTS, -1]), 2)[2:-1]
    elif isinstance(argument, str) and rng.random() < 0.7:
        word = one(rng, ["posix system", "numpy ndarray", "builtins eval", "image", "masks", "|O", "V8", "", "x" * 99])
        changed = f"c{word.replace(' ', chr(10))}\n".encode() if " " in word else pickle.dumps(word, 2)[2:-1]
    else:
        changed = one(
            rng, [b"", whole[at:end] * 2, b"N", b"]", b"}", b"0", b"2", b"R", b"b", b"\x85", b"\x81", b"e", b"s"]
        )
    return whole[:at] + changed + whole[end:]


def damage_hdf5(rng, whole):
    """A dataset of another shape, type, filter or kind, or a name that leads elsewhere."""
    buffer = io.BytesIO(whole)
    with h5py.File(buffer, "r+") as file:
        group = file[one(rng, list(file))]
        name = one(rng, ["images", "labels", "uids"])
        values = group[name][()]
        del group[name]
        kind = one(rng, ["claims", "type", "shape", "link", "filter", "strings", "lost", "group"])
        if kind == "claims":
            shape = (one(rng, [2**20, 2**40]), *values.shape[1:])
            group.create_dataset(name, shape, values.dtype, chunks=values.shape, compression="gzip")
        elif kind == "type":
            kinds = ["f8", "i8", "u2", "c8", "S8", "bool", np.dtype([("a", "u1")]), h5py.ref_dtype, h5py.string_dtype()]
            group.create_dataset(name, values.shape, one(rng, kinds))
        elif kind == "shape":
            group[name] = one(rng, [values[None], values[:0], values.ravel(), values.swapaxes(0, -1), np.float32(1)])
        elif kind == "link":
            group[name] = one(rng, [h5py.SoftLink("/nowhere"), h5py.SoftLink(group.name), h5py.ExternalLink("x", "/a")])
        elif kind == "filter":
            group.create_dataset(
                name, data=values, chunks=values.shape, fletcher32=True, shuffle=True, compression="lzf"
            )
        elif kind == "strings":
            group[name] = ["x", "\u202e"]
        elif kind == "group":
            group.create_group(name)
    return buffer.getvalue()


_CELLS = (
    *(
        "",
        "NaN",
        "inf",
        "1e999",
        "-1",
        "0",
        "=1+1",
        "@x",
        "a" * 200_000,
        '"',
        "\0",
        "\x1b[31m",
        "\u202e",
        "x",
        "9" * DIGITS,
    ),
    *("../x", "/etc/passwd", "a/b", ".", "\ud800", "1_0", "\u0663", "1.5", "-0", " 1 "),
)


def damage_csv(rng, whole):
    """A cell, a row or a column changed; another encoding or delimiter."""
    text = whole.decode()
    if rng.random() < 0.15:
        others = [
            text.encode("utf-16"),
            b"\xef\xbb\xbf" + whole,
            text.replace(",", ";").encode(),
            text.replace("\n", "\r").encode(),
        ]
        return one(rng, [*others, b"", b"\n\n\n", whole + b"\xff\xfe\n", whole + b'"'])
    rows = list(csv.reader(io.StringIO(text)))
    kind = one(rng, ["cell"] * 6 + ["lose", "double", "wide", "narrow", "head", "swap"])
    row = int(rng.integers(len(rows)))
    column = int(rng.integers(len(rows[row])))
    if kind == "cell":
        rows[row][column] = one(rng, _CELLS)
    elif kind == "lose":
        del rows[row]
    elif kind == "double":
        rows.insert(row, list(rows[row]))
    elif kind == "wide":
        rows[row].append("x")
    elif kind == "narrow":
        del rows[row][column]
    elif kind == "head":
        rows = [*rows[1:], rows[0]]
    else:
        other = int(rng.integers(len(rows)))
        rows[row], rows[other] = rows[other], rows[row]
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue().encode("utf-8", "surrogatepass")


def damage_toml(rng, whole):
    """A value replaced, a line lost, doubled or misspelt; numbers and tables beyond all measure."""
    lines = whole.decode().splitlines()
    number = one(rng, [number for number, line in enumerate(lines) if line.strip()])
    line = lines[number]
    kind = one(rng, ["value"] * 6 + ["lose", "double", "misspell", "deep", "encoding"])
    if kind == "value" and "=" in line:
        values = [*TOKENS, "inf", "nan", "1979-05-27", "'''x'''", "0x" + "f" * 4000, "{a = 1}", "[1, 'a']"]
        lines[number] = f"{line.partition('=')[0]}= {one(rng, values)}"
    elif kind == "lose":
        del lines[number]
    elif kind == "double":
        lines.insert(number, line)
    elif kind == "misspell":
        lines[number] = line.replace("e", "é", 1)
    elif kind == "deep":
        lines.insert(
            number,
            one(rng, ["a." * DEEP + "a = 1", "x = " + "[" * DEEP, "[" + "a." * DEEP + "a]", "x = " + "{a=" * DEEP]),
        )
    elif kind == "encoding":
        text = "\n".join(lines)
        return one(
            rng,
            [
                text.encode("utf-16"),
                b"\xef\xbb\xbf" + text.encode(),
                text.encode() + b"\xff",
                text.replace("\n", "\r").encode(),
            ],
        )
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass")
