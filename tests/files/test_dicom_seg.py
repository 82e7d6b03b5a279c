"""DICOM SEG objects, judged by dciodvfy, and read back by pydicom alone, by highdicom, by SimpleITK and by us."""

import logging
import shutil
import subprocess
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import highdicom
import numpy as np
import pytest
import SimpleITK
from dicom_series import OBLIQUE, PATIENT_ID, noise, radiograph, write_multiframe, write_series
from pydicom import dcmread
from pydicom.dataset import Dataset

from plurimask.errors import InputError
from plurimask.files.dicom import Series, read_segments, read_series, referred_series
from plurimask.files.dicom_seg import write_dicom_seg
from plurimask.files.locate import open_study
from plurimask.files.stored import MOST_GIB
from plurimask.geometry import Grid, lps_to_ras
from plurimask.records import MaskSet

KNOWN = ("agreement.dcm", "frequency-map.dcm", "frequency.dcm", "samples.dcm")
"""What Debian's dciodvfy has rules for; it does not know label maps."""
FILES = (*KNOWN, "votes.dcm")
MARKED = (1, 2, 4)


def panel_on(grid: Grid, count: int = 5) -> MaskSet:
    """Samples on slices 1, 2 and 4, or on a plane, of which the second is empty."""
    masks = np.zeros((count, *grid.shape), dtype=bool)
    slices = [index for index in MARKED if index < grid.shape[2]] or [0]
    rng = np.random.default_rng(7)
    masks[:, 4:9, 5:12, slices] = rng.random((count, 5, 7, len(slices))) < 0.6
    masks[1] = False
    return MaskSet("case", masks, grid, "cimd", tuple(range(20, 20 + count)), "ab" * 32, {"sampler": "ddim"})


def write(folder: Path, series: Series, panel: MaskSet) -> Path:
    folder.mkdir()
    write_dicom_seg(folder, panel, series.files)
    return folder


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Series:
    """An oblique series of 6 slices, whose files are not in the order of the slices."""
    folder = tmp_path_factory.mktemp("dicom") / "series"
    write_series(folder, noise((16, 18, 6)), orientation=OBLIQUE)
    return read_series(folder)


@pytest.fixture(scope="module")
def panel(series: Series) -> MaskSet:
    return panel_on(series.grid)


@pytest.fixture(scope="module")
def written(series: Series, panel: MaskSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the three objects of `panel`."""
    return write(tmp_path_factory.mktemp("seg") / "case", series, panel)


def frames_of(path: Path, grid: Grid) -> np.ndarray:
    """Stored values (segments, H, W, D) by pydicom alone: every frame at the slice on whose first pixel it lies."""
    dataset = dcmread(path)
    stored = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
    found = np.zeros((len(dataset.SegmentSequence), *grid.shape), dtype=int)
    firsts = (lps_to_ras(grid.affine) @ np.array([[0, 0, d, 1] for d in range(grid.shape[2])]).T)[:3].T
    for frame, values in zip(dataset.PerFrameFunctionalGroupsSequence, stored, strict=True):
        distances = np.linalg.norm(firsts - np.array(frame.PlanePositionSequence[0].ImagePositionPatient), axis=1)
        assert distances.min() < 1e-3
        groups = frame if "SegmentIdentificationSequence" in frame else dataset.SharedFunctionalGroupsSequence[0]
        number = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        found[number - 1, ..., distances.argmin()] = values
    return found


def planes_of(dataset: Dataset, grid: Grid) -> np.ndarray:
    """Values (H, W, D) of an image without segments by pydicom alone, 0 where it has no frame."""
    found = np.zeros(grid.shape, dtype=dataset.pixel_array.dtype)
    firsts = (lps_to_ras(grid.affine) @ np.array([[0, 0, d, 1] for d in range(grid.shape[2])]).T)[:3].T
    for frame, values in zip(dataset.PerFrameFunctionalGroupsSequence, dataset.pixel_array, strict=True):
        distances = np.linalg.norm(firsts - np.array(frame.PlanePositionSequence[0].ImagePositionPatient), axis=1)
        assert distances.min() < 1e-3
        found[..., distances.argmin()] = values
    return found


def complaints(path: Path) -> list[str]:
    """The errors that dciodvfy finds in a file."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian: dicom3tools)")
    said = subprocess.run(["dciodvfy", path], capture_output=True, text=True).stderr
    assert "Segmentation" in said or "ParametricMap" in said
    return [line for line in said.splitlines() if line.startswith("Error")]


