"""Fields that overlap are blended into one area, and each sees its own part of it."""

import pytest
import torch

from plurimask.methods.fields import Fields

SIZE, PLANE, PLACE = (24, 16), (40, 32), (8, 12)
STARTS = [(0, 0), (4, 0), (8, 0), (0, 8), (4, 8), (8, 8)]


def fields(**changed):
    """Six fields of 16 x 8 pixels on an area of 24 x 16."""
    images = torch.arange(6.0).reshape(6, 1, 1, 1, 1).expand(6, 1, 1, 16, 8)
    return Fields(images, STARTS, SIZE, PLANE, PLACE, **changed)


def ramp(scale=1):
    """(1, 1, H / scale, W / scale), every pixel its own number."""
    rows, columns = (side // scale for side in SIZE)
    return torch.arange(1.0, rows * columns + 1).reshape(1, 1, rows, columns)


def test_what_all_say_alike_is_said_of_the_area():
    said = fields().blend(lambda image, part: part, fields().images, ramp())
    torch.testing.assert_close(said, ramp())


def test_every_field_sees_its_own_part_at_any_scale():
    seen = []
    fields().blend(lambda image, *parts: seen.append(parts) or parts[0], fields().images, ramp(), ramp(2), ramp(4))
    for (row, column), parts in zip(STARTS, seen, strict=True):
        for scale, part in zip((1, 2, 4), parts, strict=True):
            rows, columns = slice(row // scale, (row + 16) // scale), slice(column // scale, (column + 8) // scale)
            assert torch.equal(part, ramp(scale)[..., rows, columns])


def test_a_field_weighs_most_in_its_middle():
    """Fields 0 and 1, of the values 0 and 1, cover the first columns; 1 is the nearer one to a lower pixel."""
    said = fields().blend(lambda image: image, fields().images)[0, 0, :, 0]
    assert said[:4].eq(0).all()
    assert (said.diff() >= 0).all()
    assert said[20:].eq(2).all()


def test_a_pixel_in_one_field_is_as_that_field_says():
    noise = torch.randn(3, 2, 16, 8)
    alone = Fields.of(torch.zeros(1, 1, 16, 8))
    assert torch.equal(alone.blend(lambda image: noise, alone.images), noise)


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_the_window_is_the_area_in_the_plane(scale):
    rows, columns = (side // scale for side in PLANE)
    plane = torch.arange(rows * columns).reshape(rows, columns)
    assert torch.equal(
        plane[fields().window(scale)],
        plane[8 // scale : 32 // scale, 12 // scale : 28 // scale],
    )


def test_every_look_is_reported():
    looks = []
    fields(done=lambda: looks.append(1)).blend(lambda image: image, fields().images)
    assert len(looks) == 6
