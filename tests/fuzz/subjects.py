"""What is spoiled: one small file of each format that is read, and what a plain reading of its bytes gives."""

import csv
import json
import math
import pickle
import shutil
import tomllib
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path

import h5py
import nibabel as nib
import nrrd
import numpy as np
import onnx
import pydicom
import SimpleITK as sitk
import tiny
import torch
from damage import (
    REPLACED,
    damage_csv,
    damage_dicom,
    damage_hdf5,
    damage_itk,
    damage_json,
    damage_nifti,
    damage_npy,
    damage_npz,
    damage_pickle,
    damage_png,
    damage_safetensors,
    damage_tiff,
    damage_toml,
    packed,
    zipped,
)
from dicom_series import OBLIQUE, noise, write_multiframe, write_series
from judge import Subject
from onnx import TensorProto, helper
from PIL import Image
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian
from safetensors.torch import load_file

from plurimask.benchmark.suite import load_suite
from plurimask.datasets.open import open_dataset
from plurimask.datasets.splits import read_case_list
from plurimask.evaluation import COLUMNS, evaluate, read_scores, write_scores
from plurimask.files.dicom_seg import write_dicom_seg
from plurimask.files.locate import open_study
from plurimask.files.mask_sets import read_mask_set, write_mask_set
from plurimask.geometry import Grid
from plurimask.methods.onnx_model import FORMAT, OnnxModel
from plurimask.prepare.packings import open_packing
from plurimask.records import MaskSet
from plurimask.sampling import load
from plurimask.training.checkpoint import load_weights
from plurimask.training.recipe import load_recipe

SHIPPED = Path(pydicom.__file__).parent / "data" / "test_files"
DICOM = (
    *("MR_small_implicit", "MR_small_bigendian", "MR_small_RLE", "SC_rgb_dcmtk_+eb+cr", "SC_rgb_jpeg_gdcm"),
    *(
        "MR_small_jpeg_ls_lossless",
        "JPEGLSNearLossless_16",
        "MR_small_jp2klossless",
        "SC_rgb_gdcm_KY",
        "SC_rgb_small_odd",
    ),
    "dicomdirtests/77654033/CT2/17106",
)
PLAIN_DECODERS = {"1.2.840.10008.1.2.4.80": "pyjpegls", "1.2.840.10008.1.2.4.81": "pyjpegls"}
PLAIN_DECODERS |= {f"1.2.840.10008.1.2.4.{number}": "pillow" for number in (50, 90, 91)}
SIDE = tiny.SIZE
GREY = tiny.image()[0].astype(np.uint8)
MASK = GREY > 120


def subjects(root: Path) -> Iterator[Subject]:
    """One of each kind, each in a folder of its own; each file also with something else in its place."""
    for subject in _subjects(root):
        yield subject
        if subject.family not in ("dicom", "pictures") or subject.file.name in ("grey.png", "frames.dcm"):
            yield replace(subject, family=f"links: {subject.family}", structured=None, replaced=REPLACED)


def _subjects(root: Path) -> Iterator[Subject]:
    weights = tiny.write_weights(root / "tiny.safetensors")
    data = tiny.write_cases(root / "data", count=12)
    picture = root / "picture.png"
    Image.fromarray(GREY).save(picture)
    for part in (_dicom, _nifti, _itk, _pictures, _arrays):
        for path, file, is_right, structured in part(_home(root, part.__name__)):
            yield Subject(part.__name__[1:], path, file, is_right, ("sample", weights, path), structured)
    yield from _mask_sets(_home(root, "masks"), data)
    yield from _cases(_home(root, "cases"), weights)
    yield from _tables(_home(root, "tables"), weights, data)
    yield from _models(_home(root, "models"), picture)
    yield from _packings(_home(root, "packings"))
    yield from _settings(_home(root, "settings"), data)
    yield from _scores(_home(root, "scores"), data)


def _home(root, name):
    (root / name).mkdir()
    return root / name