@pytest.mark.parametrize("name", KNOWN)
def test_dciodvfy_finds_no_error(written, name):
    assert complaints(written / name) == []


def test_samples_and_agreement_come_back_as_they_were(written, panel):
    assert np.array_equal(frames_of(written / "samples.dcm", panel.grid), panel.masks)
    assert dcmread(written / "samples.dcm").NumberOfFrames == 4 * len(MARKED)  # none without a mark
    counts = panel.masks.sum(axis=0)
    expected = np.stack([counts >= level for level in (1, 2, 3, 4, 5)])
    assert np.array_equal(frames_of(written / "agreement.dcm", panel.grid), expected)


def test_agreement_of_many_samples_has_five_levels(series, tmp_path):
    write(tmp_path / "case", series, panel_on(series.grid, 16))
    labels = [segment.SegmentLabel for segment in dcmread(tmp_path / "case" / "agreement.dcm").SegmentSequence]
    assert labels == [f"at least {level} of 16" for level in (1, 4, 8, 12, 16)]


def test_frequency_stores_the_number_of_samples(written, panel):
    dataset = dcmread(written / "frequency.dcm")
    assert (dataset.SegmentationFractionalType, dataset.MaximumFractionalValue) == ("PROBABILITY", 5)
    assert np.array_equal(frames_of(written / "frequency.dcm", panel.grid)[0], panel.masks.sum(axis=0))


def test_votes_are_a_label_map_of_counts(written, panel):
    read = highdicom.seg.segread(written / "votes.dcm")
    assert read.segmentation_type == highdicom.seg.SegmentationTypeValues.LABELMAP
    labels = {segment.SegmentNumber: segment.SegmentLabel for segment in read.SegmentSequence if segment.SegmentNumber}
    assert labels == {votes: f"{votes} of 5" for votes in range(1, 6)}
    assert np.array_equal(planes_of(read, panel.grid), panel.masks.sum(axis=0))


def test_the_frequency_map_is_a_share_in_real_values(written, panel):
    read = dcmread(written / "frequency-map.dcm")
    assert read.SOPClassUID.name == "Parametric Map Storage"
    assert (read.ContentQualification, read.pixel_array.dtype) == ("RESEARCH", np.float32)
    assert np.array_equal(planes_of(read, panel.grid), panel.masks.mean(axis=0, dtype=np.float32))


def test_highdicom_puts_every_voxel_where_it_was(written, panel):
    read = highdicom.seg.segread(written / "samples.dcm")
    volume = read.get_volume(allow_missing_positions=True)
    there = np.argwhere(volume.array)
    world = (lps_to_ras(volume.affine) @ np.c_[there[:, :3], np.ones(len(there))].T)[:3].T
    here = np.linalg.inv(panel.grid.affine) @ np.c_[world, np.ones(len(world))].T
    index = np.c_[there[:, 3], here[:3].T]
    assert np.allclose(index, index.round(), rtol=0, atol=1e-3)
    assert {tuple(one) for one in index.round().astype(int)} == {tuple(one) for one in np.argwhere(panel.masks)}


def test_simpleitk_puts_every_voxel_where_it_was(series, tmp_path):
    panel = panel_on(series.grid)
    panel.masks[..., 3] = panel.masks[..., 2]  # it takes all steps between frames as equal
    image = SimpleITK.ReadImage(write(tmp_path / "case", series, panel) / "frequency.dcm")
    values = SimpleITK.GetArrayFromImage(image)
    counts = np.zeros(panel.grid.shape, dtype=int)
    for slice_, row, column in np.argwhere(values).tolist():
        point = np.array([*image.TransformIndexToPhysicalPoint((column, row, slice_)), 1.0])
        index = np.linalg.inv(panel.grid.affine) @ lps_to_ras(np.eye(4)) @ point
        assert np.allclose(index, index.round(), rtol=0, atol=1e-3)
        counts[tuple(index[:3].round().astype(int))] = values[slice_, row, column]
    assert np.array_equal(counts, panel.masks.sum(axis=0))


