"""A whole study -> MaskSet on its grid, slice by slice, or all planes at once by a method of volumes.

Every slice is drawn with the same seeds, and noise belongs to the plane: a sample has one noise plane for the study, of
which each slice and each field sees its part, so that neighbours agree. A region that one field holds is one lesion: a
hurdled model decides once for it whether a sample is empty (see `methods.hurdle`), and its view of each slice is kept
until then. Else in memory are the image, one slice's work, and a byte a sample and voxel of those slices that the
region spans: what lies beside them is zero memory that the system hands out when it is touched. Of a pool that a panel
is to represent, a bit a sample and voxel of the region is kept.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import count as counter
from math import prod
from typing import Any

import numpy as np

from plurimask.diffusion.samplers import SamplerSettings
from plurimask.errors import InputError, SettingsError, duration
from plurimask.files.locate import Study
from plurimask.geometry import Grid
from plurimask.methods.draw import Tiling, draw_area, encode, tile
from plurimask.methods.hurdle import of_one_lesion
from plurimask.records import Case, MaskSet
from plurimask.sampling.model import SAMPLES_IN_WORK, Model, Progress, whole_number
from plurimask.sampling.region import Box, Region, find_box, parse_region, reaching_edges, slicing_axis
from plurimask.sampling.represent import PanelKind, pack, unpack
from plurimask.sampling.spacing import apart, back, moved_region, resampled, resampled_grid

_PIXELS_IN_WORK = 16 * 2**20
_MOST_PIXELS = 2**22
_MEASURED = 8
_PLANES = 32
"""That a method of volumes draws around a point."""


def sample_study(
    model: Model,
    study: Study,
    count: int = 16,
    seed: int = 0,
    sampler: SamplerSettings | None = None,
    region: Region | str | None = None,
    whole: bool = False,
    progress: Progress = lambda done, total: None,
    skip: int = 0,
    panel: PanelKind = "independent",
    pool: int | None = None,
    native: bool = False,
) -> MaskSet:
    """Draw a panel of a plane or volume of any size. With a region, nothing is drawn outside of it.

    How many samples reach a face of the region, which may so cut the lesion, stands in the panel's settings
    (`at_region_edge`). An image that is no larger than the model's field is its own region. A study whose pixels are
    far larger or smaller than those that the model was trained on is brought to these, and its masks back (see
    `sampling.spacing`).

    Args:
        model: the model that draws.
        study: the image or volume.
        count, seed, sampler, panel, pool: as for `Model.sample`; a panel represents whole volumes.
        region: the part to draw, also as the text of `--roi`.
        whole: draw all of a larger image, although the model has only seen crops around lesions.
        progress: called after each prediction of a field.
        skip: how many samples of a panel of independent draws exist already; the samples after them are drawn.
        native: draw at the study's own spacing, whatever the model's.

    Raises:
        InputError: another number of channels than the model's, or more than 2**22 pixels of a plane to draw.
        SettingsError: as `Model.sample`; a region outside the image; no region where there must be one; or a region and
            `whole`.
    """
    for name, value, kind, hint in (
        ("model", model, Model, "give pm.load(name)"),
        ("study", study, Study, "give pm.open_study(path); a Case goes to model.sample"),
    ):
        if not isinstance(value, kind):
            raise InputError(name, expected=f"a {kind.__name__}", got=type(value).__name__, hint=hint)
    count, region = whole_number("count", count), parse_region(region) if isinstance(region, str) else region
    if (near := at_spacing(model, study, native)) is not None:
        there = region and moved_region(region, study, near.case.grid)
        drawn = sample_study(model, near, count, seed, sampler, there, whole, progress, skip, panel, pool, native=True)
        return back(drawn, study)
    slicing, box = slicing_axis(study), check_study(model, study, region, whole, native=True)
    shown = model.clipped(study.case).image
    image = shown if shown.ndim == 4 else shown[..., None]
    planes = np.moveaxis(image, slicing + 1, 1)
    padding = study.case.padding
    unmeasured = None if padding is None else np.moveaxis(padding.reshape(image.shape[1:]), slicing, 0)
    rows, columns = (span for axis, span in enumerate(box) if axis != slicing)
    height, width = planes.shape[2:]
    depth = box[slicing].stop - box[slicing].start
    tiling = tile(
        (rows, columns),
        (height, width),
        model.recipe.image_size,
        model.recipe.method.multiple,
        (depth,) if model.method.volumes else (),
    )

    def draw(seeds: tuple[int, ...], own: SamplerSettings | None, ranks: np.ndarray | None) -> list[np.ndarray]:
        return _draw(model, planes, unmeasured, (box[slicing], rows, columns), tiling, seeds, own, ranks, progress)

    # Before the model is asked, so that too little memory is said then.
    masks = np.zeros((max(count, 0), *planes.shape[1:]), dtype=np.bool_)

    def unpacked(drawn: list[np.ndarray]) -> np.ndarray:
        shape = rows.stop - rows.start, columns.stop - columns.start
        if model.method.volumes:
            masks[:, box[slicing], rows, columns] = unpack(drawn[0], (depth, *shape))
        else:
            for number, plane in enumerate(drawn, start=box[slicing].start):
                masks[:, number, rows, columns] = unpack(plane, shape)
        whole = np.moveaxis(masks, 1, slicing + 1)
        return whole if study.case.image.ndim == 4 else whole[..., 0]

    if box == _whole(study.case.grid):
        return model.panel(study.case, count, seed, sampler, draw, unpacked, panel, pool, skip)
    spans = [(span.start, span.stop) for span in box]
    drawn = model.panel(
        study.case, count, seed, sampler, draw, unpacked, panel, pool, skip, region=[list(span) for span in spans]
    )
    cut = reaching_edges(drawn.masks, spans)
    return replace(drawn, settings={**drawn.settings, "at_region_edge": cut}) if cut else drawn


def sample_case(
    model: Model,
    case: Case,
    count: int = 16,
    seed: int = 0,
    sampler: SamplerSettings | None = None,
    panel: PanelKind = "independent",
    pool: int | None = None,
    progress: Progress = lambda done, total: None,
    whole: bool = False,
    native: bool = False,
) -> MaskSet:
    """Draw a panel of a dataset's case: as `Model.sample` what the model takes as it is, else as `sample_study`.

    So a volume is drawn plane by plane, and a case at another spacing than the model's is brought to it. Arguments and
    errors are those of both.
    """
    study = case_study(case)
    if model.takes(case) and not is_brought(model, study, native):
        return model.sample(case, count, seed, sampler, panel, pool, progress)
    return sample_study(
        model, study, count, seed, sampler, None, whole, progress, panel=panel, pool=pool, native=native
    )


def case_study(case: Case) -> Study:
    """A dataset's case as a study, whose planes are those of its grid (`Grid.slicing_axis`)."""
    return Study(case, "nifti", ())


