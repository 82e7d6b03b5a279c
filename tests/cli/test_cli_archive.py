"""plurimask on an archive over DICOMweb: what sample, view, fetch and store write, say and refuse."""

import shutil
import subprocess
import tempfile

import numpy as np
import pytest
from dicom_series import PATIENT_ID, noise, uid, write_series
from orthanc import ABSENT, Orthanc
from pydicom import dcmread
from running import files, grey, write_image

from plurimask.files.dicomweb import Archive
from plurimask.files.mask_sets import read_mask_set
from plurimask.viewer.library import open_library

pytestmark = pytest.mark.skipif(bool(ABSENT), reason=ABSENT)
SERIES = uid("series")
OBJECTS = {
    f"{SERIES}/{name}.dcm"
    for name in ("samples", "agreement", "frequency", "votes", "frequency-map", "consensus", "report")
}


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    folder = tmp_path_factory.mktemp("orthanc")
    archive = Orthanc(folder).start()
    Archive(archive.root).store(write_series(folder / "CT", noise((24, 20, 4))))
    yield archive
    archive.stop()


@pytest.fixture
def study(orthanc, tmp_path, monkeypatch):
    """The address of a study; what is retrieved lies below tmp_path/passing."""
    (tmp_path / "passing").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "passing"))
    return f"{orthanc.root}/studies/{uid('study')}"


def test_a_series_is_drawn_from_an_archive_and_its_objects_are_stored_and_found_there(
    run, weights, study, orthanc, out, tmp_path, monkeypatch
):
    words = ("sample", weights, study, "--roi", "12,10,1:3", "--count", 2, "--out", out)
    said = run(*words, "--store", orthanc.root)
    stored = f"7 objects stored in {orthanc.root}; 0 were there already\n"
    assert (said.code, said.out) == (0, f"1 panel of 2 masks in {out}\n{stored}")
    assert PATIENT_ID not in said.out + said.err
    assert {name for name in files(out) if name.endswith(".dcm")} == OBJECTS
    assert files(tmp_path / "passing") == set()
    again = run("store", orthanc.root, out / SERIES)
    assert (again.code, again.out) == (0, f"0 objects stored in {orthanc.root}; 7 were there already\n")
    said = run("fetch", study, "--dry-run")
    assert said.out.splitlines()[0] == f"3  CT  4 images  -  {study}/series/{SERIES}"
    assert [line.split("  ")[1] for line in said.out.splitlines()] == ["CT", *["SEG"] * 4, "OT", "RTSTRUCT", "SR"]
    assert run("fetch", study, "--out", tmp_path / "got").out == f"1 series in {tmp_path / 'got'}\n"
    assert files(tmp_path / "got") == {f"{SERIES}/000{k}.dcm" for k in range(1, 5)}
    for number, name in ((301, "samples"), (307, "consensus"), (308, "report")):
        assert run("fetch", f"{study}#{number}", "--out", tmp_path / "found").code == 0
        sent = dcmread(out / SERIES / f"{name}.dcm")
        (found,) = (tmp_path / "found" / sent.SeriesInstanceUID).iterdir()
        assert dcmread(found).SOPInstanceUID == sent.SOPInstanceUID
        if shutil.which("dciodvfy"):
            judged = subprocess.run(["dciodvfy", found], capture_output=True, text=True).stderr
            assert [line for line in judged.splitlines() if line.startswith("Error")] == []
    rooms = []
    monkeypatch.setattr("plurimask.viewer.serve", lambda path, data, *_, **__: rooms.append(shown(path, data)))
    run("view", f"{study}#301", "--data", f"{study}#3")
    run("view", out, "--data", tmp_path / "got")
    (stored, again), drawn = rooms, read_mask_set(out / SERIES).masks
    assert np.array_equal(stored, drawn)
    assert np.array_equal(again, drawn)
    assert run("select", out, "--count", 1, "--out", tmp_path / "few").code == 0
    assert read_mask_set(tmp_path / "few" / SERIES).masks[0] in drawn


def shown(path, data):
    """The masks of a reading room's one panel, which lies over an image."""
    library = open_library(path, data, drawing=False)
    (source,) = library.sources
    ((name,), _) = library.names(source)
    assert library.case(source, name).has_image
    return library.panel(source, name).marks.whole()


def test_a_series_of_an_archive_is_looked_at_and_masks_may_go_back_there(run, study, orthanc, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "plurimask.viewer.serve", lambda path, *_, **more: seen.append((files(path), more["archive"].root))
    )
    assert run("view", f"{study}#3").code == 0
    assert seen == [({f"000{k}.dcm" for k in range(1, 5)}, orthanc.root)]
    assert files(tmp_path / "passing") == set()


def test_a_series_that_holds_no_image_is_refused(run, weights, study, orthanc, out, tmp_path):
    write_series(tmp_path / "CT", noise((24, 20, 4)))
    run("sample", weights, tmp_path / "CT", "--roi", "9,9,1", "--count", 1, "--out", out, "--store", orthanc.root)
    number = dcmread(out / "CT/report.dcm").SeriesInstanceUID
    said = run("sample", weights, f"{study}#{number}", "--out", tmp_path / "none")
    assert said.refused("expected an image", "Comprehensive 3D SR")
    assert not (tmp_path / "none").exists()


def test_an_archive_that_ends_while_it_is_drawn_leaves_the_files(run, weights, out, tmp_path, monkeypatch):
    write_series(tmp_path / "CT", noise((24, 20, 4)))
    (tmp_path / "orthanc").mkdir()
    archive = Orthanc(tmp_path / "orthanc").start()
    monkeypatch.setattr("plurimask.files.dicomweb._WAITS", (0.0,))
    monkeypatch.setattr("plurimask.panel_files.write_report", lambda *_: archive.stop())
    said = run(
        "sample", weights, tmp_path / "CT", "--roi", "9,9,1", "--count", 1, "--out", out, "--store", archive.root
    )
    *_, last = said.err.splitlines()  # what reaches the edge of the region is told before
    assert (said.code, last[:11]) == (2, "plurimask: ")
    assert "expected an answer of DICOMweb, got connection refused" in last
    assert "run plurimask store" in last
    assert "CT/samples.dcm" in files(out)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--store", "http://127.0.0.1:9/dicom-web"], ["connection refused"]),
        (["--store", "http://jane:secret@127.0.0.1:9"], ["no login in an address"]),
        (["--store", "http://127.0.0.1:9/dicom-web/studies/1.2"], ["the address of an archive"]),
    ],
)
def test_an_archive_that_cannot_take_objects_is_refused_before_anything_is_drawn(
    run, weights, out, tmp_path, options, words
):
    write_series(tmp_path / "CT", noise((24, 20, 4)))
    said = run("sample", weights, tmp_path / "CT", "--whole", "--out", out, *options)
    assert said.refused(*words)
    assert "secret" not in said.err
    assert not out.exists()


def test_only_dicom_is_stored(run, weights, out, tmp_path, orthanc):
    picture = write_image(tmp_path / "plane.png", grey())
    said = run("sample", weights, picture, "--out", out, "--store", orthanc.root)
    assert said.refused("expected a DICOM study for DICOM SEG")
    assert not out.exists()