def test_every_frame_refers_to_the_image_of_its_slice_and_the_object_to_all(written, series, panel):
    dataset = dcmread(written / "frequency.dcm")
    named = {
        frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        for frame in dataset.PerFrameFunctionalGroupsSequence
    }
    assert named == {dcmread(series.files[index]).SOPInstanceUID for index in MARKED}
    (referenced,) = dcmread(written / "samples.dcm").ReferencedSeriesSequence
    assert len(referenced.ReferencedInstanceSequence) == len(series.files)


def test_distances_between_slices_are_the_true_ones(series, panel, tmp_path):
    def lie(dataset: Dataset, _: int) -> None:
        dataset.SpacingBetweenSlices, dataset.SliceThickness = "99", ""

    write_series(tmp_path / "lying", noise((16, 18, 6)), orientation=OBLIQUE, change=lie)
    write(tmp_path / "case", read_series(tmp_path / "lying"), panel)
    measures = dcmread(tmp_path / "case" / "samples.dcm").SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert (measures.SpacingBetweenSlices, measures.SliceThickness) == pytest.approx((2.5, 2.5))


def test_an_empty_sample_is_a_segment_without_frames_that_says_so(written):
    dataset = dcmread(written / "samples.dcm")
    assert [segment.SegmentLabel for segment in dataset.SegmentSequence][:3] == [
        "sample 1",
        "sample 2 (empty)",
        "sample 3",
    ]
    assert "outlines nothing" in dataset.SegmentSequence[1].SegmentDescription
    assert dataset.SeriesDescription == "5 plausible outlines, 1 empty"


def test_a_panel_that_outlines_nothing_has_one_slice_of_empty_frames(series, panel, tmp_path):
    folder = write(tmp_path / "case", series, replace(panel, masks=np.zeros_like(panel.masks)))
    for name in FILES:
        assert not dcmread(folder / name).pixel_array.any()
        assert dcmread(folder / name).NumberOfFrames <= 5
    assert [complaints(folder / name) for name in KNOWN] == [[]] * len(KNOWN)


def test_algorithm_names_method_weights_and_how_each_sample_was_drawn(written):
    third = dcmread(written / "samples.dcm").SegmentSequence[2]
    (algorithm,) = third.SegmentationAlgorithmIdentificationSequence
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("cimd", "ab" * 32)
    assert algorithm.AlgorithmParameters == "seed=22, sampler=ddim"


def test_a_segment_of_a_representative_panel_says_whom_it_stands_for(series, panel, tmp_path):
    path = write(tmp_path / "case", series, replace(panel, weights=(11, 2, 1, 1, 1))) / "samples.dcm"
    first, second = dcmread(path).SegmentSequence[:2]
    assert first.SegmentDescription.startswith("Sample 1 of 5. About 69% of readers would draw this. For research")
    assert "which outlines nothing. About 12% of readers would draw this." in second.SegmentDescription


def test_names_that_dicom_cannot_hold_are_made_plain(series, panel, tmp_path):
    odd = replace(panel, method="über\\net " + "x" * 99, checkpoint=None, seeds=None, settings={})
    path = write(tmp_path / "case", series, odd) / "frequency.dcm"
    assert dcmread(path).SegmentSequence[0].SegmentAlgorithmName == "?ber?net " + "x" * 55
    assert complaints(path) == []


def test_each_object_is_a_series_of_its_own_that_outlines_the_same(written, series):
    objects = [dcmread(written / name) for name in FILES]
    assert len({one.SeriesInstanceUID for one in objects}) == len({one.SOPInstanceUID for one in objects}) == 5
    assert {one.StudyInstanceUID for one in objects} == {dcmread(series.files[0]).StudyInstanceUID}
    assert sorted(one.SeriesNumber for one in objects) == [301, 302, 303, 305, 306]
    segments = [segment for one in objects for segment in one.get("SegmentSequence", []) if segment.SegmentNumber]
    assert len({segment.TrackingUID for segment in segments}) == 1


