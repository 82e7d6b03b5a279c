"""What a person saves comes back voxel for voxel, says who and when, and stays."""

import hashlib
import json
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dicom_series import OBLIQUE, PATIENT_ID, noise, write_series
from pydicom import dcmread
from served import SIZE, case, client, get, squares, write_case, write_set

from plurimask.errors import InputError
from plurimask.files.images import write_nifti
from plurimask.files.locate import open_study
from plurimask.geometry import Grid
from plurimask.viewer import saving

AFFINE = np.array([[0, 0.7, 0, -20], [0.6, 0, 0.1, 30], [0, 0, 2.5, -100], [0, 0, 0, 1.0]])


@pytest.fixture
def browser(tmp_path):
    write_case(tmp_path / "data", "a", 3)
    write_set(tmp_path / "masks", "a", squares(3, 4, 0), seeds=(5, 6, 7))
    return client(tmp_path / "masks", tmp_path / "data")


@pytest.fixture
def volume(tmp_path):
    write_nifti(tmp_path / "scan.nii.gz", np.zeros((6, 9, 5), np.float32), Grid((6, 9, 5), AFFINE))
    return client(tmp_path / "scan.nii.gz")


def asked(browser, mask, axis=2, **more):
    """A request to save a mask (H, W, D), as the page sends it: the box of its marks."""
    planes = np.moveaxis(mask, axis, 0)
    rows, columns = (np.flatnonzero(planes.any(axis=other)) for other in ((0, 2), (0, 1)))
    box = [0, 0, 0, 0]
    if len(rows):
        box = [int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1]
    slices = {
        str(k): b64encode(np.packbits(plane[box[0] : box[1], box[2] : box[3]])).decode()
        for k, plane in enumerate(planes)
        if plane.any()
    }
    return {
        **{"author": "Ada", "note": "spiculated", "format": "nifti", "origin": {"kind": "edited"}},
        **{"source": get(browser, "info")["sources"][0]["id"], "axis": axis, "box": box, "slices": slices},
    } | more


def save(browser, request, name="a"):
    return browser.post(f"/api/v1/{case(name, 'saved')}", json=request)


def saved(browser, request, name="a"):
    """The path of what is saved."""
    answer = save(browser, request, name)
    assert answer.status_code == 201, answer.text
    path = Path(answer.json()["path"])
    assert hashlib.sha256(path.read_bytes()).hexdigest() == answer.json()["digest"]
    return path


def drawing(shape, seed=0):
    return np.random.default_rng(seed).random(shape) < 0.2


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_nifti_file_holds_the_mask_on_the_grid_of_its_study(volume, axis):
    mask = drawing((6, 9, 5))
    image = nib.load(saved(volume, asked(volume, mask, axis), "scan"))
    assert np.array_equal(np.asanyarray(image.dataobj).astype(bool), mask)
    assert np.allclose(image.affine, AFFINE, rtol=0, atol=1e-5)


def test_a_mask_of_nothing_can_be_saved(volume):
    image = nib.load(saved(volume, asked(volume, np.zeros((6, 9, 5), bool)), "scan"))
    assert not np.asanyarray(image.dataobj).any()


def test_a_plane_is_saved_as_one_slice(browser):
    mask = drawing((*SIZE, 1))
    assert np.array_equal(nib.load(saved(browser, asked(browser, mask))).get_fdata() > 0, mask)


@pytest.mark.parametrize(
    ("origin", "side"),
    [
        ({"kind": "sample", "sample": 1}, 4),
        ({"kind": "consensus", "level": 1}, 4),
        ({"kind": "consensus", "level": 2}, 3),
    ],
)
def test_a_sample_or_a_consensus_is_saved_as_such(browser, origin, side):
    path = saved(browser, asked(browser, squares(side)[0][..., None], origin=origin))
    assert np.array_equal(nib.load(path).get_fdata()[..., 0] > 0, squares(side)[0])
    assert json.loads((path.parent / "saved.json").read_text())["origin"] == origin


@pytest.mark.parametrize(
    "origin",
    [
        *({"kind": "sample", "sample": 0}, {"kind": "sample", "sample": 3}, {"kind": "sample", "sample": -1}),
        *({"kind": "consensus", "level": 2}, {"kind": "consensus", "level": 0}, {"kind": "consensus", "level": 4}),
        *({"kind": "other"}, {}),
    ],
)
def test_what_is_not_what_it_says_is_refused(browser, origin, tmp_path):
    answer = save(browser, asked(browser, squares(4)[0][..., None], origin=origin))
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert not (tmp_path / "saved").exists()


