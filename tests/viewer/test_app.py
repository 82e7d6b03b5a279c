"""What the addresses answer, held against the arrays on disk."""

import io
import time

import numpy as np
import pytest
from dicom_series import PATIENT_ID, PATIENT_NAME, noise, write_series
from PIL import Image
from served import SIZE, case, client, get, squares, unpacked, write_case, write_set

from plurimask.files.images import write_nifti
from plurimask.files.locate import open_study
from plurimask.geometry import Grid
from plurimask.viewer.library import name_id

PATIENCE = 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("served")
    write_case(root / "data", "a", 3, 5)
    write_case(root / "data", "b", 0, 4)
    write_case(root / "data", "c")
    write_case(root / "data", "d", 3)
    write_set(root / "masks", "a", squares(3, 3, 6, 0), seeds=(1, 2**62, 3, 4), settings={"steps": 10})
    write_set(root / "masks", "b", squares(5, 5))
    write_set(root / "masks", "c", squares(2))
    (root / "masks" / "d").mkdir()
    (root / "masks" / "d" / "masks.npz").write_bytes(b"damaged")
    return root


@pytest.fixture(scope="module")
def browser(folder):
    return client(folder / "masks", folder / "data")


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """A volume of three different sides and spacings, with a reader, and three samples."""
    root = tmp_path_factory.mktemp("volume")
    rng = np.random.default_rng(0)
    grid = Grid((6, 9, 5), np.diag([0.5, 0.75, 3.0, 1.0]))
    image = rng.normal(size=grid.shape).astype(np.float32)
    masks = np.zeros((3, *grid.shape), dtype=bool)
    masks[:, 1:5, 2:8, 1:4] = rng.random((3, 4, 6, 3)) < 0.4
    (root / "data" / "scan").mkdir(parents=True)
    write_nifti(root / "data" / "scan" / "image.nii.gz", image, grid)
    write_nifti(root / "data" / "scan" / "label0.nii.gz", masks[0].view(np.uint8), grid)
    write_set(root / "masks", "scan", masks, grid)
    return client(root / "masks", root / "data"), image, masks


def wait_for(look):
    """What `look` gives as soon as nothing is computed any more."""
    deadline = time.monotonic() + PATIENCE
    while (page := look())["computing"] and time.monotonic() < deadline:
        time.sleep(0.02)
    return page


def names(page):
    return [item["name"] for item in page["items"] if item["reason"] is None]


def test_info_says_what_is_served(browser):
    info = get(browser, "info")
    assert [source["label"] for source in info["sources"]] == ["masks"]
    assert info["model"] == {
        **{"name": None, "ready": False, "loading": False},
        "reason": "no model is served; start with --model",
        "readers": [],
    }
    assert (info["title"], info["formats"]) == ("masks", ["nifti", "dicom-seg"])


def test_the_list_has_the_good_ones_and_says_which_are_broken(browser):
    page = wait_for(lambda: get(browser, "cases"))
    assert (page["total"], names(page), page["broken_total"]) == (4, ["a", "b", "c"], 1)
    (broken,) = page["broken"]
    assert broken["name"] == "d"
    assert "whole masks.npz" in broken["reason"]


def test_a_broken_one_keeps_its_place_and_says_why(browser):
    page = wait_for(lambda: get(browser, "cases", order="desc", limit=2))
    broken, good = page["items"]
    assert (broken["name"], broken["samples"], good["name"], good["reason"]) == ("d", None, "c", None)
    assert broken["reason"] == page["broken"][0]["reason"]


def test_an_item_by_hand(browser):
    item = wait_for(lambda: get(browser, "cases", limit=1))["items"][0]
    assert (item["id"], item["samples"], item["readers"], item["unit"]) == (name_id("a"), 4, 2, "pixels")
    assert (item["shape"], item["spacing_mm"]) == (list(SIZE), None)
    assert item["size_mean"] == (9 + 9 + 36 + 0) / 4
    assert item["disagreement"] == pytest.approx((0 + 2 * 0.75 + 3 * 1) / 6)


def test_undefined_values_are_null(browser):
    item = wait_for(lambda: get(browser, "cases", offset=2, limit=1))["items"][0]
    assert (item["name"], item["disagreement"], item["score"]) == ("c", None, None)


@pytest.mark.parametrize(
    ("sort", "order", "wanted"),
    [
        *(("name", "asc", "abc"), ("name", "desc", "cba"), ("size", "asc", "cab"), ("size", "desc", "bac")),
        *(("disagreement", "asc", "bac"), ("disagreement", "desc", "abc")),
    ],
)
def test_cases_are_sorted_and_undefined_ones_come_last(browser, sort, order, wanted):
    page = wait_for(lambda: get(browser, "cases", sort=sort, order=order))
    assert "".join(names(page)) == wanted