def test_uids_are_those_of_the_panel_and_its_images(written, series, panel, tmp_path):
    def instances(folder):
        return [dcmread(folder / name).SOPInstanceUID for name in FILES]

    assert instances(write(tmp_path / "case", series, panel)) == instances(written)
    other = replace(panel, masks=panel.masks[::-1])
    assert not set(instances(write(tmp_path / "other", series, other))) & set(instances(written))
    write_series(tmp_path / "elsewhere", noise((16, 18, 6)), orientation=OBLIQUE, series="elsewhere")
    source = read_series(tmp_path / "elsewhere")
    assert not set(instances(write(tmp_path / "copied", source, panel))) & set(instances(written))


def no_comma(dataset: Dataset, _: int) -> None:
    dataset.PatientName, dataset.PatientBirthDate, dataset.PatientSex = "SECRET", "SECRET-DATE", "SECRET-SEX"


def test_an_odd_identity_is_passed_on_and_never_printed(panel, tmp_path, capfd, caplog):
    write_series(tmp_path / "odd", noise((16, 18, 6)), orientation=OBLIQUE, change=no_comma)
    source = read_series(tmp_path / "odd")
    caplog.clear()
    capfd.readouterr()
    with warnings.catch_warnings(record=True) as warned, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        path = write(tmp_path / "case", source, panel) / "samples.dcm"
    said = caplog.text + "".join(capfd.readouterr()) + "".join(str(one.message) for one in warned)
    assert "SECRET" not in said
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert (dcmread(path).PatientName, dcmread(path).PatientID) == ("SECRET", PATIENT_ID)


def bare(dataset: Dataset, _: int) -> None:
    for keyword in ("AccessionNumber", "StudyID", "PatientBirthDate", "ReferringPhysicianName", "SeriesNumber"):
        delattr(dataset, keyword)


def foreign(dataset: Dataset, _: int) -> None:
    dataset.SpecificCharacterSet, dataset.PatientName = "ISO_IR 192", "Müller^Jürgen"


@pytest.mark.parametrize("change", [bare, foreign])
def test_sources_that_lack_attributes_or_have_other_letters_make_valid_objects(panel, tmp_path, change):
    write_series(tmp_path / "source", noise((16, 18, 6)), orientation=OBLIQUE, change=change)
    source = read_series(tmp_path / "source")
    path = write(tmp_path / "case", source, panel) / "samples.dcm"
    assert complaints(path) == []
    assert dcmread(path).PatientName == dcmread(source.files[0]).PatientName


def test_frames_of_a_multi_frame_file_are_found_in_any_order(series, panel, tmp_path):
    path = write_multiframe(tmp_path / "enhanced.dcm", series.files[0].parent, (3, 0, 5, 1, 4, 2))
    source = read_series(path)
    assert source.grid.same_as(panel.grid)
    written = write(tmp_path / "case", source, panel)
    assert np.array_equal(frames_of(written / "samples.dcm", panel.grid), panel.masks)
    frames = dcmread(written / "frequency.dcm").PerFrameFunctionalGroupsSequence
    numbers = {frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber for frame in frames}
    assert numbers == {4, 6, 5}
    assert complaints(written / "samples.dcm") == []


def test_a_tilted_gantry_keeps_its_tilt(tmp_path):
    write_series(tmp_path / "tilted", noise((16, 18, 6)), step=(0.0, 0.7, 2.5))
    source = read_series(tmp_path / "tilted")
    panel = panel_on(source.grid)
    path = write(tmp_path / "case", source, panel) / "samples.dcm"
    assert np.array_equal(frames_of(path, source.grid), panel.masks)
    assert complaints(path) == []


