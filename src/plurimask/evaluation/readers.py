"""Readers who are known: how well masks meet each person, and how much of their disagreement is between persons.

With a the logarithm of the size of a mask, two readers r and s differ in case c by

    D_c = a_cr - a_cs = (b_r - b_s) + (e_cr - e_cs)

where b is what a person does in every case, such as drawing larger, and e what they do in this one. So the mean of D_c
D_c' over cases of two different patients is (b_r - b_s)^2, and the mean of D_c^2 is that and the variance of e besides.
Their ratio, each a mean over pairs of readers, is the share of the disagreement about size that lies between persons;
the rest lies within. Both are unbiased, so the share of readers without a style is 0 on average, and may be below it.
"""

import math
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # its parts are imported when they are first asked for
import torch

from plurimask.evaluation.scores import DRAWS, LEVEL, SEED, Estimate, Interval
from plurimask.files.stored import natural
from plurimask.metrics.bootstrap import patient_bootstrap, patient_groups, patient_weights
from plurimask.metrics.overlap import pairwise_dice
from plurimask.records import Case, MaskSet, count_votes

PERMUTATIONS = 1_000
"""Of the names within each case, for the control."""


@dataclass(frozen=True, eq=False)
class ReadCase:
    """What is kept of a case for it.

    Args:
        patient: of the case.
        drawn_by: who each of the R readers is.
        sizes: (R,) of what they drew.
        met: (R,) mean Dice of the samples with each.
        alike: (R, R) Dice of each two.
        asked: the reader as whom the samples were drawn; None: as any.
    """

    patient: str | None
    drawn_by: tuple[str | None, ...]
    sizes: np.ndarray
    met: np.ndarray
    alike: np.ndarray
    asked: str | None = None


@dataclass(frozen=True, eq=False)
class ReaderScores:
    """What is said of known readers; R of them, sorted by name.

    Args:
        names: theirs.
        masks: how many each drew, empty ones too.
        met: mean Dice of samples and each reader's masks.
        others: mean Dice of the other readers and each reader's masks, in the same cases.
        size: geometric mean of each one's size to the geometric mean of the other readers', where both drew.
        alike: (R, R) mean Dice of each two readers in the cases of both; NaN where there is none.
        between: share of the disagreement about size that lies between persons.
        by_chance: interval of that share if the names are permuted within each case.
        chance: share of the permutations that reach `between`.
        asked: of samples that were drawn as one reader: their Dice with that reader less that with the others.
    """

    names: tuple[str, ...]
    masks: tuple[int, ...]
    met: tuple[Estimate, ...]
    others: tuple[Estimate, ...]
    size: tuple[Estimate, ...]
    alike: np.ndarray
    between: Estimate
    by_chance: Interval
    chance: float
    asked: Estimate | None = None

    def questions(self) -> list[str]:
        """What is worth a look, a sentence each."""
        few = [name for name, count in zip(self.names, self.masks, strict=True) if count == 1]
        return [f"{', '.join(few)}: one mask, which tells no style from chance"] if few else []


def score_readers(cases: Sequence[ReadCase]) -> ReaderScores | None:
    """Of the cases with a known reader; None where there is none."""
    known = [case for case in cases if any(case.drawn_by)]
    masks = Counter(name for case in known for name in case.drawn_by if name is not None)
    if not masks:
        return None
    names = tuple(sorted(masks))
    place = {name: index for index, name in enumerate(names)}
    patients = [case.patient for case in known]
    met, others, logs = np.full((3, len(known), len(names)), np.nan)
    alike = np.full((len(known), len(names), len(names)), np.nan)
    asked = np.full((len(known), 1), np.nan)
    for row, case in enumerate(known):
        slots = [slot for slot, name in enumerate(case.drawn_by) if name is not None]
        columns = [place[str(case.drawn_by[slot])] for slot in slots]
        pairs = np.where(np.eye(len(slots), dtype=bool), np.nan, case.alike[np.ix_(slots, slots)])
        alike[row][np.ix_(columns, columns)] = pairs
        met[row, columns] = case.met[slots]
        sizes = case.sizes[slots]
        logs[row, columns] = np.log(sizes, where=sizes > 0, out=np.full(len(slots), np.nan))
        if len(slots) > 1:
            others[row, columns] = np.nanmean(pairs, axis=1)
        if case.asked in case.drawn_by and len(case.met) > 1:
            own = case.drawn_by.index(case.asked)
            asked[row, 0] = case.met[own] - np.delete(case.met, own).mean()
    total, count = np.nansum(logs, axis=1, keepdims=True), (~np.isnan(logs)).sum(axis=1, keepdims=True)
    rest = np.divide(total - logs, count - 1, where=count > 1, out=np.full_like(logs, np.nan))
    columns_of = {"met": met, "others": others, "size": logs - rest}
    found = {key: _estimates(values, patients) for key, values in columns_of.items()}
    flat = alike.reshape(len(known), -1)
    defined = (~np.isnan(flat)).sum(0)
    matrix = np.divide(np.nansum(flat, axis=0), defined, where=defined > 0, out=np.full(flat.shape[1], np.nan))
    share = float(_between(logs, patients, np.ones((1, 1)))[0])
    draws = _between(logs, patients, None)
    permuted = _permuted(logs, patients)
    tails = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
    return ReaderScores(
        names=names,
        masks=tuple(masks[name] for name in names),
        met=found["met"],
        others=found["others"],
        size=tuple(
            Estimate(math.exp(one.value), (math.exp(one.interval[0]), math.exp(one.interval[1])))
            for one in found["size"]
        ),
        alike=matrix.reshape(len(names), len(names)),
        between=Estimate(share, _quantiles(draws, tails)),
        by_chance=_quantiles(permuted, tails),
        chance=float((permuted >= share).mean()) if not math.isnan(share) else math.nan,
        asked=None if np.isnan(asked).all() else _estimates(asked, patients)[0],
    )


