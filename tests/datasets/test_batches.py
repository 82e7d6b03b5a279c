"""Batches: a function of seed and number, every case once an epoch, one symmetry and window for image and masks."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from plurimask.datasets.batches import Batches, CropSettings, FieldSettings, WarpSettings, scale_intensity
from plurimask.datasets.store import open_store
from plurimask.geometry import Grid
from plurimask.records import Case

CASES = 12


class Ramps:
    """Case i shows a slanted plane scaled by i + 1; its two readers drew all above the mean, and one corner quarter.

    No two of the eight symmetries of a square make the plane look alike.
    """

    root, digest = "ramps", "e" * 64

    def __init__(self, shape=(16, 16)):
        self.names, self.patients = [f"case-{i}" for i in range(CASES)], [None] * CASES
        rows, columns = np.indices(shape)
        self.plane = (rows * 0.3 + columns + 0.01 * rows * columns).astype(np.float32)

    def __len__(self):
        return CASES

    def __getitem__(self, index):
        image = self.plane[None] * np.float32(index + 1) + np.float32(1000 * index)
        corner = np.zeros_like(self.plane, dtype=bool)
        corner[: self.plane.shape[0] // 2, : self.plane.shape[1] // 4] = True
        readers = np.stack([self.plane > self.plane.mean(), corner][: 1 + index % 2])
        return Case(self.names[index], image, readers, Grid(self.plane.shape))


class Signed(Ramps):
    """The same, with Bob and Ann as readers."""

    digest = "5" * 64

    def __getitem__(self, index):
        return replace(super().__getitem__(index), drawn_by=("bob", "ann")[: 1 + index % 2])


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PLURIMASK_CACHE", str(tmp_path))


@pytest.fixture
def store():
    return open_store(Ramps())


def same(one, two):
    return all(torch.equal(getattr(one, name), getattr(two, name)) for name in ("image", "readers", "valid"))


def test_batches_say_who_drew_where_readers_are_known(store):
    assert Batches(store, range(CASES), 4, seed=0)[0].who is None
    batches = Batches(open_store(Signed()), [1, 2, 5], 3, seed=0, known=("ann",))
    batch = batches[0]
    assert batch.who[batch.valid.sum(1) == 2].tolist() == [[-1, 0]] * 2
    assert batches.share(0, 1, 2).who.tolist() == batch.who[1::2].tolist()


def symmetries(image):
    return [np.rot90(flipped, turns, axes=(-2, -1)) for flipped in (image, image[..., ::-1, :]) for turns in range(4)]


def code(plane, image):
    """Which of the eight symmetries this image shows, or None."""
    scaled = scale_intensity(torch.from_numpy(plane[None])).numpy()
    found = [k for k, turned in enumerate(symmetries(scaled)) if np.allclose(turned, image, atol=1e-5)]
    return found[0] if len(found) == 1 else None


def test_the_same_number_is_the_same_batch_in_any_order(store):
    one, two = Batches(store, range(CASES), 4, seed=7), Batches(store, range(CASES), 4, seed=7)
    forwards = [one[number] for number in range(7)]
    backwards = [two[number] for number in reversed(range(7))][::-1]
    assert all(same(a, b) for a, b in zip(forwards, backwards, strict=True))
    first = forwards[0]
    assert [part.dtype for part in (first.image, first.readers, first.valid)] == [torch.float32, torch.bool, torch.bool]


def test_another_seed_and_another_number_are_another_batch(store):
    one, other = Batches(store, range(CASES), CASES, seed=0), Batches(store, range(CASES), CASES, seed=1)
    assert not same(one[0], other[0])
    assert not same(one[0], one[1])


def test_every_case_comes_once_an_epoch_in_another_order(store):
    batches = Batches(store, range(CASES), 4, seed=0)
    epochs = [np.concatenate([batches._cases(3 * epoch + k) for k in range(3)]).tolist() for epoch in range(3)]
    assert all(sorted(drawn) == list(range(CASES)) for drawn in epochs)
    assert epochs[0] != epochs[1]


def test_no_case_comes_twice_in_an_epoch_that_the_batch_does_not_divide(store):
    batches = Batches(store, range(CASES), 5, seed=0)
    assert len(set(np.concatenate([batches._cases(0), batches._cases(1)]))) == 10


def test_only_the_given_positions_are_drawn_and_no_more_at_once(store):
    batches = Batches(store, [1, 3, 8], 2, seed=0)
    assert {int(i) for number in range(9) for i in batches._cases(number)} == {1, 3, 8}
    assert len(Batches(store, [1, 3, 8], 50, seed=0)[0].image) == 3


def test_image_and_readers_are_turned_alike_by_all_eight_symmetries(store):
    data, seen = Ramps(), set()
    batches = Batches(store, range(CASES), CASES, seed=0)
    for number in range(4):
        batch, indices = batches[number], batches._cases(number)
        for position, index in enumerate(indices):
            symmetry = code(data.plane, batch.image[position].numpy())
            read = batch.valid[position].numpy()
            expected = symmetries(data[index].readers)[symmetry]
            np.testing.assert_array_equal(batch.readers[position].numpy()[read], expected)
            seen.add(symmetry)
    assert seen == set(range(8))


def test_images_that_are_not_square_keep_their_shape():
    batches = Batches(open_store(Ramps((8, 12))), range(CASES), CASES, seed=0)
    assert {tuple(batches[number].image.shape) for number in range(4)} == {(CASES, 1, 8, 12)}


@pytest.mark.parametrize(
    ("symmetries", "kept"),
    [
        ("flips", [[0, 0], [1, 0], [0, 1], [1, 1]]),
        ("flip-rows", [[0, 0], [1, 0]]),
        ("flip-columns", [[0, 0], [0, 1]]),
        ("none", [[0, 0]]),
    ],
)
def test_an_image_is_flipped_as_the_settings_say(store, symmetries, kept):
    data, seen = Ramps(), set()
    batches = Batches(store, range(CASES), CASES, seed=0, symmetries=symmetries)
    whole = scale_intensity(torch.from_numpy(data.plane[None])).numpy()
    for image in (image.numpy() for number in range(6) for image in batches[number].image):
        flips = [(rows, columns) for rows in (0, 1) for columns in (0, 1)]
        seen |= {
            (rows, columns)
            for rows, columns in flips
            if np.allclose(whole[:, :: 1 - 2 * rows, :: 1 - 2 * columns], image, atol=1e-5)
        }
    assert seen == set(map(tuple, kept))


def test_turns_are_those_that_keep_a_hand_a_hand(store):
    data = Ramps()
    batches = Batches(store, range(CASES), CASES, seed=0, symmetries="turns")
    seen = {code(data.plane, image.numpy()) for number in range(6) for image in batches[number].image}
    assert seen == {0, 1, 2, 3}  # of `symmetries` above, those that are not flipped


def test_a_crop_is_a_window_of_the_whole_batch_for_image_and_readers(store):
    whole = Batches(store, range(CASES), 4, seed=0)
    cropped = Batches(store, range(CASES), 4, seed=0, crop=CropSettings(8, 20, 4))
    windows = set()
    for number in range(20):
        big, small = whole[number], cropped[number]
        places = [
            (top, left)
            for top in range(9)
            for left in range(9)
            if torch.equal(big.image[..., top : top + 8, left : left + 8], small.image)
        ]
        assert len(places) == 1
        top, left = places[0]
        assert torch.equal(big.readers[..., top : top + 8, left : left + 8], small.readers)
        windows.add((top, left))
    assert len(windows) > 5


def test_a_crop_is_off_the_centre_by_at_most_its_shift(store):
    batches = Batches(store, range(CASES), 4, seed=0, crop=CropSettings(8, 400, 2))
    starts = {side.start for number in range(400) for side in batches._window(number, (1, 16, 16))[1:]}
    assert starts == {2, 3, 4, 5, 6}


@pytest.mark.parametrize("size", [1, 15, 16])
def test_a_crop_of_any_size_lies_inside(store, size):
    batches = Batches(store, range(CASES), 4, seed=0, crop=CropSettings(size, 50, 16))
    assert {tuple(batches[number].image.shape[-2:]) for number in range(50)} == {(size, size)}


def test_crops_end_where_the_settings_say(store):
    batches = Batches(store, range(CASES), 4, seed=0, crop=CropSettings(8, 3, 2))
    assert [batches[number].image.shape[-1] for number in range(5)] == [8, 8, 8, 16, 16]


def test_contrast_and_brightness_vary_by_image_and_within_their_bound(store):
    plain, varied = Batches(store, range(CASES), 4, seed=0), Batches(store, range(CASES), 4, seed=0, intensity=0.2)
    factors, offsets = set(), set()
    for number in range(30):
        images, seen = plain[number].image, varied[number].image
        assert torch.equal(plain[number].readers, varied[number].readers)
        low, high = seen.amin((-2, -1)), seen.amax((-2, -1))
        factor, offset = (high - low) / 2, (high + low) / 2
        torch.testing.assert_close(images * factor[..., None, None] + offset[..., None, None], seen)
        factors |= set(factor.flatten().tolist())
        offsets |= set(offset.flatten().tolist())
    assert 0.8 <= min(factors) < 0.83
    assert 1.17 < max(factors) <= 1.2
    assert -0.2 <= min(offsets) < -0.17
    assert 0.17 < max(offsets) <= 0.2


def test_gamma_raises_the_scaled_image_to_a_power_within_its_bound(store):
    plain, varied = Batches(store, range(CASES), 4, seed=0), Batches(store, range(CASES), 4, seed=0, gamma=0.5)
    powers = []
    for number in range(20):
        images, seen = ((batch[number].image.double() + 1) / 2 for batch in (plain, varied))
        inner = (images > 0.1) & (images < 0.9)
        for one, other, some in zip(images, seen, inner, strict=True):
            found = other[some].log() / one[some].log()
            assert found.std() < 1e-3
            powers.append(found.mean().item())
    assert 1 / 1.5 <= min(powers) < 0.75
    assert 1.35 < max(powers) <= 1.5


class Scattered(Ramps):
    """Images of several sizes; of each its reader drew one pixel, which alone is bright."""

    digest = "s" * 64

    def __getitem__(self, index):
        rows, columns = [(40, 40), (12, 70), (33, 20)][index % 3]
        drawn = np.zeros((1, rows, columns), dtype=bool)
        drawn[0, (7 * index) % rows, (11 * index) % columns] = True
        return Case(self.names[index], drawn.astype(np.float32), drawn, Grid((rows, columns)))


def test_a_field_is_cut_from_image_and_readers_of_any_size_alike_and_scaled_on_its_own():
    batches = Batches(open_store(Scattered()), range(CASES), CASES, seed=0, field=FieldSettings(16, 0.5))
    for number in range(5):
        batch = batches[number]
        assert batch.image.shape == (CASES, 1, 16, 16)
        assert torch.equal(batch.image > 0, batch.readers)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_share_of_the_fields_holds_what_is_drawn_wherever_it_is_in_the_field(share):
    """A field that lies anywhere seldom meets the pixel of a 40 x 40 image: 16 x 16 of some 25 x 25 places at most."""
    store = open_store(Scattered())
    fields = Batches(store, [0, 3, 6, 9], 4, seed=0, field=FieldSettings(16, share), symmetries="none")
    held = torch.cat([fields[number].readers for number in range(100)])
    anywhere = Batches(store, [0, 3, 6, 9], 4, seed=1, field=FieldSettings(16, 0.0))
    met = torch.cat([anywhere[number].readers for number in range(100)]).flatten(1).any(1).float().mean().item()
    expected = share + (1 - share) * met
    assert held.flatten(1).any(1).float().mean().item() == pytest.approx(expected, abs=0.08)
    if share == 1:
        assert held.any(0)[0].float().mean() > 0.4


def test_the_first_fields_are_as_small_as_the_crops():
    store = open_store(Scattered())
    batches = Batches(store, range(CASES), 4, 0, CropSettings(8, 3, 0), field=FieldSettings(16, 0.5))
    assert [batches[number].image.shape[-1] for number in range(5)] == [8, 8, 8, 16, 16]


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_shares_are_the_batch_without_overlap_image_and_readers_together(store, processes):
    batches = Batches(store, range(CASES), 6, seed=0)
    whole, places = batches[5], []
    for share in (batches.share(5, rank, processes) for rank in range(processes)):
        place = [next(i for i in range(6) if torch.equal(whole.image[i], image)) for image in share.image]
        assert torch.equal(whole.readers[place], share.readers)
        assert torch.equal(whole.valid[place], share.valid)
        assert len(place) == 6 // processes
        places += place
    assert sorted(places) == list(range(6))


def test_intensity_spans_minus_one_to_one():
    scaled = scale_intensity(torch.randn(3, 2, 9, 9) * 300 - 700)
    assert torch.equal(scaled.amin(dim=(-2, -1)), torch.full((3, 2), -1.0))
    assert torch.equal(scaled.amax(dim=(-2, -1)), torch.full((3, 2), 1.0))
    assert scale_intensity(torch.tensor([[0.0, 1.0], [3.0, 4.0]])).tolist() == [[-1.0, -0.5], [0.5, 1.0]]


def test_intensity_does_not_depend_on_unit_or_offset():
    image = torch.rand(2, 2, 9, 9, dtype=torch.float64)
    torch.testing.assert_close(scale_intensity(image), scale_intensity(image * 41 - 1024))


def test_each_channel_of_each_image_is_scaled_on_its_own():
    image = torch.rand(2, 2, 9, 9)
    alone = torch.stack([torch.stack([scale_intensity(channel) for channel in one]) for one in image])
    assert torch.equal(scale_intensity(image), alone)


def test_a_constant_image_becomes_minus_one():
    assert torch.equal(scale_intensity(torch.full((1, 4, 4), 37.0)), torch.full((1, 4, 4), -1.0))


WARP = WarpSettings(share=0.5, turn=34, zoom=0.15)


class Discs:
    """An image that is bright where its one reader drew: a box to the right of the middle."""

    root, digest = "discs", "d" * 64

    def __init__(self):
        self.names, self.patients = [f"case-{i}" for i in range(CASES)], [None] * CASES

    def __len__(self):
        return CASES

    def __getitem__(self, index):
        drawn = np.zeros((1, 64, 64), dtype=bool)
        drawn[:, 27:37, 36:56] = True
        return Case(self.names[index], drawn.astype(np.float32), drawn, Grid((64, 64)))


@pytest.fixture
def boxes():
    return open_store(Discs())


def axes(mask):
    """Direction of a mask's long axis in degrees, [0, 90), modulo right angles, and its area."""
    places = np.argwhere(mask)
    _, vectors = np.linalg.eigh(np.cov(places.T))
    return np.degrees(np.arctan2(*vectors[:, 1])) % 90, len(places)