def test_a_radiograph_without_a_place_in_space_keeps_its_pixels(tmp_path):
    write_series(tmp_path / "source", noise((16, 18, 1)), change=radiograph)
    source = read_series(tmp_path / "source")
    panel = panel_on(source.grid)
    path = write(tmp_path / "case", source, panel) / "samples.dcm"
    dataset = dcmread(path)
    numbers = [
        frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        for frame in dataset.PerFrameFunctionalGroupsSequence
    ]
    assert numbers == [1, 3, 4, 5]
    assert np.array_equal(dataset.pixel_array, panel.masks[[0, 2, 3, 4], ..., 0])
    assert complaints(path) == []


def test_a_plane_is_a_single_slice(tmp_path):
    write_series(tmp_path / "source", noise((16, 18, 1)), orientation=OBLIQUE)
    source = read_series(tmp_path / "source")
    panel = panel_on(source.grid)
    plane = replace(panel, masks=panel.masks[..., 0], grid=Grid((16, 18), source.grid.affine))
    path = write(tmp_path / "case", source, plane) / "samples.dcm"
    assert np.array_equal(frames_of(path, source.grid), panel.masks)


def without(keyword: str) -> Callable[[Dataset, int], None]:
    return lambda dataset, _: delattr(dataset, keyword)


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "FrameOfReferenceUID"])
def test_a_source_that_cannot_be_referred_to_is_refused(panel, tmp_path, keyword):
    write_series(tmp_path / "source", noise((16, 18, 6)), orientation=OBLIQUE, change=without(keyword))
    source = read_series(tmp_path / "source")
    with pytest.raises(InputError, match=r"expected a header that a DICOM SEG can refer to, .*choose --format nifti"):
        write(tmp_path / "case", source, panel)


def test_another_number_of_slices_is_refused(series, panel, tmp_path):
    with pytest.raises(InputError, match="expected 6 slices, as the panel has, got 5"):
        write_dicom_seg(tmp_path, panel, series.files[:5])


KINDS = {
    "a volume": {"orientation": OBLIQUE},
    "a tilted gantry": {"step": (0.0, 0.7, 2.5)},
    "a plane": {"stored": noise((16, 18, 1)), "orientation": OBLIQUE},
    "a radiograph": {"stored": noise((16, 18, 1)), "change": radiograph},
    "frames that do not begin with a byte": {"stored": noise((15, 17, 6))},
}


@pytest.mark.parametrize("kind", KINDS)
def test_samples_are_read_back_on_the_grid_of_their_image(tmp_path, kind):
    write_series(tmp_path / "source", **({"stored": noise((16, 18, 6))} | KINDS[kind]))
    study = open_study(tmp_path / "source")
    panel = panel_on(read_series(tmp_path / "source").grid)
    panel = replace(panel, masks=panel.masks.reshape(-1, *study.case.grid.shape), grid=study.case.grid)
    path = tmp_path / "samples.dcm"
    write_dicom_seg(tmp_path, panel, study.sources)
    masks, grid = read_segments(path, panel.grid)
    assert np.array_equal(masks, panel.masks)
    assert grid is panel.grid
    masks, grid = read_segments(path)
    marked = panel.masks[..., 1:5] if panel.masks.ndim == 4 else panel.masks
    assert np.array_equal(masks, marked)
    assert (grid.affine is None) == (panel.grid.affine is None)
    assert grid.affine is None or np.allclose(grid.affine[:, :3], panel.grid.affine[:, :3], atol=1e-6)
    assert referred_series(path) == dcmread(study.sources[0]).SeriesInstanceUID


def test_samples_of_which_none_outlines_anything_are_read_back(series, panel, tmp_path):
    empty = replace(panel, masks=np.zeros_like(panel.masks))
    path = write(tmp_path / "case", series, empty) / "samples.dcm"
    assert np.array_equal(read_segments(path, series.grid)[0], empty.masks)


def test_a_segment_that_all_frames_share_is_the_one_sample(series, panel, tmp_path):
    path = write(tmp_path / "case", series, replace(panel, masks=panel.masks[:1], seeds=(1,))) / "samples.dcm"
    assert "SegmentIdentificationSequence" in dcmread(path).SharedFunctionalGroupsSequence[0]
    assert np.array_equal(read_segments(path, series.grid)[0], panel.masks[:1])


def changed(path: Path, change: Callable[[Dataset], None]) -> Path:
    dataset = dcmread(path)
    change(dataset)
    dataset.save_as(path)
    return path