@dataclass(frozen=True, eq=False)
class DrawnAs:
    """Masks that a model drew as each of R readers, against the masks of all; differences are paired by case.

    Args:
        names: of the readers, sorted.
        dice: (R, R) mean Dice of the masks drawn as one, a row, with the masks of another, a column.
        own: Dice of the masks drawn as each with their own masks.
        less_others: that less the Dice of the same masks with those of the other readers.
        less_any: less the Dice with their own of the masks drawn as any reader.
        less_as_others: less the Dice with their own of the masks drawn as the other readers.
        less_resized: Dice with their own of the majority of the masks drawn as each, less that of the majority of those
            drawn as any at the reader's usual size.
    """

    names: tuple[str, ...]
    dice: np.ndarray
    own: tuple[Estimate, ...]
    less_others: tuple[Estimate, ...]
    less_any: tuple[Estimate, ...]
    less_as_others: tuple[Estimate, ...]
    less_resized: tuple[Estimate, ...]


def score_drawn_as(
    cases: Mapping[str, Case],
    drawn_as: Mapping[str, Mapping[str, MaskSet]],
    drawn_as_any: Mapping[str, MaskSet],
    usual: Mapping[str, Mapping[str, float]],
) -> DrawnAs:
    """Of masks by reader and case, and of those drawn as any by case.

    Args:
        cases: to be scored, by name.
        drawn_as: by reader, by case.
        drawn_as_any: by case.
        usual: size of each reader's masks to that of the majority, by case, as `usual_sizes` finds it in other cases.
    """
    names = tuple(sorted(drawn_as, key=natural))
    dice = np.full((len(cases), len(names), len(names)), np.nan)
    of_any, as_one, resized = np.full((3, len(cases), len(names)), np.nan)
    for row, (name, case) in enumerate(cases.items()):
        slots = {who: slot for slot, who in enumerate(case.drawn_by or ()) if who in names}
        places, read = [names.index(str(who)) for who in slots], case.readers[list(slots.values())]
        if not slots:
            continue
        for place, reader in enumerate(names):
            if name in drawn_as[reader]:
                dice[row, place, places] = _mean_dice(drawn_as[reader][name].masks, read)
        mixture = drawn_as_any[name].masks
        of_any[row, places] = _mean_dice(mixture, read)
        for who, place, mask in zip(map(str, slots), places, read, strict=True):
            if who in usual[name] and name in drawn_as[who]:
                at_size = resize(majority(mixture), usual[name][who], case.grid.spacing_mm)
                resized[row, place] = _mean_dice(at_size[None], mask[None])[0]
                as_one[row, place] = _mean_dice(majority(drawn_as[who][name].masks)[None], mask[None])[0]
    own = np.diagonal(dice, axis1=1, axis2=2)
    apart = np.where(np.eye(len(names), dtype=bool), np.nan, dice)
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # of means of nothing, which are NaN
        others, as_others, matrix = np.nanmean(apart, axis=2), np.nanmean(apart, axis=1), np.nanmean(dice, axis=0)
    patients = [case.patient for case in cases.values()]
    columns = (own, own - others, own - of_any, own - as_others, as_one - resized)
    return DrawnAs(names, matrix, *(_estimates(values, patients) for values in columns))


