"""Mask sets against the readers of their cases. Panels and cases are read as they come and let go batch by batch.

All values of a batch come from one count of every pair of masks.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import chain
from operator import add
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from plurimask.cluster import Cluster
from plurimask.errors import InputError
from plurimask.evaluation.columns import INDEPENDENT
from plurimask.evaluation.readers import ReadCase, score_readers
from plurimask.evaluation.scores import CaseScores, Scores, stratify, summarise, values_of
from plurimask.geometry import Grid, same_grid
from plurimask.metrics.calibration import Reliability, frequency_table, soft_dice
from plurimask.metrics.ci_score import ci_harmonic, ci_score, combined_sensitivity, mean_of_best, range_agreement
from plurimask.metrics.conventions import CONVENTIONS, convention_values
from plurimask.metrics.degenerate import DEGENERATE, leave_one_out, thresholds
from plurimask.metrics.ged import calibrated_level, energy_distance, matched_mean, mean_distance
from plurimask.metrics.lesion import closest_surface, crps, one_body, point_crps, size_ranks
from plurimask.metrics.overlap import Overlap, Pairs, count_pairs
from plurimask.records import Case, MaskSet, count_votes

Values = dict[str, Tensor]


class Scored(NamedTuple):
    """Values of a batch, and the counts that they come from."""

    values: Values
    pairs: Pairs
    reliability: Reliability


def score(samples: Tensor, readers: Tensor, valid: Tensor, voxel_size: Tensor) -> Scored:
    """Every value of COLUMNS but the surface distance and the share of one body, (B,) each.

    Args:
        samples: (B, S, H, W[, D]) bool.
        readers: (B, R, H, W[, D]) bool, rubbish where not valid.
        valid: (B, R) bool.
        voxel_size: (B,) what one voxel adds to a mask's size; NaN where unknown.
    """
    pairs, frequencies = count_pairs(samples, readers, valid), frequency_table(samples, readers, valid)
    reliability = frequencies.reliability()
    read, drawn = pairs.read, valid.new_ones(samples.shape[:2])
    d_ss, d_sy, d_yy = 1 - pairs.ss.iou, 1 - pairs.sy.iou, 1 - pairs.yy.iou
    sample_sizes, reader_sizes = sizes(pairs.ss), sizes(pairs.yy)
    sensitivity = combined_sensitivity(samples, readers, valid)
    best_dice = mean_of_best(pairs.sy.dice, read)
    agreement = range_agreement(pairs.ss.variance, pairs.yy.variance, read)
    values = {
        "ged_v": energy_distance(d_sy, d_ss, d_yy, read, "v"),
        "ged_u": energy_distance(d_sy, d_ss, d_yy, read, "u"),
        "hm_iou": matched_mean(pairs.sy.iou, read, "repeat"),
        "dice_max": best_dice,
        "sensitivity": sensitivity,
        "agreement": agreement,
        "ci": ci_score(sensitivity, best_dice, agreement),
        "ci_harmonic": ci_harmonic(sensitivity, best_dice, agreement),
        "soft_dice": soft_dice(samples, readers, valid),
        "d_ss": mean_distance(d_ss, drawn),
        "d_yy": mean_distance(d_yy, read),
        "ncc": frequencies.ncc,
        "ece": reliability.error,
        "brier": frequencies.brier,
        "empty_samples": _share(sample_sizes == 0, drawn),
        "empty_readers": _share(reader_sizes == 0, read),
        "size_crps": crps(sample_sizes, reader_sizes, read) * voxel_size,
        "size_crps_curvas": point_crps(sample_sizes, reader_sizes, read) * voxel_size,
    }
    return Scored(values, pairs, reliability)


def reference_values(
    images: Tensor, readers: Tensor, valid: Tensor, voxel_size: Tensor, count: int
) -> dict[str, Values]:
    """By label: the degenerate predictors at `count` samples, thresholds, a reader left out, a calibrated panel.

    Arguments as `score`, and images (B, H, W[, D]); the last two have only the values that they are defined for.
    """
    rows = {}
    for label, predict in DEGENERATE.items():
        # Two or more copies of one mask score the same at any number of copies, so two stand for N.
        predicted = predict(readers, valid, count if label == "raters resampled" else min(count, 2))
        rows[label] = score(predicted, readers, valid, voxel_size).values
    rows["five thresholds"] = score(thresholds(images), readers, valid, voxel_size).values
    rows["reader left out"] = {
        "dice_max": leave_one_out(readers, valid, "dice").best,
        "hm_iou": leave_one_out(readers, valid, "iou").mean,
    }
    level = calibrated_level(readers, valid, count)
    rows["calibrated"] = {"ged_v": level, "ged_u": 0 * level}  # NaN stays NaN
    return rows


def sizes(within: Overlap) -> Tensor:
    """Voxels of each mask (B, n) float64, from the overlap of a stack of masks with itself."""
    return torch.diagonal(within.shared, dim1=1, dim2=2)


def _share(which: Tensor, present: Tensor) -> Tensor:
    return (which & present).sum(1).double() / present.sum(1)


# Cases of one size are scored together, up to this many and this many bytes of masks.
_CASES_AT_ONCE, _BYTES_AT_ONCE = 64, 2**26

_RAISED = 0.25  # by so much Dice has to rise where rows and columns are exchanged, as `prepare folder` has it

Pair = tuple[MaskSet, Case]


@dataclass(frozen=True)
class _Scored:
    """What is kept of a batch."""

    rows: tuple[CaseScores, ...]
    references: Mapping[str, Values]
    conventions: Mapping[str, Values]
    reliability: Reliability
    ranks: Tensor
    drawn: tuple[str, ...]
    exchanged: np.ndarray
    read: tuple[ReadCase, ...]


def evaluate(
    panels: Iterable[MaskSet], cases: Mapping[str, Case], count: int | None = None, unnamed: str = "unnamed"
) -> Scores:
    """Score panels against the readers of their cases.

    Representative panels have no U-GED and no d_SS: these estimate from independent draws what the method would score,
    and masks that were chosen to lie apart are none.

    Args:
        panels: one per case, read as they come. All have the same number of samples, since V-GED depends on it.
        cases: the cases to be scored, by name, and no others. A mapping that reads on access keeps memory at a batch.
        count: score the first `count` samples of every panel; None: all of them.
        unnamed: what the table calls masks whose sets name no method.

    Raises:
        InputError: no panel, two panels of one case, a panel of an unknown case, of another size or grid than its
            case, or with another number of samples or axes than the first (with `count`: with fewer samples); or
            independent and representative panels together.
    """
    if not isinstance(cases, Mapping):
        hint = "give {case.name: case for case in cases}"
        raise InputError("cases", expected="cases by name", got=type(cases).__name__, hint=hint)
    pairs = _pairs(panels, cases, count)
    first = _first(pairs)
    grid = first[1].grid
    batches = _batches(chain([first], pairs))
    del first
    scored = [_score(batch, grid.spacing_mm is not None) for batch in batches]
    return _scores(scored, cases, grid, unnamed)


def evaluate_on(
    cluster: Cluster,
    panels: Mapping[str, MaskSet],
    cases: Mapping[str, Case],
    count: int | None = None,
    unnamed: str = "unnamed",
    progress: Callable[[int], object] = lambda done: None,
) -> Scores:
    """As `evaluate`, by the workers of a cluster; `progress` is told how many panels are scored.

    Raises:
        InputError: as `evaluate`, of the first panel.
        FailedCasesError: the others that `evaluate` would refuse.
    """
    first, case = _first(_pairs(panels.values(), cases, count))
    grid, names = case.grid, list(panels)
    parts = [names[start : start + _CASES_AT_ONCE] for start in range(0, len(names), _CASES_AT_ONCE)]
    items = {f"{part[0]} to {part[-1]}": (number, part) for number, part in enumerate(parts)}

    def scorer() -> Callable[[tuple[int, Sequence[str]]], tuple[int, list[_Scored]]]:
        def score_part(item: tuple[int, Sequence[str]]) -> tuple[int, list[_Scored]]:
            number, part = item
            pairs = _pairs((panels[name] for name in part), cases, count, first)
            return number, [_score(batch, grid.spacing_mm is not None) for batch in _batches(pairs)]

        return score_part

    scored: dict[int, list[_Scored]] = {}
    for number, of_part in cluster.map(scorer, items):
        scored[number] = of_part
        progress(sum(len(batch.rows) for of_part in scored.values() for batch in of_part))
    return _scores([batch for number in sorted(scored) for batch in scored[number]], cases, grid, unnamed)


def _first(pairs: Iterator[Pair]) -> Pair:
    first = next(pairs, None)
    if first is None:
        raise InputError(
            "evaluation",
            expected="masks of at least one of the cases to be scored",
            got="none",
            hint="draw masks first, or name the cases that were drawn",
        )
    return first


def _scores(scored: Sequence[_Scored], cases: Mapping[str, Case], grid: Grid, unnamed: str) -> Scores:
    """All scores; `grid` is that of the first case, which says what sizes are in."""
    known, volume = grid.spacing_mm is not None, "mm²" if len(grid.shape) == 2 else "mm³"
    size = volume if known else "voxels"
    units = {"surface": "mm" if known else "voxels", "size_crps": size, "size_crps_curvas": size}
    rows = tuple(row for batch in scored for row in batch.rows)
    drawn = [json.loads(text) for text in dict.fromkeys(text for batch in scored for text in batch.drawn)]
    patients, count = [row.patient for row in rows], rows[0].samples
    label = " + ".join(sorted({one["method"] or unnamed for one in drawn}))
    own = values_of(rows)
    representative = any("representative" in one for one in drawn)
    if representative:
        label, own = f"{label}, representative", {key: own[key] for key in own if key not in INDEPENDENT}
    references = _joined([batch.references for batch in scored])
    conventions = _joined([batch.conventions for batch in scored])
    first, *others = summarise([label, *references], [own, *references.values()], count, patients)
    found = {row.name for row in rows}
    readers = score_readers([case for batch in scored for case in batch.read])
    return Scores(
        rows=rows,
        table=(replace(first, representative=representative), *others),
        conventions=summarise(list(conventions), list(conventions.values()), count, patients),
        strata=stratify(rows, label, units["size_crps"]),
        reliability=reduce(add, (batch.reliability for batch in scored)),
        ranks=tuple(torch.stack([batch.ranks for batch in scored]).sum(0).tolist()),
        missing=tuple(name for name in cases if name not in found),
        units=units,
        drawn=tuple(drawn),
        questions=(
            *_questions(np.concatenate([batch.exchanged for batch in scored])),
            *(readers.questions() if readers else ()),
        ),
        readers=readers,
    )


def _joined(batches: Sequence[Mapping[str, Values]]) -> dict[str, dict[str, np.ndarray]]:
    """Values (B,) of each batch, by label and key -> (n,) of all."""
    return {
        label: {key: torch.cat([batch[label][key] for batch in batches]).numpy() for key in values}
        for label, values in batches[0].items()
    }


def _score(batch: Sequence[Pair], in_mm: bool) -> _Scored:
    samples = torch.from_numpy(np.stack([panel.masks for panel, _ in batch]))
    readers, valid = _padded([case.readers for _, case in batch])
    voxels = [case.grid.voxel_size if in_mm else 1.0 for _, case in batch]
    voxel_size = torch.tensor([math.nan if size is None else size for size in voxels], dtype=torch.float64)
    values, pairs, reliability = score(samples, readers, valid, voxel_size)
    surfaces = [_surface(panel, case, in_mm) for panel, case in batch]
    values["surface"] = torch.tensor(surfaces, dtype=torch.float64)
    values["one_body"] = one_body(samples, readers, valid)
    conventions = {name: convention_values(convention, pairs) for name, convention in CONVENTIONS.items()}
    if batch[0][0].weights is not None:
        values |= {key: torch.full_like(values[key], math.nan) for key in INDEPENDENT}
        for name, of_name in conventions.items():
            if CONVENTIONS[name].estimator == "u":
                of_name["ged"] = torch.full_like(of_name["ged"], math.nan)
    reader_sizes = sizes(pairs.yy)
    drawn = (reader_sizes > 0) & valid
    mean_sizes = (reader_sizes * drawn).sum(1) / drawn.sum(1) * voxel_size
    rows = [
        CaseScores(
            panel.name,
            case.patient,
            readers=len(case.readers),
            drawn=int(drawn[place].sum()),
            size=mean_sizes[place].item(),
            samples=len(panel.masks),
            values={key: of_key[place].item() for key, of_key in values.items()},
        )
        for place, (panel, case) in enumerate(batch)
    ]
    return _Scored(
        rows=tuple(rows),
        references=reference_values(
            torch.from_numpy(np.stack([case.image.mean(0) for _, case in batch])),
            *(readers, valid, voxel_size, samples.shape[1]),
        ),
        conventions=conventions,
        reliability=reliability.pooled(),
        ranks=size_ranks(sizes(pairs.ss), reader_sizes, valid).sum(0),
        drawn=tuple(_origin(panel) for panel, _ in batch),
        read=tuple(_read_cases(batch, pairs)),
        exchanged=np.array([_dice_exchanged(panel.masks, case.readers) for panel, case in batch]),
    )


def _read_cases(batch: Sequence[Pair], pairs: Pairs) -> Iterator[ReadCase]:
    """What `score_readers` needs of the cases of a batch that say who drew."""
    for place, (panel, case) in enumerate(batch):
        if case.drawn_by is not None:
            count = len(case.readers)
            yield ReadCase(
                case.patient,
                case.drawn_by,
                sizes(pairs.yy)[place, :count].numpy(),
                pairs.sy.dice[place, :, :count].mean(0).numpy(),
                pairs.yy.dice[place, :count, :count].numpy(),
                panel.settings.get("reader"),
            )


def _dice_exchanged(masks: np.ndarray, readers: np.ndarray) -> tuple[float, float]:
    """Dice of the votes of samples and readers, as they lie and with rows and columns exchanged; NaN without votes."""
    votes, wanted = (count_votes(stack) / np.float32(max(len(stack), 1)) for stack in (masks, readers))
    total = float((votes**2).sum() + (wanted**2).sum())
    if not votes.any() or not wanted.any() or votes.shape[0] != votes.shape[1]:
        return math.nan, math.nan
    first, second = (float(2 * (turned * wanted).sum()) / total for turned in (votes, votes.swapaxes(0, 1)))
    return first, second


def _questions(exchanged: np.ndarray) -> tuple[str, ...]:
    """From Dice (n, 2) as they lie and with rows and columns exchanged."""
    known = exchanged[~np.isnan(exchanged[:, 0])]
    before, after = known.mean(axis=0) if len(known) else (0.0, 0.0)
    if after < before + _RAISED:
        return ()
    return (
        f"swapped axes: Dice of samples and readers {before:.2f}, but {after:.2f} with the rows and columns of all "
        "samples exchanged; ITK writes columns first: transpose them before they are scored",
    )


def _origin(panel: MaskSet) -> str:
    """How a panel came about, without what differs from case to case."""
    origin = {"method": panel.method, "checkpoint": panel.checkpoint, "settings": dict(panel.settings)}
    kind = {} if panel.weights is None else {"representative": True}
    return json.dumps(origin | kind, sort_keys=True)


def _padded(readers: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Stacks (R_i, H, W[, D]) -> (B, R, H, W[, D]) with empty masks behind, and which slots were read (B, R)."""
    most = max(1, max(len(stack) for stack in readers))
    padded = np.zeros((len(readers), most, *readers[0].shape[1:]), dtype=np.bool_)
    for place, stack in enumerate(readers):
        padded[place, : len(stack)] = stack
    valid = torch.arange(most) < torch.tensor([len(stack) for stack in readers])[:, None]
    return torch.from_numpy(padded), valid


