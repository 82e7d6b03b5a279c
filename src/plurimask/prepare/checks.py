"""What looks wrong in what several readers drew: shifted, turned or empty masks, and masks off the image's body.

These are questions to whoever made the data, not errors: readers may differ as much as that.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
import torch
from scipy import ndimage

from plurimask.metrics.overlap import count_overlap
from plurimask.records import Case

RAISED = 0.25
"""A shift or a turn is told where it raises the Dice of two readers by at least so much."""
OFF_BODY = 0.5
"""A mask is told where at least so much of it lies off the body."""
DARK = 0.05
"""Off the body is what touches the image's edge within so much of the range above the least value of every channel."""


@dataclass(frozen=True)
class Agreement:
    """How the readers of one case agree; NaN where fewer than two read it.

    Args:
        dice, iou: means over the pairs; two empty masks agree.
        empty: share of the readers who drew nothing.
    """

    dice: float
    iou: float
    empty: float


@dataclass(frozen=True)
class Suspicion:
    """Something to look at.

    Args:
        kind: the same word for the same thing in all cases.
        text: what was seen in this case.
    """

    kind: str
    text: str


def agreement(raters: np.ndarray) -> Agreement:
    """Of rater masks (R, H, W[, D]) bool."""
    empty = float(np.mean([not mask.any() for mask in raters])) if len(raters) else float("nan")
    if len(raters) < 2:
        return Agreement(float("nan"), float("nan"), empty)
    masks = torch.from_numpy(np.ascontiguousarray(raters))[None]
    pairs, upper = count_overlap(masks, masks), np.triu_indices(len(raters), 1)
    return Agreement(float(pairs.dice[0].numpy()[upper].mean()), float(pairs.iou[0].numpy()[upper].mean()), empty)


def suspicions(case: Case, readers: Sequence[int]) -> list[Suspicion]:
    """What looks wrong in one case; `readers` are the numbers of those who read it, as the text has them."""
    masks = dict(zip(readers, case.raters, strict=True))
    places = {number: np.argwhere(mask) for number, mask in masks.items() if mask.any()}
    pairs = [one for a, b in combinations(places, 2) for one in _of_pair(masks[a], a, places[a], b, places[b])]
    return pairs + list(_off_body(case.image, {number: masks[number] for number in places}))


def _of_pair(mask: np.ndarray, a: int, places_a: np.ndarray, b: int, places_b: np.ndarray) -> Iterator[Suspicion]:
    """The shift or the turn of reader b that raises the agreement with reader a most, where it raises it much.

    Places are (n, 2 or 3) indices of the voxels that a reader drew, so that it costs as much as was drawn.
    """

    def dice(places: np.ndarray) -> float:
        within = places[((places >= 0) & (places < mask.shape)).all(1)]
        return 2 * np.count_nonzero(mask[tuple(within.T)]) / (len(places_a) + len(places_b))

    shift = _best_shift(places_a, places_b, mask.shape)
    tried = {("shifted", f"moved by {shift}"): places_b + shift}
    tried |= {("swapped axes", how): places for how, places in _turned(places_b, mask.shape)}
    before, after = dice(places_b), {what: dice(places) for what, places in tried.items()}
    (kind, how), best = max(after.items(), key=lambda item: item[1])
    if best >= before + RAISED:
        yield Suspicion(kind, f"readers {a} and {b}: Dice {before:.2f}, but {best:.2f} with reader {b} {how}")


def _best_shift(one: np.ndarray, other: np.ndarray, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Voxels by axis that bring the profiles of `other` upon those of `one`: exact for a mask that was moved."""
    shift = []
    for axis, length in enumerate(shape):
        a, b = (np.bincount(places[:, axis], minlength=length).astype(np.float64) for places in (one, other))
        shift.append(int(np.correlate(a, b, "full").argmax()) - (length - 1))
    return tuple(shift)


def _turned(places: np.ndarray, shape: tuple[int, ...]) -> Iterator[tuple[str, np.ndarray]]:
    """Flips, and exchanges of rows and columns where there are as many, all but the one that changes nothing."""
    for swapped in (False, True)[: 1 + (shape[0] == shape[1])]:
        order = [1, 0, 2][: len(shape)] if swapped else slice(None)
        for flips in product((False, True), repeat=len(shape)):
            words = ["transposed"] * swapped + [f"flipped along axis {axis}" for axis, flip in enumerate(flips) if flip]
            if words:
                yield " and ".join(words), np.where(flips, np.array(shape) - 1 - places[:, order], places[:, order])


def _off_body(image: np.ndarray, masks: Mapping[int, np.ndarray]) -> Iterator[Suspicion]:
    outside = _outside(image) if masks else None
    for number, mask in masks.items():
        share = np.count_nonzero(mask & outside) / np.count_nonzero(mask)
        if share >= OFF_BODY:
            yield Suspicion("off the body", f"reader {number}: {share:.0%} of the mask lies where the image is dark")


def _outside(image: np.ndarray) -> np.ndarray:
    """(C, H, W[, D]) -> (H, W[, D]) bool: what is dark in every channel and hangs together with the image's edge."""
    axes = tuple(range(1, image.ndim))
    low, high = image.min(axes, keepdims=True), image.max(axes, keepdims=True)
    dark = ((image <= low + DARK * (high - low)) & (high > low)).all(0)
    edge = np.ones_like(dark)
    edge[(slice(1, -1),) * 2] = False
    parts = ndimage.label(dark)[0]
    return np.isin(parts, np.setdiff1d(parts[edge], [0]))
