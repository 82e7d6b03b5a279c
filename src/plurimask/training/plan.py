"""A recipe for a dataset and a time: what the data says, what follows from it, and why, in plain words.

The method is `one-pass`. `look` reads the decoded dataset, `choose` decides everything but how many steps there are,
`measure` times a few of them, and `plan` puts both together. Every choice keeps its reason, which the written recipe
has as a comment.
"""

import io
import json
import math
import resource
import sys
import tempfile
import textwrap
import time
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import ndimage

from plurimask.datasets.dataset import Dataset
from plurimask.datasets.splits import Split
from plurimask.datasets.store import Store, check_planes, open_store
from plurimask.errors import DatasetError, duration, plural
from plurimask.files.stored import natural
from plurimask.methods.method import Method
from plurimask.metrics.ged import reader_diversity
from plurimask.training.loop import LEAST_MASKS, sides_of, train, validation_of
from plurimask.training.recipe import Recipe, recipe_on_base


@dataclass(frozen=True)
class Facts:
    """What a dataset says; sizes are in pixels, figures of masks those of the train side.

    Args:
        sizes: how many images there are of each number of rows and columns.
        channels: of the images.
        readers: the least and the most of a case.
        cases, patients: of each side.
        empty: share of the masks on which nothing is drawn.
        drawn: share of the pixels that a reader draws, on average.
        object: length of what hangs together in the masks of a case, of which half of the drawn area is no longer.
        thickness: of what is drawn, which a quarter of the cases do not reach; that of a strip is its width.
        spans: lengths of all that is drawn in a case, of which half, nine tenths and all cases have no more.
        disagreement: d_YY, the mean of 1 - IoU of two readers' masks of a case; 1 where no case has two readers.
        reach: how far from the middle of its image something drawn lies, of which 98% of the cases have no more.
        masks: how many each reader drew of those whose names the dataset says.
    """

    sizes: Mapping[tuple[int, int], int]
    channels: int
    readers: tuple[int, int]
    cases: Mapping[Split, int]
    patients: Mapping[Split, int]
    empty: float
    drawn: float
    object: float
    thickness: float
    spans: tuple[int, int, int]
    disagreement: float
    reach: int
    masks: Mapping[str, int]

    @property
    def known(self) -> list[str]:
        """Those of its readers who drew enough to be learned."""
        return [name for name, count in self.masks.items() if count >= LEAST_MASKS]

    @property
    def longest(self) -> int:
        """The longest side of an image."""
        return max(max(size) for size in self.sizes)

    def lines(self) -> list[str]:
        """The same in words."""
        sizes = ", ".join(f"{rows} x {columns} ({count})" for (rows, columns), count in sorted(self.sizes.items()))
        sides = ", ".join(
            f"{side} {plural(self.cases[side], 'case')} of {plural(self.patients[side], 'patient')}"
            for side in self.cases
        )
        least, most = self.readers
        half, nine, all_of_them = self.spans
        names = ", ".join(f"{name} ({count})" for name, count in self.masks.items())
        few = ", ".join(name for name in self.masks if name not in self.known)
        return [
            f"images of {sizes} pixels, {plural(self.channels, 'channel')}",
            f"{plural(least, 'reader') if least == most else f'{least} to {most} readers'} a case; {sides}",
            f"{self.empty:.1%} of the masks are empty; a reader draws {self.drawn:.1%} of an image on average",
            f"an object is about {self.object:.0f} pixels long; what is drawn is {self.thickness:.0f} or more thick in "
            "three of four cases",
            f"all that is drawn in an image spans {half} pixels in half of the cases, {nine} in nine of ten, "
            f"{all_of_them} at most",
            *([f"masks of readers who are known by name: {names}"] if names else []),
            *([f"{few}: too few masks to be learned as a reader"] if few else []),
        ]


