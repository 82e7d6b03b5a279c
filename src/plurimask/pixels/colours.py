"""Colours that tell readers and counts apart."""

import numpy as np
from matplotlib import colormaps

# Okabe and Ito's palette for colour-blind readers, without black and the darker blue, which vanish on CT.
READER_COLOURS = ("#56b4e9", "#e69f00", "#cc79a7", "#00b98a", "#f0e442", "#ee6a2c")
SAMPLE_COLOUR = "#ffc400"


def reader_colour(index: int) -> str:
    """The colour of reader `index`, as #rrggbb; from the seventh reader on they repeat."""
    return READER_COLOURS[index % len(READER_COLOURS)]


def frequency_colours(samples: int) -> np.ndarray:
    """(S + 1, 4) RGBA in 0..1 for "k of S samples", k = 0..S: clear for 0, then viridis without its darkest fifth."""
    colours = colormaps["viridis"](np.linspace(0.2, 1.0, samples + 1))
    colours[0] = 0.0
    return colours


def outline_opacity(samples: int) -> float:
    """How opaque one of `samples` outlines is drawn, so that many stay legible and a single one is seen."""
    return min(0.9, max(0.15, 8 / (samples + 4)))