def _surface(panel: MaskSet, case: Case, in_mm: bool) -> float:
    if in_mm and case.grid.spacing_mm is None:
        return math.nan
    spacing = case.grid.spacing_mm if in_mm else None
    return closest_surface(torch.tensor(panel.masks)[None], torch.tensor(case.readers)[None], None, spacing).item()


def _batches(pairs: Iterable[Pair]) -> Iterator[list[Pair]]:
    batch: list[Pair] = []
    for panel, case in pairs:
        full = len(batch) == _CASES_AT_ONCE or panel.masks.nbytes * (len(batch) + 1) > _BYTES_AT_ONCE
        if batch and (full or panel.grid.shape != batch[0][0].grid.shape):
            yield batch
            batch = []
        batch.append((panel, case))
    if batch:
        yield batch


def _pairs(
    panels: Iterable[MaskSet], cases: Mapping[str, Case], count: int | None, first: MaskSet | None = None
) -> Iterator[Pair]:
    """Each panel with its case, checked against the first of all, the panel cut to `count` samples."""
    seen: set[str] = set()
    for panel in panels:
        if panel.name not in cases:
            raise InputError(
                panel.name,
                expected="masks of one of the cases to be scored",
                got="an unknown case",
                hint="score the cases that were drawn (sample draws all unless told), or rename the sets",
            )
        if panel.name in seen:
            raise InputError(panel.name, expected="one mask set a case", got="a second one", hint="remove one of them")
        if count is not None:
            panel = panel.first(count)
        first = first or panel
        _check_alike(panel, first)
        case = cases[panel.name]
        hint = "bring the masks to the grid of the case, or correct set.json"
        if panel.grid.shape != case.grid.shape == (*panel.grid.shape[1::-1], *panel.grid.shape[2:]):
            hint = "exchange the rows and columns of the masks, which ITK writes columns first"
        same_grid(case.name, panel.grid, case.grid, "the case", hint)
        seen.add(panel.name)
        yield panel, case


def _check_alike(panel: MaskSet, first: MaskSet) -> None:
    if len(panel.masks) != len(first.masks):
        raise InputError(
            panel.name,
            expected=f"{len(first.masks)} masks, as for {first.name}",
            got=str(len(panel.masks)),
            hint="GED depends on the number of samples: score the first N of each, or sets of different sizes apart",
        )
    kinds = ["independent" if one.weights is None else "representative" for one in (first, panel)]
    if kinds[0] != kinds[1]:
        raise InputError(
            panel.name,
            expected=f"{kinds[0]} masks, as for {first.name}",
            got=f"{kinds[1]} ones",
            hint="score independent draws and representative panels apart",
        )
    if len(panel.grid.shape) != len(first.grid.shape):
        raise InputError(
            panel.name,
            expected=f"masks of {len(first.grid.shape)} axes, as for {first.name}",
            got=str(len(panel.grid.shape)),
            hint="score planes and volumes apart: areas and volumes have no common mean",
        )
