"""The pictures: cases, readers and panels, the course of a training, and scores. Reports and notebooks share them.

One frame for every image: x runs along columns and y down the rows, in voxels from the outer corner of voxel (0, 0).
Voxel (r, c) covers [c, c + 1] x [r, r + 1], its centre lies at (c + 0.5, r + 0.5), and outlines run along voxel edges,
so they hold exactly the voxels of their mask.
"""

from plurimask.pixels.colours import (
    READER_COLOURS,
    SAMPLE_COLOUR,
    frequency_colours,
    outline_opacity,
    reader_colour,
)
from plurimask.pixels.frame import close_up
from plurimask.pixels.outline import outlines, svg_path
from plurimask.plot.agreement import agreement_figure
from plurimask.plot.ged_ci import disagreeing, ged_ci_figure
from plurimask.plot.overlays import contact_sheet, frequency_picture, most_disputed_slice, outlines_picture
from plurimask.plot.panels import View, panel_figure, samples_figure
from plurimask.plot.save import save_figure, save_picture
from plurimask.plot.scores import empty_figure, ged_by_count_figure, reliability_figure
from plurimask.plot.training import training_figure
from plurimask.plot.write import write_score_figures

__all__ = [
    "READER_COLOURS",
    "SAMPLE_COLOUR",
    "View",
    "agreement_figure",
    "close_up",
    "contact_sheet",
    "disagreeing",
    "empty_figure",
    "frequency_colours",
    "frequency_picture",
    "ged_by_count_figure",
    "ged_ci_figure",
    "most_disputed_slice",
    "outline_opacity",
    "outlines",
    "outlines_picture",
    "panel_figure",
    "reader_colour",
    "reliability_figure",
    "samples_figure",
    "save_figure",
    "save_picture",
    "svg_path",
    "training_figure",
    "write_score_figures",
]