def look(dataset: Dataset, store: Store) -> Facts:
    """What a dataset says. Raises DatasetError where nothing is drawn at all, for volumes, and as `sides_of`."""
    check_planes(dataset, store)
    sides = sides_of(dataset)
    shares, empties, apart, lengths, areas, thick, spans, reaches = [], [], [], [], [], [], [], []
    for index in sides["train"]:
        masks = np.unpackbits(store.readers(index), axis=-1, count=store.shapes[index, 2]).view(bool)
        shares.append(masks.mean())
        empties += [not mask.any() for mask in masks]
        apart += reader_diversity(torch.from_numpy(masks)[None]).tolist()
        union = masks.any(0)
        if not union.any():
            continue
        parts, _ = ndimage.label(union, structure=np.ones((3, 3)))
        found = ndimage.find_objects(parts)
        lengths += [max(span.stop - span.start for span in one) for one in found]
        areas += np.bincount(parts[union])[1:].tolist()
        # A pixel of a strip is a quarter of its width off its edge, on average.
        thick.append(4 * ndimage.distance_transform_edt(np.pad(union, 1))[1:-1, 1:-1][union].mean())
        places = np.argwhere(union)
        low, high = places.min(0), places.max(0) + 1
        spans.append(int((high - low).max()))
        middle = np.array(union.shape) / 2
        reaches.append(np.maximum(high - middle, middle - low).max())
    if not spans:
        raise DatasetError(dataset.root, expected="something drawn", got="empty masks alone", hint="check the labels")
    order = np.argsort(lengths)
    half = np.searchsorted(np.cumsum(np.array(areas)[order]), sum(areas) / 2)
    counts = [len(store.readers(index)) for index in range(len(store))]
    signed = Counter(store.drawn_by(sides["train"]))
    of_patients = {side: len({dataset.patients[index] for index in indices}) for side, indices in sides.items()}
    return Facts(
        sizes=Counter((int(rows), int(columns)) for _, rows, columns in store.shapes),
        channels=int(store.shapes[0, 0]),
        readers=(min(counts), max(counts)),
        cases={side: len(indices) for side, indices in sides.items()},
        patients=of_patients,
        empty=float(np.mean(empties)),
        drawn=float(np.mean(shares)),
        object=float(np.array(lengths)[order][half]),
        thickness=float(np.quantile(thick, 0.25)),
        spans=tuple(int(span) for span in np.quantile(spans, (0.5, 0.9, 1.0), method="higher")),  # type: ignore[arg-type]
        disagreement=float(np.mean([found for found in apart if not math.isnan(found)] or [1.0])),
        reach=math.ceil(np.quantile(reaches, 0.98)),
        masks={name: signed[name] for name in sorted(signed, key=natural)},
    )


class Choice(NamedTuple):
    """A setting and why it is so.

    Args:
        key: dotted, as `--set` takes it.
        value: what a TOML file can hold.
        why: one sentence or two; none where there is nothing to say.
    """

    key: str
    value: Any
    why: str = ""


def choose(facts: Facts) -> list[Choice]:
    """Everything but what depends on the time that a step takes."""
    chosen = _for_lesions(facts) if _are_lesion_crops(facts) else _for_pictures(facts)
    cases = facts.cases["train"]
    few = cases < 100
    return [
        *chosen,
        Choice("method.image_channels", facts.channels, "as the images have"),
        *([Choice("method.readers", facts.known, _KNOWN)] if facts.known else []),
        Choice("training.batch_size", min(8, cases), "batch norms want eight; more images a step are fewer steps"),
        Choice("training.symmetries", "all", 'write "flip-rows" or "none" where a model is to know left from right'),
        Choice(
            "training.warp", 0.75 if few else 0.5, f"{plural(cases, 'case')} to learn from: turned and scaled at will"
        ),
        Choice("training.turn", 30.0, "degrees either way, beside the quarter turns"),
        Choice("training.zoom", 0.2),
        Choice("training.gamma", 0.3, "contrast varies, so that brightness alone decides nothing"),
        Choice("training.intensity", 0.15),
    ]


def _are_lesion_crops(facts: Facts) -> bool:
    """Whether all images are squares of a size that nets take, much larger than what is drawn in their middle."""
    (rows, columns), *others = facts.sizes
    return not others and rows == columns and rows % 16 == 0 and 64 < rows <= 192 and facts.reach <= _CROP // 2


def _for_lesions(facts: Facts) -> list[Choice]:
    """As `one-pass-lidc`: crops first, then whole images."""
    side, (_, nine, _) = facts.longest, facts.spans
    window = max(32, _up(nine, 8))
    start = Choice("training.start", "lidc-one-pass", "weights that have seen many lesions of the same size")
    return [
        Choice("base", "one-pass-lidc", "lesions in the middle of small images, as those of LIDC-IDRI"),
        *([start] if facts.channels == 1 else []),
        Choice("image_size", side, "whole images: all have this size"),
        Choice("images", "lesion-crops", f"what is drawn lies within {facts.reach} pixels of the middle"),
        Choice("method.windows", [window, window, _up(window + 16, 8)], f"nine of ten span {nine} pixels or fewer"),
        Choice("training.crop", _CROP, "the first steps see the middle alone, which is quicker"),
        Choice("training.crop_shift", 3),
    ]


