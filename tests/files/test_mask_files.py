"""Where masks lie: every layout, the order of samples, and what is refused before anything is read."""

import pytest

from plurimask.errors import InputError
from plurimask.files.mask_sets import find_mask_files, list_mask_files


@pytest.fixture
def make(tmp_path):
    """Empty files at these paths below the returned folder."""

    def touch(*paths):
        for path in paths:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).touch()
        return tmp_path

    return touch


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".nii", ".nii.gz", ".NII.GZ"])
@pytest.mark.parametrize("stem", ["a/masks", "a"])
def test_a_stack_lies_in_the_cases_folder_or_bears_its_name(make, stem, suffix):
    root = make(stem + suffix)
    (files,) = list_mask_files(root)
    assert (files.name, files.stack, files.samples) == ("a", root / (stem + suffix), ())


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".npy", ".nii", ".nii.gz"])
def test_samples_lie_one_a_file_under_any_name(make, suffix):
    root = make(f"a/anything{suffix}", f"a/other{suffix}")
    (files,) = list_mask_files(root)
    assert files.stack is None
    assert [path.name for path in files.samples] == [f"anything{suffix}", f"other{suffix}"]


def test_samples_are_in_natural_order(make):
    names = ["2.png", "10.png", "mask.png", "mask2.png", "mask02b.png", "mask10.npy", "mask010.png", "s1-9.png"]
    root = make(*(f"a/{name}" for name in reversed(names)))
    found = [path.name for path in find_mask_files(root / "a").samples]
    assert found == ["2.png", "10.png", "mask.png", "mask2.png", "mask02b.png", "mask010.png", "mask10.npy", "s1-9.png"]


def test_cases_are_sorted_by_name_whatever_their_form(make):
    root = make("c.npz", "a/masks.npy", "b/0.png", "B.nii.gz")
    assert [files.name for files in list_mask_files(root)] == ["B", "a", "b", "c"]


def test_case_names_may_hold_dots(make):
    root = make("1.2.840.npz", "1.2.9/masks.npz", "1.2.nii.nii.gz")
    assert [files.name for files in list_mask_files(root)] == ["1.2.840", "1.2.9", "1.2.nii"]


def test_hidden_and_other_files_beside_the_cases_are_passed_over(make):
    root = make("a.npz", ".b.npz", ".c/masks.npz", "README.md", "overview.png", "log.json", "figures/2026/a.png")
    assert [files.name for files in list_mask_files(root)] == ["a"]


def test_hidden_files_and_folders_in_a_case_are_passed_over(make):
    root = make("a/0.png", "a/.1.png", "a/old/2.png", "a/set.json")
    assert find_mask_files(root / "a").samples == (root / "a/0.png",)


def test_other_files_beside_a_stack_are_passed_over(make):
    root = make("a/masks.npz", "a/notes.txt")
    assert find_mask_files(root / "a").stack == root / "a/masks.npz"


def test_a_link_that_leads_nowhere_is_still_a_sample(make):
    root = make("a/0.png")
    (root / "a/1.png").symlink_to(root / "gone.png")
    assert len(find_mask_files(root / "a").samples) == 2


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (("a/masks.npz", "a.npy"), "expected masks of a in one form, got a and a.npy; remove one"),
        (("a.npz", "a.nii.gz"), r"expected masks of a in one form, got a\.nii\.gz and a\.npz"),
        (("a/masks.npz", "a/masks.nii"), r"/a: expected masks of the case in one form, got masks\.nii and masks\.npz"),
        (("a/masks.npz", "a/0.png"), r"/a: expected masks of the case in one form, got masks\.npz and 0\.png"),
        (("a/0.png", "a/0.npy"), r"/a: expected masks of 0 in one form, got 0\.npy and 0\.png"),
    ],
)
def test_two_forms_are_refused_by_name(make, paths, message):
    with pytest.raises(InputError, match=message):
        list_mask_files(make(*paths))


@pytest.mark.parametrize("paths", [("a/0.tif",), ("a/0.png", "a/1.png", "a/0.tif"), ("a/0.tif", "b.npz")])
def test_a_file_of_another_kind_is_refused_and_never_left_out(make, paths):
    with pytest.raises(InputError, match=r"/a: expected CASE/masks\.npz .*, got 0\.tif; rename, convert or remove it"):
        list_mask_files(make(*paths))


def test_an_archive_of_another_name_is_refused(make):
    with pytest.raises(InputError, match=r"/a: expected CASE/masks\.npz .*, got samples\.npz; rename"):
        list_mask_files(make("a/samples.npz"))


@pytest.mark.parametrize("image", ["image.png", "Image0.nii.gz"])
def test_a_dataset_in_place_of_the_masks_is_refused(make, image):
    with pytest.raises(InputError, match="/a: expected masks alone, got a case with image and label0; pass the masks"):
        list_mask_files(make(f"a/{image}", "a/label0.png"))


@pytest.mark.parametrize("names", [("image0.png", "image1.png"), ("label0.png", "label1.png")])
def test_samples_may_be_named_like_images_or_labels(make, names):
    assert [path.name for path in find_mask_files(make(*(f"a/{name}" for name in names)) / "a").samples] == list(names)


def test_the_folder_of_a_single_case_is_refused(make):
    with pytest.raises(InputError, match=r"got masks\.npz alone; pass the folder above it"):
        list_mask_files(make("a/masks.npz") / "a")


@pytest.mark.parametrize("paths", [(), ("a/set.json",), ("overview.png",)])
def test_a_folder_without_any_masks_is_refused(make, paths):
    with pytest.raises(InputError, match=r"expected CASE/masks\.npz .*, got none; draw masks first, or mend the path"):
        list_mask_files(make(*paths))


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="absent: expected a readable folder, got 'No such file"):
        list_mask_files(tmp_path / "absent")