def at_spacing(model: Model, study: Study, native: bool = False) -> Study | None:
    """The study at the model's spacing, where it is brought to that; None where it is drawn as it is."""
    trained = model.recipe.spacing_mm
    return resampled(study, trained) if trained is not None and is_brought(model, study, native) else None


def is_brought(model: Model, study: Study, native: bool = False) -> bool:
    """Whether the study's spacing is far off the model's, so that it is drawn at the latter and brought back.

    A crop of just the model's size is drawn as it is, whatever its spacing: those that it was trained on were.
    """
    is_crop = model.recipe.images == "lesion-crops" and model.fits(study.case)
    return not native and not is_crop and apart(study, model.recipe.spacing_mm) is not None


def check_study(
    model: Model, study: Study, region: Region | None = None, whole: bool = False, native: bool = False
) -> Box:
    """The box that `sample_study` draws, refused as it refuses it, before the model is asked.

    Where it resamples, the box is one of what is drawn, not of the study.
    """
    model.check_channels(study.case)
    grid, slicing = study.case.grid, slicing_axis(study)
    if model.recipe.spacing_mm is not None and is_brought(model, study, native):
        grid, slicing = resampled_grid(study, model.recipe.spacing_mm), 2
        region = region and moved_region(region, study, grid)
    box = _box(model, study.case.name, grid, slicing, region, whole)
    rows, columns = (axis for number, axis in enumerate(box) if number != slicing)
    height, width = (axis.stop for number, axis in enumerate(_whole(grid)) if number != slicing)
    tiling = tile((rows, columns), (height, width), model.recipe.image_size, model.recipe.method.multiple)
    at_once = (*tiling.size, box[slicing].stop - box[slicing].start) if model.method.volumes else tiling.size
    if prod(at_once) > _MOST_PIXELS:
        what = "voxels" if model.method.volumes else "pixels of a plane"
        raise InputError(
            study.case.name,
            expected=f"at most {_MOST_PIXELS} {what} to draw at once",
            got="x".join(map(str, at_once)),
            hint="give a smaller region with --roi",
        )
    if model.method.volumes and len(tiling.starts) > 1:
        raise InputError(
            study.case.name,
            expected=f"at most {model.recipe.image_size} pixels a side of a plane: {model.name} decides once a lesion",
            got=f"{rows.stop - rows.start}x{columns.stop - columns.start}",
            hint="give a region around each lesion with --roi",
        )
    return box


