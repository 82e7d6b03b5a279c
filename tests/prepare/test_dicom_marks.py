"""Readers' masks on DICOM series: SEG, RT Structure Sets and files of other programs, each back to the very voxel."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from dicom_series import AXIAL, OBLIQUE, PATIENT_ID, noise, write_series
from matplotlib.path import Path as Polygon
from pydicom import dcmread
from said import command

import plurimask as pm
from plurimask.datasets.intensity import Intensity
from plurimask.errors import InputError
from plurimask.files.dicom_seg import write_chosen_seg
from plurimask.geometry import Grid
from plurimask.panel_files import write_panel
from plurimask.prepare.dicom_marks import inside, onto, read_marks
from plurimask.records import MaskSet

SHAPE = (16, 18, 6)


def masks_of(count):
    """Outlines with a hole and two parts on slices 1 and 3, each reader's longer than the one before."""
    masks = np.zeros((count, *SHAPE), dtype=bool)
    for index in range(count):
        masks[index, 3 : 9 + index, 4 : 12 + index, 1] = masks[index, 4:7, 4:8, 3] = True
        masks[index, 5:7, 6:9, 1] = False
        masks[index, 13, 15, 3] = True
    return masks


@pytest.fixture(scope="module", params=[AXIAL, OBLIQUE], ids=["axial", "oblique"])
def hospital(request, tmp_path_factory):
    """Series P1/ct with what three readers drew: one SEG a reader, one SEG with a segment a reader, one RTSTRUCT."""
    root = tmp_path_factory.mktemp("hospital")
    write_series(root / "P1" / "ct", noise(SHAPE), orientation=request.param)
    study = pm.open_study(root / "P1" / "ct")
    for reader, mask in enumerate(masks_of(3)):
        panel = MaskSet(study.case.name, mask[None], study.case.grid, "reader")
        write_chosen_seg(root / "P1", panel, study.sources, f"reader {reader}", "")
        (root / "P1" / "chosen.dcm").rename(root / "P1" / f"seg_{reader}.dcm")
    write_panel(root / "out" / study.case.name, MaskSet(study.case.name, masks_of(3), study.case.grid, "x"), study)
    for name in ("samples", "consensus"):
        shutil.move(root / "out" / study.case.name / f"{name}.dcm", root / "P1" / f"{name}.dcm")
    shutil.rmtree(root / "out")
    return root


@pytest.fixture
def prepare(monkeypatch, capsys, tmp_path):
    def call(root, reader, *options, image="{patient}/ct"):
        patterns = "--root", root, "--image", image, "--reader", reader, "--out", tmp_path / "cases"
        options = options if "--volumes" in options else (*options, "--all-slices")
        return command(monkeypatch, capsys, "prepare", "folder", *patterns, *options)

    return call


@pytest.mark.parametrize(
    ("reader", "names"),
    [
        ("{patient}/seg_{reader}.dcm", [f"{{patient}}/seg_{number}.dcm" for number in range(3)]),
        ("{patient}/samples.dcm", ["sample 1", "sample 2", "sample 3"]),
    ],
    ids=["an object a reader", "a segment a reader"],
)
def test_segmentations_give_the_masks_of_the_readers_back(hospital, prepare, tmp_path, reader, names):
    said = prepare(hospital, reader)
    assert said.code == 0, said.err
    assert "6 cases in" in said.out
    assert PATIENT_ID not in said.out + (tmp_path / "cases" / "manifest.json").read_text()
    manifest = json.loads((tmp_path / "cases" / "manifest.json").read_text())
    assert [name.casefold() for name in manifest["readers"]] == names
    cases = pm.open_dataset(tmp_path / "cases")
    read = np.stack([case.readers for case in cases], axis=-1)
    assert np.array_equal(read, masks_of(3))
    series = pm.open_study(hospital / "P1" / "ct").case
    assert np.allclose(np.stack([case.image for case in cases], axis=-1), series.image)
    assert cases[0].grid.spacing_mm == pytest.approx(series.grid.spacing_mm[:2])


def test_a_series_stays_a_volume_where_it_lies(hospital, prepare, tmp_path):
    said = prepare(hospital, "{patient}/seg_{reader}.dcm", "--volumes")
    assert said.code == 0, said.err
    (case,), series = pm.open_dataset(tmp_path / "cases"), pm.open_study(hospital / "P1" / "ct").case
    assert np.array_equal(case.readers, masks_of(3))
    assert np.allclose(case.image, series.image)
    assert np.allclose(case.grid.affine, series.grid.affine, rtol=0, atol=1e-3)


def test_a_structure_set_gives_its_contours_back_and_holes_stay_holes(hospital):
    series = pm.open_study(hospital / "P1" / "ct").case
    (mask,) = read_marks(hospital / "P1" / "consensus.dcm", series.grid).values()
    assert np.array_equal(mask, masks_of(3).sum(0) >= 2)  # at least half of three


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_a_label_of_itk_is_brought_to_the_axes_of_the_series(hospital, prepare, tmp_path, suffix):
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(hospital / "P1" / "ct"))
    scan = sitk.ReadImage(files)
    drawn = sitk.GetArrayFromImage(scan) * 0
    drawn[1, 2:5, 3:9] = drawn[3, 10, 4:12] = 1
    label = sitk.GetImageFromArray(drawn.astype(np.uint8))
    label.CopyInformation(scan)
    sitk.WriteImage(label, str(hospital / "P1" / f"label{suffix}"))
    said = prepare(hospital, f"{{patient}}/label{suffix}")
    assert said.code == 0, said.err
    read = np.stack([case.readers[0] for case in pm.open_dataset(tmp_path / "cases")])
    assert np.array_equal(read, drawn)


