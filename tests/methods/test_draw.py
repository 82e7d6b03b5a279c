"""Drawing: chunks change nothing but memory; fields, what they show, how they are blended, and their noise."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from tiny import SIZE, image, recipe, stir

from plurimask.datasets.batches import scale_intensity
from plurimask.methods import onnx_model
from plurimask.methods.draw import Tiling, draw_area, draw_masks, encode, tile, turned, turned_back
from plurimask.methods.method import Method, build
from plurimask.methods.unet import UnetSettings
from plurimask.seeds import content_of, sample_seeds

SAMPLER = recipe().sampler


@pytest.fixture(scope="module")
def method():
    torch.manual_seed(0)
    made = build(recipe().method)
    stir(made)
    return made.eval()


def draw(method, count, **options):
    return draw_masks(method, image(), sample_seeds(content_of(image()), 0, count), SAMPLER, SIZE, **options)


def test_chunks_give_what_one_chunk_gives(method):
    sizes = []
    with method.denoiser.register_forward_hook(lambda module, inputs, output: sizes.append(len(output))):
        chunked = draw(method, 7, chunk=3)
    assert (chunked.shape, chunked.dtype, max(sizes)) == ((7, SIZE, SIZE), np.bool_, 3)
    assert (chunked != draw(method, 7, chunk=16)).mean() < 0.002  # float rounding


def test_unit_and_offset_of_the_image_do_not_matter(method):
    seeds = sample_seeds(content_of(image()), 0, 4)
    other = image() * 4 - 1000
    first, second = (draw_masks(method, array, seeds, SAMPLER, SIZE) for array in (image(), other))
    assert (first != second).mean() < 0.002


PIXELS = np.random.default_rng(0).normal(size=(2, 100, 90)).astype(np.float32)


def fields(region, image=PIXELS, field=32, multiple=8):
    made = tile(region, image.shape[1:], field, multiple)
    return made, made.cut(image)


def rows(first, last):
    return slice(first, last), slice(40, 50)


@pytest.mark.parametrize(("first", "last", "top"), [(40, 50, 29), (30, 62, 30), (0, 3, 0), (95, 100, 68)])
def test_a_small_region_is_in_the_middle_of_one_field_inside_the_image(first, last, top):
    made, shown = fields(rows(first, last))
    assert made.starts == ((0, 0),)
    assert torch.equal(shown[0], scale_intensity(torch.from_numpy(PIXELS[:, top : top + 32, 29:61])))


@pytest.mark.parametrize(("first", "last"), [(10, 90), (0, 100), (0, 33), (60, 100), (7, 72)])
def test_a_large_region_is_covered_by_fields_that_overlap_by_half(first, last):
    made, _ = fields(rows(first, last))
    tops = sorted({row for row, _ in made.starts})
    assert all(top % 8 == 0 for top in tops)
    assert all(below - top <= 16 for top, below in pairwise(tops))
    assert tops[-1] + 32 == made.size[0]
    assert made.first[0] <= first
    assert last <= made.first[0] + made.size[0]
    assert made.size[0] < last - first + 8


def test_coarse_nets_overlap_as_far_as_they_can():
    made, _ = fields((slice(0, 100), slice(0, 90)), field=32, multiple=32)
    assert sorted({row for row, _ in made.starts}) == [0, 32, 64, 96]


def test_every_field_is_scaled_on_its_own():
    _, shown = fields((slice(0, 100), slice(0, 90)))
    assert shown.amin(dim=(2, 3)).eq(-1).all()
    assert shown.amax(dim=(2, 3)).eq(1).all()


def test_an_image_smaller_than_a_field_is_mirrored_around_its_middle():
    small = PIXELS[:, :20, :6]
    made, shown = fields((slice(0, 20), slice(0, 6)), small)
    around = np.pad(small, [(0, 0), (6, 6), (13, 13)], mode="symmetric")
    assert torch.equal(shown[0], scale_intensity(torch.from_numpy(around)))
    assert made.inside((slice(0, 20), slice(0, 6))) == (slice(6, 26), slice(13, 19))


def test_what_juts_out_of_the_image_is_mirrored():
    made, shown = fields((slice(0, 100), slice(40, 50)))
    assert (made.first[0], made.size[0]) == (-2, 104)
    around = np.pad(PIXELS, [(0, 0), (2, 2), (0, 0)], mode="symmetric")
    last = scale_intensity(torch.from_numpy(around[:, 72:104, 29:61]))
    assert torch.equal(shown[-1], last)


@pytest.mark.parametrize(
    ("region", "plane", "place"),
    [((slice(40, 50), slice(40, 50)), (100, 90), (29, 29)), ((slice(0, 100), slice(40, 50)), (104, 90), (0, 29))],
)
def test_noise_belongs_to_the_plane_of_the_image(region, plane, place):
    made, _ = fields(region)
    rows, columns = (slice(first, first + length) for first, length in zip(place, made.size, strict=True))
    assert (made.plane, made.window()) == (plane, (..., rows, columns))


AREA, PLANE, FIRST = (24, 32), (40, 48), (8, 12)
STARTS = tuple((row, column) for row in (0, 4, 8) for column in (0, 8, 16))
NUMBERED = range(9)
TILING = Tiling(16, STARTS, FIRST, AREA, PLANE)
"""Nine fields of 16 x 16 pixels on an area of 24 x 32."""


def ramp(scale=1):
    """(1, 1, H / scale, W / scale), every pixel its own number."""
    rows, columns = (side // scale for side in AREA)
    return torch.arange(1.0, rows * columns + 1).reshape(1, 1, rows, columns)


def full(value):
    return torch.full((1, 1, 16, 16), float(value))


def test_a_prediction_that_all_fields_share_is_that_of_the_area():
    torch.testing.assert_close(TILING.blend(lambda number, part: part, NUMBERED, ramp()), ramp())


def test_every_field_sees_its_own_part_at_any_scale_and_every_vector():
    seen, vector = [], torch.ones(1, 3)
    TILING.blend(lambda number, *parts: seen.append(parts) or parts[1], NUMBERED, vector, ramp(), ramp(2), ramp(4))
    for (row, column), (first, *parts) in zip(STARTS, seen, strict=True):
        assert first is vector
        for scale, part in zip((1, 2, 4), parts, strict=True):
            rows, columns = slice(row // scale, (row + 16) // scale), slice(column // scale, (column + 16) // scale)
            assert torch.equal(part, ramp(scale)[..., rows, columns])


def test_a_field_weighs_most_in_its_middle():
    """Fields 0, 3 and 6, of the values 0, 1 and 2, cover the first columns; 1 is nearer than 0 to a lower pixel."""
    blended = TILING.blend(lambda number: full(number // 3), NUMBERED)[0, 0, :, 0]
    assert blended[:4].eq(0).all()
    assert (blended.diff() >= 0).all()
    assert blended[20:].eq(2).all()


def test_a_pixel_in_one_field_is_as_that_field_says():
    noise = torch.randn(3, 2, 16, 16)
    alone = Tiling(16, ((0, 0),), (0, 0), (16, 16), (16, 16))
    assert torch.equal(alone.blend(lambda number: noise, [0]), noise)


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_the_window_is_the_area_in_the_plane(scale):
    rows, columns = (side // scale for side in PLANE)
    plane = torch.arange(rows * columns).reshape(rows, columns)
    assert torch.equal(plane[TILING.window(scale)], plane[8 // scale : 32 // scale, 12 // scale : 44 // scale])


def test_noise_of_the_fields_is_part_of_that_of_the_plane():
    """Maps at two scales, and a vector."""
    method = Noisy(((2, 1), (3, 0), (1, 4)))
    draw_masks(method, np.zeros((1, 40, 40), np.float32), [3, 4], None, 40)
    whole = method.given.pop()
    tiling = tile((slice(8, 40), slice(16, 32)), (40, 40), 16, 4)
    fields = encode(method, tiling.cut(np.zeros((1, 40, 40), np.float32)))
    draw_area(method, tiling, fields, [3, 4], None, 2)
    assert [part.shape for part in whole] == [(2, 2, 40, 40), (2, 3), (2, 1, 10, 10)]
    for (row, _), (fine, vector, coarse) in zip(tiling.starts, method.given, strict=True):
        assert torch.equal(fine, whole[0][..., 8 + row : 24 + row, 16:32])
        assert torch.equal(vector, whole[1])
        assert torch.equal(coarse, whole[2][..., 2 + row // 4 : 6 + row // 4, 4:8])


class Noisy(Method):
    """Keeps the noise that it is given."""

    noise = ()

    def __init__(self, noise):
        super().__init__(UnetSettings())
        self.noise, self.given, self.weight = noise, [], torch.nn.Parameter(torch.zeros(()))

    def loss(self, batch):
        raise NotImplementedError

    def predict(self, encoded, noise):
        self.given.append(noise)
        return encoded


def test_every_prediction_of_a_field_is_reported(method):
    told, tiling = [], tile((slice(0, 24), slice(0, SIZE)), (24, SIZE), SIZE, 8)
    fields = encode(method, tiling.cut(image(size=24)[..., :SIZE]))
    draw_area(method, tiling, fields, [1, 2, 3], SAMPLER, 2, lambda: told.append(1))
    assert len(told) == 2 * 3 * 2  # fields, steps, chunks


def test_padding_sets_no_scale_and_is_as_dark_as_the_least_that_was_measured():
    plain, dirty, padding = image(size=SIZE).copy(), image(size=SIZE).copy(), np.zeros((SIZE, SIZE), bool)
    padding[:3] = True
    plain[:, :3], dirty[:, :3] = plain[:, 3:].min(axis=(1, 2), keepdims=True), -2000
    made = Tiling(SIZE, ((0, 0),), (0, 0), (SIZE, SIZE), (SIZE, SIZE))
    assert torch.equal(made.cut(dirty, padding), made.cut(plain))
    assert torch.equal(made.cut(dirty, np.ones_like(padding)), torch.full_like(made.cut(plain), -1))
    assert not torch.equal(made.cut(dirty), made.cut(plain))


def test_the_eight_orientations_of_a_plane_are_all_that_a_square_has_and_are_turned_back():
    plane = torch.arange(18).reshape(2, 3, 3)
    found = [turned(plane, way) for way in range(8)]
    expected = [turn for side in (plane, plane.flip(-1)) for turn in (side.rot90(k, (-2, -1)) for k in range(4))]
    assert {str(one) for one in found} == {str(one) for one in expected}
    assert {str(one) for one in found[:4]} == {str(one) for one in expected[:4]}
    for way, one in enumerate(found):
        assert torch.equal(turned_back(one, way), plane)
        assert np.array_equal(onnx_model.turned(plane.numpy(), way), one)
    assert {len(turned(torch.zeros(3, 5), way)) for way in range(8)} == {3, 5}