def _for_pictures(facts: Facts) -> list[Choice]:
    """Whole pictures where what is drawn is large in them, else fields cut from them."""
    longest, (half, nine, _) = facts.longest, facts.spans
    fine = min(facts.thickness / 3, longest / _FEATURES)
    patch = min(max(2, 2 ** math.floor(math.log2(max(fine, 1)))), 16)
    whole = longest <= 4 * _FEATURES * patch
    if not whole:
        patch = 2
    cell, multiple = 4 * patch, 8 * patch
    if whole:
        side = _up(longest, multiple)
        why = f"whole images: objects {facts.thickness:.0f} pixels thick can be seen in one of {longest} at a time"
        windows = sorted({min(_up(half, cell), side), min(_up(nine, cell), side)})
        why_windows = f"what is drawn in an image spans {half} pixels in half of the cases, {nine} in nine of ten"
    else:
        side = min(max(_up(int(4 * facts.object), 32), 96), 256)
        why = f"fields: an object of {facts.object:.0f} pixels is small in an image of {longest}, and would vanish"
        windows, why_windows = [side], "objects may lie anywhere in a field"
    alike = Choice(
        "method.region_weight",
        1.0,
        f"the IoU of two readers is {1 - facts.disagreement:.2f} on average: the mean mask is most of what there is",
    )
    turns = (
        Choice("method.orientations", 8, "samples are drawn in all orientations of an image, which costs little here")
        if whole
        else Choice("method.orientations", 2, "each field is seen twice, upright and turned; more often is slow")
    )
    fields = [
        Choice("method.lift", -10.0, "a sample that draws something in an image need not in each field"),
        Choice("training.drawn", 0.75, "the share of fields with something drawn; the others say where nothing is"),
    ]
    return [
        Choice("base", "one-pass-phantom", "the smaller nets of one-pass: in a short time more steps are worth more"),
        Choice("image_size", side, why),
        Choice("images", "any-place", "objects lie anywhere, and masks are drawn in an image of any size"),
        Choice(
            "method.encoder.patch",
            patch,
            f"the nets see {side // patch} x {side // patch} places of {patch} pixels a side",
        ),
        Choice("method.windows", windows, why_windows),
        Choice(
            "method.onto_mean", True, "a mask is drawn as its difference from the mean one, which is learned at once"
        ),
        *([alike] if facts.disagreement < _ALIKE else []),
        Choice("method.norms", side, "batch norms learn from all images, which are of one kind"),
        turns,
        *([] if whole else fields),
        Choice("training.crop_steps", 0, "no crops first: objects lie anywhere"),
    ]


def _up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple


class Cost(NamedTuple):
    """What 20 steps took.

    Args:
        step: seconds.
        mean_step: seconds, of a step that learns the mean mask alone.
        validation: seconds for one case.
        gib: memory in all.
    """

    step: float
    mean_step: float
    validation: float
    gib: float


