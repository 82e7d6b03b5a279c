"""The store: what comes out is what went in, once, whole or not at all."""

import os
import pickle
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from plurimask.datasets.changed import Resided
from plurimask.datasets.store import cache_folder, check_planes, open_store
from plurimask.errors import DatasetError
from plurimask.geometry import Grid
from plurimask.records import Case


class Made:
    """Cases in memory; counts how often one is read."""

    root = "made"

    def __init__(self, cases, digest="d" * 64):
        self.cases, self.digest, self.reads = cases, digest, 0
        self.names, self.patients = [case.name for case in cases], [case.patient for case in cases]

    def __len__(self):
        return len(self.cases)

    def __getitem__(self, index):
        self.reads += 1
        return self.cases[index]


def case(number, readers, shape=(1, 6, 8)):
    rng = np.random.default_rng(number)
    image = rng.normal(size=shape).astype(np.float32)
    return Case(f"case-{number}", image, rng.random((readers, *shape[1:])) < 0.5, Grid(shape[1:]))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PLURIMASK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_who_drew_each_mask_is_found_by_name():
    names = [("ann", None, "bob"), None, ("cleo", "ann")]
    cases = [replace(case(number, 3 - number % 3 // 2), drawn_by=who) for number, who in enumerate(names)]
    store = open_store(Made(cases))
    assert store.who(["bob", "ann"]).tolist() == [[1, -1, 0], [-1, -1, -1], [-1, 1, -1]]
    assert store.drawn_by([2, 0]) == ["cleo", "ann", "ann", "bob"]


@pytest.mark.parametrize("width", [1, 7, 8, 9])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_and_readers_come_back_exactly(width, channels):
    cases = [case(number, readers, (channels, 5, width)) for number, readers in enumerate([4, 1, 3, 2])]
    store = open_store(Made(cases))
    image, readers, valid = store.read([2, 0, 1])
    for position, index in enumerate([2, 0, 1]):
        np.testing.assert_array_equal(image[position], cases[index].image)
        np.testing.assert_array_equal(readers[position][valid[position]], cases[index].readers)
    assert valid.sum(axis=1).tolist() == [3, 4, 1]
    assert store.shapes.tolist() == [[channels, 5, width]] * 4


def test_what_is_decoded_is_that_of_the_whole_whatever_the_sides():
    whole = Made([case(number, 2) for number in range(3)])
    whole.sides, whole.split_by = {}, "x"
    open_store(whole)
    open_store(Resided(whole, {"p": "test"}, "y"))
    assert whole.reads == 4  # the first is read to learn the shape


def test_the_usual_spacing_is_the_median_of_those_known_if_half_are():
    spaced = [replace(case(number, 1), grid=Grid.plane((6, 8), step)) for number, step in enumerate((0.5, 0.7, 0.9))]
    store = open_store(Made([*spaced, case(3, 1), case(4, 1)]))
    assert store.usual_spacing([0, 1, 2, 3]) == pytest.approx(0.7)
    assert store.usual_spacing([0, 3, 4]) is None


def test_there_are_as_many_slots_as_the_chosen_cases_need_and_those_beyond_are_empty():
    store = open_store(Made([case(0, 1), case(1, 9), case(2, 2)]))
    _, readers, valid = store.read([0, 2])
    assert readers.shape == (2, 2, 6, 8)
    assert not readers[~valid].any()


def test_the_first_opening_tells_its_progress_and_the_second_decodes_nothing():
    data, seen = Made([case(0, 1), case(1, 2)]), []
    open_store(data, seen.append)
    data.reads = 0
    open_store(data, seen.append)
    assert (seen, data.reads) == ([1, 2], 0)


def test_two_datasets_have_stores_side_by_side(cache):
    one, two = Made([case(0, 1)], "a" * 64), Made([case(1, 1)], "b" * 64)
    stores = open_store(one), open_store(two)
    assert len(list(cache.iterdir())) == 2
    for store, data in zip(stores, (one, two), strict=True):
        np.testing.assert_array_equal(store.read([0])[0][0], data.cases[0].image)


def test_two_writers_of_one_store_both_succeed(cache):
    inner = Made([case(0, 2)])

    class Slow(Made):
        def __getitem__(self, index):
            open_store(inner)  # while this one is being written, another process finishes the same store
            return super().__getitem__(index)

    store = open_store(Slow(inner.cases))
    np.testing.assert_array_equal(store.read([0])[0][0], inner.cases[0].image)
    assert len(list(cache.iterdir())) == 1


def test_an_error_while_writing_leaves_nothing(cache):
    with pytest.raises(DatasetError, match="case-1"):
        open_store(Made([case(0, 1), case(1, 0)]))
    assert list(cache.iterdir()) == []


def test_a_killed_writer_leaves_nothing_that_looks_complete(cache):
    program = (
        "import os, signal, sys; sys.path[:0] = sys.argv[1:]\n"
        "from test_store import Made, case, open_store\n"
        "kill = lambda done: done == 2 and os.kill(os.getpid(), signal.SIGKILL)\n"
        "open_store(Made([case(number, 1) for number in range(4)]), kill)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, os.path.dirname(__file__), *sys.path], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert not any(path.name.startswith("store-") for path in cache.iterdir())
    data = Made([case(number, 1) for number in range(4)])
    assert len(open_store(data)) == data.reads - 1 == 4  # the first case is read once more, for its shape


def test_another_process_gets_the_same_store_without_its_data():
    data = Made([case(number, 2, (1, 64, 64)) for number in range(4)])
    sent = pickle.dumps(open_store(data))
    assert len(sent) < 1000
    np.testing.assert_array_equal(pickle.loads(sent).read([3])[0][0], data.cases[3].image)


def test_cases_of_different_channels_are_refused():
    with pytest.raises(DatasetError, match=r"case-1: expected an image of 1 channels like case-0, got 2; bring all"):
        open_store(Made([case(0, 1), case(1, 1, (2, 6, 8))]))


SIZES = [(2, 6, 8), (2, 11, 5), (2, 7, 17)]


@pytest.mark.parametrize("start", [(0, 0), (2, -3), (-9, 4), (5, 12)])
def test_a_square_of_cases_of_any_sizes_is_cut_mirrored_at_their_edges(start):
    cases = [case(number, 1 + number, size) for number, size in enumerate(SIZES)]
    images, readers, valid = open_store(Made(cases)).read([2, 0, 1], np.array([start] * 3), (7, 7))
    window = (slice(None), *(slice(20 + first, 27 + first) for first in start))
    for position, index in enumerate([2, 0, 1]):
        for found, whole in ((images, cases[index].image), (readers, cases[index].readers)):
            around = np.pad(whole, [(0, 0), (20, 20), (20, 20)], mode="symmetric")
            np.testing.assert_array_equal(found[position, : len(whole)], around[window])
    assert valid.sum(axis=1).tolist() == [3, 1, 2]


def test_every_drawn_pixel_is_as_likely_as_any_other():
    made = case(0, 2, (1, 6, 11))
    store, rng = open_store(Made([made])), np.random.default_rng(0)
    drawn = [store.drawn_pixel(0, rng) for _ in range(4000)]
    counts = np.zeros((6, 11))
    np.add.at(counts, tuple(np.transpose(drawn)), 1)
    union = made.readers.any(0)
    assert not counts[~union].any()
    assert abs(counts[union] / 4000 - 1 / union.sum()).max() < 5 * np.sqrt(1 / union.sum() / 4000)


def test_of_readers_who_drew_nothing_there_is_no_drawn_pixel():
    nothing = Case("a", np.zeros((1, 4, 4), np.float32), np.zeros((2, 4, 4), np.bool_), Grid((4, 4)))
    assert open_store(Made([nothing])).drawn_pixel(0, np.random.default_rng(0)) is None


STEPS = {2: (0.7, 0.7, 2.5), 0: (3.0, 0.5, 0.5)}


def volume(number, shape, steps=(0.7, 0.7, 2.5)):
    made = case(number, 1 + number, (1, *shape))
    return replace(made, grid=Grid(shape, np.diag([*steps, 1.0])))


@pytest.mark.parametrize("across", [2, 0])
def test_volumes_lie_plane_by_plane_with_their_spacing_whatever_their_axes(across):
    cases = [volume(number, (4 + number, 6, 9), STEPS[across]) for number in range(2)]
    store = open_store(Made(cases))
    start = np.array([[-2, -3, 4]] * 2)
    images, readers, valid = store.read([0, 1], start, (9, 5, 7))
    assert valid.tolist() == [[True, False], [True, True]]
    for position, one in enumerate(cases):
        planes, masks = (np.moveaxis(stack, across + 1, 1) for stack in (one.image, one.readers))
        np.testing.assert_array_equal(store.image(position), planes)
        assert store.spacing[position].tolist() == pytest.approx([max(STEPS[across]), *[min(STEPS[across])] * 2])
        for found, whole in ((images, planes), (readers, masks)):
            beyond = np.pad(whole, [(0, 0), (20, 20), (0, 0), (0, 0)], mode="edge")
            around = np.pad(beyond, [(0, 0), (0, 0), (20, 20), (20, 20)], mode="symmetric")
            np.testing.assert_array_equal(found[position, : len(whole)], around[:, 18:27, 17:22, 24:31])
    drawn = [store.drawn_pixel(1, np.random.default_rng(seed)) for seed in range(20)]
    assert np.moveaxis(cases[1].readers, across + 1, 1).any(0)[*np.transpose(drawn)].all()


def test_volumes_beside_planes_or_of_a_spacing_that_no_image_has_are_refused():
    with pytest.raises(DatasetError, match="case-1: expected a plane image like case-0, got a volume; train on one"):
        open_store(Made([case(0, 1), volume(1, (4, 6, 9))]))
    with pytest.raises(DatasetError, match=r"expected a spacing of at most 100 mm, and of at most 50 : 1, got none"):
        open_store(Made([case(0, 1, (1, 4, 6, 9))]))
    with pytest.raises(DatasetError, match=r"got 0.7 x 0.7 x 250 mm; correct the header"):
        open_store(Made([volume(0, (4, 6, 9), (0.7, 0.7, 250.0))]))
    assert len(open_store(Made([volume(0, (4, 6, 9), (0.5, 0.5, 5.0))]))) == 1


def test_volumes_are_refused_where_planes_are_learned():
    made = Made([volume(0, (8, 6, 9))])
    with pytest.raises(DatasetError, match=r"made: expected plane images, got volumes, case-0 of 9x8x6 \(planes, rows"):
        check_planes(made, open_store(made))
    check_planes(made, open_store(made), volumes=True)


def test_planes_are_refused_where_volumes_are_learned():
    made = Made([case(0, 1)])
    with pytest.raises(DatasetError, match=r"made: expected volumes, got plane images, case-0 of \d+x\d+ \(rows, col"):
        check_planes(made, open_store(made), volumes=True)
    check_planes(made, open_store(made))


def test_a_case_that_nobody_read_is_refused():
    with pytest.raises(DatasetError, match="case-0: expected at least one reader mask, got none; leave it out"):
        open_store(Made([case(0, 0)]))


def test_the_cache_is_where_the_variable_says_else_the_desktops(cache, monkeypatch, tmp_path):
    assert cache_folder() == cache
    monkeypatch.delenv("PLURIMASK_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "plurimask"