def _dicom(root):
    (one,) = write_series(root / "one", noise((24, 20, 1)))
    (deflated,) = write_series(root / "deflated", noise((24, 20, 1)), change=_deflate)
    series = write_series(root / "series", noise((8, 6, 3)), orientation=OBLIQUE)
    frames = write_multiframe(root / "frames.dcm", root / "series", (0, 1, 2))
    yield from ((path, path, dicom_is_right, damage_dicom) for path in (one, deflated, frames))
    yield root / "series", series[1], dicom_is_right, damage_dicom
    for name in DICOM:
        copy = root / f"{name.rpartition('/')[2]}.dcm"
        source = SHIPPED / name
        shutil.copyfile(source if source.exists() else source.with_name(f"{source.name}.dcm"), copy)
        yield copy, copy, dicom_is_right, damage_dicom


def _deflate(dataset, number):
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian


def dicom_is_right(path):
    study = open_study(path)
    image, grid = study.case.image, study.case.grid
    found = image if len(image) == 3 else np.moveaxis(image[0].reshape(*image.shape[1:3], -1), -1, 0)
    expected = np.concatenate([plain_dicom(source) for source in study.sources])
    header = pydicom.dcmread(study.sources[0], force=True)
    frames = header.get("PerFrameFunctionalGroupsSequence")
    position = (frames[0].get("PlanePositionSequence", [header])[0] if frames else header).get("ImagePositionPatient")
    placed = not position or grid.affine is None or np.allclose(grid.affine[:3, 3], np.array(position) * [-1, -1, 1])
    with np.errstate(over="ignore"):
        return placed and np.array_equal(found, expected.astype(np.float32))


def plain_dicom(path):
    """(D, H, W) or (3, H, W) modality values by pydicom alone."""
    dataset = pydicom.dcmread(path, force=True)
    syntax = dataset.file_meta.get("TransferSyntaxUID") or ExplicitVRLittleEndian
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.pixel_array_options(decoding_plugin=PLAIN_DECODERS.get(syntax, ""))
    pixels = dataset.pixel_array
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        pixels = pydicom.pixels.apply_color_lut(pixels, dataset)
    turned = dataset.PhotometricInterpretation == "MONOCHROME1" and dataset.SamplesPerPixel == 1
    if turned and dataset.get("Modality") not in ("CT", "PT"):
        pixels = (-1 if dataset.PixelRepresentation else 2**dataset.BitsStored - 1) - pixels.astype(np.int64)
    rescale = dataset
    if "SharedFunctionalGroupsSequence" in dataset:
        shared = dataset.SharedFunctionalGroupsSequence[0]
        rescale = shared.get("PixelValueTransformationSequence", [dataset])[0]
    slope, intercept = rescale.get("RescaleSlope"), rescale.get("RescaleIntercept")
    slope, intercept = (float(value) if value not in (None, "") else use for value, use in ((slope, 1), (intercept, 0)))
    values = pixels * slope + intercept
    if pixels.shape[2:] == (3,) and pixels.shape[0] == dataset.Rows:
        colours = np.moveaxis(values, -1, 0)
        return colours[:1] if (colours == colours[0]).all() else colours
    return values.reshape(-1, dataset.Rows, dataset.Columns)


def _nifti(root):
    for name, change, kind in (
        ("volume.nii", damage_nifti, nib.Nifti1Image),
        ("packed.nii.gz", packed(damage_nifti), nib.Nifti1Image),
        ("second.nii", None, nib.Nifti2Image),
    ):
        nib.save(kind(noise(), np.diag([0.7, 0.6, 2.5, 1])), root / name)
        yield root / name, root / name, nifti_is_right, change


def nifti_is_right(path):
    case = open_study(path).case
    volume = plain_nifti(path)
    with np.errstate(all="ignore"):
        values = np.asanyarray(volume.dataobj).astype(np.float32).reshape(case.image.shape[1:])
    mm = {"meter": 1e3, "micron": 1e-3}.get(volume.header.get_xyzt_units()[0], 1.0)
    affines = [volume.affine] if volume.affine.any() else [volume.get_qform(), np.eye(4)]
    placed = case.grid.affine is None or any(np.allclose(case.grid.affine[:3], mm * one[:3]) for one in affines)
    return placed and np.array_equal(case.image[0], values)