def measure(recipe: Recipe, dataset: Dataset) -> Cost:
    """Take 20 steps of a recipe after 5 others, the first 5 of the mean mask alone, and validate once, in vain.

    Of the clock's and the processor's time the smaller one counts, so that other work on the machine does not. Where a
    recipe begins with crops, whole images are as many of the ten full steps that are timed as of its own: two, or three
    where its first steps learn the mean mask alone.
    """
    settings = recipe.training
    few = {"steps": 25, "validate_every": 5, "checkpoint_every": 100, "start": None}
    few["crop_steps"] = (23 if settings.start else 22) if settings.crop_steps else 0
    method = recipe.method.model_copy(update={"start": 10})
    tried = recipe.model_copy(update={"training": settings.model_copy(update=few), "method": method})
    validation = validation_of(recipe, dataset)
    marks: list[np.ndarray] = []

    def mark(averaged: Method) -> Mapping[str, float]:
        marks.append(_now())
        if len(marks) == 5:
            validation(averaged)
            marks.append(_now())
        return {"ged_v": 0.0}

    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        train(tried, dataset, Path(folder) / "run", validation=mark)
    # What a GPU does is on the clock alone.
    clocks = 1 if torch.cuda.is_available() else 2
    mean, full, drawing = (
        float((marks[last] - marks[first])[:clocks].min()) for first, last in ((0, 1), (2, 4), (4, 5))
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    cases = min(settings.validation_cases, len(sides_of(dataset)["val"]))
    return Cost(full / 10, mean / 5, drawing / cases, peak / 2**30)


def _now() -> np.ndarray:
    return np.array([time.perf_counter(), time.process_time()])


def plan(dataset: Dataset, minutes: float) -> str:
    """The text of a recipe for a dataset and so many minutes of this machine, with its reasons.

    Raises:
        DatasetError: as `open_store`, `look` and `train`.
    """
    facts = look(dataset, open_store(dataset))
    tried = []
    for precision in ("32-true", "bf16-mixed"):
        chosen = [*choose(facts), Choice("training.precision", precision, _QUICKER)]
        tried.append((measure(_recipe([*chosen, *_over(_TRIED, chosen)]), dataset), chosen))
    cost, chosen = min(tried, key=lambda one: one[0].step)
    seconds = 60 * minutes
    for_cases = min(_MOST_VALIDATED, max(4, int(_VALIDATING * seconds / _VALIDATIONS / max(cost.validation, 1e-3))))
    cases = min(for_cases, facts.cases["val"])
    validating = _VALIDATIONS * cases * cost.validation
    mean_first = _mean_first(chosen)
    a_step = mean_first * cost.mean_step + (1 - mean_first) * cost.step
    steps = max(20, int((0.95 * seconds - validating) / a_step))
    timed = _over(steps, chosen, cases)
    expected = (
        f"Expected: {steps} steps of {a_step:.2f} s, {_VALIDATIONS} validations of {cases * cost.validation:.1f} s: "
        f"about {duration(steps * a_step + validating)}, where nothing else runs, and {cost.gib:.1f} GiB of memory."
    )
    lines = [f"Written by plurimask plan for {minutes:g} minutes of this machine.", "", *facts.lines(), "", expected]
    text = "".join(
        f"{textwrap.fill(line, 110, initial_indent='# ', subsequent_indent='# ').rstrip() or '#'}\n" for line in lines
    )
    text += "\n" + _toml([*chosen, *timed])
    recipe_on_base(tomllib.loads(text), "plan")
    return text


def _over(steps: int, chosen: Sequence[Choice], cases: int = 24) -> list[Choice]:
    """What follows from the number of steps."""
    keys = {choice.key for choice in chosen}
    begun = [
        Choice("method.start", int(_mean_first(chosen) * steps), "steps that learn the mean mask alone, which is quick")
    ]
    crops = [Choice("training.crop_steps", int(0.8 * steps), "then whole images")]
    ema = round(min(0.998, max(0.5, 1 - 25 / steps)), 4)
    return [
        *([] if "training.start" in keys else begun),
        *(crops if "training.crop" in keys else []),
        Choice("training.steps", steps, "as many as the time allows; 20 were timed"),
        Choice("training.warmup", min(100, steps // 20), "the rate rises for so long, then falls to 0 by a cosine"),
        Choice("training.ema", ema, "the averaged weights look back over a 25th of the steps"),
        Choice("training.validate_every", -(-steps // _VALIDATIONS), f"{_VALIDATIONS} times; the best of them is kept"),
        Choice("training.validation_cases", cases),
        Choice("training.checkpoint_every", max(1, steps // 20), "what --resume goes on from"),
    ]


def _mean_first(chosen: Sequence[Choice]) -> float:
    """Share of the steps that learn the mean mask alone."""
    keys = {choice.key for choice in chosen}
    return 0.0 if "training.start" in keys else 0.5 if "method.region_weight" in keys else 0.4


def _recipe(choices: Sequence[Choice]) -> Recipe:
    return recipe_on_base(tomllib.loads(_toml(choices)), "plan")


def _toml(choices: Sequence[Choice]) -> str:
    """The settings by tables, each below its reason."""
    tables: dict[str, list[str]] = {}
    for key, value, why in choices:
        table, _, name = key.rpartition(".")
        reason = f"{textwrap.fill(why, 110, initial_indent='# ', subsequent_indent='# ')}\n" if why else ""
        tables.setdefault(table, []).append(f"{reason}{name} = {json.dumps(value, ensure_ascii=False)}\n")
    return "\n".join((f"[{table}]\n" if table else "") + "".join(lines) for table, lines in sorted(tables.items()))


_KNOWN = "who drew is known: plurimask sample --reader NAME draws as one of them, and without it as any"
_QUICKER = "of 32-true and bf16-mixed the one in which a step is quicker on this machine"
_TRIED, _VALIDATIONS, _MOST_VALIDATED, _VALIDATING = 1000, 8, 24, 0.15
"""Steps of the recipe that is timed; validations of a run, cases of one at most, and their share of the time."""
_CROP, _FEATURES, _ALIKE = 64, 32, 0.4
"""Pixels a side of the first steps' crops; places a side that nets of whole images have at least, and a fourth of what
they have at most; d_YY below which readers agree well."""