def test_several_structures_need_a_choice_where_there_are_several_objects(hospital, prepare, tmp_path):
    shutil.copy(hospital / "P1" / "samples.dcm", hospital / "P1" / "all_1.dcm")
    shutil.copy(hospital / "P1" / "samples.dcm", hospital / "P1" / "all_2.dcm")
    assert prepare(hospital, "{patient}/all_{reader}.dcm").refused("one structure a reader", "--structure")
    assert prepare(hospital, "{patient}/all_{reader}.dcm", "--structure", "liver").refused(
        "a structure liver, got none"
    )
    assert prepare(hospital, "{patient}/all_{reader}.dcm", "--structure", "sample 2").code == 0
    assert all(len(case.readers) == 2 for case in pm.open_dataset(tmp_path / "cases"))


def test_marks_on_another_grid_and_other_objects_are_refused_by_name(hospital, prepare, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(hospital, root)
    shutil.rmtree(root / "P1" / "ct")
    write_series(root / "P1" / "ct", noise(SHAPE), spacing=(0.9, 0.6))
    refused = prepare(root, "{patient}/seg_{reader}.dcm")
    assert refused.refused("seg_0.dcm", "the voxels of the series", "x 0.7 x 0.6 mm")
    slice_of_it = next((root / "P1" / "ct").iterdir())
    shutil.copy(slice_of_it, root / "P1" / "seg_0.dcm")
    assert prepare(root, "{patient}/seg_{reader}.dcm").refused("a DICOM SEG or an RT Structure Set")


def test_contours_between_slices_are_refused(hospital, tmp_path):
    series = pm.open_study(hospital / "P1" / "ct").case
    dataset = dcmread(hospital / "P1" / "consensus.dcm")
    contour = dataset.ROIContourSequence[0].ContourSequence[0]
    step = series.grid.affine[:3, 2] * [-0.5, -0.5, 0.5]  # half a step, in LPS
    contour.ContourData = (np.array(contour.ContourData, dtype=float).reshape(-1, 3) + step).ravel().tolist()
    dataset.save_as(tmp_path / "between.dcm")
    with pytest.raises(InputError, match="expected contours on the slices of the series"):
        read_marks(tmp_path / "between.dcm", series.grid)


def test_a_polygon_encloses_the_middles_that_matplotlib_finds_and_neighbours_share_none():
    rng = np.random.default_rng(0)
    for _ in range(20):
        angle = np.sort(rng.uniform(0, 2 * np.pi, 9))
        points = 15 + rng.uniform(3, 14, (9, 1)) * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        wanted = Polygon(points).contains_points(np.indices((30, 31)).reshape(2, -1).T).reshape(30, 31)
        assert np.array_equal(inside(points, (30, 31)), wanted)
    left, right = ([(0, a), (0, b), (5, b), (5, a)] for a, b in ((0, 3), (3, 7)))
    both = [inside(np.array(points, dtype=float), (8, 8)) for points in (left, right)]
    assert not (both[0] & both[1]).any()
    assert both[0].sum() + both[1].sum() == 5 * 7


def test_voxels_come_to_rest_wherever_their_axes_point():
    values = np.random.default_rng(0).random((4, 5, 6))
    grid = Grid(values.shape, np.diag([0.5, 0.7, 2, 1]) + 0.1 * np.eye(4)[:, ::-1] * [0, 0, 0, 1])
    for codes in ("RAS", "LPI", "SAR", "ILA"):
        turned = nib.as_closest_canonical(nib.Nifti1Image(values, grid.affine))
        transform = nib.orientations.ornt_transform(
            nib.io_orientation(turned.affine), nib.orientations.axcodes2ornt(codes)
        )
        moved = turned.as_reoriented(transform)
        assert np.allclose(onto(Path("a"), moved.get_fdata(), Grid(moved.shape, moved.affine), grid), values)
    part = grid.part((2, 5, 6), np.eye(4) + np.eye(4)[:, [3]] * 0)
    assert np.array_equal(onto(Path("a"), values[:2], part, grid)[2:], np.zeros((2, 5, 6)))
    with pytest.raises(InputError, match="marks beyond it"):
        onto(Path("a"), values, grid, Grid((3, 5, 6), grid.affine))


@pytest.mark.parametrize("depth", [3, 1])
def test_padding_does_not_count_among_percentiles_as_in_sampling(prepare, tmp_path, depth):
    stored = noise((8, 8, depth)) // 4
    stored[:4] = -2000
    write_series(
        tmp_path / "in" / "P1" / "ct", stored, change=lambda one, _: one.add_new("PixelPaddingValue", "SS", -2000)
    )
    case = pm.open_study(tmp_path / "in" / "P1" / "ct").case
    drawn = nib.Nifti1Image((stored > 200).astype("u1"), case.grid.affine)
    drawn.to_filename(tmp_path / "in" / "P1" / "label0.nii.gz")
    said = prepare(tmp_path / "in", "{patient}/label{reader}.nii.gz", "--percentiles", "10,90", "--size", "8")
    assert said.code == 0, said.err
    clipped = Intensity(percentiles=(10, 90)).clip(case).image
    read = np.stack([case.image for case in pm.open_dataset(tmp_path / "cases")], axis=-1)
    assert np.array_equal(read, clipped.reshape(read.shape))
    assert clipped.min() > -1024
