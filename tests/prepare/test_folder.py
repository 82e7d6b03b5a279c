"""Anyone's data through `prepare folder`: the dry run's findings, what is written, and what is refused."""

import json
from contextlib import nullcontext

import nibabel as nib
import numpy as np
import pytest
from in_turn import InTurn
from PIL import Image
from said import command

import plurimask as pm
from plurimask import __version__
from plurimask.geometry import Grid
from plurimask.prepare.folder import fit_square, to_planes, write_planes
from plurimask.records import Case

AFFINE = np.array([[0, -0.8, 0, 5], [0.9, 0, 0, -7], [0, 0, 2.5, 11], [0, 0, 0, 1.0]])
SHAPE = (16, 18, 5)
PATTERNS = ("--image", "{case}/ct.nii.gz", "--reader", "{case}/reader_{reader}.nii.gz")
PNG = ("--image", "{case}.png", "--reader", "{case}_{reader}.png")


def volume(number):
    return np.random.default_rng(number).normal(100, 20, SHAPE).astype(np.float32)


def drawn(reader, value=1):
    """An L on slices 1 to 3, a row longer for each reader; (H, W, D) uint8."""
    mask = np.zeros(SHAPE, dtype=np.uint8)
    mask[4 : 9 + reader, 5:8, 1:4] = value
    mask[4:6, 5:12, 1:4] = value
    return mask


def save(path, values, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values, affine), path)


