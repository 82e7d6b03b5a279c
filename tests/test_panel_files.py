"""Panels on disk for other programs: every format read back, and everything that is refused."""

import csv
import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from dicom_series import OBLIQUE, noise, write_series
from PIL import Image

import plurimask as pm
from plurimask.errors import InputError, SettingsError
from plurimask.files.locate import Study, open_study
from plurimask.files.mask_sets import MaskSets, read_mask_set
from plurimask.geometry import Grid, lps_to_ras
from plurimask.panel_files import write_panel
from plurimask.records import Case, MaskSet

BESIDE = {"set.json", "measurements.csv", "measurements-summary.csv"}
PLANE = Grid.plane((12, 14), 0.5)


def oblique(spacing: tuple[float, float, float], flip: int | None = None) -> np.ndarray:
    """An affine with its axes turned in space, of which one may be mirrored."""
    turn, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
    steps = np.array(spacing)
    if flip is not None:
        steps[flip] *= -1
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn * steps, (-101.25, 33.5, -310.123)
    return affine


def panel_on(grid: Grid, count: int = 4) -> MaskSet:
    """Random masks, of which the third is empty."""
    masks = np.zeros((count, *grid.shape), dtype=bool)
    masks[:, 2:7, 3:9] = np.random.default_rng(1).random(masks[:, 2:7, 3:9].shape) < 0.6
    masks[2] = False
    return MaskSet("case 7", masks, grid, "cimd", tuple(range(count)), "ab" * 32, {"steps": 10})


def study_of(panel: MaskSet, format: str, *sources: Path) -> Study:
    image = np.random.default_rng(0).random((1, *panel.grid.shape), dtype=np.float32)
    nobody = np.zeros((0, *panel.grid.shape), dtype=bool)
    return Study(Case(panel.name, image, nobody, panel.grid), format, sources)


def nifti_source(path: Path, affine: np.ndarray, shape: tuple[int, ...], unit: str = "mm") -> Path:
    image = nib.Nifti1Image(np.zeros(shape, dtype=np.int16), affine)
    image.set_qform(affine, 1)
    image.set_sform(affine, 2)
    image.header.set_xyzt_units(unit)
    image.to_filename(path)
    return path


def names_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def volume(tmp_path: Path) -> tuple[MaskSet, Study, Path]:
    """A panel on a volume, its NIfTI study, and where it is written."""
    affine = oblique((0.7, 0.6, 2.5), flip=1)
    source = nifti_source(tmp_path / "case 7.nii", affine, (12, 14, 5))
    panel = panel_on(Grid((12, 14, 5), nib.load(source).affine))
    return panel, study_of(panel, "nifti", source), tmp_path / "out" / "case 7"


@pytest.fixture
def picture(tmp_path: Path) -> tuple[MaskSet, Study, Path]:
    """A panel on a picture of unknown spacing, its study, and where it is written."""
    panel = panel_on(Grid((12, 14)))
    return panel, study_of(panel, "picture", tmp_path / "case 7.png"), tmp_path / "out" / "case 7"


def test_nifti_gives_the_samples_and_three_maps(volume):
    panel, study, folder = volume
    paths = write_panel(folder, panel, study)
    expected = {"masks.nii.gz", *(f"maps/{name}.nii.gz" for name in ("consensus-50", "entropy", "frequency"))}
    assert names_in(folder) == expected | BESIDE
    assert {path.relative_to(folder).as_posix() for path in paths} == names_in(folder)


@pytest.mark.parametrize("flip", [None, 0, 1, 2])
def test_simpleitk_finds_the_samples_where_they_were(tmp_path, flip):
    affine = oblique((0.7, 0.6, 2.5), flip)
    panel = panel_on(Grid((12, 14, 5), affine))
    write_panel(tmp_path / "case 7", panel, study_of(panel, "dicom"), "nifti")
    image = SimpleITK.ReadImage(tmp_path / "case 7" / "masks.nii.gz")
    assert np.array_equal(SimpleITK.GetArrayFromImage(image).transpose(0, 3, 2, 1), panel.masks)
    volume = image[..., 0]
    corners = [(0, 0, 0), (11, 0, 0), (0, 13, 0), (0, 0, 4), (11, 13, 4)]
    there = np.array([[*volume.TransformIndexToPhysicalPoint(corner), 1.0] for corner in corners]).T
    here = affine @ np.c_[corners, np.ones(5)].T
    assert np.allclose(lps_to_ras(np.eye(4)) @ there, here, rtol=0, atol=1e-3)