def usual_sizes(cases: Iterable[Case]) -> dict[str, float]:
    """Size of each known reader's masks to that of what most readers of the case drew, the geometric mean."""
    logs: dict[str, list[float]] = {}
    for case in cases:
        size = np.count_nonzero(majority(case.readers))
        for who, mask in zip(case.drawn_by or (), case.readers, strict=False):
            if who is not None and size and mask.any():
                logs.setdefault(who, []).append(math.log(np.count_nonzero(mask) / size))
    return {who: math.exp(np.mean(ratios)) for who, ratios in logs.items()}


def majority(masks: np.ndarray) -> np.ndarray:
    """What more than half of the masks (n, ...) hold."""
    return count_votes(masks) > len(masks) / 2


def resize(mask: np.ndarray, ratio: float, spacing: tuple[float, ...] | None = None) -> np.ndarray:
    """A mask at `ratio` times its size: it grows and shrinks along its whole outline alike."""
    if not mask.any():
        return mask
    inside, outside = (scipy.ndimage.distance_transform_edt(one, spacing) for one in (mask, ~mask))
    nearest = np.argsort((outside - inside).ravel(), kind="stable")[: round(ratio * np.count_nonzero(mask))]
    resized = np.zeros(mask.size, dtype=np.bool_)
    resized[nearest] = True
    return resized.reshape(mask.shape)


def _mean_dice(samples: np.ndarray, readers: np.ndarray) -> np.ndarray:
    """Of samples (S, ...) with each reader (R, ...): (R,)."""
    return pairwise_dice(torch.from_numpy(samples)[None], torch.from_numpy(readers)[None])[0].mean(0).numpy()


def _estimates(values: np.ndarray, patients: Sequence[str | None]) -> tuple[Estimate, ...]:
    """Means of the columns (n, k) over the cases where they are defined."""
    interval = patient_bootstrap(values, patients, DRAWS, SEED, LEVEL)
    ends = zip(interval.low.tolist(), interval.high.tolist(), strict=True)
    means = [float(np.nanmean(column)) if not np.isnan(column).all() else math.nan for column in values.T]
    return tuple(Estimate(mean, end) for mean, end in zip(means, ends, strict=True))


def _quantiles(values: np.ndarray, tails: tuple[float, float]) -> Interval:
    known = values[~np.isnan(values)]
    return (
        (math.nan, math.nan)
        if not len(known)
        else (float(np.quantile(known, tails[0])), float(np.quantile(known, tails[1])))
    )


def _between(logs: np.ndarray, patients: Sequence[str | None], weights: np.ndarray | None) -> np.ndarray:
    """Share between persons (d,) of logarithms of sizes (n, R), by how often each patient counts.

    Args:
        logs: NaN where a reader drew nothing, or did not read.
        patients: of the n cases.
        weights: (d, P), or (d, 1) for all patients alike; None: the draws of the bootstrap.
    """
    groups = patient_groups(patients)
    number = int(groups.max(initial=-1)) + 1
    first, second = np.triu_indices(logs.shape[1], 1)
    differences = logs[:, first] - logs[:, second]  # (n, pairs)
    defined = ~np.isnan(differences)
    values = np.where(defined, differences, 0.0)
    sums, squares, counts = np.zeros((3, number, len(first)))
    for target, source in ((sums, values), (squares, values**2), (counts, defined)):
        np.add.at(target, groups, source)
    shares = []
    for part in (
        patient_weights(number, DRAWS, SEED) if weights is None else [np.broadcast_to(weights, (len(weights), number))]
    ):
        cases = part @ counts
        # Of two draws of one patient the products would hold e twice.
        across = (part @ sums) ** 2 - part**2 @ sums**2
        apart = cases**2 - part**2 @ counts**2
        product = np.divide(across, apart, where=apart > 0, out=np.zeros_like(across))
        of_pair = np.where(apart > 0, cases, 0.0)
        square = np.divide(part @ squares, cases, where=cases > 0, out=np.zeros_like(cases))
        whole = (of_pair * square).sum(1)
        shares.append(np.divide((of_pair * product).sum(1), whole, where=whole > 0, out=np.full(len(part), np.nan)))
    return np.concatenate(shares)


def _permuted(logs: np.ndarray, patients: Sequence[str | None]) -> np.ndarray:
    """The share with the readers of each case in random order, `PERMUTATIONS` times."""
    generator, shares = np.random.default_rng(SEED), []
    known = ~np.isnan(logs)
    for _ in range(PERMUTATIONS):
        keys = np.where(known, generator.random(logs.shape), np.inf)
        mixed = np.full_like(logs, np.nan)
        for row, count in enumerate(known.sum(axis=1)):
            mixed[row, known[row]] = logs[row, np.argsort(keys[row])[:count]]
        shares.append(_between(mixed, patients, np.ones((1, 1)))[0])
    return np.array(shares)