def save_png(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


@pytest.fixture
def root(tmp_path):
    """Three volumes with two readers each, of two patients."""
    for number, name in enumerate(("P1_a", "P1_b", "P2_a")):
        save(tmp_path / "data" / name / "ct.nii.gz", volume(number))
        for reader in (1, 2):
            save(tmp_path / "data" / name / f"reader_{reader}.nii.gz", drawn(reader))
    return tmp_path / "data"


@pytest.fixture
def run(monkeypatch, capsys, root, tmp_path):
    """`prepare folder` of the root; `--out` is tmp_path / "out", left out in a dry run."""

    def call(*options, patterns=PATTERNS):
        to = () if "--dry-run" in options else ("--out", tmp_path / "out")
        return command(monkeypatch, capsys, "prepare", "folder", "--root", root, *patterns, *to, *options)

    return call


def written(root):
    return pm.open_dataset(root.parent / "out")


@pytest.mark.parametrize(
    ("options", "files"),
    [(("--val", 0.2), {"split.csv"}), (("--folds", 3), {"fold-1.csv", "fold-2.csv", "fold-3.csv"})],
)
def test_a_rule_of_sides_is_written_beside_the_cases(run, root, tmp_path, options, files):
    assert run("--patient", "{patient}_*", *options, "--dry-run").refused("at least 3 patients", "got 2")
    assert (
        "3 patients: 1 train (3 cases), 1 val (3 cases), 1 test (3 cases)"
        in run("--patient", "{patient}", *options).out
    )
    assert {path.name for path in (tmp_path / "out").glob("*.csv")} == files | {"patients.csv"}
    dataset = pm.open_dataset(tmp_path / "out" / min(files))
    assert set(dataset.sides.values()) == {"train", "val", "test"}


def test_marked_slices_become_cases_where_they_lay_with_the_patient_of_their_name(run, root):
    said = run("--patient", "{patient}_*")
    assert said.code == 0
    assert "9 cases in" in said.out
    data = written(root)
    assert list(data.names)[:4] == ["P1_a-s001", "P1_a-s002", "P1_a-s003", "P1_b-s001"]
    assert sorted(set(data.patients)) == ["P1", "P2"]
    case = data[1]
    np.testing.assert_array_equal(case.image[0], volume(0)[:, :, 2])
    np.testing.assert_array_equal(case.readers, [drawn(reader)[:, :, 2] for reader in (1, 2)])
    np.testing.assert_allclose(case.grid.affine @ (3, 4, 0, 1), AFFINE @ (3, 4, 2, 1), atol=1e-4)


def test_another_axis_all_slices_and_a_size(run, root):
    assert run("--axis", 1, "--all-slices", "--size", 8).code == 0
    data = written(root)
    assert len(data) == 3 * SHAPE[1]
    assert data[0].image.shape == (1, 8, 8)


def test_volumes_stay_whole_where_they_lay(run, root):
    said = run("--volumes", "--window", "80,120")
    assert said.code == 0, said.err
    assert "3 cases in" in said.out
    case = written(root)[0]
    assert np.allclose(case.image[0], volume(0).clip(80, 120))
    assert np.array_equal(case.readers, [drawn(1), drawn(2)])
    assert np.allclose(case.grid.affine, AFFINE)
    assert "leave out --axis" in run("--volumes", "--size", "8").err


def test_pictures_stay_pictures_whoever_drew(run, root):
    pixels = np.random.default_rng(0).integers(256, size=(9, 7), dtype=np.uint8)
    save_png(root / "x.png", pixels)
    save_png(root / "x_1.png", np.zeros_like(pixels))
    assert run(patterns=PNG).code == 0
    (case,) = written(root)
    np.testing.assert_array_equal(case.image[0], pixels)
    assert (case.name, case.readers.any(), case.patient) == ("x", False, None)


def test_several_images_are_channels(run, root):
    for name in ("P1_a", "P1_b", "P2_a"):
        save(root / name / "pet.nii.gz", volume(9))
    assert run("--image", "{case}/pet.nii.gz").code == 0
    np.testing.assert_array_equal(written(root)[0].image[1], volume(9)[:, :, 1])


@pytest.mark.parametrize(("label", "area"), [("2", 8), ("nonzero", 8 + 16)])
def test_a_label_is_chosen_among_several(run, root, label, area):
    for path in root.glob("*/reader_*.nii.gz"):
        classes = np.zeros(SHAPE, dtype=np.uint8)
        classes[2:4, 2:6, 1], classes[6:10, 2:6, 1] = 2, 3
        save(path, classes)
    assert run("--label", label).code == 0
    assert {int(case.readers[0].sum()) for case in written(root)} == {area}


def test_the_manifest_says_from_what_and_how(run, root):
    run("--patient", "{patient}_*")
    manifest = json.loads((root.parent / "out/manifest.json").read_text())
    assert (manifest["made_by"], manifest["version"]) == ("plurimask prepare folder", __version__)
    assert manifest["counts"] == {"cases": 9, "patients": 2, "cases_of_unknown_patient": 0}
    assert manifest["sha256"] == written(root).digest
    assert manifest["settings"]["images"] == ["{case}/ct.nii.gz"]
    assert manifest["source"]["files"] == 9
    assert manifest["found"][0]["agreement"]["dice"] == pytest.approx(2 * 26 / (26 + 29))
    assert manifest["skipped"] == []


def test_what_cannot_be_used_is_passed_over_with_its_reason(run, root):
    save(root / "Q/ct.nii.gz", volume(7))
    save(root / "R/reader_1.nii.gz", drawn(1))
    save(root / "P1_b/reader_2.nii.gz", drawn(2), np.diag([1, 1, 1, 1.0]))
    (root / "P2_a/reader_2.nii.gz").write_bytes(b"")
    said = run()
    assert said.code == 0
    skipped = json.loads((root.parent / "out/manifest.json").read_text())["skipped"]
    assert [one["what"] for one in skipped] == ["P1_b", "P2_a", "Q", "R"]
    for one, why in zip(
        skipped, ("the affine of", "NIfTI", "at least one reader", "an image as {case}/ct"), strict=True
    ):
        assert why in one["why"]
        assert f"passed over: {one['what']}: " in said.out
    assert {name[:4] for name in written(root).names} == {"P1_a"}


def test_of_many_that_are_passed_over_twenty_are_printed(run, root):
    for number in range(23):
        save(root / f"lone-{number:02d}/ct.nii.gz", volume(0)[:2, :2])
    lines = run().out.splitlines()
    assert sum(line.startswith("passed over: ") for line in lines) == 20
    assert "... and 3 more of these" in lines


def test_a_dry_run_says_what_is_there_and_writes_nothing(run, root):
    said = run("--dry-run")
    assert said.code == 0
    row = next(line for line in said.out.splitlines() if line.startswith("P1_a"))
    assert row.split() == ["P1_a", "0,1", "1", "16x18x5", "0.9x0.8x2.5", "0.95", "0.90", "0.00", "3"]
    assert "3 cases, 9 to write; 2 readers; label values 0, 1; mean Dice of two readers 0.95" in said.out
    assert "reader 1: {case}/reader_2.nii.gz" in said.out
    assert [path.name for path in root.parent.iterdir()] == ["data"]


def test_readers_who_are_the_same_persons_are_named(run, root, tmp_path):
    (root / "P2_a" / "reader_1.nii.gz").unlink()
    run("--persons", "--size", 16)
    table = (tmp_path / "out" / "readers.csv").read_text().splitlines()
    assert table[:3] == ["case,label,reader", "P1_a-s001,label0,1", "P1_a-s001,label1,2"]
    assert "P2_a-s001,label0,2" in table
    assert {case.drawn_by for case in pm.open_dataset(tmp_path / "out")} == {("1", "2"), ("2",)}


def test_a_folder_of_cases_keeps_who_drew_and_who_was_drawn(run, tmp_path):
    root = tmp_path / "data"
    for name in ("x", "y"):
        save_png(root / name / "image.png", np.zeros((8, 8), dtype=np.uint8))
        save_png(root / name / "label0.png", np.eye(8, dtype=np.uint8) * 255)
    (root / "patients.csv").write_text("case,patient\nx,P7\ny,P7\n")
    (root / "readers.csv").write_text("case,label,reader\ny,label0,ann\n")
    run(patterns=("--image", "{case}/image.png", "--reader", "{case}/label{reader}.png"))
    dataset = pm.open_dataset(tmp_path / "out")
    assert dataset.patients == ("P7", "P7")
    assert [case.drawn_by for case in dataset] == [None, ("ann",)]


def test_sound_data_with_patients_raises_no_question_and_says_their_sides(run):
    said = run("--dry-run", "--patient", "{patient}_*").out
    assert "look at" not in said
    assert (
        "2 patients: 2 train (9 cases), 0 val (0 cases), 0 test (0 cases), by the hash of their ids" in said
    )  # of P1 and P2


def test_a_patient_in_two_spellings_is_asked_about(run, root):
    (root / "P2_a").rename(root / "p1_a")
    said = run("--dry-run", "--patient", "{patient}_*").out
    assert "look at: the patients of P1_a and p1_a are written in two ways (character 1: U+0050 against U+0070)" in said


def test_unknown_patients_are_told(run):
    assert "the patient of 3 cases is unknown, and splits are by patient" in run("--dry-run").out


def shift(root):
    save(root / "P1_b/reader_2.nii.gz", np.roll(drawn(2), (4, 5), (0, 1)))


def flip(root):
    save(root / "P1_b/reader_2.nii.gz", drawn(2)[:, ::-1])


def empty(root):
    for path in root.glob("*/reader_2.nii.gz"):
        save(path, np.zeros(SHAPE, np.uint8))


def copy(root):
    for path in root.glob("*/reader_2.nii.gz"):
        save(path, drawn(1))


def off_body(root):
    image = volume(1)
    image[:12, :13] = 0
    save(root / "P1_b/ct.nii.gz", image)


def odd_values(root):
    mask = drawn(1)
    mask[0, 0, 0] = 7
    save(root / "P1_b/reader_1.nii.gz", mask)


def readers_in_one_file(root):
    save(root / "P1_b/reader_2.nii.gz", np.stack([drawn(1), drawn(2)], axis=-1))


def another_size(root):
    save(root / "P1_b/reader_2.nii.gz", drawn(2)[:, :, :4])


def planes(root):
    for name in ("P1_a", "P1_b"):
        save(root / name / "ct.nii.gz", volume(0)[..., :1])
        for reader in (1, 2):
            save(root / name / f"reader_{reader}.nii.gz", drawn(reader)[..., 1:2])


FAULTS = {
    "shifted": (shift, "look at: P1_b, shifted: readers 0 and 1: Dice 0.0"),
    "flipped": (flip, "with reader 1 flipped along axis 1"),
    "empty": (empty, "reader 1 ({case}/reader_2.nii.gz) drew nothing in any of 3 cases"),
    "a copy": (copy, "readers 0 and 1 have the same masks in all 3 cases where both drew"),
    "off the body": (off_body, "look at: P1_b, off the body: reader 0: 100% of the mask"),
    "missing": (lambda root: (root / "P1_b/reader_2.nii.gz").unlink(), "reader 1 ({case}/reader_2.nii.gz) read 2 of 3"),
    "another size": (another_size, "passed over: P1_b: "),
    "a value of one voxel": (odd_values, "passed over: P1_b: "),
    "readers in one file": (
        readers_in_one_file,
        "expected one reader's mask of size (H, W) or (H, W, D), got size (16",
    ),
    "planes and volumes": (planes, "cases differ in their number of axes: 2 in 2, 3 in 1"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_dry_run_finds(run, root, name):
    spoil, words = FAULTS[name]
    spoil(root)
    said = run("--dry-run")
    assert said.code == 0
    assert words in said.out


@pytest.mark.parametrize("options", [("--dry-run",), ()])
def test_without_any_case_that_can_be_used_it_ends_with_2(run, root, options):
    for path in root.glob("*/reader_*.nii.gz"):
        save(path, np.zeros((4, 4), np.uint8))
    assert run(*options).refused("P1_a: expected at least one case that can be used, got none; 3 passed over")


def test_smoothed_masks_are_cut_as_a_folder_of_cases_is(run, root):
    ramp = np.tile(np.arange(256, dtype=np.uint8), (8, 1))
    save_png(root / "cases" / "x" / "image.png", ramp)
    save_png(root / "cases" / "x" / "label0.png", ramp)
    patterns = ("--image", "cases/{case}/image.png", "--reader", "cases/{case}/label0.png")
    assert "with --label 255 0.02, with --label nonzero 0.67" in run("--dry-run", patterns=patterns).out
    assert run(patterns=patterns).code == 0
    np.testing.assert_array_equal(written(root)[0].readers, pm.open_dataset(root / "cases")[0].readers)


def classes(root):
    for reader in (1, 2):
        save(root / f"P1_b/reader_{reader}.nii.gz", drawn(1) * 2 + drawn(2))
        save(root / f"P1_a/reader_{reader}.nii.gz", drawn(1) * 2 + drawn(2))


REFUSED = {
    "several classes": (classes, [], ["P1_a/reader_1.nii.gz", "0, 1, 3", "--label nonzero", "not supported yet"]),
    "a label that nobody drew": (lambda root: None, ["--label", "7"], ["--label 7 in some label", "got 0, 1"]),
    "a label that is no number": (lambda root: None, ["--label", "lesion"], ["a number, nonzero or half"]),
    "no patient in the pattern": (lambda root: None, ["--patient", "P1"], ["{patient} in it"]),
    "names of another form": (lambda root: None, ["--patient", "{patient}x*"], ["of the form {patient}x*"]),
    "images elsewhere": (lambda root: None, ["--image", "{name}/pet.nii.gz"], ["the placeholders of {case}/ct.nii.gz"]),
    "one channel nowhere": (lambda root: None, ["--image", "{case}/pet.nii.gz"], ["3 passed over", "an image as"]),
    "a name that no folder can have": (
        lambda root: [path.rename(root / f"a:{i}") for i, path in enumerate(sorted(root.iterdir()))],
        [],
        ["a case name that any file system can hold"],
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line_with_nothing_written(run, root, name):
    spoil, options, words = REFUSED[name]
    spoil(root)
    assert run(*options).refused(*words)
    assert [path.name for path in root.parent.iterdir()] == ["data"]


def test_a_folder_in_use_is_refused_before_anything_is_read(run, root):
    (root.parent / "out").mkdir()
    (root.parent / "out/mine").write_text("x")
    assert run().refused("a new or empty folder", "name another --out")


@pytest.mark.parametrize("linked", [False, True])
def test_to_write_into_what_is_read_is_refused(monkeypatch, capsys, root, linked):
    where = root.parent / "link" if linked else root
    if linked:
        where.symlink_to(root, target_is_directory=True)
    before = sorted(root.rglob("*"))
    said = command(monkeypatch, capsys, "prepare", "folder", "--root", root, *PATTERNS, "--out", where / "a" / "out")
    assert said.refused("a place outside", "got one inside it")
    assert sorted(root.rglob("*")) == before


def test_without_out_there_must_be_a_dry_run(monkeypatch, capsys, root):
    said = command(monkeypatch, capsys, "prepare", "folder", "--root", root, *PATTERNS)
    assert said.refused("--dry-run")


OBLIQUE = np.array([[0, -0.9, 0.1, 5], [1.1, 0, 0, -7], [0, 0.1, 2.5, 11], [0, 0, 0, 1.0]])


def volume_case(shape=(4, 5, 6), affine=OBLIQUE):
    image = np.arange(2 * np.prod(shape), dtype=np.float32).reshape(2, *shape)
    readers = np.zeros((2, *shape), dtype=bool)
    readers[0, 1, 2, 3] = True
    return Case("a", image, readers, Grid(shape, affine), "p")


def plane(shape=(4, 6), masks=1):
    rng = np.random.default_rng(0)
    image = rng.normal(size=(2, *shape)).astype(np.float32)
    return Case("a", image, rng.random((masks, *shape)) < 0.5, Grid.plane(shape, 0.7))


@pytest.mark.parametrize(("axis", "number"), [(0, 1), (1, 2), (2, 3)])
def test_the_marked_plane_holds_the_volumes_values_where_they_lie(axis, number):
    case = volume_case()
    (cut,), lost = to_planes(case, axis, None)
    assert (cut.name, cut.patient, lost) == (f"a-s00{number}", "p", [])
    np.testing.assert_array_equal(cut.image, case.image.take(number, axis + 1))
    index = [1, 2, 3]
    index.pop(axis)
    assert cut.readers[0][tuple(index)]
    np.testing.assert_allclose(cut.grid.affine @ (*index, 0, 1), OBLIQUE @ (1, 2, 3, 1))


def test_every_plane_where_all_are_wanted_and_without_an_affine_none_has_one():
    cut, _ = to_planes(volume_case(affine=None), 2, None, every=True)
    assert [case.name for case in cut] == [f"a-s00{i}" for i in range(6)]
    assert cut[0].grid.affine is None


def test_a_plane_stays_a_plane_whoever_drew():
    case = plane(masks=0)
    assert to_planes(case, 0, None) == ([case], [])


def test_a_plane_of_a_volume_whose_marks_vanish_is_named():
    kept, lost = to_planes(volume_case(), 2, 1)
    assert (kept, lost) == ([], ["a-s003"])


def test_a_small_plane_is_padded_with_the_least_value_and_never_enlarged():
    case = plane((4, 6))
    fitted = fit_square(case, 8)
    assert fitted.image.shape == (2, 8, 8)
    np.testing.assert_array_equal(fitted.image[:, 2:6, 1:7], case.image)
    np.testing.assert_array_equal(fitted.readers[:, 2:6, 1:7], case.readers)
    assert fitted.readers.sum() == case.readers.sum()
    assert (fitted.image[:, 0] == case.image.min((1, 2))[:, None]).all()


def test_a_large_plane_is_averaged_over_area():
    odd, even = plane((7, 7)), plane((4, 4))
    np.testing.assert_allclose(fit_square(odd, 3).image.mean((1, 2)), odd.image.mean((1, 2)), rtol=1e-5)
    expected = even.image.reshape(2, 2, 2, 2, 2).mean((2, 4))
    np.testing.assert_allclose(fit_square(even, 2).image, expected, rtol=1e-6)


@pytest.mark.parametrize(("side", "drawn", "kept"), [(3, 4, False), (3, 5, True), (2, 2, True)])
def test_a_pixel_is_drawn_where_half_of_its_area_was(side, drawn, kept):
    readers = (np.arange(side * side) < drawn).reshape(1, side, side)
    case = Case("a", np.zeros((1, side, side), np.float32), readers, Grid((side, side)))
    assert fit_square(case, 1).readers.item() is kept


@pytest.mark.parametrize("size", [3, 6, 8])
def test_the_middle_stays_where_it_is(size):
    case = plane((6, 6))
    fitted = fit_square(case, size)
    np.testing.assert_allclose(
        fitted.grid.affine @ ((size - 1) / 2, (size - 1) / 2, 0, 1), case.grid.affine @ (2.5, 2.5, 0, 1), atol=1e-9
    )
    assert fitted.grid.spacing_mm == pytest.approx((0.7 * max(6 / size, 1),) * 2)


@pytest.mark.parametrize("labels", ["whole", "unclear", "at an address"])
def test_a_cluster_writes_the_same_dataset(run, root, tmp_path, monkeypatch, labels):
    if labels == "unclear":  # as the only file that needs a choice is
        save(root / "P1_b" / "reader_1.nii.gz", drawn(1, 2))
    (root / "P2_a" / "reader_1.nii.gz").unlink()
    assert run("--patient", "{patient}_*", "--persons").code == 0
    (tmp_path / "out").rename(tmp_path / "here")
    monkeypatch.setattr("plurimask.cluster.Cluster", lambda address: nullcontext(InTurn()))
    far = ("--root", f"file://{root}", "--out", f"file://{tmp_path / 'out'}") if labels == "at an address" else ()
    said = run("--patient", "{patient}_*", "--persons", "--engine", "ray", *far)
    assert said.code == 0, said.err
    contents = [
        {path.relative_to(tmp_path / where): path.read_bytes() for path in (tmp_path / where).rglob("*.*")}
        for where in ("here", "out")
    ]
    assert contents[0] == contents[1]
    assert not [path for path in contents[1] if path.name.startswith(".")]


def test_cases_on_which_a_cluster_fails_are_passed_over_with_their_reason(run, root, tmp_path, monkeypatch):
    def fail(case, *given):
        if case.name == "P1_b":
            raise RuntimeError("its worker died")
        return write_planes(case, *given)

    monkeypatch.setattr("plurimask.prepare.folder.write_planes", fail)
    monkeypatch.setattr("plurimask.cluster.Cluster", lambda address: nullcontext(InTurn()))
    assert "passed over: P1_b: its worker died" in run("--engine", "ray").out
    assert len(written(root)) == 6
    assert [path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".")] == []