@pytest.mark.parametrize("unit", ["mm", "micron", "meter"])
def test_nifti_keeps_unit_and_both_forms_of_its_source_to_the_bit(tmp_path, unit):
    source = nifti_source(tmp_path / "case 7.nii", oblique((0.7, 0.6, 2.5)), (12, 14, 5), unit)
    scale = {"mm": 1.0, "micron": 1e-3, "meter": 1e3}[unit]
    panel = panel_on(Grid((12, 14, 5), np.diag([scale] * 3 + [1.0]) @ nib.load(source).affine))
    write_panel(tmp_path / "out" / "case 7", panel, study_of(panel, "nifti", source))
    theirs, ours = nib.load(source).header, nib.load(tmp_path / "out" / "case 7" / "masks.nii.gz").header
    assert ours.get_xyzt_units()[0] == unit
    for form in ("get_sform", "get_qform"):
        (affine, code), (kept, kept_code) = (getattr(one, form)(coded=True) for one in (theirs, ours))
        assert (kept_code, kept.tolist()) == (code, affine.tolist())


def test_a_plane_becomes_a_volume_of_one_slice(tmp_path):
    panel = panel_on(PLANE)
    write_panel(tmp_path / "case 7", panel, study_of(panel, "picture"), "nifti")
    image = nib.load(tmp_path / "case 7" / "masks.nii.gz")
    assert image.shape == (12, 14, 1, 4)
    assert np.allclose(image.affine, PLANE.affine, rtol=0, atol=1e-6)


def test_paths_may_be_text(volume, tmp_path):
    panel, _, folder = volume
    study = pm.open_study(str(tmp_path / "case 7.nii"))
    assert {path.relative_to(folder).as_posix() for path in pm.write_panel(str(folder), panel, study)} == names_in(
        folder
    )
    pm.write_mask_set(str(tmp_path / "again" / "case 7"), pm.read_mask_set(str(folder)))
    assert (read_mask_set(tmp_path / "again" / "case 7").masks == panel.masks).all()


def test_unknown_spacing_is_said_to_be_unknown(picture):
    panel, study, folder = picture
    write_panel(folder, panel, study, "nifti")
    header = nib.load(folder / "masks.nii.gz").header
    assert (header["sform_code"], header["qform_code"], header.get_xyzt_units()[0]) == (0, 0, "unknown")
    assert read_mask_set(folder).grid.shape == (12, 14)


def test_maps_are_those_of_the_samples(volume):
    panel, study, folder = volume
    write_panel(folder, panel, study)
    frequency, consensus, entropy = (
        np.asarray(nib.load(folder / "maps" / f"{name}.nii.gz").dataobj)
        for name in ("frequency", "consensus-50", "entropy")
    )
    share = panel.masks.mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        bits = -share * np.log2(share) - (1 - share) * np.log2(1 - share)
    assert np.allclose(frequency, share, rtol=0, atol=1e-6)
    assert np.array_equal(consensus, share >= 0.5)
    assert np.allclose(entropy, np.nan_to_num(bits), rtol=0, atol=1e-6)


def test_another_agreement_is_in_the_name_or_refused(volume):
    panel, study, folder = volume
    write_panel(folder, panel, study, agreement=0.75)
    consensus = nib.load(folder / "maps" / "consensus-75.nii.gz").dataobj
    assert np.array_equal(consensus, panel.masks.sum(axis=0) >= 3)
    for agreement in (0.0, 1.01, float("nan")):
        with pytest.raises(SettingsError, match="expected a share above 0, at most 1"):
            write_panel(folder, panel, study, agreement=agreement)


def test_a_picture_gives_a_mask_a_sample_and_two_pictures(picture):
    panel, study, folder = picture
    write_panel(folder, panel, study)
    pictures = {"pictures/outlines.png", "pictures/frequency.png"}
    assert names_in(folder) == {f"sample{number}.png" for number in range(1, 5)} | pictures | BESIDE
    for number, mask in enumerate(panel.masks, start=1):
        assert np.array_equal(np.array(Image.open(folder / f"sample{number}.png")), mask * 255)