def needs_region(model: Model, study: Study) -> bool:
    """Whether the model saw crops around lesions alone, and the study's planes are larger than these."""
    return _is_larger(model, study.case.grid, slicing_axis(study))


def _is_larger(model: Model, grid: Grid, slicing: int) -> bool:
    largest = max(side for axis, side in enumerate(grid.shape) if axis != slicing)
    return model.recipe.images == "lesion-crops" and largest > model.recipe.image_size


class TimeLeft:
    """Passes progress on, and says once how much time is left.

    Args:
        say: takes a text such as 3 h 20 min; called after a few predictions. The first, which is slow, does not count.
        progress: as `sample_study` takes it.
        least: seconds; it says nothing where less is left.
        clock: seconds.
    """

    def __init__(
        self,
        say: Callable[[str], object],
        progress: Progress,
        clock: Callable[[], float] = time.perf_counter,
        least: float = 0.0,
    ) -> None:
        self._say, self._progress, self._clock, self._least = say, progress, clock, least
        self._start = 0.0

    def __call__(self, done: int, total: int) -> None:
        """So many predictions of `total` are done."""
        if done == 1:
            self._start = self._clock()
        elif done == min(1 + _MEASURED, total):
            left = (self._clock() - self._start) / (done - 1) * (total - done)
            if left >= self._least:
                self._say(duration(left))
        self._progress(done, total)


def _draw(
    model: Model,
    planes: np.ndarray,
    padding: np.ndarray | None,
    box: Box,
    tiling: Tiling,
    seeds: tuple[int, ...],
    sampler: SamplerSettings | None,
    ranks: np.ndarray | None,
    progress: Progress,
) -> list[np.ndarray]:
    """Masks in the box as bits, one (S, bytes) a slice or of all: planes (C, D, H, W), box in the order of their axes.

    Padding is (D, H, W) bool, or None.
    """
    slices, rows, columns = box
    inner_rows, inner_columns = tiling.inside((rows, columns))
    chunk = max(1, min(SAMPLES_IN_WORK, _PIXELS_IN_WORK // prod(tiling.size)))
    shown: list[int | slice] = [slices] if model.method.volumes else list(range(slices.start, slices.stop))
    total = len(shown) * -(-len(seeds) // chunk) * len(tiling.starts) * model.evaluations(sampler)
    done = counter(1)

    def tell() -> None:
        progress(next(done), total)

    def keep(masks: np.ndarray) -> np.ndarray:
        return pack(masks[..., inner_rows, inner_columns])

    def encoded(part: int | slice) -> list[list[Any]]:
        return encode(model.method, tiling.cut(planes[:, part], None if padding is None else padding[part]))

    each: Iterable[list[list[Any]]] = map(encoded, shown)
    if len(tiling.starts) == 1 and model.method.hurdled:
        ways = zip(*(one[0] for one in each), strict=True)
        each = [[list(plane)] for plane in zip(*map(of_one_lesion, ways), strict=True)]
    return [draw_area(model.method, tiling, one, seeds, sampler, chunk, tell, ranks, keep) for one in each]


def _box(model: Model, name: str, grid: Grid, slicing: int, region: Region | None, whole: bool) -> Box:
    if region is not None and whole:
        raise SettingsError("--roi", expected="a region or --whole", got="both", hint="leave one of them out")
    if region is not None:
        planes = _PLANES if model.method.volumes else 1
        return find_box(region, grid, slicing, model.recipe.image_size, planes)
    if _is_larger(model, grid, slicing) and not whole:
        size = model.recipe.image_size
        raise SettingsError(
            name,
            expected=f"a region (--roi), or an image of {size}x{size} pixels: {model.name} saw crops of lesions alone",
            got="x".join(map(str, grid.shape)),
            hint=f"plurimask sample: give --roi with a study, for instance --roi {_example(grid)}, or --whole",
        )
    return _whole(grid)


def _example(grid: Grid) -> str:
    """A region of this very image: its middle."""
    middle = ",".join(str(side // 2) for side in grid.shape)
    return f"{middle} (row, column{', slice' * (len(grid.shape) == 3)})"


def _whole(grid: Grid) -> Box:
    return tuple(slice(0, side) for side in (*grid.shape, 1)[:3])