def plain_nifti(path):
    kind = nib.Nifti2Image if nib.Nifti2Image.path_maybe_image(path)[0] else nib.Nifti1Image
    return kind.from_filename(path)


def _itk(root):
    volume = sitk.GetImageFromArray(np.moveaxis(noise(), -1, 0))
    volume.SetSpacing((0.7, 0.6, 2.5))
    for name, packing in {"raw.nrrd": False, "packed.nrrd": True, "raw.mha": False, "packed.mha": True}.items():
        sitk.WriteImage(volume, root / name, packing)
        yield root / name, root / name, itk_is_right, damage_itk


def itk_is_right(path):
    case, affine = open_study(path).case, open_study(path).case.grid.affine
    if path.suffix == ".nrrd":
        values, header = nrrd.read(str(path))
        signs, origin = (-1 if "left-p" in header.get("space", "left-p") else 1), header.get("space origin", [0, 0, 0])
    else:
        volume = sitk.ReadImage(path)
        signs, values, origin = -1, sitk.GetArrayFromImage(volume).T, volume.GetOrigin()
    with np.errstate(over="ignore"):
        same = np.array_equal(case.image[0], values.astype(np.float32))
    return same and (affine is None or np.allclose(affine[1, 3], signs * float(origin[1])))


def _pictures(root):
    colour = np.dstack([GREY] * 2 + [255 - GREY])
    palette = Image.fromarray(colour).quantize(16)
    for name, picture in {
        "grey.png": Image.fromarray(GREY),
        "deep.png": Image.fromarray(GREY.astype(np.uint16) * 200),
        "colour.png": Image.fromarray(colour),
        "bits.png": Image.fromarray(MASK),
        "palette.png": palette,
        "grey.jpg": Image.fromarray(GREY),
        "colour.jpg": Image.fromarray(colour),
    }.items():
        picture.save(root / name)
        yield root / name, root / name, picture_is_right, damage_png if name.endswith(".png") else None
    grey = Image.fromarray(GREY)
    for name, picture, more in (
        ("grey.tif", grey, {"compression": "tiff_lzw"}),
        ("deep.tif", Image.fromarray(GREY.astype(np.uint16) * 200), {}),
        (
            "pages.tif",
            Image.fromarray(GREY.astype(np.float32)),
            {"save_all": True, "append_images": [grey.convert("F")] * 2},
        ),
    ):
        picture.save(root / name, **more)
        yield root / name, root / name, tiff_is_right, damage_tiff


def tiff_is_right(path):
    image, picture = open_study(path).case.image, Image.open(BytesIO(path.read_bytes()))
    pages = image[..., None] if picture.n_frames == 1 else image
    return pages.shape[-1] == picture.n_frames and all(
        _page_is_right(pages[..., number], picture, number) for number in range(picture.n_frames)
    )


def _page_is_right(page, picture, number):
    picture.seek(number)
    if picture.mode in ("1", "F") or picture.mode.startswith("I"):
        return np.array_equal(page[0], np.asarray(picture).astype(np.float32))
    colour = np.moveaxis(np.asarray(picture.convert("RGB")), -1, 0)
    return np.array_equal(np.broadcast_to(page, colour.shape), colour)


def picture_is_right(path):
    image, picture = open_study(path).case.image, Image.open(BytesIO(path.read_bytes()))
    if picture.mode.startswith("I"):
        return np.array_equal(image[0], np.asarray(picture))
    if picture.mode == "1":
        return np.array_equal(image[0], plain_mask(np.asarray(picture)))
    colour = np.moveaxis(np.asarray(picture.convert("RGB")), -1, 0)
    return np.array_equal(np.broadcast_to(image, colour.shape), colour)