def test_image_and_masks_are_warped_together(boxes):
    batches = Batches(boxes, range(CASES), CASES, seed=0, warp=WARP)
    for number in range(3):
        batch = batches[number]
        assert ((batch.image > 0) != batch.readers).float().mean() < 0.01


def test_half_of_the_images_are_turned_and_scaled_within_bounds(boxes):
    batches = Batches(boxes, range(CASES), CASES, seed=0, warp=WARP)
    found = [axes(mask[0].numpy()) for number in range(20) for mask in batches[number].readers]
    angles = np.array([min(angle, 90 - angle) for angle, _ in found])
    factors = np.sqrt(np.array([area for _, area in found]) / 200)
    still = (angles < 0.1) & (abs(factors - 1) < 1e-6)
    assert 0.4 < still.mean() < 0.6
    assert 30 < angles.max() < 36
    assert 0.84 < factors.min() < 0.88
    assert 1.12 < factors.max() < 1.17


def test_without_a_warp_batches_are_what_they_were(store):
    none = Batches(store, range(CASES), 4, 0, warp=WarpSettings(0, 9, 0.1))
    assert same(Batches(store, range(CASES), 4, seed=0)[3], none[3])


def test_a_warp_leaves_turns_and_crops_as_they_are(store):
    crop = CropSettings(8, 50, 4)
    plain = Batches(store, range(CASES), CASES, seed=0, crop=crop)
    warped = Batches(store, range(CASES), CASES, seed=0, crop=crop, warp=WARP)
    alike = [torch.equal(a, b) for a, b in zip(plain[5].image, warped[5].image, strict=True)]
    assert 0 < sum(alike) < CASES