def test_a_volume_gives_pictures_alone_also_without_a_mark(volume):
    panel, study, folder = volume
    write_panel(folder, panel, study, "png")
    assert names_in(folder) - BESIDE == {f"pictures/{name}.png" for name in ("outlines", "frequency", "slices")}
    write_panel(folder, replace(panel, masks=np.zeros_like(panel.masks)), study, "png")
    assert Image.open(folder / "pictures" / "slices.png").size[0] > 100


@pytest.mark.parametrize("format", ["nifti", "png", "npz"])
def test_evaluation_reads_what_is_written(picture, format):
    panel, study, folder = picture
    write_panel(folder, panel, study, format)
    read = MaskSets.under(folder.parent)["case 7"]
    assert np.array_equal(read.masks, panel.masks)
    assert (read.method, read.seeds, read.checkpoint, read.settings) == ("cimd", (0, 1, 2, 3), "ab" * 32, {"steps": 10})


@pytest.fixture
def dicom(tmp_path: Path) -> tuple[MaskSet, Path]:
    """A panel of a DICOM study and its folder, with every object in it."""
    write_series(tmp_path / "scan", noise((12, 14, 5)), orientation=OBLIQUE)
    study = open_study(tmp_path / "scan")
    panel = replace(panel_on(study.case.grid), name="scan", weights=(5, 1, 1, 1))
    write_panel(tmp_path / "panels" / "scan", panel, study)
    return panel, tmp_path / "panels" / "scan"


def same(found: MaskSet, panel: MaskSet) -> bool:
    said = [(one.name, one.seeds, one.checkpoint, one.method, one.settings, one.weights) for one in (found, panel)]
    return np.array_equal(found.masks, panel.masks) and found.grid.same_as(panel.grid) and said[0] == said[1]


def test_a_panel_of_a_dicom_study_is_read_as_it_was_drawn(dicom):
    panel, folder = dicom
    assert len(names_in(folder) - BESIDE) == 7
    assert same(read_mask_set(folder), panel)
    assert same(MaskSets.under(folder.parent)["scan"], panel)


def test_objects_from_an_archive_are_a_mask_set_on_the_grid_of_the_case(dicom, tmp_path):
    panel, folder = dicom
    (tmp_path / "found" / "1.2.3").mkdir(parents=True)
    shutil.copy(folder / "samples.dcm", tmp_path / "found" / "1.2.3" / "0001.dcm")
    shutil.copy(folder / "samples.dcm", tmp_path / "found" / "1.2.4.dcm")
    case = open_study(tmp_path / "scan").case
    sets = MaskSets.under(tmp_path / "found")
    assert list(sets) == ["1.2.3", "1.2.4"]
    assert sets["1.2.3"].masks.shape == (4, 12, 14, 5)
    for name in sets:
        found = sets.among({name: case}, sets)[name]
        assert np.array_equal(found.masks, panel.masks)
        assert found.grid is case.grid


def test_a_description_of_another_grid_than_the_objects_is_refused(dicom):
    _, folder = dicom
    path = folder / "set.json"
    description = json.loads(path.read_text())
    description["grid"]["affine"][0][3] += 0.3
    path.write_text(json.dumps(description))
    with pytest.raises(InputError, match=r"samples\.dcm: expected frames in the planes of the image's slices, got one"):
        read_mask_set(folder)


def test_measurements_have_a_row_a_sample_with_units_in_the_header(tmp_path):
    panel = panel_on(PLANE)
    write_panel(tmp_path / "case 7", panel, study_of(panel, "npy"))
    rows = table(tmp_path / "case 7" / "measurements.csv")
    assert list(rows[0]) == ["sample", "seed", "area_mm2", "longest_diameter_mm"]
    assert [row["sample"] for row in rows] == ["1", "2", "3", "4"]
    assert [float(row["area_mm2"]) for row in rows] == pytest.approx(panel.masks.sum(axis=(1, 2)) * 0.25)
    assert (rows[2]["area_mm2"], rows[2]["longest_diameter_mm"]) == ("0", "")


def test_measurements_of_a_representative_panel_say_whom_each_mask_stands_for(tmp_path):
    panel = replace(panel_on(PLANE), weights=(8, 4, 3, 1))
    write_panel(tmp_path / "case 7", panel, study_of(panel, "npy"))
    rows = table(tmp_path / "case 7" / "measurements.csv")
    assert [row["share_of_readers"] for row in rows] == ["0.5", "0.25", "0.1875", "0.0625"]
    assert read_mask_set(tmp_path / "case 7").weights == (8, 4, 3, 1)