def twice(dataset: Dataset) -> None:
    first, second, *_ = dataset.PerFrameFunctionalGroupsSequence
    second.PlanePositionSequence = first.PlanePositionSequence
    second.SegmentIdentificationSequence = first.SegmentIdentificationSequence


def moved(dataset: Dataset) -> None:
    place = dataset.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0]
    place.ImagePositionPatient = [place.ImagePositionPatient[0] + 1, *place.ImagePositionPatient[1:]]


def another_organ(dataset: Dataset) -> None:
    dataset.SegmentSequence[1].SegmentedPropertyTypeCodeSequence[0].CodeMeaning = "Liver"


def of_no_segment(dataset: Dataset) -> None:
    dataset.PerFrameFunctionalGroupsSequence[1].SegmentIdentificationSequence[0].ReferencedSegmentNumber = 99


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (twice, "expected one frame of a sample on a slice, got two"),
        (moved, "expected frames in the planes of the image's slices, got one 1 mm beside them"),
        (
            another_organ,
            "expected a binary segmentation with a segment for each sample of one finding, got segments of",
        ),
        (of_no_segment, "expected a readable DICOM file"),
        (lambda dataset: delattr(dataset, "SegmentSequence"), "expected a readable DICOM file"),
        (lambda dataset: delattr(dataset, "PixelData"), "expected an image, got a DICOM object without pixels"),
        (lambda dataset: setattr(dataset, "PixelData", dataset.PixelData[:-40]), "expected pixels in Explicit VR"),
        (lambda dataset: setattr(dataset, "NumberOfFrames", 3), "expected a position for each of 3 frames"),
        (lambda dataset: setattr(dataset, "Rows", 60000), "got"),
    ],
)
def test_a_damaged_segmentation_is_refused(series, written, tmp_path, change, message):
    path = changed(Path(shutil.copy(written / "samples.dcm", tmp_path)), change)
    with pytest.raises(InputError, match=message):
        read_segments(path, series.grid)


def test_a_segmentation_cut_off_anywhere_is_refused(series, written, tmp_path):
    content = (written / "samples.dcm").read_bytes()
    for end in range(0, len(content) - 40, 997):
        (tmp_path / "samples.dcm").write_bytes(content[:end])
        with pytest.raises(InputError):
            read_segments(tmp_path / "samples.dcm", series.grid)


@pytest.mark.parametrize(
    ("name", "got"),
    [("agreement", "levels of agreement"), ("frequency", "FRACTIONAL"), ("votes", "a DICOM object;")],
)
def test_other_objects_are_no_samples(written, series, name, got):
    with pytest.raises(InputError, match=f"got {got}"):
        read_segments(written / f"{name}.dcm", series.grid)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda grid: Grid(grid.shape, grid.affine + np.outer([0.3, 0, 0, 0], np.eye(4)[3])), "0.3 mm beside them"),
        (lambda grid: Grid((16, 18, 4), grid.affine), "2.5 mm beside them"),
        (lambda grid: Grid((18, 16, 6), grid.affine), "expected frames of size 18x16, as the image has, got 16x18"),
        (lambda grid: Grid(grid.shape, grid.affine * [1.1, 1, 1, 1]), "got others"),
        (lambda grid: Grid(grid.shape), "got others"),
    ],
)
def test_samples_of_another_image_are_refused(written, series, other, message):
    with pytest.raises(InputError, match=message):
        read_segments(written / "samples.dcm", other(series.grid))


def test_frames_far_apart_take_no_memory(written, tmp_path):
    def far(dataset: Dataset) -> None:
        dataset.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient = [0, 0, 1e9]

    path = changed(Path(shutil.copy(written / "samples.dcm", tmp_path)), far)
    with pytest.raises(InputError, match="expected at most 65536 slices"):
        read_segments(path)


def test_more_samples_than_the_bound_are_refused(written, series, monkeypatch):
    monkeypatch.setenv(MOST_GIB, "1e-6")
    with pytest.raises(InputError, match="expected at most 1e-06 GiB"):
        read_segments(written / "samples.dcm", series.grid)