def test_no_mask_is_lost_to_a_warp():
    """Of a mask of one pixel, scaling down may leave nothing; such a case stays as it was."""

    class Dots(Discs):
        digest = "f" * 64

        def __getitem__(self, index):
            drawn = np.zeros((1, 16, 16), dtype=bool)
            drawn[:, index, 15 - index] = True
            return Case(self.names[index], drawn.astype(np.float32), drawn, Grid((16, 16)))

    batches = Batches(open_store(Dots()), range(CASES), CASES, seed=0, warp=WarpSettings(1.0, 40, 0.5))
    assert all(batches[number].readers.any((2, 3)).all() for number in range(10))


def test_a_batch_of_which_nothing_is_warped_stays_as_it_is(boxes):
    batches = Batches(boxes, range(CASES), 1, seed=0, warp=WARP)
    plain = Batches(boxes, range(CASES), 1, seed=0)
    alike = [same(batches[number], plain[number]) for number in range(12)]
    assert 0 < sum(alike) < 12


class Bodies:
    """Volumes of 5 to 7 planes of 12 x 12: a slanted ramp, and two readers: all above the mean, and a box."""

    root, digest = "bodies", "b" * 64

    def __init__(self, pixels=(0.7, 0.5)):
        self.names, self.patients = [f"case-{i}" for i in range(CASES)], [None] * CASES
        self.pixels = pixels

    def __len__(self):
        return CASES

    def __getitem__(self, index):
        rows, columns, planes = np.indices((12, 12, 5 + index % 3))
        ramp = (rows * 0.3 + columns + 0.01 * rows * columns + 7.3 * planes).astype(np.float32)
        readers = np.stack([ramp > ramp.mean(), (abs(rows - 5) < 4) & (abs(columns - 6) < 3) & (planes > 2)])
        return Case(self.names[index], ramp[None], readers, Grid(ramp.shape, np.diag([*self.pixels, 2.0, 1.0])))


