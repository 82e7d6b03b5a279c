"""Colours that tell readers and counts apart."""

import numpy as np

from plurimask.show import raster


def test_reader_colours_differ_for_six_readers() -> None:
    assert len({raster.reader_colour(index) for index in range(6)}) == 6


def test_frequency_colours_grow_lighter_with_the_count_and_are_clear_at_zero() -> None:
    colours = raster.frequency_colours(16)
    luminance = colours[1:, :3] @ (0.2126, 0.7152, 0.0722)
    assert colours[0, 3] == 0
    assert (np.diff(luminance) > 0).all()