def test_the_record_says_who_when_and_what_of(browser):
    path = saved(browser, asked(browser, squares(4)[0][..., None]))
    (record,) = get(browser, case("a", "saved"))
    assert (record["author"], record["note"], record["origin"]) == ("Ada", "spiculated", {"kind": "edited"})
    assert (record["method"], record["seeds"], record["voxels"], record["file"]) == ("toy", [5, 6, 7], 16, path.name)
    assert datetime.now(UTC) - datetime.fromisoformat(record["when"]) < timedelta(minutes=5)


def test_nothing_is_overwritten(browser):
    paths = [saved(browser, asked(browser, squares(side)[0][..., None])) for side in (1, 2, 3)]
    assert [path.parent.name for path in paths] == ["0001", "0002", "0003"]
    assert [np.count_nonzero(nib.load(path).get_fdata()) for path in paths] == [1, 4, 9]


def test_the_number_of_a_removed_one_is_not_used_while_a_later_one_is_there(browser):
    paths = [saved(browser, asked(browser, squares(side)[0][..., None])) for side in (1, 2)]
    for path in paths[0].parent.iterdir():
        path.unlink()
    paths[0].parent.rmdir()
    assert saved(browser, asked(browser, squares(3)[0][..., None])).parent.name == "0003"


def test_saving_at_once_gives_each_its_own(browser, tmp_path):
    servers = [browser, client(tmp_path / "masks", tmp_path / "data", out=tmp_path / "saved")]
    request = asked(browser, squares(4)[0][..., None])
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda server: save(server, request), 3 * servers))
    assert [answer.status_code for answer in answers] == [201] * 6
    assert len({answer.json()["path"] for answer in answers}) == len(get(browser, case("a", "saved"))) == 6


def test_a_number_that_another_server_took_meanwhile_is_passed_over(browser, tmp_path, monkeypatch):
    true, taken = saving.atomic_folder, tmp_path / "saved/a/0001"

    def atomic_folder(folder):
        if not taken.exists():
            taken.mkdir(parents=True)
            (taken / "saved.json").write_text("{}")
        return true(folder)

    monkeypatch.setattr(saving, "atomic_folder", atomic_folder)
    assert saved(browser, asked(browser, squares(4)[0][..., None])).parent.name == "0002"
    assert (taken / "saved.json").read_text() == "{}"


def test_masks_that_were_read_are_left_alone(browser, tmp_path):
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    saved(browser, asked(browser, squares(4)[0][..., None]))
    assert all(path.read_bytes() == content for path, content in before.items())


@pytest.mark.parametrize(
    "wrong",
    [
        *({"author": ""}, {"author": "   "}, {"author": "x" * 65}, {"author": None}, {"note": "x" * 2001}),
        *({"format": "png"}, {"format": "dicom-seg"}, {"axis": 3}, {"box": [0, 1, 2]}, {"box": [0, 13, 0, 4]}),
        *({"box": [-1, 3, 0, 4]}, {"box": [4, 2, 0, 4]}, {"box": [0.0, 1.0, 0.0, 1.0]}, {"box": [0, 1, 0, 17]}),
        *({"slices": {"1": ""}}, {"slices": {"-1": ""}}, {"slices": {"x": ""}}, {"slices": {"²": ""}}),
        *({"slices": {"0": "AA"}}, {"slices": {"0": "!!!!"}}, {"slices": {"0": "AAAA\n"}}, {"slices": {"0": 1}}),
        *({"slices": []}, {"more": 1}, {"source": "x"}, {"slices": {"9" * 5000: ""}}),
    ],
)
def test_a_wrong_request_is_refused_and_nothing_is_written(browser, tmp_path, wrong):
    answer = save(browser, asked(browser, squares(4)[0][..., None]) | wrong)
    assert answer.status_code in (404, 422)
    assert answer.headers["content-type"] == "application/problem+json"
    assert not (tmp_path / "saved").exists()