def test_pages_follow_each_other(browser):
    pages = [wait_for(lambda at=at: get(browser, "cases", offset=at, limit=2)) for at in (0, 2, 4)]
    assert [names(page) for page in pages] == [["a", "b"], ["c"], []]


@pytest.mark.parametrize(("name", "offset", "held"), [("a", 0, "ab"), ("c", 2, "c")])
def test_the_page_that_holds_a_case(browser, name, offset, held):
    page = wait_for(lambda: get(browser, "cases", holding=name_id(name), offset=3, limit=2))
    assert (page["offset"], "".join(names(page))) == (offset, held)


def test_a_page_that_holds_an_unknown_case_is_refused(browser):
    assert browser.get("/api/v1/cases", params={"holding": "x"}).status_code == 404


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 201}, {"offset": -1}, {"sort": "x"}, {"order": "up"}])
def test_a_query_out_of_range_is_refused(browser, query):
    assert browser.get("/api/v1/cases", params=query).status_code == 422


def test_a_case_by_hand(browser):
    found = get(browser, case("a"))
    assert (found["shape"], found["spacing_mm"], found["channels"], found["readers"]) == ([*SIZE, 1], None, 1, 2)
    assert (found["samples"], found["sizes"], found["reader_sizes"]) == (4, [9, 9, 36, 0], [9, 25])
    assert (found["method"], found["settings"]) == ("toy", {"steps": 10})
    assert found["seeds"] == ["1", str(2**62), "3", "4"]  # too long for JavaScript's numbers
    assert [one["text"] for one in found["groups"]] == [
        *("2 of 4: 9 pixels", "1 of 4: 36 pixels", "1 of 4: nothing drawn")
    ]
    assert [level["size"] for level in found["agreement"]] == [36, 9, 9, 0]
    assert (found["slices_marked"][2], found["start_slice"][2], found["ranges"]) == ([0], 0, [{"low": 0, "high": 191}])
    assert (found["has_image"], found["formats"]) == (True, ["nifti"])
    assert "patient" not in found


def test_scores_are_those_of_an_evaluation(browser):
    values = {one["key"]: one for one in get(browser, case("b", "scores"))["values"]}
    assert values["d_ss"]["value"] == 0.0
    assert values["dice_max"]["value"] == pytest.approx((0 + 2 * 16 / (16 + 25)) / 2)
    assert values["ged_u"]["better"] == "lower"
    assert (values["ged_u"]["headline"], values["brier"]["headline"]) == (True, False)


def test_without_readers_there_are_no_scores(browser):
    assert get(browser, case("c", "scores")) == {"values": [], "reason": "nobody read this case"}


@pytest.mark.parametrize("address", ["image/1", "image/-1", "samples/1", "readers/1", "image/x"])
def test_a_slice_that_is_not_there_is_a_problem(browser, address):
    answer = browser.get(f"/api/v1/{case('a')}/{address}")
    assert answer.status_code in (404, 422)
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_channel_that_is_not_there_is_a_problem(browser):
    assert browser.get(f"/api/v1/{case('a', 'image', 0)}", params={"channel": 1}).status_code == 404


def test_a_broken_set_is_a_problem_of_its_own(browser):
    answer = browser.get(f"/api/v1/{case('d')}")
    assert answer.status_code == 422
    assert "damaged" not in answer.text


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_of_the_image_come_back(scan, axis):
    browser, image, _ = scan
    for k, wanted in enumerate(np.moveaxis(image, axis, 0)):
        answer = browser.get(f"/api/v1/{case('scan', 'image', k)}", params={"axis": axis})
        shape = tuple(map(int, answer.headers["X-Shape"].split(",")))
        scale, offset = (float(answer.headers[f"X-{what}"]) for what in ("Scale", "Offset"))
        values = np.frombuffer(answer.content, "<i2").reshape(shape) * scale + offset
        assert np.allclose(values, wanted, rtol=0, atol=0.51 * scale)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("kind", ["samples", "readers"])
def test_slices_of_masks_come_back_voxel_for_voxel(scan, kind, axis):
    browser, _, masks = scan
    masks = masks if kind == "samples" else masks[:1]
    for k, wanted in enumerate(np.moveaxis(masks, axis + 1, 0)):
        answer = browser.get(f"/api/v1/{case('scan', kind, k)}", params={"axis": axis})
        found = np.zeros_like(wanted)
        if answer.content:
            bits, box = unpacked(answer)
            found[:, *box] = bits
        assert np.array_equal(found, wanted)
        assert bool(answer.content) == bool(wanted.any())