def plain_mask(values, lossy=False):
    """Labels as docs/data.md has them."""
    if values.dtype.kind == "b":
        return values.view(np.uint8) != 0
    if values.dtype.kind == "f":
        return values > 0.5
    if not lossy and np.isin(values, (0, 1)).all():
        return values == 1
    return values > np.iinfo(values.dtype).max // 2


def _arrays(root):
    for name, pixels in {"plane.npy": GREY, "volume.npy": noise().astype(np.float32)}.items():
        np.save(root / name, pixels)
        yield root / name, root / name, array_is_right, damage_npy


def array_is_right(path):
    image = open_study(path).case.image
    with np.errstate(over="ignore"):
        return np.array_equal(image[0], np.load(path).astype(np.float32).reshape(image.shape[1:]))


def _mask_sets(root, data):
    masks = np.stack([MASK, GREY > 50])
    described = MaskSet("case-00", masks, Grid(MASK.shape), "any", (1, 2), "0" * 64, {"model": "m", "steps": 3})
    forms = {"stored": zipfile.ZIP_STORED, "deflated": zipfile.ZIP_DEFLATED, "bzip2": zipfile.ZIP_BZIP2}
    for form, how in (forms | {"lzma": zipfile.ZIP_LZMA}).items():
        folder = root / form / "case-00"
        write_mask_set(folder, described)
        with zipfile.ZipFile(folder / "masks.npz") as archive:
            content = archive.read("masks.npy")
        (folder / "masks.npz").write_bytes(zipped({"masks.npy": content}, how))
        yield _set("npz", folder, folder / "masks.npz", data, damage_npz)
    folder = root / "described" / "case-00"
    write_mask_set(folder, described)
    yield _set("set.json", folder, folder / "set.json", data, damage_json)
    folder = _home(_home(root, "npy"), "case-00")
    np.save(folder / "masks.npy", masks)
    yield _set("masks.npy", folder, folder / "masks.npy", data, damage_npy)
    folder = _home(_home(root, "nifti"), "case-00")
    stack = np.moveaxis(masks, 0, -1)[:, :, None].astype(np.uint8)
    nib.save(nib.Nifti1Image(stack, np.diag([-1, -1, 1, 1])), folder / "masks.nii.gz")
    yield _set("masks.nii.gz", folder, folder / "masks.nii.gz", data, packed(damage_nifti))
    folder = _home(_home(root, "samples"), "case-00")
    for number, mask in enumerate(masks):
        Image.fromarray(mask).save(folder / f"sample{number}.png")
    yield _set("sample.png", folder, folder / "sample1.png", data, damage_png)
    folder = _home(_home(root, "seg"), "case-00")
    write_series(root / "source", noise((SIDE, SIDE, 1)))
    study = open_study(root / "source")
    write_dicom_seg(folder, replace(described, grid=study.case.grid), study.sources)
    yield _set("samples.dcm", folder, folder / "samples.dcm", data, damage_dicom)


def _set(family, folder, file, data, structured):
    return Subject(family, folder, file, masks_are_right, ("evaluate", folder.parent, "--data", data), structured)


def masks_are_right(folder):
    found = read_mask_set(folder)
    return np.array_equal(found.masks, _plain_masks(folder)) and _described(folder / "set.json", found)


def _plain_masks(folder):
    if (folder / "masks.npz").exists():
        with np.load(folder / "masks.npz") as archive:
            return plain_mask(archive["masks"] if "masks" in archive else archive[archive.files[0]])
    if (folder / "samples.dcm").exists():
        return plain_segments(folder / "samples.dcm")
    if (folder / "masks.npy").exists():
        return plain_mask(np.load(folder / "masks.npy"))
    if (folder / "masks.nii.gz").exists():
        values = np.moveaxis(np.asanyarray(plain_nifti(folder / "masks.nii.gz").dataobj), -1, 0)
        values = values[..., 0] if values.shape[-1] == 1 else values
        return np.stack([plain_mask(one) for one in values])
    return np.stack([plain_label(path) for path in sorted(folder.glob("*.png")) if not path.is_dir()])