@pytest.mark.parametrize(
    "author", ["\ud800", "A\x07da", "A\nda", "\u202eadA", "Ada\u200f", "A\u2066da", "\ufeffAda", "A\u2028da"]
)
def test_half_characters_control_characters_and_direction_marks_are_no_author(browser, author):
    request = asked(browser, squares(4)[0][..., None]) | {"author": author}
    answer = browser.post(
        f"/api/v1/{case('a', 'saved')}", content=json.dumps(request), headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("body")
    assert get(browser, case("a", "saved")) == []


def test_joiners_and_spaces_are_part_of_names(browser):
    author = "\u0645\u06cc\u200c\u0646\u0627 \u5c71\u7530\u3000\u592a\u90ce"
    saved(browser, asked(browser, squares(4)[0][..., None], author=author))
    assert get(browser, case("a", "saved"))[0]["author"] == author


def test_a_folder_that_cannot_be_written_is_said(browser, tmp_path):
    (tmp_path / "saved").write_text("a file in the way")
    answer = save(browser, asked(browser, squares(4)[0][..., None]))
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")


def test_a_damaged_record_is_passed_over(browser, tmp_path):
    path = saved(browser, asked(browser, squares(4)[0][..., None]))
    good = (path.parent / "saved.json").read_text()
    for number, text in enumerate(("{", "[]", "[" * 10_000, good.replace('"Ada"', "3"), good.replace("edited", "?"))):
        (tmp_path / f"saved/a/9{number}").mkdir()
        (tmp_path / f"saved/a/9{number}/saved.json").write_text(text)
    assert [record["path"] for record in get(browser, case("a", "saved"))] == [str(path.parent)]


@pytest.fixture
def series(tmp_path):
    write_series(tmp_path / "scan", noise(), orientation=OBLIQUE)
    return client(tmp_path / "scan"), tmp_path / "scan"


def test_a_dicom_seg_holds_the_mask_where_it_lies(series):
    browser, folder = series
    mask = drawing(noise().shape)
    mask[..., 1] = False
    built = dcmread(saved(browser, asked(browser, mask, format="dicom-seg"), "scan"))
    assert (built.Modality, built.SegmentSequence[0].SegmentAlgorithmType) == ("SEG", "SEMIAUTOMATIC")
    assert str(built.ContentCreatorName) == "Ada^"
    assert "spiculated" in built.SegmentSequence[0].SegmentDescription
    assert built.PatientID == PATIENT_ID
    frames = {
        tuple(np.round(np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float), 3)): pixels
        for frame, pixels in zip(built.PerFrameFunctionalGroupsSequence, built.pixel_array, strict=True)
    }
    assert len(frames) == 3
    for k, path in enumerate(open_study(folder).sources):
        place = tuple(np.round(np.array(dcmread(path).ImagePositionPatient, float), 3))
        assert np.array_equal(frames.get(place, np.zeros_like(mask[..., k])).astype(bool), mask[..., k])


@pytest.mark.parametrize("author", ["Müller", "Doe^Jane=x", "back\\slash", "名前"])
def test_any_name_can_sign_a_dicom_seg(series, author):
    browser, _ = series
    path = saved(browser, asked(browser, drawing(noise().shape), format="dicom-seg", author=author), "scan")
    assert dcmread(path).ContentCreatorName
    assert get(browser, case("scan", "saved"))[0]["author"] == author


def test_a_dicom_study_can_be_saved_as_nifti_too(series):
    browser, folder = series
    mask = drawing(noise().shape)
    image = nib.load(saved(browser, asked(browser, mask), "scan"))
    assert np.array_equal(image.get_fdata() > 0, mask)
    assert np.allclose(image.affine, open_study(folder).case.grid.affine, atol=1e-4)


class Archive:
    """One that takes a file, or says why it does not."""

    root = "https://pacs.example/dicom-web"

    def __init__(self, refusal=None):
        self.refusal, self.files = refusal, []

    def store(self, paths):
        if self.refusal:
            raise self.refusal
        self.files += [dcmread(path).SOPInstanceUID for path in paths]


def test_a_mask_goes_to_the_archive_where_that_is_asked(tmp_path):
    write_series(tmp_path / "CT", noise((6, 9, 5)))
    archive = Archive()
    browser = client(tmp_path / "CT", archive=archive)
    assert get(browser, "info")["archive"] == archive.root
    mask = drawing((6, 9, 5))
    assert save(browser, asked(browser, mask, format="dicom-seg"), "CT").json()["stored"] is None
    answer = save(browser, asked(browser, mask, format="dicom-seg", store=True), "CT").json()
    assert answer["stored"] == "accepted by https://pacs.example/dicom-web"
    assert archive.files == [dcmread(answer["path"]).SOPInstanceUID]


def test_a_mask_that_the_archive_does_not_take_is_saved(tmp_path):
    write_series(tmp_path / "CT", noise((6, 9, 5)))
    refusal = InputError(Archive.root, expected="chosen.dcm to be accepted", got="a refusal", hint="the files stay")
    browser = client(tmp_path / "CT", archive=Archive(refusal))
    answer = save(browser, asked(browser, drawing((6, 9, 5)), format="dicom-seg", store=True), "CT").json()
    assert answer["stored"] == str(refusal)
    assert Path(answer["path"]).exists()


def test_what_no_archive_can_take_is_refused(browser, tmp_path):
    assert save(browser, asked(browser, drawing((*SIZE, 1)), store=True)).status_code == 422
    assert not (tmp_path / "saved").exists()