def test_a_volume_says_where_it_is_marked(scan):
    browser, _, masks = scan
    found = get(browser, case("scan"))
    assert found["spacing_mm"] == [0.5, 0.75, 3.0]
    assert found["slices_marked"] == [
        np.flatnonzero(masks.any(axis=tuple({0, 1, 2, 3} - {axis + 1}))).tolist() for axis in range(3)
    ]
    assert found["sizes"] == pytest.approx(masks.sum(axis=(1, 2, 3)) * 0.5 * 0.75 * 3.0)
    assert found["unit"] == "mm³"


def test_a_thumbnail_is_a_small_picture_with_outlines(browser):
    answer = browser.get(f"/api/v1/{case('a', 'thumbnail')}")
    assert answer.headers["content-type"] == "image/png"
    picture = np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB")).astype(int)
    assert picture.shape == (96, 96, 3)
    coloured = picture[..., 0] > picture[..., 2] + 20
    rows, columns = np.nonzero(coloured)
    # Shown are 9 x 9 pixels from row 0 and column 2; the largest square is rows 2 to 7 and columns 3 to 8 of them.
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (21, 84, 11, 74)
    assert not coloured[60:80, 50:70].any()


def test_readers_are_in_the_thumbnail_where_nothing_was_drawn(tmp_path):
    write_case(tmp_path / "data", "a", 4)
    answer = client(tmp_path / "data").get(f"/api/v1/{case('a', 'thumbnail')}")
    picture = np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB")).astype(int)
    assert (picture[..., 2] > picture[..., 0] + 20).any()


def test_a_thumbnail_of_a_volume_keeps_its_proportions_and_stands_as_radiologists_look(scan):
    browser, _, _ = scan
    picture = Image.open(io.BytesIO(browser.get(f"/api/v1/{case('scan', 'thumbnail')}").content))
    # Rows of the array run to the right and columns to the front, so that they lie along x and y of the picture.
    assert picture.size == (round(96 * 6 * 0.5 / (9 * 0.75)), 96)


def test_every_channel_has_a_window_of_its_own(tmp_path):
    write_case(tmp_path / "data", "a", 4)
    folder = tmp_path / "data" / "a"
    ramp = np.asarray(Image.open(folder / "image.png"))
    (folder / "image.png").rename(folder / "image0.png")
    Image.fromarray(ramp // 2 + 20).save(folder / "image1.png")
    found = get(client(tmp_path / "data"), case("a"))
    assert found["ranges"] == [{"low": 0, "high": 191}, {"low": 20, "high": 115}]
    assert [one["high"] for one in found["windows"]] == pytest.approx([190.045, 115.0])


def test_two_sources_of_one_case_are_told_apart(tmp_path):
    for run, side in (("x-seed0", 3), ("y-seed0", 5)):
        write_set(tmp_path / "masks" / run, "a", squares(side))
    browser = client(tmp_path)
    sizes = [get(browser, case("a"), source=one["id"])["sizes"] for one in get(browser, "info")["sources"]]
    assert sizes == [[9], [25]]


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    root = tmp_path_factory.mktemp("dicom")
    write_series(root / "scan", noise())
    return root / "scan"


def test_hu_of_a_dicom_series_are_exact(series):
    browser, volume = client(series), open_study(series).case.image[0]
    for k in range(volume.shape[2]):
        answer = browser.get(f"/api/v1/{case('scan', 'image', k)}")
        raw = np.frombuffer(answer.content, "<i2").reshape(volume.shape[:2])
        assert (answer.headers["X-Scale"], answer.headers["X-Offset"]) == ("1.0", "0.0")
        assert np.array_equal(raw, volume[..., k])


def test_no_answer_names_the_patient(series):
    browser = client(series)
    for address in ("info", "cases", case("scan"), case("scan", "scores"), case("scan", "saved"), "cases?limit=x"):
        answer = browser.get(f"/api/v1/{address}")
        assert PATIENT_ID not in answer.text
        assert "Doe" not in answer.text


def test_identity_is_shown_where_it_is_asked_for(series):
    patient = get(client(series, show_identity=True), case("scan"))["patient"]
    assert (patient["name"], patient["number"]) == (PATIENT_NAME, PATIENT_ID)


def test_the_interface_describes_itself(browser):
    paths = browser.get("/api/v1/openapi.json").json()["paths"]
    assert all(path.startswith("/api/v1/") for path in paths)
    assert len(paths) == 11
