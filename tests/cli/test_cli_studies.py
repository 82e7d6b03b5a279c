"""plurimask sample on studies: what it writes and prints, and what it refuses."""

import re
import resource
import sys
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from dicom_series import PATIENT_ID, noise, uid, write_series
from PIL import Image
from pydicom import dcmread
from running import files
from tiny import write_cases, write_weights

import plurimask as pm
from plurimask.files.locate import open_study


@pytest.fixture
def sample(run, weights, out):
    """`plurimask sample` with the tiny weights."""
    return lambda *inputs, count=2: run("sample", weights, *inputs, "--out", out, "--count", count)


@pytest.fixture
def scan(tmp_path):
    """A NIfTI volume whose planes lie across its first axis."""
    pixels = np.random.default_rng(0).normal(size=(4, 24, 30)).astype(np.float32)
    affine = np.array([[0, 0.7, 0, -20], [0, 0, 0.7, 30], [3, 0, 0, -100], [0, 0, 0, 1.0]])
    nib.save(nib.Nifti1Image(pixels, affine), tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


def refused(said, out, *words):
    assert said.refused(*words)
    assert not out.exists()


def test_a_region_of_a_volume_comes_back_on_its_grid(sample, scan, out):
    said = sample(scan, "--roi", "1:3,4:20,0:30")
    assert (said.code, said.out) == (0, f"1 panel of 2 masks in {out}\n")
    assert "scan: 2 of 2 samples reach the edge of the region, which may cut the lesion" in said.err
    written = nib.load(out / "scan/masks.nii.gz")
    masks = np.asanyarray(written.dataobj)
    assert masks.shape == (4, 24, 30, 2)
    np.testing.assert_allclose(written.affine, nib.load(scan).affine, atol=1e-6)
    assert masks[1:3, 4:20].any()
    masks[1:3, 4:20] = 0
    assert not masks.any()


def test_several_regions_are_drawn_as_each_is_alone(run, weights, sample, scan, out, tmp_path):
    regions = ("1:3,4:20,0:30", "0,12,15")
    said = sample(scan, "--roi", regions[0], "--roi", regions[1])
    assert (said.code, said.out) == (0, f"2 panels of 2 masks in {out}\n")
    assert "scan: 2 of 2 samples reach the edge of region-1, which may cut the lesion" in said.err
    for number, region in enumerate(regions, start=1):
        alone = tmp_path / f"alone-{number}"
        assert run("sample", weights, scan, "--roi", region, "--out", alone, "--count", 2).code == 0
        stacks = [nib.load(folder / "scan/masks.nii.gz") for folder in (alone, out / f"region-{number}")]
        assert np.asanyarray(stacks[0].dataobj).any()
        assert np.array_equal(*(np.asanyarray(stack.dataobj) for stack in stacks))


def test_of_several_regions_one_outside_is_refused_before_any_is_drawn(sample, scan, out):
    refused(sample(scan, "--roi", "1:3,4:20,0:30", "--roi", "9,12,15"), out, "region inside the image")


def test_a_dicom_series_gives_dicom_seg_of_its_slices(sample, tmp_path, out):
    paths = write_series(tmp_path / "CT", noise((24, 20, 4)))
    said = sample(tmp_path / "CT", "--roi", "12,10,1:3")
    assert said.code == 0
    assert PATIENT_ID not in said.out + said.err
    written = dcmread(out / "CT/samples.dcm")
    assert (written.Modality, written.Rows, written.Columns) == ("SEG", 24, 20)
    assert written.ReferencedSeriesSequence[0].SeriesInstanceUID == uid("series")
    shown = {
        frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        for frame in written.PerFrameFunctionalGroupsSequence
    }
    assert shown == {dcmread(paths[slice_]).SOPInstanceUID for slice_ in (1, 2)}


def test_a_point_in_mm_is_drawn_on_its_slice(sample, scan, out):
    assert sample(scan, "--roi", "mm:-12,40,-94.2").code == 0  # row 2 of the file, then 11.4 and 14.3
    masks = np.asanyarray(nib.load(out / "scan/masks.nii.gz").dataobj)
    assert masks[2, 3:19, 6:22].any()
    masks[2, 3:19, 6:22] = 0
    assert not masks.any()


def test_the_whole_says_how_long_it_takes_and_what_it_is_worth(sample, scan):
    said = sample(scan, "--whole")
    assert said.code == 0
    assert re.fullmatch(r"scan: about \d+ s; empty tissue will be outlined, since tiny saw lesions alone\n", said.err)


def test_without_a_region_a_larger_study_is_refused(sample, scan, out):
    refused(sample(scan), out, "scan: expected a region (--roi)", "4x24x30", "--whole")


def test_a_small_volume_needs_no_region(sample, tmp_path, out):
    np.save(tmp_path / "small.npy", np.random.default_rng(0).normal(size=(10, 16, 3)))
    said = sample(tmp_path / "small.npy")
    assert (said.code, said.err) == (0, "")
    assert np.load(out / "small/masks.npz")["masks"].shape == (2, 10, 16, 3)


@pytest.fixture
def volumes(tmp_path):
    """A dataset of two volumes whose planes lie across the first axis."""
    affine = np.array([[0, 0.7, 0, -20], [0, 0, 0.7, 30], [3, 0, 0, -100], [0, 0, 0, 1.0]])
    for name, shape in {"one": (3, 24, 30), "two": (2, 16, 16)}.items():
        for file in ("image", "label0"):
            path = tmp_path / "volumes" / name / f"{file}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            values = np.random.default_rng(0).integers(2, size=shape).astype(np.int16)
            nib.save(nib.Nifti1Image(values, affine), path)
    return tmp_path / "volumes"


@pytest.mark.parametrize(
    ("images", "options", "told"),
    [
        ("any-place", [], "resampled to it and back"),
        ("lesion-crops", ["--whole", "--native"], "drawn as it is (--native)"),
    ],
)
def test_volumes_of_a_dataset_are_drawn_as_the_studies_that_they_are(
    run, volumes, out, tmp_path, images, options, told
):
    weights = write_weights(tmp_path / "planes.safetensors", images=images, spacing_mm=1.4)
    said = run("sample", weights, volumes, "--out", out, "--count", 2, *options)
    assert (said.code, told in said.err) == (0, True)
    assert files(out) == {f"{name}/{file}" for name in ("one", "two") for file in ("masks.npz", "set.json")}
    assert run("sample", weights, volumes / "one", "--out", tmp_path / "study", "--count", 2, *options).code == 0
    masks = np.asanyarray(nib.load(tmp_path / "study/one/masks.nii.gz").dataobj)
    assert masks.shape == (3, 24, 30, 2)
    assert np.array_equal(np.moveaxis(pm.read_mask_set(out / "one").masks, 0, -1), masks)


def test_cases_are_drawn_at_their_own_spacing_to_be_scored_where_asked_for(run, volumes, out, tmp_path):
    weights = write_weights(tmp_path / "planes.safetensors", images="any-place", spacing_mm=1.4)
    for options, brought in (((), True), (("--native",), False)):
        scored = run(
            "evaluate", "--model", weights, "--data", volumes, "--split", "all", "--out", out, "--count", 2, *options
        )
        assert scored.code == 0, scored.err
        assert ("resampled_mm" in pm.read_mask_set(out / "masks/one").settings) == brought
    masks = out / "masks"
    assert run("evaluate", masks, "--data", volumes, "--out", out, "--native").refused("--native: expected --model")


def test_cases_of_a_dataset_are_written_in_another_format_where_asked_for(sample, tmp_path, out):
    assert sample(write_cases(tmp_path / "data", count=1), "--format", "png").code == 0
    assert {"case-00/sample1.png", "case-00/measurements.csv"} < files(out)


def grey(path, shape):
    pixels = np.random.default_rng(0).integers(256, size=shape).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_a_plane_of_the_models_size_is_written_as_before(sample, tmp_path, out):
    assert sample(grey(tmp_path / "plane.png", (16, 16))).code == 0
    assert files(out) == {"plane/masks.npz", "plane/set.json"}


def test_another_format_is_written_where_asked_for(sample, tmp_path, out):
    assert sample(grey(tmp_path / "plane.png", (16, 16)), "--format", "nifti").code == 0
    assert "plane/masks.nii.gz" in files(out)


def test_dicom_seg_of_a_picture_is_refused_before_it_is_drawn(sample, tmp_path, out):
    said = sample(grey(tmp_path / "plane.png", (16, 16)), "--format", "dicom-seg")
    refused(said, out, "plane: expected a DICOM study for DICOM SEG", "picture")


def test_a_folder_of_other_files_is_refused_before_it_is_drawn(sample, scan, out):
    (out / "scan").mkdir(parents=True)
    (out / "scan/notes.txt").write_text("mine")
    said = sample(scan, "--roi", "1,12,12")
    assert (said.code, files(out)) == (2, {"scan/notes.txt"})
    assert "notes.txt" in said.err


@pytest.fixture
def unasked(monkeypatch):
    """Ends the test where a model is asked."""

    def asked(*_, **__):
        raise AssertionError("the model was asked")

    monkeypatch.setattr("plurimask.sampling.study.draw_area", asked)
    monkeypatch.setattr("plurimask.sampling.model.draw_masks", asked)


def test_dicom_seg_without_a_frame_of_reference_is_refused_before_the_model_is_asked(sample, tmp_path, out, unasked):
    def spoil(dataset, number):
        del dataset.FrameOfReferenceUID

    write_series(tmp_path / "CT", noise((24, 20, 4)), change=spoil)
    said = sample(tmp_path / "CT", "--roi", "12,10,1:3")
    refused(said, out, "expected a header that a DICOM SEG can refer to", "choose --format nifti")


def test_the_outputs_of_all_studies_are_checked_before_the_first_is_drawn(sample, tmp_path, out, unasked):
    write_series(tmp_path / "CT", noise((12, 10, 2)))
    picture = grey(tmp_path / "plane.png", (16, 16))
    refused(sample(tmp_path / "CT", picture, "--format", "dicom-seg"), out, "plane: expected a DICOM study", "nifti")
    refused(sample(picture, grey(tmp_path / "large.png", (40, 40))), out, "large: expected a region")


@pytest.mark.parametrize("inputs", [["plane.png"], ["cases"], ["plane.png", "--format", "nifti"]])
def test_a_folder_that_cannot_be_written_is_refused_before_the_model_is_asked(run, weights, tmp_path, inputs, unasked):
    grey(tmp_path / "plane.png", (16, 16))
    write_cases(tmp_path / "cases", count=1)
    first, *options = inputs
    assert run("sample", weights, tmp_path / first, *options, "--out", "/proc/masks").refused("/proc", "permissions")
    (tmp_path / "file").touch()
    said = run("sample", weights, tmp_path / first, *options, "--out", tmp_path / "file/masks")
    assert said.refused("expected a folder, got a file", "name another --out")


@pytest.mark.parametrize(("most", "reads"), [(2**30, ["a", "b", "c"]), (0, ["a", "b", "c", "b", "c"])])
def test_studies_are_read_once_as_long_as_they_are_small(sample, tmp_path, out, monkeypatch, most, reads):
    read = []
    monkeypatch.setattr("plurimask.cli.draw._KEPT_BYTES", most)
    monkeypatch.setattr("plurimask.files.locate.open_study", lambda path: read.append(path.stem) or open_study(path))
    assert sample(*(grey(tmp_path / f"{name}.png", (16, 16)) for name in "abc"), count=1).code == 0
    assert read == reads


def test_too_little_room_is_refused_before_the_model_is_asked(sample, scan, out, unasked, monkeypatch):
    monkeypatch.setattr("plurimask.files.atomic.shutil.disk_usage", lambda place: SimpleNamespace(free=100))
    refused(sample(scan, "--whole"), out, "expected room for", "MiB free", "draw less")


@pytest.mark.parametrize("options", [["--roi", "1,2"], ["--format", "dicom-seg"]])
def test_options_of_studies_are_refused_for_a_dataset(sample, tmp_path, out, options):
    dataset = write_cases(tmp_path / "cases", count=2)
    refused(sample(dataset, *options), out, options[0])


@pytest.mark.parametrize(
    ("text", "said"), [("here", "a point or a box"), ("0:9,0:24,0:30", "inside the image, 0:4,0:24,0:30")]
)
def test_a_wrong_region_is_refused(sample, scan, out, text, said):
    refused(sample(scan, "--roi", text), out, "--roi: expected", said)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on the memory of a process")
def test_more_masks_than_memory_holds_are_refused_in_one_line(sample, tmp_path, out):
    np.save(tmp_path / "scan.npy", np.random.default_rng(0).normal(size=(64, 64, 64)).astype(np.float32))
    before, used = resource.getrlimit(resource.RLIMIT_AS), int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (used * resource.getpagesize() + 2**29, before[1]))
    try:
        said = sample(tmp_path / "scan.npy", "--whole", count=8192)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    assert (said.code, said.err.count("\n"), out.exists()) == (2, 1, False)
    assert "plurimask: memory: expected enough for the work, got too little (Unable to allocate 2.00 GiB" in said.err