def test_volumes_are_turned_in_their_planes_and_flipped_through_them_with_masks_and_spacing():
    store = open_store(Bodies())
    batches = Batches(store, range(0, CASES, 3), 4, seed=0)
    seen = set()
    for number in range(40):
        batch = batches[number]
        assert batch.image.shape == (4, 1, 5, 12, 12)
        image, readers = store.image(0), np.unpackbits(store.readers(0), axis=-1, count=12).astype(bool)
        scaled = scale_intensity(torch.from_numpy(image.copy()), 3).numpy()
        for one, masks, spacing in zip(batch.image.numpy(), batch.readers.numpy(), batch.spacing.tolist(), strict=True):
            through = [scaled, scaled[:, ::-1]]
            found = [
                (flip, k)
                for flip, planes in enumerate(through)
                for k, turned in enumerate(symmetries(planes))
                if np.allclose(turned, one, atol=1e-5)
            ]
            assert len(found) == 1
            flip, k = found[0]
            assert np.array_equal(symmetries(readers[:, ::-1] if flip else readers)[k], masks)
            assert spacing == pytest.approx([2.0, 0.5, 0.7] if k % 2 else [2.0, 0.7, 0.5])
            seen.add((flip, k))
    assert len(seen) == 16


def test_crops_of_volumes_have_planes_around_the_middle_and_repeat_the_last_of_fewer():
    """Of 6 planes 4 begin at the second or one off it; of 5 planes 8 are three more than there are."""
    store = open_store(Bodies())
    crops = Batches(store, range(1, CASES, 3), 2, 0, CropSettings(6, 5, 0, planes=4), symmetries="none")
    assert crops[0].image.shape[2:] == (4, 6, 6)
    parts = scale_intensity(torch.from_numpy(np.stack([store.image(1)[:, k : k + 4] for k in range(3)])), 3)
    shown = [one for number in range(5, 17) for one in crops[number].image]
    assert {k for one in shown for k in range(3) if torch.allclose(one, parts[k], atol=1e-5)} == {0, 1, 2}
    longer = Batches(store, range(0, CASES, 3), 2, 0, CropSettings(6, 0, 0, planes=8), symmetries="none")
    assert len(longer[0].image[0, 0, :, 0, 0].unique()) == 5


def test_a_zoomed_volume_is_said_to_have_smaller_pixels_and_all_its_planes_are_warped_alike():
    plain = Batches(open_store(Bodies((0.6, 0.6))), range(0, CASES, 3), 4, seed=0, symmetries="none")
    warped = Batches(plain.store, plain.indices, 4, seed=0, symmetries="none", warp=WarpSettings(1.0, 10, 0.2))
    one, other = plain[0], warped[0]
    changed = ~torch.isclose(one.spacing, other.spacing).all(1)
    assert changed.any()
    assert torch.equal(one.spacing[:, 0], other.spacing[:, 0])
    for a, b, step in zip(
        one.readers[changed], other.readers[changed], other.spacing[changed, 1].tolist(), strict=True
    ):
        sizes = b.flatten(2).sum(2) / a.flatten(2).sum(2).clamp(min=1)
        assert sizes[1, 3:].mean().item() == pytest.approx((0.6 / step) ** 2, rel=0.5)
        assert torch.equal(b[1][3], b[1][4])  # the same on both planes that hold it