def stored_along(axis: int, panel: MaskSet, study: Study) -> tuple[MaskSet, Study]:
    """The same panel and study, as a NIfTI file has them that stores its slices along another axis."""
    image, readers, masks = (
        np.moveaxis(stack, -1, axis + 1) for stack in (study.case.image, study.case.readers, panel.masks)
    )
    grid = Grid(masks.shape[1:], panel.grid.affine[:, [*np.insert([0, 1], axis, 2), 3]])
    padding = np.moveaxis(study.case.padding, -1, axis)
    case = replace(study.case, image=image, readers=readers, grid=grid, padding=padding)
    return replace(panel, masks=masks, grid=grid), replace(study, case=case, format="nifti")


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_diameters_and_pictures_are_those_of_the_slices_whichever_axis_they_are_stored_along(tmp_path, axis):
    panel = panel_on(Grid((12, 14, 5), np.diag([0.5, 0.5, 3.0, 1.0])))
    study = study_of(panel, "dicom")
    study = replace(study, case=replace(study.case, padding=study.case.image[0] < 0.1))
    shown = []
    for number, pair in enumerate([(panel, study), stored_along(axis, panel, study)]):
        paths = write_panel(tmp_path / str(number) / "case 7", *pair, "png")
        shown.append({path.name: path.read_bytes() for path in paths if path.name != "set.json"})
    assert shown[0] == shown[1]
    assert {"measurements.csv", "outlines.png", "slices.png"} < set(shown[0])


def test_summary_says_over_how_many_samples(tmp_path):
    panel = panel_on(PLANE)
    write_panel(tmp_path / "case 7", panel, study_of(panel, "npy"))
    area, diameter = table(tmp_path / "case 7" / "measurements-summary.csv")
    assert (area["quantity"], area["samples"], diameter["samples"]) == ("area_mm2", "4", "3")
    values = panel.masks.sum(axis=(1, 2)) * 0.25
    expected = (values.mean(), *np.quantile(values, (0.5, 0.05, 0.95)))
    assert [float(area[name]) for name in ("mean", "median", "p5", "p95")] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("format", ["nifti", "png"])
def test_all_bytes_are_the_same_every_time(picture, format):
    panel, study, folder = picture
    write_panel(folder, panel, study, "npz")

    def written() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in write_panel(folder, panel, study, format)}

    assert written() == written()
    assert not (folder / "masks.npz").exists()  # nothing is left of a former panel


def test_files_of_others_are_never_replaced(picture):
    panel, study, folder = picture
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(
        SettingsError, match=r"expected a new or empty folder, or that of a panel, got notes\.txt in it"
    ):
        write_panel(folder, panel, study)
    assert names_in(folder) == {"notes.txt"}


def test_a_full_disk_leaves_the_former_panel_and_nothing_else(volume, monkeypatch):
    panel, study, folder = volume
    write_panel(folder, panel, study, "npz")
    before = {name: (folder / name).read_bytes() for name in names_in(folder)}

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        write_panel(folder, panel, study, "nifti")
    assert {name: (folder / name).read_bytes() for name in names_in(folder)} == before
    assert os.listdir(folder.parent) == ["case 7"]


@pytest.mark.parametrize(
    ("format", "message"),
    [
        ("dicom-seg", r"expected a DICOM study for DICOM SEG, .*got one in format nifti"),
        ("tiff", "expected dicom-seg or nifti or png or npz, got tiff"),
    ],
)
def test_a_format_that_cannot_be_is_refused(volume, format, message):
    panel, study, folder = volume
    with pytest.raises(SettingsError, match=message):
        write_panel(folder, panel, study, format)
    assert not folder.exists()


def test_the_panel_of_another_grid_or_case_is_refused(volume):
    panel, study, folder = volume
    with pytest.raises(InputError, match="expected size 12x14x5, as its case has, got 12x14;"):
        write_panel(folder, panel_on(PLANE), study)
    with pytest.raises(InputError, match="expected the panel of case 7, got that of case 8"):
        write_panel(folder, replace(panel, name="case 8"), study)
    with pytest.raises(InputError, match="expected a folder named case 7, got case 8"):
        write_panel(folder.with_name("case 8"), panel, study)