def plain_segments(path):
    """The masks of a plane's segments by pydicom alone."""
    dataset = pydicom.dcmread(path, force=True)
    frames = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns).astype(bool)
    masks = np.zeros((len(dataset.SegmentSequence), *frames.shape[1:]), dtype=bool)
    for frame, groups in zip(frames, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        masks[groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber - 1] = frame
    return masks


def plain_label(path):
    """The mask of one file."""
    if path.name.endswith(".npy"):
        values = np.load(path)
        return plain_mask(values.reshape(values.shape[-2:]) if values.ndim == 3 else values)
    if ".nii" in path.name:
        values = np.asanyarray(plain_nifti(path).dataobj)
        return plain_mask(values.reshape(values.shape[:3]))
    picture = Image.open(BytesIO(path.read_bytes()))
    grey = picture.mode in ("1", "L") or picture.mode.startswith("I")
    return plain_mask(np.asarray(picture if grey else picture.convert("L")), picture.format == "JPEG")


def _described(path, found):
    """Whether a set says what its set.json does, key by key."""
    if not path.exists():
        return True
    stated = json.loads(path.read_bytes())
    facts = {
        "name": found.name,
        "method": found.method,
        "checkpoint": found.checkpoint,
        "settings": dict(found.settings),
    }
    facts["seeds"] = None if found.seeds is None else list(found.seeds)
    affine = (stated.get("grid") or {}).get("affine")
    placed = affine is None or np.allclose(found.grid.affine, affine)
    return placed and all(stated[key] in (None, fact) for key, fact in facts.items() if key in stated)


def _cases(root, weights):
    plane = _home(root, "plane")
    Image.fromarray(GREY).save(plane / "image.png")
    Image.fromarray(MASK).save(plane / "label0.png")
    np.save(plane / "label1.npy", MASK)
    Image.fromarray(MASK.astype(np.uint8) * 255).save(plane / "label2.jpg", quality=95)
    volume = _home(root, "volume")
    drawn = noise((8, 6, 3)) > 2000
    for name, values in {
        "image": noise((8, 6, 3)),
        "label0": drawn.astype(np.uint8),
        "label1": drawn.astype(np.float32),
    }.items():
        nib.save(nib.Nifti1Image(values, np.diag([0.7, 0.6, 2.5, 1])), volume / f"{name}.nii.gz")
    for file, structured in (
        (plane / "label0.png", damage_png),
        (plane / "label1.npy", damage_npy),
        (plane / "label2.jpg", None),
        (volume / "label0.nii.gz", packed(damage_nifti)),
        (volume / "label1.nii.gz", packed(damage_nifti)),
    ):
        yield Subject(
            "readers' masks", file.parent, file, readers_are_right, ("sample", weights, file.parent), structured
        )


def readers_are_right(folder):
    case = open_study(folder).case
    files = sorted(folder.glob("label*"))
    return np.array_equal(case.readers, np.stack([plain_label(path).reshape(case.grid.shape) for path in files]))


def _tables(root, weights, data):
    small = tiny.write_cases(root / "small", count=5)
    (small / "split.csv").write_text(
        "patient,side\n"
        + "".join(f"patient-{k},{s}\n" for k, s in enumerate(["train", "val", "test", "train", "test"]))
    )
    for name in ("patients.csv", "split.csv"):
        yield Subject(
            "tables", small, small / name, table_is_right, ("sample", weights, small, "--count", 1), damage_csv
        )
    chosen = root / "cases.txt"
    chosen.write_text("# some\ncase-01\ncase-04\n")
    yield Subject("tables", chosen, chosen, list_is_right, ("sample", weights, data, "--count", 1, "--cases", chosen))
    release = _home(root, "release")
    _write_release(release)
    for name, structured in (("index.csv", damage_csv), ("masks.npz", damage_npz), ("images/p0.png", damage_png)):
        yield Subject(
            "lidc-slices", release, release / name, release_is_right, ("sample", weights, release), structured
        )


def table_is_right(root):
    dataset = open_dataset(root)
    patients, sides = (_pairs(root / name) for name in ("patients.csv", "split.csv"))
    return dataset.patients == tuple(patients.get(name) for name in dataset.names) and dict(dataset.sides) == sides


def _pairs(path):
    with path.open(newline="", encoding="utf-8-sig") as file:
        return {
            row[0].strip(): row[1].strip() for row in list(csv.reader(file))[1:] if any(cell.strip() for cell in row)
        }


def list_is_right(path):
    found = list(read_case_list(str(path)))
    lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    return found == [line for line in lines if line and not line.startswith("#")]


def _write_release(root):
    rows = ["row,patient_id,nodule,slice,tile,non_empty_masks,pixel_spacing_mm"]
    masks = np.zeros((4, 4, SIDE, SIDE), dtype=bool)
    for number in range(4):
        masks[number, : number + 1, 2:9, 3 : 6 + number] = True
        rows.append(f"{number},p{number // 2},0,{number},{number % 2},{number + 1},0.7")
    (root / "index.csv").write_text("\n".join(rows) + "\n")
    np.savez_compressed(root / "masks.npz", masks_packed=np.packbits(masks, axis=-1))
    (root / "images").mkdir()
    for patient in range(2):
        Image.fromarray(np.vstack([GREY, 255 - GREY])).save(root / f"images/p{patient}.png")


def release_is_right(root):
    cases = list(open_dataset(root))
    with (root / "index.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if int(row["non_empty_masks"])]
    packed_masks = np.load(root / "masks.npz")["masks_packed"]
    return [case.patient for case in cases] == [row["patient_id"] for row in rows] and all(
        np.array_equal(case.readers, np.unpackbits(packed_masks[int(row["row"])], axis=-1, count=SIDE).astype(bool))
        and np.array_equal(case.image[0], _tile(root, row))
        for case, row in zip(cases, rows, strict=True)
    )


def _tile(root, row):
    strip = np.asarray(Image.open(BytesIO((root / f"images/{row['patient_id']}.png").read_bytes())).convert("L"))
    return strip[int(row["tile"]) * SIDE :][:SIDE]


def _models(root, picture):
    weights = tiny.write_weights(root / "model.safetensors")
    yield Subject("safetensors", weights, weights, weights_are_right, ("sample", weights, picture), damage_safetensors)
    folder = _home(root, "exported")
    _write_exported(folder)
    drawn = ("sample", folder, picture, "--runtime", "onnx", "--count", 2)
    for name, structured in (("panel.json", damage_json), ("encoder.onnx", None), ("denoiser.onnx", None)):
        yield Subject("onnx", folder, folder / name, exported_is_right, drawn, structured)


def weights_are_right(path):
    checkpoint, tensors = load_weights(path), load_file(path)
    state = checkpoint.method.state_dict()
    return state.keys() == tensors.keys() and all(
        torch.equal(state[name], value.float()) or not value.float().isfinite().all() for name, value in tensors.items()
    )


def _write_exported(folder):
    """Nets of a few operations with the inputs and outputs of an export, and the card of the tiny panel."""
    recipe = tiny.recipe(method=_PANEL, sampler={"name": "ddim", "steps": 4}).model_dump(mode="json")
    card = {"format": FORMAT, "weights": "0" * 64, "image_channels": 1, "image_size": SIDE, "patch": 4, "cell": 8}
    card |= {"least": 2, "visible": 0.01, "steps": 2, "latent": 0, "recipe": recipe}
    card["gamma"] = [round(math.cos(t / 20 * 1.5) ** 2, 6) for t in range(21)]
    (folder / "panel.json").write_text(json.dumps(card))
    value = partial(helper.make_tensor_value_info, elem_type=TensorProto.FLOAT)
    nodes = [
        helper.make_node("Sigmoid", ["image"], ["share"]),
        helper.make_node("GlobalAveragePool", ["share"], ["mean"]),
        helper.make_node("Reshape", ["mean", "one"], ["empty"]),
        helper.make_node("AveragePool", ["image"], ["basis"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("AveragePool", ["image"], ["map0"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("AveragePool", ["image"], ["map1"], kernel_shape=[8, 8], strides=[8, 8]),
    ]
    shape, names = ["n", 1, "h", "w"], ("share", "empty", "basis", "map0", "map1")
    outputs = [value(name, shape=["n"] if name == "empty" else shape) for name in names]
    one = helper.make_tensor("one", TensorProto.INT64, [1], [1])
    _save_net(folder / "encoder.onnx", nodes, [value("image", shape=shape)], outputs, [one])
    inputs = [
        value(name, shape=["n"] if name in ("time", "rank") else shape) for name in ("x", "time", "rank", *names[2:])
    ]
    nodes = [
        helper.make_node("Resize", ["basis", "", "scales"], ["large"], mode="nearest"),
        helper.make_node("Tanh", ["large"], ["shape"]),
        helper.make_node("Mul", ["x", "shape"], ["x_0"]),
    ]
    scales = helper.make_tensor("scales", TensorProto.FLOAT, [4], [1, 1, 4, 4])
    _save_net(folder / "denoiser.onnx", nodes, inputs, [value("x_0", shape=shape)], [scales])


_PANEL = {
    "name": "flow",
    "encoder": {"widths": [16, 24, 32], "blocks": 1},
    "denoiser": {"patch": 4, "widths": [32, 32], "blocks": 1},
    "windows": [16],
}


def _save_net(path, nodes, inputs, outputs, constants):
    graph = helper.make_graph(nodes, "net", inputs, outputs, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)


def exported_is_right(folder):
    """Whether it draws whole masks; its nets have no check sum, so other weights are other masks."""
    drawn = load(folder, runtime="onnx").sample(GREY.astype(np.float32), 2)
    again = OnnxModel(folder).masks(GREY.astype(np.float32), 2)
    return drawn.masks.shape == (2, SIDE, SIDE) and np.array_equal(drawn.masks, again)


def _packings(root):
    images = [np.random.default_rng(number).random((12, 12)).astype(np.float32) for number in range(3)]
    masks = [np.random.default_rng(100 + number).random((4, 12, 12)) < 0.3 for number in range(3)]
    records = {
        f"s{k}": {"image": images[k], "masks": list(masks[k].astype(np.uint8)), "series_uid": f"1.2.{k}"}
        for k in range(3)
    }
    for protocol in (2, 4):
        path = root / f"protocol{protocol}.pickle"
        path.write_bytes(pickle.dumps(records, protocol))
        yield _packing("pickle", path, damage_pickle)
    path = root / "data.hdf5"
    with h5py.File(path, "w") as file:
        for number, side in enumerate(("test", "train", "val")):
            file[f"{side}/images"] = images[number][None]
            file[f"{side}/labels"] = np.moveaxis(masks[number], 0, -1)[None].astype(np.uint8)
            file[f"{side}/uids"] = np.array([f"1.2.{number}".encode()])
    yield _packing("hdf5", path, damage_hdf5)


def _packing(family, path, structured):
    is_right = pickle_is_right if family == "pickle" else hdf5_is_right
    return Subject(family, path, path, is_right, ("prepare", "lidc", "--from", path), structured)


def pickle_is_right(path):
    found = list(open_packing(path).slices)
    with path.open("rb") as file:
        content = _NumpyAlone(file, encoding="latin1").load()
    records = list(content.values()) if isinstance(content, dict) else content
    key = next(key for key in ("masks", "labels", "mask", "label") if key in records[0])
    return len(found) == len(records) and all(
        _slice_is_right(one, np.asarray(record["image"]), np.asarray(record.get(key)))
        for one, record in zip(found, records, strict=True)
    )


class _NumpyAlone(pickle.Unpickler):
    def find_class(self, module, name):
        if (module.split(".")[0], name) not in {
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("numpy", "_reconstruct"),
            ("_codecs", "encode"),
            ("numpy", "_frombuffer"),
            ("numpy", "scalar"),
        }:
            raise pickle.UnpicklingError(name)
        return super().find_class(module, name)


def _slice_is_right(found, image, masks):
    case, _ = found
    masks = masks if masks.shape[1:] == case.grid.shape else np.moveaxis(masks, -1, 0)
    with np.errstate(over="ignore"):
        image = image.squeeze().astype(np.float32)
    return np.array_equal(case.image[0], image, equal_nan=True) and np.array_equal(case.readers, plain_mask(masks))


def hdf5_is_right(path):
    found = list(open_packing(path).slices)
    with h5py.File(path) as file:
        groups = [file[side] for side in ("train", "val", "validation", "test") if side in file] or [file]
        expected = [(group["images"][k], group["labels"][k]) for group in groups for k in range(len(group["images"]))]
    return len(found) == len(expected) and all(
        _slice_is_right(one, *pair) for one, pair in zip(found, expected, strict=True)
    )


def _settings(root, data):
    recipe = root / "own.toml"
    tables = tiny.recipe().model_dump(exclude_none=True, exclude_defaults=True)
    recipe.write_text(f"image_size = {tables.pop('image_size')}\n" + "".join(_toml("", tables)))
    yield Subject("toml", recipe, recipe, recipe_is_right, ("train", recipe, "--data", data), damage_toml)
    suite = root / "suite.toml"
    suite.write_text(_SUITE)
    yield Subject("toml", suite, suite, suite_is_right, ("benchmark", suite, "--data", data), damage_toml)


def _toml(prefix, tables):
    for name, table in tables.items():
        plain = {key: value for key, value in table.items() if not isinstance(value, dict)}
        yield f"[{prefix}{name}]\n"
        yield from (f"{key} = {json.dumps(value)}\n" for key, value in plain.items())
        yield from _toml(f"{prefix}{name}.", {key: value for key, value in table.items() if isinstance(value, dict)})


_SUITE = """name = "own"
purpose = "To test."
image_size = 16
batch_size = 2
reference = "unet"
budget = { images = 4 }
probe = { learning_rates = [1e-3] }
scoring = { limit = 2, samples = 2, first = 2 }
[[runs]]
name = "unet"
label = "U-Net"
recipe = "unet"
set = ["method.net.widths=[4]", "method.net.convolutions=1", "training.validation_cases=1"]
"""


def recipe_is_right(path):
    return _says(load_recipe(str(path)).model_dump(mode="json"), tomllib.loads(path.read_text(encoding="utf-8-sig")))


def suite_is_right(path):
    found = load_suite(str(path)).model_dump(mode="json", by_alias=True)
    return _says(found, tomllib.loads(path.read_text(encoding="utf-8-sig")) | {"runs": []})


def _says(found, stated):
    """Whether every value that a file states is what was read of it."""
    if isinstance(stated, dict):
        return all(_says(found.get(key), value) for key, value in stated.items() if key in found)
    return isinstance(stated, list) or found == stated or str(found) == str(stated)


def _scores(root, data):
    cases = {case.name: case for case in open_dataset(data)}
    sets = [MaskSet(name, np.roll(case.readers, 1, axis=1), case.grid, "any") for name, case in list(cases.items())[:4]]
    write_scores(evaluate(sets, cases), root / "own")
    for name, structured in (("scores.csv", damage_csv), ("summary.json", damage_json)):
        yield Subject("scores", root / "own", root / "own" / name, scores_are_right, (), structured)


def scores_are_right(folder):
    found = read_scores(folder)
    with (folder / "scores.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    numbers = [[row.values[key] for key in COLUMNS] for row in found.rows]
    stated = [[float(row[key]) if row[key] else math.nan for key in COLUMNS] for row in rows]
    return [row.name for row in found.rows] == [row["name"] for row in rows] and np.array_equal(
        numbers, stated, equal_nan=True
    )
