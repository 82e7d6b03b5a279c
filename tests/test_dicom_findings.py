"""What a panel says of a lesion as DICOM: judged by dciodvfy, read back by pydicom and by highdicom."""

import shutil
import subprocess
from pathlib import Path

import highdicom
import numpy as np
import pytest
from dicom_series import OBLIQUE, PATIENT_ID, noise, radiograph, write_series
from matplotlib.path import Path as Polygon
from pydicom import dcmread

import plurimask as pm
from plurimask.files.locate import Study
from plurimask.geometry import lps_to_ras
from plurimask.metrics.measurements import measure, summarise
from plurimask.panel_files import write_panel
from plurimask.records import MaskSet


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """An oblique series of 6 slices."""
    folder = tmp_path_factory.mktemp("dicom") / "series"
    write_series(folder, noise((16, 18, 6)), orientation=OBLIQUE)
    return pm.open_study(folder)


@pytest.fixture(scope="module")
def panel(study: Study) -> MaskSet:
    """Four outlines with a hole and two parts, on slices 1 and 3, and an empty one."""
    masks = np.zeros((5, *study.case.grid.shape), dtype=bool)
    for index in range(4):
        masks[index, 3 : 9 + index, 4 : 12 + index, 1] = masks[index, 4:7, 4:8, 3] = True
        masks[index, 5:7, 6:9, 1] = False
        masks[index, 13, 15, 3] = True
    return MaskSet(study.case.name, masks, study.case.grid, "cimd", tuple(range(5)), "ab" * 32)


@pytest.fixture(scope="module")
def written(study: Study, panel: MaskSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out") / study.case.name
    write_panel(folder, panel, study)
    return folder


@pytest.mark.parametrize("name", ["consensus", "report"])
def test_dciodvfy_finds_no_error(written, name):
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian: dicom3tools)")
    said = subprocess.run(["dciodvfy", written / f"{name}.dcm"], capture_output=True, text=True).stderr
    assert [line for line in said.splitlines() if line.startswith("Error")] == []


def test_the_contours_give_the_consensus_back_by_the_even_odd_rule(written, panel, study):
    structures = dcmread(written / "consensus.dcm")
    (roi,) = structures.StructureSetROISequence
    assert (roi.ROIName, structures.ApprovalStatus) == ("at least 3 of 5", "UNAPPROVED")
    height, width = panel.grid.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    found = np.zeros(panel.grid.shape, dtype=bool)
    to_index = np.linalg.inv(lps_to_ras(panel.grid.affine))
    for contour in structures.ROIContourSequence[0].ContourSequence:
        assert contour.ContourGeometricType == "CLOSED_PLANAR"
        points = np.array(contour.ContourData, dtype=float).reshape(-1, 3)
        index = (to_index @ np.c_[points, np.ones(len(points))].T)[:3].T
        (plane,) = np.unique(index[:, 2].round(3)).tolist()
        inside = Polygon(index[:, :2]).contains_points(np.c_[rows.ravel(), columns.ravel()])
        found[..., int(plane)] ^= inside.reshape(height, width)
    assert np.array_equal(found, panel.masks.sum(0) >= 3)


def test_the_structure_set_names_all_images_of_its_source(written, study):
    (frame,) = dcmread(written / "consensus.dcm").ReferencedFrameOfReferenceSequence
    (series,) = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence
    named = {image.ReferencedSOPInstanceUID for image in series.ContourImageSequence}
    assert named == {dcmread(path).SOPInstanceUID for path in study.sources}


def test_a_consensus_of_nothing_has_no_contour(study, panel, tmp_path):
    write_panel(tmp_path / study.case.name, panel, study, agreement=0.9)
    structures = dcmread(tmp_path / study.case.name / "consensus.dcm")
    assert structures.StructureSetROISequence[0].ROIName == "at least 5 of 5"
    assert "ContourSequence" not in structures.ROIContourSequence[0]


def test_the_report_says_median_and_percentiles_of_each_quantity(written, panel):
    report = highdicom.sr.srread(written / "report.dcm")
    (group,) = report.content.get_image_measurement_groups()
    said = [(one.name.meaning, one.value, one.unit.value) for one in group.get_measurements()]
    expected = []
    units = {"volume_mm3": ("Volume", "mm3"), "longest_diameter_mm": ("Long axis", "mm")}
    for key, values in measure(panel.masks, panel.grid).items():
        found, (name, unit) = summarise(values), units[key]
        expected += [(name, pytest.approx(value), unit) for value in (found.median, found.low, found.high)]
    assert said == [*expected, ("Samples", 5, "1"), ("Share of samples that outline nothing", 0.2, "1")]
    assert (report.CompletionFlag, report.VerificationFlag) == ("PARTIAL", "UNVERIFIED")


def test_the_report_names_images_and_segmentations_as_evidence(written, study):
    report = dcmread(written / "report.dcm")
    named = set()
    for keyword in ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence"):
        for evidence in report.get(keyword, []):
            for series in evidence.ReferencedSeriesSequence:
                named |= {image.ReferencedSOPInstanceUID for image in series.ReferencedSOPSequence}
    images = [written / f"{name}.dcm" for name in ("samples", "agreement", "frequency", "votes", "frequency-map")]
    assert named == {dcmread(path).SOPInstanceUID for path in (*images, *study.sources)}


def test_patient_and_study_are_those_of_the_source(written, study):
    source = dcmread(study.sources[0])
    for name in ("consensus", "report"):
        built = dcmread(written / f"{name}.dcm")
        assert (built.PatientID, built.StudyInstanceUID) == (PATIENT_ID, source.StudyInstanceUID)
        assert built.SeriesInstanceUID != source.SeriesInstanceUID


def test_without_a_place_in_space_there_are_measurements_but_no_contours_and_no_maps(tmp_path):
    write_series(tmp_path / "flat", noise((16, 18, 1)), change=radiograph)
    flat = pm.open_study(tmp_path / "flat")
    masks = np.zeros((3, *flat.case.grid.shape), dtype=bool)
    masks[:, 2:5, 2:5] = True
    write_panel(tmp_path / "out" / "flat", MaskSet("flat", masks, flat.case.grid), flat)
    names = {path.stem for path in (tmp_path / "out/flat").glob("*.dcm")}
    assert names == {"samples", "agreement", "frequency", "report"}
    assert highdicom.sr.srread(tmp_path / "out/flat/report.dcm").content.get_image_measurement_groups()
