"""All values of a batch of panels at once, from one count of every pair of masks."""

from typing import NamedTuple

import torch
from torch import Tensor

from plurimask.metrics import (
    DEGENERATE,
    Overlap,
    Pairs,
    Reliability,
    calibrated_level,
    ci_harmonic,
    ci_score,
    combined_sensitivity,
    count_pairs,
    crps,
    energy_distance,
    frequency_table,
    leave_one_out,
    matched_mean,
    mean_distance,
    mean_of_best,
    range_agreement,
    soft_dice,
)

Values = dict[str, Tensor]


class Scored(NamedTuple):
    """Values of a batch, and the counts that they come from."""

    values: Values
    pairs: Pairs
    reliability: Reliability


def score(samples: Tensor, raters: Tensor, valid: Tensor, voxel_size: Tensor) -> Scored:
    """Every value of COLUMNS but the surface distance, (B,) each.

    Args:
        samples: (B, S, H, W[, D]) bool.
        raters: (B, R, H, W[, D]) bool, rubbish where not valid.
        valid: (B, R) bool.
        voxel_size: (B,) what one voxel adds to a mask's size; NaN where unknown.
    """
    pairs, frequencies = count_pairs(samples, raters, valid), frequency_table(samples, raters, valid)
    reliability = frequencies.reliability()
    read, drawn = pairs.read, valid.new_ones(samples.shape[:2])
    d_ss, d_sy, d_yy = 1 - pairs.ss.iou, 1 - pairs.sy.iou, 1 - pairs.yy.iou
    sample_sizes, rater_sizes = sizes(pairs.ss), sizes(pairs.yy)
    sensitivity = combined_sensitivity(samples, raters, valid)
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
        "soft_dice": soft_dice(samples, raters, valid),
        "d_ss": mean_distance(d_ss, drawn),
        "d_yy": mean_distance(d_yy, read),
        "ncc": frequencies.ncc,
        "ece": reliability.error,
        "brier": frequencies.brier,
        "empty_samples": _share(sample_sizes == 0, drawn),
        "empty_readers": _share(rater_sizes == 0, read),
        "size_crps": crps(sample_sizes, rater_sizes, read) * voxel_size,
    }
    return Scored(values, pairs, reliability)


def reference_values(raters: Tensor, valid: Tensor, voxel_size: Tensor, count: int) -> dict[str, Values]:
    """By label: the degenerate predictors at `count` samples, a reader left out, a calibrated panel.

    Arguments as `score`; the last two have only the values that they are defined for.
    """
    rows = {}
    for label, predict in DEGENERATE.items():
        # Two or more copies of one mask score the same at any number of copies, so two stand for N.
        predicted = predict(raters, valid, count if label == "raters resampled" else min(count, 2))
        rows[label] = score(predicted, raters, valid, voxel_size).values
    rows["reader left out"] = {
        "dice_max": leave_one_out(raters, valid, "dice").best,
        "hm_iou": leave_one_out(raters, valid, "iou").mean,
    }
    level = calibrated_level(raters, valid, count)
    rows["calibrated"] = {"ged_v": level, "ged_u": 0 * level}  # NaN stays NaN
    return rows


def sizes(within: Overlap) -> Tensor:
    """Voxels of each mask (B, n) float64, from the overlap of a stack of masks with itself."""
    return torch.diagonal(within.shared, dim1=1, dim2=2)


def _share(which: Tensor, present: Tensor) -> Tensor:
    return (which & present).sum(1).double() / present.sum(1)
